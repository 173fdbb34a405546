//! Starting a daemon as PID 1 would, for `postern up` and for tests: named descriptors from 3 on, and an end with the parent.

use rustix::process::Signal;
use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
};

const FIRST: RawFd = 3;
/// Above any descriptor that is placed.
const SAFE: RawFd = 128;

/// Starts `command` with these descriptors as sd_listen_fds(3) gives them. The child gets SIGTERM when the parent's thread ends.
pub fn spawn(command: &mut Command, fds: &[(&str, BorrowedFd<'_>)]) -> io::Result<Child> {
    let names: Vec<&str> = fds.iter().map(|(name, _)| *name).collect();
    command.env_remove("LISTEN_PID");
    command.env("LISTEN_FDS", fds.len().to_string());
    command.env("LISTEN_FDNAMES", names.join(":"));
    let sources: Vec<RawFd> = fds.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only system calls are made, on values computed before; nothing is allocated or locked.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            if rustix::process::getppid() != Some(parent) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            place(&sources)
        });
    }
    command.spawn()
}

/// Puts the n-th source at descriptor 3 + n, open across exec. Runs in the child between fork and exec.
fn place(sources: &[RawFd]) -> io::Result<()> {
    let mut safe: [RawFd; 64] = [-1; 64];
    for (slot, source) in safe.iter_mut().zip(sources) {
        // SAFETY: the caller of `spawn` holds the descriptor open until the child has started.
        let source = unsafe { BorrowedFd::borrow_raw(*source) };
        *slot = rustix::io::fcntl_dupfd_cloexec(source, SAFE)?.into_raw_fd();
    }
    for ((target, source), _) in (FIRST..).zip(safe).zip(sources) {
        // SAFETY: opened just above in this process, and not closed since.
        let source = unsafe { BorrowedFd::borrow_raw(source) };
        // SAFETY: whatever this number was in the parent, the child replaces it here and nothing uses it before exec.
        let mut target = unsafe { OwnedFd::from_raw_fd(target) };
        rustix::io::dup2(source, &mut target)?;
        let _ = target.into_raw_fd();
    }
    Ok(())
}
