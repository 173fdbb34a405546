//! Passwords that were right a moment ago: mail programs open five connections at once, and each would cost an argon2id.
//!
//! Kept are keyed digests of account, verifier and password, one for each account, for minutes. The key never leaves this
//! process and ends with it. Only a right password is ever faster, so nothing is learnt from the time; another verifier makes
//! another digest, so a changed password ends what was remembered.

use crate::{
    limits::{MAX_REMEMBERED, REMEMBERED},
    verifier::{Argon2id, hmac_sha256, wipe_stack},
};
use pure_addr::AccountId;
use std::{collections::HashMap, time::Instant};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The digests.
pub(crate) struct Remembered {
    key: Zeroizing<[u8; 32]>,
    digests: HashMap<AccountId, ([u8; 32], Instant)>,
}

impl Remembered {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key)?;
        Ok(Self { key, digests: HashMap::new() })
    }

    /// Whether this prepared password was right a moment ago.
    pub(crate) fn knows(&self, account: AccountId, verifier: &Argon2id, password: &str, now: Instant) -> bool {
        let digest = self.digest(account, verifier, password);
        let kept = self.digests.get(&account).filter(|(_, since)| now.saturating_duration_since(*since) < REMEMBERED);
        kept.is_some_and(|(kept, _)| kept.ct_eq(&digest).into())
    }

    /// This prepared password was right.
    pub(crate) fn remember(&mut self, account: AccountId, verifier: &Argon2id, password: &str, now: Instant) {
        if self.digests.len() >= MAX_REMEMBERED && !self.digests.contains_key(&account) {
            self.digests.retain(|_, (_, since)| now.saturating_duration_since(*since) < REMEMBERED);
        }
        // A full table costs time, nothing else.
        if self.digests.len() < MAX_REMEMBERED || self.digests.contains_key(&account) {
            let digest = self.digest(account, verifier, password);
            self.digests.insert(account, (digest, now));
        }
    }

    fn digest(&self, account: AccountId, verifier: &Argon2id, password: &str) -> [u8; 32] {
        let verifier = verifier.to_phc();
        let id = account.get().to_be_bytes();
        // The verifier holds no NUL, so the parts cannot run into each other.
        let digest = hmac_sha256(&self.key, &[&id, verifier.as_bytes(), &[0], password.as_bytes()]);
        wipe_stack();
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier::tests::cheap_phc;

    #[test]
    fn a_right_password_is_known_for_a_while_and_nothing_else_is() {
        let (mut memory, now) = (Remembered::new().unwrap(), Instant::now());
        let (alice, bob) = (AccountId::new(1).unwrap(), AccountId::new(2).unwrap());
        let (own, changed): (Argon2id, Argon2id) = (cheap_phc("x").parse().unwrap(), cheap_phc("y").parse().unwrap());
        assert!(!memory.knows(alice, &own, "x", now));
        memory.remember(alice, &own, "x", now);
        assert!(memory.knows(alice, &own, "x", now));
        assert!(!memory.knows(alice, &own, "y", now));
        assert!(!memory.knows(bob, &own, "x", now));
        assert!(!memory.knows(alice, &changed, "x", now));
        assert!(!memory.knows(alice, &own, "x", now + REMEMBERED));
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut memory, now) = (Remembered::new().unwrap(), Instant::now());
        let own: Argon2id = cheap_phc("x").parse().unwrap();
        for n in 1..=MAX_REMEMBERED as u64 + 1 {
            memory.remember(AccountId::new(n).unwrap(), &own, "x", now);
        }
        assert_eq!(memory.digests.len(), MAX_REMEMBERED);
        memory.remember(AccountId::new(u64::MAX).unwrap(), &own, "x", now + REMEMBERED);
        assert_eq!(memory.digests.len(), 1);
    }
}
