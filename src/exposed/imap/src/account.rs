use crate::{ahead::Ahead, arrange::Arranged, connection::Fault, limits};
use pure_addr::MailboxName;
use pure_imap::{Ranges, SeqMap, SequenceSet, parse::Mode};
use std::collections::BTreeSet;
use wire::{
    Reply, Session,
    edge::{
        mail::Owner,
        store_session::{MailboxId, Request, Response, StoreSession},
    },
};

/// What the client has switched on (RFC 5161).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Enabled {
    pub(crate) condstore: bool,
    pub(crate) qresync: bool,
    pub(crate) rev2: bool,
    pub(crate) utf8: bool,
}

impl Enabled {
    pub(crate) fn mode(self) -> Mode {
        Mode { utf8_names: self.rev2 || self.utf8 }
    }
}

/// The selected mailbox as this client knows it.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) id: MailboxId,
    pub(crate) name: MailboxName,
    pub(crate) read_only: bool,
    /// To be changed by [`Self::numbering`].
    pub(crate) map: SeqMap,
    /// Up to which the client has been told everything.
    pub(crate) modseq: u64,
    /// Whether the store may know more.
    pub(crate) dirty: bool,
    /// `$` (RFC 9051 6.4.4.1), as UIDs.
    pub(crate) saved: Ranges,
    /// Flag changes of this session that its answers told already.
    pub(crate) told: Vec<(u64, Ranges)>,
    /// The last answer of SORT or THREAD, for this numbering.
    pub(crate) arranged: Option<Arranged>,
    /// What was fetched before it was asked for.
    pub(crate) ahead: Option<Ahead>,
    /// Keywords that FLAGS has named.
    pub(crate) keywords: BTreeSet<String>,
}

impl Selected {
    /// The numbering, to change it: what was said of the old one is forgotten.
    pub(crate) fn numbering(&mut self) -> &mut SeqMap {
        self.arranged = None;
        self.ahead = None;
        &mut self.map
    }

    /// The UIDs that a set means. None: a sequence number that no message has (RFC 9051 2.3.1.2).
    pub(crate) fn uids(&self, set: &SequenceSet, uid: bool) -> Option<Ranges> {
        match set {
            SequenceSet::Saved => Some(self.saved.intersect(&self.map.uids())),
            set if uid => set.resolve(self.map.last_uid()).map(|uids| uids.intersect(&self.map.uids())),
            set => {
                let count = self.map.len();
                let seqs = set.resolve(Some(count).filter(|count| *count > 0))?;
                // `1:*` in an empty mailbox is what careful clients send; it means nothing, not an error.
                if seqs.last().is_some_and(|last| last > count) && !set.has_largest() {
                    return None;
                }
                Some(self.map.uids_of(&seqs))
            }
        }
    }

    /// Remembers what an answer told, within limits: what is forgotten is told once more, which is only a waste.
    pub(crate) fn remember(&mut self, modseq: u64, uid: u32) {
        if let Some((_, uids)) = self.told.iter_mut().find(|(told, uids)| *told == modseq && uids.last().is_none_or(|last| last <= uid)) {
            if uids.ranges().len() < limits::TOLD_RANGES {
                uids.push(uid);
            }
        } else if self.told.len() < limits::TOLD {
            self.told.push((modseq, Ranges::from_numbers([uid])));
        }
    }

    pub(crate) fn was_told(&self, modseq: u64, uid: u32) -> bool {
        self.told.iter().any(|(told, uids)| *told == modseq && uids.contains(uid))
    }
}

/// One logged-in client's end of the store.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) store: Session<StoreSession>,
    pub(crate) owner: Owner,
    pub(crate) enabled: Enabled,
    pub(crate) selected: Option<Box<Selected>>,
}

impl Account {
    pub(crate) fn new(store: Session<StoreSession>, owner: Owner) -> Self {
        Self { store, owner, enabled: Enabled::default(), selected: None }
    }

    /// A request with one answer.
    pub(crate) async fn call(&mut self, request: &Request) -> Result<Response, Fault> {
        Ok(self.store.call(request, &[]).await?.body)
    }

    /// The next part of an answer.
    pub(crate) async fn next(&mut self) -> Result<Option<Reply<StoreSession>>, Fault> {
        Ok(self.store.next().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that is not to be believed, which goes on for ever.
    #[test]
    fn only_so_much_is_remembered_of_what_was_told() {
        let mut selected = Selected {
            id: MailboxId(1),
            name: MailboxName::inbox(),
            read_only: false,
            map: SeqMap::new(),
            modseq: 1,
            dirty: false,
            saved: Ranges::new(),
            told: Vec::new(),
            arranged: None,
            ahead: None,
            keywords: BTreeSet::new(),
        };
        for modseq in 1..=200 {
            for uid in 1..=40_000 {
                selected.remember(modseq, 2 * uid);
            }
        }
        let ranges: usize = selected.told.iter().map(|(_, uids)| uids.ranges().len()).sum();
        assert_eq!(ranges, limits::TOLD * limits::TOLD_RANGES);
        assert!(selected.was_told(1, 2) && !selected.was_told(1, 80_000) && !selected.was_told(200, 2));
    }
}
