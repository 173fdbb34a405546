//! What clients change of messages that are there, flags, EXPUNGE, MOVE and COPY, and what must have become of it.
//!
//! What was answered holds. COPY and MOVE hold on disk; flags and EXPUNGE hold while the machine runs, and after a loss of power if
//! anything was answered in that account afterwards that holds on disk. What was not answered has happened or has not.

use crate::{Random, peers::NAMES};
use std::collections::{BTreeMap, BTreeSet};
use wire::edge::store_session::SystemFlags;

/// Where mail is delivered, where APPEND puts it, and where COPY does.
pub const INBOX: &str = "INBOX";
pub const APPENDED: &str = "Sent";
pub const COPIES: &str = "Drafts";
pub const MAILBOXES: [&str; 3] = [INBOX, APPENDED, COPIES];
/// Those that are set and cleared; `\Deleted` belongs to EXPUNGE.
const FLAGS: [SystemFlags; 4] = [SystemFlags::SEEN, SystemFlags::ANSWERED, SystemFlags::FLAGGED, SystemFlags::DRAFT];

/// A message of an account, or the copy of it.
pub type Key = (&'static str, usize, bool);

/// What is done to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// One of [`FLAGS`] is set or cleared.
    Flag(usize, bool),
    Expunge,
    Move(&'static str),
    Copy,
}

impl Change {
    /// Of a change of flags.
    pub fn flag(place: usize) -> SystemFlags {
        FLAGS[place]
    }
}

/// A change to be made.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    pub key: Key,
    pub mailbox: &'static str,
    pub uid: u32,
    pub change: Change,
}

#[derive(Debug)]
struct Kept {
    /// Where it may be; nowhere is one of the places.
    places: BTreeSet<Option<&'static str>>,
    uid: u32,
    /// Since when it was seen.
    since: u64,
    /// Where it was before, until when, as far as a loss of power may bring that back.
    before: Vec<(Option<&'static str>, u64)>,
    /// Each flag, if it is known, and when it was changed.
    flags: [(Option<bool>, u64); FLAGS.len()],
}

impl Kept {
    /// It is there, and was perhaps elsewhere before.
    fn settle(&mut self, place: Option<&'static str>, now: u64) {
        self.before.extend(self.places.iter().filter(|other| **other != place).map(|other| (*other, now)));
        self.places = [place].into();
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    kept: BTreeMap<Key, Kept>,
    clock: u64,
    /// Everything that was answered before is on disk, by account.
    durable: BTreeMap<&'static str, u64>,
}

impl Model {
    /// The time.
    pub fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Something that holds on disk was answered, and had begun then.
    pub fn on_disk(&mut self, account: &'static str, begun: u64) {
        let durable = self.durable.entry(account).or_default();
        *durable = begun.max(*durable);
    }

    /// A message whose place is known, and what to do to it; from now on it may have happened.
    pub fn any(&mut self, random: &mut Random, taken: &BTreeSet<Key>) -> Option<Task> {
        let known = |kept: &Kept| if kept.places.len() == 1 { kept.places.first().copied().flatten() } else { None };
        let account = NAMES[random.below(NAMES.len())];
        let free: Vec<(Key, &'static str)> = self
            .kept
            .iter()
            .filter(|(key, _)| key.0 == account && !taken.contains(*key))
            .filter_map(|(key, kept)| Some((*key, known(kept)?)))
            .collect();
        let (key, mailbox) = *free.get(random.below(free.len().max(1)))?;
        let copy = (key.0, key.1, true);
        let change = match random.below(8) {
            0 => Change::Expunge,
            1 | 2 if !key.2 => Change::Move(if mailbox == INBOX { APPENDED } else { INBOX }),
            3 if !key.2 && !self.kept.contains_key(&copy) => Change::Copy,
            n => Change::Flag(n % FLAGS.len(), random.below(3) > 0),
        };
        let kept = self.kept.get_mut(&key)?;
        let uid = kept.uid;
        match change {
            Change::Flag(place, _) => kept.flags[place].0 = None,
            Change::Expunge => _ = kept.places.insert(None),
            Change::Move(to) => _ = kept.places.insert(Some(to)),
            Change::Copy => {
                let kept =
                    Kept { places: [None, Some(COPIES)].into(), uid: 0, since: self.tick(), before: Vec::new(), flags: Default::default() };
                self.kept.insert(copy, kept);
            }
        }
        Some(Task { key, mailbox, uid, change })
    }

    /// A change was answered that had begun then.
    pub fn answered(&mut self, task: &Task, begun: u64) {
        let now = self.tick();
        let copy = (task.key.0, task.key.1, true);
        let key = if task.change == Change::Copy { copy } else { task.key };
        let kept = self.kept.get_mut(&key).unwrap();
        match task.change {
            Change::Flag(place, on) => kept.flags[place] = (Some(on), now),
            Change::Expunge => {
                kept.places = [None].into();
                kept.before.push((Some(task.mailbox), now));
            }
            Change::Move(to) => kept.places = [Some(to)].into(),
            Change::Copy => kept.places = [Some(COPIES)].into(),
        }
        if matches!(task.change, Change::Move(_) | Change::Copy) {
            self.on_disk(task.key.0, begun);
        }
    }

    /// What was not on disk is lost, or is not.
    pub fn power_was_lost(&mut self) {
        for ((account, ..), kept) in &mut self.kept {
            let durable = self.durable.get(account).copied().unwrap_or(0);
            kept.before.retain(|(_, when)| *when > durable);
            kept.places.extend(kept.before.iter().map(|(place, _)| *place));
            // Or it will be delivered once more.
            if kept.since > durable {
                kept.places.insert(Some(INBOX));
            }
            for (flag, when) in &mut kept.flags {
                if *when > durable {
                    *flag = None;
                }
            }
        }
    }

    /// What is there now, and was there nothing before, is known from now on. At the end nothing is on its way any more.
    pub fn look(&mut self, found: &BTreeMap<Key, Vec<(&'static str, u32, SystemFlags)>>, end: bool) -> Result<(), String> {
        let now = self.tick();
        for (key, there) in found {
            let [(mailbox, uid, flags)] = there.as_slice() else { return Err(format!("{key:?} is there more than once: {there:?}")) };
            let seen = FLAGS.map(|flag| flags.contains(flag));
            let Some(kept) = self.kept.get_mut(key) else {
                if key.2 {
                    return Err(format!("{key:?} was copied by nobody"));
                }
                let kept = Kept {
                    places: [Some(*mailbox)].into(),
                    uid: *uid,
                    since: now,
                    before: Vec::new(),
                    flags: seen.map(|on| (Some(on), 0)),
                };
                self.kept.insert(*key, kept);
                continue;
            };
            if !kept.places.contains(&Some(*mailbox)) {
                return Err(format!("{key:?} is in {mailbox}: {kept:?}"));
            }
            if kept.flags.iter().zip(seen).any(|((known, _), on)| known.is_some_and(|known| known != on)) {
                return Err(format!("{key:?} has {flags:?}: {kept:?}"));
            }
            kept.settle(Some(*mailbox), now);
            kept.uid = *uid;
            for ((known, when), on) in kept.flags.iter_mut().zip(seen) {
                // What nobody was answered may be undone from now on.
                *when = if known.is_none() { now } else { *when };
                *known = Some(on);
            }
        }
        for (key, kept) in self.kept.iter_mut().filter(|(key, _)| !found.contains_key(*key)) {
            // What a loss of power has taken of a delivery, the spool still has.
            let settled = end || self.durable.get(key.0).copied().unwrap_or(0) > kept.since;
            if settled && !kept.places.contains(&None) {
                return Err(format!("{key:?} is lost: {kept:?}"));
            }
            if settled {
                kept.settle(None, now);
            }
        }
        Ok(())
    }

    /// Whether a message was seen in an account; then everything about it was judged by [`Self::look`].
    pub fn knows(&self, account: &'static str, tag: usize) -> bool {
        self.kept.contains_key(&(account, tag, false))
    }
}
