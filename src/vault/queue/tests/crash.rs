//! `kill -9` at each point of a message's way: what got its 250 arrives, under the same delivery id, whatever is lost in between.
//!
//! A kill is simulated by copying the state directory while the queue runs, which is what other processes, and the next start, see
//! of it; the copy is then opened by a second queue in the same world.
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]
mod world;

use std::{fs, path::Path};
use wire::edge::{
    mail::Submitted,
    queue_control::{Action, Filter},
    store_deliver::DeliveryId,
};
use world::*;

fn large() -> Vec<u8> {
    let mut message = MESSAGE.to_vec();
    for n in 0..30_000 {
        message.extend(format!("line {n} of a body that is kept as a file\r\n").into_bytes());
    }
    message
}

/// Files that are left once the writer has done everything that was answered before.
async fn files(life: &Life, state: &Path) -> usize {
    life.list().await;
    fs::read_dir(state.join("spool")).unwrap().count()
}

#[tokio::test]
async fn before_the_commit_nothing_is_left() {
    for message in [MESSAGE.to_vec(), large()] {
        let world = World::new();
        let state = world.state("a");
        let life = world.start(&state);
        world.scan.gate.close();
        let client = life.inbound.clone();
        let submitted = message.clone();
        let waiting = tokio::spawn(async move { submit(&client, envelope("x@remote.test", &["alice@mta.test"]), &submitted).await });
        soon("scan", world.scan.calls.subscribe().wait_for(|n| *n > 0)).await.unwrap();
        let left = world.killed(&state, "b");
        // A body that was written but not committed.
        fs::write(left.join("spool/0006440cdeadbeef"), b"orphan").unwrap();
        waiting.abort();
        life.stop();
        world.scan.gate.open();
        let life = world.start(&left);
        assert!(life.list().await.is_empty());
        assert_eq!(files(&life, &left).await, 0);
        assert!(world.store.all().is_empty());
    }
}

#[tokio::test]
async fn after_the_commit_it_is_delivered_by_the_next_start() {
    for message in [MESSAGE.to_vec(), large()] {
        let world = World::new();
        let state = world.state("a");
        let life = world.start(&state);
        world.store.deliver_gate.close();
        let submitted = life.submit(envelope("x@remote.test", &["alice@mta.test", "bob@mta.test"]), &message).await;
        assert!(matches!(submitted, Submitted::Accepted(_)));
        let left = world.killed(&state, "b");
        life.stop();
        world.store.deliver_gate.open();
        let life = world.start(&left);
        world.store.holds(2).await;
        assert!(world.store.all().iter().all(|s| s.text.ends_with(&message)));
        life.keeps(0).await;
        assert_eq!(files(&life, &left).await, 0);
    }
}

#[tokio::test]
async fn after_the_delivery_and_before_the_sync_it_is_repeated_under_its_id() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    world.store.sync_gate.close();
    let id = life.accepted(&["alice@mta.test"]).await;
    world.store.holds(1).await;
    soon("sync", world.store.syncs.subscribe().wait_for(|n| *n > 0)).await.unwrap();
    let left = world.killed(&state, "b");
    life.stop();
    let life = world.start(&left);
    soon("the repetition", world.store.arrived.subscribe().wait_for(|n| *n >= 2)).await.unwrap();
    world.store.sync_gate.open();
    life.keeps(0).await;
    // Twice asked, once applied.
    let asked = world.store.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert!(asked.iter().all(|(delivery, n)| delivery.message == id && delivery.number == 0 && *n == 2));
    assert_eq!(world.store.all().len(), 1);
}

/// The store ends between `Delivered` and `Sync`, and what it had applied lies only in the page cache: the next one is given it again
/// before the spool forgets it, and a report of success is made once.
#[tokio::test]
async fn what_another_life_of_the_store_has_is_delivered_again_before_it_is_forgotten() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.store.sync_gate.close();
    let mut success = envelope("x@remote.test", &["alice@mta.test", "bob@mta.test"]);
    success.reverse_path = pure_addr::ReversePath::Address(address("alice@mta.test"));
    let notify = Some(wire::edge::mail::Notify { success: true, failure: true, delay: false });
    let recipients = success.recipients.iter().map(|r| wire::edge::mail::Recipient { notify, ..r.clone() }).collect();
    success.recipients = wire::List::new(recipients).unwrap();
    let Submitted::Accepted(id) = life.submit(success, MESSAGE).await else { panic!() };
    world.store.holds(2).await;
    soon("sync", world.store.syncs.subscribe().wait_for(|n| *n > 0)).await.unwrap();
    // A power cut takes all that this life had not synced.
    world.store.life.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    world.store.stored.lock().unwrap().clear();
    world.store.sync_gate.open();
    life.keeps(0).await;
    let copies = |number| world.store.asked.lock().unwrap().get(&DeliveryId { message: id, number }).copied();
    assert_eq!((copies(0), copies(1)), (Some(2), Some(2)));
    let stored = world.store.stored.lock().unwrap();
    assert!(stored.contains_key(&(id.0, 0)) && stored.contains_key(&(id.0, 1)));
    // And two reports.
    assert_eq!(stored.len(), 4);
}

#[tokio::test]
async fn after_the_sync_and_before_the_deletion_it_is_repeated_under_its_id() {
    let world = World::new();
    let state = world.state("a");
    let mut options = world.options(&state);
    // Nothing that nobody waits for is committed in this life.
    options.limits.lazy_delay = std::time::Duration::from_secs(3600);
    options.limits.settle_idle = std::time::Duration::from_secs(3600);
    let life = Life::start(options);
    life.accepted(&["alice@mta.test"]).await;
    world.store.holds(1).await;
    soon("sync", world.store.syncs.subscribe().wait_for(|n| *n > 0)).await.unwrap();
    let left = world.killed(&state, "b");
    life.stop();
    let life = world.start(&left);
    life.keeps(0).await;
    assert_eq!(world.store.asked.lock().unwrap().len(), 1);
    assert_eq!(world.store.all().len(), 1);
    // The ids may be forgotten only now.
    assert_eq!(life.list().await.len(), 0);
}

#[tokio::test]
async fn nothing_is_settled_while_it_may_be_repeated() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.store.refuse.lock().unwrap().insert(2, wire::edge::store_deliver::Response::Unavailable);
    let waits = life.accepted(&["bob@mta.test"]).await;
    life.status(waits, "deferred: the store is not available").await;
    life.accepted(&["alice@mta.test"]).await;
    world.store.holds(1).await;
    soon("settled", world.store.settled.subscribe().wait_for(|s| *s > 0)).await.unwrap();
    assert_eq!(*world.store.settled.borrow(), waits.0);
}

#[tokio::test]
async fn what_is_done_of_several_deliveries_is_not_repeated() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    world.store.refuse.lock().unwrap().insert(2, wire::edge::store_deliver::Response::Unavailable);
    let id = life.accepted(&["alice@mta.test", "bob@mta.test"]).await;
    life.status(id, "deferred: the store is not available").await;
    soon("one to be done", async {
        while life.list().await[0].waiting != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let left = world.killed(&state, "b");
    life.stop();
    world.store.refuse.lock().unwrap().clear();
    // What waited for an account is tried again at once.
    let life = world.start(&left);
    world.store.holds(2).await;
    life.keeps(0).await;
    let asked = world.store.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().find(|(delivery, _)| delivery.number == 0).map(|(_, n)| *n), Some(1));
}

#[tokio::test]
async fn numbers_grow_over_restarts_even_of_an_empty_spool() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    let first = life.accepted(&["alice@mta.test"]).await;
    life.keeps(0).await;
    life.stop();
    // The clock stands still, and even a lost database does not give a number again once the clock has moved.
    let life = world.start(&state);
    let second = life.accepted(&["alice@mta.test"]).await;
    assert!(second > first);
    life.stop();
    world.clock.advance(std::time::Duration::from_secs(60));
    let life = world.start(&world.state("lost"));
    assert!(life.accepted(&["alice@mta.test"]).await > second);
}

#[tokio::test]
async fn a_large_body_is_a_file_for_as_long_as_it_is_needed() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    world.store.deliver_gate.close();
    let Submitted::Accepted(id) = life.submit(envelope("x@remote.test", &["alice@mta.test"]), &large()).await else { panic!() };
    assert_eq!(fs::read(state.join("spool").join(id.to_string())).unwrap(), large());
    world.store.deliver_gate.open();
    life.keeps(0).await;
    assert_eq!(files(&life, &state).await, 0);
    // Deleted by the administrator, it goes as well.
    world.store.refuse.lock().unwrap().insert(1, wire::edge::store_deliver::Response::OverQuota { room: 0 });
    let Submitted::Accepted(id) = life.submit(envelope("x@remote.test", &["alice@mta.test"]), &large()).await else { panic!() };
    life.status(id, "deferred: the mailbox is full").await;
    assert_eq!(life.change(Action::Delete, Filter { id: Some(id), ..Filter::default() }).await, 1);
    assert_eq!(files(&life, &state).await, 0);
}

#[tokio::test]
async fn a_lost_body_holds_its_message() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    world.store.deliver_gate.close();
    let Submitted::Accepted(id) = life.submit(envelope("x@remote.test", &["alice@mta.test"]), &large()).await else { panic!() };
    let left = world.killed(&state, "b");
    life.stop();
    fs::remove_file(left.join("spool").join(id.to_string())).unwrap();
    world.store.deliver_gate.open();
    let life = world.start(&left);
    life.status(id, "held: the message cannot be read from the spool").await;
}

#[tokio::test]
async fn a_database_of_a_newer_build_is_left_alone() {
    let world = World::new();
    let state = world.state("a");
    world.start(&state).stop();
    let db = rusqlite::Connection::open(state.join("queue.db")).unwrap();
    db.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(db);
    assert!(matches!(postern_queue::Queue::open(world.options(&state)), Err(postern_queue::OpenError::Schema(99))));
}

/// At each point of a message's way to elsewhere: every recipient gets one copy, or its sender one report.
#[tokio::test]
async fn to_elsewhere_each_recipient_gets_one_copy_or_its_sender_one_report() {
    for moment in ["leased", "reported", "told"] {
        let world = World::new();
        // A remote that took a message knows its number, as a lease that is offered twice must count on.
        *world.send.remembers.lock().unwrap() = true;
        world.send.domain("gone.test", Some(refused()));
        let state = world.state("a");
        let mut options = world.options(&state);
        if moment == "told" {
            options.limits.lazy_delay = std::time::Duration::from_secs(3600);
        }
        let life = Life::start(options);
        let mut alice = life.login(owner(1, "alice@mta.test")).await.unwrap();
        match moment {
            "leased" => world.send.gate.close(),
            // The report has come, and is not committed: the directory cannot say where it goes.
            "reported" => {}
            _ => world.store.deliver_gate.close(),
        }
        alice.accepted(&["v@remote.test", "w@gone.test", "x@gone.test"]).await;
        match moment {
            "leased" => drop(soon("leases", world.send.asked.subscribe().wait_for(|n| *n >= 2)).await.unwrap()),
            "reported" => world.send.has_answered(2).await,
            _ => drop(soon("the report", world.store.arrived.subscribe().wait_for(|n| *n >= 1)).await.unwrap()),
        }
        let left = world.killed(&state, "b");
        life.stop();
        world.send.gate.open();
        world.store.deliver_gate.open();
        let life = world.start(&left);
        life.keeps(0).await;
        assert_eq!(world.send.copies("v@remote.test"), 1, "{moment}");
        assert_eq!((world.send.copies("w@gone.test"), world.send.copies("x@gone.test")), (0, 0));
        let reports = world.store.all();
        let told = |to: &str| {
            let line = format!("Final-Recipient: rfc822; {to}\r\n");
            reports.iter().map(|r| String::from_utf8_lossy(&r.text).matches(&line).count()).sum::<usize>()
        };
        assert_eq!((told("w@gone.test"), told("x@gone.test"), told("v@remote.test")), (1, 1, 0), "{moment}");
        assert!(fs::read_dir(left.join("spool")).unwrap().next().is_none());
    }
}
