//! SORT (RFC 5256) over small typed rows.

use crate::command::{SortBy, SortKey};
use std::cmp::Ordering;

/// What one message is sorted by. Texts are folded; only those of the keys asked for need to be filled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SortRow {
    /// Sequence number; decides between equals (RFC 5256 3).
    pub seq: u32,
    /// UID.
    pub uid: u32,
    /// INTERNALDATE, seconds since 1970 UTC.
    pub arrival: i64,
    /// `Date`, likewise.
    pub sent: Option<i64>,
    /// Bytes.
    pub size: u64,
    /// Base subject (RFC 5256 2.1).
    pub subject: String,
    /// Local part of the first From address.
    pub from: String,
    /// Of the first To address.
    pub to: String,
    /// Of the first Cc address.
    pub cc: String,
}

/// Sorts by the keys, most significant first (RFC 5256 BASE.6.4.SORT).
pub fn sort(rows: &mut [SortRow], keys: &[SortKey]) {
    rows.sort_unstable_by(|a, b| {
        let by_keys = keys.iter().map(|key| {
            let order = compare(a, b, key.by);
            if key.reverse { order.reverse() } else { order }
        });
        by_keys.fold(Ordering::Equal, Ordering::then).then(a.seq.cmp(&b.seq))
    });
}

fn compare(a: &SortRow, b: &SortRow, by: SortBy) -> Ordering {
    match by {
        SortBy::Arrival => a.arrival.cmp(&b.arrival),
        SortBy::Date => a.sent.unwrap_or(a.arrival).cmp(&b.sent.unwrap_or(b.arrival)),
        SortBy::Size => a.size.cmp(&b.size),
        SortBy::Subject => a.subject.cmp(&b.subject),
        SortBy::From => a.from.cmp(&b.from),
        SortBy::To => a.to.cmp(&b.to),
        SortBy::Cc => a.cc.cmp(&b.cc),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_order_then_sequence() {
        let row = |seq, subject: &str, size, sent| SortRow { seq, subject: subject.into(), size, sent, arrival: 50, ..SortRow::default() };
        let mut rows = vec![row(1, "b", 5, None), row(2, "a", 5, Some(99)), row(3, "a", 7, Some(1)), row(4, "b", 5, None)];
        let key = |by, reverse| SortKey { by, reverse };
        let order = |rows: &[SortRow]| rows.iter().map(|r| r.seq).collect::<Vec<_>>();
        sort(&mut rows, &[key(SortBy::Subject, false), key(SortBy::Size, true)]);
        assert_eq!(order(&rows), [3, 2, 1, 4]);
        sort(&mut rows, &[key(SortBy::Date, false)]);
        assert_eq!(order(&rows), [3, 1, 4, 2]);
        sort(&mut rows, &[key(SortBy::Date, true)]);
        assert_eq!(order(&rows), [2, 1, 4, 3]);
    }
}
