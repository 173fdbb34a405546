//! The questions a session asks of other processes. Every failure is an answer of its own: not now.

use crate::service::{Backends, Entry};
use pure_addr::{Address, ReversePath};
use pure_sasl::Secret;
use pure_smtp::{AuthVerdict, Mechanism, RecipientVerdict, SenderVerdict};
use serde_bytes::ByteBuf;
use std::{
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
};
use wire::{
    Client, Edge, Error, Reply, SealedMessage, Session,
    edge::{
        auth_login::{self, AuthForSubmission, Failure},
        mail::{Envelope, Owner, SessionId, Submitted},
        queue_inbound::{self, QueueInbound},
        queue_submit::{self, QueueSubmit},
    },
};

/// One session's way to the backends.
#[derive(Debug)]
pub(crate) struct Backend<'a> {
    backends: &'a Backends,
    session: SessionId,
    peer: IpAddr,
    /// A login that waits for the client.
    exchange: Option<u64>,
    /// A login that succeeded.
    account: Option<Account>,
}

#[derive(Debug)]
struct Account {
    owner: Owner,
    queue: Session<QueueSubmit>,
}

/// The backend cannot be reached in this session any more; only a new login helps.
#[derive(Debug)]
pub(crate) struct Lost;

impl<'a> Backend<'a> {
    pub(crate) fn new(backends: &'a Backends, session: SessionId, peer: IpAddr) -> Self {
        Self { backends, session, peer, exchange: None, account: None }
    }

    /// Who is logged in.
    pub(crate) fn owner(&self) -> Option<&Owner> {
        self.account.as_ref().map(|a| &a.owner)
    }

    pub(crate) async fn sender(&mut self, path: ReversePath) -> Result<SenderVerdict, Lost> {
        Ok(match self.submit(&queue_submit::Request::Sender(path), None).await? {
            Some(queue_submit::Response::Sender(Some(true))) => SenderVerdict::Accept,
            Some(queue_submit::Response::Sender(Some(false))) => SenderVerdict::NotYours,
            _ => SenderVerdict::Unavailable,
        })
    }

    pub(crate) async fn recipient(&mut self, reverse_path: ReversePath, recipient: Address) -> Result<RecipientVerdict, Lost> {
        let verdict = match &self.backends.entry {
            Entry::Inbound(client) => {
                let request = queue_inbound::Request::Recipient { reverse_path, recipient };
                match self.ask_twice(client, &request).await {
                    Some(Reply { body: queue_inbound::Response::Recipient(verdict), .. }) => Some(verdict),
                    _ => None,
                }
            }
            Entry::Login(_) => match self.submit(&queue_submit::Request::Recipient(recipient), None).await? {
                Some(queue_submit::Response::Recipient(verdict)) => Some(verdict),
                _ => None,
            },
        };
        Ok(verdict.map_or(RecipientVerdict::Unavailable, crate::convert::recipient_verdict))
    }

    /// Hands a message over. It is not asked twice: the first time may have been heard.
    pub(crate) async fn commit(&mut self, envelope: Envelope, message: &SealedMessage) -> Result<Submitted, Lost> {
        let envelope = Box::new(envelope);
        let submitted = match &self.backends.entry {
            Entry::Inbound(client) => match client.call(&queue_inbound::Request::Submit(envelope), &[message.as_fd()]).await {
                Ok(Reply { body: queue_inbound::Response::Submitted(submitted), .. }) => Some(submitted),
                Ok(_) => None,
                Err(error) => {
                    self.failed(QueueInbound::NAME, &error);
                    None
                }
            },
            Entry::Login(_) => match self.submit(&queue_submit::Request::Submit(envelope), Some(message)).await? {
                Some(queue_submit::Response::Submitted(submitted)) => Some(submitted),
                _ => None,
            },
        };
        Ok(submitted.unwrap_or(Submitted::Deferred))
    }

    pub(crate) async fn log_in(&mut self, mechanism: Mechanism, initial: &Secret, channel_binding: Option<[u8; 32]>) -> AuthVerdict {
        let request = auth_login::Request::Start {
            session: self.session,
            peer: self.peer,
            mechanism: match mechanism {
                Mechanism::Plain => auth_login::Mechanism::Plain,
                Mechanism::ScramSha256 => auth_login::Mechanism::ScramSha256,
                Mechanism::ScramSha256Plus => auth_login::Mechanism::ScramSha256Plus,
            },
            initial: initial.as_bytes().into(),
            channel_binding: channel_binding.map(|b| ByteBuf::from(b.as_slice())),
        };
        let Entry::Login(client) = &self.backends.entry else { return AuthVerdict::Unavailable };
        let answer = self.ask_twice(client, &request).await;
        self.logged_in(answer).await
    }

    pub(crate) async fn go_on(&mut self, response: &Secret) -> AuthVerdict {
        let (Entry::Login(client), Some(exchange)) = (&self.backends.entry, self.exchange.take()) else { return AuthVerdict::Malformed };
        let request = auth_login::Request::Continue { exchange, response: response.as_bytes().into() };
        let answer = client.call(&request, &[]).await.inspect_err(|e| self.failed(AuthForSubmission::NAME, e)).ok();
        self.logged_in(answer).await
    }

    /// Forgets a login, whatever has become of it.
    pub(crate) async fn abort(&mut self) {
        self.account = None;
        if let (Entry::Login(client), Some(exchange)) = (&self.backends.entry, self.exchange.take()) {
            // auth forgets it by itself later; this only spares it the waiting.
            let _ = client.call(&auth_login::Request::Abort { exchange }, &[]).await;
        }
    }

    async fn logged_in(&mut self, answer: Option<Reply<AuthForSubmission>>) -> AuthVerdict {
        let Some(Reply { body, fds }) = answer else { return AuthVerdict::Unavailable };
        match body {
            auth_login::Response::Challenge { exchange, data } => {
                self.exchange = Some(exchange);
                AuthVerdict::Challenge(data.into_vec())
            }
            auth_login::Response::Success { owner, data } => match self.connect(fds).await {
                Some(queue) => {
                    tracing::info!(session = %self.session, peer = %self.peer, account = %owner.address, "logged in");
                    self.account = Some(Account { owner, queue });
                    AuthVerdict::Success(data.map(ByteBuf::into_vec))
                }
                None => AuthVerdict::Unavailable,
            },
            auth_login::Response::Failure(failure) => {
                tracing::info!(session = %self.session, peer = %self.peer, ?failure, "login failed");
                match failure {
                    Failure::Credentials => AuthVerdict::Refused,
                    Failure::TooMany | Failure::Unavailable => AuthVerdict::Unavailable,
                    Failure::Malformed => AuthVerdict::Malformed,
                }
            }
            auth_login::Response::Aborted => AuthVerdict::Malformed,
        }
    }

    /// The socket that came with a login.
    async fn connect(&self, mut fds: Vec<OwnedFd>) -> Option<Session<QueueSubmit>> {
        match Session::new(fds.pop()?).await {
            Ok(session) => Some(session),
            Err(error) => {
                self.failed(QueueSubmit::NAME, &error);
                None
            }
        }
    }

    /// Asks on the login's socket; no answer when the queue cannot do it now.
    async fn submit(
        &mut self,
        request: &queue_submit::Request,
        message: Option<&SealedMessage>,
    ) -> Result<Option<queue_submit::Response>, Lost> {
        let account = self.account.as_mut().ok_or(Lost)?;
        let fds: Vec<_> = message.iter().map(|m| m.as_fd()).collect();
        match account.queue.call(request, &fds).await {
            Ok(reply) => Ok(Some(reply.body)),
            Err(error) => {
                self.failed(QueueSubmit::NAME, &error);
                if !matches!(error, Error::Refused) {
                    // The next command ends the session; this one is answered with 451.
                    self.account = None;
                }
                Ok(None)
            }
        }
    }

    /// For questions that may be asked again: a server that was restarted meanwhile is asked once more.
    async fn ask_twice<E: Edge>(&self, client: &Client<E>, request: &E::Request) -> Option<Reply<E>> {
        for last in [false, true] {
            match client.call(request, &[]).await {
                Ok(reply) => return Some(reply),
                Err(Error::Closed | Error::Io(_)) if !last => {}
                Err(error) => {
                    self.failed(E::NAME, &error);
                    return None;
                }
            }
        }
        None
    }

    fn failed(&self, edge: &str, error: &Error) {
        tracing::warn!(session = %self.session, peer = %self.peer, edge, %error, "backend failed");
        if matches!(error, Error::OtherBuild) {
            self.backends.other_build.notify_one();
        }
    }
}
