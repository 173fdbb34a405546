//! The mailboxes of an account: their rows in memory, and everything that changes the tree.

use crate::{
    account::Account,
    error::{Result, StoreError},
};
use pure_addr::{MailboxName, SEPARATOR};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wire::edge::store_session::{MAX_MAILBOXES, MAX_SUBSCRIPTIONS, Mailbox, MailboxId, ModSeq, Refusal, Role};

/// Stored by position; never reorder.
const ROLES: [Role; 9] =
    [Role::Inbox, Role::Archive, Role::Drafts, Role::Flagged, Role::Junk, Role::Sent, Role::Trash, Role::Important, Role::All];

/// What a new account has.
const DEFAULTS: [(&str, Role); 6] = [
    ("INBOX", Role::Inbox),
    ("Drafts", Role::Drafts),
    ("Sent", Role::Sent),
    ("Junk", Role::Junk),
    ("Trash", Role::Trash),
    ("Archive", Role::Archive),
];

/// A row of `mailbox`.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: u32,
    pub(crate) name: MailboxName,
    pub(crate) role: Option<Role>,
    pub(crate) subscribed: bool,
    pub(crate) selectable: bool,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) messages: u32,
    pub(crate) unseen: u32,
    pub(crate) deleted: u32,
    pub(crate) size: u64,
    pub(crate) highest_modseq: i64,
    pub(crate) vanished_rows: u32,
    /// What vanished at or before this is no longer known in detail.
    pub(crate) vanished_floor: i64,
}

impl Row {
    pub(crate) fn to_wire(&self) -> Mailbox {
        Mailbox {
            id: MailboxId(self.id),
            name: self.name.clone(),
            role: self.role,
            subscribed: self.subscribed,
            selectable: self.selectable,
            uid_validity: self.uid_validity,
            uid_next: self.uid_next,
            messages: self.messages,
            unseen: self.unseen,
            deleted: self.deleted,
            size: self.size,
            highest_modseq: ModSeq(u64::try_from(self.highest_modseq).unwrap_or(0)),
        }
    }
}

/// All rows, and which of them have counters to be written.
#[derive(Debug, Default)]
pub(crate) struct Boxes {
    rows: HashMap<u32, Row>,
    names: BTreeMap<String, u32>,
    touched: BTreeSet<u32>,
    /// Names that are subscribed to and have no mailbox any more.
    left: BTreeSet<MailboxName>,
}

impl Boxes {
    pub(crate) fn load(db: &Connection) -> Result<Self> {
        let mut boxes = Self::default();
        let mut statement = db.prepare_cached(
            "SELECT id, name, role, subscribed, selectable, uid_validity, uid_next, messages, unseen, deleted, size, highest_modseq,
             vanished_rows, vanished_floor FROM mailbox",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            let role: Option<usize> = row.get(2)?;
            boxes.insert(Row {
                id: row.get(0)?,
                name: MailboxName::new(&name).map_err(|_| StoreError::Damaged("the name of a mailbox"))?,
                role: role.and_then(|r| ROLES.get(r)).copied(),
                subscribed: row.get(3)?,
                selectable: row.get(4)?,
                uid_validity: row.get(5)?,
                uid_next: row.get(6)?,
                messages: row.get(7)?,
                unseen: row.get(8)?,
                deleted: row.get(9)?,
                size: row.get(10)?,
                highest_modseq: row.get(11)?,
                vanished_rows: row.get(12)?,
                vanished_floor: row.get(13)?,
            });
        }
        let mut statement = db.prepare_cached("SELECT name FROM subscription")?;
        let mut names = statement.query([])?;
        while let Some(row) = names.next()? {
            let name: String = row.get(0)?;
            boxes.left.insert(MailboxName::new(&name).map_err(|_| StoreError::Damaged("a name that is subscribed to"))?);
        }
        Ok(boxes)
    }

    fn insert(&mut self, row: Row) {
        self.names.insert(row.name.as_str().to_owned(), row.id);
        self.rows.insert(row.id, row);
    }

    fn remove(&mut self, id: u32) -> Option<Row> {
        let row = self.rows.remove(&id)?;
        self.names.remove(row.name.as_str());
        self.touched.remove(&id);
        Some(row)
    }

    /// Writes the counters that changed.
    pub(crate) fn flush(&mut self, db: &Connection) -> Result<()> {
        for id in std::mem::take(&mut self.touched) {
            if let Some(r) = self.rows.get(&id) {
                db.prepare_cached(
                    "UPDATE mailbox SET uid_next = ?, messages = ?, unseen = ?, deleted = ?, size = ?, highest_modseq = ?,
                     vanished_rows = ?, vanished_floor = ? WHERE id = ?",
                )?
                .execute(params![
                    r.uid_next,
                    r.messages,
                    r.unseen,
                    r.deleted,
                    r.size,
                    r.highest_modseq,
                    r.vanished_rows,
                    r.vanished_floor,
                    r.id
                ])?;
            }
        }
        Ok(())
    }

    pub(crate) fn by_name(&self, name: &MailboxName) -> Option<&Row> {
        self.names.get(name.as_str()).and_then(|id| self.rows.get(id))
    }

    /// A mailbox that can hold messages.
    pub(crate) fn get(&self, id: u32) -> std::result::Result<&Row, Refusal> {
        self.rows.get(&id).filter(|r| r.selectable).ok_or(Refusal::NoSuchMailbox)
    }

    /// The same, to change its counters.
    pub(crate) fn get_mut(&mut self, id: u32) -> std::result::Result<&mut Row, Refusal> {
        let row = self.rows.get_mut(&id).filter(|r| r.selectable).ok_or(Refusal::NoSuchMailbox)?;
        self.touched.insert(id);
        Ok(row)
    }

    /// Leaves out UIDs in every mailbox, as far as there are any left.
    pub(crate) fn skip_uids(&mut self, count: u32) {
        for row in self.rows.values_mut().filter(|r| r.selectable) {
            row.uid_next = row.uid_next.checked_add(count).unwrap_or(row.uid_next);
            self.touched.insert(row.id);
        }
    }

    /// The number of a mailbox that can hold messages.
    pub(crate) fn target(&self, name: &MailboxName) -> std::result::Result<u32, Refusal> {
        self.by_name(name).filter(|r| r.selectable).map(|r| r.id).ok_or(Refusal::NoSuchMailbox)
    }

    /// All of them by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Row> {
        self.names.values().filter_map(|id| self.rows.get(id))
    }

    /// Names that are subscribed to and have no mailbox any more.
    pub(crate) fn left(&self) -> impl Iterator<Item = &MailboxName> {
        self.left.iter()
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    /// Those below a name.
    fn below(&self, name: &MailboxName) -> Vec<u32> {
        let prefix = format!("{name}{SEPARATOR}");
        self.names.range(prefix.clone()..).take_while(|(n, _)| n.starts_with(&prefix)).map(|(_, id)| *id).collect()
    }
}

pub(crate) fn fill(db: &Connection) -> Result<()> {
    for (name, role) in DEFAULTS {
        db.execute("UPDATE state SET next_mailbox = next_mailbox + 1, uid_validity = uid_validity + 1", [])?;
        let role = ROLES.iter().position(|r| *r == role);
        db.execute(
            "INSERT INTO mailbox SELECT next_mailbox, ?, ?, 1, 1, uid_validity, 1, 0, 0, 0, 0, modseq, 0, 0 FROM state",
            params![name, role],
        )?;
    }
    Ok(())
}

impl Account {
    /// A new mailbox and the levels above it (RFC 9051 6.3.4).
    pub(crate) fn create(&mut self, name: &MailboxName, role: Option<Role>, now: i64) -> Result<Mailbox> {
        self.write(|account| {
            let id = account.create_within(name, role, now)?;
            Ok(account.boxes.get(id)?.to_wire())
        })
    }

    fn create_within(&mut self, name: &MailboxName, role: Option<Role>, now: i64) -> Result<u32> {
        let level = self.boxes.by_name(name).map(|r| (r.id, r.selectable, r.subscribed));
        if level.is_some_and(|(_, selectable, _)| selectable) {
            return Err(Refusal::AlreadyExists.into());
        }
        if role == Some(Role::Inbox) {
            return Err(Refusal::Cannot.into());
        }
        self.create_parents(name, now)?;
        if let Some(role) = role {
            self.take_role(role)?;
        }
        // A mere level becomes a mailbox under a new number.
        let subscribed = level.is_some_and(|(_, _, subscribed)| subscribed);
        if let Some((id, _, _)) = level {
            self.delete_row(id)?;
        }
        self.insert_row(name, role, subscribed, true, now)
    }

    fn create_parents(&mut self, name: &MailboxName, now: i64) -> Result<()> {
        let mut missing = Vec::new();
        let mut above = name.parent();
        while let Some(level) = above.filter(|level| self.boxes.by_name(level).is_none()) {
            above = level.parent();
            missing.push(level);
        }
        for level in missing.iter().rev() {
            self.insert_row(level, None, false, false, now)?;
        }
        Ok(())
    }

    fn take_role(&mut self, role: Role) -> Result<()> {
        let holder = self.boxes.all().find(|r| r.role == Some(role)).map(|r| r.id);
        if let Some(row) = holder.and_then(|id| self.boxes.rows.get_mut(&id)) {
            row.role = None;
            self.db.prepare_cached("UPDATE mailbox SET role = NULL WHERE id = ?")?.execute([row.id])?;
        }
        Ok(())
    }

    fn insert_row(&mut self, name: &MailboxName, role: Option<Role>, subscribed: bool, selectable: bool, now: i64) -> Result<u32> {
        if self.boxes.len() >= MAX_MAILBOXES {
            return Err(Refusal::Limit.into());
        }
        let modseq = self.modseq()?;
        let subscribed = self.come_back(name)? || subscribed;
        let state = &mut self.state;
        state.next_mailbox = state.next_mailbox.checked_add(1).ok_or(Refusal::Limit)?;
        // Never repeated within the account, so never for a name (RFC 9051 2.3.1.1).
        state.uid_validity = state.uid_validity.checked_add(1).ok_or(Refusal::Limit)?.max(u32::try_from(now).unwrap_or(0));
        let row = Row {
            id: state.next_mailbox,
            name: name.clone(),
            role,
            subscribed,
            selectable,
            uid_validity: state.uid_validity,
            uid_next: 1,
            messages: 0,
            unseen: 0,
            deleted: 0,
            size: 0,
            highest_modseq: modseq,
            vanished_rows: 0,
            vanished_floor: 0,
        };
        self.db.prepare_cached("INSERT INTO mailbox VALUES(?, ?, ?, ?, ?, ?, 1, 0, 0, 0, 0, ?, 0, 0)")?.execute(params![
            row.id,
            row.name.as_str(),
            role.and_then(|role| ROLES.iter().position(|r| *r == role)),
            subscribed,
            selectable,
            row.uid_validity,
            modseq
        ])?;
        let id = row.id;
        self.boxes.insert(row);
        Ok(id)
    }

    /// The name of what is gone stays subscribed to (RFC 9051 6.3.7), within a limit.
    fn leave(&mut self, row: &Row) -> Result<()> {
        if row.subscribed && self.boxes.left.len() < MAX_SUBSCRIPTIONS {
            self.db.prepare_cached("INSERT OR IGNORE INTO subscription VALUES(?)")?.execute([row.name.as_str()])?;
            self.boxes.left.insert(row.name.clone());
        }
        Ok(())
    }

    /// Whether a name that has no mailbox was subscribed to; from now on that is its mailbox's affair.
    fn come_back(&mut self, name: &MailboxName) -> Result<bool> {
        let was = self.boxes.left.remove(name);
        if was {
            self.db.prepare_cached("DELETE FROM subscription WHERE name = ?")?.execute([name.as_str()])?;
        }
        Ok(was)
    }

    fn delete_row(&mut self, id: u32) -> Result<()> {
        self.boxes.remove(id);
        self.db.prepare_cached("DELETE FROM mailbox WHERE id = ?")?.execute([id])?;
        Ok(())
    }

    /// Ends a mailbox with its messages; one with children stays as a level (RFC 9051 6.3.5).
    pub(crate) fn delete(&mut self, name: &MailboxName, now: i64) -> Result<()> {
        self.write(|account| {
            let row = account.boxes.by_name(name).cloned().ok_or(Refusal::NoSuchMailbox)?;
            let parent = !account.boxes.below(name).is_empty();
            // RFC 9051 6.3.5: INBOX cannot be deleted, nor can a mere level that has children.
            if name.is_inbox() || (parent && !row.selectable) {
                return Err(Refusal::Cannot.into());
            }
            if row.selectable {
                account.remove_all(row.id, now)?;
                account.db.prepare_cached("DELETE FROM vanished WHERE mailbox = ?")?.execute([row.id])?;
            }
            account.delete_row(row.id)?;
            account.gone(row.id);
            if parent {
                account.insert_row(name, None, row.subscribed, false, now)?;
            } else {
                account.leave(&row)?;
            }
            Ok(())
        })
    }

    /// Gives a mailbox and everything below it another name (RFC 9051 6.3.6), which is subscribed to as the old one was.
    pub(crate) fn rename(&mut self, from: &MailboxName, to: &MailboxName, now: i64) -> Result<()> {
        self.write(|account| {
            let row = account.boxes.by_name(from).cloned().ok_or(Refusal::NoSuchMailbox)?;
            if to.is_below(from) && !from.is_inbox() {
                return Err(Refusal::Cannot.into());
            }
            if account.boxes.by_name(to).is_some() {
                return Err(Refusal::AlreadyExists.into());
            }
            if from.is_inbox() {
                // RFC 9051 6.3.6: INBOX stays, empty; what is below it is not touched.
                let target = account.create_within(to, None, now)?;
                let everything = [wire::edge::store_session::UidRange { first: 1, last: u32::MAX }];
                account.copy_within(row.id, &everything, target, true, None)?;
                return Ok(());
            }
            account.create_parents(to, now)?;
            let mut ids = account.boxes.below(from);
            ids.push(row.id);
            for id in ids {
                let Some(mut row) = account.boxes.remove(id) else { continue };
                let rest = row.name.as_str().strip_prefix(from.as_str()).unwrap_or_default();
                // A child may get too long a name, or too many levels.
                row.name = MailboxName::new(&format!("{to}{rest}")).map_err(|_| Refusal::Cannot)?;
                row.subscribed |= account.come_back(&row.name)?;
                let sql = "UPDATE mailbox SET name = ?, subscribed = ? WHERE id = ?";
                account.db.prepare_cached(sql)?.execute(params![row.name.as_str(), row.subscribed, id])?;
                account.boxes.insert(row);
            }
            Ok(())
        })
    }

    /// Sets or clears the mark of SUBSCRIBE.
    pub(crate) fn subscribe(&mut self, name: &MailboxName, on: bool) -> Result<()> {
        self.write(|account| {
            let Some(id) = account.boxes.by_name(name).map(|r| r.id) else {
                return match (account.boxes.left.contains(name), on) {
                    (true, true) => Ok(()),
                    (true, false) => account.come_back(name).map(|_| ()),
                    (false, _) => Err(Refusal::NoSuchMailbox.into()),
                };
            };
            account.db.prepare_cached("UPDATE mailbox SET subscribed = ? WHERE id = ?")?.execute(params![on, id])?;
            if let Some(row) = account.boxes.rows.get_mut(&id) {
                row.subscribed = on;
            }
            Ok(())
        })
    }
}
