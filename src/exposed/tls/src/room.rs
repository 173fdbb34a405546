//! Room for messages that arrive: so many bytes for all together and so many for each, so that nobody alone keeps the others' mail out.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts the bytes of all shares.
#[derive(Debug)]
pub struct Room<K> {
    each: u64,
    inside: Mutex<Inside<K>>,
}

#[derive(Debug)]
struct Inside<K> {
    left: u64,
    taken: HashMap<K, u64>,
}

/// What one message has taken; given back when dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash + Clone> {
    room: Arc<Room<K>>,
    who: K,
    taken: u64,
}

impl<K: Eq + Hash + Clone> Room<K> {
    /// Room for `bytes`, of which one may have `each`.
    pub fn new(bytes: u64, each: u64) -> Arc<Self> {
        Arc::new(Self { each, inside: Mutex::new(Inside { left: bytes, taken: HashMap::new() }) })
    }

    /// Nothing yet, for a message of this one's.
    pub fn share(self: &Arc<Self>, who: K) -> Share<K> {
        Share { room: self.clone(), who, taken: 0 }
    }

    /// Bytes that nobody has taken.
    pub fn left(&self) -> u64 {
        self.inside().left
    }

    fn inside(&self) -> MutexGuard<'_, Inside<K>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Share<K> {
    /// Takes so many bytes more; false, and nothing is taken, where they are not to be had.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let mut inside = self.room.inside();
        let own = inside.taken.get(&self.who).copied().unwrap_or(0).saturating_add(bytes);
        let Some(left) = inside.left.checked_sub(bytes).filter(|_| own <= self.room.each) else { return false };
        inside.left = left;
        inside.taken.insert(self.who.clone(), own);
        self.taken = self.taken.saturating_add(bytes);
        true
    }

    /// Gives all of it back.
    pub fn give_back(&mut self) {
        let mut inside = self.room.inside();
        inside.left = inside.left.saturating_add(self.taken);
        if let Some(own) = inside.taken.get_mut(&self.who) {
            *own = own.saturating_sub(self.taken);
            if *own == 0 {
                inside.taken.remove(&self.who);
            }
        }
        self.taken = 0;
    }
}

impl<K: Eq + Hash + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back() {
        let room = Room::new(10, 10);
        let (mut first, mut second) = (room.share("a"), room.share("a"));
        assert!(first.grow(8));
        assert!(!second.grow(3));
        assert!(second.grow(2));
        assert!(!second.grow(1));
        first.give_back();
        assert!(first.grow(8));
        drop(first);
        assert!(second.grow(8));
        drop(second);
        let inside = room.inside();
        assert!(inside.left == 10 && inside.taken.is_empty());
    }

    /// Attack class SLOW: one who fills messages and never ends them leaves room for the others.
    #[test]
    fn each_has_a_share() {
        let room = Room::new(10, 4);
        let (mut first, mut second, mut other) = (room.share("a"), room.share("a"), room.share("b"));
        assert!(first.grow(3));
        assert!(!second.grow(2));
        assert!(second.grow(1));
        assert!(other.grow(4));
        drop(first);
        assert!(second.grow(3));
        assert_eq!(room.left(), 2);
    }
}
