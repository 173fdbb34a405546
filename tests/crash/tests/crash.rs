//! `kill -9` of any process at any time loses no accepted message and delivers none twice.
//!
//! Fifty sessions hand in messages while every daemon is killed ten times, at places that a seed decides. A message that was answered
//! with 250 must be in its mailbox exactly once; one whose answer was lost with the connection may be there once or not at all.
//!
//! `POSTERN_CRASH_MESSAGES`, `POSTERN_CRASH_KILLS` (of each daemon) and `POSTERN_CRASH_SEED` change the numbers.

mod chance;

use chance::{Random, number};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use test_support::{Appliance, Imap, Smtp, daemons, eventually};

const SESSIONS: usize = 50;
/// Of these, this many log in and submit; the others come from outside.
const SUBMITTING: usize = 10;
/// Between a lost connection and the next try.
const PAUSE: Duration = Duration::from_millis(10);
/// A guard against a test that never ends.
const LIMIT: Duration = Duration::from_secs(600);

#[derive(Default)]
struct Tally {
    next: AtomicUsize,
    accepted: AtomicUsize,
    /// Message-ID to mailbox.
    confirmed: Mutex<BTreeMap<String, &'static str>>,
}

#[test]
fn every_accepted_message_is_there_exactly_once_whatever_is_killed() {
    let messages = number("POSTERN_CRASH_MESSAGES", 10_000);
    let kills = number("POSTERN_CRASH_KILLS", 10);
    let seed = number("POSTERN_CRASH_SEED", 20_260_101);
    let appliance = Appliance::mta_test();
    let tally = Tally::default();
    let deadline = Instant::now() + LIMIT;

    thread::scope(|scope| {
        for session in 0..SESSIONS {
            let (appliance, tally) = (&appliance, &tally);
            scope.spawn(move || submit(appliance, tally, session < SUBMITTING, messages, deadline));
        }
        kill(&appliance, &tally, kills, messages, u64::try_from(seed).unwrap(), deadline);
    });
    let confirmed = tally.confirmed.into_inner().unwrap();
    assert!(confirmed.len() >= messages, "only {} of {messages} messages were accepted in time", confirmed.len());

    eventually("an empty queue", || {
        let output = appliance.postern(&["queue", "list", "--json"], "");
        (output.status.success() && output.stdout.trim_ascii() == b"[]").then_some(())
    });
    let mut found: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
    for mailbox in ["alice", "bob", "admin"] {
        for id in message_ids(&appliance, mailbox) {
            *found.entry((id, mailbox)).or_default() += 1;
        }
    }
    let lost: Vec<_> = confirmed.iter().filter(|(id, mailbox)| !found.contains_key(&((*id).clone(), **mailbox))).collect();
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    let wrong: Vec<_> = found.keys().filter(|(id, mailbox)| confirmed.get(id).is_some_and(|m| m != mailbox)).collect();
    eprintln!("{} confirmed, {} found, {} processes killed", confirmed.len(), found.len(), kills * daemons().len());
    assert!(lost.is_empty(), "{} lost: {:?}", lost.len(), &lost[..lost.len().min(10)]);
    assert!(twice.is_empty(), "{} more than once: {:?}", twice.len(), &twice[..twice.len().min(10)]);
    assert!(wrong.is_empty(), "{} in another mailbox: {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);
}

/// One session: sends until enough are accepted, and connects again whenever a connection is lost.
fn submit(appliance: &Appliance, tally: &Tally, login: bool, messages: usize, deadline: Instant) {
    let mut smtp: Option<Smtp> = None;
    while tally.accepted.load(Ordering::Relaxed) < messages && Instant::now() < deadline {
        let number = tally.next.fetch_add(1, Ordering::Relaxed);
        let mailbox = ["alice", "bob", "admin"][number % 3];
        match attempt(appliance, &mut smtp, login, number, mailbox) {
            Ok(Some(id)) => {
                tally.confirmed.lock().unwrap().insert(id, mailbox);
                tally.accepted.fetch_add(1, Ordering::Relaxed);
            }
            // Refused for now: the daemon behind was killed.
            Ok(None) => thread::sleep(PAUSE),
            Err(_) => {
                smtp = None;
                thread::sleep(PAUSE);
            }
        }
    }
}

fn attempt(appliance: &Appliance, smtp: &mut Option<Smtp>, login: bool, number: usize, mailbox: &str) -> io::Result<Option<String>> {
    let session = match smtp {
        Some(session) => session,
        None => smtp.insert(connect(appliance, login)?),
    };
    let id = format!("<crash-{number}@remote.test>");
    let from = if login { "bob@mta.test" } else { "carol@remote.test" };
    // Sizes from nothing to some pages, so that every way of storing is met.
    let filler = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(number % 97 * (number % 7));
    let message = format!("From: {from}\r\nMessage-ID: {id}\r\nSubject: crash {number}\r\n\r\n{filler}");
    let reply = session.try_send(from, &[&format!("{mailbox}@mta.test")], message.as_bytes())?;
    if reply.code == 250 {
        return Ok(Some(id));
    }
    // A transaction that stopped half way must not reach into the next.
    if reply.code == 0 || session.try_command("RSET")?.code != 250 {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    assert!((400..500).contains(&reply.code), "a good message was refused for good: {reply:?}");
    Ok(None)
}

fn connect(appliance: &Appliance, login: bool) -> io::Result<Smtp> {
    if login { Smtp::try_submission(appliance, "bob") } else { Smtp::try_connect(appliance, "mx") }
}

/// Kills every daemon so many times, in a random order, at random points of the progress.
fn kill(appliance: &Appliance, tally: &Tally, kills: usize, messages: usize, seed: u64, deadline: Instant) {
    let mut random = Random(seed | 1);
    let mut plan: Vec<(usize, &str)> = Vec::new();
    for daemon in daemons() {
        for _ in 0..kills {
            plan.push((random.below(messages), daemon));
        }
    }
    plan.sort_unstable();
    for (point, daemon) in plan {
        while tally.accepted.load(Ordering::Relaxed) < point && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        // It may be dead already, from the kill before; then its next life is taken.
        eventually("a living process to kill", || appliance.kill(daemon).then_some(()));
    }
}

fn message_ids(appliance: &Appliance, account: &str) -> Vec<String> {
    let mut imap = Imap::login(appliance, account);
    imap.must("EXAMINE INBOX");
    let answer = imap.must("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])");
    let id = |field: &Vec<u8>| String::from_utf8_lossy(field).trim().split_once(' ').map(|(_, id)| id.to_owned());
    answer.literals.iter().map(|field| id(field).unwrap_or_else(|| panic!("no Message-ID in {field:?}"))).collect()
}
