//! Counted room in memory: who cannot get any waits on the disk or at the client.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Room for so many messages of so many bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    count: usize,
    bytes: u64,
    used: Mutex<(usize, u64)>,
    /// How many wait for room. Nobody is woken when nobody waits.
    waiting: AtomicUsize,
    freed: Notify,
}

impl Budget {
    pub(crate) fn new(count: usize, bytes: u64) -> Arc<Self> {
        Arc::new(Self { count, bytes, used: Mutex::new((0, 0)), waiting: AtomicUsize::new(0), freed: Notify::new() })
    }

    /// Takes room for one message. A message larger than the whole budget gets it when it is alone.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, sum) = (used.0.checked_add(1)?, used.1.checked_add(bytes)?);
        if count > self.count || (sum > self.bytes && used.0 > 0) {
            return None;
        }
        *used = (count, sum);
        Some(Room { budget: self.clone(), bytes })
    }

    /// Takes room for one message, waiting for it at most so long.
    pub(crate) async fn take_within(self: &Arc<Self>, limit: Duration, bytes: u64) -> Option<Room> {
        if let Some(room) = self.take(bytes) {
            return Some(room);
        }
        let deadline = tokio::time::Instant::now().checked_add(limit)?;
        loop {
            let in_time = self.freed(deadline).await;
            let room = self.take(bytes);
            if room.is_some() || !in_time {
                return room;
            }
        }
    }

    /// Waits until room is given back; false when none was.
    pub(crate) async fn freed(&self, deadline: tokio::time::Instant) -> bool {
        let waiting = Waiting::new(&self.waiting);
        let in_time = tokio::time::timeout_at(deadline, self.freed.notified()).await.is_ok();
        drop(waiting);
        in_time
    }
}

/// Counts one who waits, also when the wait is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room that was taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = (used.0.saturating_sub(1), used.1.saturating_sub(self.bytes));
        if self.budget.waiting.load(Ordering::Relaxed) > 0 {
            self.budget.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_counted_in_messages_and_bytes() {
        let budget = Budget::new(2, 10);
        let large = budget.take(100).unwrap();
        assert!(budget.take(1).is_none());
        drop(large);
        let _one = budget.take(5).unwrap();
        assert!(budget.take(6).is_none());
        let _two = budget.take(5).unwrap();
        assert!(budget.take(0).is_none());
    }

    #[tokio::test]
    async fn everyone_who_waits_gets_what_is_given_back() {
        let budget = Budget::new(1, 10);
        let mut room = budget.take(1);
        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let budget = budget.clone();
                tokio::spawn(async move { budget.take_within(Duration::from_secs(60), 1).await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(room.take().is_some());
        for waiter in waiters {
            assert!(waiter.await.unwrap());
        }
        let _room = budget.take(1);
        assert!(budget.take_within(Duration::ZERO, 1).await.is_none());
    }
}
