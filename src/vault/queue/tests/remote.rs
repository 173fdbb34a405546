//! Mail to elsewhere: leases, schedules, what senders are told, and what a restart leaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report of a test")]
mod world;

use pure_addr::{Domain, Text};
use std::time::Duration;
use wire::edge::{
    mail::{Notify, Reason, RecipientVerdict, Ret, Submitted},
    queue_control::{self, Action, Filter},
    queue_inbound,
    send_deliver::{Outcome, Route, Status, TlsFailure, TlsPolicy, TlsResult},
};
use world::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

async fn alice(life: &Life) -> Submission {
    life.login(owner(1, "alice@mta.test")).await.unwrap()
}

fn step(world: &World, life: &Life, by: Duration) {
    world.clock.advance(by);
    life.queue().wake();
}

fn text(stored: &Stored) -> String {
    String::from_utf8_lossy(&stored.text).into_owned()
}

#[tokio::test]
async fn each_recipient_gets_its_own_result_and_failures_are_told() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("bad@remote.test", &[refused()]);
    world.send.says("slow@remote.test", &[later(), taken(false)]);
    let to = ["good@remote.test", "bad@remote.test", "slow@remote.test", "bob@mta.test", "v@other.test"];
    let id = alice(&life).await.accepted(&to).await;
    // Bob's copy and the report to alice.
    world.store.holds(2).await;
    let waiting = life.tried(id, 1).await;
    assert_eq!((waiting.address, waiting.attempts), (address("slow@remote.test"), 1));
    assert_eq!(waiting.next_attempt, Some(1_763_695_887 + 225));
    assert_eq!(waiting.status.as_str(), "deferred: said the script: 451 4.2.1 later");
    // One lease for each destination, signed, with the same fields that bob sees.
    world.send.has_answered(2).await;
    let (lease, sent) = (0..2).map(|n| world.send.lease(n)).find(|(l, _)| l.recipients.len() == 3).unwrap();
    assert_eq!(lease.route, Route::Direct(Domain::parse("remote.test").unwrap()));
    assert_eq!(lease.reverse_path.to_string(), "<alice@mta.test>");
    assert!(sent.starts_with("DKIM-Signature: a=ed25519-sha256; d=mta.test; t=1763695887;"), "{sent}");
    assert!(sent.contains("\r\nDKIM-Signature: a=rsa-sha256;") && sent.contains("\r\nReceived: from client.remote.test ([192.0.2.7])\r\n"));
    let field = |text: &str, name: &str| text.lines().find(|l| l.starts_with(name)).map(str::to_owned);
    let bobs = world.store.all().into_iter().find(|s| s.account == 2).unwrap();
    for name in ["Date: ", "Message-ID: "] {
        assert!(field(&sent, name).is_some());
        assert_eq!(field(&sent, name), field(&text(&bobs), name));
    }
    assert_eq!(field(&sent, "Message-ID").unwrap(), format!("Message-ID: <{id}.0000000000000000@mail.mta.test>"));
    assert_eq!(bobs.index.message_id.unwrap(), format!("{id}.0000000000000000@mail.mta.test"));
    let root = bobs.index.structure.root().unwrap();
    assert_eq!(&bobs.text[root.body.start as usize..root.body.end as usize], b"Hello.\r\n");

    let report = text(&world.store.all().into_iter().find(|s| s.account == 1).unwrap());
    assert!(report.starts_with("Return-Path: <>\r\nDelivered-To: alice@mta.test\r\nReceived: by mail.mta.test\r\n"), "{report}");
    assert!(report.contains("Final-Recipient: rfc822; bad@remote.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"), "{report}");
    assert!(!report.contains("slow@remote.test") && report.contains("Subject: hello\r\n\r\nHello.\r\n"));
    step(&world, &life, 5 * MINUTE);
    life.keeps(0).await;
    assert_eq!(world.send.copies("slow@remote.test"), 1);
    assert_eq!(world.send.leases.lock().unwrap().len(), 3);
    assert_eq!(world.store.all().len(), 2);
}

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

#[tokio::test]
async fn after_days_the_sender_hears_of_the_delay_once_and_of_the_failure() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("v@remote.test", &[later()]);
    let id = alice(&life).await.accepted(&["v@remote.test"]).await;
    let mut attempts = 1;
    let mut elapsed = Duration::ZERO;
    while elapsed < 5 * DAY {
        let waiting = life.tried(id, attempts).await;
        let gap = Duration::from_secs((waiting.next_attempt.unwrap() - 1_763_695_887) as u64) - elapsed;
        // Queue times are milliseconds, those of the answer seconds.
        elapsed += gap + Duration::from_secs(1);
        attempts += 1;
        if elapsed >= 5 * DAY {
            break;
        }
        step(&world, &life, gap + Duration::from_secs(1));
    }
    assert!((30..50).contains(&attempts), "{attempts}");
    world.store.holds(1).await;
    step(&world, &life, DAY);
    world.store.holds(2).await;
    life.keeps(0).await;
    let reports: Vec<String> = world.store.all().iter().map(text).collect();
    assert!(reports[0].contains("Action: delayed\r\n") && reports[0].contains("Will-Retry-Until: Wed, 26 Nov 2025"), "{}", reports[0]);
    assert!(reports[1].contains("Action: failed\r\nStatus: 5.4.7\r\n") && reports[1].contains("451 4.2.1 later"), "{}", reports[1]);
}

#[tokio::test]
async fn success_is_told_to_those_who_asked() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let mut envelope = envelope("alice@mta.test", &["relayed@remote.test", "told@other.test", "bob@mta.test"]);
    let mut recipients = envelope.recipients.clone().into_vec();
    for recipient in &mut recipients {
        recipient.notify = Some(Notify { success: true, failure: false, delay: false });
        recipient.orcpt = Some((Text::new("rfc822").unwrap(), Text::new("first@remote.test").unwrap()));
    }
    envelope.recipients = wire::List::new(recipients).unwrap();
    envelope.envid = Some(Text::new("envelope+7").unwrap());
    envelope.ret = Some(Ret::Full);
    world.send.says("told@other.test", &[taken(true)]);
    let submitted = alice(&life).await.submit_whole(envelope, MESSAGE).await;
    assert!(matches!(submitted, Submitted::Accepted(_)));
    world.store.holds(3).await;
    life.keeps(0).await;
    let reports: Vec<String> = world.store.all().iter().filter(|s| s.account == 1).map(text).collect();
    assert_eq!(reports.len(), 2);
    for (recipient, action) in [("relayed@remote.test", "relayed"), ("bob@mta.test", "delivered")] {
        let report = reports.iter().find(|r| r.contains(&format!("Final-Recipient: rfc822; {recipient}\r\n"))).unwrap();
        assert!(report.contains(&format!("Action: {action}\r\nStatus: 2.0.0\r\n")), "{report}");
        assert!(
            report.contains("Original-Envelope-Id: envelope+7\r\n") && report.contains("Original-Recipient: rfc822; first@remote.test\r\n")
        );
        assert!(report.contains("text/rfc822-headers") && !report.contains("Hello."), "RET is for failures");
    }
    let lease = (0..2).map(|n| world.send.lease(n).0).find(|l| l.recipients[0].address == address("told@other.test")).unwrap();
    assert_eq!(
        (lease.envid.unwrap().as_str(), lease.ret, lease.recipients[0].notify.unwrap().success),
        ("envelope+7", Some(Ret::Full), true)
    );
}

#[tokio::test]
async fn nobody_is_told_about_a_report_or_against_their_wish() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.domain("remote.test", Some(refused()));
    let mut session = alice(&life).await;
    assert!(matches!(session.submit("", &["v@remote.test"]).await, Submitted::Accepted(_)));
    let mut never = envelope("alice@mta.test", &[]);
    let recipient = wire::edge::mail::Recipient {
        address: address("w@remote.test"),
        notify: Some(Notify { success: false, failure: false, delay: false }),
        orcpt: None,
    };
    never.recipients.push(recipient).unwrap();
    assert!(matches!(session.submit_whole(never, MESSAGE).await, Submitted::Accepted(_)));
    world.send.has_answered(2).await;
    life.keeps(0).await;
    // A stranger's message that an alias sends on: the stranger is told, at home.
    life.accepted(&["team@mta.test"]).await;
    world.store.holds(2).await;
    world.send.has_answered(4).await;
    life.keeps(0).await;
    let (lease, text) = world.send.lease(3);
    assert_eq!((lease.reverse_path.to_string(), lease.recipients[0].address.to_string()), ("<>".into(), "x@remote.test".into()));
    // The alias is not betrayed, and the report is ours to sign.
    assert!(text.contains("Final-Recipient: rfc822; team@mta.test\r\n") && !text.contains("carol"), "{text}");
    assert!(text.starts_with("DKIM-Signature: "));
    // That report was refused, and nobody hears of it.
    assert_eq!(world.store.all().len(), 2);
}

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
async fn what_cannot_be_signed_waits_and_what_is_not_ours_is_not_signed() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    *world.keys.unavailable.lock().unwrap() = true;
    let id = alice(&life).await.accepted(&["v@remote.test"]).await;
    life.status(id, "deferred: the message cannot be signed now").await;
    assert!(world.send.leases.lock().unwrap().is_empty());
    *world.keys.unavailable.lock().unwrap() = false;
    step(&world, &life, MINUTE);
    life.keeps(0).await;
    // What scan would have signed is not the author who was admitted.
    *world.scan.from.lock().unwrap() = b"boss@bank.test".to_vec();
    alice(&life).await.accepted(&["w@remote.test"]).await;
    life.keeps(0).await;
    assert!(!world.send.lease(1).1.contains("DKIM-Signature"));
    *world.scan.from.lock().unwrap() = b"alice@mta.test".to_vec();
    // A stranger writes as alice: the alias sends it on, and nobody vouches for it.
    assert!(matches!(
        life.submit(envelope("x@remote.test", &["team@mta.test"]), b"From: alice@mta.test\r\n\r\n").await,
        Submitted::Accepted(_)
    ));
    life.keeps(0).await;
    let (_, text) = world.send.lease(2);
    let sealed = "ARC-Seal: i=1; d=mta.test; h=mail.mta.test\r\nDelivered-To: team@mta.test\r\nReceived: ";
    assert!(!text.contains("DKIM-Signature") && text.starts_with(sealed), "{text}");
}

#[tokio::test]
async fn a_host_without_8bitmime_gets_seven_bits_signed_again() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("v@remote.test", &[Outcome::NeedsSevenBit, taken(false)]);
    world.send.says("w@remote.test", &[Outcome::NeedsSevenBit]);
    alice(&life).await.accepted(&["v@remote.test", "u@remote.test", "w@remote.test"]).await;
    world.store.holds(1).await;
    life.keeps(0).await;
    let ((first, _), (second, text_)) = (world.send.lease(0), world.send.lease(1));
    assert_eq!((first.recipients.len(), second.recipients.len()), (3, 2));
    assert_eq!(second.body, wire::edge::mail::Body::SevenBit);
    assert!(text_.ends_with("(seven bits)\r\n") && text_.starts_with("DKIM-Signature"));
    assert!(text(&world.store.all()[0]).contains("Final-Recipient: rfc822; w@remote.test\r\nAction: failed\r\nStatus: 5.6.3\r\n"));
}

#[tokio::test]
async fn a_client_that_is_hidden() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.settings.hide_client.insert("alice@mta.test".into(), true);
    let life = Life::start(options);
    let message = b"X-Mailer: Secret 1.0\r\nFrom: alice@mta.test\r\nuser-agent: Secret/2\r\nSubject: s\r\nX-Originating-IP: [192.0.2.7]\r\n\r\nX-Mailer: stays\r\n";
    let submitted = alice(&life).await.submit_whole(envelope("alice@mta.test", &["v@remote.test", "bob@mta.test"]), message).await;
    assert!(matches!(submitted, Submitted::Accepted(_)));
    world.store.holds(1).await;
    life.keeps(0).await;
    let stored = &world.store.all()[0];
    for text in [world.send.lease(0).1, text(stored)] {
        assert!(!text.contains("Secret") && !text.contains("192.0.2.7") && !text.contains("client.remote.test"), "{text}");
        assert!(
            text.ends_with("From: alice@mta.test\r\nSubject: s\r\n\r\nX-Mailer: stays\r\n")
                && text.contains("Received: by mail.mta.test with")
        );
    }
    let root = stored.index.structure.root().unwrap();
    assert_eq!(&stored.text[root.body.start as usize..root.body.end as usize], b"X-Mailer: stays\r\n");
}

#[tokio::test]
async fn fields_that_are_there_are_not_added() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    {
        let mut identity = world.scan.identity.lock().unwrap();
        (identity.has_date, identity.has_message_id) = (true, true);
    }
    alice(&life).await.accepted(&["v@remote.test"]).await;
    life.keeps(0).await;
    let (_, text) = world.send.lease(0);
    assert!(!text.contains("\r\nDate:") && !text.contains("Message-ID:"), "{text}");
}

#[tokio::test]
async fn forwarded_mail_gets_a_reverse_path_of_ours_and_reports_find_their_way_back() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    life.accepted(&["team@mta.test"]).await;
    life.keeps(0).await;
    let (lease, _) = world.send.lease(0);
    let srs = lease.reverse_path.address().unwrap().clone();
    assert!(srs.local.as_str().starts_with("SRS0=") && srs.domain.as_str() == "mta.test", "{srs}");
    assert_eq!(lease.recipients[0].orcpt.as_ref().unwrap().1.as_str(), "team@mta.test");
    // A report comes back to it.
    let srs = srs.to_string();
    assert_eq!(life.verdict(&srs).await, RecipientVerdict::Accept);
    assert!(matches!(life.submit(envelope("", &[&srs]), MESSAGE).await, Submitted::Accepted(_)));
    life.keeps(0).await;
    let (lease, text) = world.send.lease(1);
    assert_eq!((lease.reverse_path.to_string(), lease.recipients[0].address.to_string()), ("<>".into(), "x@remote.test".into()));
    assert!(text.starts_with("Received: "));
    // Only reports do, and only to addresses that we made.
    assert_eq!(life.submit(envelope("spam@evil.test", &[&srs]), MESSAGE).await, Submitted::Rejected(Reason::NoRecipient));
    let request =
        queue_inbound::Request::Recipient { reverse_path: envelope("spam@evil.test", &[]).reverse_path, recipient: address(&srs) };
    let answer = life.inbound.call(&request, &[]).await.unwrap().body;
    assert_eq!(answer, queue_inbound::Response::Recipient(RecipientVerdict::Unknown));
    for forged in
        [srs.replace("=x@", "=victim@"), srs.replace("remote.test", "victim.test"), "SRS0=AAAAAAAAAA=AA=victim.test=v@mta.test".into()]
    {
        assert_eq!(life.verdict(&forged).await, RecipientVerdict::Unknown, "{forged}");
        assert_eq!(life.submit(envelope("", &[&forged]), MESSAGE).await, Submitted::Rejected(Reason::NoRecipient));
    }
    world.clock.advance(30 * DAY);
    assert_eq!(life.verdict(&srs).await, RecipientVerdict::Unknown);
    // What is sent by one of ours keeps its path.
    alice(&life).await.accepted(&["team@mta.test"]).await;
    life.keeps(0).await;
    assert_eq!(world.send.lease(2).0.reverse_path.to_string(), "<alice@mta.test>");
}

/// RFC 5321 4.5.3.1.1: the rewritten local part has 64 octets at most; who does not fit into that is remembered, also by the next process.
#[tokio::test]
async fn a_sender_too_long_to_be_rewritten_is_kept_and_gets_reports() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    let sender = format!("{}@remote.test", "Long".repeat(16));
    assert!(matches!(life.submit(envelope(&sender, &["team@mta.test"]), MESSAGE).await, Submitted::Accepted(_)));
    life.keeps(0).await;
    let srs = world.send.lease(0).0.reverse_path.address().unwrap().clone();
    assert!(srs.domain.as_str() == "mta.test" && srs.local.as_str().len() == 24, "{srs}");
    let srs = srs.to_string();
    let left = world.killed(&state, "b");
    life.stop();
    let life = world.start(&left);
    // In whatever case others give it back.
    assert_eq!(life.verdict(&srs.to_lowercase()).await, RecipientVerdict::Accept);
    assert!(matches!(life.submit(envelope("", &[&srs]), MESSAGE).await, Submitted::Accepted(_)));
    life.keeps(0).await;
    assert_eq!(world.send.lease(1).0.recipients[0].address, address(&sender));
    // Reports alone come back, for a time, and to nobody else.
    assert_eq!(life.submit(envelope("spam@evil.test", &[&srs]), MESSAGE).await, Submitted::Rejected(Reason::NoRecipient));
    for forged in [srs.replace("SRS0=", "SRS0=A"), srs.replace("@", "A@"), "SRS0=AAAAAAAAAAAAAAAA=AA@mta.test".into()] {
        assert_eq!(life.verdict(&forged).await, RecipientVerdict::Unknown, "{forged}");
    }
    world.clock.advance(22 * DAY);
    assert_eq!(life.verdict(&srs).await, RecipientVerdict::Unknown);
}

/// The second version of the spool, which knew no senders to keep.
#[tokio::test]
async fn the_second_version_of_the_spool_goes_on() {
    let world = World::new();
    let state = world.state("a");
    world.start(&state).stop();
    let db = rusqlite::Connection::open(state.join("queue.db")).unwrap();
    db.execute_batch("DROP TABLE senders; PRAGMA user_version = 2").unwrap();
    drop(db);
    let life = world.start(&state);
    let sender = format!("{}@remote.test", "x".repeat(60));
    assert!(matches!(life.submit(envelope(&sender, &["team@mta.test"]), MESSAGE).await, Submitted::Accepted(_)));
    life.keeps(0).await;
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

#[tokio::test]
async fn domains_that_want_it_get_a_daily_report_on_tls() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let result = |failure| TlsResult {
        domain: Domain::parse("remote.test").unwrap(),
        policy: TlsPolicy::MtaSts,
        policy_text: wire::List::new(vec![Text::new("version: STSv1").unwrap(), Text::new("mx: *.remote.test").unwrap()]).unwrap(),
        mx: Domain::parse("mx.remote.test").unwrap(),
        address: Some("192.0.2.9".parse().unwrap()),
        failure,
    };
    // Of another domain than the lease's: nothing is believed.
    let foreign = TlsResult { domain: Domain::parse("victim.test").unwrap(), ..result(None) };
    *world.send.tls.lock().unwrap() = vec![result(None), result(Some(TlsFailure::CertificateExpired)), foreign];
    let mut session = alice(&life).await;
    session.accepted(&["v@remote.test"]).await;
    session.accepted(&["w@remote.test"]).await;
    life.keeps(0).await;
    world.send.tls.lock().unwrap().clear();
    // Nobody can say yet where reports go: it is asked again later.
    *world.send.report_to.lock().unwrap() = None;
    step(&world, &life, DAY);
    life.list().await;
    *world.send.report_to.lock().unwrap() = Some(vec![address("alice@mta.test"), address("tls@remote.test")]);
    step(&world, &life, 2 * HOUR);
    soon("the report", async {
        while world.send.copies("tls@remote.test") == 0 {
            life.queue().wake();
            tokio::task::yield_now().await;
        }
    })
    .await;
    life.keeps(0).await;
    let leases = world.send.leases.lock().unwrap().clone();
    let (_, report) = leases.iter().find(|(l, _)| l.recipients[0].address == address("tls@remote.test")).unwrap();
    assert!(
        report.starts_with("DKIM-Signature") && report.contains("TLS-Report-Domain: remote.test\r\nTLS-Report-Submitter: mta.test\r\n")
    );
    let json = report.split("\r\n\r\n").find(|part| part.trim_start().starts_with('{')).unwrap();
    let json = json.split("\r\n--=").next().unwrap();
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(value["date-range"]["start-datetime"], "2025-11-21T00:00:00Z");
    let policy = &value["policies"][0];
    assert_eq!((&policy["policy"]["policy-type"], &policy["policy"]["mx-host"][0]), (&"sts".into(), &"*.remote.test".into()));
    assert_eq!(policy["summary"]["total-successful-session-count"], 2);
    assert_eq!(policy["failure-details"][0]["result-type"], "certificate-expired");
    assert!(report.contains("TLS-Required: No\r\n"), "RFC 8460 3");
    assert!(!report.contains("alice@mta.test") && world.store.all().is_empty(), "an account of ours got it");
    assert!(!leases.iter().any(|(_, text)| text.contains("victim.test")));
    // Once.
    step(&world, &life, DAY);
    life.list().await;
    assert_eq!(world.send.copies("tls@remote.test"), 1);
}

/// A database as the first version left it: one message whose local delivery is done, one that was just accepted.
#[tokio::test]
async fn the_first_version_of_the_spool_goes_on() {
    let world = World::new();
    let state = world.state("a");
    std::fs::write(state.join("queue.db"), include_bytes!("fixtures/version-1.db")).unwrap();
    let life = world.start(&state);
    life.keeps(0).await;
    assert_eq!(world.store.all().len(), 1);
    assert_eq!(world.send.copies("v@remote.test"), 2);
    life.stop();
    let db = rusqlite::Connection::open(state.join("queue.db")).unwrap();
    let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap();
    assert_eq!(version, 3);
}
