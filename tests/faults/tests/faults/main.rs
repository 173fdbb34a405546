//! Faults under load: the store and the queue, each a process of its own on a small file system, are killed, lose their power and
//! find their disk full, in an order that a seed decides.
//!
//! What must hold, whatever happens:
//!
//! * a message that was answered with `Accepted`, and an APPEND that was answered, is in each of its mailboxes exactly once, byte for byte;
//!   one whose answer was lost is there once or not at all (an APPEND: not torn);
//! * a UID that was seen with a message is never seen with another one;
//! * the databases are sound, the counters of the mailboxes are those of their messages, and the spool is empty in the end;
//! * everything goes on without hands.
//!
//! A power cut is a copy of the file system's image: what no sync had forced out is in the page cache and not in the image. It needs root
//! and loop devices, and happens in a mount namespace of its own.
//!
//! `POSTERN_FAULTS_SCHEDULES` is how many schedules are run, `POSTERN_FAULTS_SEED` the first one's seed; a failure names its own.

mod child;
mod disk;
mod load;
mod peers;

use disk::Disk;
use load::World;
use std::{env, process::Command};

/// Faults of one schedule.
const FAULTS: usize = 6;
/// Messages handed in between two faults, at most.
const BETWEEN: usize = 30;
/// Set in the process that has its own mounts.
const INSIDE: &str = "POSTERN_FAULTS_INSIDE";

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).ok().map_or(default, |text| text.parse().expect(variable))
}

/// xorshift64*: the same schedule for the same seed.
pub struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % limit
    }
}

/// What befalls them.
#[derive(Debug, Clone, Copy)]
enum Fault {
    KillStore,
    KillQueue,
    KillBoth,
    PowerCut,
    /// The store is killed and started again; the power is cut as soon as the spool is empty.
    KillStoreThenCut,
    FullDisk,
}

#[test]
fn nothing_accepted_is_lost_or_doubled_whatever_fails() {
    if env::var_os(INSIDE).is_none() {
        return in_own_namespace("nothing_accepted_is_lost_or_doubled_whatever_fails");
    }
    let first = number("POSTERN_FAULTS_SEED", 1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for seed in first..first + number("POSTERN_FAULTS_SCHEDULES", 5) {
        eprintln!("schedule of the seed {seed}");
        runtime.block_on(schedule(seed));
    }
}

/// Mounts that no one else sees, and that go with the last process here.
fn in_own_namespace(test: &str) {
    if !rustix::process::geteuid().is_root() {
        return test_support::skip("file systems are mounted by root alone");
    }
    for program in ["unshare", "mount", "umount", "mkfs.ext4"] {
        if test_support::need(program).is_none() {
            return;
        }
    }
    if !Disk::is_possible() {
        return test_support::skip("no file system can be mounted from an image here");
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(env::current_exe().unwrap());
    let status = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "see above for the seed");
}

async fn schedule(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new(seed).await;
    for _ in 0..FAULTS {
        let fault = match random.below(10) {
            0 | 1 => Fault::KillStore,
            2 => Fault::KillQueue,
            3 => Fault::KillBoth,
            4 => Fault::FullDisk,
            5 | 6 => Fault::KillStoreThenCut,
            _ => Fault::PowerCut,
        };
        let messages = random.below(BETWEEN) + 1;
        let after = random.below(messages + 1);
        world.load(&mut random, messages, after, fault).await;
    }
    world.check().await;
}

/// The page cache holds something else than the disk, as it does after a write that failed: the disk is believed.
#[test]
fn the_disk_is_believed_and_not_the_page_cache() {
    if env::var_os(INSIDE).is_none() {
        return in_own_namespace("the_disk_is_believed_and_not_the_page_cache");
    }
    let disk = Disk::new();
    let file = disk.path().join("file");
    std::fs::write(&file, b"what was written").unwrap();
    std::fs::File::open(&file).unwrap().sync_all().unwrap();
    assert!(!jail::disk::reread(&file).unwrap());
    disk.change(b"what was written", b"what is on disk ");
    assert_eq!(std::fs::read(&file).unwrap(), b"what was written");
    assert!(jail::disk::reread(&file).unwrap());
    assert_eq!(std::fs::read(&file).unwrap(), b"what is on disk ");
}

/// Not a test: what the processes under test run, see [`child`].
#[test]
fn child() {
    child::run();
}
