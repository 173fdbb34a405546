//! CPU time and memory of a server: all processes in one cgroup, so that those that come and go are counted too.

use crate::Failure;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Processes of which memory is still read while a case runs; with more, only at its end: reading them costs the time of the measured.
const WATCHED: usize = 150;
/// CPU seconds within one second below which a server counts as quiet.
const QUIET: f64 = 0.03;
/// For the last process of a server that was stopped to be gone.
const LAST_ENDS: Duration = Duration::from_secs(5);

/// A cgroup of its own for one server.
#[derive(Debug)]
pub(crate) struct Meter(PathBuf);

impl Meter {
    /// Makes the cgroup. v2 counts CPU time without any controller enabled; v1 needs cpuacct.
    pub(crate) fn new(name: &str) -> Result<Self, Failure> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut v1 = None;
        let mut v2 = None;
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, path, kind, options, ..] = fields.as_slice() {
                match *kind {
                    "cgroup2" => v2 = Some(PathBuf::from(path)),
                    "cgroup" if options.split(',').any(|o| o == "cpuacct") => v1 = Some(PathBuf::from(path)),
                    _ => {}
                }
            }
        }
        let dir = v1.or(v2).ok_or("no cgroup file system is mounted")?.join(format!("postern-bench-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}; the bench needs root", dir.display()))?;
        Ok(Self(dir))
    }

    /// A shell command that puts its shell, and so all that it starts, into the cgroup.
    pub(crate) fn join_command(&self) -> String {
        format!("echo $$ > {}", self.0.join("cgroup.procs").display())
    }

    /// Processes in it.
    pub(crate) fn processes(&self) -> usize {
        pids(&self.0).len()
    }

    /// CPU seconds used so far, by living and dead.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, Failure> {
        if let Ok(nanos) = fs::read_to_string(self.0.join("cpuacct.usage")) {
            return Ok(nanos.trim().parse::<f64>()? / 1e9);
        }
        let stat = fs::read_to_string(self.0.join("cpu.stat"))?;
        let usec = stat.lines().find_map(|l| l.strip_prefix("usage_usec ")).ok_or("cpu.stat without usage_usec")?;
        Ok(usec.trim().parse::<f64>()? / 1e6)
    }

    /// Waits until the server does nothing any more, so that what it does afterwards is not counted for the next; for at most this long.
    pub(crate) fn settle(&self, limit: Duration) -> Result<(), Failure> {
        let start = Instant::now();
        while start.elapsed() < limit {
            let before = self.cpu_seconds()?;
            thread::sleep(Duration::from_millis(500));
            if (self.cpu_seconds()? - before) * 2.0 < QUIET {
                break;
            }
        }
        Ok(())
    }

    /// Proportional set size of all processes, in bytes.
    pub(crate) fn pss(&self) -> u64 {
        pss(&self.0)
    }

    /// The same by the name of the process, with how many there are of it.
    pub(crate) fn pss_by_name(&self) -> BTreeMap<String, (usize, u64)> {
        let mut all: BTreeMap<String, (usize, u64)> = BTreeMap::new();
        for pid in pids(&self.0) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let entry = all.entry(name.trim().to_owned()).or_default();
            entry.0 += 1;
            entry.1 += pss_of(Path::new(&format!("/proc/{pid}/smaps_rollup")));
        }
        all
    }

    /// What each process did since it began, by its command line without directories.
    pub(crate) fn work_by_process(&self) -> BTreeMap<String, Work> {
        let mut all: BTreeMap<String, Work> = BTreeMap::new();
        for pid in pids(&self.0) {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&str> = line.split('\0').filter(|w| !w.is_empty()).take(2).collect();
            let name = words.iter().map(|w| w.rsplit('/').next().unwrap_or(w)).collect::<Vec<_>>().join(" ");
            let entry = all.entry(name).or_default();
            let done = work_of(pid);
            *entry = Work {
                cpu_ms: entry.cpu_ms + done.cpu_ms,
                wakes: entry.wakes + done.wakes,
                reads_and_writes: entry.reads_and_writes + done.reads_and_writes,
            };
        }
        all
    }

    /// Looks at the memory again and again until the value is dropped.
    pub(crate) fn watch(&self) -> Watch {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let dir = self.0.clone();
        let (its_stop, its_peak) = (stop.clone(), peak.clone());
        let thread = thread::spawn(move || {
            while !its_stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                if pids(&dir).len() <= WATCHED {
                    its_peak.fetch_max(pss(&dir), Ordering::Relaxed);
                }
                // At most a fiftieth of one core goes into looking.
                thread::park_timeout((start.elapsed() * 50).max(Duration::from_millis(100)));
            }
        });
        Watch { dir: self.0.clone(), stop, peak, thread: Some(thread) }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Fails while a process is left in it: Postfix and Dovecot end a little after they were told to.
        let start = Instant::now();
        while fs::remove_dir(&self.0).is_err() && start.elapsed() < LAST_ENDS {
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a process has done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) cpu_ms: f64,
    /// How often one of its threads slept and was woken.
    pub(crate) wakes: u64,
    /// Calls of read(2) and write(2) and their kin, of sockets too; what goes through recvmsg(2) and sendmsg(2) is not counted by the kernel.
    pub(crate) reads_and_writes: u64,
}

/// See [`Meter::watch`].
#[derive(Debug)]
pub(crate) struct Watch {
    dir: PathBuf,
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watch {
    /// The most that was seen, now included, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed).max(pss(&self.dir))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn pids(dir: &Path) -> Vec<u32> {
    fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|l| l.parse().ok()).collect()
}

fn work_of(pid: u32) -> Work {
    let value = |text: &str, name: &str| -> u64 {
        text.lines().find_map(|l| l.strip_prefix(name)).and_then(|v| v.trim().parse().ok()).unwrap_or(0)
    };
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let mut work = Work { reads_and_writes: value(&io, "syscr:") + value(&io, "syscw:"), ..Work::default() };
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        work.wakes += value(&fs::read_to_string(task.path().join("status")).unwrap_or_default(), "voluntary_ctxt_switches:");
    }
    // Fields 14 and 15, counted from 1; the name before them may hold anything but a closing bracket at its end (proc_pid_stat(5)).
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    work.cpu_ms = ticks as f64 * 1e3 / rustix::param::clock_ticks_per_second() as f64;
    work
}

fn pss(dir: &Path) -> u64 {
    pids(dir).iter().map(|pid| pss_of(Path::new(&format!("/proc/{pid}/smaps_rollup")))).sum()
}

fn pss_of(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("Pss:")).and_then(|v| v.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
