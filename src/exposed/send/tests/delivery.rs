//! Deliveries to scripted mail hosts in clear text: what the host does, and what becomes of each recipient.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

mod world;

use pure_addr::{Address, Text};
use std::{
    net::SocketAddr,
    os::fd::AsFd,
    sync::{Arc, Mutex},
    time::Duration,
};
use wire::{
    List, MessageWriter,
    edge::{
        mail::{Body, Notify},
        send_deliver::{Outcome, Request, Response},
        send_names,
    },
};
use world::*;

const BOTH: [&str; 2] = ["a@remote.test", "b@remote.test"];

async fn with(extensions: &'static str, answers: Answers) -> (Host, World) {
    let host = Host::start(any_port(), extensions, None, false, answers).await;
    let world = World::remote(settings(host.address.port()), &host, false);
    (host, world)
}

#[tokio::test]
async fn a_message_arrives_as_it_is() {
    for extensions in ["", "PIPELINING,SIZE 1000000,8BITMIME", "PIPELINING,CHUNKING,DSN"] {
        let (host, world) = with(extensions, well_behaved()).await;
        let report = world.send(&BOTH).await;
        assert_eq!(outcomes(&report), ["D 2.0.0", "D 2.0.0"], "{report:?}");
        let dot = if extensions.contains("CHUNKING") { ".dot\r\n" } else { "..dot\r\n.\r\n" };
        assert_eq!(host.seen(|s| s.messages[0].0.clone()), format!("Received: here\r\nSubject: x\r\n\r\n{dot}"));
        assert!(host.said("EHLO mail.mta.test") && host.said("MAIL FROM:<alice@mta.test>"));
        let Outcome::Delivered { dsn, trace } = &report.results[0].1 else { panic!() };
        assert_eq!((*dsn, trace.reply.as_ref().unwrap().as_str()), (extensions.contains("DSN"), "250 2.0.0 taken"));
    }
}

#[tokio::test]
async fn refusals_are_each_recipients_own() {
    let (host, world) = with("PIPELINING", answers(&[("RCPT TO:<a@", "550 5.1.1 nobody"), ("RCPT TO:<c@", "451 4.7.1 greylisted")])).await;
    let report = world.send(&["a@remote.test", "b@remote.test", "c@remote.test"]).await;
    assert_eq!(outcomes(&report), ["F 5.1.1", "D 2.0.0", "t 4.7.1"]);
    assert_eq!(host.count(), 1);
    assert_eq!(trace(&report).reply.as_ref().unwrap().as_str(), "550 5.1.1 nobody");
}

#[tokio::test]
async fn refusals_of_all_reach_all() {
    for (list, expected) in [
        (&[("MAIL", "550 5.7.1 no")][..], "F 5.7.1"),
        (&[("MAIL", "451 later")], "t 4.0.0"),
        (&[("DATA", "554 5.5.0 no")], "F 5.5.0"),
        (&[("DATA", "450 no")], "t 4.0.0"),
        (&[("END", "554 5.6.0 no")], "F 5.6.0"),
        (&[("END", "452 4.3.1 full")], "t 4.3.1"),
        (&[("CONNECT", "554 5.7.1 not you")], "F 5.7.1"),
        (&[("CONNECT", "421 4.3.2 busy")], "t 4.3.2"),
        (&[("EHLO", "450 4.3.2 busy")], "t 4.3.2"),
        (&[("MAIL", "421 4.3.2 bye")], "t 4.3.2"),
        (&[("RCPT TO:<b", "421 4.3.2 bye")], "t 4.3.2"),
    ] {
        let (host, world) = with("PIPELINING", answers(list)).await;
        let report = world.send(&BOTH).await;
        assert_eq!(outcomes(&report), [expected; 2], "{list:?}");
        assert_eq!(host.count(), 0);
    }
}

#[tokio::test]
async fn a_host_that_dies_delivers_nothing() {
    for (list, text) in [
        (&[("CONTENT", "DROP")][..], "while the message was sent"),
        (&[("END", "DROP")], "may have been delivered"),
        (&[("DATA", "DROP")], "after"),
        (&[("MAIL", "DROP")], "after MAIL"),
        (&[("EHLO", "DROP")], "after EHLO"),
    ] {
        let (_host, world) = with("", answers(list)).await;
        // More than all buffers on the way hold, where the host stops reading.
        let lines = if list[0].0 == "CONTENT" { 1_000_000 } else { 10 };
        let message = format!("Subject: x\r\n\r\n{}", "line of a message\r\n".repeat(lines));
        let report = world.deliver(lease("remote.test", &BOTH), message.as_bytes()).await;
        assert_eq!(outcomes(&report), ["t 4.4.2", "t 4.4.2"], "{list:?} {report:?}");
        assert!(trace(&report).text.as_str().contains(text), "{list:?} {report:?}");
    }
}

#[tokio::test]
async fn the_next_host_takes_what_the_first_does_not() {
    let first = Host::start(any_port(), "", None, false, answers(&[("RCPT TO:<b", "451 later"), ("RCPT TO:<c", "550 no")])).await;
    let second = Host::start(SocketAddr::new(loopback(2), first.address.port()), "", None, false, well_behaved()).await;
    let world = World::new(settings(first.address.port()));
    world.dns.mx("remote.test", false, &[(10, "mx1.remote.test"), (20, "mx2.remote.test")]);
    world.dns.address("mx1.remote.test", false, first.address.ip());
    world.dns.address("mx2.remote.test", false, second.address.ip());
    let mut lease = lease("remote.test", &["a@remote.test", "b@remote.test", "c@remote.test"]);
    let report = world.deliver(lease.clone(), b"x\r\n").await;
    // Who was delivered does not wait for the others; they are offered again at once.
    assert_eq!(outcomes(&report), ["D 2.0.0", "again", "F 5.0.0"]);
    lease.recipients = List::new(vec![lease.recipients[1].clone()]).unwrap();
    assert_eq!(outcomes(&world.deliver(lease, b"x\r\n").await), ["D 2.0.0"]);
    assert_eq!((first.count(), second.count()), (1, 1));
    assert!(second.said("RCPT TO:<b@") && !second.said("RCPT TO:<a@") && !second.said("RCPT TO:<c@"));

    // Uncertain is not for another host: that would be a second copy for sure.
    let first = Host::start(any_port(), "", None, false, answers(&[("END", "DROP")])).await;
    let second = Host::start(SocketAddr::new(loopback(2), first.address.port()), "", None, false, well_behaved()).await;
    let world = World::new(settings(first.address.port()));
    world.dns.mx("remote.test", false, &[(10, "mx1.remote.test"), (20, "mx2.remote.test")]);
    world.dns.address("mx1.remote.test", false, first.address.ip());
    world.dns.address("mx2.remote.test", false, second.address.ip());
    assert_eq!(outcomes(&world.send(&BOTH).await), ["t 4.4.2", "t 4.4.2"]);
    assert_eq!(second.seen(|s| s.connections), 0);
}

#[tokio::test]
async fn too_many_recipients_go_in_further_transactions() {
    let accepted = Arc::new(Mutex::new(0));
    let hook: Answers = Arc::new(move |line| {
        let mut accepted = accepted.lock().unwrap();
        if line.starts_with("MAIL") {
            *accepted = 0;
        }
        if line.starts_with("RCPT") {
            *accepted += 1;
            return (*accepted > 2).then(|| "452 4.5.3 too many".into());
        }
        None
    });
    let host = Host::start(any_port(), "PIPELINING", None, false, hook).await;
    let mut keeping = settings(host.address.port());
    keeping.limits.idle = PATIENCE;
    let world = World::remote(keeping, &host, false);
    let names = ["a@remote.test", "b@remote.test", "c@remote.test", "d@remote.test", "e@remote.test"];
    let mut lease = lease("remote.test", &names);
    // Each transaction is reported before the next, which is another lease.
    for left in [3, 1, 0] {
        let report = world.deliver(lease.clone(), b"x\r\n").await;
        let (again, done): (Vec<_>, Vec<_>) = report.results.iter().partition(|(_, outcome)| *outcome == Outcome::Again);
        assert!(done.iter().all(|(_, outcome)| matches!(outcome, Outcome::Delivered { .. })), "{report:?}");
        assert_eq!(again.len(), left);
        let open = lease.recipients.iter().filter(|r| again.iter().any(|(number, _)| *number == r.number));
        lease.recipients = List::new(open.cloned().collect()).unwrap();
    }
    assert_eq!((host.count(), host.seen(|s| s.connections)), (3, 1));
}

/// Attack case OUT-01.
#[tokio::test]
async fn hostile_replies_defer() {
    let variants: [(Vec<u8>, bool); 11] = [
        (b"220-x\r\n".repeat(200_000), false),
        (b"999 x\r\n".to_vec(), false),
        (b"22\r\n".to_vec(), false),
        (b"220 \0\r\n".to_vec(), true),
        (b"220 x\n".to_vec(), true),
        (vec![b'2'; 10_000_000], false),
        (b"220 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n".to_vec(), false),
        (b"220 x\r\n".to_vec(), true),
        (b"-1 x\r\n".to_vec(), false),
        // INJ-06, out of its place.
        (b"553-no\r\n553-\ntype: mda\nmda-exec: /bin/touch /tmp/pwned\r\n999\r\n".to_vec(), false),
        ([b"220-".to_vec(), vec![b'x'; 1 << 20], b"\r\n220 x\r\n".to_vec()].concat(), false),
    ];
    for (bytes, close) in variants {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let host = Host::shout(any_port(), bytes, close).await;
        let world = World::remote(settings(host.address.port()), &host, false);
        let report = world.send(&BOTH).await;
        assert!(outcomes(&report).iter().all(|o| o.starts_with("t 4.")), "{shown:?} {report:?}");
        assert_eq!(host.seen(|s| s.connections), 1);
    }
}

/// Attack case INJ-06.
#[tokio::test]
async fn what_a_host_says_is_text_in_one_field() {
    const ANSWER: &str = "553-no\r\n553-\ntype: mda\nmda-exec: /bin/touch /tmp/pwned\r\n553";
    let (_host, world) = with("", answers(&[("RCPT", ANSWER)])).await;
    let report = world.send(&["a@remote.test"]).await;
    let trace = trace(&report);
    assert_eq!(outcomes(&report), ["F 5.0.0"]);
    assert_eq!(trace.reply.as_ref().unwrap().as_str(), "553 no \u{FFFD}type: mda\u{FFFD}mda-exec: /bin/touch /tmp/pwned");
}

/// Attack case OUT-01: silence, and bytes that drip in.
#[tokio::test]
async fn slowness_ends_at_the_limit() {
    let mut short = settings(0);
    short.limits.smtp.greeting = Duration::from_millis(200);
    let silent = Host::shout(any_port(), Vec::new(), false).await;
    short.reach.smtp = silent.address.port();
    let world = World::remote(short.clone(), &silent, false);
    let report = world.send(&["a@remote.test"]).await;
    assert!(trace(&report).text.as_str().ends_with("did not answer in time before the greeting"), "{report:?}");

    // A byte each 20 ms: the limit is for the whole reply.
    let listener = tokio::net::TcpListener::bind(any_port()).await.unwrap();
    short.reach.smtp = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_millis(20));
                loop {
                    tick.tick().await;
                    if tokio::io::AsyncWriteExt::write_all(&mut socket, b"2").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let world = World::new(short);
    world.dns.address("remote.test", false, loopback(1));
    let report = world.send(&["a@remote.test"]).await;
    assert_eq!(outcomes(&report), ["t 4.4.2"]);

    // The lease as a whole.
    let silent = Host::shout(any_port(), Vec::new(), false).await;
    let mut short = settings(silent.address.port());
    short.limits.lease = Duration::from_millis(100);
    let report = World::remote(short, &silent, false).send(&BOTH).await;
    assert_eq!(outcomes(&report), ["t 4.4.1", "t 4.4.1"]);
    assert!(trace(&report).text.as_str().contains("took too long"));
}

/// Attack case OUT-02.
#[tokio::test]
async fn what_a_host_cannot_take_is_not_mangled() {
    let (host, world) = with("SIZE 10", well_behaved()).await;
    assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["F 5.3.4"]);
    let (plain, world) = with("8BITMIME", well_behaved()).await;
    assert_eq!(outcomes(&world.send(&["\u{fc}@remote.test"]).await), ["F 5.6.7"]);
    assert!(!host.said("MAIL") && !plain.said("MAIL"));
    let (host, world) = with("SMTPUTF8,8BITMIME", well_behaved()).await;
    assert_eq!(outcomes(&world.send(&["\u{fc}@remote.test"]).await), ["D 2.0.0"]);
    assert!(host.said("MAIL FROM:<alice@mta.test> SMTPUTF8"));

    let (host, world) = with("", well_behaved()).await;
    let mut eight = lease("remote.test", &BOTH);
    eight.body = Body::EightBitMime;
    assert_eq!(outcomes(&world.deliver(eight, b"\xc3\xa9\r\n").await), ["7", "7"]);
    // What nobody declared is not seven bits for that.
    assert_eq!(outcomes(&world.deliver(lease("remote.test", &BOTH), b"\xc3\xa9\r\n").await), ["7", "7"]);
    let report = world.deliver(lease("remote.test", &BOTH), b"a\nb\r\n").await;
    assert_eq!((outcomes(&report), host.count()), (vec!["F 5.6.0".to_owned(); 2], 0));
}

#[tokio::test]
async fn dsn_parameters_go_where_they_are_understood() {
    let (host, world) = with("DSN", well_behaved()).await;
    let mut given = lease("remote.test", &["a@remote.test"]);
    given.envid = Some(Text::new("Q1").unwrap());
    let mut recipient = given.recipients[0].clone();
    recipient.notify = Some(Notify { success: true, failure: false, delay: false });
    recipient.orcpt = Some((Text::new("rfc822").unwrap(), Text::new("x@y.test").unwrap()));
    given.recipients = List::new(vec![recipient]).unwrap();
    world.deliver(given, b"x\r\n").await;
    assert!(host.said("MAIL FROM:<alice@mta.test> ENVID=Q1") && host.said("RCPT TO:<a@remote.test> NOTIFY=SUCCESS ORCPT=rfc822;x@y.test"));
}

#[tokio::test]
async fn the_dns_decides_where_to() {
    let (host, world) = with("", well_behaved()).await;
    let ask = |name: &str| lease(name, &["a@x.test"]);
    let none = send_names::Response::None { secure: true, no_name: true };
    world.dns.say(send_names::Request::Mx(domain("gone.test")), none);
    world.dns.say(send_names::Request::Mx(domain("bogus.test")), send_names::Response::Bogus);
    world.dns.say(send_names::Request::Mx(domain("dead.test")), send_names::Response::Unavailable);
    world.dns.mx("null.test", true, &[(0, "")]);
    world.dns.mx("loop.test", false, &[(10, "mail.mta.test"), (20, "mx.remote.test")]);
    world.dns.mx("nowhere.test", false, &[(10, "none.remote.test")]);
    world.dns.mx("wild.test", false, &[(10, "wild.remote.test")]);
    world.dns.address("wild.remote.test", false, "0.0.0.0".parse().unwrap());
    world.dns.address("implicit.test", false, host.address.ip());
    for (name, expected) in [
        ("gone.test", "F 5.1.2"),
        ("bogus.test", "t 4.7.0"),
        ("dead.test", "t 4.4.3"),
        ("null.test", "F 5.1.10"),
        ("loop.test", "F 5.4.6"),
        ("nowhere.test", "F 5.4.4"),
        ("wild.test", "F 5.4.4"),
        ("implicit.test", "D 2.0.0"),
        ("[127.0.0.1]", "D 2.0.0"),
    ] {
        assert_eq!(outcomes(&world.deliver(ask(name), b"x\r\n").await), [expected], "{name}");
    }
    // Our own address under another name is ourselves; and without leave, nothing leads to loopback.
    world.dns.address("mail.mta.test", false, host.address.ip());
    assert_eq!(outcomes(&world.deliver(ask("implicit.test"), b"x\r\n").await), ["F 5.4.6"]);
    let mut strict = settings(host.address.port());
    strict.reach.loopback = false;
    let world = World::remote(strict, &host, false);
    assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["F 5.4.4"]);
    assert_eq!(host.count(), 2);
}

/// What the DNS can do of attack case SSRF-01: wherever a name or a literal leads, no connection is made to an address that is not public.
#[tokio::test]
async fn nothing_leads_inside() {
    let host = Host::start(any_port(), "", None, false, well_behaved()).await;
    let strict = || {
        let mut strict = settings(host.address.port());
        strict.reach.loopback = false;
        // Nobody's: a connection that would be tried ends before a packet leaves, and says so.
        strict.source_addresses = vec!["203.0.113.1".parse().unwrap()];
        strict
    };
    let inside = ["10.1.2.3", "169.254.169.254", "100.64.0.1", "192.168.0.1", "127.0.0.1", "::1", "fd00::1", "fe80::1", "::ffff:127.0.0.1"];
    let world = World::new(strict());
    for address in inside {
        let address: std::net::IpAddr = address.parse().unwrap();
        world.dns.mx("remote.test", false, &[(10, "mx.remote.test")]);
        world.dns.address("mx.remote.test", false, address);
        world.dns.address("implicit.test", false, address);
        let literal = if address.is_ipv4() { format!("[{address}]") } else { format!("[IPv6:{address}]") };
        for name in ["remote.test", "implicit.test", &literal] {
            let report = world.deliver(lease(name, &["a@remote.test"]), b"x\r\n").await;
            assert_eq!(outcomes(&report), ["F 5.4.4"], "{name} {address}");
            assert!(trace(&report).text.as_str().contains("not public"), "{report:?}");
        }
    }
    // Another host of the domain may be public: what cannot be used does not speak for it.
    world.dns.mx("remote.test", false, &[(10, "mx.remote.test"), (20, "dead.remote.test")]);
    world.dns.say(send_names::Request::Addresses(domain("dead.remote.test")), send_names::Response::Unavailable);
    assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["t 4.4.3"]);
    assert_eq!(host.seen(|s| s.connections), 0);

    // Declared, it is tried.
    let mut declared = strict();
    declared.private_networks = vec!["10.1.0.0/16".parse().unwrap()];
    let world = World::new(declared);
    let tried = world.deliver(lease("[10.1.2.3]", &["a@remote.test"]), b"x\r\n").await;
    assert!(outcomes(&tried) == ["t 4.4.1"] && trace(&tried).text.as_str().contains("cannot connect"), "{tried:?}");
    assert_eq!(outcomes(&world.deliver(lease("[10.2.2.3]", &["a@remote.test"]), b"x\r\n").await), ["F 5.4.4"]);
}

#[tokio::test]
async fn connections_are_used_again() {
    let host = Host::start(any_port(), "PIPELINING", None, false, answers(&[("RCPT TO:<b", "550 no")])).await;
    let mut keeping = settings(host.address.port());
    keeping.limits.idle = PATIENCE;
    let world = World::remote(keeping, &host, false);
    for _ in 0..3 {
        assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["D 2.0.0"]);
        // A refused transaction does not spoil the next.
        assert_eq!(outcomes(&world.send(&["b@remote.test"]).await), ["F 5.0.0"]);
    }
    assert_eq!((host.seen(|s| s.connections), host.count()), (1, 3));
}

#[tokio::test]
async fn a_connection_that_died_waiting_costs_nothing() {
    // Whatever comes second in a session kills it without a word.
    let mails = Arc::new(Mutex::new(0));
    let hook: Answers = Arc::new(move |line| {
        let mut mails = mails.lock().unwrap();
        if line == "CONNECT" {
            *mails = 0;
        }
        *mails += usize::from(line.starts_with("MAIL"));
        (*mails > 1).then(|| "DROP".into())
    });
    let host = Host::start(any_port(), "PIPELINING", None, false, hook).await;
    let mut keeping = settings(host.address.port());
    keeping.limits.idle = PATIENCE;
    let world = World::remote(keeping, &host, false);
    for _ in 0..3 {
        assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["D 2.0.0"]);
    }
    assert_eq!((host.seen(|s| s.connections), host.count()), (3, 3));
}

#[tokio::test]
async fn what_is_offered_again_is_not_sent_again() {
    let (host, world) = with("PIPELINING", answers(&[("RCPT TO:<b", "451 later")])).await;
    let lease = lease("remote.test", &BOTH);
    let first = world.deliver(lease.clone(), b"Subject: x\r\n\r\n").await;
    assert_eq!(outcomes(&first), ["D 2.0.0", "t 4.0.0"]);
    // The queue died before it knew, and may ask without offering anything.
    let known = Request::Known { id: lease.id, numbers: List::new(vec![7, 8, 9]).unwrap() };
    let Response::Report(known) = world.another_client().call(&known, &[]).await.unwrap().body else { panic!() };
    assert_eq!(known.results.iter().collect::<Vec<_>>(), [&first.results[0]]);
    // What was not delivered is tried.
    let second = deliver(&world.another_client(), lease, b"Subject: x\r\n\r\n").await;
    assert_eq!(second.results, first.results);
    assert_eq!(host.count(), 1);
    assert_eq!(host.seen(|s| s.lines.iter().filter(|l| l.starts_with("RCPT")).cloned().collect::<Vec<_>>()).len(), 3);
}

/// The queue dies while the remote thinks about the message; the next one offers it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_queue_that_dies_cuts_nothing_off() {
    let (arrived, mut content) = tokio::sync::mpsc::unbounded_channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let hook: Answers = Arc::new(move |line| {
        if line == "END" {
            arrived.send(()).unwrap();
            tokio::task::block_in_place(|| wait.lock().unwrap().recv_timeout(PATIENCE)).unwrap();
        }
        None
    });
    let (host, world) = with("", hook).await;
    let lease = lease("remote.test", &BOTH);
    let first = tokio::spawn({
        let (client, lease) = (world.another_client(), lease.clone());
        async move { deliver(&client, lease, b"Subject: x\r\n\r\n").await }
    });
    content.recv().await.unwrap();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let second = tokio::spawn({
        let (client, lease) = (world.another_client(), lease);
        async move { deliver(&client, lease, b"Subject: x\r\n\r\n").await }
    });
    go.send(()).unwrap();
    assert_eq!(outcomes(&second.await.unwrap()), ["D 2.0.0", "D 2.0.0"]);
    assert_eq!(host.count(), 1);
}

/// The queue dies before the end of the message: the remote never has it, and the next queue has it sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_completed_for_a_queue_that_is_gone() {
    for extensions in ["", "PIPELINING", "CHUNKING"] {
        let (arrived, mut offered) = tokio::sync::mpsc::unbounded_channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Mutex::new(Some(wait));
        let hook: Answers = Arc::new(move |line| {
            if line.starts_with("RCPT TO:<b")
                && let Some(wait) = wait.lock().unwrap().take()
            {
                arrived.send(()).unwrap();
                tokio::task::block_in_place(|| wait.recv_timeout(PATIENCE)).unwrap();
            }
            None
        });
        let (host, world) = with(extensions, hook).await;
        let lease = lease("remote.test", &BOTH);
        let (mut queue, socket) = world.queue().await;
        let message = MessageWriter::sealed(b"Subject: x\r\n\r\n").unwrap();
        queue.start(&Request::Deliver(Box::new(lease.clone())), &[message.as_fd()]).await.unwrap();
        offered.recv().await.unwrap();
        rustix::net::shutdown(&socket, rustix::net::Shutdown::Write).unwrap();
        // The other side closes when nothing there waits for the answer any more.
        let ended = tokio::task::spawn_blocking(move || {
            let mut event = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::empty())];
            rustix::event::poll(&mut event, None).unwrap();
        });
        tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
        go.send(()).unwrap();
        let report = deliver(&world.another_client(), lease, b"Subject: x\r\n\r\n").await;
        assert_eq!(outcomes(&report), ["D 2.0.0", "D 2.0.0"], "{extensions} {report:?}");
        assert_eq!((host.count(), host.seen(|s| s.connections)), (1, 2), "{extensions}");
    }
}

#[tokio::test]
async fn reports_on_tls_have_an_address() {
    let (_host, world) = with("", well_behaved()).await;
    let ask = async |name: &str| {
        let reply = world.client.call(&Request::ReportTo(domain(name)), &[]).await.unwrap();
        let Response::ReportTo(list) = reply.body else { panic!() };
        list.map(|list| list.iter().map(Address::to_string).collect::<Vec<_>>())
    };
    world.dns.text(send_names::Request::TlsReporting(domain("remote.test")), "v=TLSRPTv1; rua=mailto:tls@remote.test,https://x.test");
    world.dns.say(send_names::Request::TlsReporting(domain("dead.test")), send_names::Response::Unavailable);
    assert_eq!(ask("remote.test").await.unwrap(), ["tls@remote.test"]);
    assert_eq!(ask("other.test").await.unwrap(), Vec::<String>::new());
    assert_eq!(ask("dead.test").await, None);
}
