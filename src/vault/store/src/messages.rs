//! Messages coming, changing and going, within a transaction of their account.

use crate::{
    account::{Account, pack, unpack},
    error::{Result, StoreError},
    limits::{CHANGE_STEP, MAX_MESSAGES, MAX_VANISHED},
    prepare::{Prepared, thread_keys},
    schema,
    segment::Body,
    session::SYSTEM_FLAGS,
    uids,
};
use pure_addr::{MailboxName, Text};
use rusqlite::{OptionalExtension, Row, params};
use std::collections::BTreeSet;
use wire::{
    decode,
    edge::store_session::{FlagChange, MAX_RANGES, Refusal, SortKeys, SystemFlags, UidRange},
};

/// One membership, as its row says.
#[derive(Debug, Clone)]
struct Member {
    uid: u32,
    email: i64,
    system: u8,
    keywords: Option<Vec<u8>>,
    modseq: i64,
    dates: Dates,
    size: u64,
}

/// When a message came, and when it says that it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dates {
    pub(crate) received_at: i64,
    pub(crate) sent_at: Option<i64>,
    /// Seconds east of UTC.
    pub(crate) sent_zone: i32,
}

const MEMBER: &str = "SELECT uid, email, system, keywords, modseq, received_at, sent_at, sent_zone, size FROM message";

impl Member {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            uid: row.get(0)?,
            email: row.get(1)?,
            system: row.get(2)?,
            keywords: row.get(3)?,
            modseq: row.get(4)?,
            dates: Dates { received_at: row.get(5)?, sent_at: row.get(6)?, sent_zone: row.get(7)? },
            size: row.get(8)?,
        })
    }
}

/// A message whose flags changed, or were looked at under UNCHANGEDSINCE.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) uid: u32,
    pub(crate) system: u8,
    pub(crate) keywords: Option<Vec<u8>>,
    /// Its modification sequence before and now; the same when nothing changed.
    pub(crate) modseq: (i64, i64),
}

/// What SetFlags shall do.
#[derive(Debug)]
pub(crate) struct FlagsToSet<'a> {
    pub(crate) how: FlagChange,
    pub(crate) system: SystemFlags,
    pub(crate) keywords: &'a [Text<64>],
    pub(crate) unchanged_since: Option<i64>,
}

/// What one step of SetFlags did.
#[derive(Debug, Default)]
pub(crate) struct FlagsSet {
    looked_at: usize,
    /// Where the next step begins; none after the last.
    pub(crate) next: Option<u32>,
    pub(crate) changed: Vec<Changed>,
    /// Kept back by UNCHANGEDSINCE.
    pub(crate) modified: Vec<UidRange>,
}

/// What COPY or MOVE did.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    pub(crate) uid_validity: u32,
    pub(crate) from: Vec<UidRange>,
    pub(crate) to: Vec<UidRange>,
}

fn has(system: u8, flag: SystemFlags) -> bool {
    SystemFlags(system).contains(flag)
}

impl Account {
    /// Takes room for one message, or says why not. Nobody else can take it before the transaction ends.
    pub(crate) fn reserve(&mut self, size: u64, quota: Option<u64>) -> std::result::Result<(), Refusal> {
        let used = self.state.used.checked_add(size).ok_or(Refusal::OverQuota)?;
        if quota.is_some_and(|quota| used > quota) {
            return Err(Refusal::OverQuota);
        }
        if self.state.messages >= MAX_MESSAGES {
            return Err(Refusal::Limit);
        }
        self.state.used = used;
        self.state.messages = self.state.messages.saturating_add(1);
        Ok(())
    }

    /// Writes a body and its index, for the one mailbox it will be put into.
    pub(crate) fn insert_email(&mut self, body: &Body, prepared: &Prepared) -> Result<i64> {
        let (segment, offset, crc) = self.write_body(body)?;
        let id = self.state.next_email;
        self.state.next_email = id.checked_add(1).ok_or(Refusal::Limit)?;
        let thread = self.thread(id, &prepared.threads)?;
        self.db.prepare_cached("INSERT INTO email VALUES(?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)")?.execute(params![
            id,
            thread,
            segment,
            offset,
            body.len(),
            crc,
            prepared.preview,
            prepared.sort,
            prepared.envelope,
            prepared.structure
        ])?;
        self.db.prepare_cached("INSERT INTO search(email, headers, body) VALUES(?, ?, ?)")?.execute(params![
            id,
            prepared.headers,
            prepared.text
        ])?;
        Ok(id)
    }

    /// The conversation of a new email (RFC 8621 3): that of the oldest mail sharing a key, or its own.
    fn thread(&mut self, email: i64, keys: &[i64]) -> Result<i64> {
        let mut found: Option<i64> = None;
        for key in keys {
            let known = self.db.prepare_cached("SELECT thread FROM thread_ref WHERE key = ?")?.query_row([key], |r| r.get(0)).optional()?;
            found = found.into_iter().chain(known).min();
        }
        let thread = found.unwrap_or(email);
        for key in keys {
            schema::refer(&self.db, *key, thread)?;
        }
        Ok(thread)
    }

    /// Puts an email into a mailbox; its room has been reserved and its use is counted. Returns its UID.
    pub(crate) fn insert_message(
        &mut self,
        mailbox: u32,
        email: i64,
        system: u8,
        keywords: Option<&[u8]>,
        dates: Dates,
        size: u64,
    ) -> Result<u32> {
        let modseq = self.modseq()?;
        let row = self.boxes.get_mut(mailbox)?;
        let uid = row.uid_next;
        // RFC 9051 2.3.1.1: UIDs are never used again, so the last one ends the mailbox.
        row.uid_next = uid.checked_add(1).ok_or(Refusal::Limit)?;
        row.messages = row.messages.saturating_add(1);
        row.unseen = row.unseen.saturating_add(u32::from(!has(system, SystemFlags::SEEN)));
        row.deleted = row.deleted.saturating_add(u32::from(has(system, SystemFlags::DELETED)));
        row.size = row.size.saturating_add(size);
        row.highest_modseq = modseq;
        self.db.prepare_cached("INSERT INTO message VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?.execute(params![
            mailbox,
            uid,
            email,
            system,
            keywords,
            modseq,
            dates.received_at,
            dates.sent_at,
            size,
            dates.sent_zone
        ])?;
        self.changed(mailbox);
        Ok(uid)
    }

    /// The members of a mailbox in a range, from its lowest UID, at most [`CHANGE_STEP`].
    fn members(&self, mailbox: u32, range: UidRange) -> Result<Vec<Member>> {
        let mut statement =
            self.db.prepare_cached(&format!("{MEMBER} WHERE mailbox = ? AND uid BETWEEN ? AND ? ORDER BY uid LIMIT {CHANGE_STEP}"))?;
        Ok(statement.query_map(params![mailbox, range.first, range.last], Member::read)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Calls `each` for every member in the ranges, a bounded number in memory at a time.
    fn each_member(&mut self, mailbox: u32, ranges: &[UidRange], mut each: impl FnMut(&mut Self, Member) -> Result<()>) -> Result<()> {
        for range in ranges {
            let mut rest = Some(*range);
            while let Some(range) = rest {
                let members = self.members(mailbox, range)?;
                let last = members.last().map(|m| m.uid).filter(|_| members.len() == CHANGE_STEP);
                for member in members {
                    each(self, member)?;
                }
                rest = last.and_then(|l| l.checked_add(1)).filter(|f| *f <= range.last).map(|first| UidRange { first, ..range });
            }
        }
        Ok(())
    }

    /// Changes flags, of as many messages as one step takes from `first` on. Messages that have them already are not touched, and keep their
    /// modification sequence (RFC 7162 3.1).
    pub(crate) fn set_flags(&mut self, mailbox: u32, first: u32, ranges: &[UidRange], change: &FlagsToSet<'_>) -> Result<FlagsSet> {
        self.boxes.get(mailbox)?;
        let system = SystemFlags(change.system.0 & SYSTEM_FLAGS);
        let ranges = uids::intersect(ranges, &[UidRange { first, last: u32::MAX }]);
        self.write(|account| {
            let given = match change.how {
                // What nobody has set needs no number to be removed.
                FlagChange::Remove => change.keywords.iter().filter_map(|k| account.keyword_number(k.as_str())).collect(),
                _ => unpack(account.keyword_numbers(change.keywords)?.as_deref()).collect::<BTreeSet<u16>>(),
            };
            let mut set = FlagsSet::default();
            for range in ranges {
                let members = account.members(mailbox, range)?;
                let looked_at = members.len();
                for member in members {
                    set.next = member.uid.checked_add(1);
                    account.set_flags_of(mailbox, member, change, system, &given, &mut set)?;
                }
                set.looked_at = set.looked_at.saturating_add(looked_at);
                if set.looked_at >= CHANGE_STEP {
                    return Ok(set);
                }
            }
            set.next = None;
            Ok(set)
        })
    }

    fn set_flags_of(
        &mut self,
        mailbox: u32,
        member: Member,
        change: &FlagsToSet<'_>,
        system: SystemFlags,
        given: &BTreeSet<u16>,
        set: &mut FlagsSet,
    ) -> Result<()> {
        if change.unchanged_since.is_some_and(|since| member.modseq > since) {
            uids::push(&mut set.modified, member.uid);
            return Ok(());
        }
        let old: BTreeSet<u16> = unpack(member.keywords.as_deref()).collect();
        let (new_system, new) = match change.how {
            FlagChange::Add => (SystemFlags(member.system).union(system), old.union(given).copied().collect()),
            FlagChange::Remove => (SystemFlags(member.system).without(system), old.difference(given).copied().collect()),
            FlagChange::Replace => (system, given.clone()),
        };
        let keywords = pack(&new)?;
        let modseq = if new_system.0 != member.system || keywords != member.keywords {
            self.update_flags(mailbox, &member, new_system.0, keywords.as_deref())?
        } else if change.unchanged_since.is_some() {
            // RFC 7162 3.1.3: the modseq is told even when nothing changed.
            member.modseq
        } else {
            return Ok(());
        };
        set.changed.push(Changed { uid: member.uid, system: new_system.0, keywords, modseq: (member.modseq, modseq) });
        Ok(())
    }

    fn update_flags(&mut self, mailbox: u32, member: &Member, system: u8, keywords: Option<&[u8]>) -> Result<i64> {
        let modseq = self.modseq()?;
        self.db
            .prepare_cached("UPDATE message SET system = ?, keywords = ?, modseq = ? WHERE mailbox = ? AND uid = ?")?
            .execute(params![system, keywords, modseq, mailbox, member.uid])?;
        let row = self.boxes.get_mut(mailbox)?;
        let count = |counter: u32, was: bool, is: bool| counter.saturating_add(u32::from(is)).saturating_sub(u32::from(was));
        row.unseen = count(row.unseen, !has(member.system, SystemFlags::SEEN), !has(system, SystemFlags::SEEN));
        row.deleted = count(row.deleted, has(member.system, SystemFlags::DELETED), has(system, SystemFlags::DELETED));
        row.highest_modseq = modseq;
        self.changed(mailbox);
        Ok(modseq)
    }

    /// Removes the messages with `\Deleted` among these UIDs; returns which.
    pub(crate) fn expunge(&mut self, mailbox: u32, ranges: Option<&[UidRange]>, now: i64) -> Result<Vec<UidRange>> {
        if self.boxes.get(mailbox)?.deleted == 0 {
            return Ok(Vec::new());
        }
        self.write(|account| {
            // The partial index: only what is marked is looked at.
            let marked: Vec<u32> = {
                let mut statement = account.db.prepare_cached(
                    "SELECT uid FROM message INDEXED BY message_deleted WHERE mailbox = ? AND (system & 8) != 0 ORDER BY uid",
                )?;
                statement.query_map([mailbox], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
            };
            let mut gone = Vec::new();
            for uid in marked.into_iter().filter(|uid| ranges.is_none_or(|r| uids::contains(r, *uid))) {
                uids::push(&mut gone, uid);
            }
            account.remove_ranges(mailbox, &gone, now)?;
            Ok(gone)
        })
    }

    fn remove_ranges(&mut self, mailbox: u32, ranges: &[UidRange], now: i64) -> Result<()> {
        self.each_member(mailbox, ranges, |account, member| {
            account.remove(mailbox, &member)?;
            account.drop_email(member.email, now)
        })?;
        self.vanish(mailbox, ranges)
    }

    /// Removes one message for a reason of our own.
    pub(crate) fn remove_uid(&mut self, mailbox: u32, uid: u32) -> Result<()> {
        // The bytes are not there, so they can be released at any time.
        self.remove_ranges(mailbox, &[UidRange { first: uid, last: uid }], 0)
    }

    /// Removes all messages of a mailbox that is about to end.
    pub(crate) fn remove_all(&mut self, mailbox: u32, now: i64) -> Result<()> {
        self.each_member(mailbox, &[UidRange { first: 1, last: u32::MAX }], |account, member| {
            account.remove(mailbox, &member)?;
            account.drop_email(member.email, now)
        })
    }

    fn remove(&mut self, mailbox: u32, member: &Member) -> Result<()> {
        self.db.prepare_cached("DELETE FROM message WHERE mailbox = ? AND uid = ?")?.execute([mailbox, member.uid])?;
        let row = self.boxes.get_mut(mailbox)?;
        row.messages = row.messages.saturating_sub(1);
        row.unseen = row.unseen.saturating_sub(u32::from(!has(member.system, SystemFlags::SEEN)));
        row.deleted = row.deleted.saturating_sub(u32::from(has(member.system, SystemFlags::DELETED)));
        row.size = row.size.saturating_sub(member.size);
        self.state.used = self.state.used.saturating_sub(member.size);
        self.state.messages = self.state.messages.saturating_sub(1);
        Ok(())
    }

    /// One membership less; the last takes the email with it.
    fn drop_email(&mut self, email: i64, now: i64) -> Result<()> {
        let kept = self.db.prepare_cached("UPDATE email SET uses = uses - 1 WHERE id = ? AND uses > 1")?.execute([email])?;
        if kept > 0 {
            return Ok(());
        }
        let (segment, offset, len, sort): (u32, u64, u64, Vec<u8>) = self
            .db
            .prepare_cached("DELETE FROM email WHERE id = ? RETURNING segment, offset, len, sort")?
            .query_row([email], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
        self.db.prepare_cached("DELETE FROM search WHERE email = ?")?.execute([email])?;
        self.unindex(email)?;
        self.discard(segment, offset, len, now)?;
        for key in decode::<SortKeys>(&sort).map(|sort| thread_keys(&sort)).unwrap_or_default() {
            let kept = self.db.prepare_cached("UPDATE thread_ref SET uses = uses - 1 WHERE key = ? AND uses > 1")?.execute([key])?;
            if kept == 0 {
                self.db.prepare_cached("DELETE FROM thread_ref WHERE key = ?")?.execute([key])?;
            }
        }
        Ok(())
    }

    /// Remembers what vanished, for those who were away.
    fn vanish(&mut self, mailbox: u32, ranges: &[UidRange]) -> Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        let modseq = self.modseq()?;
        for range in ranges {
            self.db.prepare_cached("INSERT INTO vanished(mailbox, modseq, first, last) VALUES(?, ?, ?, ?)")?.execute(params![
                mailbox,
                modseq,
                range.first,
                range.last
            ])?;
        }
        let row = self.boxes.get_mut(mailbox)?;
        row.highest_modseq = modseq;
        row.vanished_rows = row.vanished_rows.saturating_add(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
        if row.vanished_rows > MAX_VANISHED {
            // The older half goes; who asks about it is told every UID that is not there (RFC 7162 3.2.5.2 allows it).
            let floor: i64 = self
                .db
                .prepare_cached("SELECT modseq FROM vanished WHERE mailbox = ? ORDER BY modseq LIMIT 1 OFFSET ?")?
                .query_row([mailbox, row.vanished_rows / 2], |r| r.get(0))?;
            let forgotten =
                self.db.prepare_cached("DELETE FROM vanished WHERE mailbox = ? AND modseq <= ?")?.execute(params![mailbox, floor])?;
            row.vanished_floor = floor;
            row.vanished_rows = row.vanished_rows.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        }
        self.changed(mailbox);
        Ok(())
    }

    /// Copies or moves messages, all or none.
    pub(crate) fn copy(&mut self, mailbox: u32, ranges: &[UidRange], to: &MailboxName, r#move: bool, quota: Option<u64>) -> Result<Copied> {
        self.boxes.get(mailbox)?;
        let target = self.boxes.target(to)?;
        self.write(|account| {
            let copied = account.copy_within(mailbox, ranges, target, r#move, quota)?;
            // COPYUID is one frame.
            if copied.from.len() > MAX_RANGES || copied.to.len() > MAX_RANGES {
                return Err(Refusal::Limit.into());
            }
            Ok(copied)
        })
    }

    pub(crate) fn copy_within(
        &mut self,
        mailbox: u32,
        ranges: &[UidRange],
        target: u32,
        r#move: bool,
        quota: Option<u64>,
    ) -> Result<Copied> {
        let mut copied = Copied { uid_validity: self.boxes.get(target)?.uid_validity, ..Copied::default() };
        // Within one mailbox, what is added must not be found again.
        let end = self.boxes.get(mailbox)?.uid_next;
        let known: Vec<UidRange> = match end.checked_sub(1) {
            Some(last) if last > 0 => uids::intersect(ranges, &[UidRange { first: 1, last }]),
            _ => Vec::new(),
        };
        self.each_member(mailbox, &known, |account, member| {
            if r#move {
                // The room it had is the room it takes.
                account.remove(mailbox, &member)?;
                account.reserve(member.size, None)?;
            } else {
                account.reserve(member.size, quota)?;
            }
            let keywords = member.keywords.as_deref();
            let uid = account.insert_message(target, member.email, member.system, keywords, member.dates, member.size)?;
            if !r#move {
                account.db.prepare_cached("UPDATE email SET uses = uses + 1 WHERE id = ?")?.execute([member.email])?;
            }
            uids::push(&mut copied.from, member.uid);
            uids::push(&mut copied.to, uid);
            Ok(())
        })?;
        if r#move {
            self.vanish(mailbox, &copied.from.clone())?;
        }
        Ok(copied)
    }

    /// Every UID of a mailbox.
    pub(crate) fn uids(&self, mailbox: u32) -> Result<Vec<UidRange>> {
        let row = self.boxes.get(mailbox)?;
        // Nothing was ever removed: no need to look.
        if row.uid_next.checked_sub(1) == Some(row.messages) {
            return Ok(if row.messages == 0 { Vec::new() } else { vec![UidRange { first: 1, last: row.messages }] });
        }
        let mut statement = self.db.prepare_cached("SELECT uid FROM message WHERE mailbox = ? ORDER BY uid")?;
        let mut rows = statement.query([mailbox])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            uids::push(&mut out, row.get(0)?);
        }
        Ok(out)
    }

    /// The UIDs of messages that came or changed after a modification sequence; all of them when that is one that a power cut took back.
    pub(crate) fn changed_since(&self, mailbox: u32, since: i64) -> Result<Vec<UidRange>> {
        let row = self.boxes.get(mailbox)?;
        if self.was_lost(since) {
            return self.uids(mailbox);
        }
        if row.highest_modseq <= since {
            return Ok(Vec::new());
        }
        let mut statement = self.db.prepare_cached("SELECT uid FROM message INDEXED BY message_modseq WHERE mailbox = ? AND modseq > ?")?;
        let found = statement.query_map(params![mailbox, since], |row| row.get(0))?.collect::<rusqlite::Result<Vec<u32>>>()?;
        Ok(uids::collect(found))
    }

    /// The UIDs that vanished after a modification sequence; when that is too long ago, or a power cut took it back, every one that is not there.
    pub(crate) fn vanished_since(&self, mailbox: u32, since: i64) -> Result<Vec<UidRange>> {
        let row = self.boxes.get(mailbox)?;
        let lost = self.was_lost(since);
        if row.highest_modseq <= since && !lost {
            return Ok(Vec::new());
        }
        if since < row.vanished_floor || lost {
            return Ok(uids::complement(&self.uids(mailbox)?, row.uid_next));
        }
        let mut statement = self.db.prepare_cached("SELECT first, last FROM vanished WHERE mailbox = ? AND modseq > ?")?;
        let found = statement
            .query_map(params![mailbox, since], |row| Ok(UidRange { first: row.get(0)?, last: row.get(1)? }))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(uids::normalise(found))
    }

    /// Refuses numbers that SQLite cannot hold.
    pub(crate) fn modseq_of(value: u64) -> Result<i64> {
        i64::try_from(value).map_err(|_| StoreError::Refused(Refusal::Malformed))
    }
}
