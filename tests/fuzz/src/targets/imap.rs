//! What an IMAP client says, framed, parsed, and answered as far as that needs no store.
//!
//! Byte 0 is the state, byte 1 how the rest is cut into reads.

use pure_imap::{
    Command, Event, FetchItem, Framer, Mailbox, Out, Pattern, Ranges, SeqMap, SequenceSet, envelope, limits, parse,
    response::{self, Condition, ListKind},
    section,
};
use pure_index::MessageIndex;
use std::sync::LazyLock;

pub(super) const WORDS: &[&str] = &[
    "a1 ",
    "\r\n",
    "LOGIN alice x\r\n",
    "AUTHENTICATE PLAIN ",
    "SELECT ",
    " (QRESYNC (1 5 1:* (1:3 1:3)))",
    " (CONDSTORE)",
    "UID ",
    "FETCH 1:* ",
    "STORE 1 +FLAGS.SILENT (\\Seen)",
    " (UNCHANGEDSINCE 5)",
    " (CHANGEDSINCE 5 VANISHED)",
    "BODY.PEEK[",
    "BODY[1.2.HEADER.FIELDS.NOT (From \"To\")]<0.100>",
    "BINARY.SIZE[1]",
    "RFC822",
    "ENVELOPE",
    "BODYSTRUCTURE",
    "SEARCH RETURN (MIN MAX ALL COUNT SAVE) ",
    "CHARSET UTF-8 ",
    "OR ",
    "NOT ",
    "(",
    ")",
    "HEADER From x",
    "MODSEQ \"/flags/\\\\draft\" all 5",
    "1-Jan-2026",
    "\"17-Jul-1996 02:44:25 -0700\"",
    "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"%\" \"*\") RETURN (STATUS (MESSAGES))",
    "LSUB \"\" *",
    "APPEND INBOX (\\Seen) {5+}\r\n",
    "~{5}\r\n",
    "{5+}\r\n",
    "{5}\r\n",
    "UTF8 (",
    "SORT (REVERSE DATE SUBJECT) UTF-8 ALL",
    "THREAD REFERENCES UTF-8 ALL",
    "IDLE\r\n",
    "DONE\r\n",
    "ENABLE QRESYNC UTF8=ACCEPT\r\n",
    "&APw-",
    "*:4294967295",
    "$",
    "NIL",
    "\\Answered",
    "$Forwarded",
    "GETQUOTAROOT INBOX\r\n",
    "STATUS INBOX (MESSAGES UIDNEXT)",
    "CREATE x (USE (\\Sent))",
    "MOVE 1:3 x",
    "ID (\"name\" NIL)",
];

/// Bytes of the largest message of APPEND.
const MESSAGE: u32 = 10_000;

pub(super) fn before_login(input: &[u8]) {
    run(input, false);
}

pub(super) fn after_login(input: &[u8]) {
    run(input, true);
}

fn run(input: &[u8], logged_in: bool) {
    let [state, how, rest @ ..] = input else { return };
    let whole = Reader::new(*state, logged_in).read(rest, rest.len().max(1));
    let step = match how % 4 {
        0 => return,
        1 => 1,
        n => usize::from(n) * 11,
    };
    // However the bytes arrive, they say the same.
    assert_eq!(whole, Reader::new(*state, logged_in).read(rest, step));
}

struct Reader {
    framer: Framer,
    logged_in: bool,
    refuses: bool,
    mode: parse::Mode,
    out: Out,
    seen: Vec<String>,
    append: Option<bool>,
}

impl Reader {
    fn new(state: u8, logged_in: bool) -> Self {
        let mut framer = Framer::new();
        if logged_in {
            framer.authenticated(MESSAGE);
        }
        if state & 1 != 0 {
            framer.expect_line();
        }
        let utf8 = state & 2 != 0;
        let mode = parse::Mode { utf8_names: utf8 };
        Self { framer, logged_in, refuses: state & 4 != 0, mode, out: Out::new(utf8), seen: Vec::new(), append: None }
    }

    fn read(mut self, input: &[u8], step: usize) -> Vec<String> {
        let mut waiting: Vec<u8> = Vec::new();
        let mut message = 0;
        for piece in input.chunks(step) {
            waiting.extend_from_slice(piece);
            loop {
                let nothing_left = waiting.is_empty();
                let (used, event) = self.framer.feed(&waiting);
                assert!(used <= waiting.len());
                let event = match event {
                    Event::Chunk(bytes) => {
                        message += bytes.len();
                        assert!(message <= MESSAGE as usize);
                        None
                    }
                    Event::More => None,
                    Event::Fatal(why) => {
                        self.seen.push(format!("{why:?}"));
                        assert!(self.framer.command().is_empty());
                        return self.seen;
                    }
                    Event::Message(announced) => {
                        message = 0;
                        assert!(self.logged_in && announced.len <= MESSAGE);
                        self.announced(announced.first);
                        None
                    }
                    Event::Command => Some("command"),
                    Event::Line => Some("line"),
                    Event::Continue => Some("continue"),
                    Event::MessageEnd => Some("message"),
                    Event::AppendEnd => Some("append"),
                    Event::LiteralRefused => Some("refused"),
                    Event::AppendDiscarded => Some("discarded"),
                };
                waiting.drain(..used);
                if let Some(event) = event {
                    self.seen.push(event.to_owned());
                    match event {
                        "command" => self.command(),
                        "append" => {
                            let end = parse::append_end(self.framer.command(), self.append.unwrap_or_default());
                            self.seen.push(format!("{end:?}"));
                        }
                        _ => {}
                    }
                }
                let most = if self.logged_in { limits::LINE + limits::LITERALS } else { limits::PRE_AUTH_LINE + limits::PRE_AUTH_LITERALS };
                assert!(self.framer.command().len() <= most);
                if used == 0 && event.is_none() && nothing_left {
                    break;
                }
            }
        }
        self.seen
    }

    fn announced(&mut self, first: bool) {
        let parsed = if first {
            let (tag, parsed) = parse::append(self.framer.command(), self.mode);
            self.seen.push(format!("{tag:?}"));
            parsed.map(|append| append.message)
        } else {
            parse::append_next(self.framer.command(), self.append.unwrap_or_default())
        };
        self.seen.push(format!("{parsed:?}"));
        match parsed {
            Ok(message) if !self.refuses => {
                self.append = Some(message.utf8);
                self.framer.accept();
            }
            _ => {
                self.framer.refuse();
            }
        }
    }

    fn command(&mut self) {
        let (tag, parsed) = parse::command(self.framer.command(), self.mode);
        self.seen.push(format!("{tag:?} {parsed:?}"));
        if let Some(tag) = &tag {
            assert!(!tag.as_str().is_empty() && tag.as_str().len() <= limits::TAG && tag.as_str().bytes().all(|b| b.is_ascii_graphic()));
        }
        self.out.clear();
        match parsed {
            Ok(Command::Idle | Command::Authenticate { initial: None, .. }) => self.framer.expect_line(),
            Ok(command) => self.answer(command),
            Err(_) => {}
        }
        response::status(&mut self.out, tag.as_ref(), Condition::Ok, None, "done");
        check_answer(self.out.bytes());
    }

    fn answer(&mut self, command: Command) {
        let out = &mut self.out;
        let named = |name: &Mailbox| match name {
            Mailbox::Named(name) => Some(name.clone()),
            Mailbox::Impossible => None,
        };
        match command {
            Command::List(query) => {
                for pattern in query.patterns.iter().map(|pattern| Pattern::new(&query.reference, pattern)) {
                    for name in ["INBOX", "Archive/2026/Entwürfe", "a\"b\\c", "&-"] {
                        if pattern.matches(name) {
                            response::list(out, ListKind::List, &["\\HasChildren"], name, true);
                        }
                    }
                }
            }
            Command::Lsub { reference, pattern } => {
                Pattern::new(&reference, &pattern).matches("Archive/2026");
            }
            Command::Status { mailbox, items } => {
                if let Some(name) = named(&mailbox) {
                    let values: Vec<_> = items.into_iter().map(|item| (item, "1".to_owned())).collect();
                    response::status_items(out, &name, &values);
                }
            }
            Command::Create { mailbox, .. } | Command::Delete(mailbox) | Command::GetQuotaRoot(mailbox) => {
                if let Some(name) = named(&mailbox) {
                    response::list(out, ListKind::List, &[], name.as_str(), false);
                    response::quota_root(out, &name, "");
                }
            }
            Command::Fetch(query) => {
                let uids = numbers(&query.set);
                for seq in uids.iter().take(2) {
                    out.text("* ").display(seq).text(" FETCH (");
                    for (i, item) in query.items.iter().enumerate() {
                        out.text(if i > 0 { " " } else { "" });
                        response::fetch_name(out, item);
                        out.text(" ");
                        value(out, item);
                    }
                    out.text(")").end();
                }
            }
            Command::Store(query) => {
                response::flags_response(out, &query.flags);
                response::vanished(out, &numbers(&query.set), false);
            }
            Command::UidExpunge(set) => response::vanished(out, &numbers(&set), true),
            Command::Copy(query) | Command::Move(query) => response::vanished(out, &numbers(&query.set), false),
            _ => {}
        }
    }
}

/// A mailbox from which much was removed, and what of it a set means.
fn numbers(set: &SequenceSet) -> Ranges {
    let mut map = SeqMap::new();
    for (first, last) in [(2, 5), (7, 7), (9, 100), (4_294_967_000, u32::MAX)] {
        map.append_range(first, last);
    }
    let uids = set.resolve(map.last_uid()).unwrap_or_default();
    let known = uids.intersect(&map.uids());
    let seqs = map.seqs_of(&known);
    assert_eq!((seqs.count(), map.uids_of(&seqs)), (known.count(), known.clone()));
    assert_eq!(known.count() + map.uids().without(&known).count(), u64::from(map.len()));
    map.remove_all(&known);
    assert!(map.uids().intersect(&known).is_empty());
    known
}

static MAIL: &[u8] =
    b"From: \"A (b) \\\"c\\\"\" <a@mta.test>, g: x@y.test;\r\nSubject: =?utf-8?q?=C3=A9?= {5}\r\nDate: Mon, 1 Jan 2026 00:00:00 +0000\r\n\
Content-Type: multipart/mixed; boundary=b; x=\"a\\\"b\"\r\n\r\npreamble\r\n--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b\r\n\
Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ninside\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nQUIA\r\n--b--\r\n";
static INDEX: LazyLock<MessageIndex> = LazyLock::new(|| pure_mime::index(MAIL));

fn value(out: &mut Out, item: &FetchItem) {
    let structure = &INDEX.structure;
    match item {
        FetchItem::Envelope => envelope::envelope(out, &INDEX.envelope),
        FetchItem::Body => envelope::body_structure(out, structure, false),
        FetchItem::BodyStructure => envelope::body_structure(out, structure, true),
        FetchItem::Section { section, partial, .. } => {
            let header = section::header_needed(structure, section);
            assert!(header.is_none_or(|span| span.start <= span.end && span.end as usize <= MAIL.len()));
            let content = section::resolve(structure, section, |span| MAIL.get(span.start as usize..span.end as usize));
            let content = content.map(|content| partial.map_or(content.clone(), |partial| content.slice(partial)));
            match content {
                Some(content) => {
                    out.literal_header(content.len());
                    for piece in &content.0 {
                        match piece {
                            section::Piece::Message(span) => out.raw(&MAIL[span.start as usize..span.end as usize]),
                            section::Piece::EmptyLine(span) => out.raw(&b"\r\n"[span.start as usize..span.end as usize]),
                        };
                    }
                }
                None => drop(out.text("NIL")),
            }
        }
        FetchItem::Binary { path, .. } | FetchItem::BinarySize(path) => {
            let part = section::resolve_binary(structure, path);
            assert!(part.is_none_or(|part| part.span.end as usize <= MAIL.len()));
            out.text("NIL");
        }
        _ => drop(out.text("1")),
    }
}

/// RFC 9051 9: lines, with quoted strings and literals that are what they say, and parentheses that close.
pub(super) fn check_answer(answer: &[u8]) {
    let show = || String::from_utf8_lossy(answer).into_owned();
    let (mut at, mut line, mut depth, mut in_text) = (0, 0, 0i64, false);
    while let Some(byte) = answer.get(at) {
        at += 1;
        match byte {
            b'\r' => {
                assert_eq!(answer.get(at), Some(&b'\n'), "{}", show());
                at += 1;
                assert_eq!(depth, 0, "{}", show());
                in_text = false;
                line = at;
            }
            b'\n' | 0 => panic!("a bare control character: {}", show()),
            _ if in_text => {}
            b'"' => loop {
                let inside = answer.get(at).unwrap_or_else(|| panic!("an open string: {}", show()));
                at += 1;
                match inside {
                    b'\\' => {
                        assert!(matches!(answer.get(at), Some(b'"' | b'\\')), "{}", show());
                        at += 1;
                    }
                    b'"' => break,
                    b'\r' | b'\n' | 0 => panic!("a string over several lines: {}", show()),
                    _ => {}
                }
            },
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                assert!(depth >= 0, "{}", show());
            }
            b'{' => {
                let end = at + answer[at..].iter().position(|b| *b == b'}').unwrap();
                let len: usize = std::str::from_utf8(&answer[at..end]).unwrap().parse().unwrap();
                assert_eq!(answer.get(end + 1..end + 3), Some(&b"\r\n"[..]), "{}", show());
                at = end + 3 + len;
                assert!(at <= answer.len(), "{}", show());
            }
            // The text of a status line is free. A keyword and a mailbox may have the name OK, too.
            b' ' if answer[at..].starts_with(b"OK ") && !answer[line..at - 1].contains(&b' ') => in_text = true,
            _ => {}
        }
    }
    assert!(answer.is_empty() || answer.ends_with(b"\r\n"), "{}", show());
}
