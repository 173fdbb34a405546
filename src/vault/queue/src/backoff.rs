//! When a delivery that failed is tried again. Time and chance are parameters.

use crate::{limits::GIVE_UP, spool::Reason};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// Doublings after which every schedule has reached its longest interval.
const MAX_DOUBLINGS: u32 = 24;

/// When to try again, in milliseconds since 1970, after `attempts` failures (at least one); none when the time for trying is over.
pub(crate) fn next_attempt(reason: Reason, attempts: u32, received_at: i64, now: i64, random: u64) -> Option<i64> {
    let give_up = i64::try_from(GIVE_UP.as_millis()).unwrap_or(i64::MAX);
    if now.saturating_sub(received_at) >= give_up {
        return None;
    }
    let (first, longest) = match reason {
        // A restart of the store takes a moment, a broken disk longer.
        Reason::Unavailable | Reason::NoIndex => (SECOND, 10 * MINUTE),
        // A person has to make room.
        Reason::OverQuota => (5 * MINUTE, HOUR),
        Reason::None | Reason::NoBody | Reason::NoAccount => (HOUR, HOUR),
    };
    let doublings = attempts.saturating_sub(1).min(MAX_DOUBLINGS);
    let interval = first.saturating_mul(1 << doublings).min(longest);
    Some(now.saturating_add(spread(interval, random)))
}

/// Three quarters to five quarters of an interval, so that what failed together does not come back together.
pub(crate) fn spread(interval: i64, random: u64) -> i64 {
    let spread = u64::try_from(interval / 2).unwrap_or(0).saturating_add(1);
    let jitter = i64::try_from(random.checked_rem(spread).unwrap_or(0)).unwrap_or(0);
    (interval - interval / 4).saturating_add(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_a_limit_and_are_spread() {
        let delay = |attempts, random| next_attempt(Reason::Unavailable, attempts, 0, 0, random).unwrap();
        assert_eq!((delay(1, 0), delay(1, 500)), (750, 1250));
        assert_eq!(delay(2, 0), 1500);
        assert_eq!(delay(4, 0), 6000);
        assert_eq!(delay(100, 0), 450_000);
        assert!(delay(u32::MAX, u64::MAX) <= 750_000);
        assert_eq!(next_attempt(Reason::OverQuota, 1, 0, 0, 0), Some(225_000));
    }

    #[test]
    fn after_five_days_it_is_held() {
        let day = 24 * HOUR;
        assert!(next_attempt(Reason::OverQuota, 9, 0, 5 * day - 1, 7).is_some());
        assert_eq!(next_attempt(Reason::OverQuota, 9, 0, 5 * day, 7), None);
        // A clock that went back does not hold anything.
        assert!(next_attempt(Reason::OverQuota, 9, 5 * day, 0, 7).is_some());
    }
}
