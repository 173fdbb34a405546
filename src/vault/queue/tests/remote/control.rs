//! The administrator's hand on what waits and on what is under way.

use super::{HOUR, MINUTE, alice, step, world::*};
use pure_addr::Text;
use wire::edge::{
    queue_control::{self, Action, Filter},
    send_deliver::Status,
};

#[tokio::test]
async fn the_administrator_holds_releases_traces_and_deletes() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.domain("remote.test", Some(later()));
    world.send.domain("other.test", Some(later()));
    let mut session = alice(&life).await;
    let first = session.accepted(&["v@remote.test", "v@other.test"]).await;
    let second = session.accepted(&["w@remote.test"]).await;
    life.tried(first, 1).await;
    life.tried(second, 1).await;
    world.send.has_answered(3).await;
    let at = |name: &str| Filter { destination: Some(Text::new(name).unwrap()), ..Filter::default() };
    soon("all to wait", async {
        while life.recipients(first).await.iter().any(|r| r.next_attempt.is_none()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let queue_control::Response::Messages(list) =
        life.ask(queue_control::Request::List { after: wire::edge::mail::QueueId(0), filter: at("other.test") }).await
    else {
        panic!()
    };
    assert_eq!(list.iter().map(|m| m.id).collect::<Vec<_>>(), [first]);
    assert_eq!(life.change(Action::Hold, at("remote.test")).await, 2);
    assert_eq!(life.recipients(second).await[0].status.as_str(), "held");
    let tried = *world.send.answered.borrow();
    assert_eq!(life.change(Action::Retry, Filter::default()).await, 1);
    world.send.has_answered(tried + 1).await;
    life.tried(first, 2).await;
    step(&world, &life, HOUR);
    world.send.has_answered(tried + 2).await;
    let queue_control::Response::Trace(trace) = life.ask(queue_control::Request::Trace(second)).await else { panic!() };
    assert_eq!((trace.len(), trace[0].attempts.len()), (1, 1));
    let attempt = &trace[0].attempts[0];
    assert_eq!((attempt.status, attempt.reply.as_ref().unwrap().as_str()), (Status(4, 2, 1), "451 4.2.1 later"));
    world.send.domain("remote.test", None);
    assert_eq!(life.change(Action::Release, Filter { id: Some(second), ..Filter::default() }).await, 1);
    life.keeps(1).await;
    // Of the first message, one recipient is deleted and the other stays.
    soon("the attempt to end", async {
        while life.recipients(first).await.iter().any(|r| r.status.as_str() == "delivery is under way") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(life.change(Action::Delete, at("other.test")).await, 1);
    assert_eq!(life.recipients(first).await.len(), 1);
    assert_eq!(life.change(Action::Delete, Filter { account: Some(address("bob@mta.test")), ..Filter::default() }).await, 0);
    assert_eq!(life.change(Action::Delete, Filter { account: Some(address("alice@mta.test")), ..Filter::default() }).await, 1);
    life.keeps(0).await;
    assert!(world.store.all().is_empty(), "nobody was told");
}

#[tokio::test]
async fn what_is_deleted_while_it_is_sent_stays_deleted() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.gate.close();
    world.send.domain("remote.test", Some(refused()));
    let id = alice(&life).await.accepted(&["v@remote.test"]).await;
    soon("the lease", world.send.asked.subscribe().wait_for(|n| *n >= 1)).await.unwrap();
    assert_eq!(life.change(Action::Delete, Filter { id: Some(id), ..Filter::default() }).await, 1);
    world.send.gate.open();
    world.send.has_answered(1).await;
    life.keeps(0).await;
    assert!(world.store.all().is_empty());
}

/// Held and released while it is on its way, it is on its way once.
#[tokio::test]
async fn what_is_held_while_it_is_sent_is_not_sent_twice() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.gate.close();
    world.send.domain("other.test", Some(later()));
    let mut session = alice(&life).await;
    let (sent, late) = (session.accepted(&["v@remote.test"]).await, session.accepted(&["v@other.test"]).await);
    soon("the leases", world.send.asked.subscribe().wait_for(|n| *n >= 2)).await.unwrap();
    let one = |id| Filter { id: Some(id), ..Filter::default() };
    for id in [sent, late] {
        assert_eq!(life.change(Action::Hold, one(id)).await, 1);
        assert_eq!(life.recipients(id).await[0].status.as_str(), "delivery is under way; held after it");
    }
    assert_eq!(life.change(Action::Release, one(sent)).await, 1);
    assert_eq!(life.recipients(sent).await[0].status.as_str(), "delivery is under way");
    step(&world, &life, MINUTE);
    // Answered after what the destination's task asks.
    life.list().await;
    assert_eq!(*world.send.asked.borrow(), 2);
    world.send.gate.open();
    life.status(late, "held").await;
    life.keeps(1).await;
    assert_eq!(world.send.copies("v@remote.test"), 1);
    assert_eq!(life.change(Action::Release, one(late)).await, 1);
    world.send.has_answered(3).await;
}
