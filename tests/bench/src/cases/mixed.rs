//! What mail programs do all day: many clients who stay logged in, each with a mailbox of its own, doing a bit of everything.

use crate::{
    Failure,
    case::{Case, Figure, MS, Outcome, Scale, quantile},
    corpus::{self, Random},
    imap::Imap,
    login::Mechanism,
    stack::{Door, Security, Stack},
};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The first of them; client N is this user plus N.
const FIRST_USER: u32 = 11;
/// Their mailboxes.
const MAILBOX: &str = "Work";
/// Messages that are always in it.
const MESSAGES: u32 = 200;

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let case = |name, clients: u32, writes: bool| {
        Case::new(name, move |stack: &mut Stack, scale: Scale| run(stack, scale, scale.pick(clients, clients / 10 + 1), writes))
    };
    vec![
        case("mixed-10", 10, true),
        case("mixed-50", 50, true),
        case("mixed-read-10", 10, false).note("without STORE, APPEND and EXPUNGE"),
        case("mixed-read-50", 50, false).note("without STORE, APPEND and EXPUNGE"),
    ]
}

fn run(stack: &mut Stack, scale: Scale, clients: u32, writes: bool) -> Result<Outcome, Failure> {
    let messages = scale.pick(MESSAGES, 20);
    prepare(stack, clients, messages)?;
    stack.meter.settle(scale.pick(Duration::from_secs(20), Duration::ZERO))?;
    let time = Duration::from_millis(scale.pick(6_000, 200));
    let barrier = Barrier::new(clients as usize + 1);
    let appended = AtomicU64::new(0);
    let (cpu, seconds, mut times) = thread::scope(|scope| -> Result<_, Failure> {
        let workers: Vec<_> = (0..clients)
            .map(|client| {
                let (door, barrier, appended) = (&stack.door, &barrier, &appended);
                thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, move || {
                    let opened = Client::open(door, client, messages);
                    barrier.wait();
                    opened?.work(Instant::now() + time, writes, appended)
                })
            })
            .collect::<Result<_, _>>()?;
        barrier.wait();
        let (cpu, start) = (stack.meter.cpu_seconds()?, Instant::now());
        let mut times = Vec::new();
        for worker in workers {
            times.extend(worker.join().map_err(|_| "a client panicked")??);
        }
        Ok((stack.meter.cpu_seconds()? - cpu, start.elapsed().as_secs_f64(), times))
    })?;
    let count = times.len() as f64;
    Ok(Outcome {
        figures: vec![
            Figure::more("commands", count / seconds, "/s"),
            Figure::less("p50", quantile(&mut times, 0.5), "ms"),
            Figure::less("p99", quantile(&mut times, 0.99), "ms"),
            Figure::more("messages appended and expunged", appended.load(Ordering::Relaxed) as f64 / seconds, "/s"),
        ],
        operations: count,
        cpu_seconds: cpu,
    })
}

/// Fills the mailboxes of clients that have none yet.
fn prepare(stack: &mut Stack, clients: u32, messages: u32) -> Result<(), Failure> {
    let ready = stack.prepared.get(MAILBOX).copied().unwrap_or(0);
    for client in u32::try_from(ready)?..clients {
        let mut imap = stack.imap(FIRST_USER + client)?;
        imap.fill(MAILBOX, (0..messages).map(|n| small_message(n, messages)))?;
        imap.logout()?;
    }
    stack.prepared.insert(MAILBOX, ready.max(u64::from(clients)));
    Ok(())
}

/// One without a large file in it.
fn small_message(number: u32, of: u32) -> String {
    corpus::message(if number % 10 == 9 { number - 1 } else { number }, of)
}

struct Client {
    imap: Imap,
    random: Random,
    first_uid: u64,
    messages: u32,
    appended: String,
}

impl Client {
    fn open(door: &Door, client: u32, messages: u32) -> Result<Self, Failure> {
        let mut imap = door.login(FIRST_USER + client, Security::Tls, Mechanism::Plain)?;
        let selected = imap.command(&format!("SELECT {MAILBOX}"))?;
        let exists = selected.exists();
        if exists != Some(u64::from(messages)) {
            return Err(format!("client {client} has {exists:?} messages").into());
        }
        // The first messages were made in one go, and nothing that was appended later is left.
        let random = Random::new(u64::from(client) + 77);
        Ok(Self { imap, random, first_uid: 1, messages, appended: small_message(client, messages) })
    }

    /// Until the time is over: what each command took, in milliseconds.
    fn work(mut self, end: Instant, writes: bool, appended: &AtomicU64) -> Result<Vec<f64>, Failure> {
        let mut times = Vec::new();
        while Instant::now() < end {
            match self.random.below(if writes { 20 } else { 15 }) {
                0..3 => self.timed(&mut times, "NOOP", 0)?,
                3..6 => self.flags(&mut times)?,
                6..9 => self.rows(&mut times, "(UID FLAGS RFC822.SIZE ENVELOPE)", 5)?,
                9..12 => self.rows(&mut times, "(BODY.PEEK[])", 1)?,
                12 => self.timed(&mut times, "UID SEARCH UNSEEN SUBJECT Invoice", 0)?,
                13 => self.timed(&mut times, "STATUS INBOX (MESSAGES UNSEEN UIDNEXT)", 0)?,
                14 => self.timed(&mut times, "LIST \"\" *", 0)?,
                15..19 => self.store(&mut times)?,
                _ => {
                    self.append_and_expunge(&mut times)?;
                    appended.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.imap.logout()?;
        Ok(times)
    }

    /// One of the messages that stay, so that this many from it on stay, too.
    fn uid(&mut self, count: u64) -> u64 {
        self.first_uid + self.random.below(u64::from(self.messages).saturating_sub(count))
    }

    fn timed(&mut self, times: &mut Vec<f64>, command: &str, rows: usize) -> Result<(), Failure> {
        let start = Instant::now();
        let answer = self.imap.command(command)?;
        times.push(start.elapsed().as_secs_f64() * MS);
        if answer.fetches == rows { Ok(()) } else { Err(format!("{command}: {} rows, not {rows}", answer.fetches).into()) }
    }

    fn flags(&mut self, times: &mut Vec<f64>) -> Result<(), Failure> {
        self.rows(times, "(FLAGS)", 20)
    }

    fn rows(&mut self, times: &mut Vec<f64>, items: &str, count: u64) -> Result<(), Failure> {
        let count = count.min(u64::from(self.messages));
        let uid = self.uid(count);
        self.timed(times, &format!("UID FETCH {uid}:{} {items}", uid + count - 1), usize::try_from(count)?)
    }

    fn store(&mut self, times: &mut Vec<f64>) -> Result<(), Failure> {
        let uid = self.uid(1);
        let sign = if self.random.below(2) == 0 { '+' } else { '-' };
        let start = Instant::now();
        // Whether there is a row for a flag that was so already is up to the server.
        self.imap.command(&format!("UID STORE {uid} {sign}FLAGS (\\Flagged)"))?;
        times.push(start.elapsed().as_secs_f64() * MS);
        Ok(())
    }

    /// Three commands.
    fn append_and_expunge(&mut self, times: &mut Vec<f64>) -> Result<(), Failure> {
        let command = format!("APPEND {MAILBOX} (\\Seen) {{{}+}}\r\n{}", self.appended.len(), self.appended);
        let start = Instant::now();
        let answer = self.imap.command(&command)?;
        times.push(start.elapsed().as_secs_f64() * MS);
        // [APPENDUID 1700000000 201]
        let uid = answer.status.split_once("APPENDUID ").and_then(|(_, rest)| rest.split([' ', ']']).nth(1)).unwrap_or_default().to_owned();
        self.timed(times, &format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"), 0)?;
        let start = Instant::now();
        let answer = self.imap.command(&format!("UID EXPUNGE {uid}"))?;
        times.push(start.elapsed().as_secs_f64() * MS);
        let gone = answer.lines.iter().filter(|l| l.ends_with(" EXPUNGE") || l.starts_with("* VANISHED")).count();
        if gone == 1 { Ok(()) } else { Err(format!("UID EXPUNGE {uid} told {gone} messages").into()) }
    }
}
