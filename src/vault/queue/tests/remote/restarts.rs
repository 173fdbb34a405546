//! What a restart, of us or of `send`, leaves of what was under way.

use super::{MINUTE, alice, step, text, world::*};
use pure_addr::Text;
use std::time::Duration;
use wire::edge::{
    mail::Submitted,
    queue_control::{Action, Filter},
    send_deliver::Outcome,
};

#[tokio::test]
async fn a_restart_in_every_state_goes_on() {
    let world = World::new();
    // What was under way is offered again.
    *world.send.remembers.lock().unwrap() = true;
    let state = world.state("a");
    let life = world.start(&state);
    // Deferred.
    world.send.says("v@remote.test", &[later(), later(), taken(false)]);
    let id = alice(&life).await.accepted(&["v@remote.test"]).await;
    life.tried(id, 1).await;
    life.stop();
    let life = world.start(&state);
    assert_eq!(life.recipients(id).await[0].attempts, 1);
    step(&world, &life, 5 * MINUTE);
    life.tried(id, 2).await;
    // Under way.
    world.send.gate.close();
    step(&world, &life, 10 * MINUTE);
    soon("the lease", world.send.asked.subscribe().wait_for(|n| *n >= 3)).await.unwrap();
    assert_eq!(life.recipients(id).await[0].status.as_str(), "delivery is under way");
    let left = world.killed(&state, "b");
    life.stop();
    world.send.gate.open();
    let life = world.start(&left);
    life.keeps(0).await;
    assert_eq!(world.send.copies("v@remote.test"), 1);
}

/// It may have been delivered, and only the process that was told knows until it is asked.
#[tokio::test]
async fn what_was_under_way_is_asked_for_first_after_a_restart() {
    let world = World::new();
    let state = world.state("a");
    let one_at_a_time = |state: &std::path::Path| {
        let mut options = world.options(state);
        options.settings.send.connections_per_destination = 1;
        Life::start(options)
    };
    let life = one_at_a_time(&state);
    world.send.gate.close();
    // What is passed on goes after people's mail otherwise.
    let first = life.accepted(&["team@mta.test"]).await;
    soon("the lease", world.send.asked.subscribe().wait_for(|n| *n >= 1)).await.unwrap();
    let second = alice(&life).await.accepted(&["v@remote.test"]).await;
    life.status(second, "waiting").await;
    let left = world.killed(&state, "b");
    life.stop();
    world.clock.advance(MINUTE);
    world.send.gate.open();
    let life = one_at_a_time(&left);
    life.keeps(0).await;
    let order: Vec<_> = world.send.leases.lock().unwrap().iter().map(|(lease, _)| lease.id).collect();
    assert_eq!(order, [first, first, second]);
}

/// What only `send` knows is asked for before anything else is needed for it: no keys, no scan.
#[tokio::test]
async fn what_was_delivered_for_a_queue_that_ended_is_noted_without_being_offered() {
    let world = World::new();
    *world.send.remembers.lock().unwrap() = true;
    let state = world.state("a");
    let life = world.start(&state);
    world.send.gate.close();
    world.send.says("late@remote.test", &[later()]);
    let id = alice(&life).await.accepted(&["v@remote.test", "late@remote.test"]).await;
    soon("the lease", world.send.asked.subscribe().wait_for(|n| *n >= 1)).await.unwrap();
    let left = world.killed(&state, "b");
    world.send.gate.open();
    world.send.has_answered(1).await;
    life.stop();
    *world.keys.unavailable.lock().unwrap() = true;
    let life = world.start(&left);
    // The one is done; the other is tried when it can be signed.
    let waiting = life.status(id, "deferred: the message cannot be signed now").await;
    assert_eq!(waiting.address, address("late@remote.test"));
    assert_eq!(life.recipients(id).await.len(), 1);
    assert_eq!((world.send.copies("v@remote.test"), world.send.leases.lock().unwrap().len()), (1, 1));
}

/// Who was delivered is noted at once; the others are offered again without an interval, but not for ever.
#[tokio::test]
async fn a_lease_that_was_cut_short_goes_on_at_once() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("v@remote.test", &[Outcome::Again, taken(false)]);
    alice(&life).await.accepted(&["good@remote.test", "v@remote.test"]).await;
    life.keeps(0).await;
    assert_eq!((world.send.copies("good@remote.test"), world.send.copies("v@remote.test")), (1, 1));
    let numbers: Vec<usize> = world.send.leases.lock().unwrap().iter().map(|(lease, _)| lease.recipients.len()).collect();
    assert_eq!(numbers, [2, 1]);
    // Nothing was delivered: a process that says so for ever waits like any other.
    world.send.says("w@remote.test", &[Outcome::Again]);
    let id = alice(&life).await.accepted(&["w@remote.test"]).await;
    let waiting = life.tried(id, 1).await;
    assert_eq!(waiting.status.as_str(), "deferred: no result was reported");
}

/// Attack case IPC-07: whatever an owned `send` says of a lease, it decides about the recipients of that lease, each once. Another
/// message, another sender, a further body or a longer lease cannot be written down; and words have their limit.
#[tokio::test]
async fn a_send_that_lies_lies_about_its_own_lease_alone() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let mut session = alice(&life).await;
    world.send.says("other@other.test", &[later()]);
    let other = session.accepted(&["other@other.test"]).await;
    life.tried(other, 1).await;
    // Of numbers that the lease does not have, for each kind of answer: nobody hears of it, and the recipient waits.
    for (n, lie) in [taken(true), taken(false), refused(), later(), Outcome::NeedsSevenBit, Outcome::Again].into_iter().enumerate() {
        *world.send.lies.lock().unwrap() = Some(vec![(1, lie.clone()), (7, lie.clone()), (u32::MAX, lie.clone())]);
        let id = session.accepted(&[&format!("v{n}@remote.test")]).await;
        let waiting = life.tried(id, 1).await;
        assert_eq!(waiting.status.as_str(), "deferred: no result was reported", "{lie:?}");
        life.change(Action::Delete, Filter { id: Some(id), ..Filter::default() }).await;
    }
    assert!(world.store.all().is_empty());
    // The same recipient failed three times: its sender, and nobody else, hears of it once.
    *world.send.lies.lock().unwrap() = Some(vec![(0, refused()), (0, refused()), (0, refused())]);
    session.accepted(&["v@remote.test"]).await;
    world.store.holds(1).await;
    life.keeps(1).await;
    let told: Vec<(u64, usize)> = world.store.all().iter().map(|s| (s.account, text(s).matches("Final-Recipient:").count())).collect();
    assert_eq!(told, [(1, 1)]);
    // The other message is as it was.
    assert_eq!(life.recipients(other).await[0].attempts, 1);
    // RFC 3464 needs no more: a text of ten mebibytes is not of this edge.
    let long = wire::encode(&Text::<{ 10 << 20 }>::new("x".repeat(10 << 20)).unwrap()).unwrap();
    assert!(wire::decode::<Text<500>>(&long).is_err() && wire::decode::<Text<1000>>(&long).is_err());
}

#[tokio::test]
async fn a_lease_whose_connection_dies_is_offered_again() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    *world.send.dying.lock().unwrap() = true;
    let id = alice(&life).await.accepted(&["v@remote.test"]).await;
    let waiting = life.status(id, "deferred: the process that sends is not available").await;
    assert_eq!(waiting.attempts, 0);
    *world.send.dying.lock().unwrap() = false;
    step(&world, &life, Duration::from_secs(1));
    life.keeps(0).await;
    assert_eq!(world.send.copies("v@remote.test"), 1);
}

/// An end in good order waits for what is being sent, begins nothing, and leaves nothing to be sent twice.
#[tokio::test]
async fn an_end_in_good_order_hears_the_last_reports() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.gate.close();
    alice(&life).await.accepted(&["v@remote.test"]).await;
    soon("the lease", world.send.asked.subscribe().wait_for(|n| *n >= 1)).await.unwrap();
    let settled = async {
        life.queue().settle().await;
        assert_eq!(*world.send.answered.borrow(), 1, "it did not wait");
    };
    let meanwhile = async {
        tokio::task::yield_now().await;
        alice(&life).await.accepted(&["v@other.test"]).await;
        world.send.gate.open();
    };
    tokio::join!(settled, meanwhile);
    assert_eq!((world.send.copies("v@remote.test"), world.send.copies("v@other.test")), (1, 0));
    life.keeps(1).await;
}

/// The second version of the spool, which knew no senders to keep.
#[tokio::test]
async fn the_second_version_of_the_spool_goes_on() {
    let world = World::new();
    let state = world.state("a");
    world.start(&state).stop();
    let db = rusqlite::Connection::open(state.join("queue.db")).unwrap();
    db.execute_batch("DROP TABLE senders; ALTER TABLE numbers DROP COLUMN clock; PRAGMA user_version = 2").unwrap();
    drop(db);
    let life = world.start(&state);
    let sender = format!("{}@remote.test", "x".repeat(60));
    assert!(matches!(life.submit(envelope(&sender, &["team@mta.test"]), MESSAGE).await, Submitted::Accepted(_)));
    life.keeps(0).await;
}

/// A database as the first version left it: one message whose local delivery is done, one that was just accepted.
#[tokio::test]
async fn the_first_version_of_the_spool_goes_on() {
    let world = World::new();
    let state = world.state("a");
    std::fs::write(state.join("queue.db"), include_bytes!("../fixtures/version-1.db")).unwrap();
    let life = world.start(&state);
    life.keeps(0).await;
    assert_eq!(world.store.all().len(), 1);
    assert_eq!(world.send.copies("v@remote.test"), 2);
    life.stop();
    let db = rusqlite::Connection::open(state.join("queue.db")).unwrap();
    let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap();
    assert_eq!(version, 4);
}
