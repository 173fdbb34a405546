//! What the administrator sees and does. Runs inside the writer's transaction.

use super::{Reason, Record, Shown, outgoing, record::decode, rows, schema::state};
use pure_addr::{ReversePath, Text};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{collections::HashMap, ops::ControlFlow};
use wire::{
    List,
    edge::{
        auth_directory::Target,
        mail::QueueId,
        queue_control::{self, Action, Filter},
    },
};

/// Messages of one answer to `List`.
const LIST: usize = 500;
/// Recipients of one answer to `Show` and `Trace`.
const SHOW: usize = 1000;

/// What [`change`] did.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) messages: u64,
    /// Messages that are gone, with whether the body is a file.
    pub(super) gone: Vec<(QueueId, bool)>,
}

/// One row of a delivery.
struct Delivery {
    state: i64,
    attempts: u32,
    next: Option<i64>,
    reason: Reason,
    destination: Option<String>,
    tries: Vec<outgoing::Attempt>,
}

fn deliveries(db: &Connection, id: QueueId) -> rusqlite::Result<HashMap<u32, Delivery>> {
    let mut select =
        db.prepare_cached("SELECT number, state, attempts, next_attempt, reason, destination, tries FROM deliveries WHERE message = ?1")?;
    let found = select.query_map([rows::stored(id)], |row| {
        let delivery = Delivery {
            state: row.get(1)?,
            attempts: rows::small(row.get(2)?),
            next: row.get(3)?,
            reason: Reason::from_stored(row.get(4)?),
            destination: row.get(5)?,
            tries: outgoing::attempts(row.get_ref(6)?.as_blob_or_null().ok().flatten()),
        };
        Ok((rows::small(row.get(0)?), delivery))
    })?;
    found.collect()
}

/// A message as the administrator sees it, from the columns id, received_at, size, format, record and the number of done deliveries.
fn message(row: &Row<'_>) -> rusqlite::Result<(queue_control::Message, Option<Record>)> {
    let record = decode(row.get(3)?, row.get_ref(4)?.as_blob().unwrap_or_default());
    let message = queue_control::Message {
        id: rows::queue_id(row.get(0)?),
        received_at: row.get::<_, i64>(1)?.div_euclid(1000),
        size: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
        reverse_path: record.as_ref().map_or(ReversePath::Null, |r| r.envelope.reverse_path.clone()),
        account: record.as_ref().and_then(|r| r.submitter.as_ref()).map(|owner| owner.address.clone()),
        waiting: record.as_ref().map_or(1, Record::total).saturating_sub(rows::small(row.get(5)?)),
    };
    Ok((message, record))
}

const MESSAGE: &str = "SELECT id, received_at, size, format, record,
    (SELECT count(*) FROM deliveries WHERE message = id AND state = 3) FROM messages";

/// Calls `visit` with every message that the filter may mean, in order.
fn each(
    db: &Connection,
    after: QueueId,
    filter: &Filter,
    mut visit: impl FnMut(queue_control::Message, Option<Record>) -> rusqlite::Result<ControlFlow<()>>,
) -> rusqlite::Result<()> {
    let (from, to) = match filter.id {
        Some(id) => (rows::stored(id).saturating_sub(1), rows::stored(id)),
        None => (rows::stored(after), i64::MAX),
    };
    let mut select = db.prepare_cached(&format!("{MESSAGE} WHERE id > ?1 AND id <= ?2 ORDER BY id"))?;
    let mut found = select.query([from, to])?;
    while let Some(row) = found.next()? {
        let (message, record) = message(row)?;
        let meant = filter.account.as_ref().is_none_or(|a| message.account.as_ref().is_some_and(|own| own.key() == a.key()));
        if meant && visit(message, record)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The deliveries that a filter means, of a message that it means. None: all, also those that cannot be read.
fn meant(db: &Connection, id: QueueId, record: Option<&Record>, filter: &Filter) -> rusqlite::Result<Option<Vec<u32>>> {
    let Some(wanted) = &filter.destination else { return Ok(None) };
    let wanted = wanted.as_str().to_lowercase();
    let found = deliveries(db, id)?;
    let of = |number: u32, record: &Record| {
        let row = found.get(&number);
        let destination = record.destination(number);
        row.is_none_or(|r| r.state != state::DONE)
            && (row.and_then(|r| r.destination.as_deref()) == Some(wanted.as_str())
                || destination.is_some_and(|d| match &d.target {
                    Target::Remote(address) => address.domain.as_str() == wanted,
                    Target::Account { .. } => record.address(d).is_some_and(|a| a.domain.as_str() == wanted),
                }))
    };
    Ok(Some(record.map_or_else(Vec::new, |record| (0..record.total()).filter(|number| of(*number, record)).collect())))
}

pub(super) fn list(db: &Connection, after: QueueId, filter: &Filter) -> rusqlite::Result<Vec<queue_control::Message>> {
    let mut messages = Vec::new();
    each(db, after, filter, |message, record| {
        if meant(db, message.id, record.as_ref(), filter)?.is_none_or(|numbers| !numbers.is_empty()) {
            messages.push(message);
        }
        Ok(if messages.len() >= LIST { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(messages)
}

pub(super) fn show(db: &Connection, id: QueueId, paused: bool) -> rusqlite::Result<Option<Shown>> {
    let found = db.prepare_cached(&format!("{MESSAGE} WHERE id = ?1"))?.query_row([rows::stored(id)], message).optional()?;
    let Some((message, record)) = found else { return Ok(None) };
    let rows = deliveries(db, id)?;
    let mut recipients = Vec::new();
    for (number, destination) in (0u32..).zip(record.iter().flat_map(|r| &r.deliveries)) {
        let row = rows.get(&number);
        let address = record.as_ref().and_then(|r| r.address(destination)).filter(|_| row.is_none_or(|r| r.state != state::DONE));
        let Some(address) = address else { continue };
        if recipients.len() >= SHOW {
            break;
        }
        let target = match &destination.target {
            Target::Remote(target) if target != address => Some(target.clone()),
            _ => None,
        };
        recipients.push(queue_control::Recipient {
            address: address.clone(),
            target,
            destination: row.and_then(|r| Text::new(r.destination.clone()?).ok()),
            attempts: row.map_or(0, |r| r.attempts),
            next_attempt: row.and_then(|r| r.next).map(|at| at.div_euclid(1000)),
            status: Text::lossy(status(row, paused).as_bytes()),
        });
    }
    Ok(Some((message, recipients)))
}

fn status(row: Option<&Delivery>, paused: bool) -> String {
    let Some(row) = row else { return "delivery is under way".into() };
    let outgoing = row.destination.is_some();
    match (row.state, row.tries.last()) {
        (state::ACTIVE, _) => "delivery is under way".into(),
        (state::HELD_ACTIVE, _) => "delivery is under way; held after it".into(),
        (state::HELD, _) if row.reason == Reason::None => "held".into(),
        (state::HELD, _) => format!("held: {}", row.reason.text()),
        (_, _) if outgoing && paused => "sending is paused".into(),
        (_, Some(attempt)) if outgoing => {
            let said = attempt.trace.reply.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
            format!("deferred: {}{said}", attempt.trace.text)
        }
        (_, None) if outgoing => "waiting".into(),
        _ => format!("deferred: {}", row.reason.text()),
    }
}

/// The attempts of each recipient that is not done.
pub(super) fn trace(db: &Connection, id: QueueId) -> rusqlite::Result<Option<Vec<queue_control::Attempts>>> {
    let found = db.prepare_cached(&format!("{MESSAGE} WHERE id = ?1"))?.query_row([rows::stored(id)], message).optional()?;
    let Some((_, record)) = found else { return Ok(None) };
    let mut rows = deliveries(db, id)?;
    let mut all = Vec::new();
    for (number, destination) in (0u32..).zip(record.iter().flat_map(|r| &r.deliveries)) {
        let Some(row) = rows.remove(&number).filter(|row| row.state != state::DONE && all.len() < SHOW) else { continue };
        let address = match &destination.target {
            Target::Remote(target) => Some(target),
            Target::Account { .. } => record.as_ref().and_then(|r| r.address(destination)),
        };
        let attempts = row.tries.into_iter().map(|a| queue_control::Attempt {
            at: a.at.div_euclid(1000),
            status: a.trace.status,
            text: a.trace.text,
            reply: a.trace.reply,
            remote: a.trace.remote,
        });
        if let (Some(address), Some(attempts)) = (address.cloned(), List::new(attempts.collect())) {
            all.push(queue_control::Attempts { address, attempts });
        }
    }
    Ok(Some(all))
}

/// Does what the administrator wants with every delivery that the filter means.
pub(super) fn change(db: &Connection, action: Action, filter: &Filter, now: i64) -> rusqlite::Result<Changed> {
    let mut changed = Changed::default();
    let mut ids = Vec::new();
    each(db, QueueId(0), filter, |message, record| {
        ids.push((message.id, meant(db, message.id, record.as_ref(), filter)?, record.map(|r| (r.total(), r.local().collect::<Vec<_>>()))));
        Ok(ControlFlow::Continue(()))
    })?;
    for (id, numbers, record) in ids {
        if numbers.as_ref().is_some_and(Vec::is_empty) {
            continue;
        }
        let did = match (action, numbers) {
            (Action::Delete, None) => delete(db, id, &mut changed)?,
            (Action::Delete, Some(numbers)) => {
                for number in numbers {
                    db.prepare_cached(
                        "INSERT INTO deliveries (message, number, state, attempts, next_attempt, reason) VALUES (?1, ?2, ?3, 0, NULL, 0)
                         ON CONFLICT (message, number) DO UPDATE SET state = ?3, next_attempt = NULL",
                    )?
                    .execute(params![rows::stored(id), number, state::DONE])?;
                }
                let done: i64 = db
                    .prepare_cached("SELECT count(*) FROM deliveries WHERE message = ?1 AND state = 3")?
                    .query_row([rows::stored(id)], |r| r.get(0))?;
                if record.is_some_and(|(total, _)| done >= i64::from(total)) { delete(db, id, &mut changed)? } else { true }
            }
            (Action::Hold, numbers) => set(db, id, numbers.as_deref(), (state::WAITING, state::HELD), None)?,
            (Action::Retry, numbers) => set(db, id, numbers.as_deref(), (state::WAITING, state::WAITING), Some(now))?,
            (Action::Release, numbers) => set(db, id, numbers.as_deref(), (state::HELD, state::WAITING), Some(now))?,
        };
        changed.messages = changed.messages.saturating_add(u64::from(did));
    }
    if matches!(action, Action::Retry | Action::Release) {
        // Whoever wants it now wants it although the destination was down.
        db.execute("UPDATE destinations SET due = ?1, failures = 0, until = 0 WHERE due IS NOT NULL", [now])?;
    }
    if matches!(action, Action::Release) && filter.id.is_none() && filter.destination.is_none() {
        let account = filter.account.as_ref().map(pure_addr::Address::key);
        db.execute("DELETE FROM watched WHERE ?1 IS NULL OR address = ?1", [account])?;
    }
    Ok(changed)
}

fn delete(db: &Connection, id: QueueId, changed: &mut Changed) -> rusqlite::Result<bool> {
    let file: Option<bool> =
        db.prepare_cached("SELECT body IS NULL FROM messages WHERE id = ?1")?.query_row([rows::stored(id)], |row| row.get(0)).optional()?;
    if let Some(file) = file {
        rows::delete_message(db, id, true)?;
        changed.gone.push((id, file));
    }
    Ok(file.is_some())
}

/// Moves deliveries from one state to another. What is under way stays so: it is held when it comes back, or no longer.
fn set(db: &Connection, id: QueueId, numbers: Option<&[u32]>, (from, to): (i64, i64), next: Option<i64>) -> rusqlite::Result<bool> {
    let (under_way, then) = match (from, to) {
        (_, state::HELD) => (state::ACTIVE, state::HELD_ACTIVE),
        (state::HELD, _) => (state::HELD_ACTIVE, state::ACTIVE),
        // Nothing else concerns it.
        _ => (from, to),
    };
    let mut routes: Vec<String> = Vec::new();
    let mut count = 0u64;
    {
        let mut update = db.prepare_cached(
            "UPDATE deliveries SET next_attempt = iif(state = ?5, ?2, NULL), state = iif(state = ?5, ?1, ?7)
             WHERE message = ?3 AND number = coalesce(?4, number)
             AND (state = ?5 OR (state = ?6 AND destination IS NOT NULL)) RETURNING destination",
        )?;
        let all = [None];
        let one: Vec<Option<u32>> = numbers.map_or_else(|| all.to_vec(), |n| n.iter().copied().map(Some).collect());
        for number in one {
            let mut found = update.query(params![to, next, rows::stored(id), number, from, under_way, then])?;
            while let Some(row) = found.next()? {
                count = count.saturating_add(1);
                if let Some(route) = row.get::<_, Option<String>>(0)?.filter(|route| !routes.contains(route)) {
                    routes.push(route);
                }
            }
        }
    }
    for route in routes.iter().filter(|_| next.is_some()) {
        outgoing::look(db, route, next.unwrap_or_default())?;
    }
    Ok(count > 0)
}
