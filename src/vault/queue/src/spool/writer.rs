//! The writer: the one thread that has the database. It commits whatever waits, then lets everyone know.

use super::{
    Accept, Active, Body, Entered, Files, Inbox, Lease, Numbers, Op, Outlets, Settled, Settles, Shown, Ticket, admin,
    inbox::Taken,
    outgoing, rows, schema,
    senders::{self, Senders},
    sending::{self, Allowed},
    tls,
};
use crate::limits::RESERVE;
use rusqlite::{Connection, ErrorCode};
use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::Arc,
    time::Duration,
};
use wire::{
    MessageWriter,
    edge::{mail::QueueId, queue_control},
};

/// After so long without work the log is written back and memory given back.
const IDLE: Duration = Duration::from_secs(5);
/// How long to wait before trying again what a full disk refused.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);
/// Milliseconds by which what the database says of the clock may be old.
const CLOCK_NOTED: u64 = 30_000;

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
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Self::Full
        } else {
            Self::Fatal(error.to_string())
        }
    }
}

/// What an operation found, until the commit allows to say it.
enum Outcome {
    Nothing,
    /// The submitted bytes could not be read.
    Unreadable,
    /// The message is gone, and its file may go.
    Gone,
    /// Committed, to wait until it is released.
    Held,
    /// Not taken: too many senders are kept already.
    NoRoom,
    Sender(Option<pure_addr::Address>),
    Lease(Lease),
    Floor(u64),
    List(Vec<queue_control::Message>),
    Show(Option<Shown>),
    Trace(Option<Vec<queue_control::Attempts>>),
    Changed(admin::Changed),
    Dispatch(outgoing::Dispatch),
    Taken(outgoing::Taken),
    Rests(bool),
    /// The account has sent too much; whether it is held from now on.
    Limited(bool),
    Allowance(sending::Allowance),
    Notices(Vec<sending::Notice>),
    TlsReport(tls::Next),
}

pub(super) struct Writer {
    db: Connection,
    numbers: Arc<Numbers>,
    files: Arc<Files>,
    outlets: Outlets,
    /// All numbers below are reserved.
    reserved: u64,
    buffer: Vec<u8>,
    senders: Senders,
    /// What the database says that the clock said.
    clock: i64,
}

impl Writer {
    pub(super) fn new(db: Connection, numbers: Arc<Numbers>, files: Arc<Files>, outlets: Outlets, first: u64) -> Self {
        Self {
            db,
            numbers,
            files,
            outlets,
            reserved: first.saturating_add(RESERVE),
            buffer: Vec::new(),
            senders: Senders::default(),
            clock: 0,
        }
    }

    pub(super) fn run(mut self, inbox: &Inbox) {
        let mut worked = true;
        loop {
            match inbox.take(worked.then_some(IDLE)) {
                Taken::Stopped => break,
                Taken::Idle => {
                    worked = false;
                    if let Err(error) = self.rest() {
                        tracing::error!(%error, "the spool cannot be written back");
                        break;
                    }
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
                            let kept: Vec<Op> = ops
                                .into_iter()
                                .filter(|op| matches!(op, Op::Delivered { .. } | Op::Failed { .. } | Op::Settle(_)))
                                .collect();
                            if !kept.is_empty() {
                                inbox.put_back(kept);
                                std::thread::sleep(FULL_DISK_PAUSE);
                            }
                        }
                        Err(Failure::Fatal(error)) => {
                            tracing::error!(error, "the spool cannot be written");
                            keep_files(ops);
                            break;
                        }
                    }
                }
            }
        }
        inbox.stop();
    }

    /// Nobody waits: keep the next start short and the process small.
    fn rest(&mut self) -> Result<(), Failure> {
        let result = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).and_then(|()| self.db.release_memory());
        self.buffer = Vec::new();
        match result {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "the write-ahead log could not be written back");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// One transaction for everything.
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, Failure> {
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let result = self.apply_all(ops);
        let result = result.and_then(|outcomes| {
            self.db.prepare_cached("COMMIT")?.execute([])?;
            self.files.witness()?;
            Ok(outcomes)
        });
        if result.is_err() {
            // It may have been noted in what is undone.
            self.clock = 0;
            if !self.db.is_autocommit() {
                // What cannot even be rolled back is found as it was by the next start.
                self.db.execute_batch("ROLLBACK")?;
            }
        }
        result
    }

    fn apply_all(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, Failure> {
        let mut whole = ended_whole(ops);
        let mut new_names = false;
        let mut outcomes = Vec::with_capacity(ops.len());
        for op in ops {
            let outcome = match op {
                Op::Accept(accept) => {
                    new_names |= accept.file.is_some();
                    self.accept(accept)?
                }
                Op::Delivered { ticket, number, own } => self.delivered(ticket, *number, own, &mut whole)?,
                Op::Failed { ticket, number, attempts, next, reason } => {
                    rows::failed(&self.db, ticket.id(), *number, *attempts, *next, *reason)?;
                    Outcome::Nothing
                }
                Op::Lease { now, .. } => {
                    Outcome::Lease(rows::lease(&self.db, *now, &self.outlets.budget, &self.numbers, &MessageWriter::sealed)?)
                }
                Op::Floor(_) => {
                    // Memory first: a number that moves from there to the disk meanwhile is seen twice, never not at all.
                    let in_memory = self.numbers.lowest();
                    Outcome::Floor(rows::lowest_unsettled(&self.db)?.map_or(in_memory, |id| id.min(in_memory)))
                }
                Op::List(after, filter, _) => Outcome::List(admin::list(&self.db, *after, filter)?),
                Op::Show(id, _) => Outcome::Show(admin::show(&self.db, *id, self.outlets.paused)?),
                Op::Trace(id, _) => Outcome::Trace(admin::trace(&self.db, *id)?),
                Op::Change { action, filter, now, .. } => Outcome::Changed(admin::change(&self.db, *action, filter, *now)?),
                Op::Dispatch { now, limit, .. } => Outcome::Dispatch(outgoing::dispatch(&self.db, *now, *limit)?),
                Op::Take { name, now, which, limit, .. } => Outcome::Taken(outgoing::take(
                    &self.db,
                    name,
                    *now,
                    *which,
                    *limit,
                    &self.outlets.outbound.budget,
                    &MessageWriter::sealed,
                )?),
                Op::Rest { name, now, circuit, .. } => {
                    self.note_clock(*now)?;
                    Outcome::Rests(outgoing::rest(&self.db, name, *now, circuit)?)
                }
                Op::Settle(settled) => self.settle(settled)?,
                Op::Own { own, settles, .. } => {
                    let first = match settles {
                        Settles::Notice(account) => sending::noticed(&self.db, *account)?,
                        Settles::TlsReport(key) => tls::done(&self.db, key)?,
                    };
                    if first {
                        self.own(own)?;
                    }
                    Outcome::Nothing
                }
                Op::Allowance { counted, now, .. } => Outcome::Allowance(sending::allowance(&self.db, counted, *now)?),
                Op::Sender(name, _) => Outcome::Sender(senders::sender(&self.db, name)?),
                Op::Notices(_) => Outcome::Notices(sending::notices(&self.db)?),
                Op::TlsReport { before, now, .. } => Outcome::TlsReport(tls::next(&self.db, *before, *now)?),
                Op::TlsLater { key, due } => {
                    tls::later(&self.db, key, *due)?;
                    Outcome::Nothing
                }
            };
            outcomes.push(outcome);
        }
        if new_names {
            self.files.sync()?;
        }
        Ok(outcomes)
    }

    /// Messages that the queue wrote itself.
    fn own(&mut self, own: &[Accept]) -> Result<(), Failure> {
        for accept in own {
            if matches!(self.accept(accept)?, Outcome::Unreadable) {
                return Err(Failure::Fatal("a message of our own cannot be read".into()));
            }
        }
        Ok(())
    }

    fn settle(&mut self, settled: &Settled) -> Result<Outcome, Failure> {
        self.note_clock(settled.now)?;
        let (day, results) = &settled.tls;
        for result in results {
            tls::add(&self.db, *day, result)?;
        }
        // A message that was deleted meanwhile stays deleted, and its sender is not told.
        if !outgoing::settle(&self.db, settled.id, &settled.fates)? {
            return Ok(Outcome::Nothing);
        }
        self.own(&settled.own)?;
        let gone = rows::finished(&self.db, settled.id, settled.total)?;
        Ok(if gone && settled.file { Outcome::Gone } else { Outcome::Nothing })
    }

    /// See [`schema::note_clock`]; not each time.
    fn note_clock(&mut self, now: i64) -> Result<(), Failure> {
        if now.abs_diff(self.clock) > CLOCK_NOTED {
            schema::note_clock(&self.db, now)?;
            self.clock = now;
        }
        Ok(())
    }

    fn accept(&mut self, accept: &Accept) -> Result<Outcome, Failure> {
        let held = match &accept.counted {
            None => false,
            Some(counted) => match sending::count(&self.db, counted, accept.received_at)? {
                Allowed::Yes => false,
                Allowed::Held => true,
                Allowed::No { notice } => return Ok(Outcome::Limited(notice)),
            },
        };
        for kept in &accept.kept {
            if !self.senders.keep(&self.db, kept)? {
                tracing::warn!("too many senders of forwarded mail have long addresses: a message is deferred");
                return Ok(Outcome::NoRoom);
            }
        }
        self.note_clock(accept.received_at)?;
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
        let due = (!held).then_some(accept.received_at);
        if accept.room.is_none() || held {
            for number in accept.record.local() {
                rows::insert_waiting(&self.db, id, number, due)?;
            }
        }
        let class = accept.record.class();
        for (number, route) in &accept.routes {
            outgoing::insert(&self.db, id, (*number, route), class, due)?;
        }
        Ok(if held { Outcome::Held } else { Outcome::Nothing })
    }

    fn delivered(&mut self, ticket: &Ticket, number: u32, own: &[Accept], whole: &mut Whole) -> Result<Outcome, Failure> {
        let id = ticket.id();
        let left = whole.get_mut(&id);
        if left.as_ref().is_some_and(|left| !left.contains(&number)) {
            // Another holder's end of the same delivery was first.
            return Ok(Outcome::Nothing);
        }
        if !own.is_empty() && rows::is_waited_for(&self.db, id, number)? {
            self.own(own)?;
        }
        let gone = match left {
            Some(left) => {
                left.remove(&number);
                if left.is_empty() {
                    rows::delete_message(&self.db, id, true)?;
                }
                left.is_empty()
            }
            None if ticket.total == 1 => {
                rows::delete_message(&self.db, id, ticket.rows)?;
                true
            }
            None => rows::delivered(&self.db, ticket, number)?,
        };
        Ok(if gone && ticket.file { Outcome::Gone } else { Outcome::Nothing })
    }

    /// It is on disk: answer, deliver, remove files.
    fn announce(&self, ops: Vec<Op>, outcomes: Vec<Outcome>) {
        let mut removed = Vec::new();
        let mut due = false;
        for (op, outcome) in ops.into_iter().zip(outcomes) {
            match (op, outcome) {
                (Op::Accept(accept), Outcome::Nothing) => due |= self.accepted(*accept, false),
                (Op::Accept(accept), Outcome::Held) => due |= self.accepted(*accept, true),
                (Op::Accept(accept), Outcome::Limited(notice)) => {
                    accept.answer.send(Entered::Limited).ok();
                    if notice {
                        self.outlets.outbound.notices.notify_one();
                    }
                }
                (Op::Accept(accept), _) => {
                    accept.answer.send(Entered::No).ok();
                }
                (Op::Delivered { ticket, own, .. }, outcome) => {
                    if matches!(outcome, Outcome::Gone) {
                        removed.push(ticket.id());
                    }
                    due |= self.own_accepted(own);
                }
                (Op::Settle(settled), outcome) => {
                    if matches!(outcome, Outcome::Gone) {
                        removed.push(settled.id);
                    }
                    settled.answer.send(()).ok();
                    due |= self.own_accepted(settled.own);
                }
                (Op::Own { own, answer, .. }, _) => {
                    answer.send(()).ok();
                    due |= self.own_accepted(own);
                }
                (Op::Allowance { answer, .. }, Outcome::Allowance(allowance)) => {
                    if allowance.notice {
                        self.outlets.outbound.notices.notify_one();
                    }
                    answer.send(allowance).ok();
                }
                (Op::Failed { .. }, _) => due = true,
                (Op::Lease { answer, .. }, Outcome::Lease(lease)) => {
                    answer.send(lease).ok();
                }
                (Op::Floor(answer), Outcome::Floor(floor)) => {
                    answer.send(QueueId(floor)).ok();
                }
                (Op::List(_, _, answer), Outcome::List(list)) => {
                    answer.send(list).ok();
                }
                (Op::Show(_, answer), Outcome::Show(shown)) => {
                    answer.send(shown).ok();
                }
                (Op::Trace(_, answer), Outcome::Trace(trace)) => {
                    answer.send(trace).ok();
                }
                (Op::Change { action, answer, .. }, Outcome::Changed(changed)) => {
                    removed.extend(changed.gone.into_iter().filter(|(_, file)| *file).map(|(id, _)| id));
                    if matches!(action, queue_control::Action::Retry | queue_control::Action::Release) {
                        due = true;
                        self.outlets.outbound.reset();
                    }
                    answer.send(changed.messages).ok();
                }
                (Op::Dispatch { answer, .. }, Outcome::Dispatch(dispatch)) => {
                    answer.send(dispatch).ok();
                }
                (Op::Take { answer, .. }, Outcome::Taken(taken)) => {
                    answer.send(taken).ok();
                }
                (Op::Rest { answer, .. }, Outcome::Rests(rests)) => {
                    answer.send(rests).ok();
                }
                (Op::Sender(_, answer), Outcome::Sender(sender)) => {
                    answer.send(sender).ok();
                }
                (Op::Notices(answer), Outcome::Notices(notices)) => {
                    answer.send(notices).ok();
                }
                (Op::TlsReport { answer, .. }, Outcome::TlsReport(next)) => {
                    answer.send(next).ok();
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

    fn own_accepted(&self, own: Vec<Accept>) -> bool {
        let mut due = false;
        for accept in own {
            due |= self.accepted(accept, false);
        }
        due
    }

    /// Answers, and delivers from memory if there is room. True when the disk has to be looked at instead.
    fn accepted(&self, accept: Accept, held: bool) -> bool {
        let Accept { live, received_at, record, encoded: _, message, file, index, room, routes, counted: _, kept: _, answer } = accept;
        let in_file = file.is_some();
        if let Some(file) = file {
            file.keep();
        }
        // A client that went away meanwhile has handed over its message all the same.
        answer.send(Entered::Yes).ok();
        if held {
            return false;
        }
        self.outlets.outbound.poke(&routes);
        let todo: Vec<(u32, u32)> = record.local().map(|number| (number, 0)).collect();
        let Some(room) = room else { return !todo.is_empty() };
        if !todo.is_empty() {
            let ticket = Arc::new(Ticket { total: record.total(), file: in_file, rows: !routes.is_empty(), live });
            let active = Active { ticket, received_at, record, body: Body::Sealed(message), index, todo, room };
            // Without a receiver the process is about to end.
            drop(self.outlets.active.send(active));
        }
        false
    }
}

/// What became of a commit that failed is known at the next start: until then each body stays, for its message may be there.
fn keep_files(ops: Vec<Op>) {
    for op in ops {
        if let Op::Accept(accept) = op
            && let Some(file) = accept.file
        {
            file.keep();
        }
    }
}

/// Messages with several deliveries, all of which end in one commit, and the numbers that were not come to yet.
type Whole = HashMap<QueueId, BTreeSet<u32>>;

fn ended_whole(ops: &[Op]) -> Whole {
    let mut ended: HashMap<QueueId, (u32, BTreeSet<u32>)> = HashMap::new();
    for op in ops {
        if let Op::Delivered { ticket, number, .. } = op
            && ticket.total > 1
        {
            ended.entry(ticket.id()).or_insert((ticket.total, BTreeSet::new())).1.insert(*number);
        }
    }
    let whole = ended.into_iter().filter(|(_, (total, numbers))| u32::try_from(numbers.len()).is_ok_and(|n| n >= *total));
    whole.map(|(id, (_, numbers))| (id, numbers)).collect()
}

#[cfg(test)]
mod tests;
