//! Starts the daemons, waits for READY, restarts what dies, ends all of them.
//!
//! The listening sockets stay open here, as they do in PID 1: a daemon that restarts refuses nobody.

use super::{
    daemons::{DAEMONS, Daemon},
    ports::Ports,
    state::State,
};
use crate::{
    Failure,
    control::{plain, socket},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::{net::UnixDatagram, time::Instant};
use wire::Conn;

/// All daemons must be READY within this.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often start and end are looked at; while everything runs, nothing is polled.
const TICK: Duration = Duration::from_millis(2);
/// Before a dead daemon starts again; doubled each time up to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A life of this length ends the doubling.
const HEALTHY: Duration = Duration::from_secs(1);
/// Between SIGTERM and SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Bytes at the end of a log in which the reason for an end is looked for.
const LOG_TAIL: u64 = 2048;

/// All daemons.
#[derive(Debug)]
pub(super) struct Supervisor {
    all: Vec<Running>,
    edges: PathBuf,
    bin: PathBuf,
}

#[derive(Debug)]
struct Running {
    daemon: &'static Daemon,
    sockets: Vec<(&'static str, OwnedFd)>,
    notify_path: PathBuf,
    notify: UnixDatagram,
    credentials: PathBuf,
    state: Option<PathBuf>,
    pid_file: PathBuf,
    log_path: PathBuf,
    /// None: the log goes to the terminal.
    log: Option<File>,
    user: Option<(u32, u32)>,
    child: Option<Child>,
    ready: bool,
    started: Instant,
    back_off: Duration,
    restart_at: Option<Instant>,
}

impl Supervisor {
    /// Makes the sockets; nothing runs yet.
    pub(super) fn new(state: &State, ports: &Ports, bin: PathBuf, verbose: bool) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for daemon in DAEMONS {
            let mut sockets = Vec::new();
            for name in daemon.ports {
                let socket = ports.socket(name).ok_or_else(|| Failure::new(name, "no such listener"))?;
                sockets.push((*name, socket.try_clone().map_err(|e| Failure::new(name, plain(&e)))?));
            }
            for edge in daemon.edges {
                sockets.push((edge.name, state.edge(edge)?));
            }
            let (notify_path, notify) = state.notify(daemon)?;
            let (log_path, log) = state.log(daemon)?;
            all.push(Running {
                daemon,
                sockets,
                notify_path,
                notify,
                credentials: state.credentials(daemon),
                state: daemon.state.then(|| state.state(daemon)),
                pid_file: state.run.join("pid").join(daemon.name),
                log_path,
                log: (!verbose).then_some(log),
                user: state.users.then_some((daemon.uid, daemon.gid)),
                child: None,
                ready: false,
                started: Instant::now(),
                back_off: BACK_OFF.0,
                restart_at: None,
            });
        }
        Ok(Self { all, edges: state.run.clone(), bin })
    }

    /// Starts all and waits until all are READY. A daemon that ends instead is explained by its last words.
    pub(super) async fn start(&mut self) -> Result<(), Failure> {
        for running in &mut self.all {
            running.spawn(&self.edges, &self.bin)?;
        }
        let deadline = Instant::now() + START_LIMIT;
        loop {
            for running in &mut self.all {
                if running.listen() {
                    running.ready = true;
                }
                if let Some(status) = running.ended() {
                    return Err(Failure::new(running.daemon.name, format_args!("does not start: {}", running.last_words(status))));
                }
            }
            let Some(late) = self.all.iter().find(|r| !r.ready) else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(Failure::new(late.daemon.name, format_args!("is not ready after {} seconds", START_LIMIT.as_secs())));
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// After a SIGCHLD, or when [`Self::next`] has come: notes who died and starts again whose time has come.
    pub(super) fn tend(&mut self) {
        for running in &mut self.all {
            running.listen();
            if let Some(status) = running.ended() {
                let wait = running.schedule();
                let _ =
                    writeln!(io::stderr(), "postern: {} ended ({status}); it starts again in {} ms", running.daemon.name, wait.as_millis());
            }
            if running.restart_at.is_some_and(|at| at <= Instant::now()) {
                running.restart_at = None;
                if let Err(failure) = running.spawn(&self.edges, &self.bin) {
                    let _ = writeln!(io::stderr(), "postern: {failure}");
                    running.schedule();
                }
            }
        }
    }

    /// When the next daemon starts again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.all.iter().filter_map(|r| r.restart_at).min()
    }

    /// The number of each daemon's process.
    pub(super) fn pids(&self) -> Vec<(&'static str, u32)> {
        self.all.iter().filter_map(|r| r.child.as_ref().map(|child| (r.daemon.name, child.id()))).collect()
    }

    /// SIGHUP for everyone: configuration and credentials are read again.
    pub(super) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Ends all: front ends first hear of it together with the others, and everything durable is crash-safe.
    pub(super) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.alive() {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
                for child in self.all.iter_mut().filter_map(|r| r.child.as_mut()) {
                    // A killed process ends at once.
                    let _ = child.wait();
                }
                break;
            }
            tokio::time::sleep(TICK).await;
        }
        for running in &self.all {
            let _ = fs::remove_file(&running.pid_file);
        }
    }

    fn alive(&mut self) -> bool {
        let mut alive = false;
        for running in &mut self.all {
            alive |= running.ended().is_none() && running.child.is_some();
        }
        alive
    }

    fn signal(&self, signal: Signal) {
        for child in self.all.iter().filter_map(|r| r.child.as_ref()) {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // It is our child and not waited for, so the number is still its own.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

impl Running {
    fn spawn(&mut self, edges: &Path, bin: &Path) -> Result<(), Failure> {
        self.listen();
        let name = self.daemon.name;
        let failed = |e: io::Error| Failure::new(name, format_args!("cannot be started: {}", plain(&e)));
        let mut command = Command::new(bin.join(self.daemon.binary));
        command.args(self.daemon.argument).env_clear().current_dir("/").process_group(0).stdin(Stdio::null());
        command.env("POSTERN_EDGES", edges).env("CREDENTIALS_DIRECTORY", &self.credentials).env("NOTIFY_SOCKET", &self.notify_path);
        if let Some(state) = &self.state {
            command.env("STATE_DIRECTORY", state);
        }
        if let Some(filter) = std::env::var_os("POSTERN_LOG") {
            command.env("POSTERN_LOG", filter);
        }
        if let Some(log) = &self.log {
            command.stdout(log.try_clone().map_err(failed)?).stderr(log.try_clone().map_err(failed)?);
        } else {
            // Standard output belongs to `up`: with --json, a program reads it.
            command.stdout(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?);
        }
        if let Some((uid, gid)) = self.user {
            // Supplementary groups are cleared with it.
            command.uid(uid).gid(gid);
        }
        let dial = |edge: &&'static str| Ok((*edge, Conn::dial(&socket(edges, edge)).map_err(failed)?));
        let dialled: Vec<(&str, OwnedFd)> = self.daemon.dials.iter().map(dial).collect::<Result<_, Failure>>()?;
        let sockets: Vec<(&str, BorrowedFd<'_>)> = self.sockets.iter().chain(&dialled).map(|(name, fd)| (*name, fd.as_fd())).collect();
        let child = jail::spawn::spawn(&mut command, &sockets).map_err(failed)?;
        // For tests and for people; nothing of ours reads it.
        let _ = fs::write(&self.pid_file, format!("{}\n", child.id()));
        self.child = Some(child);
        self.started = Instant::now();
        Ok(())
    }

    /// Takes what the daemon has said. The queue of such a socket is short, and a full one would stop the daemon.
    fn listen(&self) -> bool {
        let mut ready = false;
        let mut message = [0; 512];
        while let Ok(length) = self.notify.try_recv(&mut message) {
            ready |= message.get(..length).unwrap_or_default().split(|b| *b == b'\n').any(|line| line == b"READY=1");
        }
        ready
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    fn schedule(&mut self) -> Duration {
        if self.started.elapsed() >= HEALTHY {
            self.back_off = BACK_OFF.0;
        }
        let wait = self.back_off;
        self.back_off = wait.saturating_mul(2).min(BACK_OFF.1);
        self.restart_at = Some(Instant::now() + wait);
        wait
    }

    /// The last line of its log, or how it ended.
    fn last_words(&self, status: ExitStatus) -> String {
        let tail = || -> io::Result<String> {
            let mut file = File::open(&self.log_path)?;
            let start = file.metadata()?.len().saturating_sub(LOG_TAIL);
            file.seek(SeekFrom::Start(start))?;
            let mut text = Vec::new();
            file.take(LOG_TAIL).read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let tail = if self.log.is_some() { tail().unwrap_or_default() } else { String::new() };
        match tail.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => format!("{line} ({status})"),
            None => status.to_string(),
        }
    }
}
