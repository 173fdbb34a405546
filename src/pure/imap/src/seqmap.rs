use crate::Ranges;

/// `len` UIDs from `uid` on have the sequence numbers from `seq` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    uid: u32,
    seq: u32,
    len: u32,
}

/// The UIDs of the selected mailbox in order: which message has which sequence number (RFC 9051 2.3.1.2).
///
/// Runs of consecutive UIDs are one entry, so a mailbox that nothing was removed from costs 12 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeqMap {
    runs: Vec<Run>,
}

impl SeqMap {
    /// No messages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of the given UIDs.
    pub fn from_ranges(uids: &Ranges) -> Self {
        let mut map = Self::new();
        for (first, last) in uids.ranges() {
            map.append_range(*first, *last);
        }
        map
    }

    /// How many messages.
    pub fn len(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.seq.saturating_add(run.len).saturating_sub(1))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The largest UID.
    pub fn last_uid(&self) -> Option<u32> {
        self.runs.last().map(|run| run.uid.saturating_add(run.len - 1))
    }

    /// The UID of a sequence number.
    pub fn uid(&self, seq: u32) -> Option<u32> {
        let after = self.runs.partition_point(|run| run.seq <= seq);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let offset = seq.checked_sub(run.seq).filter(|offset| *offset < run.len)?;
        run.uid.checked_add(offset)
    }

    /// The sequence number of a UID.
    pub fn seq(&self, uid: u32) -> Option<u32> {
        let run = self.runs.get(self.run_of(uid)?)?;
        run.seq.checked_add(uid.checked_sub(run.uid)?)
    }

    fn run_of(&self, uid: u32) -> Option<usize> {
        let at = self.runs.partition_point(|run| run.uid <= uid).checked_sub(1)?;
        self.runs.get(at).filter(|run| uid - run.uid < run.len).map(|_| at)
    }

    /// Adds UIDs at the end; what is not larger than every UID inside is left out. Returns how many were added.
    pub fn append_range(&mut self, first: u32, last: u32) -> u32 {
        let first = self.last_uid().map_or(Some(first), |end| end.checked_add(1).map(|next| next.max(first)));
        let Some(first) = first.filter(|first| *first <= last) else { return 0 };
        // Every message needs a sequence number of 32 bits.
        let room = u32::MAX - self.len();
        let len = (last - first).saturating_add(1).min(room);
        if len == 0 {
            return 0;
        }
        let seq = self.len() + 1;
        match self.runs.last_mut() {
            Some(run) if run.uid.checked_add(run.len) == Some(first) => run.len += len,
            _ => self.runs.push(Run { uid: first, seq, len }),
        }
        len
    }

    /// Removes one message; returns the sequence number it had.
    pub fn remove(&mut self, uid: u32) -> Option<u32> {
        let seq = self.seq(uid)?;
        self.remove_all(&Ranges::from_numbers([uid]));
        Some(seq)
    }

    /// Removes every UID that is inside; linear in runs and ranges.
    pub fn remove_all(&mut self, uids: &Ranges) {
        let rest = self.uids().without(uids);
        *self = Self::from_ranges(&rest);
        self.runs.shrink_to_fit();
    }

    /// All UIDs.
    pub fn uids(&self) -> Ranges {
        let mut out = Ranges::new();
        for run in &self.runs {
            out.push_range(run.uid, run.uid.saturating_add(run.len - 1));
        }
        out
    }

    /// The UIDs of the given sequence numbers; numbers beyond the end are left out.
    pub fn uids_of(&self, seqs: &Ranges) -> Ranges {
        self.translate(seqs, |run| run.seq, |run| run.uid)
    }

    /// The sequence numbers of the given UIDs; unknown ones are left out.
    pub fn seqs_of(&self, uids: &Ranges) -> Ranges {
        self.translate(uids, |run| run.uid, |run| run.seq)
    }

    fn translate(&self, numbers: &Ranges, from: impl Fn(&Run) -> u32, to: impl Fn(&Run) -> u32) -> Ranges {
        let mut out = Ranges::new();
        let mut runs = self.runs.iter().peekable();
        let mut ranges = numbers.ranges().iter().copied().peekable();
        while let (Some(run), Some((first, last))) = (runs.peek(), ranges.peek().copied()) {
            let (start, end) = (from(run), from(run).saturating_add(run.len - 1));
            let (a, b) = (start.max(first), end.min(last));
            if a <= b {
                let base = to(run);
                out.push_range(base.saturating_add(a - start), base.saturating_add(b - start));
            }
            if end <= last {
                runs.next();
            } else {
                ranges.next();
            }
        }
        out
    }

    /// Entries of the list; a measure of its memory.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let map = SeqMap::from_ranges(&Ranges::from_numbers([2, 3, 4, 9, 20, 21]));
        assert_eq!(map.len(), 6);
        assert_eq!((1..=7).map(|s| map.uid(s)).collect::<Vec<_>>(), [Some(2), Some(3), Some(4), Some(9), Some(20), Some(21), None]);
        assert_eq!([1, 2, 4, 5, 9, 21, 22].map(|u| map.seq(u)), [None, Some(1), Some(3), None, Some(4), Some(6), None]);
        assert_eq!(map.uid(0), None);
        assert_eq!(map.uids_of(&Ranges::from_numbers([1, 2, 4, 6, 9])).to_string(), "2:3,9,21");
        assert_eq!(map.seqs_of(&Ranges::from_unsorted(vec![(1, 3), (5, 20)])).to_string(), "1:2,4:5");
    }

    #[test]
    fn removal_renumbers() {
        let mut map = SeqMap::new();
        assert_eq!(map.append_range(1, 10), 10);
        assert_eq!(map.run_count(), 1);
        assert_eq!(map.remove(5), Some(5));
        assert_eq!(map.remove(5), None);
        assert_eq!(map.seq(6), Some(5));
        assert_eq!(map.append_range(8, 12), 2);
        assert_eq!(map.uids().to_string(), "1:4,6:12");
        map.remove_all(&Ranges::from_unsorted(vec![(1, 11)]));
        assert_eq!((map.len(), map.uid(1), map.last_uid()), (1, Some(12), Some(12)));
        map.remove(12);
        assert_eq!((map.is_empty(), map.len()), (true, 0));
    }

    #[test]
    fn the_largest_uid_is_no_overflow() {
        let mut map = SeqMap::new();
        map.append_range(u32::MAX - 1, u32::MAX);
        assert_eq!((map.len(), map.last_uid(), map.uid(2)), (2, Some(u32::MAX), Some(u32::MAX)));
        assert_eq!(map.append_range(1, u32::MAX), 0);
    }
}
