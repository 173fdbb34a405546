//! The questions that the queue asks of others, and how far their answers are believed.

use crate::{admit::AcceptedRecipient, known::Known, limits::MAX_PARENT_LABELS};
use pure_addr::{AccountId, Address, Domain, LocalPart, Text};
use pure_index::{MessageIndex, judgement::Judgement};
use std::{
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};
use wire::{
    Client, Edge, Error, List, Reply, SealedMessage,
    edge::{
        auth_directory::{self, AuthDirectory, Target},
        keys_dkim::{MAX_SEALED_SETS, SealedSet, SigningInput},
        mail::{MAX_MESSAGE, Owner, Recipient},
        scan_index::{self, ScanForQueue},
    },
};

/// Recipients of one message that are looked up at a time.
const LANES: usize = 8;

/// Asks once more when the server ended with the question: each of these questions may be repeated.
pub(crate) async fn ask<E: Edge>(client: &Client<E>, request: &E::Request, fds: &[BorrowedFd<'_>]) -> Result<Reply<E>, Error> {
    match client.call(request, fds).await {
        Err(Error::Closed | Error::Io(_)) => client.call(request, fds).await,
        answer => answer,
    }
}

/// How long one question for changes of the directory waits, and how long after one that failed.
const CHANGED_PATIENCE: Duration = Duration::from_secs(3600);
const CHANGED_PAUSE: Duration = Duration::from_secs(1);

/// May mail be accepted for other domains?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relay {
    /// For a logged-in account.
    Allowed,
    /// Not for strangers.
    Refused,
}

/// What the directory makes of a recipient.
#[derive(Debug)]
pub(crate) enum Resolution {
    Accepted(AcceptedRecipient),
    Unknown,
    NoRelay,
    Unavailable,
}

/// The directory of `auth`.
#[derive(Debug)]
pub(crate) struct Directory {
    client: Client<AuthDirectory>,
    known: Known,
}

impl Directory {
    pub(crate) fn new(path: &Path) -> Arc<Self> {
        Arc::new(Self { client: Client::new(path), known: Known::default() })
    }

    /// Hears of changes, so that answers can be kept in between; never returns.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut generation = 0;
        loop {
            let request = auth_directory::Request::Changed(generation);
            let answer = self.client.call_within(CHANGED_PATIENCE, &request, &[]).await.map(|reply| reply.body);
            if let Ok(auth_directory::Response::Generation(now)) = answer {
                generation = now;
                self.known.forget(true);
            } else {
                generation = 0;
                self.known.forget(false);
                tokio::time::sleep(CHANGED_PAUSE).await;
            }
        }
    }

    /// Where mail for an address goes: from memory, or from auth.
    async fn targets(&self, address: &Address) -> Result<auth_directory::Response, Error> {
        let text = address.to_string();
        let epoch = match self.known.look(&text) {
            Ok(targets) => return Ok(auth_directory::Response::Targets(List::new(targets).unwrap_or_default())),
            Err(epoch) => epoch,
        };
        let answer = ask(&self.client, &auth_directory::Request::Resolve(address.clone()), &[]).await?.body;
        if let auth_directory::Response::Targets(targets) = &answer {
            self.known.keep(epoch, text, targets);
        }
        Ok(answer)
    }

    /// The only way to an [`AcceptedRecipient`].
    pub(crate) async fn resolve(&self, recipient: Recipient, relay: Relay) -> Resolution {
        let targets = match self.targets(&recipient.address).await {
            Ok(auth_directory::Response::Targets(targets)) if !targets.is_empty() => targets.into_vec(),
            Ok(auth_directory::Response::Targets(_) | auth_directory::Response::Unknown) => return Resolution::Unknown,
            Ok(auth_directory::Response::NotLocal) => match relay {
                Relay::Allowed => vec![Target::Remote(recipient.address.clone())],
                Relay::Refused => return Resolution::NoRelay,
            },
            Ok(auth_directory::Response::MaySend(_) | auth_directory::Response::Generation(_)) => {
                tracing::error!("the directory answered another question");
                return Resolution::Unavailable;
            }
            Err(error) => {
                tracing::warn!(%error, "the directory cannot be asked");
                return Resolution::Unavailable;
            }
        };
        Resolution::Accepted(AcceptedRecipient::new(recipient, targets))
    }

    /// Resolves all, in order.
    pub(crate) async fn resolve_all(self: &Arc<Self>, recipients: &[Recipient], relay: Relay) -> Vec<Resolution> {
        if let [only] = recipients {
            return vec![self.resolve(only.clone(), relay).await];
        }
        let mut lanes = Vec::new();
        for lane in recipients.chunks(recipients.len().div_ceil(LANES).max(1)) {
            let (directory, lane) = (self.clone(), lane.to_vec());
            lanes.push(tokio::spawn(async move {
                let mut out = Vec::with_capacity(lane.len());
                for recipient in lane {
                    out.push(directory.resolve(recipient, relay).await);
                }
                out
            }));
        }
        let mut out = Vec::with_capacity(recipients.len());
        for lane in lanes {
            match lane.await {
                Ok(resolutions) => out.extend(resolutions),
                Err(_ended) => out.push(Resolution::Unavailable),
            }
        }
        out
    }

    /// Is this an address of ours, whether somebody is there or not? None when it cannot be known now.
    pub(crate) async fn is_local(&self, address: &Address) -> Option<bool> {
        match self.targets(address).await.ok()? {
            auth_directory::Response::NotLocal => Some(false),
            auth_directory::Response::Targets(_) | auth_directory::Response::Unknown => Some(true),
            auth_directory::Response::MaySend(_) | auth_directory::Response::Generation(_) => None,
        }
    }

    /// Is mail for this domain received here? None when it cannot be known now.
    pub(crate) async fn hosts(&self, domain: &Domain) -> Option<bool> {
        let epoch = match self.known.look_foreign(domain) {
            Ok(()) => return Some(false),
            Err(epoch) => epoch,
        };
        // RFC 5321 4.5.1: every domain has one, whether somebody is there or not.
        let local = LocalPart::new("postmaster").ok()?;
        let hosted = self.is_local(&Address { local, domain: domain.clone() }).await?;
        if !hosted {
            self.known.keep_foreign(epoch, domain.clone());
        }
        Some(hosted)
    }

    /// Is it a domain for which mail is received here, or below one? None when it cannot be known now.
    pub(crate) async fn hosts_or_above(&self, domain: &Domain) -> Option<bool> {
        let above = domain.parents().filter(|parent| parent.as_str().split('.').count() <= MAX_PARENT_LABELS);
        for name in std::iter::once(domain.clone()).chain(above) {
            if self.hosts(&name).await? {
                return Some(true);
            }
        }
        Some(false)
    }

    /// May the account send as each of these? None when it cannot be known now.
    pub(crate) async fn may_send(&self, account: AccountId, addresses: Vec<Text<320>>) -> Option<bool> {
        let request = auth_directory::Request::MaySend { account, addresses: List::new(addresses)? };
        match ask(&self.client, &request, &[]).await.map(|reply| reply.body) {
            Ok(auth_directory::Response::MaySend(may)) => Some(may),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "the directory cannot be asked");
                None
            }
        }
    }

    /// The account as it is now: its quota may have changed since the message came. The inner none: it is gone.
    pub(crate) async fn refresh(&self, owner: &Owner) -> Option<Option<Owner>> {
        match self.targets(&owner.address).await.ok()? {
            auth_directory::Response::Targets(targets) => Some(targets.into_iter().find_map(|target| match target {
                Target::Account { owner: now, .. } if now.account == owner.account => Some(now),
                _ => None,
            })),
            auth_directory::Response::Unknown | auth_directory::Response::NotLocal => Some(None),
            auth_directory::Response::MaySend(_) | auth_directory::Response::Generation(_) => None,
        }
    }
}

/// The process that parses.
#[derive(Debug)]
pub(crate) struct Scanner(Client<ScanForQueue>);

impl Scanner {
    pub(crate) fn new(path: &Path) -> Self {
        Self(Client::new(path))
    }

    /// The index of a message; none when there is none now.
    pub(crate) async fn index(&self, message: &SealedMessage) -> Option<Box<MessageIndex>> {
        let request = scan_index::QueueRequest::Index(scan_index::Request::Index);
        match ask(&self.0, &request, &[message.as_fd()]).await.map(|reply| reply.body) {
            Ok(scan_index::QueueResponse::Index(scan_index::Response::Indexed(index))) => inside(index, message),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "scan cannot be asked");
                None
            }
        }
    }

    /// The index of a message that came over a connection, and where the message is from; none when there is none now.
    pub(crate) async fn judge(
        &self,
        message: &SealedMessage,
        connection: scan_index::Connection,
    ) -> Option<(Box<MessageIndex>, Box<Judgement>)> {
        let request = scan_index::QueueRequest::Judge(Box::new(connection));
        match ask(&self.0, &request, &[message.as_fd()]).await.map(|reply| reply.body) {
            Ok(scan_index::QueueResponse::Judged(index, judgement)) => Some((inside(index, message)?, judgement)),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "scan cannot be asked");
                None
            }
        }
    }

    /// What a seal is to cover, and the sets before it; none when it cannot be said now.
    pub(crate) async fn to_seal(
        &self,
        message: &SealedMessage,
        prefix: &[u8],
    ) -> Option<(Box<SigningInput>, List<SealedSet, MAX_SEALED_SETS>)> {
        let request = scan_index::QueueRequest::ToSeal(serde_bytes::ByteBuf::from(prefix));
        match ask(&self.0, &request, &[message.as_fd()]).await.map(|reply| reply.body) {
            Ok(scan_index::QueueResponse::ToSeal(input, sets)) => Some((input, sets)),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "scan cannot be asked");
                None
            }
        }
    }

    /// What a signature is to cover; none when it cannot be said now.
    pub(crate) async fn to_sign(&self, message: &SealedMessage, prefix: &[u8]) -> Option<Box<SigningInput>> {
        let request = scan_index::QueueRequest::ToSign(serde_bytes::ByteBuf::from(prefix));
        match ask(&self.0, &request, &[message.as_fd()]).await.map(|reply| reply.body) {
            Ok(scan_index::QueueResponse::ToSign(input)) => Some(input),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "scan cannot be asked");
                None
            }
        }
    }

    /// The message in seven bits.
    pub(crate) async fn seven_bit(&self, message: &SealedMessage) -> SevenBit {
        match ask(&self.0, &scan_index::QueueRequest::SevenBit, &[message.as_fd()]).await {
            Ok(Reply { body: scan_index::QueueResponse::SevenBit, fds }) => match <[_; 1]>::try_from(fds) {
                Ok([fd]) => match SealedMessage::from_fd(fd, MAX_MESSAGE.saturating_mul(3)) {
                    Ok(converted) => SevenBit::Converted(converted),
                    Err(_) => SevenBit::Unavailable,
                },
                Err(_) => SevenBit::Unavailable,
            },
            Ok(Reply { body: scan_index::QueueResponse::Failed, .. }) => SevenBit::Impossible,
            Ok(_) => SevenBit::Unavailable,
            Err(error) => {
                tracing::warn!(%error, "scan cannot be asked");
                SevenBit::Unavailable
            }
        }
    }
}

/// That the parts are a tree was checked when it was decoded; that they lie within the message is checked here.
fn inside(index: Box<MessageIndex>, message: &SealedMessage) -> Option<Box<MessageIndex>> {
    let inside = index.structure.root().is_none_or(|root| root.header.start == 0 && u64::from(root.body.end) <= message.len());
    if !inside {
        tracing::error!("scan spoke of bytes outside of the message");
    }
    inside.then_some(index)
}

/// A message for a host that takes no 8-bit content.
#[derive(Debug)]
pub(crate) enum SevenBit {
    Converted(SealedMessage),
    Impossible,
    Unavailable,
}
