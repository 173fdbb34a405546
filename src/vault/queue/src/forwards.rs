//! How much each alias target was sent lately. In memory: a restart forgets it, which errs towards delivery.

use crate::limits::{MAX_FORWARD_COUNTS, MAX_FORWARDS_PER_HOUR};
use pure_addr::Address;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

const HOUR: i64 = 3_600_000;

/// Messages to each target in the hour of the clock and in the one before.
#[derive(Debug, Default)]
pub(crate) struct Forwards(Mutex<HashMap<String, (i64, u32, u32)>>);

impl Forwards {
    /// Counts a message for each target; false when one of them gets too much.
    pub(crate) fn count<'a>(&self, targets: impl Iterator<Item = &'a Address>, now: i64) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = now.div_euclid(HOUR);
        let mut within = true;
        for target in targets {
            if counts.len() >= MAX_FORWARD_COUNTS {
                counts.retain(|_, (at, _, _)| hour.saturating_sub(*at) <= 1);
            }
            if counts.len() >= MAX_FORWARD_COUNTS && !counts.contains_key(&target.key()) {
                // More targets than anybody has: those that are counted stay counted.
                continue;
            }
            let entry = counts.entry(target.key()).or_insert((hour, 0, 0));
            if entry.0 != hour {
                *entry = (hour, 0, if hour.saturating_sub(entry.0) == 1 { entry.1 } else { 0 });
            }
            // A sliding hour, as if the one before had been even.
            let rest = u64::try_from(HOUR.saturating_sub(now.rem_euclid(HOUR))).unwrap_or(0);
            let before = u64::from(entry.2).saturating_mul(rest).checked_div(HOUR.unsigned_abs()).unwrap_or(0);
            if before.saturating_add(u64::from(entry.1)) >= u64::from(MAX_FORWARDS_PER_HOUR) {
                within = false;
            } else {
                entry.1 = entry.1.saturating_add(1);
            }
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::address;

    #[test]
    fn an_hour_slides() {
        let forwards = Forwards::default();
        let target = address("v@remote.test");
        let one = |at| forwards.count([&target].into_iter(), at);
        for _ in 0..MAX_FORWARDS_PER_HOUR {
            assert!(one(0));
        }
        assert!(!one(HOUR - 1) && !one(HOUR));
        assert!(one(HOUR + HOUR / 2));
        assert!(forwards.count([&address("w@remote.test")].into_iter(), 0));
    }
}
