use crate::{limits, literal::Header};
use zeroize::Zeroize;

/// What the bytes given so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// Nothing yet; give more.
    More,
    /// [`Framer::command`] is a whole command with its line ends and literals.
    Command,
    /// The line asked for by [`Framer::expect_line`] is in [`Framer::command`].
    Line,
    /// The client waits for `+` (RFC 9051 7.6) before it sends a literal that is welcome.
    Continue,
    /// A message of APPEND is announced; [`Framer::command`] ends before its literal. Answer with [`Framer::accept`] or [`Framer::refuse`].
    Message(Message),
    /// Bytes of the accepted message.
    Chunk(&'i [u8]),
    /// The accepted message is complete.
    MessageEnd,
    /// The line after the last message; [`Framer::command`] holds it.
    AppendEnd,
    /// A synchronising literal that is too large: answer NO or BAD to [`Framer::command`]'s tag and send no `+`.
    LiteralRefused,
    /// An APPEND refused before has ended; the answer is due now.
    AppendDiscarded,
    /// Nothing more can be read: answer BYE and close.
    Fatal(Fatal),
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The text of one command is longer than allowed.
    #[error("command line too long")]
    Line,
    /// A literal that was sent without asking is longer than allowed; it is not read and thrown away.
    #[error("literal too long")]
    Literal,
    /// The framer was used after its end, or out of order.
    #[error("out of order")]
    Order,
}

/// The announcement of one message of APPEND.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Bytes.
    pub len: u32,
    /// Whether the client waits for `+`.
    pub synchronising: bool,
    /// `~{n}` (RFC 3516 4.4).
    pub literal8: bool,
    /// Whether [`Framer::command`] begins with the tag (the first message) or continues after the message before.
    pub first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Line,
    Literal { left: usize },
    Decide(Message),
    Message { left: u32, keep: bool },
    Stopped(Fatal),
}

/// Finds the end of each command in a stream of bytes (RFC 9051 2.2.1), holding no more of it than the limits say.
///
/// Invariants: what is buffered is at most one command's text and its small literals; messages pass through as slices of the
/// input; a literal is recognised before anything is parsed, so its bytes never become a command. Before login any command may bring a
/// password: what was buffered is overwritten then.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Whether what is buffered may be a password.
    secret: bool,
    line_start: usize,
    literals: usize,
    line_limit: usize,
    literal_limit: usize,
    /// Bytes of one message; zero before login, when there is no APPEND.
    message_limit: u32,
    state: State,
    raw: bool,
    finished: bool,
    /// Some while inside APPEND after its first message: whether messages are still kept.
    append: Option<bool>,
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// With the limits that hold before login.
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            secret: true,
            line_start: 0,
            literals: 0,
            line_limit: limits::PRE_AUTH_LINE,
            literal_limit: limits::PRE_AUTH_LITERALS,
            message_limit: 0,
            state: State::Line,
            raw: false,
            finished: false,
            append: None,
        }
    }

    /// The limits after login; `message` is the largest message in bytes. The command that brought the password is forgotten.
    pub fn authenticated(&mut self, message: u32) {
        if self.finished {
            self.finished = false;
            self.clear_buffer();
        }
        self.secret = false;
        self.line_limit = limits::LINE;
        self.literal_limit = limits::LITERALS;
        self.message_limit = message;
    }

    /// What has been collected; see the events.
    pub fn command(&self) -> &[u8] {
        &self.buffer
    }

    /// The next line is not a command: an answer to `+` (RFC 9051 6.2.2) or DONE (RFC 2177).
    pub fn expect_line(&mut self) {
        self.raw = true;
    }

    /// Whether a command has begun and not ended.
    pub fn is_inside(&self) -> bool {
        !self.finished && (!self.buffer.is_empty() || self.append.is_some() || self.state != State::Line)
    }

    /// Gives the buffer back; for a session that waits.
    pub fn release(&mut self) {
        self.start_over_if_finished();
        if !self.secret || self.buffer.is_empty() {
            self.buffer.shrink_to_fit();
        }
    }

    /// Takes the announced message; the caller sends `+` if the client waits.
    pub fn accept(&mut self) {
        if let State::Decide(message) = self.state {
            self.begin_message(message, true);
        }
    }

    /// Throws the message away. True: the command is over and the answer is due. False: a message that came without asking is
    /// skipped, and [`Event::AppendDiscarded`] follows.
    pub fn refuse(&mut self) -> bool {
        match self.state {
            State::Decide(message) if message.synchronising => {
                self.state = State::Line;
                self.append = None;
                self.finished = true;
                true
            }
            State::Decide(message) => {
                self.begin_message(message, false);
                false
            }
            _ => true,
        }
    }

    /// Drops everything of a finished command, and the capacity of a large one.
    fn start_over_if_finished(&mut self) {
        if self.finished {
            self.finished = false;
            self.clear_buffer();
            self.buffer.shrink_to(limits::KEPT_BUFFER);
        }
    }

    fn clear_buffer(&mut self) {
        if self.secret {
            self.buffer.zeroize();
        }
        self.buffer.clear();
        self.line_start = 0;
        self.literals = 0;
    }

    fn keep(&mut self, bytes: &[u8]) {
        let needed = self.buffer.len().saturating_add(bytes.len());
        if self.secret && needed > self.buffer.capacity() {
            // A vector that grows by itself leaves what it was.
            let mut larger = Vec::with_capacity(needed.saturating_mul(2));
            larger.extend_from_slice(&self.buffer);
            std::mem::replace(&mut self.buffer, larger).zeroize();
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn begin_message(&mut self, message: Message, keep: bool) {
        self.clear_buffer();
        self.append = Some(keep);
        self.state = State::Message { left: message.len, keep };
    }

    /// Takes bytes from the front of `input`; returns how many, and what they amount to. Call again with the rest; an empty
    /// input may still yield an event ([`Event::MessageEnd`] of an empty message).
    pub fn feed<'i>(&mut self, input: &'i [u8]) -> (usize, Event<'i>) {
        self.start_over_if_finished();
        match self.state {
            State::Stopped(why) => (0, Event::Fatal(why)),
            State::Decide(_) => (0, self.stop(Fatal::Order)),
            State::Message { left, keep } => self.feed_message(input, left, keep),
            State::Literal { left } => {
                let take = left.min(input.len());
                self.keep(input.get(..take).unwrap_or_default());
                let left = left - take;
                self.state = State::Literal { left };
                if left == 0 {
                    self.state = State::Line;
                    self.line_start = self.buffer.len();
                }
                (take, Event::More)
            }
            State::Line => self.feed_line(input),
        }
    }

    fn feed_message<'i>(&mut self, input: &'i [u8], left: u32, keep: bool) -> (usize, Event<'i>) {
        if left == 0 {
            self.state = State::Line;
            return (0, if keep { Event::MessageEnd } else { Event::More });
        }
        let take = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let chunk = input.get(..take).unwrap_or_default();
        self.state = State::Message { left: left.saturating_sub(u32::try_from(take).unwrap_or(u32::MAX)), keep };
        (take, if keep && take > 0 { Event::Chunk(chunk) } else { Event::More })
    }

    fn feed_line<'i>(&mut self, input: &'i [u8]) -> (usize, Event<'i>) {
        let allowed = self.line_limit.saturating_sub(self.buffer.len().saturating_sub(self.literals));
        let end = input.iter().take(allowed).position(|b| *b == b'\n');
        let Some(end) = end else {
            if input.len() >= allowed {
                return (0, self.stop(Fatal::Line));
            }
            self.keep(input);
            return (input.len(), Event::More);
        };
        let take = end + 1;
        self.keep(input.get(..take).unwrap_or_default());
        (take, self.line_complete())
    }

    fn line_complete(&mut self) -> Event<'static> {
        if std::mem::take(&mut self.raw) {
            self.finished = true;
            return Event::Line;
        }
        let line = self.buffer.get(self.line_start..).unwrap_or_default();
        let header = line.strip_suffix(b"\r\n").and_then(Header::at_end);
        let Some(header) = header else {
            self.finished = true;
            return match self.append.take() {
                None => Event::Command,
                Some(true) => Event::AppendEnd,
                Some(false) => Event::AppendDiscarded,
            };
        };
        match self.append {
            Some(keep) => self.announce(header, keep, false),
            None if self.message_limit > 0 && is_message_of_append(&self.buffer, header.text_len) => self.announce(header, true, true),
            None => self.small_literal(header),
        }
    }

    fn small_literal(&mut self, header: Header) -> Event<'static> {
        let len = header.len.and_then(|len| usize::try_from(len).ok());
        let fits = len.filter(|len| self.literals.saturating_add(*len) <= self.literal_limit && !header.literal8);
        match fits {
            Some(left) => {
                self.literals += left;
                self.state = if left == 0 { State::Line } else { State::Literal { left } };
                self.line_start = self.buffer.len();
                if header.synchronising { Event::Continue } else { Event::More }
            }
            None if header.synchronising => {
                self.finished = true;
                Event::LiteralRefused
            }
            None => self.stop(Fatal::Literal),
        }
    }

    fn announce(&mut self, header: Header, keep: bool, first: bool) -> Event<'static> {
        let Some(len) = header.len.and_then(|len| u32::try_from(len).ok()).filter(|len| *len <= self.message_limit) else {
            // RFC 7888 4: what was sent without asking and is too large ends the connection instead of being read.
            if !header.synchronising {
                return self.stop(Fatal::Literal);
            }
            self.append = None;
            self.finished = true;
            return if keep { Event::LiteralRefused } else { Event::AppendDiscarded };
        };
        let message = Message { len, synchronising: header.synchronising, literal8: header.literal8, first };
        if keep {
            let text = self.buffer.len().saturating_sub(header.text_len.saturating_add(2));
            self.buffer.truncate(text);
            self.state = State::Decide(message);
            Event::Message(message)
        } else if header.synchronising {
            self.append = None;
            self.finished = true;
            Event::AppendDiscarded
        } else {
            self.begin_message(message, false);
            Event::More
        }
    }

    fn stop(&mut self, why: Fatal) -> Event<'static> {
        self.clear_buffer();
        self.buffer.shrink_to_fit();
        self.state = State::Stopped(why);
        Event::Fatal(why)
    }
}

impl Drop for Framer {
    fn drop(&mut self) {
        if self.secret {
            self.buffer.zeroize();
        }
    }
}

/// Whether the literal announced at the end of `command` is a message: the command is APPEND and its mailbox is already there.
fn is_message_of_append(command: &[u8], header_len: usize) -> bool {
    let text = command.get(..command.len().saturating_sub(header_len + 2)).unwrap_or_default();
    let mut words = text.splitn(3, |b| *b == b' ');
    let (_tag, name, rest) = (words.next(), words.next(), words.next());
    name.is_some_and(|name| name.eq_ignore_ascii_case(b"APPEND")) && rest.is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds everything and writes down what happens, messages accepted.
    fn run(framer: &mut Framer, mut input: &[u8]) -> Vec<String> {
        let mut seen = vec![];
        loop {
            let before = input.len();
            let (taken, event) = framer.feed(input);
            let event = match event {
                Event::Chunk(bytes) => format!("Chunk {}", String::from_utf8_lossy(bytes)),
                Event::More => String::new(),
                other => format!("{other:?}"),
            };
            input = &input[taken..];
            if event.starts_with("Message(") {
                seen.push(format!("Message {:?}", String::from_utf8_lossy(framer.command())));
                framer.accept();
                continue;
            }
            if event == "Command" || event == "Line" || event == "AppendEnd" || event == "LiteralRefused" {
                seen.push(format!("{event} {:?}", String::from_utf8_lossy(framer.command())));
            } else if !event.is_empty() {
                seen.push(event.clone());
            }
            if event.starts_with("Fatal") || (input.is_empty() && input.len() == before) {
                return seen;
            }
        }
    }

    #[test]
    fn commands_and_small_literals() {
        let mut framer = Framer::new();
        let seen = run(&mut framer, b"a NOOP\r\nb LOGIN {5}\r\nalice {3+}\r\na\nb\r\nc NOOP\r\n");
        assert_eq!(
            seen,
            [
                "Command \"a NOOP\\r\\n\"",
                "Continue",
                "Command \"b LOGIN {5}\\r\\nalice {3+}\\r\\na\\nb\\r\\n\"",
                "Command \"c NOOP\\r\\n\""
            ]
        );
    }

    #[test]
    fn byte_by_byte_gives_the_same() {
        let input = b"b LOGIN {5}\r\nalice {0+}\r\n\r\nc NOOP\r\n";
        let mut whole = Framer::new();
        let expected = run(&mut whole, input);
        let mut framer = Framer::new();
        let mut seen = vec![];
        for byte in input {
            seen.extend(run(&mut framer, &[*byte]));
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn messages_pass_through() {
        let mut framer = Framer::new();
        framer.authenticated(100);
        let input = b"a APPEND {5}\r\nINBOX (\\Seen) {4}\r\nabcd (\\Draft) ~{0+}\r\n\r\nb NOOP\r\n";
        assert_eq!(
            run(&mut framer, input),
            [
                "Continue",
                "Message \"a APPEND {5}\\r\\nINBOX (\\\\Seen) \"",
                "Chunk abcd",
                "MessageEnd",
                "Message \" (\\\\Draft) \"",
                "MessageEnd",
                "AppendEnd \"\\r\\n\"",
                "Command \"b NOOP\\r\\n\"",
            ]
        );
    }

    #[test]
    fn a_refused_append_is_skipped_to_its_end() {
        let mut framer = Framer::new();
        framer.authenticated(100);
        let mut input: &[u8] = b"a APPEND x {4+}\r\nabcd {3+}\r\nabc\r\nb NOOP\r\n";
        let mut seen = vec![];
        while !input.is_empty() {
            let (taken, event) = framer.feed(input);
            input = &input[taken..];
            match event {
                Event::Message(_) => assert!(!framer.refuse()),
                Event::More => {}
                other => seen.push(format!("{other:?}")),
            }
        }
        assert_eq!(seen, ["AppendDiscarded", "Command"]);
    }

    #[test]
    fn a_refused_synchronising_append_ends_at_once() {
        let mut framer = Framer::new();
        framer.authenticated(100);
        let (_, event) = framer.feed(b"a APPEND x {4}\r\n");
        assert!(matches!(event, Event::Message(_)));
        assert!(framer.refuse());
        assert_eq!(run(&mut framer, b"b NOOP\r\n"), ["Command \"b NOOP\\r\\n\""]);
    }

    /// Attack case IMAP-01: no `+` for what is too large, no reading of what came unasked.
    #[test]
    fn oversize_literals_before_login() {
        for (literal, expected) in [
            ("{4294967295}", "LiteralRefused"),
            ("{18446744073709551616}", "LiteralRefused"),
            ("{-1}", "Command"),
            ("{99999999+}", "Fatal(Literal)"),
            ("{1", "Command"),
            ("{1}}", "Command"),
            ("~{10}", "LiteralRefused"),
            ("{1025}", "LiteralRefused"),
            ("{1025+}", "Fatal(Literal)"),
        ] {
            let mut framer = Framer::new();
            let seen = run(&mut framer, format!("a LOGIN {literal}\r\n").as_bytes());
            assert!(seen.len() == 1 && seen[0].starts_with(expected), "{literal}: {seen:?}");
        }
        let mut framer = Framer::new();
        assert!(run(&mut framer, b"a LOGIN {1024+}\r\n").is_empty());
        // In total, not each.
        let mut framer = Framer::new();
        let input = format!("a LOGIN {{1000+}}\r\n{} {{25+}}\r\n", "x".repeat(1000));
        assert_eq!(run(&mut framer, input.as_bytes()), ["Fatal(Literal)"]);
    }

    /// Attack cases IMAP-03 and IMAP-05: an endless line ends the connection and holds no memory.
    #[test]
    fn endless_lines() {
        for (limit, login) in [(limits::PRE_AUTH_LINE, false), (limits::LINE, true)] {
            let mut framer = Framer::new();
            if login {
                framer.authenticated(100);
            }
            let line = vec![b'('; limit - 2];
            let mut ok = line.clone();
            ok.extend_from_slice(b"\r\n");
            assert_eq!(framer.feed(&ok), (limit, Event::Command));
            let (taken, event) = framer.feed(&line);
            assert_eq!((taken, event), (limit - 2, Event::More));
            assert_eq!(framer.feed(b"((((").1, Event::Fatal(Fatal::Line));
            assert_eq!(framer.feed(b"\r\n").1, Event::Fatal(Fatal::Line));
            assert_eq!(framer.buffer.capacity(), 0);
        }
    }

    #[test]
    fn oversize_messages() {
        let mut framer = Framer::new();
        framer.authenticated(100);
        assert_eq!(run(&mut framer, b"a APPEND x {101}\r\n"), ["LiteralRefused \"a APPEND x {101}\\r\\n\""]);
        assert_eq!(run(&mut framer, b"a APPEND x {101+}\r\n"), ["Fatal(Literal)"]);
    }

    #[test]
    fn lines_that_are_not_commands() {
        let mut framer = Framer::new();
        framer.expect_line();
        assert_eq!(run(&mut framer, b"abc{5}\r\na NOOP\r\n"), ["Line \"abc{5}\\r\\n\"", "Command \"a NOOP\\r\\n\""]);
    }

    /// However the bytes are cut, the events are the same; whatever they are, nothing panics and little is held.
    #[test]
    fn any_bytes_in_any_pieces() {
        let words: [&[u8]; 14] =
            [b"a ", b"APPEND ", b"x ", b"{3}", b"{3+}", b"~{2+}", b"\r\n", b"\r\n", b"\n", b"(", b"\"q\" ", b"{99999}", b"\0", b"{0+}\r\n"];
        let mut seed = 1u64;
        let mut random = move |below: usize| {
            // Knuth's MMIX generator: deterministic, and good enough to cut bytes.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for _ in 0..3_000 {
            let input: Vec<u8> = (0..random(40)).flat_map(|_| words[random(words.len())].to_vec()).collect();
            let mut whole = Framer::new();
            whole.authenticated(1000);
            let expected: String = run(&mut whole, &input).concat();
            let mut cut = Framer::new();
            cut.authenticated(1000);
            let (mut seen, mut rest) = (String::new(), input.as_slice());
            while !rest.is_empty() && !seen.contains("Fatal") {
                let (piece, after) = rest.split_at(1 + random(rest.len()));
                seen.push_str(&run(&mut cut, piece).concat());
                rest = after;
            }
            assert_eq!(seen.replace("Chunk ", ""), expected.replace("Chunk ", ""), "{input:?}");
            let _ = crate::parse::command(&input, crate::parse::Mode::default());
        }
    }

    #[test]
    fn append_before_login_is_no_message() {
        let mut framer = Framer::new();
        assert_eq!(run(&mut framer, b"a APPEND x {2000}\r\n"), ["LiteralRefused \"a APPEND x {2000}\\r\\n\""]);
    }
}
