//! The four edges that the queue serves.

use crate::{
    Clock,
    ask::Relay,
    spool::{Op, Spool},
    submit::Core,
};
use pure_addr::{AccountId, Address, ReversePath};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, broadcast};
use wire::{
    Conn, Error, List, Reply, Served, Service,
    edge::{
        mail::{Owner, RecipientVerdict, SessionId},
        queue_control::{self, QueueControl},
        queue_grant::{self, QueueGrant},
        queue_inbound::{self, QueueInbound},
        queue_submit::{self, QueueSubmit},
    },
};

/// Time that the new owner of a session's socket has to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(30);

/// queue/inbound: mail from strangers.
pub struct Inbound(pub(crate) Arc<Core>);

impl Service<QueueInbound> for Inbound {
    async fn call(&self, request: queue_inbound::Request, fds: Vec<OwnedFd>) -> Result<Reply<QueueInbound>, Error> {
        use queue_inbound::{Request, Response};
        Ok(Reply::new(match request {
            Request::Recipient { reverse_path, recipient } => {
                none(&fds)?;
                Response::Recipient(self.0.verdict(recipient, Relay::Refused, reverse_path == ReversePath::Null).await)
            }
            Request::Submit(envelope) => Response::Submitted(self.0.submit(envelope, None, fds).await?),
        }))
    }
}

/// queue/submit: mail of the one account that the socket was made for.
struct Submission {
    core: Arc<Core>,
    owner: Owner,
    /// The accounts whose sessions auth ends.
    ended: broadcast::Receiver<AccountId>,
    /// Recipients of the open transaction that were accepted, and how many there may be once that was asked.
    accepted: usize,
    allowed: Option<usize>,
}

impl Submission {
    /// Serves until the client is gone or breaks the protocol, or auth ends it. One request at a time, as the client's `Session`
    /// asks them.
    async fn serve(&mut self, fd: OwnedFd) -> Result<(), Error> {
        let served = Served::<QueueSubmit>::new(fd, HELLO_PATIENCE).await?;
        loop {
            let (id, request, fds) = tokio::select! {
                biased;
                // Between requests alone: of a message that is being accepted, the client hears.
                () = ended(&mut self.ended, self.owner.account) => return Ok(()),
                request = served.request() => request?,
            };
            match self.call(request, fds).await {
                Ok(answer) => served.answer(id, &Reply::new(answer)).await?,
                Err(error @ Error::Malformed(_)) => return Err(error),
                Err(_) => served.refuse(id).await?,
            }
        }
    }

    async fn call(&mut self, request: queue_submit::Request, fds: Vec<OwnedFd>) -> Result<queue_submit::Response, Error> {
        use queue_submit::{Request, Response};
        Ok(match request {
            Request::Sender(reverse_path) => {
                none(&fds)?;
                (self.accepted, self.allowed) = (0, None);
                Response::Sender(self.core.may_send_as(self.owner.account, &reverse_path).await)
            }
            Request::Recipient(recipient) => {
                none(&fds)?;
                Response::Recipient(self.recipient(recipient).await)
            }
            Request::Submit(envelope) => {
                (self.accepted, self.allowed) = (0, None);
                Response::Submitted(self.core.submit(envelope, Some(&self.owner), fds).await?)
            }
        })
    }

    /// Whoever has sent too much hears of it here already; what counts is the number at the end.
    async fn recipient(&mut self, recipient: Address) -> RecipientVerdict {
        let verdict = self.core.verdict(recipient, Relay::Allowed, false).await;
        if verdict != RecipientVerdict::Accept {
            return verdict;
        }
        let wanted = self.accepted.saturating_add(1);
        if self.allowed.is_none_or(|allowed| wanted > allowed) {
            self.allowed = self.core.allowance(&self.owner, wanted).await;
        }
        match self.allowed {
            None => RecipientVerdict::Unavailable,
            Some(allowed) if wanted > allowed => RecipientVerdict::RateLimited,
            Some(_) => {
                self.accepted = wanted;
                verdict
            }
        }
    }
}

/// queue/grant: sessions of accounts, asked for by auth.
pub struct Grant {
    core: Arc<Core>,
    sessions: Arc<Semaphore>,
    ended: broadcast::Sender<AccountId>,
}

/// Ends that a session may leave unread while it works on a request; one that has missed some ends, too.
const MAX_ENDED: usize = 16;

impl Grant {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let sessions = Arc::new(Semaphore::new(core.limits.sessions));
        Self { core, sessions, ended: broadcast::Sender::new(MAX_ENDED) }
    }

    /// One end of a new connection; the other is served until it is closed.
    fn session(&self, owner: Owner, session: SessionId) -> Result<Option<OwnedFd>, Error> {
        let Ok(slot) = self.sessions.clone().try_acquire_owned() else { return Ok(None) };
        let (ours, theirs) = Conn::pair()?;
        let account = owner.account;
        let ended = self.ended.subscribe();
        let mut submission = Submission { core: self.core.clone(), owner, ended, accepted: 0, allowed: None };
        tracing::info!(%session, %account, "submission session");
        tokio::spawn(async move {
            match submission.serve(ours).await {
                Ok(()) | Err(Error::Closed) => {}
                Err(error) => tracing::warn!(%session, %account, %error, "submission session ended"),
            }
            drop(slot);
        });
        Ok(Some(theirs))
    }
}

impl Service<QueueGrant> for Grant {
    async fn call(&self, request: queue_grant::Request, fds: Vec<OwnedFd>) -> Result<Reply<QueueGrant>, Error> {
        use queue_grant::{Request, Response};
        none(&fds)?;
        Ok(match request {
            Request::Session { owner, session } => match self.session(owner, session)? {
                Some(fd) => Reply::with_fd(Response::Granted, fd),
                None => Reply::new(Response::Busy),
            },
            Request::End(account) => {
                tracing::info!(%account, "sessions ended by auth");
                // Refused when there is no session at all.
                let _ = self.ended.send(account);
                Reply::new(Response::Ended)
            }
        })
    }
}

/// Waits until the sessions of this account are over. Safe to drop before it completes.
async fn ended(ends: &mut broadcast::Receiver<AccountId>, own: AccountId) {
    loop {
        match ends.recv().await {
            Ok(account) if account != own => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            // Nobody is left who could end it.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// queue/control: the administrator.
pub struct Control {
    pub(crate) spool: Arc<Spool>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Service<QueueControl> for Control {
    async fn call(&self, request: queue_control::Request, fds: Vec<OwnedFd>) -> Result<Reply<QueueControl>, Error> {
        use queue_control::{Request, Response};
        none(&fds)?;
        let now = self.clock.now();
        Ok(Reply::new(match request {
            Request::List { after, filter } => {
                let list = self.spool.ask(|answer| Op::List(after, filter, answer)).await.ok_or(Error::Refused)?;
                Response::Messages(List::new(list).ok_or(Error::TooLarge)?)
            }
            Request::Show(id) => match self.spool.ask(|answer| Op::Show(id, answer)).await.ok_or(Error::Refused)? {
                Some((message, recipients)) => Response::Message(Box::new((message, List::new(recipients).ok_or(Error::TooLarge)?))),
                None => Response::NoSuchMessage,
            },
            Request::Trace(id) => match self.spool.ask(|answer| Op::Trace(id, answer)).await.ok_or(Error::Refused)? {
                Some(attempts) => Response::Trace(List::new(attempts).ok_or(Error::TooLarge)?),
                None => Response::NoSuchMessage,
            },
            Request::Change { action, filter } => {
                let named = filter.id;
                tracing::warn!(?action, ?filter, "asked for by the administrator");
                if let Some(id) = named
                    && self.spool.ask(|answer| Op::Show(id, answer)).await.ok_or(Error::Refused)?.is_none()
                {
                    return Ok(Reply::new(Response::NoSuchMessage));
                }
                Response::Done(self.spool.ask(|answer| Op::Change { action, filter, now, answer }).await.ok_or(Error::Refused)?)
            }
        }))
    }
}

/// Requests that bring no descriptor.
fn none(fds: &[OwnedFd]) -> Result<(), Error> {
    if fds.is_empty() { Ok(()) } else { Err(Error::Malformed("a descriptor where none may be")) }
}
