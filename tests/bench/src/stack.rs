//! The servers under test: started, counted, stopped.

use crate::{
    Failure,
    imap::Imap,
    login::{self, Mechanism},
    meter::Meter,
    names::Names,
    peer,
    sink::Sink,
    smtp::{self, Outbound},
    stream::{self, Stream},
};
use rustls::ClientConfig;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Seek},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// TLS from the first byte.
    Tls,
    /// None. Postern refuses mail and passwords in the clear everywhere; its clients use TLS in such cases, too, and pay for it.
    ClearIfOffered,
}

/// Where IMAP is spoken, for as many threads as like.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    tls: SocketAddr,
    clear: Option<SocketAddr>,
    config: Arc<ClientConfig>,
}

impl Door {
    /// Connects and logs in as user N.
    pub(crate) fn login(&self, user: u32, security: Security, mechanism: Mechanism) -> Result<Imap, Failure> {
        let (to, config) = match (security, self.clear) {
            (Security::ClearIfOffered, Some(clear)) => (clear, None),
            _ => (self.tls, Some(self.config.clone())),
        };
        // Several sources, as clients have, so that no limit on one of them is met.
        let host = u8::try_from(2 + user % 200).unwrap_or(2);
        let stream = Stream::open(to, Ipv4Addr::new(127, 0, 0, host), config)?;
        Imap::login(stream, &address(user), mechanism)
    }

    /// The port with TLS.
    pub(crate) fn tls_port(&self) -> u16 {
        self.tls.port()
    }
}

/// The address of user N, which is also the name to log in with.
pub(crate) fn address(user: u32) -> String {
    format!("user{user}@bench.test")
}

/// A running mail server.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    pub(crate) smtp: SocketAddr,
    /// Where its mail to other domains goes.
    pub(crate) sink: Sink,
    pub(crate) door: Door,
    pub(crate) meter: Meter,
    /// Users 1 to this.
    pub(crate) mailboxes: u32,
    /// The certificate that its clients trust.
    pub(crate) authority: PathBuf,
    /// A directory for what cases write themselves.
    pub(crate) scratch: PathBuf,
    /// What cases have prepared, by their own names, with what they need to know of it.
    pub(crate) prepared: BTreeMap<&'static str, u64>,
    log: Log,
    kind: Kind,
    loads: u32,
    /// Users from here on have not logged in yet.
    fresh: u32,
}

#[derive(Debug)]
enum Kind {
    Postern { up: Child, store: PathBuf, bin: PathBuf, submission: SocketAddr },
    Peer { config: PathBuf, dovecot: PathBuf, mail: PathBuf },
}

/// Users up to here are the cases' own; later ones are for first logins.
pub(crate) const SHARED_USERS: u32 = 60;

impl Stack {
    /// `postern up` with declared accounts, everything confined.
    pub(crate) fn postern(bin: &Path, state: &Path, mailboxes: u32) -> Result<Self, Failure> {
        empty(state)?;
        let sink = Sink::open()?;
        let names = Names::open()?;
        let anchor = state.join("root.key");
        fs::write(&anchor, &names.trust_anchor)?;
        // Limits that keep many sessions out are off, and as many connections go to one destination as Postfix's default.
        let mut config = format!(
            "hostname = \"mx.bench.test\"\n[domains.\"bench.test\"]\n[limits]\nconnections_per_peer = 10000\nlogin_failures = 0\n\
             [dns]\nservers = [\"{}\"]\ntrust_anchor = {:?}\n[limits.sending]\nmessages_per_hour = 0\nmessages_per_day = 0\nrecipients_per_hour = 0\nrecipients_per_day = 0\n\
             [send]\nsmarthost = \"sink\"\ntls_reports = false\nconnections_per_destination = 20\n\
             [send.smarthosts.sink]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
            names.address,
            anchor,
            sink.port()
        );
        for n in 1..=mailboxes {
            config.push_str(&format!("[accounts.\"{}\"]\n", address(n)));
        }
        let passwords: String = (1..=mailboxes).map(|n| format!("{} {}\n", address(n), login::PASSWORD)).collect();
        let (file, password_file) = (state.join("bench.toml"), state.join("bench.passwords"));
        fs::write(&file, config)?;
        fs::write(&password_file, passwords)?;
        // Another server beside the first has a meter of its own.
        let place = state.file_name().unwrap_or_default().to_string_lossy();
        let meter = Meter::new(&format!("{place}-{mailboxes}"))?;
        let run = state.join("run");
        // It ends with the bench, however that ends.
        let command = format!(
            "{} && exec setpriv --pdeathsig TERM {} up --json --port-base 0 --bin {} --state {} --config {} --accounts {}",
            meter.join_command(),
            bin.join("postern").display(),
            bin.display(),
            run.display(),
            file.display(),
            password_file.display()
        );
        let mut up = Command::new("sh").arg("-c").arg(command).stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(up.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let ready: serde_json::Value = serde_json::from_str(&line).map_err(|e| format!("postern up said {line:?}: {e}"))?;
        let port = |name: &str| -> Result<SocketAddr, Failure> {
            let port = ready.pointer(&format!("/ports/{name}")).and_then(serde_json::Value::as_u64);
            Ok(SocketAddr::from(([127, 0, 0, 1], u16::try_from(port.ok_or("postern up did not name its ports")?)?)))
        };
        let authority = PathBuf::from(ready.get("ca").and_then(serde_json::Value::as_str).ok_or("postern up named no authority")?);
        Ok(Self {
            name: "postern",
            smtp: port("mx")?,
            sink,
            door: Door { tls: port("imaps")?, clear: None, config: stream::tls_config(&authority)? },
            meter,
            mailboxes,
            authority,
            scratch: scratch(state)?,
            prepared: BTreeMap::new(),
            log: Log::new(run.join("log/queue.log"), "delivered"),
            kind: Kind::Postern { up, store: run, bin: bin.to_owned(), submission: port("submissions")? },
            loads: 0,
            fresh: SHARED_USERS + 1,
        })
    }

    /// Debian's packages in their default set-up, Postfix handing over to Dovecot by LMTP, Maildir.
    pub(crate) fn postfix_dovecot(state: &Path, mailboxes: u32) -> Result<Self, Failure> {
        empty(state)?;
        let meter = Meter::new("peer")?;
        let sink = Sink::open()?;
        let started = peer::start(state, &meter.join_command(), mailboxes, sink.port())?;
        Ok(Self {
            name: "postfix-dovecot",
            smtp: started.smtp,
            sink,
            door: Door { tls: started.imaps, clear: Some(started.imap), config: stream::tls_config(&started.authority)? },
            meter,
            mailboxes,
            authority: started.authority,
            scratch: scratch(state)?,
            prepared: BTreeMap::new(),
            log: Log::new(state.join("postfix.log"), "status=sent"),
            kind: Kind::Peer { config: state.join("postfix"), dovecot: state.join("dovecot.conf"), mail: state.join("mail") },
            loads: 0,
            fresh: SHARED_USERS + 1,
        })
    }

    /// Another one of the same, with as many accounts as are asked for.
    pub(crate) fn another(&self, mailboxes: u32) -> Result<Self, Failure> {
        match &self.kind {
            Kind::Postern { bin, .. } => Self::postern(bin, &self.scratch.join("another"), mailboxes),
            Kind::Peer { .. } => Err("only Postern is started twice".into()),
        }
    }

    /// Whether this is Postern.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Postern { .. })
    }

    /// Where users hand over mail to others, and how.
    pub(crate) fn outbound(&self) -> (SocketAddr, Outbound) {
        match &self.kind {
            Kind::Postern { submission, .. } => (*submission, Outbound::Submission(self.door.config.clone())),
            Kind::Peer { .. } => (self.smtp, Outbound::Trusted),
        }
    }

    /// Connects to IMAP with TLS as user N.
    pub(crate) fn imap(&self, user: u32) -> Result<Imap, Failure> {
        self.door.login(user, Security::Tls, Mechanism::Plain)
    }

    /// The next number that makes the messages of one load recognisable.
    pub(crate) fn next_load(&mut self) -> u32 {
        self.loads += 1;
        self.loads
    }

    /// Users who have a password and have never logged in.
    pub(crate) fn fresh_users(&mut self, count: u32) -> Result<std::ops::Range<u32>, Failure> {
        let first = self.fresh;
        self.fresh += count;
        if self.fresh > self.mailboxes + 1 {
            return Err("more rounds than there are accounts that have never logged in".into());
        }
        Ok(first..self.fresh)
    }

    /// Messages delivered since the start, by the server's own log.
    pub(crate) fn delivered(&mut self) -> Result<u64, Failure> {
        self.log.count()
    }

    /// The user whose mailbox has nothing in it before the next load: one after the other, from the last on.
    pub(crate) fn fresh(&self) -> u32 {
        self.mailboxes.saturating_sub(self.loads)
    }

    /// Waits until the server has done what it puts off, for at most this long, so that it does not do it while the other is measured. Ours
    /// feeds a text index with what was delivered, and begins at once when somebody searches.
    pub(crate) fn work_off(&self, user: u32, limit: Duration) -> Result<(), Failure> {
        if self.is_ours() {
            let mut imap = self.imap(user)?;
            imap.command("EXAMINE INBOX")?;
            imap.command("SEARCH BODY nowhere-to-be-found")?;
            imap.logout()?;
        }
        self.meter.settle(limit)
    }

    /// Every message of the load is stored, once and whole: its first and its last line are each found once where mail is kept.
    pub(crate) fn check(&self, load: &smtp::Load) -> Result<(), Failure> {
        let root = match &self.kind {
            Kind::Postern { store, .. } => &store.join("state/store"),
            Kind::Peer { mail, .. } => mail,
        };
        for mark in smtp::MARKS {
            let mut seen = vec![0u32; load.messages as usize];
            search(root, format!("{mark}{}-", load.run).as_bytes(), &mut seen)?;
            let (missing, twice) = (seen.iter().filter(|n| **n == 0).count(), seen.iter().filter(|n| **n > 1).count());
            if missing + twice > 0 {
                let all = load.messages;
                return Err(
                    format!("of {all} messages, {missing} are in no mailbox and {twice} more than once, by their line {mark}").into()
                );
            }
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        match &mut self.kind {
            Kind::Postern { up, .. } => {
                if let Some(pid) = rustix::process::Pid::from_raw(up.id().cast_signed()) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
                let _ = up.wait();
            }
            Kind::Peer { config, dovecot, .. } => peer::stop(config, dovecot),
        }
    }
}

fn empty(state: &Path) -> Result<(), Failure> {
    if state.exists() {
        fs::remove_dir_all(state)?;
    }
    Ok(fs::create_dir_all(state)?)
}

fn scratch(state: &Path) -> Result<PathBuf, Failure> {
    let scratch = state.join("scratch");
    fs::create_dir_all(&scratch)?;
    Ok(scratch)
}

/// Counts the lines of a log that report a delivery.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    marker: &'static str,
    at: u64,
    count: u64,
    rest: String,
}

impl Log {
    fn new(path: PathBuf, marker: &'static str) -> Self {
        Self { path, marker, at: 0, count: 0, rest: String::new() }
    }

    fn count(&mut self) -> Result<u64, Failure> {
        let mut file = match fs::File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(e.into()),
        };
        file.seek(std::io::SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let whole = self.rest.rfind('\n').map_or(0, |p| p + 1);
        let tail = self.rest.split_off(whole);
        self.count += self.rest.lines().filter(|l| l.contains(self.marker)).count() as u64;
        self.rest = tail;
        Ok(self.count)
    }
}

/// Counts the markers in every file below a directory that holds message bodies.
fn search(dir: &Path, marker: &[u8], seen: &mut [u32]) -> Result<(), Failure> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path, marker, seen)?;
        } else if path.file_name().and_then(|n| n.to_str()).is_some_and(|n| !n.contains(".db") && !n.ends_with(".log")) && path.is_file() {
            let bytes = fs::read(&path)?;
            let mut rest = bytes.as_slice();
            while let Some(at) = find(rest, marker) {
                rest = rest.get(at + marker.len()..).unwrap_or_default();
                let digits: String = rest.iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
                if let Some(count) = digits.parse::<usize>().ok().and_then(|n| seen.get_mut(n)) {
                    *count += 1;
                }
            }
        }
    }
    Ok(())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let at = from + haystack.get(from..)?.iter().position(|b| *b == first)?;
        if haystack.get(at..at + needle.len()) == Some(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}
