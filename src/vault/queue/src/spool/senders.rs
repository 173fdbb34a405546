//! Senders of forwarded mail that are too long for an SRS address, by the names that stand for them. Runs inside the writer's transaction.

use crate::{
    limits::MAX_KEPT_SENDERS,
    srs::{GOOD_FOR, Kept},
};
use pure_addr::Address;
use rusqlite::{Connection, OptionalExtension, params};

/// How many there are, as of one day: those whose time is over are removed on the next.
#[derive(Debug)]
pub(super) struct Senders {
    day: i64,
    count: u64,
}

impl Default for Senders {
    fn default() -> Self {
        Self { day: i64::MIN, count: 0 }
    }
}

impl Senders {
    /// Keeps one. False when there are too many, whom strangers can add to.
    pub(super) fn keep(&mut self, db: &Connection, kept: &Kept) -> rusqlite::Result<bool> {
        if self.day != kept.day {
            db.execute("DELETE FROM senders WHERE day < ?1", [kept.day.saturating_sub(GOOD_FOR)])?;
            let count: i64 = db.query_row("SELECT count(*) FROM senders", [], |row| row.get(0))?;
            *self = Self { day: kept.day, count: u64::try_from(count).unwrap_or(0) };
        }
        if self.count >= MAX_KEPT_SENDERS {
            return Ok(sender(db, &kept.name)?.is_some());
        }
        // A commit that fails may leave the count too high until tomorrow.
        let new = db
            .prepare_cached("INSERT INTO senders (name, sender, day) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING")?
            .execute(params![kept.name, kept.sender.to_string(), kept.day])?;
        self.count = self.count.saturating_add(u64::try_from(new).unwrap_or(0));
        Ok(true)
    }
}

/// Who has this name.
pub(super) fn sender(db: &Connection, name: &str) -> rusqlite::Result<Option<Address>> {
    let found: Option<String> =
        db.prepare_cached("SELECT sender FROM senders WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()?;
    Ok(found.and_then(|text| Address::parse(&text).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::address;

    fn kept(name: &str, day: i64) -> Kept {
        Kept { name: name.into(), sender: address("\"Some One\"@remote.test"), day }
    }

    fn database() -> Connection {
        let dir = tempfile::tempdir().unwrap();
        let files = super::super::Files::open(dir.path()).unwrap();
        super::super::schema::open(dir.path(), 1_000, &files, &crate::testing::settings()).unwrap().0
    }

    #[test]
    fn they_are_kept_as_long_as_the_addresses_are_good() {
        let (db, mut senders) = (database(), Senders::default());
        assert!(senders.keep(&db, &kept("A", 100)).unwrap() && senders.keep(&db, &kept("A", 100)).unwrap());
        assert_eq!((senders.count, sender(&db, "A").unwrap()), (1, Some(address("\"Some One\"@remote.test"))));
        assert_eq!(sender(&db, "B").unwrap(), None);
        senders.keep(&db, &kept("B", 100 + GOOD_FOR)).unwrap();
        assert!(sender(&db, "A").unwrap().is_some());
        senders.keep(&db, &kept("C", 101 + GOOD_FOR)).unwrap();
        assert!(sender(&db, "A").unwrap().is_none() && sender(&db, "B").unwrap().is_some());
        assert_eq!(senders.count, 2);
    }

    #[test]
    fn there_are_not_too_many() {
        let (db, mut senders) = (database(), Senders::default());
        senders.keep(&db, &kept("A", 100)).unwrap();
        senders.count = MAX_KEPT_SENDERS;
        assert!(!senders.keep(&db, &kept("B", 100)).unwrap());
        // Who is there already stays, and the next day counts anew.
        assert!(senders.keep(&db, &kept("A", 100)).unwrap());
        assert!(senders.keep(&db, &kept("B", 101)).unwrap());
    }
}
