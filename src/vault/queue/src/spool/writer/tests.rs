use super::*;
use crate::{
    admit,
    ask::Resolution,
    budget::Budget,
    remote::Outbound,
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
    dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(dir.path()).unwrap();
    let (db, first) = schema::open(dir.path(), 1_000, &files, &crate::testing::settings()).unwrap();
    let (sender, active) = mpsc::unbounded_channel();
    let outlets = Outlets {
        active: sender,
        due: Arc::new(Notify::new()),
        budget: Budget::new(100, 1 << 30),
        outbound: Outbound::new(),
        paused: false,
    };
    Bench { writer: Writer::new(db, Numbers::starting_at(first), files, outlets, first), active, dir }
}

fn accept(bench: &Bench, body: &[u8]) -> (Op, oneshot::Receiver<Entered>) {
    let recipient = Recipient { address: address("alice@mta.test"), notify: None, orcpt: None };
    let target = Target::Account { owner: owner(1, "alice@mta.test"), detail: None };
    let accepted = Resolution::Accepted(admit::AcceptedRecipient::new(recipient, vec![target]));
    let recipients = admit::recipients(vec![accepted]).unwrap();
    let record = Record::new(admit::admit(envelope("x@remote.test", &[]), None, recipients, |_| None).unwrap());
    let (answer, receiver) = oneshot::channel();
    let accept = Accept {
        live: bench.writer.numbers.give(),
        received_at: 1_000,
        encoded: wire::encode(&record).unwrap(),
        record: Arc::new(record),
        message: Arc::new(MessageWriter::sealed(body).unwrap()),
        file: None,
        index: Some(Box::default()),
        room: bench.writer.outlets.budget.take(1),
        routes: vec![],
        counted: None,
        kept: vec![],
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
    assert_eq!(answer.try_recv(), Ok(Entered::Yes));
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

    let done = vec![Op::Delivered { ticket: active.ticket.clone(), number: 0, own: vec![] }];
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
    let lease = rows::lease(&bench.writer.db, 4, &bench.writer.outlets.budget, &bench.writer.numbers, &MessageWriter::sealed).unwrap();
    assert!(lease.active.is_empty() && lease.next_due == Some(5));
    let lease = rows::lease(&bench.writer.db, 5, &bench.writer.outlets.budget, &bench.writer.numbers, &MessageWriter::sealed).unwrap();
    assert_eq!(lease.active[0].todo, [(0, 1)]);
    assert_eq!(lease.next_due, None);
    bench.writer.commit(&[Op::Delivered { ticket: lease.active[0].ticket.clone(), number: 0, own: vec![] }]).unwrap();
    assert_eq!((count(&bench, "messages"), count(&bench, "deliveries")), (0, 0));
    // A failure that arrives after the end does not bring a row back.
    bench.writer.commit(&[Op::Failed { ticket: fresh.ticket, number: 0, attempts: 2, next: None, reason: Reason::OverQuota }]).unwrap();
    assert_eq!(count(&bench, "deliveries"), 0);
}

/// No memory or descriptor for a message that came due: it stays due, and nothing is held.
#[test]
fn what_there_is_no_room_for_is_not_held() {
    let mut bench = bench();
    let (Op::Accept(mut accept), _answer) = accept(&bench, b"first") else { panic!() };
    accept.room = None;
    accept.routes = vec![(7, "remote.test".into())];
    let ops = vec![Op::Accept(accept)];
    bench.writer.commit(&ops).unwrap();
    let Writer { db, outlets, numbers, .. } = &bench.writer;
    let full: rows::Seal<'_> = &|_| Err(io::Error::from(rustix::io::Errno::MFILE));
    let lease = rows::lease(db, 1_000, &outlets.budget, numbers, full).unwrap();
    assert!(lease.active.is_empty() && lease.starved);
    let taken = outgoing::take(db, "remote.test", 1_000, outgoing::Which::Due, 1, &outlets.budget, full).unwrap();
    assert!(taken.leases.is_empty() && taken.starved);
    let states: i64 = db.query_row("SELECT count(*) FROM deliveries WHERE state = 0 AND next_attempt = 1000", [], |r| r.get(0)).unwrap();
    assert_eq!(states, 2);
    assert_eq!(rows::lease(db, 1_000, &outlets.budget, numbers, &MessageWriter::sealed).unwrap().active.len(), 1);
}

/// A message of our own has no index yet: whoever delivers it asks scan, and stores no empty one.
#[test]
fn a_message_without_an_index_is_not_delivered_with_an_empty_one() {
    let mut bench = bench();
    let (Op::Accept(mut accept), _answer) = accept(&bench, b"report") else { panic!() };
    accept.index = None;
    let ops = vec![Op::Accept(accept)];
    let outcomes = bench.writer.commit(&ops).unwrap();
    bench.writer.announce(ops, outcomes);
    assert!(bench.active.try_recv().unwrap().index.is_none());
}

/// A message of two deliveries that end in one commit, each with a report; `numbers` are the ends in it.
fn ends(numbers: &[u32]) -> (Bench, Vec<Outcome>) {
    let mut bench = bench();
    let (op, _answer) = accept(&bench, b"first");
    let Op::Accept(accepted) = &op else { panic!() };
    let live = bench.writer.numbers.hold(accepted.live.id);
    let ticket = Arc::new(Ticket { total: 2, file: true, rows: false, live });
    bench.writer.commit(&[op]).unwrap();
    let report = |bench: &Bench| match accept(bench, b"report").0 {
        Op::Accept(report) => vec![*report],
        _ => vec![],
    };
    let ops: Vec<Op> = numbers.iter().map(|n| Op::Delivered { ticket: ticket.clone(), number: *n, own: report(&bench) }).collect();
    let outcomes = bench.writer.commit(&ops).unwrap();
    (bench, outcomes)
}

/// The report on each of the deliveries that end a message together enters the spool, and the message goes with the last one.
#[test]
fn deliveries_that_end_together_are_all_reported() {
    let (bench, outcomes) = ends(&[0, 1]);
    assert!(matches!(outcomes[..], [Outcome::Nothing, Outcome::Gone]));
    assert_eq!(count(&bench, "messages"), 2);
}

/// Two holders of one delivery are not two deliveries: the other one still has to be made.
#[test]
fn one_delivery_that_ends_twice_is_not_two() {
    let (bench, outcomes) = ends(&[0, 0]);
    assert!(matches!(outcomes[..], [Outcome::Nothing, Outcome::Nothing]));
    // The message and one report.
    assert_eq!(count(&bench, "messages"), 2);
    let (bench, outcomes) = ends(&[0, 0, 1]);
    assert!(matches!(outcomes[..], [Outcome::Nothing, Outcome::Nothing, Outcome::Gone]));
    assert_eq!(count(&bench, "messages"), 2);
}

/// A commit that failed may be on the disk all the same: its bodies stay until the next start knows.
#[test]
fn bodies_outlive_a_commit_that_failed() {
    let bench = bench();
    let (Op::Accept(mut accept), mut answer) = accept(&bench, b"first") else { panic!() };
    let (files, id) = (bench.writer.files.clone(), accept.live.id);
    accept.file = Some(files.write(id, &accept.message).unwrap());
    bench.writer.db.pragma_update(None, "query_only", true).unwrap();
    let inbox = Inbox::new(Duration::ZERO);
    inbox.push(Op::Accept(accept));
    bench.writer.run(&inbox);
    assert!(inbox.has_ended() && answer.try_recv().is_err());
    assert_eq!(files.list().unwrap(), [id]);
}

/// Who ends leaves the database as it is, and the log beside it: what of that is on the disk the next start finds out.
#[test]
fn nothing_is_written_back_at_the_end() {
    let mut bench = bench();
    let (op, _receiver) = accept(&bench, b"Subject: x\r\n\r\nx\r\n");
    bench.writer.commit(&[op]).unwrap();
    let read = |name: &str| std::fs::read(bench.dir.path().join(name)).unwrap();
    let before = ["queue.db", "queue.db-wal"].map(read);
    drop(bench.writer);
    assert!(!before[1].is_empty() && ["queue.db", "queue.db-wal"].map(read) == before);
}
