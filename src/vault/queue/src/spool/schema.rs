//! The database: its form, and what is done with it at start.

use super::{Files, OpenError, Record, outgoing, record, rows};
use crate::{
    limits::{CACHE_KIB, RESERVE, WAL_PAGES},
    settings::Settings,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig, params};
use std::{collections::HashSet, path::Path};
use wire::edge::mail::QueueId;

/// Each leads from its index, `PRAGMA user_version`, to the next version.
const FORMS: [&str; 4] = [CREATE, SECOND, THIRD, FOURTH];
/// The newest.
const SCHEMA: i64 = FORMS.len() as i64;

/// States of a row in `deliveries`. A delivery without a row is new and in memory, to an account.
pub(super) mod state {
    pub(crate) const WAITING: i64 = 0;
    /// Taken into memory; waiting again after a restart.
    pub(crate) const ACTIVE: i64 = 1;
    pub(crate) const HELD: i64 = 2;
    pub(crate) const DONE: i64 = 3;
    /// Taken into memory, and held if it comes back. A state of its own: released, it is under way still and not to be taken again.
    pub(crate) const HELD_ACTIVE: i64 = 4;
}

/// Version 1. `body` is the last column, so that reading the others touches no overflow page of it. It is NULL when the body is a file.
const CREATE: &str = "
    CREATE TABLE numbers (only INTEGER PRIMARY KEY CHECK (only = 1), reserved INTEGER NOT NULL) STRICT;
    INSERT INTO numbers VALUES (1, 0);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        received_at INTEGER NOT NULL,
        size INTEGER NOT NULL,
        format INTEGER NOT NULL,
        record BLOB NOT NULL,
        body BLOB
    ) STRICT;
    CREATE TABLE deliveries (
        message INTEGER NOT NULL,
        number INTEGER NOT NULL,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt INTEGER,
        reason INTEGER NOT NULL,
        PRIMARY KEY (message, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX due ON deliveries (next_attempt) WHERE state = 0;
    CREATE INDEX unsettled ON deliveries (message) WHERE state <> 3;
";

/// From version 1 to version 2: deliveries to elsewhere get rows.
///
/// `destination` names their route and is NULL for accounts. `destinations` has each route that something waits for: `due` is when
/// to look at it, NULL while a task does; the others are its circuit breaker. Waiting mail is found by the index `outgoing` alone.
const SECOND: &str = "
    ALTER TABLE deliveries ADD COLUMN destination TEXT;
    ALTER TABLE deliveries ADD COLUMN class INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE deliveries ADD COLUMN warned INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE deliveries ADD COLUMN tries BLOB;
    DROP INDEX due;
    DROP INDEX unsettled;
    CREATE INDEX due ON deliveries (next_attempt) WHERE state = 0 AND destination IS NULL;
    CREATE INDEX unsettled ON deliveries (message) WHERE state <> 3 AND destination IS NULL;
    CREATE INDEX outgoing ON deliveries (destination, class, next_attempt) WHERE state = 0 AND destination IS NOT NULL;
    CREATE TABLE destinations (
        name TEXT PRIMARY KEY,
        due INTEGER,
        failures INTEGER NOT NULL,
        until INTEGER NOT NULL,
        last BLOB
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX destinations_due ON destinations (due) WHERE due IS NOT NULL;
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE sent (
        account INTEGER NOT NULL,
        slot INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        recipients INTEGER NOT NULL,
        PRIMARY KEY (account, slot)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE watched (
        account INTEGER PRIMARY KEY,
        address TEXT NOT NULL,
        exceeded_at INTEGER NOT NULL,
        held_at INTEGER,
        notice INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE tls_results (
        day INTEGER NOT NULL,
        domain TEXT NOT NULL,
        policy INTEGER NOT NULL,
        policy_text BLOB NOT NULL,
        mx TEXT NOT NULL,
        address TEXT NOT NULL,
        failure INTEGER NOT NULL,
        sessions INTEGER NOT NULL,
        PRIMARY KEY (day, domain, policy, policy_text, mx, address, failure)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tls_reports (day INTEGER NOT NULL, domain TEXT NOT NULL, due INTEGER NOT NULL, PRIMARY KEY (day, domain)) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 2;
";

/// From version 2 to version 3: senders that are too long for an SRS address. `day` is when they were first seen, counted from 1970.
const THIRD: &str = "
    CREATE TABLE senders (name TEXT PRIMARY KEY, sender TEXT NOT NULL, day INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 3;
";

/// From version 3 to version 4: what the clock said lately.
const FOURTH: &str = "
    ALTER TABLE numbers ADD COLUMN clock INTEGER NOT NULL DEFAULT 0;
    PRAGMA user_version = 4;
";

/// Opens the database and returns it with the first number to give.
pub(super) fn open(state_dir: &Path, now: i64, files: &Files, settings: &Settings) -> Result<(Connection, u64), OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = state_dir.join("queue.db");
    // An earlier process may have ended because one of these could not be synced.
    if jail::disk::reread_database(&file)? {
        tracing::warn!("the disk does not hold all that was written to the spool's log; going on with what it holds");
    }
    let mut db = Connection::open_with_flags(&file, flags)?;
    db.set_prepared_statement_cache_capacity(32);
    // Who ends because the disk did not take the log must not write from it into the database. The next start does that, once it is synced.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Exclusive before WAL: the index of the log then lies in this process, and no lock is taken for a transaction.
    db.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_SIZE};
         PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = {WAL_PAGES};
         PRAGMA cache_size = -{CACHE_KIB};
         PRAGMA temp_store = MEMORY;
         PRAGMA foreign_keys = OFF;
         PRAGMA trusted_schema = OFF;"
    ))?;
    // What the log holds is synced, written to the database and synced there, or there is no start.
    match db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        // The log was synced before there was no room for it in the database: it stays.
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::DiskFull) => tracing::warn!("no room to write the spool's log back"),
        done => done?,
    }
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
    let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(version).ok().filter(|done| *done <= FORMS.len()).ok_or(OpenError::Schema(version))?;
    for form in FORMS.iter().skip(done) {
        tx.execute_batch(form)?;
    }
    if (1..SCHEMA).contains(&version) {
        tracing::info!(version = SCHEMA, "the spool has a newer form now");
    }
    recover(&tx, now, files, settings)?;
    secret(&tx)?;
    let reserved: i64 =
        tx.query_row("SELECT max(reserved, coalesce((SELECT max(id) + 1 FROM messages), 0)) FROM numbers", [], |r| r.get(0))?;
    let first = u64::try_from(reserved.max(now.saturating_mul(1000))).unwrap_or(0).max(1);
    reserve(&tx, first.saturating_add(RESERVE))?;
    tx.commit()?;
    Ok((db, first))
}

/// Bytes of a page; see `examples/spool_bench.rs`.
const PAGE_SIZE: u32 = 4096;

/// All numbers below this one may be given before the next reservation.
pub(super) fn reserve(db: &Connection, below: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE numbers SET reserved = ?1")?.execute([i64::try_from(below).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// What the clock says, for the next start: something is to be done at a time that follows from this one.
pub(super) fn note_clock(db: &Connection, now: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE numbers SET clock = ?1")?.execute([now])?;
    Ok(())
}

/// Everything that was in memory becomes due, and what waits for accounts here; bodies and messages are matched.
fn recover(db: &Connection, now: i64, files: &Files, settings: &Settings) -> Result<(), OpenError> {
    // What `send` was told before is asked for first: it may have been delivered, and only that process knows.
    db.execute(
        "UPDATE deliveries SET state = ?1, next_attempt = iif(destination IS NULL, ?2, ?4) WHERE state = ?3",
        params![state::WAITING, now, state::ACTIVE, outgoing::FIRST],
    )?;
    db.execute("UPDATE deliveries SET state = ?1 WHERE state = ?2", params![state::HELD, state::HELD_ACTIVE])?;
    db.execute("UPDATE destinations SET due = ?1 WHERE due IS NULL", [outgoing::FIRST])?;
    // What hindered it may have gone with the process, and a clock that was set back meanwhile delays nothing.
    db.execute(
        "UPDATE deliveries SET next_attempt = ?2 WHERE state = ?1 AND destination IS NULL AND next_attempt > ?2",
        params![state::WAITING, now],
    )?;
    outgoing::put_off_no_longer(db, now)?;
    let mut orphans: HashSet<QueueId> = files.list()?.into_iter().collect();
    let (mut messages, mut lost) = (0u64, 0u64);
    let mut all = db.prepare("SELECT id, format, record, body IS NULL FROM messages")?;
    let mut found = all.query([])?;
    let mut insert = db.prepare(
        "INSERT INTO deliveries (message, number, state, attempts, next_attempt, reason) VALUES (?1, ?2, ?3, 0, ?4, 0)
         ON CONFLICT (message, number) DO NOTHING",
    )?;
    while let Some(row) = found.next()? {
        let id = rows::queue_id(row.get(0)?);
        let in_file: bool = row.get(3)?;
        let missing = in_file && !orphans.remove(&id);
        messages = messages.saturating_add(1);
        match record::decode(row.get(1)?, row.get_ref(2)?.as_blob().unwrap_or_default()) {
            Some(record) if !missing => {
                for number in record.local() {
                    insert.execute(params![rows::stored(id), number, state::WAITING, now])?;
                }
                // The configuration may have changed the way.
                for (number, route) in record.routes(settings) {
                    outgoing::reroute(db, id, number, &route, record.class(), now)?;
                }
            }
            unreadable => {
                lost = lost.saturating_add(1);
                tracing::error!(MESSAGE = %id, missing, "a message cannot be read from the spool; it is held");
                hold(db, id, unreadable.as_ref())?;
            }
        }
    }
    outgoing::forget_idle(db)?;
    for id in orphans {
        tracing::info!(MESSAGE = %id, "removed a body that was never accepted or already delivered");
        files.remove(id);
    }
    if messages > 0 {
        tracing::info!(messages, lost, "the spool goes on");
    }
    Ok(())
}

/// Keeps a message for a person to look at.
fn hold(db: &Connection, id: QueueId, record: Option<&Record>) -> rusqlite::Result<()> {
    let numbers: Vec<u32> = record.map_or_else(|| vec![0], |r| (0..r.total()).collect());
    for number in numbers {
        db.prepare_cached(
            "INSERT INTO deliveries (message, number, state, attempts, next_attempt, reason) VALUES (?1, ?2, ?3, 0, NULL, ?4)
             ON CONFLICT (message, number) DO UPDATE SET state = ?3, next_attempt = NULL, reason = ?4 WHERE state <> 3",
        )?
        .execute(params![rows::stored(id), number, state::HELD, super::Reason::NoBody as i64])?;
    }
    Ok(())
}

/// Bytes of the key of SRS addresses.
pub(crate) const SRS_KEY: usize = 32;

/// Makes the key of SRS addresses when there is none.
fn secret(db: &Connection) -> Result<(), OpenError> {
    let exists: bool = db.query_row("SELECT EXISTS (SELECT 1 FROM secrets WHERE name = 'srs')", [], |r| r.get(0))?;
    if !exists {
        let mut key = [0; SRS_KEY];
        getrandom::fill(&mut key).map_err(|e| std::io::Error::other(e.to_string()))?;
        db.execute("INSERT INTO secrets VALUES ('srs', ?1)", [key.as_slice()])?;
    }
    Ok(())
}

/// The key of SRS addresses.
pub(super) fn srs_key(db: &Connection) -> rusqlite::Result<Vec<u8>> {
    db.query_row("SELECT value FROM secrets WHERE name = 'srs'", [], |r| r.get(0))
}
