//! What is remembered until a time. Bounded without bookkeeping: two generations, and the older one goes as a whole.

use std::{
    collections::HashMap,
    hash::Hash,
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// At most the number of entries it was made for; an entry that was used lately is forgotten last.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    generations: Mutex<Generations<K, V>>,
    /// Entries of one generation.
    half: usize,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, (V, Instant)>,
    old: HashMap<K, (V, Instant)>,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(entries: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generations: Mutex::new(generations), half: (entries / 2).max(1) }
    }

    /// An entry whose time has not come.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((value, until)) = generations.young.get(key) {
            return (now < *until).then(|| value.clone());
        }
        let (value, until) = generations.old.remove(key)?;
        if now >= until {
            return None;
        }
        self.insert(&mut generations, key.clone(), value.clone(), until);
        Some(value)
    }

    pub(crate) fn put(&self, key: K, value: V, time: Duration) {
        if time.is_zero() {
            return;
        }
        let Some(until) = Instant::now().checked_add(time) else { return };
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        self.insert(&mut generations, key, value, until);
    }

    fn insert(&self, generations: &mut Generations<K, V>, key: K, value: V, until: Instant) {
        if generations.young.len() >= self.half {
            generations.old = mem::take(&mut generations.young);
        }
        generations.young.insert(key, (value, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn entries_end_with_their_time() {
        let cache = Cache::new(16);
        cache.put("a", 1, Duration::from_secs(10));
        cache.put("b", 2, Duration::ZERO);
        assert_eq!((cache.get(&"a"), cache.get(&"b")), (Some(1), None));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(cache.get(&"a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_entries_is_bounded_and_those_in_use_stay() {
        let cache = Cache::new(100);
        for n in 0..10_000 {
            cache.put(n, n, Duration::from_secs(10));
            assert_eq!(cache.get(&0), Some(0));
        }
        let generations = cache.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 100);
    }
}
