//! Slow work takes turns: as many password checks at a time as there are cores, a bounded queue before them, and a share of
//! it for each network, so that nobody is kept out by one who floods.

use crate::{
    limits::{MAX_WAITING, MAX_WAITING_PER_PEER, MEMORY_PER_CHECK_KIB},
    penalty::Network,
    verifier::wipe_stack,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The queue, or this network's share of it, is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// The queue.
#[derive(Debug, Clone)]
pub(crate) struct Hasher {
    cores: u32,
    turns: Arc<Semaphore>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    total: usize,
    by_network: HashMap<Network, usize>,
}

impl Hasher {
    pub(crate) fn new(cores: usize) -> Self {
        let cores = u32::try_from(cores).unwrap_or(u32::MAX).clamp(1, 256);
        Self { cores, turns: Arc::new(Semaphore::new(cores as usize)), waiting: Arc::default() }
    }

    /// Waits for a turn, first come first served. The operator's own work belongs to no network.
    pub(crate) async fn turn(&self, network: Option<Network>, memory_kib: u32) -> Result<Turn, Busy> {
        let place = self.queue(network)?;
        let shares = memory_kib.div_ceil(MEMORY_PER_CHECK_KIB).clamp(1, self.cores);
        let permit = self.turns.clone().acquire_many_owned(shares).await.map_err(|_| Busy)?;
        Ok(Turn { _permit: permit, _place: place })
    }

    fn queue(&self, network: Option<Network>) -> Result<Place, Busy> {
        let mut waiting = lock(&self.waiting);
        let own = network.and_then(|network| waiting.by_network.get(&network)).copied().unwrap_or_default();
        if waiting.total >= MAX_WAITING || own >= MAX_WAITING_PER_PEER {
            return Err(Busy);
        }
        waiting.total = waiting.total.saturating_add(1);
        if let Some(network) = network {
            waiting.by_network.insert(network, own.saturating_add(1));
        }
        Ok(Place { waiting: self.waiting.clone(), network })
    }
}

/// The right to use a core.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl Turn {
    /// Does the work beside the runtime. The turn lasts until the work has ended, even if nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            wipe_stack();
            drop(self);
            result
        });
        task.await.map_err(|_| Busy)
    }
}

/// A place in the queue, given back when dropped.
#[derive(Debug)]
struct Place {
    waiting: Arc<Mutex<Waiting>>,
    network: Option<Network>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        waiting.total = waiting.total.saturating_sub(1);
        let Some(network) = self.network else { return };
        let left = waiting.by_network.get(&network).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            waiting.by_network.remove(&network);
        } else {
            waiting.by_network.insert(network, left);
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn network(n: u16) -> Option<Network> {
        let [a, b] = n.to_be_bytes();
        Some(Network::of([192, 0, a, b].into()))
    }

    /// Attack case AUTH-03: a flood from one network fills its share and no more; others still get in.
    #[tokio::test]
    async fn one_network_fills_its_share_and_no_more() {
        let hasher = Hasher::new(1);
        let running = hasher.turn(network(1), 1).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 1..MAX_WAITING_PER_PEER {
            let mut next = Box::pin(hasher.turn(network(1), 1));
            assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            waiting.push(next);
        }
        assert_eq!(hasher.turn(network(1), 1).await.unwrap_err(), Busy);
        let mut other = pin!(hasher.turn(network(2), 1));
        assert!(other.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(waiting);
        drop(running);
        assert!(matches!(other.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
    }

    #[tokio::test]
    async fn the_whole_queue_is_bounded_and_empties() {
        let hasher = Hasher::new(1);
        let mut places = Vec::new();
        for n in 0..MAX_WAITING {
            places.push(hasher.queue(network(n as u16)).unwrap());
        }
        assert!(hasher.queue(network(60_000)).is_err() && hasher.queue(None).is_err());
        places.clear();
        assert!(hasher.queue(network(60_000)).is_ok());
        assert_eq!(lock(&hasher.waiting).by_network.len(), 0);
    }

    #[tokio::test]
    async fn expensive_work_takes_several_shares() {
        let hasher = Hasher::new(4);
        let heavy = hasher.turn(None, 3 * MEMORY_PER_CHECK_KIB).await.unwrap();
        assert_eq!(hasher.turns.available_permits(), 1);
        drop(heavy);
        let all = hasher.turn(None, u32::MAX).await.unwrap();
        assert_eq!(hasher.turns.available_permits(), 0);
        assert_eq!(all.run(|| 7).await, Ok(7));
        assert_eq!(hasher.turns.available_permits(), 4);
    }
}
