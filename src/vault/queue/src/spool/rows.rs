//! Reading and changing rows: everything here runs inside the writer's transaction.

use super::{Active, Body, Lease, Live, Numbers, Reason, Record, Shown, Ticket, record::FORMAT, schema::state};
use crate::{
    budget::Budget,
    limits::{MAX_LEASE, MESSAGE_OVERHEAD},
};
use pure_addr::{ReversePath, Text};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{collections::HashMap, sync::Arc};
use wire::{
    MessageWriter,
    edge::{auth_directory::Target, mail::QueueId, queue_control},
};

/// Messages of one answer to `List`.
const LIST: usize = 500;
/// Recipients of one answer to `Show`.
const SHOW: usize = 1000;

pub(super) fn queue_id(stored: i64) -> QueueId {
    QueueId(u64::try_from(stored).unwrap_or(0))
}

pub(super) fn stored(id: QueueId) -> i64 {
    i64::try_from(id.0).unwrap_or(i64::MAX)
}

/// None when it cannot be read.
pub(super) fn record(format: i64, bytes: &[u8]) -> Option<Record> {
    if format == FORMAT { wire::decode(bytes).ok() } else { None }
}

fn small(value: i64) -> u32 {
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
pub(super) fn insert_waiting(db: &Connection, id: QueueId, number: u32, due: i64) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO deliveries VALUES (?1, ?2, ?3, 0, ?4, 0)")?.execute(params![stored(id), number, state::WAITING, due])?;
    Ok(())
}

pub(super) fn delete_message(db: &Connection, id: QueueId, with_rows: bool) -> rusqlite::Result<()> {
    if with_rows {
        db.prepare_cached("DELETE FROM deliveries WHERE message = ?1")?.execute([stored(id)])?;
    }
    db.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([stored(id)])?;
    Ok(())
}

/// Notes one delivery of several as done. True when it was the last: the message is gone then.
pub(super) fn delivered(db: &Connection, ticket: &Ticket, number: u32) -> rusqlite::Result<bool> {
    let id = stored(ticket.id());
    db.prepare_cached(
        "INSERT INTO deliveries SELECT ?1, ?2, ?3, 0, NULL, 0 WHERE EXISTS (SELECT 1 FROM messages WHERE id = ?1)
         ON CONFLICT (message, number) DO UPDATE SET state = ?3, next_attempt = NULL, reason = 0",
    )?
    .execute(params![id, number, state::DONE])?;
    let done: i64 = db
        .prepare_cached("SELECT count(*) FROM deliveries WHERE message = ?1 AND state = ?2")?
        .query_row(params![id, state::DONE], |row| row.get(0))?;
    let last = done >= i64::from(ticket.total);
    if last {
        delete_message(db, ticket.id(), true)?;
    }
    Ok(last)
}

/// Notes a failure. A message that was deleted meanwhile stays deleted.
pub(super) fn failed(db: &Connection, id: QueueId, number: u32, attempts: u32, next: Option<i64>, reason: Reason) -> rusqlite::Result<()> {
    let state = if next.is_some() { state::WAITING } else { state::HELD };
    db.prepare_cached(
        "INSERT INTO deliveries SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM messages WHERE id = ?1)
         ON CONFLICT (message, number) DO UPDATE SET state = ?3, attempts = ?4, next_attempt = ?5, reason = ?6",
    )?
    .execute(params![stored(id), number, state, attempts, next, reason as i64])?;
    Ok(())
}

/// The lowest message with a delivery to an account that has a row and is not done.
pub(super) fn lowest_unsettled(db: &Connection) -> rusqlite::Result<Option<u64>> {
    let lowest: Option<i64> = db
        .prepare_cached("SELECT message FROM deliveries WHERE state <> 3 ORDER BY message LIMIT 1")?
        .query_row([], |r| r.get(0))
        .optional()?;
    Ok(lowest.map(|id| queue_id(id).0))
}

/// Takes what is due into memory, as far as there is room.
pub(super) fn lease(db: &Connection, now: i64, budget: &Arc<Budget>, numbers: &Arc<Numbers>) -> rusqlite::Result<Lease> {
    let mut lease = Lease::default();
    let mut due: Vec<QueueId> = Vec::new();
    {
        let mut select =
            db.prepare_cached("SELECT message FROM deliveries WHERE state = 0 AND next_attempt <= ?1 ORDER BY next_attempt LIMIT ?2")?;
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
        let todo = take_due(db, id, now)?;
        let (received_at, record, body) =
            db.prepare_cached("SELECT received_at, format, record, body FROM messages WHERE id = ?1")?.query_row([stored(id)], |row| {
                Ok((row.get(0)?, record(row.get(1)?, row.get_ref(2)?.as_blob().unwrap_or_default()), body(row, size)?))
            })?;
        let (Some(record), Some(body)) = (record, body) else {
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
    lease.next_due = db.prepare_cached("SELECT min(next_attempt) FROM deliveries WHERE state = 0")?.query_row([], |r| r.get(0))?;
    Ok(lease)
}

fn take_due(db: &Connection, id: QueueId, now: i64) -> rusqlite::Result<Vec<(u32, u32)>> {
    let mut update = db.prepare_cached(
        "UPDATE deliveries SET state = ?1, next_attempt = NULL WHERE message = ?2 AND state = 0 AND next_attempt <= ?3 RETURNING number, attempts",
    )?;
    let rows = update.query_map(params![state::ACTIVE, stored(id), now], |row| Ok((small(row.get(0)?), small(row.get(1)?))))?;
    rows.collect()
}

/// None when there is no memory for it.
fn body(row: &Row<'_>, size: i64) -> rusqlite::Result<Option<Body>> {
    Ok(match row.get_ref(3)?.as_blob_or_null() {
        Ok(Some(bytes)) => MessageWriter::sealed(bytes).ok().map(|sealed| Body::Sealed(Arc::new(sealed))),
        Ok(None) => Some(Body::File(u64::try_from(size).unwrap_or(0))),
        Err(_) => None,
    })
}

/// Deliveries of a message that have rows: number to state, attempts, next attempt, reason.
type Rows = HashMap<u32, (i64, u32, Option<i64>, Reason)>;

fn delivery_rows(db: &Connection, id: QueueId) -> rusqlite::Result<Rows> {
    let mut select = db.prepare_cached("SELECT number, state, attempts, next_attempt, reason FROM deliveries WHERE message = ?1")?;
    let rows = select.query_map([stored(id)], |row| {
        Ok((small(row.get(0)?), (row.get(1)?, small(row.get(2)?), row.get(3)?, Reason::from_stored(row.get(4)?))))
    })?;
    rows.collect()
}

/// A message as the administrator sees it, from the columns id, received_at, size, format, record and the number of done deliveries.
fn message(row: &Row<'_>) -> rusqlite::Result<(queue_control::Message, Option<Record>)> {
    let record = record(row.get(3)?, row.get_ref(4)?.as_blob().unwrap_or_default());
    let message = queue_control::Message {
        id: queue_id(row.get(0)?),
        received_at: row.get::<_, i64>(1)?.div_euclid(1000),
        size: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
        reverse_path: record.as_ref().map_or(ReversePath::Null, |r| r.envelope.reverse_path.clone()),
        waiting: record.as_ref().map_or(1, Record::total).saturating_sub(small(row.get(5)?)),
    };
    Ok((message, record))
}

const MESSAGE: &str = "SELECT id, received_at, size, format, record,
    (SELECT count(*) FROM deliveries WHERE message = id AND state = 3) FROM messages";

pub(super) fn list(db: &Connection, after: QueueId) -> rusqlite::Result<Vec<queue_control::Message>> {
    let mut select = db.prepare_cached(&format!("{MESSAGE} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let rows = select.query_map(params![stored(after), LIST as i64], |row| message(row).map(|(m, _)| m))?;
    rows.collect()
}

pub(super) fn show(db: &Connection, id: QueueId) -> rusqlite::Result<Option<Shown>> {
    let found = db.prepare_cached(&format!("{MESSAGE} WHERE id = ?1"))?.query_row([stored(id)], message).optional()?;
    let Some((message, record)) = found else { return Ok(None) };
    let rows = delivery_rows(db, id)?;
    let mut recipients = Vec::new();
    if let Some(record) = record {
        for (number, destination) in (0u32..).zip(&record.deliveries) {
            let row = rows.get(&number);
            let Some(address) = record.address(destination).filter(|_| row.is_none_or(|r| r.0 != state::DONE)) else { continue };
            if recipients.len() >= SHOW {
                break;
            }
            let status = match (row, &destination.target) {
                (_, Target::Remote(_)) => "deferred: no outbound yet".to_owned(),
                (None, _) | (Some((state::ACTIVE, ..)), _) => "delivery is under way".to_owned(),
                (Some((state::HELD, _, _, reason)), _) => format!("held: {}", reason.text()),
                (Some((_, _, _, reason)), _) => format!("deferred: {}", reason.text()),
            };
            recipients.push(queue_control::Recipient {
                address: address.clone(),
                attempts: row.map_or(0, |r| r.1),
                next_attempt: row.and_then(|r| r.2).map(|at| at.div_euclid(1000)),
                status: Text::lossy(status.as_bytes()),
            });
        }
    }
    Ok(Some((message, recipients)))
}

/// Makes what waits or is held due; returns how many messages there are of this number, or in all.
pub(super) fn retry(db: &Connection, id: Option<QueueId>, now: i64) -> rusqlite::Result<u64> {
    db.prepare_cached("UPDATE deliveries SET state = 0, next_attempt = ?1 WHERE state IN (0, 2) AND (?2 IS NULL OR message = ?2)")?
        .execute(params![now, id.map(stored)])?;
    db.prepare_cached("SELECT count(*) FROM messages WHERE ?1 IS NULL OR id = ?1")?
        .query_row([id.map(stored)], |row| row.get::<_, i64>(0))
        .map(|n| u64::try_from(n).unwrap_or(0))
}

/// Removes a message; returns whether there was one, and whether its body is a file.
pub(super) fn remove(db: &Connection, id: QueueId) -> rusqlite::Result<Option<bool>> {
    let file =
        db.prepare_cached("SELECT body IS NULL FROM messages WHERE id = ?1")?.query_row([stored(id)], |row| row.get(0)).optional()?;
    if file.is_some() {
        delete_message(db, id, true)?;
    }
    Ok(file)
}
