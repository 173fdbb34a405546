//! Addresses that the directory has just answered for: a message asks twice for each of its recipients, and the next one asks again.
//!
//! * Only where mail goes is kept, never that somebody is unknown.
//! * An answer is kept as long as auth would say that the directory is the same; without that word from it nothing is kept.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use wire::edge::auth_directory::Target;

/// Addresses kept; when there are more, all are forgotten.
const MAX_KNOWN: usize = 4096;

#[derive(Debug, Default)]
struct Inner {
    /// None: nothing may be kept now.
    answers: Option<HashMap<String, Vec<Target>>>,
    /// Counts how often everything was forgotten.
    epoch: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Inner>);

impl Known {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where mail for the address goes, or the epoch to keep the answer by.
    pub(crate) fn look(&self, address: &str) -> Result<Vec<Target>, u64> {
        let inner = self.inner();
        inner.answers.as_ref().and_then(|answers| answers.get(address)).cloned().ok_or(inner.epoch)
    }

    /// Keeps an answer to a question that was asked in this epoch.
    pub(crate) fn keep(&self, epoch: u64, address: String, targets: &[Target]) {
        let mut inner = self.inner();
        let same = inner.epoch == epoch;
        if let Some(answers) = inner.answers.as_mut().filter(|_| same) {
            if answers.len() >= MAX_KNOWN {
                answers.clear();
            }
            answers.insert(address, targets.to_vec());
        }
    }

    /// Forgets everything; from now on answers may be kept or not.
    pub(crate) fn forget(&self, may_keep: bool) {
        let mut inner = self.inner();
        inner.epoch = inner.epoch.wrapping_add(1);
        inner.answers = may_keep.then(HashMap::new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::owner;

    fn alice() -> Vec<Target> {
        vec![Target::Account { owner: owner(1, "alice@mta.test"), detail: None }]
    }

    #[test]
    fn answers_are_kept_while_the_directory_is_the_same() {
        let known = Known::default();
        let epoch = known.look("a").unwrap_err();
        known.keep(epoch, "a".into(), &alice());
        assert!(known.look("a").is_err(), "nothing may be kept before auth has said so");

        known.forget(true);
        let epoch = known.look("a").unwrap_err();
        known.keep(epoch, "a".into(), &alice());
        assert_eq!(known.look("a"), Ok(alice()));

        let asked_before = known.look("b").unwrap_err();
        known.forget(true);
        known.keep(asked_before, "b".into(), &alice());
        assert!(known.look("a").is_err() && known.look("b").is_err(), "an old answer is not kept under a new directory");
        known.forget(false);
        let epoch = known.look("b").unwrap_err();
        known.keep(epoch, "b".into(), &alice());
        assert!(known.look("b").is_err());
    }

    #[test]
    fn there_are_not_too_many() {
        let known = Known::default();
        known.forget(true);
        let epoch = known.look("a").unwrap_err();
        for n in 0..=MAX_KNOWN {
            known.keep(epoch, n.to_string(), &alice());
        }
        assert!(known.look("0").is_err());
        assert!(known.look(&MAX_KNOWN.to_string()).is_ok());
    }
}
