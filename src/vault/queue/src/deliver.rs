//! Local delivery: from memory right after the commit, from the disk when something comes due.
//!
//! A delivery is done when the store has said `Delivered` and, later, `Synced`, both in the same life; only then does its row go. What
//! is interrupted anywhere before, be it by a restart of the store, is repeated under the same id, which the store applies at most once.

use crate::{
    Clock, Random,
    ask::{Directory, Scanner, ask},
    backoff,
    clock::Watched,
    dsn::{self, Action, Told},
    full::Full,
    limits::{MAX_IN_FLIGHT, MAX_LANES, MAX_POLL, MAX_UNSYNCED, SETTLE_EVERY, SYNC_BATCH},
    post::{Original, Post, Unavailable},
    spool::{Accept, Active, Body, Op, Outlets, Reason, Record, Spool, Ticket},
    trace,
};
use pure_addr::{Domain, MailboxName, Text};
use pure_index::MessageIndex;
use serde_bytes::ByteBuf;
use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};
use wire::{
    Client, SealedMessage,
    edge::{
        auth_directory::Target,
        mail::{Owner, QueueId},
        queue_control,
        send_deliver::{Status, Trace},
        store_deliver::{Delivery, DeliveryId, Life, Request, Response, StoreDeliver},
    },
};

/// First and longest pause between two attempts to have the store sync.
const SYNC_RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Where suspicious mail goes: the mailbox that each account is made with.
fn junk() -> MailboxName {
    MailboxName::new("Junk").unwrap_or_else(|_| MailboxName::inbox())
}

/// How long to leave a full disk alone.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait for room in memory at most before looking again.
const STARVED_PAUSE: Duration = Duration::from_millis(200);

/// Everything that a delivery needs.
pub(crate) struct Engine {
    pub(crate) store: Client<StoreDeliver>,
    pub(crate) scan: Arc<Scanner>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    pub(crate) hostname: Domain,
    pub(crate) post: Arc<Post>,
    pub(crate) full: Arc<Full>,
    pub(crate) permits: Semaphore,
    /// To the task that has the store sync.
    pub(crate) delivered: mpsc::Sender<Delivered>,
}

/// A delivery that waits for the store's sync.
pub(crate) struct Delivered {
    ticket: Arc<Ticket>,
    number: u32,
    attempts: u32,
    /// Which life of the store has it.
    life: Life,
    /// Its sender wants to hear of it.
    shared: Option<Shared>,
}

/// What the deliveries of one message share.
#[derive(Clone)]
struct Shared {
    ticket: Arc<Ticket>,
    received_at: i64,
    record: Arc<Record>,
    message: Arc<SealedMessage>,
    /// Just accepted: the directory was asked a moment ago.
    fresh: bool,
}

impl Engine {
    /// The engine and the end of the line to [`Engine::sync`].
    pub(crate) fn channel() -> (mpsc::Sender<Delivered>, mpsc::Receiver<Delivered>) {
        mpsc::channel(MAX_UNSYNCED)
    }

    pub(crate) fn permits() -> Semaphore {
        Semaphore::new(MAX_IN_FLIGHT)
    }

    /// Starts the deliveries of every message that comes.
    pub(crate) async fn run(self: Arc<Self>, mut active: mpsc::UnboundedReceiver<Active>) {
        let mut batch = Vec::new();
        while active.recv_many(&mut batch, SYNC_BATCH).await > 0 {
            for message in batch.drain(..) {
                tokio::spawn(self.clone().deliver(message));
            }
        }
    }

    async fn deliver(self: Arc<Self>, active: Active) {
        let Active { ticket, received_at, record, body, index, todo, room } = active;
        let fresh = index.is_some();
        let message = match body {
            Body::Sealed(message) => Ok(message),
            Body::File(size) => self.read(ticket.id(), size).await,
        };
        let message = match message {
            Ok(message) => message,
            Err(reason) => {
                for (number, attempts) in todo {
                    self.unreadable(&ticket, received_at, number, attempts, reason);
                }
                return;
            }
        };
        let index = match index {
            Some(index) => Some(index),
            None => self.scan.index(&message).await,
        };
        let Some(index) = index else {
            let shared = Shared { ticket, received_at, record, message, fresh };
            for (number, attempts) in todo {
                self.failed(&shared, number, attempts, Reason::NoIndex).await;
            }
            return;
        };
        let shared = Shared { ticket, received_at, record, message, fresh };
        if let [(number, attempts)] = todo[..] {
            self.deliver_one(&shared, number, attempts, *index).await;
        } else {
            self.deliver_many(shared, todo, *index).await;
        }
        drop(room);
    }

    /// Several accounts in parallel.
    async fn deliver_many(self: &Arc<Self>, shared: Shared, todo: Vec<(u32, u32)>, index: MessageIndex) {
        let lanes = todo.len().min(MAX_LANES);
        let work = Arc::new((shared, todo, index, AtomicUsize::new(0)));
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..lanes {
            let (engine, work) = (self.clone(), work.clone());
            running.spawn(async move {
                let (shared, todo, index, next) = &*work;
                while let Some((number, attempts)) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    engine.deliver_one(shared, *number, *attempts, index.clone()).await;
                }
            });
        }
        while running.join_next().await.is_some() {}
    }

    async fn deliver_one(&self, shared: &Shared, number: u32, attempts: u32, index: MessageIndex) {
        let id = shared.ticket.id();
        let Some((owner, request)) = self.request(shared, number, index).await else {
            return self.failed(shared, number, attempts, Reason::NoAccount).await;
        };
        let Ok(permit) = self.permits.acquire().await else { return };
        let answer = ask(&self.store, &request, &[shared.message.as_fd()]).await;
        drop(request);
        let (session, peer) = (shared.record.envelope.session, shared.record.envelope.peer);
        let reason = match answer.map(|reply| reply.body) {
            Ok(Response::Delivered(life)) => {
                self.full.fitted(owner.account);
                tracing::info!(MESSAGE = %id, %session, %peer, account = %owner.account, number, "delivered");
                // Without a receiver the process is about to end.
                let recipient = shared.record.destination(number).and_then(|d| shared.record.recipient(d));
                let told = recipient.is_some_and(|r| dsn::wanted(r.notify, Action::Delivered)).then(|| shared.clone());
                let _ = self.delivered.send(Delivered { ticket: shared.ticket.clone(), number, attempts, life, shared: told }).await;
                return;
            }
            Ok(Response::OverQuota { room }) => {
                self.full.refused(&owner, room, self.clock.now());
                Reason::OverQuota
            }
            Ok(Response::Unavailable) => Reason::Unavailable,
            Ok(Response::Synced(_) | Response::Settled) => {
                tracing::error!(MESSAGE = %id, "the store answered another question");
                Reason::Unavailable
            }
            Err(error) => {
                tracing::warn!(MESSAGE = %id, %error, "the store cannot be asked");
                Reason::Unavailable
            }
        };
        drop(permit);
        tracing::info!(
            MESSAGE = %id, %session, %peer, account = %owner.account, number, attempts = attempts.saturating_add(1), reason = reason.text(),
            "delivery deferred"
        );
        self.failed(shared, number, attempts, reason).await;
    }

    /// What the store is asked; none when the account is gone or the record does not have this delivery.
    async fn request(&self, shared: &Shared, number: u32, index: MessageIndex) -> Option<(Owner, Request)> {
        let destination = shared.record.destination(number)?;
        let recipient = shared.record.recipient(destination)?;
        let Target::Account { owner, .. } = &destination.target else { return None };
        let owner = if shared.fresh {
            owner.clone()
        } else {
            // What the directory cannot say now does not hold up the delivery.
            self.directory.refresh(owner).await.unwrap_or_else(|| Some(owner.clone()))?
        };
        let prefix = trace::prefix(shared.ticket.id(), &shared.record, shared.received_at, recipient, &self.hostname);
        // The offsets were checked against the message, and the prefix is short: they cannot overflow.
        let index = prefix.index(index).ok()?;
        let delivery = Delivery {
            id: DeliveryId { message: shared.ticket.id(), number },
            owner: owner.clone(),
            // A store that has no such mailbox takes it for the inbox.
            mailbox: if shared.record.suspicious { junk() } else { MailboxName::inbox() },
            received_at: shared.received_at.div_euclid(1000),
            prefix: ByteBuf::from(prefix.bytes),
            index,
        };
        Some((owner, Request::Deliver(Box::new(delivery))))
    }

    async fn read(&self, id: QueueId, size: u64) -> Result<Arc<SealedMessage>, Reason> {
        let files = self.spool.files.clone();
        let read = tokio::task::spawn_blocking(move || files.read(id, size)).await;
        match read.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
            Ok(message) => Ok(Arc::new(message)),
            Err(error) => {
                tracing::error!(MESSAGE = %id, %error, "the body cannot be read from the spool");
                // Without memory or descriptors for it, it is still there.
                let lost = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
                Err(if lost { Reason::NoBody } else { Reason::Unavailable })
            }
        }
    }

    /// Notes a failure and when to try again; when the time for that is over, its sender is told.
    async fn failed(&self, shared: &Shared, number: u32, attempts: u32, reason: Reason) {
        let ticket = &shared.ticket;
        let attempts = attempts.saturating_add(1);
        let now = self.clock.now();
        let next = match reason {
            Reason::NoAccount => None,
            _ => backoff::next_attempt(reason, attempts, shared.received_at, now, (self.random)()),
        };
        let next = match next {
            Some(next) => next,
            None => match self.tell(shared, number, Action::Failed, reason.status(), reason.text()).await {
                Ok(own) => {
                    tracing::warn!(MESSAGE = %ticket.id(), number, attempts, reason = reason.text(), "delivery failed for good");
                    self.spool.push(Op::Delivered { ticket: ticket.clone(), number, own });
                    return;
                }
                Err(Unavailable) => now.saturating_add(backoff::spread(60_000, (self.random)())),
            },
        };
        self.spool.push(Op::Failed { ticket: ticket.clone(), number, attempts, next: Some(next), reason });
    }

    /// A message that is not on disk any more cannot be returned: a person has to look.
    fn unreadable(&self, ticket: &Arc<Ticket>, received_at: i64, number: u32, attempts: u32, reason: Reason) {
        let attempts = attempts.saturating_add(1);
        let next = backoff::next_attempt(reason, attempts, received_at, self.clock.now(), (self.random)());
        if next.is_none() {
            tracing::error!(MESSAGE = %ticket.id(), number, attempts, "delivery held");
        }
        self.spool.push(Op::Failed { ticket: ticket.clone(), number, attempts, next, reason });
    }

    /// The report to the sender of a delivery, if one is wanted.
    async fn tell(&self, shared: &Shared, number: u32, action: Action, status: Status, text: &str) -> Result<Vec<Accept>, Unavailable> {
        let Shared { ticket, received_at, record, message, .. } = shared;
        let recipient = record.destination(number).and_then(|d| record.recipient(d)).filter(|r| dsn::wanted(r.notify, action));
        let trace = Trace { status, reply: None, text: Text::lossy(text.as_bytes()), remote: None };
        let told = recipient.map(|recipient| Told { recipient, action, trace }).into_iter().collect();
        self.post.report(Original { id: ticket.id(), record, received_at: *received_at, message: Some(message) }, told).await
    }

    /// Has the store sync what it was given, in batches; then the rows may go.
    pub(crate) async fn sync(self: Arc<Self>, mut delivered: mpsc::Receiver<Delivered>, delay: Duration, settle_idle: Duration) {
        let mut unsettled = 0usize;
        loop {
            let mut batch = Vec::new();
            let limit = if unsettled > 0 { settle_idle } else { MAX_POLL };
            match tokio::time::timeout(limit, delivered.recv_many(&mut batch, SYNC_BATCH)).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(_idle) => {
                    if unsettled > 0 {
                        self.settle().await;
                        unsettled = 0;
                    }
                    continue;
                }
            }
            if batch.len() < SYNC_BATCH {
                tokio::time::sleep(delay).await;
                while batch.len() < SYNC_BATCH
                    && let Ok(more) = delivered.try_recv()
                {
                    batch.push(more);
                }
            }
            let synced = self.sync_store().await;
            unsettled = unsettled.saturating_add(batch.len());
            for Delivered { ticket, number, attempts, life, shared } in batch {
                if life != synced {
                    // Applied by a process that ended before it had synced, and unknown to the one that has: at once again, from the disk.
                    tracing::info!(MESSAGE = %ticket.id(), number, "delivered again: the store was started anew");
                    let next = Some(self.clock.now());
                    self.spool.push(Op::Failed { ticket, number, attempts, next, reason: Reason::Unavailable });
                    continue;
                }
                let own = match shared {
                    // A report that cannot be written now is none: success is not worth a second delivery.
                    Some(shared) => self.tell(&shared, number, Action::Delivered, Status(2, 0, 0), "delivered").await.unwrap_or_default(),
                    None => Vec::new(),
                };
                self.spool.push(Op::Delivered { ticket, number, own });
            }
            if unsettled >= SETTLE_EVERY {
                self.settle().await;
                unsettled = 0;
            }
        }
    }

    /// Which life of the store has synced.
    async fn sync_store(&self) -> Life {
        let (mut pause, longest) = SYNC_RETRY;
        loop {
            match ask(&self.store, &Request::Sync, &[]).await.map(|reply| reply.body) {
                Ok(Response::Synced(life)) => return life,
                Ok(answer) => tracing::warn!(?answer, "the store could not sync"),
                Err(error) => tracing::warn!(%error, "the store could not sync"),
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    /// Best effort: a store that does not hear it remembers more than it must.
    async fn settle(&self) {
        if let Some(floor) = self.spool.ask(Op::Floor).await
            && let Err(error) = ask(&self.store, &Request::Settled(floor), &[]).await
        {
            tracing::warn!(%error, "the store was not told what is settled");
        }
    }

    /// Takes what comes due from the disk into memory.
    pub(crate) async fn schedule(self: Arc<Self>, outlets: Outlets, clock: Arc<Watched>) {
        loop {
            let now = clock.now();
            if let Some(by) = clock.set_back() {
                tracing::warn!(by, "the clock went back: everything that waits is tried now");
                let (action, filter) = (queue_control::Action::Retry, queue_control::Filter::default());
                if self.spool.ask(|answer| Op::Change { action, filter, now, answer }).await.is_none() {
                    clock.not_done(by);
                }
            }
            let Some(lease) = self.spool.ask(|answer| Op::Lease { now, answer }).await else {
                if self.spool.inbox.has_ended() {
                    return;
                }
                // The disk is full.
                tokio::time::sleep(FULL_DISK_PAUSE).await;
                continue;
            };
            let took = !lease.active.is_empty();
            for active in lease.active {
                // Without a receiver the process is about to end.
                drop(outlets.active.send(active));
            }
            if lease.starved {
                // Woken by room, or after a while in case it came in between.
                if let Some(deadline) = tokio::time::Instant::now().checked_add(STARVED_PAUSE) {
                    outlets.budget.freed(deadline).await;
                }
            } else if !(lease.more && took) {
                let wait = lease.next_due.map_or(MAX_POLL, |at| {
                    Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0)).clamp(Duration::from_millis(10), MAX_POLL)
                });
                let _ = tokio::time::timeout(wait, outlets.due.notified()).await;
            }
        }
    }
}
