//! What waits for the writer. It takes everything at once: that is the group commit.

use super::Op;
use crate::limits::LAZY_BATCH;
use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

#[derive(Debug, Default)]
struct State {
    ops: Vec<Op>,
    /// Somebody waits for one of them.
    urgent: bool,
    /// Since when the others wait.
    lazy_since: Option<Instant>,
    /// The writer sleeps.
    asleep: bool,
    stopped: bool,
}

/// Ordered room between many tasks and the writer. Bounded by the budgets that its messages hold and by the edges' own limits.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    lazy_delay: Duration,
    ended: watch::Sender<bool>,
    commits: AtomicU64,
}

/// What the writer gets.
pub(super) enum Taken {
    Ops(Vec<Op>),
    /// Nothing came for a while.
    Idle,
    Stopped,
}

impl Inbox {
    pub(super) fn new(lazy_delay: Duration) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            lazy_delay,
            ended: watch::Sender::new(false),
            commits: AtomicU64::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, op: Op) {
        let mut state = self.state();
        if state.stopped {
            return;
        }
        if op.is_urgent() {
            state.urgent = true;
        } else if state.lazy_since.is_none() {
            state.lazy_since = Some(Instant::now());
        }
        state.ops.push(op);
        // A wake-up is a system call: only when it changes how long the writer sleeps.
        let wake = state.asleep && (state.urgent || state.ops.len() == 1 || state.ops.len() >= LAZY_BATCH);
        state.asleep &= !wake;
        // Not while it is locked: the writer would be woken to wait for us.
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Puts back what could not be committed; nobody waits for it.
    pub(super) fn put_back(&self, mut ops: Vec<Op>) {
        let mut state = self.state();
        if state.stopped {
            return;
        }
        state.lazy_since.get_or_insert_with(Instant::now);
        ops.append(&mut state.ops);
        state.ops = ops;
    }

    /// Waits until a commit is worth while.
    pub(super) fn take(&self, idle_after: Option<Duration>) -> Taken {
        let mut state = self.state();
        let idle_at = idle_after.and_then(|d| Instant::now().checked_add(d));
        loop {
            if state.stopped {
                return Taken::Stopped;
            }
            let due = state.lazy_since.and_then(|since| since.checked_add(self.lazy_delay));
            let now = Instant::now();
            if state.urgent || state.ops.len() >= LAZY_BATCH || due.is_some_and(|due| due <= now) {
                state.urgent = false;
                state.lazy_since = None;
                return Taken::Ops(std::mem::take(&mut state.ops));
            }
            if due.is_none() && idle_at.is_some_and(|at| at <= now) {
                return Taken::Idle;
            }
            state.asleep = true;
            state = match due.or(idle_at) {
                Some(until) => {
                    self.wake.wait_timeout(state, until.saturating_duration_since(now)).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.asleep = false;
        }
    }

    /// No more is taken; what waits is dropped.
    pub(super) fn stop(&self) {
        let waiting = {
            let mut state = self.state();
            state.stopped = true;
            self.wake.notify_one();
            std::mem::take(&mut state.ops)
        };
        // Outside of the lock: dropping a message gives back its number and room.
        drop(waiting);
        self.ended.send_replace(true);
    }

    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Returns once the writer has ended.
    pub(crate) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }
}
