//! Rows of deliveries to elsewhere, and of the destinations that they wait for. Runs inside the writer's transaction.

use super::{Body, Record, record::decode, rows, rows::Seal, schema, schema::state};
use crate::{
    budget::{Budget, Room},
    clock,
    limits::{MAX_LEASE_RECIPIENTS, MAX_TRIES, MESSAGE_OVERHEAD},
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use wire::edge::{mail::QueueId, send_deliver::Trace};

/// Classes of mail, the first first; see [`Record::class`].
const CLASSES: std::ops::RangeInclusive<i64> = 0..=2;

/// When what was under way as the queue ended is due: before everything else.
pub(super) const FIRST: i64 = 0;

/// One try to deliver, kept for the administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    /// Whether the destination was asked at all; otherwise the process that sends ended, or something here was missing.
    pub(crate) made: bool,
    pub(crate) trace: Trace,
}

/// Attempts as they are stored: the last few.
pub(crate) fn encode(tries: &[Attempt]) -> Option<Vec<u8>> {
    wire::encode(&tries.get(tries.len().saturating_sub(MAX_TRIES)..).unwrap_or_default().to_vec()).ok()
}

/// Back from [`encode`].
pub(crate) fn attempts(stored: Option<&[u8]>) -> Vec<Attempt> {
    stored.and_then(|bytes| wire::decode(bytes).ok()).unwrap_or_default()
}

/// One delivery to make.
#[derive(Debug, Clone)]
pub(crate) struct Todo {
    pub(crate) number: u32,
    pub(crate) attempts: u32,
    /// The sender has heard of the delay.
    pub(crate) warned: bool,
    pub(crate) tries: Vec<Attempt>,
}

/// One message for one destination, taken into memory.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: QueueId,
    pub(crate) received_at: i64,
    pub(crate) record: Record,
    pub(crate) body: Body,
    pub(crate) todo: Vec<Todo>,
    /// It was under way when an earlier process ended.
    pub(crate) again: bool,
    /// Its place in memory, as long as this exists.
    #[expect(dead_code, reason = "given back when dropped")]
    pub(crate) room: Room,
}

/// What the circuit breaker of a destination knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Circuit {
    /// Leases in a row that could not reach the destination.
    pub(crate) failures: u32,
    /// Nothing before, in milliseconds since 1970.
    pub(crate) until: i64,
    /// What was said the last time.
    pub(crate) last: Option<Trace>,
}

/// A destination that is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) name: String,
    pub(crate) circuit: Circuit,
}

/// Destinations that are due.
#[derive(Debug, Default)]
pub(crate) struct Dispatch {
    pub(crate) due: Vec<Due>,
    /// When the next one is.
    pub(crate) next: Option<i64>,
}

/// What is wanted of a destination's mail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    /// What is due.
    Due,
    /// What waits, was received before the first time, or before the second and its sender has not heard of it.
    Overdue { expired: i64, late: i64 },
}

/// What was taken of a destination's mail.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) leases: Vec<Outgoing>,
    /// There was no room in memory.
    pub(crate) starved: bool,
}

/// What became of one delivery.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is done: delivered, or its sender was told.
    Done,
    /// It waits.
    Waits { next: i64, attempts: u32, warned: bool, tries: Option<Vec<u8>> },
}

/// Adds a row. True when the destination has to be looked at by the dispatcher, false when a task has it.
pub(super) fn insert(db: &Connection, id: QueueId, (number, route): (u32, &str), class: i64, due: Option<i64>) -> rusqlite::Result<bool> {
    let state = if due.is_some() { state::WAITING } else { state::HELD };
    db.prepare_cached(
        "INSERT INTO deliveries (message, number, state, attempts, next_attempt, reason, destination, class)
         VALUES (?1, ?2, ?3, 0, ?4, 0, ?5, ?6)",
    )?
    .execute(params![rows::stored(id), number, state, due, route, class])?;
    match due {
        Some(due) => look(db, route, due),
        None => Ok(false),
    }
}

/// A destination has something due at this time. True when the dispatcher has to know.
pub(super) fn look(db: &Connection, route: &str, due: i64) -> rusqlite::Result<bool> {
    let changed = db
        .prepare_cached(
            "INSERT INTO destinations (name, due, failures, until) VALUES (?1, ?2, 0, 0)
             ON CONFLICT (name) DO UPDATE SET due = max(until, min(due, ?2)) WHERE due IS NOT NULL",
        )?
        .execute(params![route, due])?;
    Ok(changed > 0)
}

/// At start: every delivery to elsewhere has a row, and its way is the one of today.
pub(super) fn reroute(db: &Connection, id: QueueId, number: u32, route: &str, class: i64, now: i64) -> rusqlite::Result<()> {
    let changed = db
        .prepare_cached(
            "INSERT INTO deliveries (message, number, state, attempts, next_attempt, reason, destination, class)
             VALUES (?1, ?2, ?3, 0, ?4, 0, ?5, ?6)
             ON CONFLICT (message, number) DO UPDATE SET destination = ?5 WHERE destination IS NOT ?5 AND state <> ?7",
        )?
        .execute(params![rows::stored(id), number, state::WAITING, now, route, class, state::DONE])?;
    if changed > 0 {
        look(db, route, now)?;
    }
    Ok(())
}

/// At start: when the clock was set back since the last process, what it put off is due. While a process runs that is noticed by
/// [`crate::clock::Watched`].
pub(super) fn put_off_no_longer(db: &Connection, now: i64) -> rusqlite::Result<()> {
    let latest: i64 = db.query_row("SELECT clock FROM numbers", [], |row| row.get(0))?;
    if clock::went_back(latest, now) {
        tracing::warn!(by = latest.saturating_sub(now), "the clock went back: everything that waits is tried now");
        db.execute("UPDATE deliveries SET next_attempt = min(next_attempt, ?1) WHERE state = 0 AND destination IS NOT NULL", [now])?;
        db.execute("UPDATE destinations SET due = min(due, ?1), failures = 0, until = 0", [now])?;
    }
    schema::note_clock(db, now)
}

/// At start: destinations that nothing waits for are forgotten.
pub(super) fn forget_idle(db: &Connection) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM destinations WHERE NOT EXISTS
             (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination IS NOT NULL AND d.destination = destinations.name)",
        [],
    )?;
    Ok(())
}

/// Takes destinations that are due.
pub(super) fn dispatch(db: &Connection, now: i64, limit: usize) -> rusqlite::Result<Dispatch> {
    let mut dispatch = Dispatch::default();
    {
        let mut select = db.prepare_cached(
            "UPDATE destinations SET due = NULL WHERE name IN (SELECT name FROM destinations WHERE due <= ?1 ORDER BY due LIMIT ?2)
             RETURNING name, failures, until, last",
        )?;
        let mut found = select.query(params![now, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        while let Some(row) = found.next()? {
            let last = row.get_ref(3)?.as_blob_or_null().ok().flatten().and_then(|bytes| wire::decode(bytes).ok());
            let circuit = Circuit { failures: rows::small(row.get(1)?), until: row.get(2)?, last };
            dispatch.due.push(Due { name: row.get(0)?, circuit });
        }
    }
    dispatch.next = db.prepare_cached("SELECT min(due) FROM destinations WHERE due IS NOT NULL")?.query_row([], |r| r.get(0))?;
    Ok(dispatch)
}

/// A task gives its destination back. False when something is due all the same.
pub(super) fn rest(db: &Connection, name: &str, now: i64, circuit: &Circuit) -> rusqlite::Result<bool> {
    match next_due(db, name)? {
        None => {
            db.prepare_cached("DELETE FROM destinations WHERE name = ?1")?.execute([name])?;
        }
        Some(next) if next.max(circuit.until) <= now => return Ok(false),
        Some(next) => {
            db.prepare_cached("UPDATE destinations SET due = ?2 WHERE name = ?1")?.execute(params![name, next.max(circuit.until)])?;
            keep(db, name, circuit)?;
        }
    }
    Ok(true)
}

fn next_due(db: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    let mut next: Option<i64> = None;
    for class in CLASSES {
        let due: Option<i64> = db
            .prepare_cached(
                "SELECT min(next_attempt) FROM deliveries WHERE state = 0 AND destination IS NOT NULL AND destination = ?1 AND class = ?2",
            )?
            .query_row(params![name, class], |r| r.get(0))?;
        next = next.into_iter().chain(due).min();
    }
    Ok(next)
}

/// Stores what the breaker knows.
pub(super) fn keep(db: &Connection, name: &str, circuit: &Circuit) -> rusqlite::Result<()> {
    let last = circuit.last.as_ref().and_then(|trace| wire::encode(trace).ok());
    db.prepare_cached("UPDATE destinations SET failures = ?2, until = ?3, last = ?4 WHERE name = ?1")?.execute(params![
        name,
        circuit.failures,
        circuit.until,
        last
    ])?;
    Ok(())
}

/// Takes mail for a destination into memory, as far as there is room.
pub(super) fn take(
    db: &Connection,
    name: &str,
    now: i64,
    which: Which,
    limit: usize,
    budget: &Arc<Budget>,
    seal: Seal<'_>,
) -> rusqlite::Result<Taken> {
    let mut taken = Taken::default();
    while taken.leases.len() < limit {
        let Some((id, again)) = first(db, name, now, which)? else { break };
        let size: Option<i64> =
            db.prepare_cached("SELECT size FROM messages WHERE id = ?1")?.query_row([rows::stored(id)], |r| r.get(0)).optional()?;
        let Some(size) = size else {
            db.prepare_cached("DELETE FROM deliveries WHERE message = ?1")?.execute([rows::stored(id)])?;
            continue;
        };
        let bytes = u64::try_from(size).unwrap_or(0);
        let Some(room) = budget.take(bytes.saturating_mul(2).saturating_add(MESSAGE_OVERHEAD)) else {
            taken.starved = true;
            break;
        };
        let mut todo = waiting(db, id, name, now, which)?;
        let (received_at, record, body) = db
            .prepare_cached("SELECT received_at, format, record, body FROM messages WHERE id = ?1")?
            .query_row([rows::stored(id)], |row| {
                Ok((row.get(0)?, decode(row.get(1)?, row.get_ref(2)?.as_blob().unwrap_or_default()), rows::body(row, size, seal)))
            })?;
        if matches!(body, rows::Kept::NoRoom) {
            taken.starved = true;
            break;
        }
        let (Some(record), rows::Kept::Body(body)) = (record, body) else {
            tracing::error!(MESSAGE = %id, "a message cannot be read from the spool; it is held");
            for Todo { number, .. } in todo {
                db.prepare_cached("UPDATE deliveries SET state = ?3, next_attempt = NULL, reason = ?4 WHERE message = ?1 AND number = ?2")?
                    .execute(params![rows::stored(id), number, state::HELD, super::Reason::NoBody as i64])?;
            }
            continue;
        };
        // One transaction of SMTP has one reverse-path, and one alias in front.
        let sender = |number: u32| record.destination(number).map(|d| (d.rewritten.clone(), d.forwarded.then_some(d.recipient)));
        let one = todo.first().and_then(|t| sender(t.number));
        todo.retain(|t| sender(t.number) == one);
        for Todo { number, .. } in &todo {
            db.prepare_cached("UPDATE deliveries SET state = ?3, next_attempt = NULL WHERE message = ?1 AND number = ?2")?
                .execute(params![rows::stored(id), number, state::ACTIVE])?;
        }
        taken.leases.push(Outgoing { id, received_at, record, body, todo, again, room });
    }
    Ok(taken)
}

/// The message to take first, and whether it was under way before.
fn first(db: &Connection, name: &str, now: i64, which: Which) -> rusqlite::Result<Option<(QueueId, bool)>> {
    match which {
        Which::Due => {
            for (until, class) in [FIRST, now].into_iter().flat_map(|until| CLASSES.map(move |class| (until, class))) {
                let id: Option<i64> = db
                    .prepare_cached(
                        "SELECT message FROM deliveries
                         WHERE state = 0 AND destination IS NOT NULL AND destination = ?1 AND class = ?2 AND next_attempt <= ?3
                         ORDER BY next_attempt LIMIT 1",
                    )?
                    .query_row(params![name, class, until], |r| r.get(0))
                    .optional()?;
                if let Some(id) = id {
                    return Ok(Some((rows::queue_id(id), until == FIRST)));
                }
            }
            Ok(None)
        }
        Which::Overdue { expired, late } => {
            let id: Option<i64> = db
                .prepare_cached(
                    "SELECT d.message FROM deliveries d JOIN messages m ON m.id = d.message
                     WHERE d.state = 0 AND d.destination IS NOT NULL AND d.destination = ?1
                       AND (m.received_at <= ?2 OR (d.warned = 0 AND m.received_at <= ?3)) LIMIT 1",
                )?
                .query_row(params![name, expired, late], |r| r.get(0))
                .optional()?;
            Ok(id.map(|id| (rows::queue_id(id), false)))
        }
    }
}

/// The deliveries of a message to a destination that can go together.
fn waiting(db: &Connection, id: QueueId, name: &str, now: i64, which: Which) -> rusqlite::Result<Vec<Todo>> {
    let until = if matches!(which, Which::Due) { now } else { i64::MAX };
    let mut select = db.prepare_cached(
        "SELECT number, attempts, warned, tries FROM deliveries
         WHERE message = ?1 AND state = 0 AND destination = ?2 AND next_attempt <= ?3 ORDER BY number LIMIT ?4",
    )?;
    let found =
        select.query_map(params![rows::stored(id), name, until, i64::try_from(MAX_LEASE_RECIPIENTS).unwrap_or(i64::MAX)], |row| {
            Ok(Todo {
                number: rows::small(row.get(0)?),
                attempts: rows::small(row.get(1)?),
                warned: row.get(2)?,
                tries: attempts(row.get_ref(3)?.as_blob_or_null().ok().flatten()),
            })
        })?;
    found.collect()
}

/// Notes what became of deliveries. False when none of them exists any more.
pub(super) fn settle(db: &Connection, id: QueueId, fates: &[(u32, Fate)]) -> rusqlite::Result<bool> {
    let mut changed = 0usize;
    for (number, fate) in fates {
        let n = match fate {
            Fate::Done => db
                .prepare_cached("UPDATE deliveries SET state = ?3, next_attempt = NULL, tries = NULL WHERE message = ?1 AND number = ?2 AND state <> 3")?
                .execute(params![rows::stored(id), number, state::DONE])?,
            // What the administrator held meanwhile stays held.
            Fate::Waits { next, attempts, warned, tries } => db
                .prepare_cached(
                    "UPDATE deliveries SET next_attempt = iif(state IN (2, 4), NULL, ?3), state = iif(state IN (2, 4), 2, 0), attempts = ?4, warned = ?5,
                     tries = ?6 WHERE message = ?1 AND number = ?2 AND state <> 3",
                )?
                .execute(params![rows::stored(id), number, next, attempts, warned, tries])?,
        };
        changed = changed.saturating_add(n);
    }
    Ok(changed > 0)
}
