//! A dialogue against an appliance of its own.

use crate::{Script, Step, Who};
use data_encoding::BASE64;
use regex::Regex;
use std::{io, time::Duration};
use test_support::{Appliance, Connection, Imap, Smtp, eventually};

/// `@quiet`: what comes at all comes within this.
const QUIET: Duration = Duration::from_millis(300);
/// Lines that `S*` reads before it gives up.
const MAX_LINES: usize = 100_000;
/// Subject of the message that shows that everything before it has arrived.
const LAST: &str = "last of the dialogue";

/// Plays it; the error names the line.
pub fn play(script: &Script) -> Result<(), String> {
    let appliance = Appliance::mta_test();
    let mut player = Player { appliance: &appliance, first: None, second: None, stored: Vec::new(), delivered: Vec::new() };
    for (at, (line, step)) in script.0.iter().enumerate() {
        let failed = |e: String| format!("line {line}: {e}");
        player.step(step).map_err(failed)?;
        // On a port with TLS from the first byte, the handshake goes without saying.
        let implicit = matches!(step, Step::Port(name) if name == "imaps" || name == "submissions");
        if implicit && !matches!(script.0.get(at + 1), Some((_, Step::Tls))) {
            player.step(&Step::Tls).map_err(failed)?;
        }
    }
    (player.first, player.second) = (None, None);
    for (name, count) in std::mem::take(&mut player.stored) {
        player.check_stored(&name, count)?;
    }
    for daemon in test_support::daemons() {
        // A process that was killed by its own filter, or that panicked, was restarted by now; its end stands in the log.
        let log = appliance.log(daemon);
        if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
            return Err(format!("{daemon}: {line}"));
        }
    }
    let started: Vec<u64> =
        test_support::daemons().iter().map(|name| appliance.ready()["pids"][name].as_u64().unwrap_or_default()).collect();
    let now: Vec<u64> = test_support::daemons().iter().map(|name| u64::from(appliance.pid(name))).collect();
    if started == now { Ok(()) } else { Err("a daemon died and was restarted".into()) }
}

struct Player<'a> {
    appliance: &'a Appliance,
    first: Option<(String, Connection)>,
    second: Option<Connection>,
    stored: Vec<(String, usize)>,
    delivered: Vec<String>,
}

impl Player<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Port(name) => {
                self.first = None;
                self.first = Some((name.clone(), Connection::plain(self.appliance, name)));
                Ok(())
            }
            Step::Send(who, bytes) => self.connection(*who)?.send(bytes).map_err(lost),
            Step::Expect(who, regex) => {
                let line = text(&self.connection(*who)?.line().map_err(lost)?);
                if regex.is_match(&line) { Ok(()) } else { Err(format!("expected {regex}, came {line:?}")) }
            }
            Step::Until(who, regex) => until(self.connection(*who)?, regex).map(|_| ()),
            Step::Tls => self.connection(Who::First)?.start_tls().map_err(|e| format!("TLS: {e}")),
            Step::StartTls => {
                let imap = self.is_imap()?;
                let connection = self.connection(Who::First)?;
                let (command, good) = if imap { ("starttls STARTTLS\r\n", "^starttls OK") } else { ("STARTTLS\r\n", "^220 ") };
                connection.send(command.as_bytes()).map_err(lost)?;
                let line = text(&connection.line().map_err(lost)?);
                if !line.starts_with(&good[1..]) {
                    return Err(format!("STARTTLS was answered {line:?}"));
                }
                connection.start_tls().map_err(|e| format!("TLS: {e}"))
            }
            Step::Auth(name) => self.auth(name),
            Step::Repeat(count, bytes) => self.repeat(*count, bytes),
            Step::Quiet => {
                let quiet = self.connection(Who::First)?.quiet(QUIET);
                if quiet { Ok(()) } else { Err("something came, or the connection ended".into()) }
            }
            Step::Closed => {
                let closed = self.connection(Who::First)?.closed();
                if closed { Ok(()) } else { Err("something came, or the connection stayed open".into()) }
            }
            Step::Stored(name, count) => {
                self.stored.push((name.clone(), *count));
                Ok(())
            }
            Step::Deliver(name, file) => self.deliver(name, file.as_deref()),
            Step::Second(name) => {
                self.second = Some(Imap::login(self.appliance, name).connection);
                Ok(())
            }
        }
    }

    fn connection(&mut self, who: Who) -> Result<&mut Connection, String> {
        match who {
            Who::First => self.first.as_mut().map(|(_, c)| c).ok_or_else(|| "there is no @port before it".to_owned()),
            Who::Second => self.second.as_mut().ok_or_else(|| "there is no @second before it".to_owned()),
        }
    }

    fn is_imap(&self) -> Result<bool, String> {
        self.first.as_ref().map(|(port, _)| port.starts_with("imap")).ok_or_else(|| "there is no @port before it".to_owned())
    }

    fn auth(&mut self, name: &str) -> Result<(), String> {
        let (address, password) = self.appliance.account(name);
        let response = BASE64.encode(format!("\0{address}\0{password}").as_bytes());
        let imap = self.is_imap()?;
        let connection = self.connection(Who::First)?;
        let good = if imap {
            connection.send(b"auth AUTHENTICATE PLAIN\r\n").map_err(lost)?;
            until(connection, &regex(r"^\+"))?;
            connection.send(format!("{response}\r\n").as_bytes()).map_err(lost)?;
            until(connection, &regex("^auth "))?.starts_with("auth OK")
        } else {
            connection.send(format!("AUTH PLAIN {response}\r\n").as_bytes()).map_err(lost)?;
            until(connection, &regex("^... "))?.starts_with("235 ")
        };
        if good { Ok(()) } else { Err(format!("{name} could not log in")) }
    }

    /// The server may close before everything is sent.
    fn repeat(&mut self, count: usize, bytes: &[u8]) -> Result<(), String> {
        let connection = self.connection(Who::First)?;
        let batch = (64 * 1024 / bytes.len().max(1)).max(1);
        let many = bytes.repeat(batch.min(count));
        let mut left = count;
        while left > 0 {
            let part = left.min(batch);
            if connection.send(&many[..part * bytes.len()]).is_err() {
                break;
            }
            left -= part;
        }
        Ok(())
    }

    /// From outside, through mx; waits until it is in the INBOX.
    fn deliver(&mut self, name: &str, file: Option<&str>) -> Result<(), String> {
        let message = match file {
            Some(file) => {
                let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(file);
                std::fs::read(&path).map_err(|e| format!("{file}: {e}"))?
            }
            None => {
                let number = self.delivered.len() + 1;
                format!(
                    "From: Carol <carol@remote.test>\r\nTo: {name}@mta.test\r\nSubject: message {number}\r\n\
                     Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <{number}@remote.test>\r\n\r\nThis is message {number}.\r\n"
                )
                .into_bytes()
            }
        };
        let before = Imap::login(self.appliance, name).count("INBOX");
        self.send(name, &message)?;
        self.delivered.push(name.to_owned());
        let mut imap = Imap::login(self.appliance, name);
        eventually("a delivery", || (imap.count("INBOX") > before).then_some(()));
        Ok(())
    }

    fn send(&self, name: &str, message: &[u8]) -> Result<(), String> {
        let mut smtp = Smtp::connect(self.appliance, "mx");
        let reply = smtp.send("carol@remote.test", &[&format!("{name}@mta.test")], message);
        if reply.code == 250 { Ok(()) } else { Err(format!("a delivery was refused: {reply:?}")) }
    }

    /// One more message is sent; when it has come, all others have.
    fn check_stored(&self, name: &str, expected: usize) -> Result<(), String> {
        let before = self.delivered.iter().filter(|account| account.as_str() == name).count();
        self.send(name, format!("From: carol@remote.test\r\nSubject: {LAST}\r\n\r\n").as_bytes())?;
        let mut imap = Imap::login(self.appliance, name);
        eventually("the last message", || {
            imap.must("SELECT INBOX");
            let found = imap.must(&format!("SEARCH SUBJECT \"{LAST}\"")).text();
            found.contains(|c: char| c.is_ascii_digit()).then_some(())
        });
        let found = imap.count("INBOX").saturating_sub(before + 1);
        if found == expected { Ok(()) } else { Err(format!("{name} has {found} messages instead of {expected}")) }
    }
}

fn until(connection: &mut Connection, regex: &Regex) -> Result<String, String> {
    let mut last = String::new();
    for _ in 0..MAX_LINES {
        let line = connection.line().map_err(lost)?;
        if line.is_empty() {
            return Err(format!("the connection ended; expected {regex}, last came {last:?}"));
        }
        last = text(&line);
        if regex.is_match(&last) {
            return Ok(last);
        }
    }
    Err(format!("no line of {MAX_LINES} matched {regex}"))
}

fn text(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    line.strip_suffix("\r\n").map_or_else(|| line.clone().into_owned(), str::to_owned)
}

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a constant expression")
}

fn lost(error: io::Error) -> String {
    format!("the connection failed: {error}")
}
