//! What TLS was like the last time, so that a silent downgrade is noticed.

use crate::{bounded::BoundedMap, limits::MAX_LEVELS};
use pure_addr::Domain;
use std::sync::{Mutex, PoisonError};
use wire::edge::send_deliver::Route;

/// See the module.
#[derive(Debug)]
pub(crate) struct Levels(Mutex<BoundedMap<(Route, Domain), u8>>);

impl Levels {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(BoundedMap::new(MAX_LEVELS)))
    }

    /// Notes a level, 0 to 2, and returns the one before.
    pub(crate) fn note(&self, key: (Route, Domain), level: u8) -> Option<u8> {
        let mut levels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = levels.get(&key).copied();
        levels.insert(key, level);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_before_is_known() {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let (levels, key) = (Levels::new(), (Route::Direct(domain("remote.test")), domain("mx.remote.test")));
        assert_eq!((levels.note(key.clone(), 2), levels.note(key.clone(), 0), levels.note(key, 0)), (None, Some(2), Some(0)));
    }
}
