//! The SMTP server behind every destination of the test: what it takes, refuses and forgets, and what it has answered for.

use crate::chance::Random;
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketType, bind, getsockname, socket},
};
use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// How a destination behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Healthy,
    /// Refuses for now, hangs up, or loses what it was sent, half of the time; what it has answered for it has.
    Flaky,
    /// Refuses every recipient for good.
    Refusing,
    /// Nobody answers.
    Unreachable,
}

impl Kind {
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Refusing | Self::Unreachable)
    }
}

/// One copy that one recipient got.
#[derive(Debug, Clone)]
pub struct Copy {
    /// How often send and queue had been killed when the connection that brought it began. What a dead process has sent is still read.
    killed: [usize; 2],
    /// Whether the connection went on afterwards: then the answer was read.
    read: Arc<AtomicBool>,
}

impl Copy {
    /// Whether the queue was killed since the connection of the copy before began; otherwise send alone was.
    pub fn is_after_a_kill_of_the_queue(&self, before: &Self) -> bool {
        self.killed[1] > before.killed[1]
    }
}

#[derive(Default)]
struct Taken {
    copies: Mutex<BTreeMap<String, Vec<Copy>>>,
    count: AtomicUsize,
    /// Kills of send and queue. Taken for writing while one is killed, so that every answer is clearly before or after it.
    killed: RwLock<[usize; 2]>,
}

/// See the module.
pub struct Sink {
    port: u16,
    /// Bound, and nobody listens.
    unreachable: (OwnedFd, u16),
    taken: Arc<Taken>,
}

impl Sink {
    pub fn start(kind_of: fn(&str) -> Kind, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::<Taken>::default();
        let closed = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&closed, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let unreachable = SocketAddr::try_from(getsockname(&closed).unwrap()).unwrap().port();
        let shared = taken.clone();
        thread::spawn(move || {
            let chance = Arc::new(Mutex::new(Random(seed | 1)));
            for connection in listener.incoming().flatten() {
                let (taken, chance) = (shared.clone(), chance.clone());
                // How it ends is nobody's concern.
                let killed = *taken.killed.read().unwrap();
                thread::spawn(move || Session { kind_of, taken, chance, killed, read: None }.converse(connection));
            }
        });
        Self { port, unreachable: (closed, unreachable), taken }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn unreachable(&self) -> u16 {
        self.unreachable.1
    }

    /// Copies so far.
    pub fn count(&self) -> usize {
        self.taken.count.load(Ordering::Relaxed)
    }

    pub fn has_all(&self, recipients: &[String]) -> bool {
        let copies = self.taken.copies.lock().unwrap();
        recipients.iter().all(|to| copies.contains_key(to))
    }

    pub fn copies(&self) -> BTreeMap<String, Vec<Copy>> {
        self.taken.copies.lock().unwrap().clone()
    }

    /// Kills a daemon while nothing is answered for.
    pub fn while_silent(&self, daemon: &str, kill: impl FnOnce() -> bool) -> bool {
        let mut killed = self.taken.killed.write().unwrap();
        let hit = kill();
        // The end of any other explains no second copy.
        if let Some(at) = ["send", "queue"].iter().position(|name| *name == daemon) {
            killed[at] += usize::from(hit);
        }
        hit
    }

    /// Whether nobody could know of the first copy when the second was sent: send was killed after it was answered for, before that
    /// answer was seen to be read, or, when the queue was killed too, before the next queue had asked for it.
    pub fn is_unknowable(&self, first: &Copy, second: &Copy) -> bool {
        second.killed[0] > first.killed[0] && (!first.read.load(Ordering::Relaxed) || second.is_after_a_kill_of_the_queue(first))
    }
}

struct Session {
    kind_of: fn(&str) -> Kind,
    taken: Arc<Taken>,
    chance: Arc<Mutex<Random>>,
    killed: [usize; 2],
    /// Of the last message.
    read: Option<Arc<AtomicBool>>,
}

impl Session {
    /// Of so many times, once.
    fn one_in(&self, many: usize) -> bool {
        self.chance.lock().unwrap().below(many) == 0
    }

    fn converse(mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        let mut to: Vec<String> = Vec::new();
        stream.write_all(b"220 sink ESMTP\r\n")?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(read) = self.read.take() {
                read.store(true, Ordering::Relaxed);
            }
            let line = line.trim_end();
            let flaky = to.iter().any(|to| (self.kind_of)(to) == Kind::Flaky);
            let reply = match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => "250-sink\r\n250-PIPELINING\r\n250 8BITMIME",
                "MAIL" => {
                    to.clear();
                    "250 2.1.0 ok"
                }
                "RCPT" => {
                    let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    match (self.kind_of)(&address) {
                        Kind::Refusing => "550 5.1.1 nobody of that name",
                        Kind::Flaky if self.one_in(6) => "451 4.7.1 come back later",
                        Kind::Flaky if self.one_in(8) => "421 4.3.2 busy",
                        Kind::Flaky if self.one_in(8) => return Ok(()),
                        Kind::Flaky | Kind::Healthy | Kind::Unreachable => {
                            to.push(address);
                            "250 2.1.5 ok"
                        }
                    }
                }
                "DATA" if to.is_empty() => "554 5.5.1 nobody to give it to",
                "DATA" => {
                    stream.write_all(b"354 go on\r\n")?;
                    let hang_up = flaky && self.one_in(8);
                    let mut text = Vec::new();
                    while text != b".\r\n" {
                        text.clear();
                        if hang_up || reader.read_until(b'\n', &mut text)? == 0 {
                            return Ok(());
                        }
                    }
                    match flaky {
                        true if self.one_in(8) => "452 4.3.1 no room",
                        true if self.one_in(8) => return Ok(()),
                        _ => {
                            self.take(&mut stream, &mut to)?;
                            continue;
                        }
                    }
                }
                "QUIT" => {
                    stream.write_all(b"221 2.0.0 bye\r\n")?;
                    return Ok(());
                }
                _ => "250 2.0.0 ok",
            };
            stream.write_all(format!("{reply}\r\n").as_bytes())?;
        }
    }

    /// The moment that counts.
    fn take(&mut self, stream: &mut TcpStream, to: &mut Vec<String>) -> io::Result<()> {
        let _not_now = self.taken.killed.read().unwrap();
        let read = Arc::new(AtomicBool::new(false));
        {
            let mut copies = self.taken.copies.lock().unwrap();
            for to in to.drain(..) {
                copies.entry(to).or_default().push(Copy { killed: self.killed, read: read.clone() });
                self.taken.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.read = Some(read);
        stream.write_all(b"250 2.0.0 taken\r\n")
    }
}
