//! One SMTP session over one connection: moves bytes for [`pure_smtp::client::Client`] and watches the clock.
//!
//! The time limits are for whole replies and blocks: bytes that drip in extend nothing.

use crate::{
    asker::Asker,
    limits::{BLOCK, READ},
    message::Message,
    stream::Stream,
    tls::{self, Established, Expected},
};
use pure_smtp::client::{BareBytes, Client, ClientSettings, Failure, Mail, Phase, Step, Timeouts, Unsuitable};
use std::{future::poll_fn, io, pin::Pin, task::Poll, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use wire::edge::{mail, send_deliver::TlsFailure};

/// How long an answer is waited for after the server has stopped reading.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A session that is ready for transactions.
#[derive(Debug)]
pub(crate) struct Session {
    stream: Stream,
    client: Client,
    timeouts: Timeouts,
    /// When it ends, whatever happens.
    ends: Instant,
    /// The connection's encryption.
    pub(crate) tls: Option<mail::Tls>,
    /// TLS, and what a verified connection would have been refused for.
    pub(crate) unverified: Option<TlsFailure>,
    /// Messages so far.
    pub(crate) messages: u32,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// The protocol.
    Smtp(Failure),
    /// The handshake.
    Tls(tls::Refused),
}

/// The content must not be sent.
#[derive(Debug)]
pub(crate) enum Unsendable {
    /// It has bare CR, LF or NUL.
    Bare,
    /// It cannot be read here.
    Unreadable(io::Error),
    /// Nobody could be told that it was delivered.
    Unwanted,
}

impl Session {
    /// Speaks until transactions can begin. With `implicit`, TLS comes first.
    pub(crate) async fn open(
        socket: TcpStream,
        settings: ClientSettings,
        implicit: bool,
        expected: Expected,
        timeouts: Timeouts,
    ) -> Result<Self, Unopened> {
        let ends = Instant::now().checked_add(timeouts.session).unwrap_or_else(Instant::now);
        let stream = Stream::Plain(socket);
        let mut session = Self { stream, client: Client::new(settings), timeouts, ends, tls: None, unverified: None, messages: 0 };
        if implicit {
            session.encrypt(expected.clone()).await?;
        }
        loop {
            match session.next().await {
                Step::Ready => return Ok(session),
                Step::Handshake => {
                    session.encrypt(expected.clone()).await?;
                    session.client.handshake_done();
                }
                Step::Failed(failure) => return Err(Unopened::Smtp(failure)),
                Step::Read | Step::Content | Step::Done(_) => return Err(Unopened::Smtp(Failure::OutOfStep(session.client.phase()))),
            }
        }
    }

    async fn encrypt(&mut self, expected: Expected) -> Result<(), Unopened> {
        let Some(socket) = self.stream.take_plain() else { return Err(Unopened::Smtp(Failure::OutOfStep(Phase::StartTls))) };
        let patience = self.timeouts.of(Phase::StartTls);
        let Established { stream, unverified } = tls::handshake(socket, expected, patience).await.map_err(Unopened::Tls)?;
        self.stream = Stream::Tls(Box::new(stream));
        (self.tls, self.unverified) = (self.stream.tls_info(), unverified);
        Ok(())
    }

    /// Whether STARTTLS was offered and then refused.
    pub(crate) fn starttls_refused(&self) -> bool {
        self.client.starttls_refused()
    }

    /// Whether another transaction can begin.
    pub(crate) fn is_ready(&self) -> bool {
        self.client.is_ready() && Instant::now() < self.ends
    }

    /// Whether nothing was heard since the last transaction: not its end, and not a word.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        self.is_ready() && self.heard().await.is_none()
    }

    /// Whether the server takes over DSN parameters.
    pub(crate) fn offers_dsn(&self) -> bool {
        self.client.offered().dsn
    }

    /// Recipients that one transaction may have.
    pub(crate) fn recipients(&self) -> usize {
        self.client.offered().recipients.unwrap_or(usize::MAX)
    }

    /// One transaction: what [`Client::step`] says at its end, `Done` or `Failed`.
    pub(crate) async fn transaction(
        &mut self,
        mail: Mail,
        message: &Message,
        asker: &Asker,
    ) -> Result<Result<Step, Unsendable>, Unsuitable> {
        self.client.begin(mail)?;
        Ok(match self.next().await {
            Step::Content => {
                self.messages = self.messages.saturating_add(1);
                self.send(message, asker).await
            }
            other => Ok(other),
        })
    }

    /// What is known of a transaction that did not come to its end.
    pub(crate) fn abandon(&mut self) -> Vec<pure_smtp::client::Verdict> {
        self.client.abandon()
    }

    /// Says goodbye; whoever calls does not need the answer.
    pub(crate) async fn quit(mut self) {
        if self.client.is_ready() {
            self.client.quit();
            let _ = self.next().await;
        }
        let _ = tokio::time::timeout(self.timeouts.of(Phase::Quit), self.stream.shutdown()).await;
    }

    /// Writes and reads until something is to be decided.
    async fn next(&mut self) -> Step {
        let mut replies = None;
        let mut deadline = self.ends;
        loop {
            let step = self.client.step();
            if replies != Some(self.client.replies()) {
                replies = Some(self.client.replies());
                deadline = self.deadline(self.timeouts.of(self.client.phase()));
            }
            if let Err(step) = self.flush(deadline).await {
                return step;
            }
            if step != Step::Read {
                return step;
            }
            let mut buffer = [0; READ];
            match timeout_at(deadline, self.stream.read(&mut buffer)).await {
                Ok(Ok(count @ 1..)) => self.client.receive(buffer.get(..count).unwrap_or_default()),
                Ok(_) => return self.client.lost(),
                Err(_elapsed) => return self.client.timed_out(),
            }
        }
    }

    fn deadline(&self, after: Duration) -> Instant {
        Instant::now().checked_add(after).map_or(self.ends, |deadline| deadline.min(self.ends))
    }

    async fn flush(&mut self, deadline: Instant) -> Result<(), Step> {
        let output = self.client.take_output();
        if output.is_empty() {
            return Ok(());
        }
        let writing = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        match timeout_at(deadline, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.last_words().await),
            Err(_elapsed) => Err(self.client.timed_out()),
        }
    }

    /// The server does not read any more; it may have said why.
    async fn last_words(&mut self) -> Step {
        let deadline = self.deadline(LAST_WORDS);
        loop {
            let mut buffer = [0; READ];
            match timeout_at(deadline, self.stream.read(&mut buffer)).await {
                Ok(Ok(count @ 1..)) => {
                    self.client.receive(buffer.get(..count).unwrap_or_default());
                    let step = self.client.step();
                    // What it would have us write cannot be written.
                    let _ = self.client.take_output();
                    if matches!(step, Step::Done(_) | Step::Failed(_)) {
                        return step;
                    }
                }
                _ => return self.client.lost(),
            }
        }
    }

    /// What has arrived, without waiting: none is nothing, no bytes are the end of the connection.
    async fn heard(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; READ];
        let stream = &mut self.stream;
        poll_fn(move |cx| {
            let mut read = ReadBuf::new(&mut buffer);
            Poll::Ready(match Pin::new(&mut *stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => Some(read.filled().to_vec()),
                Poll::Ready(Err(_)) => Some(Vec::new()),
                Poll::Pending => None,
            })
        })
        .await
    }

    /// A reply that comes before the content is complete ends the transaction.
    async fn interrupted(&mut self) -> Option<Step> {
        let heard = self.heard().await?;
        if heard.is_empty() {
            return Some(self.client.lost());
        }
        self.client.receive(&heard);
        match self.client.step() {
            Step::Content | Step::Read => None,
            step => Some(step),
        }
    }

    async fn send(&mut self, message: &Message, asker: &Asker) -> Result<Step, Unsendable> {
        let whole = self.deadline(self.timeouts.content(message.len()));
        let (mut offset, mut buffer) = (0_u64, vec![0; BLOCK]);
        while offset < message.len() {
            if let Some(step) = self.interrupted().await {
                return Ok(step);
            }
            let count = message.read(&mut buffer, offset).map_err(Unsendable::Unreadable)?;
            offset = offset.saturating_add(count as u64);
            if !asker.waits() {
                return Err(Unsendable::Unwanted);
            }
            self.client.content(buffer.get(..count).unwrap_or_default()).map_err(|BareBytes| Unsendable::Bare)?;
            // The last block goes with its end: with the last byte of a chunk (RFC 3030 2) the remote may answer, and that is no early reply.
            if count == 0 || offset >= message.len() {
                break;
            }
            let block = self.deadline(self.timeouts.of(Phase::Block)).min(whole);
            if let Err(step) = self.flush(block).await {
                return Ok(step);
            }
        }
        // RFC 5321 4.1.1.4: before the final dot the remote has nothing.
        if !asker.waits() {
            return Err(Unsendable::Unwanted);
        }
        self.client.end_content().map_err(|BareBytes| Unsendable::Bare)?;
        Ok(self.next().await)
    }
}
