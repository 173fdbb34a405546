//! Delivery to elsewhere.
//!
//! Every delivery has a row from its acceptance to its end. A destination is a domain or a smarthost; each that something is due for
//! has one task, which leases its mail to `send`, one message with all its recipients there at a time, and notes what became of it
//! in one transaction with the report that its sender may get. What is interrupted anywhere is leased again.
//!
//! In memory are destinations that are worked on ([`crate::limits::MAX_DESTINATIONS`]) and messages that are being sent
//! ([`crate::limits::MAX_SENDING`]); what waits is on disk alone.

mod breaker;
mod lease;
mod schedule;
mod sign;
mod verdict;

pub(crate) use lease::Sender;
pub(crate) use schedule::dispatch;

use crate::{
    budget::Budget,
    limits::{MAX_SENDING, MAX_SENDING_BYTES},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

/// Wakes those who send.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// A destination without a task may be due.
    pub(crate) due: Notify,
    /// An account is held.
    pub(crate) notices: Notify,
    /// Reports on TLS may be due.
    pub(crate) reports: Notify,
    /// Room for messages that are being sent.
    pub(crate) budget: Arc<Budget>,
    tasks: Mutex<HashMap<String, Arc<Poke>>>,
    /// Nothing new is to be sent.
    closing: AtomicBool,
    /// The last task has ended.
    idle: Notify,
}

/// Wakes the task of one destination.
#[derive(Debug, Default)]
pub(crate) struct Poke {
    more: Notify,
    reset: AtomicBool,
}

impl Outbound {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            due: Notify::new(),
            notices: Notify::new(),
            reports: Notify::new(),
            budget: Budget::new(MAX_SENDING, MAX_SENDING_BYTES),
            tasks: Mutex::default(),
            closing: AtomicBool::new(false),
            idle: Notify::new(),
        })
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Arc<Poke>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is new mail for these.
    pub(crate) fn poke(&self, routes: &[(u32, String)]) {
        if routes.is_empty() {
            return;
        }
        {
            let tasks = self.tasks();
            for (_, route) in routes {
                if let Some(task) = tasks.get(route) {
                    task.more.notify_one();
                }
            }
        }
        self.due.notify_one();
    }

    /// Every task looks again. For clocks that jump.
    pub(crate) fn wake(&self) {
        for task in self.tasks().values() {
            task.more.notify_one();
        }
        self.due.notify_one();
        self.reports.notify_one();
    }

    /// The administrator wants everything tried, whatever the breakers say.
    pub(crate) fn reset(&self) {
        for task in self.tasks().values() {
            task.reset.store(true, Ordering::Relaxed);
            task.more.notify_one();
        }
        self.due.notify_one();
    }

    /// Lets every task end with the leases that it has.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.wake();
        while self.working() > 0 {
            self.idle.notified().await;
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn enter(self: &Arc<Self>, name: &str) -> Working {
        let poke = Arc::new(Poke::default());
        self.tasks().insert(name.to_owned(), poke.clone());
        Working { outbound: self.clone(), name: name.to_owned(), poke }
    }

    fn working(&self) -> usize {
        self.tasks().len()
    }
}

/// A destination that a task works on.
#[derive(Debug)]
struct Working {
    outbound: Arc<Outbound>,
    name: String,
    poke: Arc<Poke>,
}

impl Drop for Working {
    fn drop(&mut self) {
        {
            let mut tasks = self.outbound.tasks();
            // The next task may have come already.
            if tasks.get(&self.name).is_some_and(|poke| Arc::ptr_eq(poke, &self.poke)) {
                tasks.remove(&self.name);
            }
            if tasks.is_empty() {
                self.outbound.idle.notify_one();
            }
        }
        // There is a place for another.
        self.outbound.due.notify_one();
    }
}
