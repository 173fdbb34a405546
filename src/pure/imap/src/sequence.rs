use crate::limits;
use std::fmt;

/// Numbers as sorted, disjoint ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// From ranges in any order, each with its ends in any order.
    pub fn from_unsorted(mut items: Vec<(u32, u32)>) -> Self {
        for item in &mut items {
            *item = (item.0.min(item.1), item.0.max(item.1));
        }
        items.sort_unstable();
        let mut out = Self::new();
        for (first, last) in items {
            out.push_range(first, last);
        }
        out
    }

    /// From numbers in any order.
    pub fn from_numbers(numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut out = Self::new();
        let mut late = vec![];
        for n in numbers {
            if out.last().is_none_or(|last| n >= last) { out.push(n) } else { late.push((n, n)) }
        }
        if late.is_empty() {
            return out;
        }
        late.append(&mut out.0);
        Self::from_unsorted(late)
    }

    /// Adds a number that is not smaller than any inside.
    pub fn push(&mut self, n: u32) {
        self.push_range(n, n);
    }

    /// Adds a range whose first number is not smaller than the first number of the last range.
    pub fn push_range(&mut self, first: u32, last: u32) {
        match self.0.last_mut() {
            Some(end) if first <= end.1.saturating_add(1) => end.1 = end.1.max(last),
            _ => self.0.push((first, last)),
        }
    }

    /// The ranges, inclusive.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Every number, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last.saturating_sub(*first)) + 1).sum()
    }

    /// The smallest.
    pub fn first(&self) -> Option<u32> {
        self.0.first().map(|r| r.0)
    }

    /// The largest.
    pub fn last(&self) -> Option<u32> {
        self.0.last().map(|r| r.1)
    }

    /// Whether `n` is inside.
    pub fn contains(&self, n: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= n);
        after.checked_sub(1).and_then(|i| self.0.get(i)).is_some_and(|(_, last)| n <= *last)
    }

    /// What is in both.
    pub fn intersect(&self, other: &Self) -> Self {
        let mut out = Self::new();
        let (mut a, mut b) = (self.0.iter().copied().peekable(), other.0.iter().copied().peekable());
        while let (Some(x), Some(y)) = (a.peek().copied(), b.peek().copied()) {
            let (first, last) = (x.0.max(y.0), x.1.min(y.1));
            if first <= last {
                out.push_range(first, last);
            }
            if x.1 <= y.1 {
                a.next();
            } else {
                b.next();
            }
        }
        out
    }

    /// What is in `self` and not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        let mut out = Self::new();
        let mut holes = other.0.iter().copied().peekable();
        for (first, last) in &self.0 {
            let mut next = Some(*first);
            while let (Some(at), Some(hole)) = (next, holes.peek().copied()) {
                if hole.0 > *last {
                    break;
                }
                if hole.1 >= at {
                    if hole.0 > at {
                        out.push_range(at, hole.0 - 1);
                    }
                    next = hole.1.checked_add(1).filter(|n| n <= last);
                }
                if hole.1 > *last {
                    break;
                }
                holes.next();
            }
            if let Some(at) = next {
                out.push_range(at, *last);
            }
        }
        out
    }
}

/// `sequence-set` without `$` (RFC 9051 9).
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}:{last}")? }
        }
        Ok(())
    }
}

/// One end of a range as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A number.
    Number(u32),
    /// `*`: the largest number in use.
    Largest,
}

/// `sequence-set` as written (RFC 9051 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceSet {
    /// `$`: the saved search result (RFC 9051 6.4.4.1).
    Saved,
    /// Numbers and ranges; never empty.
    Items(Vec<(Bound, Bound)>),
}

impl SequenceSet {
    /// Reads a whole set.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text == b"$" {
            return Some(Self::Saved);
        }
        let mut items = vec![];
        for item in text.split(|b| *b == b',') {
            if items.len() >= limits::SET_ITEMS {
                return None;
            }
            let mut ends = item.splitn(2, |b| *b == b':');
            let first = bound(ends.next()?)?;
            let last = ends.next().map_or(Some(first), bound)?;
            items.push((first, last));
        }
        Some(Self::Items(items))
    }

    /// The numbers meant when `largest` is the largest in use; none for [`SequenceSet::Saved`]. With nothing in use, `*` is nothing.
    pub fn resolve(&self, largest: Option<u32>) -> Option<Ranges> {
        let Self::Items(items) = self else { return None };
        let value = |bound: &Bound| match bound {
            Bound::Number(n) => Some(*n),
            Bound::Largest => largest,
        };
        let both = |(a, b): &(Bound, Bound)| Some((value(a)?, value(b)?));
        Some(Ranges::from_unsorted(items.iter().filter_map(both).collect()))
    }

    /// Whether `*` occurs.
    pub fn has_largest(&self) -> bool {
        matches!(self, Self::Items(items) if items.iter().any(|(a, b)| *a == Bound::Largest || *b == Bound::Largest))
    }
}

fn bound(text: &[u8]) -> Option<Bound> {
    if text == b"*" {
        return Some(Bound::Largest);
    }
    number(text).filter(|n| *n > 0).map(Bound::Number)
}

/// Decimal digits only, within 32 bits.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    let n = text.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))?;
    u32::try_from(n).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, largest: Option<u32>) -> String {
        SequenceSet::parse(text.as_bytes()).unwrap().resolve(largest).unwrap().to_string()
    }

    #[test]
    fn sets_are_normalised() {
        assert_eq!(set("5:3,1,2,10:*,4", Some(7)), "1:5,7:10");
        assert_eq!(set("*:4294967295", Some(4294967295)), "4294967295");
        assert_eq!(set("1:*", Some(9)), "1:9");
        assert_eq!(set("*", None), "");
        assert_eq!(SequenceSet::parse(b"$"), Some(SequenceSet::Saved));
        for bad in ["", "0", "1,", ",1", "1:", "1:2:3", "-1", "1 2", "4294967296", "a", "1,$", "**", "00000000001"] {
            assert_eq!(SequenceSet::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_set_has_a_last_item() {
        let most = vec!["7"; limits::SET_ITEMS].join(",");
        assert_eq!(set(&most, None), "7");
        assert_eq!(SequenceSet::parse(format!("{most},7").as_bytes()), None);
    }

    #[test]
    fn arithmetic_on_ranges() {
        let a = Ranges::from_numbers([1, 2, 3, 7, 8, 20, 5]);
        let b = Ranges::from_unsorted(vec![(8, 2), (30, 20)]);
        assert_eq!(a.to_string(), "1:3,5,7:8,20");
        assert_eq!(a.intersect(&b).to_string(), "2:3,5,7:8,20");
        assert_eq!(a.without(&b).to_string(), "1");
        assert_eq!(b.without(&a).to_string(), "4,6,21:30");
        assert_eq!(Ranges::from_unsorted(vec![(0, u32::MAX)]).without(&Ranges::from_numbers([u32::MAX])).to_string(), "0:4294967294");
        assert_eq!(a.count(), 7);
        assert!(a.contains(20) && !a.contains(4) && !a.contains(0) && !a.contains(21));
        assert_eq!(a.iter().rev().collect::<Vec<_>>(), [20, 8, 7, 5, 3, 2, 1]);
    }
}
