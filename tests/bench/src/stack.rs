//! The servers under test: started, counted, stopped.

use crate::{Failure, meter::Meter, smtp};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Seek},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A running mail server.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    pub(crate) smtp: SocketAddr,
    pub(crate) meter: Meter,
    log: Log,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Postern { up: Child, store: PathBuf },
    Peer { config: PathBuf, dovecot: PathBuf, mail: PathBuf },
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

impl Stack {
    /// `postern up` with declared accounts, everything confined.
    pub(crate) fn postern(bin: &Path, state: &Path, mailboxes: u32) -> Result<Self, Failure> {
        if state.exists() {
            fs::remove_dir_all(state)?;
        }
        fs::create_dir_all(state)?;
        let mut config = String::from("hostname = \"mx.bench.test\"\n[domains.\"bench.test\"]\n[limits]\nconnections_per_peer = 10000\n");
        for n in 1..=mailboxes {
            config.push_str(&format!("[accounts.\"user{n}@bench.test\"]\n"));
        }
        let file = state.join("bench.toml");
        fs::write(&file, config)?;
        let meter = Meter::new("postern")?;
        let run = state.join("run");
        let command = format!(
            "{} && exec {} up --json --port-base 0 --bin {} --state {} --config {}",
            meter.join_command(),
            bin.join("postern").display(),
            bin.display(),
            run.display(),
            file.display()
        );
        let mut up = Command::new("sh").arg("-c").arg(command).stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(up.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let ready: serde_json::Value = serde_json::from_str(&line).map_err(|e| format!("postern up said {line:?}: {e}"))?;
        let port = ready.pointer("/ports/mx").and_then(serde_json::Value::as_u64).ok_or("postern up named no mx port")?;
        let smtp = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port)?));
        let log = Log::new(run.join("log/queue.log"), "delivered");
        Ok(Self { name: "postern", smtp, meter, log, kind: Kind::Postern { up, store: run } })
    }

    /// Debian's packages in their default set-up, Postfix handing over to Dovecot by LMTP, Maildir.
    pub(crate) fn postfix_dovecot(state: &Path, mailboxes: u32) -> Result<Self, Failure> {
        for program in ["postfix", "dovecot", "doveadm", "postmap"] {
            let found = ["/usr/sbin", "/usr/bin"].iter().any(|d| Path::new(d).join(program).exists());
            if !found {
                return Err(format!("{program} is not installed: apt-get install postfix dovecot-imapd dovecot-lmtpd").into());
            }
        }
        if state.exists() {
            fs::remove_dir_all(state)?;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let meter = Meter::new("peer")?;
        let mut script = include_str!("peer.sh").to_owned();
        let path = state.to_str().ok_or("the state directory is not UTF-8")?;
        script = script.replace("@STATE@", path).replace("@SMTP@", &port.to_string()).replace("@MAILBOXES@", &mailboxes.to_string());
        let script = format!("{}\n{script}", meter.join_command());
        let status = Command::new("bash").arg("-euc").arg(script).stdin(Stdio::null()).status()?;
        if !status.success() {
            return Err("Postfix and Dovecot did not start".into());
        }
        Ok(Self {
            name: "postfix-dovecot",
            smtp: SocketAddr::from(([127, 0, 0, 1], port)),
            meter,
            log: Log::new(state.join("postfix.log"), "status=sent"),
            kind: Kind::Peer { config: state.join("postfix"), dovecot: state.join("dovecot.conf"), mail: state.join("mail") },
        })
    }

    /// Messages delivered since the start, by the server's own log.
    pub(crate) fn delivered(&mut self) -> Result<u64, Failure> {
        self.log.count()
    }

    /// Every message of the run is stored: its unique line is found as often as it was sent.
    pub(crate) fn check(&self, load: &smtp::Load) -> Result<(), Failure> {
        let root = match &self.kind {
            Kind::Postern { store, .. } => store,
            Kind::Peer { mail, .. } => mail,
        };
        let mut seen = vec![0u32; load.messages as usize];
        let marker = format!("unique-{}-", load.run);
        search(root, marker.as_bytes(), &mut seen)?;
        let missing = seen.iter().filter(|n| **n == 0).count();
        if missing > 0 {
            Err(format!("{}: {missing} of {} messages are not in any mailbox", self.name, load.messages).into())
        } else {
            Ok(())
        }
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

impl Drop for Stack {
    fn drop(&mut self) {
        match &mut self.kind {
            Kind::Postern { up, .. } => {
                if let Some(pid) = rustix::process::Pid::from_raw(up.id().cast_signed()) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
                let _ = up.wait();
            }
            Kind::Peer { config, dovecot, .. } => {
                let _ = Command::new("/usr/sbin/postfix").arg("-c").arg(config).arg("stop").stderr(Stdio::null()).status();
                let _ = Command::new("/usr/bin/doveadm").arg("-c").arg(dovecot).arg("stop").stderr(Stdio::null()).status();
            }
        }
    }
}
