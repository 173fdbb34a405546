//! The keys of one domain and what each is for now.
//!
//! Of one algorithm, in the order in which they begin to sign: the last that has begun is current, those after it are next, those before
//! it are old, each from the moment its successor began. The stage of a key is never written down, it follows from the clock; the two
//! algorithms rotate each for itself.

use super::files::Stored;
use crate::limits::{DKIM_AHEAD, DKIM_KEPT};
use pure_dkim::Algorithm;
use std::{sync::Arc, time::Duration};
use wire::edge::keys_control::Stage;

pub(super) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Ed25519Sha256, Algorithm::RsaSha256];

/// All keys of one domain, sorted.
#[derive(Debug, Clone, Default)]
pub(super) struct Ring(Vec<Arc<Stored>>);

/// What the calendar wants done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Of these there is no key at all: make one that signs from then on.
    first: Vec<(Algorithm, i64)>,
    /// Make a key that signs from then on.
    next: Vec<(Algorithm, i64)>,
    /// Selectors of keys that have aged out.
    pub(super) remove: Vec<String>,
}

impl Due {
    pub(super) fn is_nothing(&self) -> bool {
        self.first.is_empty() && self.next.is_empty() && self.remove.is_empty()
    }

    /// Without what only a clock that is right can want.
    pub(super) fn of_first_keys(self) -> Self {
        Self { first: self.first, ..Self::default() }
    }

    pub(super) fn make(&self) -> impl Iterator<Item = (Algorithm, i64)> {
        self.first.iter().chain(&self.next).copied()
    }
}

impl Ring {
    pub(super) fn new(mut keys: Vec<Arc<Stored>>) -> Self {
        keys.sort_by(|a, b| order(a).cmp(&order(b)));
        Self(keys)
    }

    pub(super) fn keys(&self) -> &[Arc<Stored>] {
        &self.0
    }

    fn of(&self, algorithm: Algorithm) -> impl Iterator<Item = &Arc<Stored>> {
        self.0.iter().filter(move |k| k.key.algorithm() == algorithm)
    }

    /// The key that signs. When the clock was set back before all of them, the first.
    pub(super) fn current(&self, algorithm: Algorithm, now: i64) -> Option<&Arc<Stored>> {
        self.of(algorithm).filter(|k| k.signs_from <= now).last().or_else(|| self.of(algorithm).next())
    }

    /// The key that signs after `key`.
    fn successor(&self, key: &Stored) -> Option<&Arc<Stored>> {
        self.of(key.key.algorithm()).find(|k| order(k) > order(key))
    }

    /// What a key is for, and until when.
    pub(super) fn stage(&self, key: &Stored, now: i64, rotate: Option<Duration>) -> (Stage, Option<i64>) {
        let current = self.current(key.key.algorithm(), now).map(|k| order(k));
        let successor = self.successor(key).map(|k| k.signs_from);
        match current.map(|current| order(key).cmp(&current)) {
            Some(std::cmp::Ordering::Greater) => (Stage::Next, Some(key.signs_from)),
            Some(std::cmp::Ordering::Less) => (Stage::Old, successor.map(|at| at.saturating_add(DKIM_KEPT))),
            _ => (Stage::Current, successor.or_else(|| rotate.map(|period| expected(key, period, now)))),
        }
    }

    /// What is to be done now. Without `rotate` no key is made but the first ones; keys that a rotation by hand replaced still age out.
    pub(super) fn due(&self, now: i64, rotate: Option<Duration>) -> Due {
        let mut due = Due::default();
        for algorithm in ALGORITHMS {
            match self.current(algorithm, now) {
                None => due.first.push((algorithm, now)),
                Some(key) => {
                    let ahead = now.saturating_add(DKIM_AHEAD);
                    let ends = |period| key.signs_from.saturating_add(seconds(period));
                    if self.successor(key).is_none() && rotate.is_some_and(|period| ends(period) <= ahead) {
                        due.next.push((algorithm, ahead));
                    }
                }
            }
        }
        let aged = |k: &&Arc<Stored>| matches!(self.stage(k, now, rotate), (Stage::Old, Some(until)) if until <= now);
        due.remove.extend(self.0.iter().filter(aged).map(|k| k.selector.clone()));
        due
    }

    /// What a rotation begun by hand makes: a successor for each current key that has none in due time, since one from a clock that was ahead
    /// is none. Empty when one is under way; none when a current key has not begun itself: whatever is made now would begin before it.
    pub(super) fn by_hand(&self, now: i64) -> Option<Vec<(Algorithm, i64)>> {
        let from = now.saturating_add(DKIM_AHEAD);
        let current = ALGORITHMS.into_iter().filter_map(|algorithm| Some((algorithm, self.current(algorithm, now)?)));
        let current: Vec<_> = current.collect();
        let lacks = |key: &Stored| self.successor(key).is_none_or(|next| next.signs_from > from);
        let have_begun = current.iter().all(|(_, key)| key.signs_from <= now);
        have_begun.then(|| current.iter().filter(|(_, key)| lacks(key)).map(|(algorithm, _)| (*algorithm, from)).collect())
    }
}

fn order(key: &Stored) -> (i64, i64, &str) {
    (key.signs_from, key.made, &key.selector)
}

/// When the key that is not made yet will sign.
fn expected(key: &Stored, period: Duration, now: i64) -> i64 {
    key.signs_from.saturating_add(seconds(period)).max(now.saturating_add(DKIM_AHEAD))
}

fn seconds(period: Duration) -> i64 {
    i64::try_from(period.as_secs()).unwrap_or(i64::MAX)
}
