//! The adversary: arbitrary code in each running daemon, and what comes of it.
//!
//! A shellcode is a sequence of system calls made by the process that was broken. That is what this does: it stops the main thread of the
//! **real, running daemon** with ptrace(2), has it make one system call after the other with arguments of the adversary's choice, and
//! reads what the kernel answered. Nothing of the daemon is replaced: descriptors, credentials, Landlock domain, seccomp filters,
//! namespaces and cgroup are those that it serves with, so there is no copy of them that could go stale.
//!
//! * Every act runs in every process; whatever the kernel kills is started again by PID 1 (or `postern up`), as it would be in life.
//! * [`Table`] is what came of it; the committed ones are in `expected/`. Whatever becomes weaker than committed is a failure.
//! * They also run in a process that nothing confines: an act that does not come to its end there would prove nothing elsewhere, and is
//!   listed with its reason.
//! * The same acts run where only the units confine (a program that sleeps, in the daemon's place) and where only the program confines
//!   itself (`postern up`), which says what each fence is worth alone.
//!
//! The tracer is root outside; the daemon under it has no more rights than before. x86-64 only, since it writes registers.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod acts;
mod held;
mod puppet;
mod stage;
mod summary;
mod table;

pub use acts::{Act, Facts, Sibling, acts};
pub use puppet::{Puppet, Stop};
pub use stage::{Fence, Stage};
pub use summary::summary;
pub use table::{Cell, Table, Verdict, is_error};
