//! Mail to other servers, with `queue`, `send` and `dns` killed (`kill -9`) at any time: each recipient gets exactly one copy, or its sender
//! exactly one report. `dns` is connected to `send` and ends with it: its kills, and those that it has from `send`'s, explain no second copy.
//!
//! Messages go to two hundred destinations, of which some are dead, half of them without an answer and half with a refusal, and some
//! are flaky: they refuse for now, hang up, or lose what they were sent. All are one SMTP server inside this test, which notes what it
//! has answered for.
//!
//! One thing cannot be had (RFC 1047): when `send` is killed after a destination has answered for a message and before that answer was
//! read and passed on, nobody here knows of it. A second copy is allowed for these alone, and counted.
//!
//! `POSTERN_CRASH_MESSAGES`, `POSTERN_CRASH_KILLS` (of each of the three) and `POSTERN_CRASH_SEED` change the numbers.

mod chance;
mod sink;

use chance::{Random, number};
use sink::{Kind, Sink};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use test_support::{Appliance, Imap, Smtp, World};

const DESTINATIONS: usize = 200;
/// The first so many.
const DEAD: usize = 20;
/// The next so many.
const FLAKY: usize = 20;
const SESSIONS: usize = 12;
const SENDERS: [&str; 3] = ["alice", "bob", "admin"];
/// Between a lost connection and the next try.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two times that everything deferred is tried again: the schedule itself has minutes.
const FLUSH: Duration = Duration::from_secs(1);
/// A guard against a test that never ends.
const LIMIT: Duration = Duration::from_secs(600);
/// Milliseconds by which waiting mail is made older: more than `expire`.
const AGE: i64 = 2 * 3_600_000;

/// What becomes of mail to a destination.
fn kind(destination: usize) -> Kind {
    match destination {
        n if n < DEAD / 2 => Kind::Unreachable,
        n if n < DEAD => Kind::Refusing,
        n if n < DEAD + FLAKY => Kind::Flaky,
        _ => Kind::Healthy,
    }
}

fn kind_of(address: &str) -> Kind {
    kind(address.split_once("@d").unwrap().1.strip_suffix(".test").unwrap().parse().unwrap())
}

/// One to three recipients of a message, none of whom gets another.
fn recipients(message: usize, seed: u64) -> Vec<String> {
    let mut random = Random((seed ^ (message as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
    random.below(2);
    let first = random.below(DESTINATIONS);
    // Sometimes the same destination again: one lease for both.
    (0..=random.below(3))
        .map(|n| format!("r{message}-{n}@d{}.test", if random.below(2) == 0 { first } else { random.below(DESTINATIONS) }))
        .collect()
}

#[derive(Default)]
struct Tally {
    next: AtomicUsize,
    accepted: AtomicUsize,
    /// Message to sender.
    confirmed: Mutex<BTreeMap<usize, &'static str>>,
    over: AtomicBool,
}

#[test]
fn each_recipient_gets_one_copy_or_its_sender_one_report() {
    let messages = number("POSTERN_CRASH_MESSAGES", 5_000);
    let kills = number("POSTERN_CRASH_KILLS", 15);
    let seed = u64::try_from(number("POSTERN_CRASH_SEED", 20_260_102)).unwrap();
    let sink = Sink::start(kind_of, seed);
    let mut appliance = Appliance::start(&world(&sink));
    let tally = Tally::default();
    let deadline = Instant::now() + LIMIT;

    thread::scope(|scope| {
        for session in 0..SESSIONS {
            let (appliance, tally) = (&appliance, &tally);
            scope.spawn(move || submit(appliance, tally, SENDERS[session % SENDERS.len()], messages, seed, deadline));
        }
        scope.spawn(|| flush(&appliance, &tally));
        kill(&appliance, &sink, kills, messages, seed, deadline);
        wait(deadline, || tally.confirmed.lock().unwrap().len() >= messages);
        let expected: Vec<String> = expected(&tally, seed).into_keys().filter(|r| !kind_of(r).is_dead()).collect();
        wait(deadline, || sink.has_all(&expected));
        tally.over.store(true, Ordering::Relaxed);
    });
    assert!(tally.confirmed.lock().unwrap().len() >= messages, "not every message was accepted in time");
    let expected = expected(&tally, seed);

    // What goes nowhere fails when its time is over, which is an hour at least: the clock of the spool is put forward.
    assert!(appliance.stop(), "it ends by itself");
    age(&appliance);
    appliance.restart();
    let tally = Tally::default();
    thread::scope(|scope| {
        scope.spawn(|| flush(&appliance, &tally));
        wait(deadline, || {
            let output = appliance.postern(&["queue", "list", "--json"], "");
            output.status.success() && output.stdout.trim_ascii() == b"[]"
        });
        tally.over.store(true, Ordering::Relaxed);
    });

    let copies = sink.copies();
    let reports = reports(&appliance);
    let again =
        |both: bool| copies.values().filter(|c| c.get(1).is_some_and(|second| second.is_after_a_kill_of_the_queue(&c[0]) == both)).count();
    eprintln!(
        "{} recipients of {messages} messages: {} got it, {} of them again after a kill of send and {} after one of both, {} were reported; \
         {} kills",
        expected.len(),
        copies.len(),
        again(false),
        again(true),
        reports.len(),
        kills * 3
    );
    let some = |list: &[&String]| format!("{}: {:?}", list.len(), &list[..list.len().min(10)]);
    let lost: Vec<&String> = expected.keys().filter(|to| !kind_of(to).is_dead() && !copies.contains_key(*to)).collect();
    assert!(lost.is_empty(), "lost: {}", some(&lost));
    let unexplained: Vec<_> = copies.iter().filter(|(_, c)| c.windows(2).any(|pair| !sink.is_unknowable(&pair[0], &pair[1]))).collect();
    assert!(unexplained.is_empty(), "more than once without a reason: {:?}", &unexplained[..unexplained.len().min(10)]);
    let silent: Vec<&String> = expected
        .iter()
        .filter(|(to, from)| kind_of(to).is_dead() && !reports.contains_key(&(**from, (*to).clone())))
        .map(|(to, _)| to)
        .collect();
    assert!(silent.is_empty(), "nobody was told of: {}", some(&silent));
    let wrong: Vec<&String> = reports.keys().map(|(_, to)| to).filter(|to| !kind_of(to).is_dead() || copies.contains_key(*to)).collect();
    assert!(wrong.is_empty(), "told of what was delivered: {}", some(&wrong));
    let often: Vec<&String> = reports.iter().filter(|(_, count)| **count > 1).map(|((_, to), _)| to).collect();
    assert!(often.is_empty(), "told more than once of: {}", some(&often));
    let senders: BTreeSet<&String> =
        reports.keys().filter(|(from, to)| expected.get(to).is_some_and(|f| f != from)).map(|(_, to)| to).collect();
    assert!(senders.is_empty(), "the wrong sender was told of {senders:?}");
}

/// Every destination is a smarthost on loopback: the DNS leads nowhere there.
fn world(sink: &Sink) -> World {
    let mut world = World::mta_test();
    let mut config = world.config.replace("paused = true\n", "expire = \"1h\"\nwarn_after = \"0\"\n");
    config.push_str("[limits.sending]\nmessages_per_hour = 0\nmessages_per_day = 0\nrecipients_per_hour = 0\nrecipients_per_day = 0\n");
    for number in 0..DESTINATIONS {
        let port = if kind(number) == Kind::Unreachable { sink.unreachable() } else { sink.port() };
        config.push_str(&format!(
            "[send.smarthosts.s{number}]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n\
             [send.domains.\"d{number}.test\"]\nsmarthost = \"s{number}\"\n"
        ));
    }
    world.config = config;
    world
}

/// Every recipient of what was accepted, and who sent it.
fn expected(tally: &Tally, seed: u64) -> BTreeMap<String, &'static str> {
    let confirmed = tally.confirmed.lock().unwrap();
    confirmed.iter().flat_map(|(message, from)| recipients(*message, seed).into_iter().map(|to| (to, *from))).collect()
}

fn wait(deadline: Instant, done: impl Fn() -> bool) {
    while !done() {
        assert!(Instant::now() < deadline, "not within {} seconds", LIMIT.as_secs());
        thread::sleep(PAUSE);
    }
}

/// One session: submits until enough is accepted, and connects again whenever a connection is lost.
fn submit(appliance: &Appliance, tally: &Tally, sender: &'static str, messages: usize, seed: u64, deadline: Instant) {
    let mut smtp: Option<Smtp> = None;
    while tally.accepted.load(Ordering::Relaxed) < messages && Instant::now() < deadline {
        let number = tally.next.fetch_add(1, Ordering::Relaxed);
        match attempt(appliance, &mut smtp, sender, number, seed) {
            Ok(true) => {
                tally.confirmed.lock().unwrap().insert(number, sender);
                tally.accepted.fetch_add(1, Ordering::Relaxed);
            }
            // Refused for now: the queue was killed.
            Ok(false) => thread::sleep(PAUSE),
            Err(_) => {
                smtp = None;
                thread::sleep(PAUSE);
            }
        }
    }
}

fn attempt(appliance: &Appliance, smtp: &mut Option<Smtp>, sender: &str, number: usize, seed: u64) -> io::Result<bool> {
    let session = match smtp {
        Some(session) => session,
        None => smtp.insert(Smtp::try_submission(appliance, sender)?),
    };
    // Sizes from nothing to what is a file in the spool.
    let lines = if number.is_multiple_of(50) { 3_000 } else { number % 97 * (number % 7) };
    let filler = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(lines);
    let from = format!("{sender}@mta.test");
    let message = format!("From: {from}\r\nSubject: crash {number}\r\n\r\n{filler}");
    let to = recipients(number, seed);
    let reply = session.try_send(&from, &to.iter().map(String::as_str).collect::<Vec<_>>(), message.as_bytes())?;
    if reply.code == 250 {
        return Ok(true);
    }
    // A transaction that stopped half way must not reach into the next.
    if reply.code == 0 || session.try_command("RSET")?.code != 250 {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    assert!((400..500).contains(&reply.code), "a good message was refused for good: {reply:?}");
    Ok(false)
}

/// What is deferred is tried again now and then.
fn flush(appliance: &Appliance, tally: &Tally) {
    while !tally.over.load(Ordering::Relaxed) {
        // It may be dead for the moment.
        appliance.postern(&["queue", "flush"], "");
        thread::sleep(FLUSH);
    }
}

/// Kills each so many times, at random points of the progress: at first send or dns, then the queue or dns, then all.
fn kill(appliance: &Appliance, sink: &Sink, kills: usize, messages: usize, seed: u64, deadline: Instant) {
    let mut random = Random(seed | 1);
    let mut plan: Vec<(usize, &str)> = Vec::new();
    // Most of what arrives at all: a message has two recipients, one in ten of whom is at a dead destination.
    let third = messages / 2;
    for (daemon, alone) in [("send", [0, 0]), ("queue", [third, third]), ("dns", [0, third])] {
        for n in 0..kills {
            plan.push((if n % 2 == 0 { alone[n / 2 % 2] } else { 2 * third } + random.below(third), daemon));
        }
    }
    plan.sort_unstable();
    for (point, daemon) in plan {
        wait(deadline, || sink.count() >= point);
        // It may be dead already, from the kill before; then its next life is taken.
        wait(deadline, || sink.while_silent(daemon, || appliance.kill(daemon)));
    }
}

/// Puts the arrival of everything that waits back.
fn age(appliance: &Appliance) {
    let spool = rusqlite::Connection::open(appliance.state().join("state/queue/queue.db")).unwrap();
    spool.execute("UPDATE messages SET received_at = received_at - ?1", [AGE]).unwrap();
}

/// Recipients that failed by sender, with how often that was reported.
fn reports(appliance: &Appliance) -> BTreeMap<(&'static str, String), usize> {
    let mut reports = BTreeMap::new();
    for sender in SENDERS {
        for message in Imap::login(appliance, sender).messages("INBOX") {
            let text = String::from_utf8_lossy(&message).into_owned();
            let mut recipient = None;
            for line in text.lines() {
                if let Some(address) = line.strip_prefix("Final-Recipient: rfc822; ") {
                    recipient = Some(address.to_owned());
                } else if line.starts_with("Action: ") {
                    assert_eq!(line, "Action: failed", "{text}");
                    *reports.entry((sender, recipient.take().expect("whose"))).or_default() += 1;
                }
            }
        }
    }
    reports
}
