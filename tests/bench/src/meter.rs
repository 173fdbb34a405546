//! CPU time and memory of a server: all processes in one cgroup, so that those that come and go are counted too.

use crate::Failure;
use std::{
    fs,
    path::{Path, PathBuf},
};

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

    fn pids(&self) -> Vec<u32> {
        fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|l| l.parse().ok()).collect()
    }

    /// Processes in it.
    pub(crate) fn processes(&self) -> usize {
        self.pids().len()
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

    /// Proportional set size of all processes, in bytes.
    pub(crate) fn pss(&self) -> u64 {
        self.pids().iter().map(|pid| pss_of(Path::new(&format!("/proc/{pid}/smaps_rollup")))).sum()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Fails while a process is left in it; the next boot removes it.
        let _ = fs::remove_dir(&self.0);
    }
}

fn pss_of(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("Pss:")).and_then(|v| v.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
