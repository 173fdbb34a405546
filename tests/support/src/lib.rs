//! What tests of the whole appliance share: starting one, clients that speak to it, and skipping with a reason.
//!
//! An [`Appliance`] is the real thing: `postern up` with the built executables, on free ports of loopback, in a directory of its own
//! that goes with it. It starts in a fraction of a second, so every test has one to itself and tests run in parallel.

mod appliance;
mod connection;
mod imap;
mod message;
mod skip;
mod smtp;

pub use appliance::{Appliance, World, binaries, daemons};
pub use connection::Connection;
pub use imap::{Answer, Imap};
pub use message::{after_added_fields, dot_stuff};
pub use skip::{need, skip, skip_test};
pub use smtp::{Reply, Smtp};

use std::{
    fs,
    time::{Duration, Instant},
};

/// Longer than anything takes on a slow, busy machine: what it bounds is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `found` returns something. A condition has no event to wait for here, so it is asked again, soon and then less often.
///
/// # Panics
/// After [`PATIENCE`].
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} seconds", PATIENCE.as_secs());
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The most memory that a process ever had, in KiB (VmHWM in proc(5)). What is in files of memory is there only while it is mapped.
///
/// # Panics
/// When there is no such process.
pub fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
