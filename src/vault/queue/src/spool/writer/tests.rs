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
    _dir: tempfile::TempDir,
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
    Bench { writer: Writer::new(db, Numbers::starting_at(first), files, outlets, first), active, _dir: dir }
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
        index: Box::default(),
        room: bench.writer.outlets.budget.take(1),
        routes: vec![],
        counted: None,
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
    let lease = rows::lease(&bench.writer.db, 4, &bench.writer.outlets.budget, &bench.writer.numbers).unwrap();
    assert!(lease.active.is_empty() && lease.next_due == Some(5));
    let lease = rows::lease(&bench.writer.db, 5, &bench.writer.outlets.budget, &bench.writer.numbers).unwrap();
    assert_eq!(lease.active[0].todo, [(0, 1)]);
    assert_eq!(lease.next_due, None);
    bench.writer.commit(&[Op::Delivered { ticket: lease.active[0].ticket.clone(), number: 0, own: vec![] }]).unwrap();
    assert_eq!((count(&bench, "messages"), count(&bench, "deliveries")), (0, 0));
    // A failure that arrives after the end does not bring a row back.
    bench.writer.commit(&[Op::Failed { ticket: fresh.ticket, number: 0, attempts: 2, next: None, reason: Reason::OverQuota }]).unwrap();
    assert_eq!(count(&bench, "deliveries"), 0);
}
