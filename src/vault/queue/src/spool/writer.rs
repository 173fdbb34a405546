//! The writer: the one thread that has the database. It commits whatever waits, then lets everyone know.

use super::{Accept, Active, Body, Files, Inbox, Lease, Numbers, Op, Outlets, Shown, Ticket, inbox::Taken, rows, schema};
use crate::limits::RESERVE;
use rusqlite::{Connection, ErrorCode};
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use wire::edge::{mail::QueueId, queue_control};

/// After so long without work the log is written back and memory given back.
const IDLE: Duration = Duration::from_secs(5);
/// How long to wait before trying again what a full disk refused.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);

/// Why a commit failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The disk is full: messages are deferred, the rest is tried again.
    #[error("the disk is full")]
    Full,
    /// After a failed write or sync nothing that is cached can be trusted: the process ends and starts from what is on disk.
    #[error("{0}")]
    Fatal(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Fatal(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull { Self::Full } else { Self::Fatal(error.to_string()) }
    }
}

/// What an operation found, until the commit allows to say it.
enum Outcome {
    Nothing,
    /// The submitted bytes could not be read.
    Unreadable,
    /// The message is gone, and its file may go.
    Gone,
    Lease(Lease),
    Floor(u64),
    List(Vec<queue_control::Message>),
    Show(Option<Shown>),
    Count(u64),
}

pub(super) struct Writer {
    db: Connection,
    numbers: Arc<Numbers>,
    files: Arc<Files>,
    outlets: Outlets,
    /// All numbers below are reserved.
    reserved: u64,
    buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn new(db: Connection, numbers: Arc<Numbers>, files: Arc<Files>, outlets: Outlets, first: u64) -> Self {
        Self { db, numbers, files, outlets, reserved: first.saturating_add(RESERVE), buffer: Vec::new() }
    }

    pub(super) fn run(mut self, inbox: &Inbox) {
        let mut worked = true;
        loop {
            match inbox.take(worked.then_some(IDLE)) {
                Taken::Stopped => break,
                Taken::Idle => {
                    worked = false;
                    self.rest();
                }
                Taken::Ops(ops) => {
                    worked = true;
                    match self.commit(&ops) {
                        Ok(outcomes) => {
                            inbox.committed();
                            self.announce(ops, outcomes);
                        }
                        Err(Failure::Full) => {
                            tracing::error!("the spool's disk is full: messages are deferred");
                            let kept: Vec<Op> =
                                ops.into_iter().filter(|op| matches!(op, Op::Delivered { .. } | Op::Failed { .. })).collect();
                            if !kept.is_empty() {
                                inbox.put_back(kept);
                                std::thread::sleep(FULL_DISK_PAUSE);
                            }
                        }
                        Err(Failure::Fatal(error)) => {
                            tracing::error!(error, "the spool cannot be written");
                            break;
                        }
                    }
                }
            }
        }
        inbox.stop();
    }

    /// Nobody waits: keep the next start short and the process small.
    fn rest(&mut self) {
        let result = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).and_then(|()| self.db.release_memory());
        if let Err(error) = result {
            tracing::warn!(%error, "the write-ahead log could not be written back");
        }
        self.buffer = Vec::new();
    }

    /// One transaction for everything.
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, Failure> {
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let result = self.apply_all(ops);
        let result = result.and_then(|outcomes| {
            self.db.prepare_cached("COMMIT")?.execute([])?;
            Ok(outcomes)
        });
        if result.is_err() && !self.db.is_autocommit() {
            // What cannot even be rolled back is found as it was by the next start.
            self.db.execute_batch("ROLLBACK")?;
        }
        result
    }

    fn apply_all(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, Failure> {
        let whole = delivered_whole(ops);
        let mut new_names = false;
        let mut outcomes = Vec::with_capacity(ops.len());
        for op in ops {
            let outcome = match op {
                Op::Accept(accept) => {
                    new_names |= accept.file.is_some();
                    self.accept(accept)?
                }
                Op::Delivered { ticket, number } => self.delivered(ticket, *number, &whole)?,
                Op::Failed { ticket, number, attempts, next, reason } => {
                    rows::failed(&self.db, ticket.id(), *number, *attempts, *next, *reason)?;
                    Outcome::Nothing
                }
                Op::Lease { now, .. } => Outcome::Lease(rows::lease(&self.db, *now, &self.outlets.budget, &self.numbers)?),
                Op::Floor(_) => {
                    // Memory first: a number that moves from there to the disk meanwhile is seen twice, never not at all.
                    let in_memory = self.numbers.lowest();
                    Outcome::Floor(rows::lowest_unsettled(&self.db)?.map_or(in_memory, |id| id.min(in_memory)))
                }
                Op::List(after, _) => Outcome::List(rows::list(&self.db, *after)?),
                Op::Show(id, _) => Outcome::Show(rows::show(&self.db, *id)?),
                Op::Retry { id, now, .. } => Outcome::Count(rows::retry(&self.db, *id, *now)?),
                Op::Delete(id, _) => match rows::remove(&self.db, *id)? {
                    None => Outcome::Count(0),
                    Some(false) => Outcome::Count(1),
                    Some(true) => Outcome::Gone,
                },
            };
            outcomes.push(outcome);
        }
        if new_names {
            self.files.sync()?;
        }
        Ok(outcomes)
    }

    fn accept(&mut self, accept: &Accept) -> Result<Outcome, Failure> {
        let id = accept.live.id;
        if id.0 >= self.reserved {
            self.reserved = id.0.saturating_add(RESERVE);
            schema::reserve(&self.db, self.reserved)?;
        }
        let size = accept.message.len();
        let body = if accept.file.is_some() {
            None
        } else {
            // Bounded by the size up to which bodies are kept inside.
            self.buffer.resize(usize::try_from(size).unwrap_or(0), 0);
            if accept.message.read_exact_at(&mut self.buffer, 0).is_err() {
                return Ok(Outcome::Unreadable);
            }
            Some(self.buffer.as_slice())
        };
        rows::insert_message(&self.db, id, accept.received_at, size, &accept.encoded, body)?;
        if accept.room.is_none() {
            for number in accept.record.local() {
                rows::insert_waiting(&self.db, id, number, accept.received_at)?;
            }
        }
        Ok(Outcome::Nothing)
    }

    fn delivered(&self, ticket: &Ticket, number: u32, whole: &HashMap<QueueId, u32>) -> Result<Outcome, Failure> {
        let gone = if ticket.total == 1 || whole.get(&ticket.id()).is_some_and(|n| *n >= ticket.total) {
            rows::delete_message(&self.db, ticket.id(), ticket.rows)?;
            true
        } else {
            rows::delivered(&self.db, ticket, number)?
        };
        Ok(if gone && ticket.file { Outcome::Gone } else { Outcome::Nothing })
    }

    /// It is on disk: answer, deliver, remove files.
    fn announce(&self, ops: Vec<Op>, outcomes: Vec<Outcome>) {
        let mut removed = Vec::new();
        let mut due = false;
        for (op, outcome) in ops.into_iter().zip(outcomes) {
            match (op, outcome) {
                (Op::Accept(accept), Outcome::Nothing) => due |= self.accepted(*accept),
                (Op::Accept(accept), _) => {
                    accept.answer.send(false).ok();
                }
                (Op::Delivered { ticket, .. }, Outcome::Gone) => removed.push(ticket.id()),
                (Op::Failed { .. }, _) => due = true,
                (Op::Lease { answer, .. }, Outcome::Lease(lease)) => {
                    answer.send(lease).ok();
                }
                (Op::Floor(answer), Outcome::Floor(floor)) => {
                    answer.send(QueueId(floor)).ok();
                }
                (Op::List(_, answer), Outcome::List(list)) => {
                    answer.send(list).ok();
                }
                (Op::Show(_, answer), Outcome::Show(shown)) => {
                    answer.send(shown).ok();
                }
                (Op::Retry { answer, .. }, Outcome::Count(n)) => {
                    due = true;
                    answer.send(n).ok();
                }
                (Op::Delete(_, answer), Outcome::Count(n)) => {
                    answer.send(n).ok();
                }
                (Op::Delete(id, answer), Outcome::Gone) => {
                    removed.push(id);
                    answer.send(1).ok();
                }
                _ => {}
            }
        }
        removed.dedup();
        for id in removed {
            self.files.remove(id);
        }
        if due {
            self.outlets.due.notify_one();
        }
    }

    /// Answers, and delivers from memory if there is room. True when the disk has to be looked at instead.
    fn accepted(&self, accept: Accept) -> bool {
        let Accept { live, received_at, record, encoded: _, message, file, index, room, answer } = accept;
        let in_file = file.is_some();
        if let Some(file) = file {
            file.keep();
        }
        // A client that went away meanwhile has handed over its message all the same.
        answer.send(true).ok();
        let todo: Vec<(u32, u32)> = record.local().map(|number| (number, 0)).collect();
        let Some(room) = room else { return !todo.is_empty() };
        if !todo.is_empty() {
            let ticket = Arc::new(Ticket { total: record.total(), file: in_file, rows: false, live });
            let active = Active { ticket, received_at, record, body: Body::Sealed(message), index: Some(index), todo, room };
            // Without a receiver the process is about to end.
            drop(self.outlets.active.send(active));
        }
        false
    }
}

/// How many deliveries of each message with several are done by these operations.
fn delivered_whole(ops: &[Op]) -> HashMap<QueueId, u32> {
    let mut count: HashMap<QueueId, u32> = HashMap::new();
    for op in ops {
        if let Op::Delivered { ticket, .. } = op
            && ticket.total > 1
        {
            let n = count.entry(ticket.id()).or_insert(0);
            *n = n.saturating_add(1);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admit,
        ask::Resolution,
        budget::Budget,
        spool::{Reason, Record},
        testing::{address, envelope, owner},
    };
    use tokio::sync::{Notify, mpsc, oneshot};
    use wire::{
        MessageWriter,
        edge::{auth_directory::Target, mail::Recipient},
    };

    struct Bench {
        writer: Writer,
        active: mpsc::UnboundedReceiver<Active>,
        _dir: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let (db, first) = schema::open(dir.path(), 1_000, &files).unwrap();
        let (sender, active) = mpsc::unbounded_channel();
        let outlets = Outlets { active: sender, due: Arc::new(Notify::new()), budget: Budget::new(100, 1 << 30) };
        Bench { writer: Writer::new(db, Numbers::starting_at(first), files, outlets, first), active, _dir: dir }
    }

    fn accept(bench: &Bench, body: &[u8]) -> (Op, oneshot::Receiver<bool>) {
        let recipient = Recipient { address: address("alice@mta.test"), notify: None, orcpt: None };
        let target = Target::Account { owner: owner(1, "alice@mta.test"), detail: None };
        let accepted = Resolution::Accepted(admit::AcceptedRecipient::new(recipient, vec![target]));
        let recipients = admit::recipients(vec![accepted]).unwrap();
        let record = Record::new(admit::admit(envelope("x@remote.test", &[]), None, recipients).unwrap());
        let (answer, receiver) = oneshot::channel();
        let accept = Accept {
            live: bench.writer.numbers.give(),
            received_at: 1_000,
            encoded: wire::encode(&record).unwrap(),
            record: Arc::new(record),
            message: Arc::new(MessageWriter::sealed(body).unwrap()),
            file: None,
            index: Box::default(),
            room: bench.writer.outlets.budget.take(1),
            answer,
        };
        (Op::Accept(Box::new(accept)), receiver)
    }

    fn count(bench: &Bench, table: &str) -> i64 {
        bench.writer.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap()
    }

    /// A full disk defers what comes, keeps what is there, and does not end the process.
    #[test]
    fn a_full_disk_takes_back_the_whole_commit() {
        let mut bench = bench();
        let (op, mut answer) = accept(&bench, b"first");
        let ops = vec![op];
        let outcomes = bench.writer.commit(&ops).unwrap();
        bench.writer.announce(ops, outcomes);
        assert_eq!(answer.try_recv(), Ok(true));
        let active = bench.active.try_recv().unwrap();

        bench.writer.db.pragma_update(None, "max_page_count", 20).unwrap();
        let (small, _small) = accept(&bench, b"second");
        let (large, mut answer) = accept(&bench, &[b'x'; 100_000]);
        let failed = Op::Failed { ticket: active.ticket.clone(), number: 0, attempts: 1, next: Some(5), reason: Reason::Unavailable };
        let ops = vec![small, failed, large];
        assert!(matches!(bench.writer.commit(&ops), Err(Failure::Full)));
        drop(ops);
        assert!(answer.try_recv().is_err());
        assert_eq!((count(&bench, "messages"), count(&bench, "deliveries")), (1, 0));

        let done = vec![Op::Delivered { ticket: active.ticket.clone(), number: 0 }];
        assert!(bench.writer.commit(&done).is_ok());
        assert_eq!(count(&bench, "messages"), 0);
    }

    /// Two holders of one message, one of them from the disk: nothing is left behind whoever is last.
    #[test]
    fn rows_go_with_their_message() {
        let mut bench = bench();
        let (op, _answer) = accept(&bench, b"first");
        let ops = vec![op];
        let outcomes = bench.writer.commit(&ops).unwrap();
        bench.writer.announce(ops, outcomes);
        let fresh = bench.active.try_recv().unwrap();
        let ticket = fresh.ticket.clone();
        bench.writer.commit(&[Op::Failed { ticket, number: 0, attempts: 1, next: Some(5), reason: Reason::Unavailable }]).unwrap();
        assert_eq!(rows::lowest_unsettled(&bench.writer.db).unwrap(), Some(fresh.ticket.id().0));
        let lease = rows::lease(&bench.writer.db, 4, &bench.writer.outlets.budget, &bench.writer.numbers).unwrap();
        assert!(lease.active.is_empty() && lease.next_due == Some(5));
        let lease = rows::lease(&bench.writer.db, 5, &bench.writer.outlets.budget, &bench.writer.numbers).unwrap();
        assert_eq!(lease.active[0].todo, [(0, 1)]);
        assert_eq!(lease.next_due, None);
        bench.writer.commit(&[Op::Delivered { ticket: lease.active[0].ticket.clone(), number: 0 }]).unwrap();
        assert_eq!((count(&bench, "messages"), count(&bench, "deliveries")), (0, 0));
        // A failure that arrives after the end does not bring a row back.
        bench.writer.commit(&[Op::Failed { ticket: fresh.ticket, number: 0, attempts: 2, next: None, reason: Reason::OverQuota }]).unwrap();
        assert_eq!(count(&bench, "deliveries"), 0);
    }
}
