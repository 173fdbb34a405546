//! All accounts: which of them are open, which have changes that are not on disk, and the work nobody asks for.

use crate::{
    account::Dirty,
    cell::{Cell, lock},
    error::Result,
    limits::{CROWD, HOUSEKEEPING, IDLE_ACCOUNT, IDLE_IN_CROWD, MAX_OPEN_ACCOUNTS, SYNC_EACH},
};
use jail::disk::{Witness, lost};
use pure_addr::AccountId;
use std::{
    collections::HashMap,
    fmt,
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::task::JoinError;
use wire::{
    Client,
    edge::{scan_index::ScanForStore, store_deliver::Life},
};

/// Seconds since 1970; tests bring their own.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What a store needs to know.
pub struct Options {
    /// Bytes of the largest message that may be appended.
    pub message_limit: u64,
    /// Accounts open at a time.
    pub max_open: usize,
    /// The time.
    pub clock: Clock,
    /// Which start of the machine this is, by a number unlike that of any before. Without one, every process may be the first after a
    /// power cut.
    pub boot: Option<u64>,
    /// The number of this life of the store: random, unlike that of any process before.
    pub life: Life,
    /// Who indexes appended messages.
    pub scan: Client<ScanForStore>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("message_limit", &self.message_limit).field("max_open", &self.max_open).finish_non_exhaustive()
    }
}

impl Options {
    /// The usual ones: the system's clock, [`MAX_OPEN_ACCOUNTS`].
    pub fn new(message_limit: u64, life: Life, boot: Option<u64>, scan: Client<ScanForStore>) -> Self {
        let clock = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        };
        Self { message_limit, max_open: MAX_OPEN_ACCOUNTS, clock: Arc::new(clock), boot, life, scan }
    }
}

/// The accounts under one state directory.
#[derive(Debug)]
pub struct Store {
    accounts: PathBuf,
    /// For one sync of everything.
    root: Arc<File>,
    /// Whether those syncs were any.
    pub(crate) witness: Arc<Witness>,
    pub(crate) options: Options,
    cells: Mutex<HashMap<AccountId, Arc<Cell>>>,
    dirty: Mutex<HashMap<AccountId, Arc<Cell>>>,
    open: AtomicUsize,
    pub(crate) sessions: AtomicUsize,
    settled: AtomicI64,
    /// One sync of everything at a time, since it takes many gates.
    sync_gate: Arc<tokio::sync::Mutex<()>>,
    started: Instant,
}

impl Store {
    /// Opens the store in this directory; makes `accounts` in it when there is none.
    pub fn open(state: &Path, options: Options) -> Result<Arc<Self>> {
        let accounts = state.join("accounts");
        match DirBuilder::new().mode(0o700).create(&accounts) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e.into()),
        }
        let root = File::open(&accounts)?;
        // An earlier process may have ended between making a directory and syncing its name.
        root.sync_all()?;
        File::open(state)?.sync_all()?;
        Ok(Arc::new(Self {
            root: Arc::new(root),
            witness: Arc::new(Witness::new(&accounts)),
            accounts,
            options,
            cells: Mutex::default(),
            dirty: Mutex::default(),
            open: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            settled: AtomicI64::new(i64::MIN),
            sync_gate: Arc::default(),
            started: Instant::now(),
        }))
    }

    pub(crate) fn now(&self) -> i64 {
        (self.options.clock)()
    }

    /// Milliseconds since the store was opened.
    pub(crate) fn uptime(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn path_of(&self, account: AccountId) -> PathBuf {
        self.accounts.join(account.to_string())
    }

    pub(crate) fn cell(&self, account: AccountId) -> Arc<Cell> {
        lock(&self.cells).entry(account).or_insert_with(|| Arc::new(Cell::new(account))).clone()
    }

    /// Ends every session that the account has now, and returns their number.
    pub(crate) fn end_sessions(&self, account: AccountId) -> usize {
        let cell = lock(&self.cells).get(&account).cloned();
        cell.map_or(0, |cell| cell.end_sessions())
    }

    pub(crate) fn opened(&self, change: isize) {
        if change > 0 {
            self.open.fetch_add(1, Ordering::Relaxed);
        } else {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Closes some of the accounts that were used least recently, when as many as may be are open.
    pub(crate) fn make_room(self: &Arc<Self>) {
        if self.open.load(Ordering::Relaxed) >= self.options.max_open {
            // Some at a time, since it takes a look at all.
            self.close_some((self.options.max_open / 16).max(1));
        }
    }

    /// Closes this many accounts that nobody uses now, those used least recently first.
    pub(crate) fn close_some(self: &Arc<Self>, count: usize) {
        let mut open: Vec<Arc<Cell>> = lock(&self.cells).values().filter(|c| c.is_open.load(Ordering::Relaxed)).cloned().collect();
        open.sort_by_key(|cell| cell.last_used.load(Ordering::Relaxed));
        let closed = open.iter().filter(|cell| cell.evict(self)).take(count).count();
        tracing::debug!(closed, "closed accounts to make room");
    }

    pub(crate) fn settled(&self) -> i64 {
        self.settled.load(Ordering::Relaxed)
    }

    pub(crate) fn settle(&self, below: i64) {
        self.settled.fetch_max(below, Ordering::Relaxed);
    }

    pub(crate) fn dirtied(&self, cell: &Arc<Cell>) {
        lock(&self.dirty).insert(cell.id, cell.clone());
    }

    pub(crate) fn cleaned(&self, cell: &Arc<Cell>) {
        let mut dirty = lock(&self.dirty);
        if cell.is_clean() {
            dirty.remove(&cell.id);
        }
    }

    /// Everything committed before, in all accounts, is on disk when this returns.
    pub async fn sync_all(self: &Arc<Self>) {
        let store = self.clone();
        // A task of its own, for the reason given at the sync of one account.
        let done = tokio::spawn(async move {
            let _gate = store.sync_gate.lock().await;
            let cells: Vec<Arc<Cell>> = lock(&store.dirty).values().cloned().collect();
            if cells.len() <= SYNC_EACH {
                for cell in cells {
                    cell.sync(&store).await;
                }
                return;
            }
            let mut gates = Vec::new();
            for cell in &cells {
                gates.push(cell.gate.clone().lock_owned().await);
            }
            let taken: Vec<Dirty> = cells.iter().map(|cell| cell.take_dirty()).collect();
            let root = store.root.clone();
            let witness = store.witness.clone();
            must(tokio::task::spawn_blocking(move || Ok(rustix::fs::syncfs(&*root)?).and_then(|()| witness.ask())).await);
            for (cell, dirty) in cells.iter().zip(taken) {
                cell.synced(dirty.email);
                store.cleaned(cell);
            }
        });
        if done.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Does now and then what nobody asks for; never returns.
    pub async fn keep_house(self: Arc<Self>) {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.housekeep().await;
        }
    }

    /// One round: what is dirty is synced, expunged bytes are released, idle accounts are closed.
    pub async fn housekeep(self: &Arc<Self>) {
        self.sync_all().await;
        let store = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let now = store.now();
            let open: Vec<Arc<Cell>> = lock(&store.cells).values().filter(|c| c.is_open.load(Ordering::Relaxed)).cloned().collect();
            let idle = if open.len() > CROWD { IDLE_IN_CROWD } else { IDLE_ACCOUNT };
            let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
            for cell in open {
                cell.release(&store, now);
                if store.uptime().saturating_sub(cell.last_used.load(Ordering::Relaxed)) > idle {
                    cell.feed(&store, false);
                    cell.close_if_free(&store);
                }
            }
        });
        if let Err(error) = work.await {
            tracing::error!(%error, "housekeeping ended early");
        }
    }
}

/// A sync that must succeed, see [`lost`].
pub(crate) fn must(result: std::result::Result<io::Result<()>, JoinError>) {
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => lost(&error),
        Err(error) => lost(&error),
    }
}
