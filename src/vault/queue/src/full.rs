//! Mailboxes that were full a moment ago: more mail for them is refused at RCPT, so that it stays with whoever sends it, who hears of it at once.
//!
//! Deliveries tell: one that did not fit, into an account with next to no room, notes it. It is forgotten with a delivery that fits, with
//! another quota, and after a while, so that at times a message is accepted and finds out. Lost with the process, which costs the same.

use pure_addr::AccountId;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use wire::edge::{auth_directory::Target, mail::Owner};

/// Bytes: with less room than most mail without attachments needs, a mailbox is full.
const LITTLE: u64 = 64 * 1024;
/// Milliseconds that a mailbox is taken to be full.
const LASTS: i64 = 10 * 60 * 1000;
/// Accounts noted; when there are more, all are forgotten.
const MAX_NOTED: usize = 4096;

#[derive(Debug)]
struct Noted {
    quota: Option<u64>,
    /// Milliseconds since 1970.
    since: i64,
}

impl Noted {
    /// Not before it was noted either: a clock that is set back shuts no mailbox for as long.
    fn lasts(&self, now: i64) -> bool {
        (0..LASTS).contains(&now.saturating_sub(self.since))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Full(Mutex<HashMap<AccountId, Noted>>);

impl Full {
    fn noted(&self) -> MutexGuard<'_, HashMap<AccountId, Noted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A delivery did not fit into the `room` that is left.
    pub(crate) fn refused(&self, owner: &Owner, room: u64, now: i64) {
        if room < LITTLE {
            let mut noted = self.noted();
            if noted.len() >= MAX_NOTED {
                noted.clear();
            }
            noted.insert(owner.account, Noted { quota: owner.quota, since: now });
        }
    }

    /// A delivery fitted.
    pub(crate) fn fitted(&self, account: AccountId) {
        self.noted().remove(&account);
    }

    /// Whether mail that goes to these, goes to full mailboxes alone.
    pub(crate) fn takes_nothing(&self, targets: &[Target], now: i64) -> bool {
        let noted = self.noted();
        let is_full = |target: &Target| match target {
            Target::Account { owner, .. } => noted.get(&owner.account).is_some_and(|n| n.quota == owner.quota && n.lasts(now)),
            Target::Remote(_) => false,
        };
        !noted.is_empty() && targets.iter().all(is_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, owner};

    fn mailbox(owner: &Owner) -> Target {
        Target::Account { owner: owner.clone(), detail: None }
    }

    #[test]
    fn a_full_mailbox_is_full_for_a_while() {
        let (full, alice) = (Full::default(), owner(1, "alice@mta.test"));
        let to = [mailbox(&alice)];
        full.refused(&alice, LITTLE, 0);
        assert!(!full.takes_nothing(&to, 0), "a large message did not fit, small ones may");
        full.refused(&alice, LITTLE - 1, 0);
        assert!(full.takes_nothing(&to, LASTS - 1));
        assert!(!full.takes_nothing(&to, LASTS) && !full.takes_nothing(&to, -1));
        full.fitted(alice.account);
        assert!(!full.takes_nothing(&to, 0));
    }

    #[test]
    fn another_quota_or_another_target_takes_mail() {
        let (full, alice, bob) = (Full::default(), owner(1, "alice@mta.test"), owner(2, "bob@mta.test"));
        full.refused(&alice, 0, 0);
        assert!(!full.takes_nothing(&[mailbox(&alice), mailbox(&bob)], 0));
        assert!(!full.takes_nothing(&[mailbox(&alice), Target::Remote(address("x@remote.test"))], 0));
        assert!(!full.takes_nothing(&[mailbox(&Owner { quota: Some(1 << 40), ..alice.clone() })], 0));
        full.refused(&bob, 0, 0);
        assert!(full.takes_nothing(&[mailbox(&alice), mailbox(&bob)], 0));
    }

    #[test]
    fn there_are_not_too_many() {
        let full = Full::default();
        for n in 1..=MAX_NOTED as u64 + 1 {
            full.refused(&owner(n, "alice@mta.test"), 0, 0);
        }
        assert_eq!(full.noted().len(), 1);
    }
}
