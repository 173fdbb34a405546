//! From the envelope to the account: what arrives, what is checked, what waits.
mod world;

use std::{fs::File, os::fd::AsFd, sync::Arc, time::Duration};
use wire::{
    MessageWriter,
    edge::{
        auth_directory::Target,
        mail::{QueueId, Reason, RecipientVerdict, Submitted},
        queue_control::{self, Action, Filter},
        queue_inbound, queue_submit,
        store_deliver::Response,
    },
};
use world::*;

#[tokio::test]
async fn an_accepted_message_arrives_whole_with_its_fields_in_front() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let id = life.accepted(&["alice@mta.test"]).await;
    world.store.holds(1).await;
    let stored = world.store.all().remove(0);
    let text = String::from_utf8(stored.text.clone()).unwrap();
    assert_eq!(
        text,
        format!(
            "Return-Path: <x@remote.test>\r\nDelivered-To: alice@mta.test\r\nAuthentication-Results: mail.mta.test;\r\n\tspf=none;\r\n\tdkim=none;\r\n\tdmarc=pass (p=none) header.from=remote.test;\r\n\tarc=none\r\nReceived: from client.remote.test ([192.0.2.7])\r\n\tby mail.mta.test with \
             ESMTP\r\n\tid {id}\r\n\tfor <alice@mta.test>;\r\n\tFri, 21 Nov 2025 03:31:27 +0000\r\n{}",
            std::str::from_utf8(MESSAGE).unwrap()
        )
    );
    assert_eq!((stored.account, stored.received_at), (1, 1_763_695_887));
    // The index speaks of the text with its prefix.
    let root = stored.index.structure.root().unwrap();
    assert_eq!(&stored.text[root.body.start as usize..root.body.end as usize], b"Hello.\r\n");
    assert_eq!(root.header.start, 0);
    let field = root.fields[3];
    assert!(stored.text[field.span.start as usize..].starts_with(b"Received:") && field.name_len == 8);
    life.keeps(0).await;
    // And the store hears that it may forget the id.
    soon("settled", world.store.settled.subscribe().wait_for(|s| *s > id.0)).await.unwrap();
}

#[tokio::test]
async fn recipients_of_one_account_share_a_delivery_and_others_get_their_own() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let id = life.accepted(&["alice+list@mta.test", "team@mta.test", "bob@mta.test"]).await;
    world.store.holds(2).await;
    let stored = world.store.all();
    let field = |account: u64| {
        let text = String::from_utf8(stored.iter().find(|s| s.account == account).unwrap().text.clone()).unwrap();
        text.lines().find_map(|l| l.strip_prefix("Delivered-To: ")).unwrap().to_owned()
    };
    assert_eq!((field(1), field(2)), ("alice+list@mta.test".into(), "team@mta.test".into()));
    // The alias leads to another domain, too: that part stays.
    life.keeps(0).await;
    assert_eq!(world.send.copies("carol@remote.test"), 1);
    assert_eq!(world.send.lease(0).0.id, id);
}

/// Attack case RLY-01: whatever form a recipient has, strangers reach hosted recipients only.
#[tokio::test]
async fn strangers_do_not_relay() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    for to in [
        "victim@remote.test",
        "victim%remote.test@mta.test",
        "remote.test!victim@mta.test",
        "\"victim@remote.test\"@mta.test",
        "\"victim%remote.test\"@mta.test",
        "victim@[127.0.0.1]",
        "victim@[IPv6:::1]",
        "victim@localhost",
        "victim@mta.test.remote.test",
    ] {
        let expected = if to.ends_with("@mta.test") { RecipientVerdict::Unknown } else { RecipientVerdict::NoRelay };
        assert_eq!(life.verdict(to).await, expected, "{to}");
        // And mx cannot skip the question.
        let submitted = life.submit(envelope("x@evil.test", &[to]), MESSAGE).await;
        assert_eq!(submitted, Submitted::Rejected(Reason::NoRecipient), "{to}");
        let submitted = life.submit(envelope("x@evil.test", &["alice@mta.test", to]), MESSAGE).await;
        assert_eq!(submitted, Submitted::Deferred, "{to}");
    }
    assert_eq!(life.verdict("alice@mta.test").await, RecipientVerdict::Accept);
    assert_eq!(life.submit(envelope("x@evil.test", &[]), MESSAGE).await, Submitted::Rejected(Reason::NoRecipient));
    assert!(life.list().await.is_empty() && world.store.all().is_empty());
}

#[tokio::test]
async fn when_nobody_can_say_the_message_is_deferred() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    *world.scan.failing.lock().unwrap() = true;
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await, Submitted::Deferred);
    *world.scan.failing.lock().unwrap() = false;
    // An index that speaks of bytes outside of the message is none.
    *world.scan.lying.lock().unwrap() = true;
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await, Submitted::Deferred);
    *world.scan.lying.lock().unwrap() = false;
    *world.directory.failing.lock().unwrap() = true;
    assert_eq!(life.verdict("alice@mta.test").await, RecipientVerdict::Unavailable);
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await, Submitted::Deferred);
    *world.directory.failing.lock().unwrap() = false;
    assert!(life.list().await.is_empty());
    life.accepted(&["alice@mta.test"]).await;
}

#[tokio::test]
async fn a_missing_process_is_no_reason_to_let_a_message_pass() {
    let world = World::new();
    for missing in 0..2 {
        let mut options = world.options(&world.state(&format!("state{missing}")));
        let nowhere = world.dir.path().join("nowhere");
        if missing == 0 {
            options.scan = nowhere;
        } else {
            options.directory = nowhere;
        }
        let life = Life::start(options);
        assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await, Submitted::Deferred);
        assert!(life.list().await.is_empty());
    }
}

#[tokio::test]
async fn loops_end_here() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.scan.identity.lock().unwrap().received_fields = 51;
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await, Submitted::Rejected(Reason::Loop));
    world.scan.identity.lock().unwrap().received_fields = 50;
    world.scan.identity.lock().unwrap().delivered_to = vec!["Alice@mta.test".into()];
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await, Submitted::Rejected(Reason::Loop));
    assert!(matches!(life.submit(envelope("x@remote.test", &["bob@mta.test"]), MESSAGE).await, Submitted::Accepted(_)));
}

/// Attack case RLY-03: reverse-path and every author belong to the account, and there is exactly one From.
#[tokio::test]
async fn submission_speaks_for_its_own_account() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let mut alice = life.login(owner(1, "alice@mta.test")).await.unwrap();
    let set = |from_fields: u32, authors: &[&str], unreadable: bool| {
        let mut identity = world.scan.identity.lock().unwrap();
        identity.from_fields = from_fields;
        identity.authors = authors.iter().map(|a| (*a).to_owned()).collect();
        identity.unreadable = unreadable;
    };
    type Case = (&'static str, u32, &'static [&'static str], bool, Option<Reason>);
    let cases: [Case; 10] = [
        ("alice@mta.test", 1, &["alice@mta.test"], false, None),
        ("al@mta.test", 1, &["al@mta.test", "alice@mta.test"], false, None),
        ("", 1, &["alice@mta.test"], false, None),
        ("bob@mta.test", 1, &["alice@mta.test"], false, Some(Reason::Sender)),
        ("alice@mta.test", 1, &["bob@mta.test"], false, Some(Reason::Identity)),
        ("alice@mta.test", 2, &["alice@mta.test", "bob@mta.test"], false, Some(Reason::Identity)),
        ("alice@mta.test", 1, &["alice@mta.test", "bob@mta.test"], false, Some(Reason::Identity)),
        ("alice@mta.test", 2, &["alice@mta.test", "alice@mta.test"], false, Some(Reason::Identity)),
        ("alice@mta.test", 1, &["alice@mta.test"], true, Some(Reason::Identity)),
        ("alice@mta.test", 0, &[], false, Some(Reason::Identity)),
    ];
    for (from, from_fields, authors, unreadable, expected) in cases {
        set(from_fields, authors, unreadable);
        let submitted = alice.submit(from, &["v@remote.test"]).await;
        match expected {
            None => assert!(matches!(submitted, Submitted::Accepted(_)), "{from} {authors:?}: {submitted:?}"),
            Some(reason) => assert_eq!(submitted, Submitted::Rejected(reason), "{from} {authors:?}"),
        }
    }
    // The same socket for another account answers for that one.
    set(1, &["alice@mta.test"], false);
    let mut bob = life.login(owner(2, "bob@mta.test")).await.unwrap();
    assert_eq!(bob.submit("alice@mta.test", &["v@remote.test"]).await, Submitted::Rejected(Reason::Sender));
    *world.directory.failing.lock().unwrap() = true;
    assert_eq!(alice.submit("alice@mta.test", &["v@remote.test"]).await, Submitted::Deferred);
}

#[tokio::test]
async fn submission_is_told_before_it_sends() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let mut alice = life.login(owner(1, "alice@mta.test")).await.unwrap();
    let path = |text: &str| envelope(text, &[]).reverse_path;
    for (from, may) in [("alice@mta.test", true), ("bob@mta.test", false), ("", true)] {
        let answer = alice.call(&queue_submit::Request::Sender(path(from)), None).await.unwrap();
        assert_eq!(answer, queue_submit::Response::Sender(Some(may)), "{from}");
    }
    for (to, verdict) in [
        ("v@remote.test", RecipientVerdict::Accept),
        ("bob@mta.test", RecipientVerdict::Accept),
        ("nobody@mta.test", RecipientVerdict::Unknown),
    ] {
        let answer = alice.call(&queue_submit::Request::Recipient(address(to)), None).await.unwrap();
        assert_eq!(answer, queue_submit::Response::Recipient(verdict), "{to}");
    }
    *world.directory.failing.lock().unwrap() = true;
    let answer = alice.call(&queue_submit::Request::Sender(path("alice@mta.test")), None).await.unwrap();
    assert_eq!(answer, queue_submit::Response::Sender(None));
}

#[tokio::test]
async fn a_full_mailbox_is_tried_again_and_after_five_days_its_sender_is_told() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.store.refuse.lock().unwrap().insert(1, Response::OverQuota { room: 0 });
    let id = life.accepted(&["alice@mta.test"]).await;
    let waiting = life.status(id, "deferred: the mailbox is full").await;
    // More of it stays with whoever sends it.
    assert_eq!(life.verdict("alice@mta.test").await, RecipientVerdict::MailboxFull);
    assert_eq!(life.verdict("bob@mta.test").await, RecipientVerdict::Accept);
    // Three quarters of five minutes: the random part is zero here.
    assert_eq!((waiting.attempts, waiting.next_attempt), (1, Some(1_763_695_887 + 225)));
    world.clock.advance(Duration::from_secs(226));
    life.queue().wake();
    soon("the second try", async {
        while life.recipients(id).await[0].attempts != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.clock.advance(Duration::from_secs(5 * 24 * 3600));
    life.queue().wake();
    life.keeps(0).await;
    let (lease, text) = world.send.lease(0);
    assert_eq!((lease.reverse_path.to_string(), lease.recipients[0].address.to_string()), ("<>".into(), "x@remote.test".into()));
    assert!(text.contains("Final-Recipient: rfc822; alice@mta.test\r\nAction: failed\r\nStatus: 5.2.2\r\n"), "{text}");
    assert!(world.store.all().is_empty());
}

/// What waits for a time that is far away again is not forgotten until then.
#[tokio::test]
async fn a_clock_that_is_set_back_holds_nothing_up() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    life.put_off(&world).await;
    world.clock.set_back(Duration::from_secs(3 * 24 * 3600));
    life.queue().wake();
    world.store.holds(1).await;
    life.keeps(0).await;
    world.send.has_answered(2).await;
}

/// The clock of a process that was not there to see it: a machine that started with a wrong one, say.
#[tokio::test]
async fn a_clock_that_is_set_back_between_two_processes_holds_nothing_up() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    life.put_off(&world).await;
    life.stop();
    world.clock.set_back(Duration::from_secs(2 * 60));
    let life = world.start(&state);
    world.store.holds(1).await;
    life.keeps(0).await;
    world.send.has_answered(2).await;
}

/// Whoever asks what time it is: the schedule may not have looked at all while the clock was wrong.
#[tokio::test]
async fn a_clock_that_goes_on_and_back_is_noticed_by_the_next_message() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("slow@remote.test", &[later(), taken(false)]);
    let mut alice = life.login(owner(1, "alice@mta.test")).await.unwrap();
    alice.accepted(&["first@remote.test"]).await;
    world.send.has_answered(1).await;
    world.clock.advance(Duration::from_secs(24 * 3600));
    let slow = alice.accepted(&["slow@remote.test"]).await;
    life.tried(slow, 1).await;
    world.clock.set_back(Duration::from_secs(3600));
    alice.accepted(&["next@remote.test"]).await;
    world.send.has_answered(4).await;
    life.keeps(0).await;
}

/// The administrator raises the quota: the delivery goes with the account as it is now.
#[tokio::test]
async fn a_mailbox_that_has_room_again_gets_its_mail() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.store.refuse.lock().unwrap().insert(1, Response::OverQuota { room: 0 });
    let id = life.accepted(&["alice@mta.test"]).await;
    life.status(id, "deferred: the mailbox is full").await;
    world.store.refuse.lock().unwrap().clear();
    let mut richer = owner(1, "alice@mta.test");
    richer.quota = Some(1 << 40);
    world.directory.entries.lock().unwrap().insert("alice@mta.test".into(), vec![Target::Account { owner: richer, detail: None }]);
    assert_eq!(life.change(Action::Retry, Filter::default()).await, 1);
    world.store.holds(1).await;
    assert_eq!(world.store.all()[0].quota, Some(1 << 40));
    life.keeps(0).await;
}

#[tokio::test]
async fn mail_of_an_account_that_is_gone_goes_back() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.store.refuse.lock().unwrap().insert(1, Response::Unavailable);
    let id = life.accepted(&["alice@mta.test"]).await;
    life.status(id, "deferred: the store is not available").await;
    world.directory.entries.lock().unwrap().clear();
    world.clock.advance(Duration::from_secs(2));
    life.queue().wake();
    life.keeps(0).await;
    assert!(world.send.lease(0).1.contains("Status: 5.1.1\r\n"));
}

#[tokio::test]
async fn the_administrator_lists_shows_and_deletes() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.store.deliver_gate.close();
    let first = life.accepted(&["alice@mta.test"]).await;
    let second = life.accepted(&["alice@mta.test", "bob@mta.test"]).await;
    assert!(second > first);
    let list = life.list().await;
    assert_eq!(list.iter().map(|m| (m.id, m.waiting)).collect::<Vec<_>>(), [(first, 1), (second, 2)]);
    assert_eq!((list[0].size, list[0].received_at), (MESSAGE.len() as u64, 1_763_695_887));
    let queue_control::Response::Messages(rest) = life.ask(queue_control::Request::List { after: first, filter: Filter::default() }).await
    else {
        panic!()
    };
    assert_eq!(rest.iter().map(|m| m.id).collect::<Vec<_>>(), [second]);
    assert_eq!(life.recipients(second).await.len(), 2);
    assert_eq!(life.recipients(first).await[0].status.as_str(), "delivery is under way");
    for request in [
        queue_control::Request::Show(QueueId(1)),
        queue_control::Request::Trace(QueueId(1)),
        queue_control::Request::Change { action: Action::Retry, filter: Filter { id: Some(QueueId(1)), ..Filter::default() } },
    ] {
        assert_eq!(life.ask(request).await, queue_control::Response::NoSuchMessage);
    }
    assert_eq!(life.change(Action::Delete, Filter { id: Some(first), ..Filter::default() }).await, 1);
    assert_eq!(life.list().await.len(), 1);
    // What was under way ends without bringing the message back.
    world.store.deliver_gate.open();
    life.keeps(0).await;
}

#[tokio::test]
async fn messages_above_the_limit_and_things_that_are_no_messages() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.message_size = MESSAGE.len() as u64;
    let life = Life::start(options);
    let mut larger = MESSAGE.to_vec();
    larger.push(b'x');
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), &larger).await, Submitted::Rejected(Reason::Size));
    life.accepted(&["alice@mta.test"]).await;
    // A lying mx loses its connection, and the next one is served.
    let request = queue_inbound::Request::Submit(envelope("x@remote.test", &["alice@mta.test"]));
    let file = File::open("/dev/null").unwrap();
    for fds in [vec![], vec![file.as_fd()]] {
        assert!(life.inbound.call(&request, &fds).await.is_err());
    }
    let sealed = MessageWriter::sealed(MESSAGE).unwrap();
    let question = queue_inbound::Request::Recipient { reverse_path: envelope("", &[]).reverse_path, recipient: address("alice@mta.test") };
    assert!(life.inbound.call(&question, &[sealed.as_fd()]).await.is_err());
    assert_eq!(life.verdict("alice@mta.test").await, RecipientVerdict::Accept);
}

#[tokio::test]
async fn what_does_not_fit_in_memory_is_deferred_or_waits_on_disk() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.limits.submitting = 1;
    options.limits.active = 1;
    options.limits.active_patience = Duration::ZERO;
    let life = Life::start(options);
    world.scan.gate.close();
    let client = life.inbound.clone();
    let first = tokio::spawn(async move { submit(&client, envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await });
    soon("scan", world.scan.calls.subscribe().wait_for(|n| *n > 0)).await.unwrap();
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await, Submitted::Deferred);
    world.store.deliver_gate.close();
    world.scan.gate.open();
    assert!(matches!(first.await.unwrap(), Submitted::Accepted(_)));
    // The first is in delivery and fills the memory: the others wait on disk and are delivered all the same.
    for _ in 0..5 {
        life.accepted(&["alice@mta.test", "bob@mta.test"]).await;
    }
    assert_eq!(*world.store.arrived.borrow(), 1);
    world.store.deliver_gate.open();
    world.store.holds(11).await;
    life.keeps(0).await;
    assert!(world.store.asked.lock().unwrap().values().all(|n| *n == 1));
}

#[tokio::test]
async fn a_disk_without_room_defers() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.limits.free_disk = u64::MAX;
    let life = Life::start(options);
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await, Submitted::Deferred);
}

#[tokio::test]
async fn sessions_are_counted() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.limits.sessions = 1;
    let life = Life::start(options);
    let alice = life.login(owner(1, "alice@mta.test")).await.unwrap();
    assert!(life.login(owner(1, "alice@mta.test")).await.is_none());
    drop(alice);
    soon("the place of the closed session", async {
        while life.login(owner(1, "alice@mta.test")).await.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_message_for_many_accounts() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let names: Vec<String> = (10..210).map(|n| format!("user{n}@mta.test")).collect();
    for (n, name) in (10..).zip(&names) {
        let target = Target::Account { owner: owner(n, name), detail: None };
        world.directory.entries.lock().unwrap().insert(name.clone(), vec![target]);
    }
    life.accepted(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    world.store.holds(200).await;
    life.keeps(0).await;
    assert!(world.store.asked.lock().unwrap().values().all(|n| *n == 1));
}

/// Waiting messages share commits: with ten at a time there are far fewer commits than messages, and no answer comes before its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_submits_share_a_commit() {
    let world = World::new();
    let life = Arc::new(world.start(&world.state("a")));
    world.scan.gate.close();
    let mut tasks = Vec::new();
    for _ in 0..200 {
        let client = life.inbound.clone();
        tasks.push(tokio::spawn(async move { submit(&client, envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await }));
    }
    soon("all at scan", world.scan.calls.subscribe().wait_for(|n| *n >= 200)).await.unwrap();
    let before = life.queue().commits();
    world.scan.gate.open();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Submitted::Accepted(_)));
    }
    world.store.holds(200).await;
    let commits = life.queue().commits() - before;
    assert!(commits < 150, "{commits} commits for 200 messages");
    life.keeps(0).await;
}
