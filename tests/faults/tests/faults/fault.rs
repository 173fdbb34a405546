//! What befalls the processes, and how it is brought about.

use crate::Random;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use std::{fs, process::Child};

/// Bytes of a page, as `/proc/PID/statm` counts.
const PAGE: u64 = 4096;
const MIB: u64 = 1024 * 1024;
/// Seconds that a clock is wrong by, at most: together less than the five days after which mail is given up.
const WRONG: i64 = 2 * 24 * 3600;

/// One of the processes under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Store,
    Queue,
}

/// What befalls them.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    KillStore,
    KillQueue,
    KillBoth,
    PowerCut,
    /// The store is killed and started again; the power is cut as soon as the spool is empty.
    KillStoreThenCut,
    FullDisk,
    /// Everything that is asked of the disk fails, and what was not synced is lost.
    DiskFails,
    /// Blocks that were never written fail, but for so many.
    BadBlocks(u64),
    /// It stands still, and goes on; the other does meanwhile.
    Stop(Role),
    /// All clocks are wrong by so many seconds.
    Clock(i64),
    /// So many descriptors more than it has, and no others.
    Descriptors(Role, u64),
    /// So many MiB of address space more than it has, and no others.
    Memory(Role, u64),
}

impl Fault {
    /// Any of them.
    pub fn any(random: &mut Random) -> Self {
        let role = if random.below(2) == 0 { Role::Store } else { Role::Queue };
        match random.below(20) {
            0 | 1 => Self::KillStore,
            2 => Self::KillQueue,
            3 => Self::KillBoth,
            4 => Self::FullDisk,
            5 | 6 => Self::KillStoreThenCut,
            7..=9 => Self::PowerCut,
            10 | 11 => Self::DiskFails,
            12 | 13 => Self::BadBlocks(random.below(200) as u64),
            14 => Self::Stop(role),
            15 | 16 => Self::Clock(i64::try_from(random.below(2 * WRONG as usize)).unwrap() - WRONG),
            17 | 18 => Self::Descriptors(role, random.below(12) as u64),
            _ => Self::Memory(role, 1 + random.below(24) as u64),
        }
    }

    /// Whether a process may end over it.
    pub fn may_end_a_process(self) -> bool {
        matches!(self, Self::DiskFails | Self::BadBlocks(_) | Self::Descriptors(..) | Self::Memory(..))
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Stops a process, or lets it go on.
pub fn stop(child: &Child, stop: bool) {
    kill_process(pid(child), if stop { Signal::STOP } else { Signal::CONT }).unwrap();
}

/// A process gets so many descriptors more.
pub fn limit_descriptors(child: &Child, more: u64) {
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let highest = open.filter_map(|fd| fd.unwrap().file_name().to_str()?.parse::<u64>().ok()).max().unwrap_or(0);
    limit(child, Resource::Nofile, highest + 1 + more);
}

/// A process gets so much memory more.
pub fn limit_memory(child: &Child, more: u64) {
    let statm = fs::read_to_string(format!("/proc/{}/statm", child.id())).unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    limit(child, Resource::As, pages * PAGE + more * MIB);
}

fn limit(child: &Child, resource: Resource, to: u64) {
    let maximum = getrlimit(resource).maximum;
    // One that has ended meanwhile needs none.
    let _ = prlimit(Some(pid(child)), resource, Rlimit { current: Some(to), maximum });
}

/// A process gets what it wants again.
pub fn unlimit(child: &Child) {
    for resource in [Resource::Nofile, Resource::As] {
        let _ = prlimit(Some(pid(child)), resource, getrlimit(resource));
    }
}
