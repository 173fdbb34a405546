//! The spool: every message between its 250 and its last delivery.
//!
//! On disk, below the state directory:
//!
//! * `queue.db`: SQLite in WAL mode with `synchronous=FULL`, opened exclusively by one thread, the writer;
//! * `spool/NUMBER`: bodies above a size; written and synced before the commit that names them, removed after the commit that
//!   forgets them. What a crash leaves over in between is removed at the next start.
//!
//! Invariants:
//!
//! * whatever waits is committed in one transaction with one sync; an answer is given after it;
//! * a message is in the database until each of its deliveries was synced by the store;
//! * a number is never given twice, even when the database was lost: numbers start at the clock's microseconds;
//! * nothing but [`Record::new`] of an admitted message enters.

mod admin;
mod files;
mod inbox;
mod numbers;
pub(crate) mod outgoing;
mod record;
mod rows;
mod schema;
mod senders;
pub(crate) mod sending;
pub(crate) mod tls;
mod writer;

pub(crate) use files::{Files, SpoolFile};
pub(crate) use inbox::Inbox;
pub(crate) use numbers::{Live, Numbers};
pub(crate) use record::{Destination, Record};

use crate::{
    budget::{Budget, Room},
    limits::Limits,
    remote::Outbound,
    settings::Settings,
    srs::Kept,
};
use pure_addr::Address;
use pure_index::MessageIndex;
use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};
use tokio::sync::{Notify, mpsc, oneshot};
use wire::{
    SealedMessage,
    edge::{
        mail::QueueId,
        queue_control,
        send_deliver::{Status, TlsResult},
    },
};

/// Why the spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory.
    #[error("the spool: {0}")]
    Io(#[from] io::Error),
    /// The database.
    #[error("queue.db: {0}")]
    Database(#[from] rusqlite::Error),
    /// Written by a newer build.
    #[error("queue.db has schema {0}, which this build does not know")]
    Schema(i64),
}

/// Why a delivery waits; stored as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It has not failed.
    None = 0,
    /// The mailbox is full.
    OverQuota = 1,
    /// The store could not.
    Unavailable = 2,
    /// Scan could not.
    NoIndex = 3,
    /// The body is not on disk any more, or the record cannot be read.
    NoBody = 4,
    /// The directory does not know the account any more.
    NoAccount = 5,
}

impl Reason {
    pub(crate) fn from_stored(value: i64) -> Self {
        [Self::OverQuota, Self::Unavailable, Self::NoIndex, Self::NoBody, Self::NoAccount]
            .into_iter()
            .find(|r| *r as i64 == value)
            .unwrap_or(Self::None)
    }

    /// RFC 3463, for the report of a failure for good.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::OverQuota => Status(5, 2, 2),
            Self::NoAccount => Status(5, 1, 1),
            Self::NoIndex => Status(5, 6, 0),
            Self::None | Self::Unavailable | Self::NoBody => Status(5, 3, 0),
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::None => "new",
            Self::OverQuota => "the mailbox is full",
            Self::Unavailable => "the store is not available",
            Self::NoIndex => "the message could not be indexed",
            Self::NoBody => "the message cannot be read from the spool",
            Self::NoAccount => "the account does not exist any more",
        }
    }
}

/// A message in memory; its number counts as unsettled as long as a ticket exists.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// Deliveries of the message in all.
    pub(crate) total: u32,
    /// Its body is a file.
    pub(crate) file: bool,
    /// There are rows of its deliveries.
    pub(crate) rows: bool,
    pub(crate) live: Live,
}

impl Ticket {
    pub(crate) fn id(&self) -> QueueId {
        self.live.id
    }
}

/// The body of a message that is to be delivered.
#[derive(Debug)]
pub(crate) enum Body {
    /// As it was submitted or read back.
    Sealed(Arc<SealedMessage>),
    /// Still to be read from its file: so many bytes.
    File(u64),
}

/// A message with deliveries to make now.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) ticket: Arc<Ticket>,
    /// Milliseconds since 1970.
    pub(crate) received_at: i64,
    pub(crate) record: Arc<Record>,
    pub(crate) body: Body,
    /// None for what comes back from the disk, and for messages of our own.
    pub(crate) index: Option<Box<MessageIndex>>,
    /// Number and failures so far of each delivery to make.
    pub(crate) todo: Vec<(u32, u32)>,
    /// Its place in memory.
    pub(crate) room: Room,
}

/// A message to be committed.
#[derive(Debug)]
pub(crate) struct Accept {
    pub(crate) live: Live,
    pub(crate) received_at: i64,
    pub(crate) record: Arc<Record>,
    /// The record, encoded.
    pub(crate) encoded: Vec<u8>,
    pub(crate) message: Arc<SealedMessage>,
    /// The body is already on disk.
    pub(crate) file: Option<SpoolFile>,
    /// None for a message of our own: scan is asked when it is delivered.
    pub(crate) index: Option<Box<MessageIndex>>,
    /// Room to deliver it from memory; without, it waits on disk.
    pub(crate) room: Option<Room>,
    /// The ways of its deliveries to elsewhere.
    pub(crate) routes: Vec<(u32, String)>,
    /// Whose limits it counts against.
    pub(crate) counted: Option<sending::Counted>,
    /// Senders that its rewritten reverse-paths name.
    pub(crate) kept: Vec<Kept>,
    /// Said after the commit.
    pub(crate) answer: oneshot::Sender<Entered>,
}

/// What became of a message that was to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entered {
    /// It is on disk.
    Yes,
    /// Its account has sent too much.
    Limited,
    /// It is not.
    No,
}

/// What became of a lease.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) id: QueueId,
    /// Deliveries of the message in all.
    pub(crate) total: u32,
    /// Its body is a file.
    pub(crate) file: bool,
    pub(crate) fates: Vec<(u32, outgoing::Fate)>,
    /// Reports to the sender that end these deliveries.
    pub(crate) own: Vec<Accept>,
    /// When that was decided.
    pub(crate) now: i64,
    /// For the report on TLS of this day, counted from 1970.
    pub(crate) tls: (i64, Vec<TlsResult>),
    pub(crate) answer: oneshot::Sender<()>,
}

/// What is settled by a message of our own.
#[derive(Debug)]
pub(crate) enum Settles {
    /// The notice about an account.
    Notice(u64),
    /// The report on TLS of a day to a domain; none was wanted when there is no message.
    TlsReport(tls::Key),
}

/// What came due.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    pub(crate) active: Vec<Active>,
    /// There may be more that is due.
    pub(crate) more: bool,
    /// There was no room in memory.
    pub(crate) starved: bool,
    /// When the next delivery is due, in milliseconds since 1970.
    pub(crate) next_due: Option<i64>,
}

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Op {
    Accept(Box<Accept>),
    /// The store has synced this delivery.
    Delivered {
        ticket: Arc<Ticket>,
        number: u32,
        /// What its sender is told, in the same transaction. Also when the delivery failed for good and this is its end.
        own: Vec<Accept>,
    },
    /// A delivery failed; it is held when there is no next attempt.
    Failed {
        ticket: Arc<Ticket>,
        number: u32,
        attempts: u32,
        next: Option<i64>,
        reason: Reason,
    },
    /// Take what is due into memory.
    Lease {
        now: i64,
        answer: oneshot::Sender<Lease>,
    },
    /// Below which number is everything settled?
    Floor(oneshot::Sender<QueueId>),
    List(QueueId, queue_control::Filter, oneshot::Sender<Vec<queue_control::Message>>),
    Show(QueueId, oneshot::Sender<Option<Shown>>),
    Trace(QueueId, oneshot::Sender<Option<Vec<queue_control::Attempts>>>),
    Change {
        action: queue_control::Action,
        filter: queue_control::Filter,
        now: i64,
        answer: oneshot::Sender<u64>,
    },
    /// Which destinations are due?
    Dispatch {
        now: i64,
        limit: usize,
        answer: oneshot::Sender<outgoing::Dispatch>,
    },
    /// Take mail of a destination into memory.
    Take {
        name: String,
        now: i64,
        which: outgoing::Which,
        limit: usize,
        answer: oneshot::Sender<outgoing::Taken>,
    },
    /// A destination's task would end; false when something is due.
    Rest {
        name: String,
        now: i64,
        circuit: outgoing::Circuit,
        answer: oneshot::Sender<bool>,
    },
    /// A lease has ended.
    Settle(Box<Settled>),
    /// Messages of our own, and what they settle.
    Own {
        own: Vec<Accept>,
        settles: Settles,
        answer: oneshot::Sender<()>,
    },
    /// What may an account still send?
    Allowance {
        counted: sending::Counted,
        now: i64,
        answer: oneshot::Sender<sending::Allowance>,
    },
    /// Which sender is kept under this name?
    Sender(String, oneshot::Sender<Option<Address>>),
    /// Accounts whose owners are to hear that they are held.
    Notices(oneshot::Sender<Vec<sending::Notice>>),
    /// The next report on TLS of days before this one.
    TlsReport {
        before: i64,
        now: i64,
        answer: oneshot::Sender<tls::Next>,
    },
    /// Ask for that report later.
    TlsLater {
        key: tls::Key,
        due: i64,
    },
}

/// One message and what is not done of it.
pub(crate) type Shown = (queue_control::Message, Vec<queue_control::Recipient>);

impl Op {
    /// Whether somebody waits for it.
    fn is_urgent(&self) -> bool {
        !matches!(self, Self::Delivered { .. } | Self::Failed { .. } | Self::TlsLater { .. })
    }
}

/// Where the writer sends what follows from a commit.
#[derive(Debug, Clone)]
pub(crate) struct Outlets {
    /// Messages to deliver now; bounded by the room that each holds.
    pub(crate) active: mpsc::UnboundedSender<Active>,
    /// Something may have come due.
    pub(crate) due: Arc<Notify>,
    /// Room for what is taken from the disk.
    pub(crate) budget: Arc<Budget>,
    /// Who sends to elsewhere.
    pub(crate) outbound: Arc<Outbound>,
    /// `[send] paused`.
    pub(crate) paused: bool,
}

/// The handle on the writer.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) files: Arc<Files>,
    /// The key of SRS addresses.
    pub(crate) srs_key: Vec<u8>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Spool {
    /// Opens or creates the spool, makes due what was in memory and what waits for accounts here, and starts the writer. `now` is milliseconds since 1970.
    pub(crate) fn open(state: &Path, now: i64, limits: &Limits, settings: &Settings, outlets: Outlets) -> Result<Self, OpenError> {
        let files = Files::open(state)?;
        let (database, first) = schema::open(state, now, &files, settings)?;
        let srs_key = schema::srs_key(&database)?;
        let numbers = Numbers::starting_at(first);
        let inbox = Inbox::new(limits.lazy_delay);
        let writer = writer::Writer::new(database, numbers.clone(), files.clone(), outlets, first);
        let own = inbox.clone();
        let thread = std::thread::Builder::new().name("spool".into()).spawn(move || writer.run(&own))?;
        Ok(Self { inbox, numbers, files, srs_key, thread: Mutex::new(Some(thread)) })
    }

    /// Hands something to the writer; dropped, and its answer with it, when the writer has ended.
    pub(crate) fn push(&self, op: Op) {
        self.inbox.push(op);
    }

    /// Hands a question to the writer; none when the writer has ended.
    pub(crate) async fn ask<T>(&self, op: impl FnOnce(oneshot::Sender<T>) -> Op) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.push(op(sender));
        receiver.await.ok()
    }

    /// Ends the writer after the commit it is at and waits for it. What waits is dropped, as in a crash.
    pub(crate) fn stop(&self) {
        self.inbox.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A writer that panicked has ended the process, or, in tests, has said so.
            let _ = thread.join();
        }
    }
}
