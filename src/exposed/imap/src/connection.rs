use crate::limits;
use exposed_tls::{Inbox, Stream};
use pure_imap::{
    Command, Event, Fatal, Framer, Message, Out, Tag,
    parse::{self, Refused},
    response,
};
use pure_sasl::Secret;
use std::{io, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The client's socket.
    #[error("client: {0}")]
    Client(#[from] io::Error),
    /// The store's or auth's socket; a `Refused` among them ends only the command.
    #[error("store: {0}")]
    Store(#[from] wire::Error),
    /// The client broke a limit of the protocol.
    #[error("{0}")]
    Protocol(#[from] Fatal),
    /// The client is gone, said good-bye, or was told so: nothing more to say.
    #[error("ended")]
    Ended,
}

/// What the client has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// A whole command.
    Command,
    /// The line that was expected.
    Line,
    /// A message of APPEND is announced.
    Message(Message),
    /// The message is complete.
    MessageEnd,
    /// The APPEND is complete.
    AppendEnd,
    /// A refused APPEND is over.
    AppendDiscarded,
    /// A literal was too large and not sent.
    LiteralRefused,
}

/// The client's end: bytes in, framed; answers out, collected.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) framer: Framer,
    pub(crate) out: Out,
    inbox: Inbox,
    buffers: bool,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, framer: Framer::new(), out: Out::new(false), inbox: Inbox::default(), buffers: false }
    }

    /// The client has logged in; no password comes any more, and so nothing is overwritten any more.
    pub(crate) fn authenticated(&mut self, message_limit: u32) {
        self.framer.authenticated(message_limit);
        self.inbox.expect_secrets(false);
        self.stream.expect_secrets(false);
    }

    /// The socket, without anything that was received and not used.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// What the bytes at hand amount to; none when more are needed. Bytes of a message go to `sink`.
    pub(crate) fn input(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<Option<Input>, Fault> {
        loop {
            let data = self.inbox.data();
            let nothing_left = data.is_empty();
            let (used, event) = self.framer.feed(data);
            let input = match event {
                Event::More => None,
                Event::Chunk(bytes) => {
                    sink(bytes);
                    None
                }
                Event::Continue => {
                    response::continuation(&mut self.out, "OK");
                    None
                }
                Event::Command => Some(Input::Command),
                Event::Line => Some(Input::Line),
                Event::Message(message) => Some(Input::Message(message)),
                Event::MessageEnd => Some(Input::MessageEnd),
                Event::AppendEnd => Some(Input::AppendEnd),
                Event::AppendDiscarded => Some(Input::AppendDiscarded),
                Event::LiteralRefused => Some(Input::LiteralRefused),
                Event::Fatal(why) => return Err(why.into()),
            };
            self.inbox.consume(used);
            if input.is_some() || nothing_left {
                return Ok(input);
            }
        }
    }

    /// Waits for bytes. Safe to drop before it completes.
    pub(crate) async fn fill(&mut self) -> Result<(), Fault> {
        match self.inbox.fill(&mut self.stream, limits::INBOX).await? {
            0 => Err(Fault::Ended),
            _ => {
                self.buffers = true;
                Ok(())
            }
        }
    }

    /// The next command, with its tag as far as it has one; for when nothing else can happen.
    pub(crate) async fn command(&mut self) -> Result<(Option<Tag>, Result<Command, Refused>), Fault> {
        loop {
            match self.input(&mut |_| {})? {
                Some(Input::Command) => return Ok(parse::command(self.framer.command(), parse::Mode::default())),
                Some(_) => return Ok((self.tag(), Err(parse::Bad::Syntax.into()))),
                None => {
                    self.flush().await?;
                    self.fill().await?;
                }
            }
        }
    }

    /// The next line that is not a command, without its CRLF; for exchanges before anything else can happen.
    pub(crate) async fn line(&mut self) -> Result<Secret, Fault> {
        self.framer.expect_line();
        loop {
            match self.input(&mut |_| {})? {
                Some(Input::Line) => {
                    let line = self.framer.command();
                    return Ok(Secret::new(line.strip_suffix(b"\r\n").unwrap_or(line).to_vec()));
                }
                Some(_) => return Err(Fatal::Order.into()),
                None => {
                    self.flush().await?;
                    self.fill().await?;
                }
            }
        }
    }

    /// Writes everything; a client that does not read loses its connection.
    pub(crate) async fn flush(&mut self) -> Result<(), Fault> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.buffers = true;
        self.write(limits::WRITE).await?;
        Ok(())
    }

    async fn write(&mut self, patience: Duration) -> io::Result<()> {
        let writing = async {
            self.stream.write_all(self.out.bytes()).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(patience, writing).await??;
        self.out.clear();
        Ok(())
    }

    /// Writes when enough has been collected.
    pub(crate) async fn flush_if_full(&mut self) -> Result<(), Fault> {
        if self.out.len() >= limits::OUTPUT { self.flush().await } else { Ok(()) }
    }

    /// Whether an idle session has something to give back.
    pub(crate) fn holds_buffers(&self) -> bool {
        self.buffers
    }

    /// Gives all buffers back.
    pub(crate) fn release(&mut self) {
        self.out.release();
        self.framer.release();
        self.inbox.release();
        self.buffers = false;
    }

    /// The last words; nobody is waited for.
    pub(crate) async fn goodbye(&mut self, code: Option<&'static str>, text: &str) {
        let code = code.map(response::Code::Plain);
        response::status(&mut self.out, None, response::Condition::Bye, code.as_ref(), text);
        self.close().await;
        let _ = tokio::time::timeout(limits::GRACE, Box::pin(self.linger())).await;
    }

    /// Closing a socket that has bytes nobody read resets it, and the client may never see why: a little is read and dropped first.
    async fn linger(&mut self) -> io::Result<()> {
        let mut scratch = Zeroizing::new(vec![0; limits::LINGER / 16]);
        let mut left = limits::LINGER;
        while left > 0 {
            match self.stream.read(&mut scratch).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        Ok(())
    }

    /// Writes what there is and ends the stream in order.
    pub(crate) async fn close(&mut self) {
        // A client that is gone needs no good-bye.
        if self.write(limits::GRACE).await.is_ok() {
            let _ = tokio::time::timeout(limits::GRACE, self.stream.shutdown()).await;
        }
    }

    /// The tag of what was framed last.
    pub(crate) fn tag(&self) -> Option<Tag> {
        parse::tag_of(self.framer.command())
    }
}

/// The tagged answer to a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) condition: response::Condition,
    pub(crate) code: Option<response::Code>,
    pub(crate) text: &'static str,
}

impl Answer {
    pub(crate) fn ok(text: &'static str) -> Self {
        Self { condition: response::Condition::Ok, code: None, text }
    }

    pub(crate) fn no(code: &'static str, text: &'static str) -> Self {
        Self { condition: response::Condition::No, code: Some(response::Code::Plain(code)), text }
    }

    pub(crate) fn bad(text: &'static str) -> Self {
        Self { condition: response::Condition::Bad, code: None, text }
    }

    pub(crate) fn with(mut self, code: response::Code) -> Self {
        self.code = Some(code);
        self
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.condition == response::Condition::Ok
    }

    pub(crate) fn write(&self, out: &mut Out, tag: Option<&Tag>) {
        response::status(out, tag, self.condition, self.code.as_ref(), self.text);
    }
}
