//! What leaves when, and how much of it at a time.

use super::{DAY, HOUR, MINUTE, alice, step, text, world::*};
use pure_addr::Text;
use std::time::Duration;
use wire::edge::{
    mail::Submitted,
    queue_control::{Action, Filter},
    send_deliver::Route,
};

#[tokio::test]
async fn a_dead_destination_waits_behind_its_breaker_and_one_probe_tries_it() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.settings.send.connections_per_destination = 1;
    let life = Life::start(options);
    world.send.domain("dead.test", Some(unreachable()));
    let mut session = alice(&life).await;
    for n in 0..12 {
        session.accepted(&[&format!("v{n}@dead.test")]).await;
    }
    session.accepted(&["v@remote.test"]).await;
    world.send.has_answered(6).await;
    life.keeps(12).await;
    let at_dead = |world: &World| {
        world.send.leases.lock().unwrap().iter().filter(|(l, _)| l.recipients[0].address.domain.as_str() == "dead.test").count()
    };
    assert_eq!(at_dead(&world), 5);
    // Not even when the messages themselves would be due.
    step(&world, &life, 3 * MINUTE);
    life.list().await;
    assert_eq!(at_dead(&world), 5);
    step(&world, &life, MINUTE);
    world.send.has_answered(7).await;
    assert_eq!(at_dead(&world), 6);
    life.list().await;
    // Time goes on behind it: everybody hears of the delay.
    step(&world, &life, 5 * HOUR);
    world.store.holds(12).await;
    assert!(world.store.all().iter().all(|s| text(s).contains("Action: delayed")));
    let probes = at_dead(&world);
    assert!(probes <= 8, "{probes}");
    // Back again: the probe passes, and all the others after it.
    world.send.domain("dead.test", None);
    step(&world, &life, 2 * HOUR);
    step(&world, &life, Duration::ZERO);
    soon("all", async {
        while !life.list().await.is_empty() {
            step(&world, &life, HOUR);
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!((0..12).all(|n| world.send.copies(&format!("v{n}@dead.test")) == 1));
}

#[tokio::test]
async fn mail_behind_a_breaker_fails_when_its_time_is_over() {
    let world = World::new();
    let state = world.state("a");
    let mut options = world.options(&state);
    options.settings.send.connections_per_destination = 1;
    let life = Life::start(options);
    world.send.domain("dead.test", Some(unreachable()));
    let mut session = alice(&life).await;
    for n in 0..8 {
        session.accepted(&[&format!("v{n}@dead.test")]).await;
    }
    world.send.has_answered(5).await;
    life.keeps(8).await;
    life.stop();
    // The breaker is still open after a restart.
    let life = world.start(&state);
    life.list().await;
    assert_eq!(world.send.leases.lock().unwrap().len(), 5);
    step(&world, &life, 5 * DAY);
    world.store.holds(8).await;
    life.keeps(0).await;
    assert!(world.store.all().iter().all(|s| text(s).contains("Status: 5.4.7")));
}

#[tokio::test]
async fn people_go_first() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.settings.send.connections_per_destination = 1;
    let life = Life::start(options);
    world.send.gate.close();
    let mut session = alice(&life).await;
    session.accepted(&["first@remote.test"]).await;
    soon("the first", world.send.asked.subscribe().wait_for(|n| *n >= 1)).await.unwrap();
    let many: Vec<String> = (0..21).map(|n| format!("bulk{n}@remote.test")).collect();
    session.accepted(&many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    session.accepted(&["person@remote.test"]).await;
    world.send.gate.open();
    life.keeps(0).await;
    let order: Vec<String> = world.send.leases.lock().unwrap().iter().map(|(l, _)| l.recipients[0].address.to_string()).collect();
    assert_eq!(order, ["first@remote.test", "person@remote.test", "bulk0@remote.test"]);
}

#[tokio::test]
async fn connections_and_messages_are_limited_for_each_destination() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.settings.send.connections_per_destination = 2;
    let life = Life::start(options);
    world.send.gate.close();
    let mut session = alice(&life).await;
    for n in 0..5 {
        session.accepted(&[&format!("v{n}@remote.test")]).await;
    }
    session.accepted(&["v@other.test"]).await;
    soon("three leases", world.send.asked.subscribe().wait_for(|n| *n >= 3)).await.unwrap();
    life.list().await;
    assert_eq!(*world.send.asked.borrow(), 3);
    world.send.gate.open();
    life.keeps(0).await;
    life.stop();

    let mut options = world.options(&world.state("b"));
    options.settings.send.messages_per_minute = Some(2);
    let life = Life::start(options);
    let before = *world.send.answered.borrow();
    let mut session = alice(&life).await;
    for n in 0..3 {
        session.accepted(&[&format!("w{n}@remote.test")]).await;
    }
    for n in 1..=3 {
        world.send.has_answered(before + n).await;
        life.keeps(3 - n as usize).await;
        assert_eq!(*world.send.answered.borrow(), before + n);
        step(&world, &life, Duration::from_secs(30));
    }
}

#[tokio::test]
async fn more_than_a_hundred_recipients_take_several_leases() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let many: Vec<String> = (0..250).map(|n| format!("v{n}@remote.test")).collect();
    alice(&life).await.accepted(&many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    life.keeps(0).await;
    let mut sizes: Vec<usize> = world.send.leases.lock().unwrap().iter().map(|(l, _)| l.recipients.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
    assert!(many.iter().all(|to| world.send.copies(to) == 1));
}

#[tokio::test]
async fn paused_means_kept() {
    let world = World::new();
    let state = world.state("a");
    let mut options = world.options(&state);
    options.settings.send.paused = true;
    let life = Life::start(options);
    let id = alice(&life).await.accepted(&["v@remote.test", "bob@mta.test"]).await;
    world.store.holds(1).await;
    life.status(id, "sending is paused").await;
    assert!(world.send.leases.lock().unwrap().is_empty());
    life.stop();
    let life = world.start(&state);
    life.keeps(0).await;
    assert_eq!(world.send.copies("v@remote.test"), 1);
}

#[tokio::test]
async fn smarthosts_are_destinations_and_may_change_over_a_restart() {
    let world = World::new();
    let state = world.state("a");
    let mut options = world.options(&state);
    options.settings.send.smarthost = Some("relay".into());
    options.settings.send.paused = true;
    let life = Life::start(options.clone());
    let id = alice(&life).await.accepted(&["v@remote.test", "w@other.test"]).await;
    assert!(life.recipients(id).await.iter().all(|r| r.destination.as_ref().unwrap().as_str() == ":relay"));
    life.stop();
    options.settings.send.paused = false;
    options.settings.send.smarthost = Some("another".into());
    let life = Life::start(options);
    life.keeps(0).await;
    let (lease, _) = world.send.lease(0);
    assert_eq!((lease.route, lease.recipients.len()), (Route::Smarthost(Text::new("another").unwrap()), 2));
}

#[tokio::test]
async fn an_account_that_sends_too_much_is_slowed_down_and_then_held() {
    let world = World::new();
    let state = world.state("a");
    let mut options = world.options(&state);
    options.settings.sending.messages_per_hour = Some(2);
    let life = Life::start(options.clone());
    let mut session = alice(&life).await;
    for _ in 0..2 {
        session.accepted(&["v@remote.test"]).await;
    }
    assert_eq!(session.submit("alice@mta.test", &["v@remote.test"]).await, Submitted::RateLimited);
    life.keeps(0).await;
    life.stop();
    // The count survives a restart; the mail of others is not concerned.
    let life = Life::start(options.clone());
    let mut session = alice(&life).await;
    assert_eq!(session.submit("alice@mta.test", &["v@remote.test"]).await, Submitted::RateLimited);
    life.accepted(&["bob@mta.test"]).await;
    world.store.holds(1).await;
    step(&world, &life, HOUR + 5 * MINUTE);
    for _ in 0..2 {
        session.accepted(&["v@remote.test"]).await;
    }
    assert_eq!(session.submit("alice@mta.test", &["v@remote.test"]).await, Submitted::RateLimited);
    // The owner and the postmaster get one notice.
    world.store.holds(3).await;
    life.keeps(0).await;
    let notices: Vec<(u64, String)> = world.store.all().iter().filter(|s| s.account != 2).map(|s| (s.account, text(s))).collect();
    assert_eq!(notices.iter().map(|n| n.0).collect::<Vec<_>>(), [1, 9]);
    assert!(notices[0].1.contains("postern queue release --account alice@mta.test"), "{}", notices[0].1);
    // What is submitted from now on waits, also for local accounts.
    step(&world, &life, 2 * HOUR);
    let id = session.accepted(&["v@remote.test", "bob@mta.test"]).await;
    life.stop();
    let life = Life::start(options);
    assert!(life.recipients(id).await.iter().all(|r| r.status.as_str() == "held" && r.next_attempt.is_none()));
    assert_eq!(world.send.copies("v@remote.test"), 4);
    let filter = Filter { account: Some(address("alice@mta.test")), ..Filter::default() };
    assert_eq!(life.change(Action::Release, filter).await, 1);
    life.keeps(0).await;
    assert_eq!(world.send.copies("v@remote.test"), 5);
    alice(&life).await.accepted(&["v@remote.test"]).await;
    life.keeps(0).await;
}
