//! A clock that goes back: what was put off, limited or shut until a time that is far away again is not held up until then.

use super::{DAY, HOUR, MINUTE, alice, step, text, world::*};
use std::time::Duration;
use wire::edge::mail::Submitted;

/// Everybody behind it has heard of the delay, and nobody was tried: what the rows say comes from a look at them, and not from a try.
#[tokio::test]
async fn a_destination_that_was_shut_is_open_after_a_start_with_another_clock() {
    let world = World::new();
    let state = world.state("a");
    let mut options = world.options(&state);
    options.settings.send.connections_per_destination = 1;
    let life = Life::start(options.clone());
    world.send.domain("dead.test", Some(unreachable()));
    world.clock.advance(DAY);
    let mut session = alice(&life).await;
    for n in 0..12 {
        session.accepted(&[&format!("v{n}@dead.test")]).await;
    }
    world.send.has_answered(5).await;
    life.list().await;
    step(&world, &life, 5 * HOUR);
    world.store.holds(12).await;
    assert!(world.store.all().iter().all(|s| text(s).contains("Action: delayed")));
    life.stop();
    world.send.domain("dead.test", None);
    world.clock.set_back(DAY + 5 * HOUR);
    let life = Life::start(options);
    life.keeps(0).await;
    assert!((0..12).all(|n| world.send.copies(&format!("v{n}@dead.test")) == 1));
}

/// A step that is less than what waits, and more than a minute.
#[tokio::test]
async fn what_had_just_come_goes_after_a_start_with_another_clock() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    *world.send.dying.lock().unwrap() = true;
    alice(&life).await.accepted(&["v@remote.test"]).await;
    soon("a lease", world.send.asked.subscribe().wait_for(|n| *n >= 1)).await.unwrap();
    life.stop();
    *world.send.dying.lock().unwrap() = false;
    world.clock.set_back(5 * MINUTE);
    let life = world.start(&state);
    life.keeps(0).await;
    assert_eq!(world.send.copies("v@remote.test"), 1);
}

#[tokio::test]
async fn messages_per_minute_are_counted_in_minutes_of_the_clock_as_it_is() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.settings.send.messages_per_minute = Some(2);
    let life = Life::start(options);
    let mut session = alice(&life).await;
    for n in 0..3 {
        session.accepted(&[&format!("w{n}@remote.test")]).await;
    }
    world.send.has_answered(1).await;
    life.keeps(2).await;
    world.clock.set_back(DAY);
    // A few minutes, and not a day: how many looks at the clock fall between two steps is not known.
    for _ in 0..20 {
        step(&world, &life, MINUTE);
        let sent = async { world.send.answered.subscribe().wait_for(|n| *n >= 3).await.map(|_| ()) };
        if tokio::time::timeout(Duration::from_millis(500), sent).await.is_ok() {
            break;
        }
    }
    life.keeps(0).await;
}

/// Who kept to the limits while the clock was ahead is not over them when it is right again.
#[tokio::test]
async fn what_was_sent_in_the_future_was_not_sent_now() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.settings.sending.messages_per_hour = Some(2);
    let life = Life::start(options);
    let mut session = alice(&life).await;
    world.clock.advance(DAY);
    for n in 0..2 {
        session.accepted(&[&format!("v{n}@remote.test")]).await;
    }
    assert!(!matches!(session.submit("alice@mta.test", &["w@remote.test"]).await, Submitted::Accepted(_)));
    world.clock.set_back(DAY);
    for n in 0..2 {
        session.accepted(&[&format!("x{n}@remote.test")]).await;
    }
    assert!(!matches!(session.submit("alice@mta.test", &["w@remote.test"]).await, Submitted::Accepted(_)));
}

/// Each step is below what is noticed, all of them are not.
#[tokio::test]
async fn many_small_steps_are_one_large_one() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("slow@remote.test", &[later(), taken(false)]);
    let mut session = alice(&life).await;
    let slow = session.accepted(&["slow@remote.test"]).await;
    life.tried(slow, 1).await;
    for n in 0..20 {
        world.clock.set_back(Duration::from_secs(50));
        session.accepted(&[&format!("v{n}@remote.test")]).await;
    }
    world.send.has_answered(22).await;
    life.keeps(0).await;
}
