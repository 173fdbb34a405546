//! Numbers of messages, and which of them are in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use wire::edge::mail::QueueId;

#[derive(Debug)]
struct State {
    next: u64,
    /// How many hold each number.
    live: BTreeMap<u64, u32>,
}

/// Gives out numbers and remembers who holds one.
#[derive(Debug)]
pub(crate) struct Numbers(Mutex<State>);

impl Numbers {
    pub(crate) fn starting_at(next: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { next, live: BTreeMap::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that was never given before.
    pub(crate) fn give(self: &Arc<Self>) -> Live {
        let mut state = self.state();
        let id = state.next;
        state.next = state.next.saturating_add(1);
        state.live.insert(id, 1);
        Live { numbers: self.clone(), id: QueueId(id) }
    }

    /// Another hold on a number.
    pub(crate) fn hold(self: &Arc<Self>, id: QueueId) -> Live {
        let mut state = self.state();
        let count = state.live.entry(id.0).or_insert(0);
        *count = count.saturating_add(1);
        Live { numbers: self.clone(), id }
    }

    /// The lowest number that is held; the next one to be given when none is.
    pub(crate) fn lowest(&self) -> u64 {
        let state = self.state();
        state.live.first_key_value().map_or(state.next, |(id, _)| *id)
    }
}

/// A number that is in use in memory.
#[derive(Debug)]
pub(crate) struct Live {
    numbers: Arc<Numbers>,
    pub(crate) id: QueueId,
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut state = self.numbers.state();
        if let Some(count) = state.live.get_mut(&self.id.0) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.live.remove(&self.id.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_in_use() {
        let numbers = Numbers::starting_at(5);
        assert_eq!(numbers.lowest(), 5);
        let (a, b) = (numbers.give(), numbers.give());
        let again = numbers.hold(a.id);
        drop(a);
        assert_eq!(numbers.lowest(), 5);
        drop(again);
        assert_eq!(numbers.lowest(), 6);
        drop(b);
        assert_eq!(numbers.lowest(), 7);
    }
}
