//! What a client will ask next that fetches one message after the other, as mbsync and many libraries do: asked of the store for several
//! messages at a time, so that a command costs no turn of two processes.
//!
//! Only commands that change nothing are answered from here, and only in a row: any other command, and any news of the mailbox, ends it. So
//! nothing is told that the store had not said between the first command of such a row and the last.

use crate::limits;
use pure_imap::{Ranges, SeqMap};
use std::{collections::VecDeque, fs::File, sync::Arc};
use tokio::sync::{Semaphore, SemaphorePermit};
use wire::edge::store_session::{Row, Want};

/// Who may hold rows: their descriptors are the process's.
static HOLDERS: Semaphore = Semaphore::const_new(limits::AHEAD_SESSIONS);

/// A row and the descriptors it speaks of.
pub(crate) type Held = (Row, Arc<Vec<File>>);

/// A row of single fetches.
#[derive(Debug)]
pub(crate) struct Ahead {
    want: Want,
    /// The message that was fetched last.
    last: u32,
    /// How many were asked for last time.
    step: u32,
    rows: VecDeque<Held>,
    _held: Option<SemaphorePermit<'static>>,
}

impl Ahead {
    /// The row that was fetched ahead for this message, and what remains of `before`.
    pub(crate) fn take(before: Option<Self>, uid: u32, want: Want) -> (Option<Held>, Option<Self>) {
        let Some(mut ahead) = before.filter(|ahead| ahead.want == want) else { return (None, None) };
        if ahead.rows.front().is_none_or(|(row, _)| row.uid != uid) {
            ahead.rows.clear();
            return (None, Some(ahead));
        }
        ahead.last = uid;
        (ahead.rows.pop_front(), Some(ahead))
    }

    /// What to ask for: the message, and some after it where the client has shown its habit.
    pub(crate) fn plan(before: Option<Self>, uid: u32, want: Want, map: &SeqMap) -> (Ranges, Self) {
        let follows = |seq: u32| map.uid(seq.saturating_add(1)) == Some(uid);
        let step = before.filter(|ahead| map.seq(ahead.last).is_some_and(follows)).map_or(1, |ahead| ahead.step.saturating_mul(2));
        let held = (step > 1).then(|| HOLDERS.try_acquire().ok()).flatten();
        let step = if held.is_some() { step.min(limits::AHEAD) } else { 1 };
        let first = map.seq(uid).unwrap_or(0);
        let uids = (first..first.saturating_add(step)).filter_map(|seq| map.uid(seq));
        (Ranges::from_numbers(uids), Self { want, last: uid, step, rows: VecDeque::new(), _held: held })
    }

    /// Keeps what was asked for beyond the message, and no more, whatever the store sends: each part has its descriptors.
    pub(crate) fn keep(&mut self, held: Held) {
        if self.rows.len().saturating_add(1) < usize::try_from(self.step).unwrap_or(0) {
            self.rows.push_back(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(before: Option<Ahead>, uid: u32, map: &SeqMap) -> (Vec<u32>, Option<Ahead>) {
        let (held, before) = Ahead::take(before, uid, Want::BODY);
        if held.is_some() {
            return (vec![], before);
        }
        let (uids, mut ahead) = Ahead::plan(before, uid, Want::BODY, map);
        for uid in uids.iter().skip(1) {
            ahead.keep((Row { uid, ..Row::default() }, Arc::default()));
        }
        (uids.iter().collect(), Some(ahead))
    }

    #[test]
    fn who_goes_on_is_read_ahead_for_and_who_jumps_is_not() {
        let map = SeqMap::from_ranges(&Ranges::from_numbers([3, 4, 7, 8, 9, 20, 21, 22]));
        let (asked, row) = ahead(None, 3, &map);
        assert_eq!(asked, [3]);
        let (asked, row) = ahead(row, 4, &map);
        assert_eq!(asked, [4, 7]);
        let (asked, row) = ahead(row, 7, &map);
        assert_eq!(asked, Vec::<u32>::new());
        let (asked, row) = ahead(row, 8, &map);
        assert_eq!(asked, [8, 9, 20, 21]);
        let (asked, row) = ahead(row, 20, &map);
        assert_eq!(asked, [20], "9 was left out");
        let (asked, _) = ahead(row, 3, &map);
        assert_eq!(asked, [3]);
    }

    #[test]
    fn what_was_not_asked_for_is_not_kept() {
        let map = SeqMap::from_ranges(&Ranges::from_numbers([1, 2, 3]));
        let (_, mut one) = Ahead::plan(None, 1, Want::BODY, &map);
        (2..9).for_each(|uid| one.keep((Row { uid, ..Row::default() }, Arc::default())));
        assert!(one.rows.is_empty());
        let (asked, mut two) = Ahead::plan(Some(one), 2, Want::BODY, &map);
        (3..9).for_each(|uid| two.keep((Row { uid, ..Row::default() }, Arc::default())));
        assert_eq!((asked.count(), two.rows.len()), (2, 1));
    }

    #[test]
    fn what_is_kept_is_for_the_same_items_alone() {
        let map = SeqMap::from_ranges(&Ranges::from_numbers([1, 2, 3]));
        let (_, row) = ahead(None, 1, &map);
        let (_, row) = ahead(row, 2, &map);
        assert!(Ahead::take(row, 3, Want::FLAGS).0.is_none());
    }
}
