//! The tables of one account, and how older ones become the newest.

use crate::{
    error::{Result, StoreError},
    prepare::thread_keys,
};
use rusqlite::Connection;
use wire::{decode, edge::store_session::SortKeys};

/// Each entry leads from its index to the next version. Never edit one that was released.
const MIGRATIONS: &[&str] = &[V1, V2, V3, V4, V5, V6];

/// Small fixed values stand beside flags in `message`, so that FAST, mbsync and most searches never touch `email`.
const V1: &str = "
CREATE TABLE state(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  modseq INTEGER NOT NULL,
  next_mailbox INTEGER NOT NULL,
  next_email INTEGER NOT NULL,
  uid_validity INTEGER NOT NULL,
  used INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  tail INTEGER NOT NULL,
  durable_email INTEGER NOT NULL,
  boot INTEGER NOT NULL
) STRICT;
CREATE TABLE mailbox(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  role INTEGER,
  subscribed INTEGER NOT NULL,
  selectable INTEGER NOT NULL,
  uid_validity INTEGER NOT NULL,
  uid_next INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  unseen INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  size INTEGER NOT NULL,
  highest_modseq INTEGER NOT NULL,
  vanished_rows INTEGER NOT NULL,
  vanished_floor INTEGER NOT NULL
) STRICT;
CREATE TABLE email(
  id INTEGER PRIMARY KEY,
  thread INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  len INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  uses INTEGER NOT NULL,
  preview TEXT NOT NULL,
  sort BLOB NOT NULL,
  envelope BLOB NOT NULL,
  structure BLOB NOT NULL
) STRICT;
CREATE INDEX email_thread ON email(thread);
CREATE TABLE message(
  mailbox INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  email INTEGER NOT NULL,
  system INTEGER NOT NULL,
  keywords BLOB,
  modseq INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  sent_at INTEGER,
  size INTEGER NOT NULL,
  PRIMARY KEY (mailbox, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_modseq ON message(mailbox, modseq);
CREATE INDEX message_deleted ON message(mailbox, uid) WHERE (system & 8) != 0;
CREATE TABLE vanished(
  mailbox INTEGER NOT NULL,
  modseq INTEGER NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  PRIMARY KEY (mailbox, modseq, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE keyword(id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
CREATE TABLE search(email INTEGER PRIMARY KEY, headers TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE thread_ref(key INTEGER PRIMARY KEY, thread INTEGER NOT NULL) STRICT;
CREATE TABLE delivery(
  message INTEGER NOT NULL,
  number INTEGER NOT NULL,
  email INTEGER NOT NULL,
  PRIMARY KEY (message, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE segment(id INTEGER PRIMARY KEY, live INTEGER NOT NULL) STRICT;
CREATE TABLE garbage(
  segment INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  len INTEGER NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (segment, offset)
) STRICT, WITHOUT ROWID;
";

/// Emails up to this number are in the text index (`crate::trigram`); its table is made when it is first fed.
const V2: &str = "ALTER TABLE state ADD COLUMN indexed_email INTEGER NOT NULL DEFAULT 0;";

/// How many emails have a key: its row goes with the last of them.
const V3: &str = "ALTER TABLE thread_ref ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;";

/// Modification sequences that were left out after other starts of the machine: above `first`, up to `last`.
const V4: &str = "CREATE TABLE lost(first INTEGER PRIMARY KEY, last INTEGER NOT NULL) STRICT;";

/// Seconds east of UTC of the clock by which a message was sent; those from before count as sent in UTC.
const V5: &str = "ALTER TABLE message ADD COLUMN sent_zone INTEGER NOT NULL DEFAULT 0;";

/// Names that are subscribed to and have no mailbox any more.
const V6: &str = "CREATE TABLE subscription(name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;";

/// The version from which on `thread_ref` is counted.
const COUNTED: i64 = 3;

/// One more email has this key; the first one decides about its thread.
pub(crate) fn refer(db: &Connection, key: i64, thread: i64) -> Result<()> {
    db.prepare_cached("INSERT INTO thread_ref(key, thread, uses) VALUES(?, ?, 1) ON CONFLICT(key) DO UPDATE SET uses = uses + 1")?
        .execute([key, thread])?;
    Ok(())
}

/// Counts what was not counted before, and forgets keys that no email has.
fn count_references(db: &Connection) -> Result<()> {
    let mut emails = db.prepare("SELECT thread, sort FROM email")?;
    let mut rows = emails.query([])?;
    while let Some(row) = rows.next()? {
        let sort = decode::<SortKeys>(row.get_ref(1)?.as_blob().unwrap_or_default());
        for key in sort.map(|sort| thread_keys(&sort)).unwrap_or_default() {
            refer(db, key, row.get(0)?)?;
        }
    }
    db.execute("DELETE FROM thread_ref WHERE uses = 0", [])?;
    Ok(())
}

/// Brings a database to the newest schema in one transaction. `fill` runs in it when the account is new.
pub(crate) fn migrate(db: &mut Connection, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<bool> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let newest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version == newest {
        return Ok(false);
    }
    let done = usize::try_from(version).ok().filter(|v| *v <= MIGRATIONS.len()).ok_or(StoreError::Newer(version))?;
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    if version < COUNTED {
        count_references(&transaction)?;
    }
    if version == 0 {
        fill(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", newest)?;
    transaction.commit()?;
    Ok(version == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Emails of an older schema: what they refer to is counted, and what was left behind goes.
    #[test]
    fn older_references_are_counted() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(&format!("{V1}{V2} PRAGMA user_version = 2;")).unwrap();
        let sort = |id: &str, references: &[&str]| SortKeys {
            message_id: id.into(),
            references: references.iter().map(|r| (*r).to_owned()).collect(),
            ..SortKeys::default()
        };
        for (id, sort) in [(1, sort("a", &[])), (2, sort("b", &["a"]))] {
            db.execute("INSERT INTO email VALUES(?, 1, 1, 0, 0, 0, 1, '', ?, x'', x'')", (id, wire::encode(&sort).unwrap())).unwrap();
            for key in thread_keys(&sort) {
                db.execute("INSERT OR IGNORE INTO thread_ref VALUES(?, 1)", [key]).unwrap();
            }
        }
        db.execute("INSERT INTO thread_ref VALUES(77, 1)", []).unwrap();
        assert!(!migrate(&mut db, |_| Ok(())).unwrap());
        let uses = |id: &str| -> i64 {
            let key = thread_keys(&sort(id, &[]))[0];
            db.query_row("SELECT uses FROM thread_ref WHERE key = ?", [key], |r| r.get(0)).unwrap()
        };
        assert_eq!((uses("a"), uses("b")), (2, 1));
        assert_eq!(db.query_row("SELECT count(*) FROM thread_ref", [], |r| r.get::<_, i64>(0)).unwrap(), 2);
    }
}
