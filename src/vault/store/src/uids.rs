//! Arithmetic on UID ranges.

use wire::edge::store_session::{MAX_RANGES, Refusal, UidRange, Uids};

/// Refuses what is not ascending, or has 0 in it.
pub(crate) fn check(uids: &[UidRange]) -> Result<(), Refusal> {
    let mut above = 0;
    for range in uids {
        if range.first <= above || range.last < range.first {
            return Err(Refusal::Malformed);
        }
        above = range.last;
    }
    Ok(())
}

/// Whether an ascending list holds a UID.
pub(crate) fn contains(uids: &[UidRange], uid: u32) -> bool {
    let after = uids.partition_point(|r| r.first <= uid);
    after.checked_sub(1).and_then(|i| uids.get(i)).is_some_and(|r| uid <= r.last)
}

/// Adds a UID above all that are there.
pub(crate) fn push(uids: &mut Vec<UidRange>, uid: u32) {
    match uids.last_mut() {
        Some(range) if range.last.checked_add(1) == Some(uid) => range.last = uid,
        _ => uids.push(UidRange { first: uid, last: uid }),
    }
}

/// The ranges of UIDs in any order.
pub(crate) fn collect(mut uids: Vec<u32>) -> Vec<UidRange> {
    uids.sort_unstable();
    uids.dedup();
    let mut out = Vec::new();
    for uid in uids {
        push(&mut out, uid);
    }
    out
}

/// Ascending and merged.
pub(crate) fn normalise(mut ranges: Vec<UidRange>) -> Vec<UidRange> {
    ranges.sort_unstable_by_key(|r| r.first);
    let mut out: Vec<UidRange> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => last.last = last.last.max(range.last),
            _ => out.push(range),
        }
    }
    out
}

/// What both ascending lists hold.
pub(crate) fn intersect(a: &[UidRange], b: &[UidRange]) -> Vec<UidRange> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut out = Vec::new();
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let (first, last) = (x.first.max(y.first), x.last.min(y.last));
        if first <= last {
            out.push(UidRange { first, last });
        }
        if x.last < y.last {
            a.next()
        } else {
            b.next()
        };
    }
    out
}

/// What is between 1 and `below` (not included) and not in the ascending list.
pub(crate) fn complement(uids: &[UidRange], below: u32) -> Vec<UidRange> {
    let mut out = Vec::new();
    let mut next = 1u32;
    for range in uids {
        if range.first > next {
            out.push(UidRange { first: next, last: range.first.saturating_sub(1) });
        }
        next = range.last.saturating_add(1);
    }
    if next < below {
        out.push(UidRange { first: next, last: below.saturating_sub(1) });
    }
    out
}

/// Cut into what one frame may hold; nothing for nothing.
pub(crate) fn frames(uids: &[UidRange]) -> impl Iterator<Item = Uids> {
    uids.chunks(MAX_RANGES).filter_map(|chunk| Uids::new(chunk.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(ranges: &[(u32, u32)]) -> Vec<UidRange> {
        ranges.iter().map(|(first, last)| UidRange { first: *first, last: *last }).collect()
    }

    #[test]
    fn only_ascending_ranges_pass() {
        assert_eq!(check(&r(&[(1, 3), (5, 5), (6, u32::MAX)])), Ok(()));
        for bad in [&[(0, 1)][..], &[(2, 1)], &[(1, 3), (3, 4)], &[(5, 6), (1, 2)]] {
            assert_eq!(check(&r(bad)), Err(Refusal::Malformed));
        }
    }

    #[test]
    fn sets_of_uids() {
        let set = collect(vec![9, 1, 2, 3, 7, 3]);
        assert_eq!(set, r(&[(1, 3), (7, 7), (9, 9)]));
        assert!(contains(&set, 2) && contains(&set, 9) && !contains(&set, 4) && !contains(&set, 10) && !contains(&[], 1));
        assert_eq!(complement(&set, 12), r(&[(4, 6), (8, 8), (10, 11)]));
        assert_eq!(complement(&set, 10), r(&[(4, 6), (8, 8)]));
        assert_eq!(complement(&[], 1), r(&[]));
        assert_eq!(intersect(&set, &r(&[(2, 8), (9, u32::MAX)])), r(&[(2, 3), (7, 7), (9, 9)]));
        assert_eq!(normalise(r(&[(5, 9), (1, 2), (3, 6)])), r(&[(1, 9)]));
    }
}
