//! Addresses that the directory has just answered for: a message asks twice for each of its recipients, and the next one asks again.
//!
//! * Only where mail goes is kept, and which domains are not ours, never that somebody is unknown.
//! * An answer is kept as long as auth would say that the directory is the same; without that word from it nothing is kept.

use pure_addr::Domain;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};
use wire::edge::auth_directory::Target;

/// Addresses kept, and domains; when there are more, all are forgotten.
const MAX_KNOWN: usize = 4096;

#[derive(Debug, Default)]
struct Inner {
    /// None: nothing may be kept now.
    answers: Option<HashMap<String, Vec<Target>>>,
    /// Domains of others; empty when nothing may be kept.
    foreign: HashSet<Domain>,
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

    /// Whether a domain is known not to be ours, or the epoch to keep that by.
    pub(crate) fn look_foreign(&self, domain: &Domain) -> Result<(), u64> {
        let inner = self.inner();
        if inner.foreign.contains(domain) { Ok(()) } else { Err(inner.epoch) }
    }

    /// Keeps that a domain is not ours, as was answered in this epoch.
    pub(crate) fn keep_foreign(&self, epoch: u64, domain: Domain) {
        let mut inner = self.inner();
        if inner.epoch == epoch && inner.answers.is_some() {
            if inner.foreign.len() >= MAX_KNOWN {
                inner.foreign.clear();
            }
            inner.foreign.insert(domain);
        }
    }

    /// Forgets everything; from now on answers may be kept or not.
    pub(crate) fn forget(&self, may_keep: bool) {
        let mut inner = self.inner();
        inner.epoch = inner.epoch.wrapping_add(1);
        inner.answers = may_keep.then(HashMap::new);
        inner.foreign.clear();
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

    #[test]
    fn domains_of_others_are_kept_as_long() {
        let known = Known::default();
        let domain = |n: usize| Domain::parse(&format!("d{n}.test")).unwrap();
        let epoch = known.look_foreign(&domain(0)).unwrap_err();
        known.keep_foreign(epoch, domain(0));
        assert!(known.look_foreign(&domain(0)).is_err(), "nothing may be kept before auth has said so");
        known.forget(true);
        known.keep_foreign(epoch, domain(0));
        let epoch = known.look_foreign(&domain(0)).unwrap_err();
        known.keep_foreign(epoch, domain(0));
        assert_eq!((known.look_foreign(&domain(0)), known.look_foreign(&domain(1))), (Ok(()), Err(epoch)));
        for n in 0..MAX_KNOWN * 2 {
            known.keep_foreign(epoch, domain(n));
            assert!(known.inner().foreign.len() <= MAX_KNOWN);
        }
        known.forget(true);
        assert!(known.look_foreign(&domain(1)).is_err());
    }
}
