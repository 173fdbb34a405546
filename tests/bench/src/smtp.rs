//! A blocking SMTP load: one thread a session, latency of every message from the end of its data to the reply.

use crate::{Failure, corpus::Random, login, stream::Stream};
use data_encoding::BASE64;
use rustls::ClientConfig;
use serde::Serialize;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Who writes to our users.
const STRANGER: &str = "sender@elsewhere.test";
/// Who of our users writes to others.
const OWN: &str = "user1@bench.test";
/// Whose mail the sink takes.
const ELSEWHERE: &str = "elsewhere.test";

/// Bytes of a message before its attachment.
const TEXT: usize = 2 * 1024;
/// Bytes in a line of base64.
const LINE: usize = 57;
const MIB: usize = 1024 * 1024;

/// What to send.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) to: SocketAddr,
    pub(crate) sessions: u32,
    pub(crate) messages: u32,
    pub(crate) size: usize,
    /// Most of it is an attachment, as in most large messages.
    pub(crate) attachment: bool,
    /// The first recipient.
    pub(crate) first: u32,
    /// Recipients take turns: so many from the first on.
    pub(crate) mailboxes: u32,
    pub(crate) connection_per_message: bool,
    /// Makes the messages of this run recognisable.
    pub(crate) run: u32,
    /// User 1 sends it to another domain; else a stranger sends it here.
    pub(crate) outbound: Option<Outbound>,
}

/// How mail to others is handed over.
#[derive(Debug, Clone)]
pub(crate) enum Outbound {
    /// Because of where the client is (Postfix's mynetworks).
    Trusted,
    /// After a login, within TLS.
    Submission(Arc<ClientConfig>),
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Accepted {
    pub(crate) accepted: u32,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// The first line of a body, which is in no other message, and the last one.
pub(crate) const MARKS: [&str; 2] = ["unique-", "whole-"];

fn mark(out: &mut Vec<u8>, mark: &str, run: u32, number: u32) {
    out.extend_from_slice(format!("{mark}{run}-{number}\r\n").as_bytes());
}

/// Text that looks like mail: words of different lengths, lines of 72 characters, one number that is in no other message, at both ends.
pub(crate) fn message(run: u32, number: u32, size: usize) -> Vec<u8> {
    message_from(STRANGER, run, number, size)
}

fn message_from(from: &str, run: u32, number: u32, size: usize) -> Vec<u8> {
    let mut out = header(from, run, number, "text/plain; charset=utf-8");
    words(&mut out, run, number, size);
    mark(&mut out, MARKS[1], run, number);
    out
}

/// A short text, and base64 for the rest.
fn with_attachment(from: &str, run: u32, number: u32, size: usize) -> Vec<u8> {
    let mut out = header(from, run, number, "multipart/mixed; boundary=\"=_bench\"");
    out.extend_from_slice(b"--=_bench\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n");
    words(&mut out, run, number, TEXT);
    out.extend_from_slice(
        b"\r\n--=_bench\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
          Content-Disposition: attachment; filename=\"quarter.pdf\"\r\n\r\n",
    );
    // The same in all, so that the client has no work with it.
    static ATTACHMENT: OnceLock<Vec<u8>> = OnceLock::new();
    let attachment = ATTACHMENT.get_or_init(|| base64_lines(2 * MIB));
    let length = size.saturating_sub(out.len()).min(attachment.len()) / (LINE / 3 * 4 + 2) * (LINE / 3 * 4 + 2);
    out.extend_from_slice(attachment.get(..length).unwrap_or_default());
    out.extend_from_slice(b"--=_bench--\r\n");
    // Behind the last part (RFC 2046 5.1.1: an epilogue).
    mark(&mut out, MARKS[1], run, number);
    out
}

/// Random bytes in base64, as long as is asked for or a line longer.
fn base64_lines(size: usize) -> Vec<u8> {
    let mut random = Random::new(1);
    let mut out = Vec::new();
    while out.len() < size {
        let bytes: Vec<u8> = (0..LINE).map(|_| random.next().to_le_bytes()[0]).collect();
        out.extend_from_slice(BASE64.encode(&bytes).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn header(from: &str, run: u32, number: u32, media_type: &str) -> Vec<u8> {
    format!(
        "From: Sender <{from}>\r\nTo: user@bench.test\r\nSubject: Message {number} of run {run} about the quarter\r\n\
         Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{run}.{number}@elsewhere.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: {media_type}\r\n\r\n"
    )
    .into_bytes()
}

/// The number that is in no other message, and words until all is as long as it should be.
fn words(out: &mut Vec<u8>, run: u32, number: u32, size: usize) {
    const WORDS: [&str; 16] = [
        "quarter", "invoice", "the", "of", "meeting", "please", "attached", "and", "report", "to", "a", "regards", "tomorrow", "for",
        "budget", "team",
    ];
    mark(out, MARKS[0], run, number);
    let mut random = Random::new(u64::from(number));
    let mut column = 0;
    while out.len() + 2 < size {
        let word = WORDS.get(random.below(16) as usize).copied().unwrap_or("x");
        if column + word.len() > 71 {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.extend_from_slice(word.as_bytes());
        out.push(b' ');
        column += word.len() + 1;
    }
    out.extend_from_slice(b"\r\n");
}

/// One connection that sends.
pub(crate) struct Session {
    stream: Stream,
    sender: &'static str,
    domain: &'static str,
}

impl Session {
    /// A stranger's.
    pub(crate) fn open(to: SocketAddr) -> Result<Self, Failure> {
        Self::greeted(to, None, STRANGER, "bench.test")
    }

    fn outbound(to: SocketAddr, how: &Outbound) -> Result<Self, Failure> {
        match how {
            Outbound::Trusted => Self::greeted(to, None, OWN, ELSEWHERE),
            Outbound::Submission(config) => {
                let mut session = Self::greeted(to, Some(config.clone()), OWN, ELSEWHERE)?;
                let login = BASE64.encode(format!("\0{OWN}\0{}", login::PASSWORD).as_bytes());
                session.say(format!("AUTH PLAIN {login}\r\n").as_bytes(), b'2')?;
                Ok(session)
            }
        }
    }

    fn of(load: &Load) -> Result<Self, Failure> {
        load.outbound.as_ref().map_or_else(|| Self::open(load.to), |how| Self::outbound(load.to, how))
    }

    fn greeted(to: SocketAddr, tls: Option<Arc<ClientConfig>>, sender: &'static str, domain: &'static str) -> Result<Self, Failure> {
        let mut session = Self { stream: Stream::open(to, Ipv4Addr::LOCALHOST, tls)?, sender, domain };
        session.expect(b'2')?;
        session.say(b"EHLO load.elsewhere.test\r\n", b'2')?;
        Ok(session)
    }

    fn say(&mut self, bytes: &[u8], class: u8) -> Result<(), Failure> {
        self.stream.send(bytes)?;
        self.expect(class)
    }

    fn expect(&mut self, class: u8) -> Result<(), Failure> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.stream.line(&mut line)?;
            if line.get(3) != Some(&b'-') {
                break;
            }
        }
        if line.first() == Some(&class) {
            Ok(())
        } else {
            Err(format!("unexpected reply: {}", String::from_utf8_lossy(&line).trim_end()).into())
        }
    }

    /// One transaction, pipelined as far as RFC 2920 allows; the time from the last byte of the data to its reply.
    pub(crate) fn send(&mut self, recipient: u32, body: &[u8]) -> Result<Duration, Failure> {
        let (sender, domain) = (self.sender, self.domain);
        self.stream.send(format!("MAIL FROM:<{sender}>\r\nRCPT TO:<user{recipient}@{domain}>\r\nDATA\r\n").as_bytes())?;
        self.expect(b'2')?;
        self.expect(b'2')?;
        self.expect(b'3')?;
        self.stream.send(body)?;
        let start = Instant::now();
        self.say(b".\r\n", b'2')?;
        Ok(start.elapsed())
    }
}

/// Runs the load; an error of any session fails the run.
pub(crate) fn run(load: &Load) -> Result<Accepted, Failure> {
    let next = Arc::new(AtomicU32::new(0));
    let barrier = Arc::new(Barrier::new(load.sessions as usize + 1));
    let workers: Vec<_> = (0..load.sessions)
        .map(|_| {
            let (load, next, barrier) = (load.clone(), next.clone(), barrier.clone());
            thread::Builder::new().stack_size(256 * 1024).spawn(move || -> Result<Vec<Duration>, String> {
                let mut session = if load.connection_per_message { Ok(None) } else { Session::of(&load).map(Some) };
                barrier.wait();
                let mut session = session.as_mut().map_err(|e| e.to_string())?.take();
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= load.messages {
                        return Ok(latencies);
                    }
                    let from = if load.outbound.is_some() { OWN } else { STRANGER };
                    let body = if load.attachment {
                        with_attachment(from, load.run, number, load.size)
                    } else {
                        message_from(from, load.run, number, load.size)
                    };
                    let mut current = match session.take() {
                        Some(session) => session,
                        None => Session::of(&load).map_err(|e| e.to_string())?,
                    };
                    latencies.push(current.send(load.first + number % load.mailboxes, &body).map_err(|e| e.to_string())?);
                    if load.connection_per_message {
                        current.say(b"QUIT\r\n", b'2').map_err(|e| e.to_string())?;
                    } else {
                        session = Some(current);
                    }
                }
            })
        })
        .collect::<Result<_, _>>()?;
    barrier.wait();
    let start = Instant::now();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.join().map_err(|_| "a session panicked")??);
    }
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |q: f64| latencies.get((latencies.len() as f64 * q) as usize).map_or(0.0, |d| d.as_secs_f64() * 1e3);
    Ok(Accepted { accepted: u32::try_from(latencies.len())?, seconds, p50_ms: at(0.5), p99_ms: at(0.99) })
}
