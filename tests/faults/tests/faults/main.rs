//! Faults under load: the store and the queue, each a process of its own on a small file system, are killed, stopped, lose their power,
//! find their disk full or broken, run out of descriptors and memory, and have their clocks set, in an order that a seed decides.
//!
//! What must hold, whatever happens:
//!
//! * a message that was answered with `Accepted`, and an APPEND that was answered, is in each of its mailboxes exactly once, byte for byte,
//!   and went elsewhere exactly once; one whose answer was lost is there once or not at all (an APPEND: not torn);
//! * flags, EXPUNGE, MOVE and COPY that were answered are done, once; those whose answer was lost are done or not. A loss of power may undo
//!   flags and EXPUNGE alone, and only where nothing was synced after them; nothing that was expunged comes again;
//! * a UID that was seen with a message is never seen with another one;
//! * the databases are sound, the counters of the mailboxes are those of their messages, and the spool is empty in the end;
//! * everything goes on without hands.
//!
//! A power cut is a copy of the file system's image: what no sync had forced out is in the page cache and not in the image. A broken disk is
//! one that answers everything with EIO, or one whose new blocks cannot be written, so that what was written before a sync is there in part.
//! It needs root and loop devices, and happens in a mount namespace of its own.
//!
//! A process that has no disk, memory or descriptors may end, and is started again, as systemd does, until all have done their
//! work again; from any other fault it must not.
//!
//! `POSTERN_FAULTS_SCHEDULES` is how many schedules are run, `POSTERN_FAULTS_SEED` the first one's seed; a failure names its own.
//! `POSTERN_FAULTS_STOPPED` is for how many seconds a process that is stopped stays so, beside what the test does meanwhile;
//! `POSTERN_LOG=info` shows what the processes log.

mod child;
mod disk;
mod fault;
mod load;
mod model;
mod peers;
mod vaults;

use disk::Disk;
use fault::Fault;
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

#[test]
fn nothing_accepted_is_lost_or_doubled_whatever_fails() {
    if !is_inside() {
        return in_own_namespace("nothing_accepted_is_lost_or_doubled_whatever_fails");
    }
    let first = number("POSTERN_FAULTS_SEED", 1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for seed in first..first + number("POSTERN_FAULTS_SCHEDULES", 5) {
        eprintln!("schedule of the seed {seed}");
        runtime.block_on(schedule(seed));
    }
}

fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Mounts that no one else sees, and that go with the last process here.
fn in_own_namespace(test: &str) {
    if !rustix::process::geteuid().is_root() {
        return test_support::skip("file systems are mounted by root alone");
    }
    for program in ["unshare", "mount", "umount", "mkfs.ext4", "e2fsck", "python3"] {
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
        let fault = Fault::any(&mut random);
        let messages = random.below(BETWEEN) + 1;
        let after = random.below(messages + 1);
        world.load(&mut random, messages, after, fault).await;
    }
    world.check().await;
}

/// The page cache holds something else than the disk, as it does after a write that failed: the disk is believed.
#[test]
fn the_disk_is_believed_and_not_the_page_cache() {
    if !is_inside() {
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

/// A journal that could not be written: the second sync is told that all is well, and the witness is not.
#[test]
fn a_file_system_that_has_given_up_is_noticed_by_everybody() {
    if !is_inside() {
        return in_own_namespace("a_file_system_that_has_given_up_is_noticed_by_everybody");
    }
    let disk = Disk::new();
    let witness = jail::disk::Witness::new(&disk.path());
    let files: Vec<_> = (0..2).map(|n| std::fs::File::create(disk.path().join(n.to_string())).unwrap()).collect();
    let write = |file: &std::fs::File| std::os::unix::fs::FileExt::write_all_at(file, b"text", 0);
    for file in &files {
        write(file).unwrap();
        file.sync_all().unwrap();
        witness.ask().unwrap();
    }
    disk.break_new_blocks(0);
    for name in 0..100 {
        std::fs::create_dir(disk.path().join(format!("dir-{name}"))).unwrap();
    }
    for file in &files {
        write(file).unwrap();
    }
    // What the second is told is the kernel's affair; it was `Ok` when this was written.
    assert!(files[0].sync_all().is_err());
    eprintln!("the second is told {:?}", files[1].sync_all());
    assert!(witness.ask().is_err());
}

/// Not a test: what the processes under test run, see [`child`].
#[test]
fn child() {
    child::run();
}
