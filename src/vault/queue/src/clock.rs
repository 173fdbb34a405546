//! What time it is, and that it may become earlier.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::Notify;

/// Milliseconds by which a clock that is set back delays what waits, and no more: what it is set back further makes everything due.
const STEP: i64 = 60_000;

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn now(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_millis()).ok()).unwrap_or(0)
    }
}

/// Whether a clock that says `now` was set back since it said `then`: what was put off then lies too far ahead.
pub(crate) fn went_back(then: i64, now: i64) -> bool {
    now.saturating_add(STEP) < then
}

/// A clock that notices when it goes back, whoever asks it.
pub(crate) struct Watched {
    clock: Arc<dyn Clock>,
    /// The latest that it said, since it went back.
    latest: AtomicI64,
    /// By how much it went back, until somebody takes note of it.
    back: AtomicI64,
    /// Told when it goes back.
    changed: Arc<Notify>,
}

impl Watched {
    pub(crate) fn new(clock: Arc<dyn Clock>, changed: Arc<Notify>) -> Self {
        Self { clock, latest: AtomicI64::new(i64::MIN), back: AtomicI64::new(0), changed }
    }

    /// By how many milliseconds it went back since this was asked last, if it did.
    pub(crate) fn set_back(&self) -> Option<i64> {
        Some(self.back.swap(0, Ordering::Relaxed)).filter(|by| *by > 0)
    }

    /// What follows from that could not be done yet: it is to be asked again.
    pub(crate) fn not_done(&self, by: i64) {
        self.back.fetch_max(by, Ordering::Relaxed);
    }
}

impl Clock for Watched {
    fn now(&self) -> i64 {
        let now = self.clock.now();
        let latest = self.latest.fetch_max(now, Ordering::Relaxed);
        if went_back(latest, now) {
            self.latest.store(now, Ordering::Relaxed);
            self.back.fetch_max(latest.saturating_sub(now), Ordering::Relaxed);
            self.changed.notify_one();
        }
        now
    }
}
