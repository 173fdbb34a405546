//! How a message enters: checked here again, whoever handed it over, and answered after it is on disk.

use crate::{
    Clock, Random,
    admit::{self, AcceptedRecipient, Admitted, Refusal},
    ask::{Directory, Relay, Resolution, Scanner},
    budget::{Budget, Room},
    fixup,
    forwards::Forwards,
    full::Full,
    limits::{DISK_CHECK, Limits, MESSAGE_OVERHEAD, STALLED},
    origin::{self, Disposition},
    settings::Settings,
    spool::{Accept, Entered, Live, Op, Record, Spool, SpoolFile, sending::Counted},
    srs::{self, Kept, Origin},
};
use pure_addr::{AccountId, Address, Domain, ReversePath};
use pure_index::{
    MessageIndex,
    judgement::{Alignment, Judgement},
};
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
    edge::auth_directory::Target,
    edge::mail::{Envelope, Owner, QueueId, Reason, Recipient, RecipientVerdict, Submitted},
    edge::scan_index::Connection,
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
    pub(crate) settings: Arc<Settings>,
    pub(crate) hostname: Domain,
    pub(crate) random: Random,
    pub(crate) forwards: Forwards,
    pub(crate) full: Arc<Full>,
}

impl Core {
    /// May this RCPT be accepted?
    pub(crate) async fn verdict(&self, address: Address, relay: Relay, null: bool) -> RecipientVerdict {
        let recipient = Recipient { address, notify: None, orcpt: None };
        match self.resolve(recipient, relay, null).await {
            Resolution::Accepted(to) if self.full.takes_nothing(to.targets(), self.clock.now()) => RecipientVerdict::MailboxFull,
            Resolution::Accepted(_) => RecipientVerdict::Accept,
            Resolution::Unknown => RecipientVerdict::Unknown,
            Resolution::NoRelay => RecipientVerdict::NoRelay,
            Resolution::Unavailable => RecipientVerdict::Unavailable,
        }
    }

    fn counted(&self, owner: &Owner, recipients: usize) -> Counted {
        Counted {
            account: owner.account.get(),
            address: owner.address.clone(),
            recipients: u32::try_from(recipients).unwrap_or(u32::MAX),
            limits: self.settings.sending,
        }
    }

    /// How many recipients the account may still have, when it has named so many. None when it cannot be known now.
    pub(crate) async fn allowance(&self, owner: &Owner, recipients: usize) -> Option<usize> {
        let (counted, now) = (self.counted(owner, recipients), self.clock.now());
        let allowance = self.spool.ask(|answer| Op::Allowance { counted, now, answer }).await?;
        Some(usize::try_from(allowance.recipients).unwrap_or(usize::MAX))
    }

    /// SRS addresses of ours are known here, all others to the directory.
    async fn resolve(&self, recipient: Recipient, relay: Relay, null: bool) -> Resolution {
        match self.returns(&recipient, relay, null).await {
            Some(resolution) => resolution,
            None => self.directory.resolve(recipient, relay).await,
        }
    }

    async fn resolve_all(&self, envelope: &Envelope, relay: Relay) -> Vec<Resolution> {
        let null = envelope.reverse_path == ReversePath::Null;
        if !envelope.recipients.iter().any(|r| srs::is(&r.address)) {
            return self.directory.resolve_all(&envelope.recipients, relay).await;
        }
        let mut all = Vec::new();
        for recipient in &envelope.recipients {
            all.push(self.resolve(recipient.clone(), relay, null).await);
        }
        all
    }

    /// What an SRS address of a stranger's mail is. It takes reports alone, which have the null reverse-path.
    async fn returns(&self, recipient: &Recipient, relay: Relay, null: bool) -> Option<Resolution> {
        if relay == Relay::Allowed || !srs::is(&recipient.address) {
            return None;
        }
        let (key, address) = (&self.spool.srs_key, &recipient.address);
        let sender = match srs::reverse(key, address, self.clock.now()).filter(|_| null) {
            Some(Origin::Sender(sender)) => Some(sender),
            Some(Origin::Kept(name)) => match self.spool.ask(|answer| Op::Sender(name, answer)).await {
                Some(sender) => sender.filter(|sender| srs::is_named(key, address, sender)),
                None => return Some(Resolution::Unavailable),
            },
            None => None,
        };
        Some(match sender {
            Some(sender) => Resolution::Accepted(AcceptedRecipient::new(recipient.clone(), vec![Target::Remote(sender)])),
            None => Resolution::Unknown,
        })
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
            Err(Refusal::RateLimited) => {
                tracing::warn!(%session, %peer, account = account.map(tracing::field::display), "message deferred: too much was sent");
                Submitted::RateLimited
            }
            Err(Refusal::Deferred) => {
                tracing::info!(%session, %peer, account = account.map(tracing::field::display), "message deferred");
                Submitted::Deferred
            }
        })
    }

    async fn take(&self, envelope: Box<Envelope>, submitter: Option<&Owner>, mut message: Arc<SealedMessage>) -> Result<QueueId, Refusal> {
        let size = message.len();
        let _room = self.submitting.take(size.saturating_add(MESSAGE_OVERHEAD)).ok_or(Refusal::Deferred)?;
        if self.spool.inbox.has_ended() || !self.disk.has_room(&self.spool, self.clock.now(), size, self.limits.free_disk) {
            return Err(Refusal::Deferred);
        }
        let live = self.spool.numbers.give();
        let id = live.id;
        let hides = submitter.is_some_and(|owner| self.settings.hides(&owner.address));
        // A large body is on its way to the disk while scan looks at it; what is not admitted leaves no file.
        let early = async { if size > self.limits.inside && !hides { self.write_file(&live, &message).await.map(Some) } else { Ok(None) } };
        let (admitted, file) = tokio::join!(self.admit(*envelope, submitter, &message), early);
        let Passed { admitted, mut index, sign_as, kept, judged } = admitted?;
        let mut file = file?;
        let received_at = self.clock.now();
        let mut record = Record::new(admitted);
        if let Some((judgement, disposition)) = judged {
            let disowned = fixup::disown(&message, &index, &judgement.forged).map_err(|error| {
                tracing::error!(%error, "a message cannot be written again");
                Refusal::Deferred
            })?;
            if let Some(disowned) = disowned {
                tracing::info!(MESSAGE = %id, fields = judgement.forged.len(), "fields that claim to be ours were taken out");
                // The file of the message as it came goes before the next one is written under its name.
                file = None;
                message = Arc::new(disowned);
                index = self.scan.index(&message).await.ok_or(Refusal::Deferred)?;
            }
            record.suspicious = disposition == Disposition::Suspect;
            record.judgement = Some(Box::new(Judgement { forged: Vec::new(), ..*judgement }));
        }
        record.sign_as = sign_as;
        record.tls_optional = index.identity.tls_optional;
        if submitter.is_some() {
            record.hide_client = hides;
            let cleaned = fixup::clean(&message, &index, hides).map_err(|error| {
                tracing::error!(%error, "a message cannot be written again");
                Refusal::Deferred
            })?;
            if let Some(cleaned) = cleaned {
                file = None;
                message = Arc::new(cleaned);
                // Every offset has moved.
                index = self.scan.index(&message).await.ok_or(Refusal::Deferred)?;
            }
            fixup::complete(&mut record, &index, id, received_at, (self.random)(), &self.hostname);
        }
        let size = message.len();
        if file.is_none() && size > self.limits.inside {
            file = Some(self.write_file(&live, &message).await?);
        }
        let encoded = wire::encode(&record).map_err(|_| Refusal::Deferred)?;
        let routes = record.routes(&self.settings);
        let counted = submitter.map(|owner| self.counted(owner, record.envelope.recipients.len()));
        let (envelope, deliveries) = (&record.envelope, record.deliveries.len());
        let (session, peer, recipients) = (envelope.session, envelope.peer, envelope.recipients.len());
        let room = self.room(received_at, size.saturating_mul(2).saturating_add(MESSAGE_OVERHEAD)).await;
        let (answer, committed) = oneshot::channel();
        let record = Arc::new(record);
        self.spool.push(Op::Accept(Box::new(Accept {
            live,
            received_at,
            record,
            encoded,
            message,
            file,
            index: Some(index),
            room,
            routes,
            counted,
            kept,
            answer,
        })));
        match committed.await {
            Ok(Entered::Yes) => {}
            Ok(Entered::Limited) => return Err(Refusal::RateLimited),
            Ok(Entered::No) | Err(_) => return Err(Refusal::Deferred),
        }
        let account = submitter.map(|owner| tracing::field::display(owner.account));
        tracing::info!(MESSAGE = %id, %session, %peer, account, size, recipients, deliveries, "message accepted");
        Ok(id)
    }

    /// Everything that may speak against a message. Scan and the directory work at the same time.
    async fn admit(&self, envelope: Envelope, submitter: Option<&Owner>, message: &SealedMessage) -> Result<Passed, Refusal> {
        let relay = if submitter.is_some() { Relay::Allowed } else { Relay::Refused };
        let scanned = async {
            match submitter {
                Some(_) => self.scan.index(message).await.map(|index| (index, None)),
                None => self.scan.judge(message, connection(&envelope)).await.map(|(index, judgement)| (index, Some(judgement))),
            }
        };
        let (scanned, resolutions) = tokio::join!(scanned, self.resolve_all(&envelope, relay));
        let recipients = admit::recipients(resolutions)?;
        let (index, judgement) = scanned.ok_or(Refusal::Deferred)?;
        if let Some(owner) = submitter {
            self.check_identity(owner, &index, &envelope.reverse_path).await?;
        }
        admit::loops(&index.identity, &recipients)?;
        let judged = match judgement {
            Some(judgement) => {
                let disposition = self.check_origin(&judgement, &recipients).await?;
                Some((judgement, disposition))
            }
            None => None,
        };
        let foreign = self.foreign_sender(&envelope, submitter, &recipients).await?;
        if !self.forwards.count(admit::forwards(&recipients).filter(|_| submitter.is_none()).map(|(_, target)| target), self.clock.now()) {
            return Err(Refusal::RateLimited);
        }
        // Nobody vouches for strangers' mail, whatever its From says.
        let sign_as = submitter.and_then(|_| signs_as(&index, &envelope.reverse_path));
        let now = self.clock.now();
        let mut kept: Vec<Kept> = Vec::new();
        let rewrite = |alias: &Address| {
            let rewritten = srs::rewrite(&self.spool.srs_key, foreign.as_ref()?, &alias.domain, now);
            if rewritten.is_none() {
                tracing::warn!(domain = %alias.domain, "the domain is too long for a rewritten reverse-path");
            }
            let srs::Rewritten { path, kept: new } = rewritten?;
            if let Some(new) = new
                && !kept.contains(&new)
            {
                kept.push(new);
            }
            Some(path)
        };
        let admitted = admit::admit(envelope, submitter.cloned(), recipients, rewrite)?;
        Ok(Passed { admitted, index, sign_as, kept, judged })
    }

    /// The reverse-path of a stranger's message that is to be forwarded, when it is not of a domain of ours.
    async fn foreign_sender(
        &self,
        envelope: &Envelope,
        submitter: Option<&Owner>,
        recipients: &[AcceptedRecipient],
    ) -> Result<Option<Address>, Refusal> {
        let Some(sender) = envelope.reverse_path.address().filter(|_| submitter.is_none()) else { return Ok(None) };
        if admit::forwards(recipients).next().is_none() {
            return Ok(None);
        }
        let ours = self.directory.is_local(sender).await.ok_or(Refusal::Deferred)?;
        Ok((!ours).then(|| sender.clone()))
    }

    /// Attack case RLY-04: what a stranger brings in our name must be proven, and what others want refused is refused. Nobody makes us prove
    /// elsewhere what was not proven here.
    async fn check_origin(&self, judgement: &Judgement, recipients: &[AcceptedRecipient]) -> Result<Disposition, Refusal> {
        let own = match &judgement.dmarc.author {
            // Whoever is vouched for may be anybody.
            Some(author) if judgement.dmarc.alignment != Alignment::Aligned => {
                self.directory.hosts_or_above(author).await.ok_or(Refusal::Deferred)?
            }
            _ => false,
        };
        let disposition = origin::decide(judgement, own, &self.settings.mx)?;
        admit::aliases(recipients).try_for_each(|alias| origin::pass_on(&judgement.dmarc, disposition, alias))?;
        Ok(disposition)
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

/// A message that may enter.
struct Passed {
    admitted: Admitted,
    index: Box<MessageIndex>,
    /// For which domain it is to be signed.
    sign_as: Option<Domain>,
    /// Senders that its rewritten reverse-paths name.
    kept: Vec<Kept>,
    /// Where a stranger's message is from, and what becomes of it for that.
    judged: Option<(Box<Judgement>, Disposition)>,
}

/// What scan has to know of who brought a message.
fn connection(envelope: &Envelope) -> Connection {
    Connection { peer: envelope.peer, helo: envelope.helo.clone(), reverse_path: envelope.reverse_path.clone() }
}

/// The domain to sign a submission for: that of the author, who was checked to be the account's own, or of its reverse-path.
fn signs_as(index: &MessageIndex, reverse_path: &ReversePath) -> Option<Domain> {
    let author = index.identity.authors.first().and_then(|author| Address::parse(author).ok()).map(|author| author.domain);
    author.or_else(|| reverse_path.address().map(|address| address.domain.clone()))
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
