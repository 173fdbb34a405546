//! One connection: moves bytes between the client and the protocol, and does what the protocol asks for.

use crate::{
    backend::{Backend, Lost},
    convert,
    message::Message,
    service::Service,
};
use exposed_tls::{Accepted, Inbox, Slot, Stream};
use pure_addr::Text;
use pure_smtp::{Action, AuthVerdict, CommitVerdict, Outcome, RecipientVerdict, Role, SenderVerdict, Session, Step, Tls, Transaction};
use rustix::net::RecvFlags;
use std::{io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use wire::{
    List,
    edge::mail::{self, Envelope, SessionId, Submitted},
};
use zeroize::Zeroizing;

/// Bytes of input that may wait; more than the longest line.
const INPUT: usize = 32 * 1024;
/// Replies are sent when so many bytes of them wait, even if the client has sent more commands.
const OUTPUT: usize = 16 * 1024;
/// Time that a transaction has to end once the service is to stop; less than the jail's own limit.
const GRACE: Duration = Duration::from_secs(5);
/// After our last word, how long and how much the client may still send, so that a reset does not overtake that word.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024;

/// Serves one connection to its end.
pub(crate) async fn serve(service: Arc<Service>, accepted: Accepted, implicit_tls: bool) {
    let Accepted { stream, peer, session, slot } = accepted;
    let peer = peer.ip();
    tracing::debug!(%session, %peer, implicit_tls, "connected");
    let stream = if implicit_tls {
        match service.tls.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%session, %peer, %error, "TLS handshake failed");
                return;
            }
        }
    } else {
        Stream::Plain(stream)
    };
    let tls = stream.is_tls().then(|| Tls { channel_binding: stream.channel_binding().is_some() });
    let now = Instant::now();
    let connection = Connection {
        service: &service,
        protocol: Session::new(service.settings.clone(), tls, true),
        backend: Backend::new(&service.backends, session, peer),
        session,
        peer,
        slot: Some(slot),
        inbox: Inbox::default(),
        message: None,
        deadlines: Deadlines { end: now + service.settings.limits.session_time, since: now, content: None, stopping: None },
    };
    match connection.run(stream).await {
        Ok(()) => tracing::debug!(%session, %peer, "ended"),
        Err(error) => tracing::debug!(%session, %peer, %error, "broken off"),
    }
}

struct Connection<'a> {
    service: &'a Service,
    protocol: Session,
    backend: Backend<'a>,
    session: SessionId,
    peer: IpAddr,
    /// Given back with our last word.
    slot: Option<Slot>,
    inbox: Inbox,
    message: Option<Message>,
    deadlines: Deadlines,
}

/// What the client's time ends with.
struct Deadlines {
    end: Instant,
    /// Since when we wait for what comes next.
    since: Instant,
    /// Since when content is arriving.
    content: Option<Instant>,
    /// When a stopping service gives up on the transaction.
    stopping: Option<Instant>,
}

impl Connection<'_> {
    async fn run(mut self, mut stream: Stream) -> io::Result<()> {
        let mut content = Vec::new();
        self.protocol.greet(spoke_first(&stream));
        loop {
            let mut input = self.inbox.data();
            let before = input.len();
            let step = self.protocol.step(&mut input, &mut content);
            let used = before.saturating_sub(input.len());
            self.inbox.consume(used);
            if used > 0 {
                self.deadlines.since = Instant::now();
            }
            let kept = self.keep(&mut content);
            match step {
                Step::Read => {
                    if !kept {
                        self.protocol.storage_failed();
                    }
                    self.send(&mut stream).await?;
                    if !self.receive(&mut stream).await? {
                        break;
                    }
                }
                Step::Do(Action::StartTls) => {
                    let Stream::Plain(socket) = stream else { return Err(io::ErrorKind::InvalidInput.into()) };
                    stream = self.start_tls(socket).await?;
                }
                Step::Do(Action::Commit(_)) if !kept => self.protocol.resume(Outcome::Committed(CommitVerdict::Deferred)),
                Step::Do(action) => {
                    if !kept {
                        self.protocol.storage_failed();
                    }
                    if self.protocol.output().len() >= OUTPUT {
                        self.send(&mut stream).await?;
                    }
                    self.act(action, &stream).await;
                    self.deadlines.since = Instant::now();
                }
                Step::Close => {
                    // Before the client can know that it may come again.
                    self.slot = None;
                    self.send(&mut stream).await?;
                    // Nobody counts this connection any more, so there are only so many of them.
                    if let Ok(_place) = self.service.lingering.try_acquire() {
                        linger(&mut stream).await;
                    }
                    break;
                }
            }
        }
        self.backend.abort().await;
        // Before the stream is closed: who sees the end of this connection and comes again finds the room free.
        self.message = None;
        Ok(())
    }

    /// Puts content into the message; false when that failed, which leaves no message.
    fn keep(&mut self, content: &mut Vec<u8>) -> bool {
        if content.is_empty() {
            return true;
        }
        // Content without a message belongs to one that had failed before.
        let kept = match self.message.as_mut().map(|m| m.append(content)) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::warn!(session = %self.session, peer = %self.peer, %error, "cannot keep a message");
                self.message = None;
                false
            }
            None => false,
        };
        content.clear();
        kept
    }

    async fn send(&mut self, stream: &mut Stream) -> io::Result<()> {
        let output = self.protocol.output();
        if output.is_empty() {
            return Ok(());
        }
        let limit = self.service.settings.limits.write_time;
        timeout(limit, async {
            stream.write_all(output).await?;
            stream.flush().await
        })
        .await??;
        output.clear();
        Ok(())
    }

    /// Reads once; false when the client has gone.
    async fn receive(&mut self, stream: &mut Stream) -> io::Result<bool> {
        let stopping = self.deadlines.stopping.is_some();
        if stopping && self.protocol.is_idle() {
            self.protocol.shut_down();
            return Ok(true);
        }
        // RFC 4954 4: once.
        let secrets = self.service.settings.role == Role::Submission && self.backend.owner().is_none();
        self.inbox.expect_secrets(secrets);
        stream.expect_secrets(secrets);
        let deadline = self.deadline();
        let mut service = self.service.stopping.clone();
        tokio::select! {
            biased;
            // A sender that is gone means that the process ends.
            _ = service.wait_for(|stop| *stop), if !stopping => {
                if self.protocol.is_idle() {
                    self.protocol.shut_down();
                } else {
                    self.deadlines.stopping = Some(Instant::now() + GRACE);
                }
                Ok(true)
            }
            read = timeout_at(deadline, self.inbox.fill(stream, INPUT)) => match read {
                Ok(read) => Ok(read? > 0),
                Err(_elapsed) => {
                    if stopping { self.protocol.shut_down() } else { self.protocol.time_out() }
                    Ok(true)
                }
            }
        }
    }

    /// Absolute: a client that sends a byte now and then gains nothing (RFC 5321 4.5.3.2).
    fn deadline(&mut self) -> Instant {
        let patience = self.protocol.patience();
        let deadlines = &mut self.deadlines;
        let mut deadline = deadlines.end.min(deadlines.since + patience.each);
        match patience.whole {
            Some(whole) => deadline = deadline.min(*deadlines.content.get_or_insert_with(Instant::now) + whole),
            None => deadlines.content = None,
        }
        deadlines.stopping.map_or(deadline, |stopping| deadline.min(stopping))
    }

    async fn start_tls(&mut self, socket: TcpStream) -> io::Result<Stream> {
        // RFC 3207 4.2: what came before the handshake is forgotten, here and in the kernel, before we invite the handshake.
        self.inbox.clear();
        drain(&socket);
        let mut plain = Stream::Plain(socket);
        self.send(&mut plain).await?;
        let Stream::Plain(socket) = plain else { return Err(io::ErrorKind::InvalidInput.into()) };
        let stream = self.service.tls.accept(socket).await?;
        self.protocol.resume(Outcome::TlsStarted(Tls { channel_binding: stream.channel_binding().is_some() }));
        self.deadlines.since = Instant::now();
        Ok(stream)
    }

    async fn act(&mut self, action: Action, stream: &Stream) {
        let outcome = match self.outcome(action, stream).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return,
            // Whatever waited for the answer is dropped with the session.
            Err(Lost) => return self.protocol.shut_down(),
        };
        self.protocol.resume(outcome);
    }

    async fn outcome(&mut self, action: Action, stream: &Stream) -> Result<Option<Outcome>, Lost> {
        Ok(Some(match action {
            Action::CheckSender(path) => {
                let from = path.to_string();
                let verdict = self.backend.sender(path).await?;
                if verdict != SenderVerdict::Accept {
                    tracing::info!(session = %self.session, peer = %self.peer, account = self.account(), from, ?verdict, "sender refused");
                }
                Outcome::Sender(verdict)
            }
            Action::CheckRecipient { reverse_path, recipient } => {
                let (from, to) = (reverse_path.to_string(), recipient.to_string());
                let verdict = self.backend.recipient(reverse_path, recipient).await?;
                if verdict != RecipientVerdict::Accept {
                    tracing::info!(session = %self.session, peer = %self.peer, account = self.account(), from, to, ?verdict, "recipient refused");
                }
                Outcome::Recipient(verdict)
            }
            Action::BeginMessage => {
                let message = Message::new(&self.service.budget, self.peer, self.service.settings.limits.message_size);
                if let Err(error) = &message {
                    tracing::warn!(session = %self.session, peer = %self.peer, %error, "cannot begin a message");
                }
                self.message = message.ok();
                Outcome::Began(self.message.is_some())
            }
            Action::DropMessage => {
                self.message = None;
                tracing::info!(session = %self.session, peer = %self.peer, account = self.account(), "message dropped before it was complete");
                return Ok(None);
            }
            Action::Commit(transaction) => Outcome::Committed(self.commit(*transaction, stream).await?),
            Action::AuthStart { mechanism, initial } => {
                let verdict = self.backend.log_in(mechanism, &initial, stream.channel_binding()).await;
                self.known(verdict)
            }
            Action::AuthContinue(response) => {
                let verdict = self.backend.go_on(&response).await;
                self.known(verdict)
            }
            Action::AuthAbort => {
                self.backend.abort().await;
                return Ok(None);
            }
            // Handled where the stream can be exchanged.
            Action::StartTls => return Err(Lost),
        }))
    }

    fn known(&self, verdict: AuthVerdict) -> Outcome {
        if let (AuthVerdict::Success(_), Some(slot)) = (&verdict, &self.slot) {
            slot.authenticated();
        }
        Outcome::Auth(verdict)
    }

    fn account(&self) -> Option<String> {
        self.backend.owner().map(|o| o.address.to_string())
    }

    async fn commit(&mut self, transaction: Transaction, stream: &Stream) -> Result<CommitVerdict, Lost> {
        let sealed = self.message.take().map(Message::seal).transpose();
        let (message, _share) = match sealed {
            Ok(Some(sealed)) => sealed,
            Ok(None) => return Ok(CommitVerdict::Deferred),
            Err(error) => {
                tracing::warn!(session = %self.session, peer = %self.peer, %error, "cannot seal a message");
                return Ok(CommitVerdict::Deferred);
            }
        };
        let (from, recipients) = (transaction.reverse_path.to_string(), transaction.recipients().len());
        let Some(envelope) = self.envelope(transaction, stream.tls_info()) else { return Ok(CommitVerdict::Deferred) };
        let account = self.account();
        let submitted = self.backend.commit(envelope, &message).await?;
        let (session, peer, bytes) = (self.session, self.peer, message.len());
        match submitted {
            Submitted::Accepted(id) => {
                tracing::info!(MESSAGE = %id, %session, %peer, account, from, recipients, bytes, tls = stream.is_tls(), "accepted");
            }
            Submitted::Rejected(reason) => tracing::info!(%session, %peer, account, from, recipients, bytes, ?reason, "message refused"),
            Submitted::RateLimited => {
                tracing::warn!(%session, %peer, account, from, recipients, bytes, "message deferred: too much was sent")
            }
            Submitted::Deferred => tracing::warn!(%session, %peer, account, from, recipients, bytes, "message deferred"),
        }
        Ok(convert::commit_verdict(submitted))
    }

    /// None when there are more recipients than the edge takes, which the protocol's limit rules out.
    fn envelope(&self, transaction: Transaction, tls: Option<mail::Tls>) -> Option<Envelope> {
        Some(Envelope {
            session: self.session,
            peer: self.peer,
            helo: self.protocol.hello().cloned().unwrap_or_else(|| Text::lossy(b"")),
            extended: self.protocol.is_extended(),
            smtputf8: transaction.smtputf8,
            require_tls: transaction.require_tls,
            tls,
            body: convert::body(transaction.body),
            ret: transaction.ret.map(convert::ret),
            envid: transaction.envid.clone(),
            reverse_path: transaction.reverse_path.clone(),
            recipients: List::new(transaction.into_recipients().into_iter().map(convert::recipient).collect())?,
        })
    }
}

/// Whether the client has sent something before our greeting (SMUG-11). Under TLS it may have: its end of the handshake.
fn spoke_first(stream: &Stream) -> bool {
    let Stream::Plain(socket) = stream else { return false };
    let mut byte = [0; 1];
    matches!(rustix::net::recv(socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((n, _)) if n > 0)
}

/// Takes what the kernel holds for us and forgets it; bounded, since a client can always send more.
fn drain(socket: &TcpStream) {
    let mut buffer = [0; 4096];
    for _ in 0..16 {
        match rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((n, _)) if n > 0 => {}
            _ => return,
        }
    }
}

/// Ends our direction and waits a little for the client to end its own.
async fn linger(stream: &mut Stream) {
    let _elapsed = timeout(LINGER, async {
        // The client may be gone already.
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut buffer = Zeroizing::new([0; 4096]);
        let mut left = LINGER_BYTES;
        while let Ok(n) = stream.read(&mut *buffer).await {
            left = left.saturating_sub(n);
            if n == 0 || left == 0 {
                return;
            }
        }
    })
    .await;
}
