//! Reading and changing rows: everything here runs inside the writer's transaction.

use super::{
    Active, Body, Lease, Live, Numbers, Reason, Ticket,
    record::{FORMAT, decode},
    schema::state,
};
use crate::{
    budget::Budget,
    limits::{MAX_LEASE, MESSAGE_OVERHEAD},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{io, sync::Arc};
use wire::{SealedMessage, edge::mail::QueueId};

pub(super) fn queue_id(stored: i64) -> QueueId {
    QueueId(u64::try_from(stored).unwrap_or(0))
}

pub(super) fn stored(id: QueueId) -> i64 {
    i64::try_from(id.0).unwrap_or(i64::MAX)
}

pub(super) fn small(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

pub(super) fn insert_message(
    db: &Connection,
    id: QueueId,
    received_at: i64,
    size: u64,
    record: &[u8],
    body: Option<&[u8]>,
) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        stored(id),
        received_at,
        i64::try_from(size).unwrap_or(i64::MAX),
        FORMAT,
        record,
        body
    ])?;
    Ok(())
}

/// A delivery that waits on disk from the beginning.
pub(super) fn insert_waiting(db: &Connection, id: QueueId, number: u32, due: Option<i64>) -> rusqlite::Result<()> {
    let state = if due.is_some() { state::WAITING } else { state::HELD };
    db.prepare_cached("INSERT INTO deliveries (message, number, state, attempts, next_attempt, reason) VALUES (?1, ?2, ?3, 0, ?4, 0)")?
        .execute(params![stored(id), number, state, due])?;
    Ok(())
}

pub(super) fn delete_message(db: &Connection, id: QueueId, with_rows: bool) -> rusqlite::Result<()> {
    if with_rows {
        db.prepare_cached("DELETE FROM deliveries WHERE message = ?1")?.execute([stored(id)])?;
    }
    db.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([stored(id)])?;
    Ok(())
}

/// Whether a message is there and one of its deliveries is not done.
pub(super) fn is_waited_for(db: &Connection, id: QueueId, number: u32) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM messages WHERE id = ?1)
            AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message = ?1 AND number = ?2 AND state = 3)",
    )?
    .query_row(params![stored(id), number], |row| row.get(0))
}

/// Notes one delivery of several as done. True when it was the last: the message is gone then.
pub(super) fn delivered(db: &Connection, ticket: &Ticket, number: u32) -> rusqlite::Result<bool> {
    let id = stored(ticket.id());
    db.prepare_cached(
        "INSERT INTO deliveries (message, number, state, attempts, next_attempt, reason) SELECT ?1, ?2, ?3, 0, NULL, 0 WHERE EXISTS (SELECT 1 FROM messages WHERE id = ?1)
         ON CONFLICT (message, number) DO UPDATE SET state = ?3, next_attempt = NULL, reason = 0",
    )?
    .execute(params![id, number, state::DONE])?;
    finished(db, ticket.id(), ticket.total)
}

/// Removes a message whose deliveries are all done, and says so.
pub(super) fn finished(db: &Connection, id: QueueId, total: u32) -> rusqlite::Result<bool> {
    let done: i64 = db
        .prepare_cached("SELECT count(*) FROM deliveries WHERE message = ?1 AND state = ?2")?
        .query_row(params![stored(id), state::DONE], |row| row.get(0))?;
    let last = done >= i64::from(total);
    if last {
        delete_message(db, id, true)?;
    }
    Ok(last)
}

/// Notes a failure. A message that was deleted meanwhile stays deleted.
pub(super) fn failed(db: &Connection, id: QueueId, number: u32, attempts: u32, next: Option<i64>, reason: Reason) -> rusqlite::Result<()> {
    let state = if next.is_some() { state::WAITING } else { state::HELD };
    db.prepare_cached(
        "INSERT INTO deliveries (message, number, state, attempts, next_attempt, reason) SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM messages WHERE id = ?1)
         ON CONFLICT (message, number) DO UPDATE SET state = ?3, attempts = ?4, next_attempt = ?5, reason = ?6",
    )?
    .execute(params![stored(id), number, state, attempts, next, reason as i64])?;
    Ok(())
}

/// The lowest message with a delivery to an account that has a row and is not done.
pub(super) fn lowest_unsettled(db: &Connection) -> rusqlite::Result<Option<u64>> {
    let lowest: Option<i64> = db
        .prepare_cached("SELECT message FROM deliveries WHERE state <> 3 AND destination IS NULL ORDER BY message LIMIT 1")?
        .query_row([], |r| r.get(0))
        .optional()?;
    Ok(lowest.map(|id| queue_id(id).0))
}

/// Takes what is due into memory, as far as there is room.
pub(super) fn lease(db: &Connection, now: i64, budget: &Arc<Budget>, numbers: &Arc<Numbers>, seal: Seal<'_>) -> rusqlite::Result<Lease> {
    let mut lease = Lease::default();
    let mut due: Vec<QueueId> = Vec::new();
    {
        let mut select = db.prepare_cached(
            "SELECT message FROM deliveries WHERE state = 0 AND destination IS NULL AND next_attempt <= ?1 ORDER BY next_attempt LIMIT ?2",
        )?;
        let mut rows = select.query(params![now, MAX_LEASE as i64])?;
        while let Some(row) = rows.next()? {
            let id = queue_id(row.get(0)?);
            lease.more = true;
            if !due.contains(&id) {
                due.push(id);
            }
        }
    }
    for id in due {
        let size: Option<i64> =
            db.prepare_cached("SELECT size FROM messages WHERE id = ?1")?.query_row([stored(id)], |r| r.get(0)).optional()?;
        let Some(size) = size else {
            db.prepare_cached("DELETE FROM deliveries WHERE message = ?1")?.execute([stored(id)])?;
            continue;
        };
        let Some(room) = budget.take(u64::try_from(size).unwrap_or(0).saturating_mul(2).saturating_add(MESSAGE_OVERHEAD)) else {
            lease.starved = true;
            break;
        };
        let (received_at, record, body) =
            db.prepare_cached("SELECT received_at, format, record, body FROM messages WHERE id = ?1")?.query_row([stored(id)], |row| {
                Ok((row.get(0)?, decode(row.get(1)?, row.get_ref(2)?.as_blob().unwrap_or_default()), body(row, size, seal)))
            })?;
        if matches!(body, Kept::NoRoom) {
            lease.starved = true;
            break;
        }
        let todo = take_due(db, id, now)?;
        let (Some(record), Kept::Body(body)) = (record, body) else {
            tracing::error!(MESSAGE = %id, "a message cannot be read from the spool; it is held");
            for (number, attempts) in todo {
                failed(db, id, number, attempts, None, Reason::NoBody)?;
            }
            continue;
        };
        let live: Live = numbers.hold(id);
        let file = matches!(body, Body::File(_));
        let ticket = Arc::new(Ticket { total: record.total(), file, rows: true, live });
        lease.active.push(Active { ticket, received_at, record: Arc::new(record), body, index: None, todo, room });
    }
    lease.next_due = db
        .prepare_cached("SELECT min(next_attempt) FROM deliveries WHERE state = 0 AND destination IS NULL")?
        .query_row([], |r| r.get(0))?;
    Ok(lease)
}

fn take_due(db: &Connection, id: QueueId, now: i64) -> rusqlite::Result<Vec<(u32, u32)>> {
    let mut update = db.prepare_cached(
        "UPDATE deliveries SET state = ?1, next_attempt = NULL WHERE message = ?2 AND state = 0 AND destination IS NULL AND next_attempt <= ?3 RETURNING number, attempts",
    )?;
    let rows = update.query_map(params![state::ACTIVE, stored(id), now], |row| Ok((small(row.get(0)?), small(row.get(1)?))))?;
    rows.collect()
}

/// How bytes become a sealed message; tests have one that fails.
pub(super) type Seal<'a> = &'a dyn Fn(&[u8]) -> io::Result<SealedMessage>;

/// What the row of a message says of its body.
pub(super) enum Kept {
    Body(Body),
    /// There is no memory or no descriptor for it now.
    NoRoom,
    Unreadable,
}

pub(super) fn body(row: &Row<'_>, size: i64, seal: Seal<'_>) -> Kept {
    match row.get_ref(3).map(|value| value.as_blob_or_null()) {
        Ok(Ok(Some(bytes))) => seal(bytes).map_or_else(
            |error| {
                tracing::warn!(%error, "no room for a message");
                Kept::NoRoom
            },
            |sealed| Kept::Body(Body::Sealed(Arc::new(sealed))),
        ),
        Ok(Ok(None)) => Kept::Body(Body::File(u64::try_from(size).unwrap_or(0))),
        Ok(Err(_)) | Err(_) => Kept::Unreadable,
    }
}
