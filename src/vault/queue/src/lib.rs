//! The queue: mail in transit.
//!
//! SECURITY: a vault. It holds accepted messages until they are delivered, on its own disk, and parses nothing that came from the
//! Internet: it sees typed envelopes, sealed bytes, and the index that scan made of them. Its clients are mx (strangers' mail), auth
//! (sessions of accounts), submission through those sessions, and the administrator; it asks scan, the directory of auth, the
//! store, keys for DKIM signatures, and send.
//!
//! * A taken-over mx can hand over mail as a stranger: every recipient is looked up again here, so it relays nothing.
//! * A stranger's message whose author is not proven is passed on by no alias when our own address would prove it elsewhere.
//! * A taken-over submission acts for the accounts whose sockets it holds: the socket says whose, and authors and reverse-path
//!   are checked here.
//! * A taken-over scan can misjudge identity, origin and loops, and nothing else: it cannot change a byte, but have `Authentication-Results`
//!   fields taken out.
//! * A taken-over send can lose and invent results of deliveries, and its words are free text; it names no recipient and makes no report.
//! * Not blocked: a taken-over queue can forge and lose mail, and write to any account through the store.
//!
//! Invariants:
//!
//! * `Accepted` is said after the message is on disk;
//! * an accepted message is delivered at least once to each of its accounts, at most once per delivery id;
//! * each delivery ends in one transaction: done, or with the report to its sender in the spool;
//! * when anything that must be asked cannot be, the message is deferred, never waved through;
//! * memory is bounded: by [`limits`], in messages and bytes.
//!
//! Journal fields: `MESSAGE` (the number; with the journal's prefix it is `POSTERN_MESSAGE`), `session`, `account`, `peer`.

mod admit;
mod ask;
mod backoff;
mod budget;
mod clock;
mod deliver;
mod dsn;
mod fixup;
mod forwards;
mod full;
mod known;
pub mod limits;
mod notices;
mod origin;
mod post;
mod remote;
mod services;
pub mod settings;
mod spool;
#[doc(hidden)] // For tests/fuzz.
pub mod srs;
mod submit;
#[cfg(test)]
mod testing;
mod tlsrpt;
mod trace;

pub use clock::{Clock, SystemClock};
pub use services::{Control, Grant, Inbound};
pub use spool::OpenError;

use crate::{
    ask::{Directory, Scanner},
    budget::Budget,
    clock::Watched,
    deliver::Engine,
    limits::{Limits, MAX_FILE_WRITERS},
    post::Post,
    remote::{Outbound, Sender},
    settings::Settings,
    spool::{Outlets, Spool},
    submit::{Core, Disk},
};
use pure_addr::Domain;
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicI64},
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::AbortHandle,
};
use wire::Client;

/// Random numbers, for spreading retries.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a queue is made of.
#[derive(Clone)]
pub struct Options {
    /// The state directory: `queue.db` and `spool/`.
    pub state: PathBuf,
    /// What `Received` says we are.
    pub hostname: Domain,
    /// Bytes of the largest message.
    pub message_size: u64,
    /// The socket of the edge scan-queue.
    pub scan: PathBuf,
    /// The socket of the edge auth-directory.
    pub directory: PathBuf,
    /// The socket of the edge store-deliver.
    pub store: PathBuf,
    /// The socket of the edge keys-dkim.
    pub keys: PathBuf,
    /// The socket of the edge send-deliver.
    pub send: PathBuf,
    /// What the configuration says about mail that leaves.
    pub settings: Settings,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// For spreading retries, and for names that are to be unlike all others.
    pub random: Random,
    /// Turned down by tests.
    pub limits: Limits,
}

/// A running queue. Dropped, it stops as if it had been killed: nothing that waits is committed.
pub struct Queue {
    core: Arc<Core>,
    clock: Arc<dyn Clock>,
    due: Arc<Notify>,
    outbound: Arc<Outbound>,
    tasks: Vec<AbortHandle>,
}

impl Queue {
    /// Opens the spool and goes on with what is in it. To be called within a tokio runtime.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let Options { state, hostname, message_size, scan, directory, store, keys, send, settings, clock, random, limits } = options;
        let settings = Arc::new(settings);
        let outbound = Outbound::new();
        let active = Budget::new(limits.active, limits.active_bytes);
        let (active_sender, active_receiver) = mpsc::unbounded_channel();
        let due = Arc::new(Notify::new());
        let watched = Arc::new(Watched::new(clock, due.clone()));
        let clock: Arc<dyn Clock> = watched.clone();
        let outlets = Outlets {
            active: active_sender,
            due: due.clone(),
            budget: active.clone(),
            outbound: outbound.clone(),
            paused: settings.send.paused,
        };
        let spool = Arc::new(Spool::open(&state, clock.now(), &limits, &settings, outlets.clone())?);
        let (scan, directory) = (Arc::new(Scanner::new(&scan)), Directory::new(&directory));
        let (delivered, to_sync) = Engine::channel();
        let full = Arc::new(full::Full::default());
        let post = Arc::new(Post {
            directory: directory.clone(),
            spool: spool.clone(),
            settings: settings.clone(),
            hostname: hostname.clone(),
            clock: clock.clone(),
            random: random.clone(),
        });
        let sender = Arc::new(Sender {
            send: Client::new(send),
            keys: Client::new(keys),
            scan: scan.clone(),
            spool: spool.clone(),
            post: post.clone(),
            settings: settings.clone(),
            clock: clock.clone(),
            random: random.clone(),
            hostname: hostname.clone(),
        });
        let engine = Arc::new(Engine {
            store: Client::new(store),
            scan: scan.clone(),
            directory: directory.clone(),
            spool: spool.clone(),
            clock: clock.clone(),
            random: random.clone(),
            hostname: hostname.clone(),
            post: post.clone(),
            full: full.clone(),
            permits: Engine::permits(),
            delivered,
        });
        let tasks = vec![
            tokio::spawn(directory.clone().watch()).abort_handle(),
            tokio::spawn(engine.clone().run(active_receiver)).abort_handle(),
            tokio::spawn(engine.clone().sync(to_sync, limits.sync_delay, limits.settle_idle)).abort_handle(),
            tokio::spawn(engine.schedule(outlets, watched)).abort_handle(),
            tokio::spawn(remote::dispatch(sender.clone(), outbound.clone())).abort_handle(),
            tokio::spawn(notices::run(post.clone(), outbound.clone())).abort_handle(),
            tokio::spawn(tlsrpt::run(sender, outbound.clone())).abort_handle(),
        ];
        let core = Arc::new(Core {
            spool,
            directory,
            scan,
            clock: clock.clone(),
            message_size,
            submitting: Budget::new(limits.submitting, limits.submitting_bytes),
            active,
            stalled_until: AtomicI64::new(0),
            file_writers: Semaphore::new(MAX_FILE_WRITERS),
            disk: Disk::default(),
            settings,
            hostname,
            random,
            forwards: forwards::Forwards::default(),
            full,
            limits,
        });
        Ok(Self { core, clock, due, outbound, tasks })
    }

    /// The service of queue/inbound.
    pub fn inbound(&self) -> Arc<Inbound> {
        Arc::new(Inbound(self.core.clone()))
    }

    /// The service of queue/grant.
    pub fn grant(&self) -> Arc<Grant> {
        Arc::new(Grant::new(self.core.clone()))
    }

    /// The service of queue/control.
    pub fn control(&self) -> Arc<Control> {
        Arc::new(Control { spool: self.core.spool.clone(), clock: self.clock.clone() })
    }

    /// Looks at the schedule now; for clocks that jump.
    pub fn wake(&self) {
        self.due.notify_one();
        self.outbound.wake();
    }

    /// Commits so far, for measuring.
    pub fn commits(&self) -> u64 {
        self.core.spool.inbox.commits()
    }

    /// Returns when the spool cannot be written any more: end the process and start again from what is on disk.
    pub async fn failed(&self) {
        self.core.spool.inbox.ended().await;
    }

    /// Sends nothing new, and waits until what is under way has been reported, at most [`limits::LAST_REPORTS`]: what a process that is
    /// gone was told of would be sent again.
    pub async fn settle(&self) {
        let _ = tokio::time::timeout(limits::LAST_REPORTS, self.outbound.close()).await;
    }

    /// Stops as if killed, and waits until the database is closed.
    pub fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.core.spool.stop();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.core.spool.stop();
    }
}
