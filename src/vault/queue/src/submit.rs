//! How a message enters: checked here again, whoever handed it over, and answered after it is on disk.

use crate::{
    Clock,
    admit::{self, Admitted, Refusal},
    ask::{Directory, Relay, Resolution, Scanner},
    budget::{Budget, Room},
    limits::{DISK_CHECK, Limits, MESSAGE_OVERHEAD, STALLED},
    spool::{Accept, Live, Op, Record, Spool, SpoolFile},
};
use pure_addr::{AccountId, Address, ReversePath};
use pure_index::MessageIndex;
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, oneshot};
use wire::{
    Error, SealedMessage,
    edge::mail::{Envelope, Owner, QueueId, Reason, Recipient, RecipientVerdict, Submitted},
};

/// The part of the queue that takes messages.
pub(crate) struct Core {
    pub(crate) spool: Arc<Spool>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) scan: Arc<Scanner>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    /// Bytes of the largest message that is taken.
    pub(crate) message_size: u64,
    pub(crate) submitting: Arc<Budget>,
    pub(crate) active: Arc<Budget>,
    /// Until when nobody waits for room in `active`.
    pub(crate) stalled_until: AtomicI64,
    pub(crate) file_writers: Semaphore,
    pub(crate) disk: Disk,
}

impl Core {
    /// May this RCPT be accepted?
    pub(crate) async fn verdict(&self, address: Address, relay: Relay) -> RecipientVerdict {
        match self.directory.resolve(Recipient { address, notify: None, orcpt: None }, relay).await {
            Resolution::Accepted(_) => RecipientVerdict::Accept,
            Resolution::Unknown => RecipientVerdict::Unknown,
            Resolution::NoRelay => RecipientVerdict::NoRelay,
            Resolution::Unavailable => RecipientVerdict::Unavailable,
        }
    }

    /// May the account use this reverse-path? None when it cannot be known now.
    pub(crate) async fn may_send_as(&self, account: AccountId, reverse_path: &ReversePath) -> Option<bool> {
        match admit::sender(reverse_path) {
            Some(sender) => self.directory.may_send(account, vec![sender]).await,
            None => Some(true),
        }
    }

    /// Takes a message: `Accepted` means that it is on disk.
    pub(crate) async fn submit(&self, envelope: Box<Envelope>, submitter: Option<&Owner>, fds: Vec<OwnedFd>) -> Result<Submitted, Error> {
        let Ok([fd]) = <[OwnedFd; 1]>::try_from(fds) else { return Err(Error::Malformed("not exactly one message")) };
        let (session, peer) = (envelope.session, envelope.peer);
        let account = submitter.map(|owner| owner.account);
        let outcome = match SealedMessage::from_fd(fd, self.message_size) {
            Ok(message) => self.take(envelope, submitter, Arc::new(message)).await,
            // Only its size is an honest client's fault; anything else is not a message at all.
            Err(wire::NotSealed::Size(_)) => Err(Refusal::Rejected(Reason::Size)),
            Err(_) => return Err(Error::Malformed("not a sealed message")),
        };
        Ok(match outcome {
            Ok(id) => Submitted::Accepted(id),
            Err(Refusal::Rejected(reason)) => {
                tracing::info!(%session, %peer, account = account.map(tracing::field::display), ?reason, "message rejected");
                Submitted::Rejected(reason)
            }
            Err(Refusal::Deferred) => {
                tracing::info!(%session, %peer, account = account.map(tracing::field::display), "message deferred");
                Submitted::Deferred
            }
        })
    }

    async fn take(&self, envelope: Box<Envelope>, submitter: Option<&Owner>, message: Arc<SealedMessage>) -> Result<QueueId, Refusal> {
        let size = message.len();
        let _room = self.submitting.take(size.saturating_add(MESSAGE_OVERHEAD)).ok_or(Refusal::Deferred)?;
        if self.spool.inbox.has_ended() || !self.disk.has_room(&self.spool, self.clock.now(), size, self.limits.free_disk) {
            return Err(Refusal::Deferred);
        }
        let (admitted, index) = self.admit(*envelope, submitter, &message).await?;

        let live = self.spool.numbers.give();
        let id = live.id;
        let file = if size > self.limits.inside { Some(self.write_file(&live, &message).await?) } else { None };
        let record = Record::new(admitted);
        let encoded = wire::encode(&record).map_err(|_| Refusal::Deferred)?;
        let received_at = self.clock.now();
        let (envelope, deliveries) = (&record.envelope, record.deliveries.len());
        let (session, peer, recipients) = (envelope.session, envelope.peer, envelope.recipients.len());
        let room = self.room(received_at, size.saturating_mul(2).saturating_add(MESSAGE_OVERHEAD)).await;
        let (answer, committed) = oneshot::channel();
        let record = Arc::new(record);
        self.spool.push(Op::Accept(Box::new(Accept { live, received_at, record, encoded, message, file, index, room, answer })));
        if committed.await != Ok(true) {
            return Err(Refusal::Deferred);
        }
        let account = submitter.map(|owner| tracing::field::display(owner.account));
        tracing::info!(MESSAGE = %id, %session, %peer, account, size, recipients, deliveries, "message accepted");
        Ok(id)
    }

    /// Everything that may speak against a message. Scan and the directory work at the same time.
    async fn admit(
        &self,
        envelope: Envelope,
        submitter: Option<&Owner>,
        message: &SealedMessage,
    ) -> Result<(Admitted, Box<MessageIndex>), Refusal> {
        let relay = if submitter.is_some() { Relay::Allowed } else { Relay::Refused };
        let (index, resolutions) = tokio::join!(self.scan.index(message), self.directory.resolve_all(&envelope.recipients, relay));
        let recipients = admit::recipients(resolutions)?;
        let index = index.ok_or(Refusal::Deferred)?;
        if let Some(owner) = submitter {
            self.check_identity(owner, &index, &envelope.reverse_path).await?;
        }
        admit::loops(&index.identity, &recipients)?;
        Ok((admit::admit(envelope, submitter.cloned(), recipients)?, index))
    }

    /// Attack case RLY-03: the reverse-path and every author belong to the account.
    async fn check_identity(&self, owner: &Owner, index: &MessageIndex, reverse_path: &ReversePath) -> Result<(), Refusal> {
        let senders = admit::senders(&index.identity, reverse_path)?;
        if self.directory.may_send(owner.account, senders).await.ok_or(Refusal::Deferred)? {
            return Ok(());
        }
        // One of them is not: which decides the reply.
        match self.may_send_as(owner.account, reverse_path).await.ok_or(Refusal::Deferred)? {
            true => Err(Refusal::Rejected(Reason::Identity)),
            false => Err(Refusal::Rejected(Reason::Sender)),
        }
    }

    /// Room to deliver from memory; without, the delivery starts from the disk, later.
    async fn room(&self, now: i64, bytes: u64) -> Option<Room> {
        let until = self.stalled_until.load(Ordering::Relaxed);
        let stalled_for = i64::try_from(STALLED.as_millis()).unwrap_or(0);
        let stalled = now < until && until.saturating_sub(now) <= stalled_for;
        let patience = if stalled { Duration::ZERO } else { self.limits.active_patience };
        let room = self.active.take_within(patience, bytes).await;
        if room.is_none() && !stalled {
            self.stalled_until.store(now.saturating_add(stalled_for), Ordering::Relaxed);
        }
        room
    }

    async fn write_file(&self, live: &Live, message: &Arc<SealedMessage>) -> Result<SpoolFile, Refusal> {
        let _permit = self.file_writers.acquire().await.map_err(|_| Refusal::Deferred)?;
        let (files, id, message) = (self.spool.files.clone(), live.id, message.clone());
        // Dropped when nobody waits any more, the result removes the file.
        let written = tokio::task::spawn_blocking(move || files.write(id, &message)).await;
        match written {
            Ok(Ok(file)) => Ok(file),
            Ok(Err(error)) => {
                tracing::error!(MESSAGE = %id, %error, "a body cannot be written");
                Err(Refusal::Deferred)
            }
            Err(_ended) => Err(Refusal::Deferred),
        }
    }
}

/// Whether the spool's disk has room, looked at once a while.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    checked_at: AtomicI64,
    low: AtomicBool,
}

impl Disk {
    fn has_room(&self, spool: &Spool, now: i64, size: u64, must_remain: u64) -> bool {
        let checked_at = self.checked_at.load(Ordering::Relaxed);
        let fresh = i64::try_from(DISK_CHECK.as_millis()).unwrap_or(i64::MAX);
        if checked_at == 0 || now.saturating_sub(checked_at) >= fresh || now < checked_at || size > must_remain {
            self.checked_at.store(now, Ordering::Relaxed);
            // A body is written twice at most: to the log and to the database.
            let needed = size.saturating_mul(2).saturating_add(must_remain);
            let low = match spool.files.free() {
                Ok(free) => free < needed,
                Err(error) => {
                    tracing::error!(%error, "the free space of the spool is not known");
                    true
                }
            };
            if low != self.low.swap(low, Ordering::Relaxed) {
                tracing::warn!(low, "the spool's disk");
            }
        }
        !self.low.load(Ordering::Relaxed)
    }
}
