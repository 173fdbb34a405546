//! One host and the network namespace that is the rest of the world to it.

use crate::{
    Failure, Outcome, Reason,
    command::eventually,
    root::{missing, root},
    run,
};
use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

const BASE: &str = "/run/postern-test";
/// A boot takes about a second; a loaded machine gets more.
const BOOT: Duration = Duration::from_secs(90);
/// The host's addresses (RFC 5737, RFC 3849), and those of the rest of the world.
const HOST: [&str; 2] = ["192.0.2.1/24", "2001:db8::1/64"];
const REMOTE: [&str; 2] = ["192.0.2.2/24", "2001:db8::2/64"];

/// A running host. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Host {
    name: String,
    directory: PathBuf,
    root: PathBuf,
    cgroup: PathBuf,
    /// `unshare`, whose only child is PID 1; killing it kills the host.
    outer: Option<Child>,
    pid: u32,
    /// Held as long as the host is wanted.
    _lock: File,
}

impl Host {
    /// Boots a host, or says why this machine cannot.
    pub fn boot() -> Result<Result<Self, Reason>, Failure> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if let Some(reason) = missing() {
            return Ok(Err(reason));
        }
        remove_stale()?;
        let root = root()?;
        let name = format!("postern-{}-{}", id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new(BASE).join(&name);
        fs::create_dir_all(directory.join("layer"))?;
        let lock = File::create(directory.join("lock"))?;
        lock.lock()?;
        let mut host = Self { cgroup: cgroup2()?.join(&name), name, directory, root, outer: None, pid: 0, _lock: lock };
        fs::write(host.directory.join("boot.sh"), include_str!("boot.sh"))?;
        let layer = host.directory.join("layer").to_string_lossy().into_owned();
        run(&["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", &layer], b"")?.ok("mount")?;
        run(&["ip", "netns", "add", &host.name], b"")?.ok("ip netns")?;
        host.start()?;
        Ok(Ok(host))
    }

    fn start(&mut self) -> Result<(), Failure> {
        fs::create_dir_all(&self.cgroup)?;
        let console = File::create(self.directory.join("console"))?;
        let script = self.directory.join("boot.sh");
        let mut outer = Command::new("/bin/bash")
            .arg(script)
            .arg("enter")
            .args([&self.directory, &self.root, &self.cgroup])
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()?;
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let systemd = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "systemd");
        let first = || {
            let pid = fs::read_to_string(&children).unwrap_or_default().split_whitespace().next().and_then(|pid| pid.parse().ok());
            let ended = outer.try_wait().is_ok_and(|status| status.is_some());
            pid.filter(systemd).map(Some).or(ended.then_some(None))
        };
        let pid = eventually("PID 1", BOOT, first);
        self.outer = Some(outer);
        let pid = pid.and_then(|pid| pid.ok_or_else(|| Failure::new("the boot script failed")));
        self.pid = pid.map_err(|e| self.with_console(&e))?;
        self.connect_network()?;
        let running = || {
            let state = self.run(&["systemctl", "is-system-running", "--wait"]).ok()?.stdout;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        };
        eventually("systemd", BOOT, running).map_err(|e| self.with_console(&e))
    }

    fn with_console(&self, error: &Failure) -> Failure {
        let console = fs::read_to_string(self.directory.join("console")).unwrap_or_default();
        Failure::new(format!("{error}; console: {console}"))
    }

    /// One cable between the host and the rest of the world; no route leads anywhere else.
    fn connect_network(&self) -> Result<(), Failure> {
        let pid = self.pid.to_string();
        let mut script = format!("set -e\nip -n {0} link add wire0 type veth peer name wire0 netns {pid}\n", self.name);
        for (enter, addresses) in [(format!("nsenter -t {pid} -n"), HOST), (format!("nsenter --net=/run/netns/{}", self.name), REMOTE)] {
            script.push_str(&format!("{enter} ip link set lo up\n{enter} ip link set wire0 up\n"));
            for address in addresses {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                script.push_str(&format!("{enter} ip addr add {address} dev wire0 {nodad}\n"));
            }
        }
        run(&["sh"], script.as_bytes())?.ok("network")?;
        Ok(())
    }

    /// Runs a command in the host as root.
    pub fn run(&self, words: &[&str]) -> Result<Outcome, Failure> {
        self.run_with(words, b"")
    }

    /// Runs a command in the host as root, with input.
    pub fn run_with(&self, words: &[&str], input: &[u8]) -> Result<Outcome, Failure> {
        let pid = self.pid.to_string();
        let enter = ["nsenter", "-t", &pid, "-m", "-u", "-i", "-n", "-p", "-C", "--"];
        let clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin", "HOME=/root", "LC_ALL=C"];
        run(&[&enter[..], &clean, words].concat(), input)
    }

    /// Runs a shell script in the host as root; it must succeed.
    pub fn sh(&self, script: &str) -> Result<String, Failure> {
        self.run_with(&["sh", "-eu"], script.as_bytes())?.ok(script)
    }

    /// Runs a command of the machine in the network of the host.
    pub fn network(&self, words: &[&str]) -> Result<Outcome, Failure> {
        run(&[&["nsenter", "-t", &self.pid.to_string(), "-n", "--"], words].concat(), b"")
    }

    /// Runs a command of the machine in the network of the rest of the world.
    pub fn remote(&self, words: &[&str], input: &[u8]) -> Result<Outcome, Failure> {
        let network = format!("--net=/run/netns/{}", self.name);
        run(&[&["nsenter", &network, "--"], words].concat(), input)
    }

    /// Starts a command of the machine in the network of the rest of the world; what it writes goes to this file.
    pub(crate) fn start_remote(&self, words: &[&str], output: File) -> Result<Child, Failure> {
        let network = format!("--net=/run/netns/{}", self.name);
        let mut command = Command::new("nsenter");
        command.args([&network, "--"]).args(words);
        Ok(command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn()?)
    }

    /// Its PID 1, as the machine numbers it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A path of the host, for the machine.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid)).join(path.trim_start_matches('/'))
    }

    /// Puts a file into the host.
    pub fn put(&self, path: &str, content: &[u8], mode: u32) -> Result<(), Failure> {
        let outside = self.path(path);
        if let Some(parent) = outside.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&outside, content)?;
        fs::set_permissions(&outside, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Keeps a file for the machine's side of a test, as long as the host lives.
    pub(crate) fn keep(&self, name: &str, content: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// The journal, as JSON objects.
    pub fn journal(&self, matches: &[&str]) -> Result<Vec<serde_json::Value>, Failure> {
        self.run(&["journalctl", "--sync"])?.ok("journalctl --sync")?;
        let lines = self.run(&[&["journalctl", "--output=json", "--all", "--no-pager"], matches].concat())?.ok("journalctl")?;
        lines.lines().map(|l| serde_json::from_str(l).map_err(|e| Failure::new(format!("{e}: {l}")))).collect()
    }

    /// The same, as a person would read it, to explain a failure.
    pub fn journal_text(&self) -> String {
        let words = ["journalctl", "--no-pager", "--output=short-monotonic", "_TRANSPORT=journal", "+", "_TRANSPORT=stdout"];
        self.run(&words).map_or_else(|e| e.to_string(), |o| o.stdout)
    }

    /// A power cut for processes: PID 1 and with it everything dies, and the host boots again over the same files.
    pub fn power_cut(&mut self) -> Result<(), Failure> {
        self.kill();
        self.start()
    }

    fn kill(&mut self) {
        if let Some(mut outer) = self.outer.take() {
            let _ = outer.kill();
            let _ = outer.wait();
        }
        // --kill-child has killed PID 1; the kernel kills the rest of its namespace.
        let gone = || (!Path::new(&format!("/proc/{}", self.pid)).exists()).then_some(());
        let _ = eventually("end of the host", BOOT, gone);
        remove_cgroup(&self.cgroup);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            let keep = std::env::temp_dir().join(format!("{}.journal", self.name));
            let _ = fs::write(keep, self.journal_text());
        }
        self.kill();
        remove_box(&self.directory);
    }
}

/// Takes down what tests left that were killed: nobody holds their lock.
fn remove_stale() -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(BASE) else { return Ok(()) };
    for entry in entries.flatten() {
        let directory = entry.path();
        let Ok(lock) = File::open(directory.join("lock")) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let cgroup = cgroup2()?.join(&name);
        for pid in fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default().lines() {
            run(&["kill", "-KILL", pid], b"")?;
        }
        // The outer process stays in this cgroup; whatever else is below dies with PID 1.
        remove_cgroup(&cgroup);
        remove_box(&directory);
    }
    Ok(())
}

fn remove_box(directory: &Path) {
    let Some(name) = directory.file_name().map(|n| n.to_string_lossy().into_owned()) else { return };
    let layer = directory.join("layer").to_string_lossy().into_owned();
    let _ = run(&["umount", "--lazy", &layer], b"");
    let _ = run(&["ip", "netns", "del", &name], b"");
    let _ = fs::remove_dir_all(directory);
}

fn cgroup2() -> Result<PathBuf, Failure> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mut found = mounts.lines().map(|l| l.split(' ')).filter_map(|mut f| Some((f.nth(1)?, f.next()?)));
    let (path, _) = found.find(|(_, kind)| *kind == "cgroup2").ok_or_else(|| Failure::new("no cgroup2 is mounted"))?;
    Ok(path.into())
}

/// Removes a cgroup and everything below, once the kernel has buried its processes.
fn remove_cgroup(cgroup: &Path) {
    let below = |cgroup: &Path| -> Vec<PathBuf> {
        let mut found = vec![cgroup.to_owned()];
        let mut next = 0;
        while let Some(directory) = found.get(next).cloned() {
            let children = fs::read_dir(directory).into_iter().flatten().flatten();
            found.extend(children.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
            next = next.saturating_add(1);
        }
        found
    };
    let removed = || {
        for directory in below(cgroup).iter().rev() {
            let _ = fs::remove_dir(directory);
        }
        (!cgroup.exists()).then_some(())
    };
    let _ = eventually("end of a cgroup", Duration::from_secs(10), removed);
}
