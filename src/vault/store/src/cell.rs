//! One account as the whole process knows it, open or not: its lock, its waiting deliveries, its sessions, and what is not yet on disk.
//!
//! * Sessions take turns before they take the lock: of those who wait for one account, none holds a thread.
//! * Whoever lets go of the lock delivers what has come to wait meanwhile: no delivery waits for anything but the transaction before it,
//!   and those that wait together share one.
//! * Lock order: the account, then `waiting`, `listeners`, `dirty`, the store's maps. None is held across an await.

use crate::{
    account::{Account, Dirty, News},
    deliver::Waiting,
    error::Result,
    garbage::Readers,
    limits::{FEED_PAUSE, MAX_BATCH, TOO_MUCH_GARBAGE, WAL_CHECKPOINT, WAL_TIDY},
    store::Store,
};
use pure_addr::AccountId;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, TryLockError,
    atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Notify,
};
use wire::edge::store_deliver::Response;

#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) id: AccountId,
    account: Mutex<Option<Account>>,
    turn: tokio::sync::Mutex<()>,
    waiting: Mutex<Vec<Waiting>>,
    listeners: Mutex<Vec<Arc<Listener>>>,
    dirty: Mutex<Dirty>,
    /// Held while a sync runs: who gets it next finds everything before it done.
    pub(crate) gate: Arc<tokio::sync::Mutex<()>>,
    durable_email: AtomicI64,
    /// Opened before in this process.
    known: AtomicBool,
    pub(crate) is_open: AtomicBool,
    checkpointing: AtomicBool,
    feeding: AtomicBool,
    /// Milliseconds of the store's clock.
    pub(crate) last_used: AtomicU64,
}

/// What one session wants to hear.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    /// Number of its open mailbox; 0 for none.
    pub(crate) mailbox: AtomicU32,
    /// Modification sequence it has not been told of; 0 for none.
    pub(crate) changed: AtomicU64,
    /// Number of the open mailbox that is no more; 0 for none.
    pub(crate) gone: AtomicU32,
    /// Since when it may be sending bodies, in the store's seconds; 0 when it sends none.
    pub(crate) reading: AtomicI64,
    pub(crate) wake: Notify,
    /// The session is over; see [`Self::end`].
    pub(crate) ending: Notify,
    ended: AtomicBool,
}

impl Listener {
    /// Ends the session: whatever it is doing, and before it is asked anything else.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        // Kept until it looks.
        self.ending.notify_one();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Who makes a change, and the mailbox whose changes the answer tells completely.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) listener: &'a Arc<Listener>,
    pub(crate) told: Option<u32>,
}

/// A lock whose holder panicked ends the process anyway; tests go on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(e)) => Some(e.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Runs what may take long, without keeping other tasks from this thread where the runtime allows it.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

impl Cell {
    pub(crate) fn new(id: AccountId) -> Self {
        Self {
            id,
            account: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            listeners: Mutex::default(),
            dirty: Mutex::default(),
            gate: Arc::default(),
            durable_email: AtomicI64::new(0),
            known: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            checkpointing: AtomicBool::new(false),
            feeding: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
        }
    }

    /// What a session wants, when its turn has come: those who wait hold no thread, and other accounts go on.
    pub(crate) async fn in_turn<T>(
        self: &Arc<Self>,
        store: &Arc<Store>,
        own: Own<'_>,
        long: bool,
        work: impl FnOnce(&mut Account) -> Result<T>,
    ) -> Result<T> {
        let _turn = self.turn.lock().await;
        let now = || self.with(store, Some(own), work);
        if long { blocking(now) } else { now() }
    }

    /// Does something with the account, opening it if need be; then tells the other sessions.
    pub(crate) fn with<T>(
        self: &Arc<Self>,
        store: &Arc<Store>,
        own: Option<Own<'_>>,
        work: impl FnOnce(&mut Account) -> Result<T>,
    ) -> Result<T> {
        let result = {
            let mut guard = match try_lock(&self.account) {
                Some(guard) => guard,
                None => blocking(|| lock(&self.account)),
            };
            let result = self.open(store, &mut guard).and_then(work);
            self.after(store, &mut guard, own);
            result
        };
        self.drain(store);
        result
    }

    fn open<'a>(&self, store: &Arc<Store>, slot: &'a mut Option<Account>) -> Result<&'a mut Account> {
        self.last_used.store(store.uptime(), Ordering::Relaxed);
        if slot.as_ref().is_some_and(|account| account.broken) {
            self.close(store, slot);
        }
        let account = match slot {
            Some(account) => account,
            None => {
                let first = !self.known.load(Ordering::Relaxed);
                let open = || Account::open(&store.path_of(self.id), store.now(), store.options.boot, first);
                // It waits for the disk, several times when the account is new: others are served meanwhile, and their syncs are shared.
                let account = blocking(|| {
                    store.make_room();
                    match open() {
                        Err(error) if error.is_out_of_files() => {
                            // Fewer than were hoped for: others have to go first.
                            store.close_some(usize::MAX);
                            open()
                        }
                        result => result,
                    }
                })?;
                self.known.store(true, Ordering::Relaxed);
                self.is_open.store(true, Ordering::Relaxed);
                store.opened(1);
                slot.insert(account)
            }
        };
        account.state.durable_email = account.state.durable_email.max(self.durable_email.load(Ordering::Relaxed));
        Ok(account)
    }

    fn close(&self, store: &Store, slot: &mut Option<Account>) {
        if slot.take().is_some() {
            self.is_open.store(false, Ordering::Relaxed);
            store.opened(-1);
        }
    }

    /// Takes over what transactions left behind, while the account is still locked.
    fn after(self: &Arc<Self>, store: &Arc<Store>, slot: &mut Option<Account>, own: Option<Own<'_>>) {
        let Some(account) = slot.as_mut() else { return };
        let dirty = account.take_dirty();
        if dirty.is_clean() {
            return;
        }
        let was_clean = {
            let mut mine = lock(&self.dirty);
            let was_clean = mine.is_clean();
            mine.merge(dirty);
            was_clean
        };
        if was_clean {
            store.dirtied(self);
        }
        self.announce(&account.take_news(), own);
        if account.log_len() > WAL_CHECKPOINT && !self.checkpointing.swap(true, Ordering::Relaxed) {
            let (cell, store) = (self.clone(), store.clone());
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || cell.checkpoint(&store))),
                Err(_) => self.checkpointing.store(false, Ordering::Relaxed),
            }
        }
    }

    fn announce(&self, news: &News, own: Option<Own<'_>>) {
        if news.changed.is_empty() && news.gone.is_empty() {
            return;
        }
        let modseq = u64::try_from(news.modseq).unwrap_or(0);
        for listener in lock(&self.listeners).iter() {
            let open = listener.mailbox.load(Ordering::Acquire);
            let own = own.filter(|own| Arc::ptr_eq(own.listener, listener));
            if open == 0 {
                continue;
            }
            if news.gone.contains(&open) {
                listener.mailbox.store(0, Ordering::Release);
                if own.is_none() {
                    listener.gone.store(open, Ordering::Release);
                    listener.wake.notify_one();
                }
            } else if news.changed.contains(&open) && own.is_none_or(|own| own.told != Some(open)) {
                listener.changed.fetch_max(modseq, Ordering::AcqRel);
                listener.wake.notify_one();
            }
        }
    }

    /// Hands in a delivery. It is done by whoever has the lock, perhaps by us.
    pub(crate) fn enqueue(&self, waiting: Waiting) {
        lock(&self.waiting).push(waiting);
    }

    /// Delivers what waits, unless somebody else has the lock and will.
    pub(crate) fn drain(self: &Arc<Self>, store: &Arc<Store>) {
        loop {
            if lock(&self.waiting).is_empty() {
                return;
            }
            let Some(mut guard) = try_lock(&self.account) else { return };
            let batch: Vec<Waiting> = {
                let mut waiting = lock(&self.waiting);
                let n = waiting.len().min(MAX_BATCH);
                waiting.drain(..n).collect()
            };
            let verdicts = match self.open(store, &mut guard) {
                Ok(account) => account.deliver_all(&batch, store.settled(), store.options.life),
                Err(error) => {
                    tracing::error!(account = %self.id, %error, "account cannot be opened");
                    vec![Response::Unavailable; batch.len()]
                }
            };
            self.after(store, &mut guard, None);
            drop(guard);
            for (waiting, verdict) in batch.into_iter().zip(verdicts) {
                waiting.answer(verdict);
            }
        }
    }

    /// Everything committed before is on disk when this returns; callers at the same time share the work.
    pub(crate) async fn sync(self: &Arc<Self>, store: &Arc<Store>) {
        let (cell, store) = (self.clone(), store.clone());
        // A task of its own: a caller that goes away must not leave others to believe that it was done.
        let done = tokio::spawn(async move {
            let _gate = cell.gate.lock().await;
            let dirty = cell.take_dirty();
            if dirty.is_clean() {
                return;
            }
            let email = dirty.email;
            let witness = store.witness.clone();
            crate::store::must(tokio::task::spawn_blocking(move || dirty.sync().and_then(|()| witness.ask())).await);
            cell.synced(email);
            store.cleaned(&cell);
        });
        if done.await.is_err() {
            // The runtime ends, and the process with it.
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn take_dirty(&self) -> Dirty {
        std::mem::take(&mut *lock(&self.dirty))
    }

    pub(crate) fn is_clean(&self) -> bool {
        lock(&self.dirty).is_clean()
    }

    pub(crate) fn synced(&self, email: i64) {
        self.durable_email.fetch_max(email, Ordering::Relaxed);
    }

    fn checkpoint(self: &Arc<Self>, store: &Arc<Store>) {
        // Bodies first, so that the log never says more than they hold.
        let files: Vec<_> = lock(&self.dirty).files.values().cloned().collect();
        for file in files {
            if let Err(error) = rustix::fs::fdatasync(&*file) {
                jail::disk::lost(&error);
            }
        }
        {
            let mut guard = lock(&self.account);
            if let Some(Err(error)) = guard.as_mut().map(Account::checkpoint) {
                tracing::error!(account = %self.id, %error, "checkpoint failed");
            }
            self.checkpointing.store(false, Ordering::Relaxed);
        }
        self.drain(store);
    }

    /// Has the text index fed in the background until it knows everything, between what others do with the account.
    pub(crate) fn feed_soon(self: &Arc<Self>, store: &Arc<Store>) {
        if self.feeding.swap(true, Ordering::Relaxed) {
            return;
        }
        let (cell, store) = (self.clone(), store.clone());
        tokio::spawn(async move {
            let mut begun = false;
            loop {
                let (cell, store) = (cell.clone(), store.clone());
                match tokio::task::spawn_blocking(move || cell.feed(&store, begun)).await {
                    Ok(true) => tokio::time::sleep(FEED_PAUSE).await,
                    Ok(false) | Err(_) => break,
                }
                begun = true;
            }
            cell.feeding.store(false, Ordering::Relaxed);
        });
    }

    /// Feeds the text index of an open account, step by step, until it is done or somebody else wants the account; true for the latter.
    pub(crate) fn feed(self: &Arc<Self>, store: &Arc<Store>, mut begun: bool) -> bool {
        loop {
            let more = {
                let Some(mut guard) = try_lock(&self.account) else { return true };
                let account = guard.as_mut().filter(|account| begun || account.wants_feed());
                let result = account.map_or(Ok(false), Account::feed);
                begun = true;
                self.after(store, &mut guard, None);
                result.unwrap_or_else(|error| {
                    tracing::error!(account = %self.id, %error, "the text index could not be fed");
                    false
                })
            };
            let wanted = !lock(&self.waiting).is_empty();
            self.drain(store);
            if !more || wanted {
                return more;
            }
        }
    }

    /// Closes the account if nobody uses it now.
    pub(crate) fn close_if_free(self: &Arc<Self>, store: &Arc<Store>) {
        if let Some(mut guard) = try_lock(&self.account) {
            let long = guard.as_mut().filter(|account| account.log_len() > WAL_TIDY);
            if let Some(Err(error)) = long.map(Account::checkpoint) {
                tracing::error!(account = %self.id, %error, "checkpoint failed");
            }
            self.close(store, &mut guard);
        }
        self.drain(store);
    }

    /// Closes the account to make room for another; only if nobody uses it now.
    pub(crate) fn evict(self: &Arc<Self>, store: &Arc<Store>) -> bool {
        {
            let Some(mut guard) = try_lock(&self.account) else { return false };
            self.close(store, &mut guard);
        }
        // Who came to wait meanwhile counts on us; but we are within another account's work.
        if !lock(&self.waiting).is_empty()
            && let Ok(runtime) = Handle::try_current()
        {
            let (cell, store) = (self.clone(), store.clone());
            runtime.spawn(async move { cell.drain(&store) });
        }
        true
    }

    /// Who may be sending bodies; all of them are ended if there is no other way.
    fn readers(&self, end: bool) -> Readers {
        let listeners = lock(&self.listeners);
        let reading = |listener: &&Arc<Listener>| listener.reading.load(Ordering::Acquire) != 0;
        if end {
            for listener in listeners.iter().filter(reading) {
                tracing::warn!(account = %self.id, "a session that reads is ended: too many expunged bytes wait for it");
                listener.end();
            }
        }
        match listeners.iter().filter(reading).map(|listener| listener.reading.load(Ordering::Acquire)).min() {
            _ if listeners.is_empty() => Readers::Nobody,
            Some(began) => Readers::Since(began),
            None => Readers::Idle,
        }
    }

    /// Releases the bytes of messages expunged long enough ago.
    pub(crate) fn release(self: &Arc<Self>, store: &Arc<Store>, now: i64) {
        let garbage = {
            let Some(guard) = try_lock(&self.account) else { return };
            guard.as_ref().map_or((0, 0), |account| account.garbage)
        };
        if garbage.0 > 0 {
            let readers = self.readers(garbage.1 > TOO_MUCH_GARBAGE);
            let result = self.with(store, None, |account| account.release(account.release_until(now, readers)));
            if let Err(error) = result {
                tracing::error!(account = %self.id, %error, "expunged bytes could not be released");
            }
        }
        self.drain(store);
    }

    pub(crate) fn listen(&self, listener: &Arc<Listener>) -> usize {
        let mut listeners = lock(&self.listeners);
        listeners.push(listener.clone());
        listeners.len()
    }

    pub(crate) fn unlisten(&self, listener: &Arc<Listener>) {
        lock(&self.listeners).retain(|l| !Arc::ptr_eq(l, listener));
    }

    /// Ends every session that listens now, and returns their number.
    pub(crate) fn end_sessions(&self) -> usize {
        let listeners = lock(&self.listeners);
        listeners.iter().for_each(|listener| listener.end());
        listeners.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Options;
    use std::{sync::mpsc, time::Duration};
    use wire::{Client, edge::store_deliver::Life};

    /// Attack class SLOW: however many sessions wait for an account that is busy, others are served.
    #[test]
    fn those_who_wait_for_an_account_hold_up_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(1024, Life(1), Some(1), Client::new(dir.path().join("scan")));
        let store = Store::open(dir.path(), options).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(2).enable_all().build().unwrap();
        let session = |account: u64, done: mpsc::Sender<()>| {
            let store = store.clone();
            runtime.spawn(async move {
                let (cell, listener) = (store.cell(AccountId::new(account).unwrap()), Arc::new(Listener::default()));
                let own = Own { listener: &listener, told: None };
                cell.in_turn(&store, own, true, |_| Ok(())).await.unwrap();
                done.send(()).unwrap();
            })
        };
        let busy = store.cell(AccountId::new(1).unwrap());
        let held = lock(&busy.account);
        let (waiting, waited) = mpsc::channel();
        (0..8).for_each(|_| drop(session(1, waiting.clone())));
        let (other, served) = mpsc::channel();
        drop(session(2, other));
        served.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(waited.try_recv().is_err());
        drop(held);
        (0..8).for_each(|_| waited.recv_timeout(Duration::from_secs(60)).unwrap());
    }
}
