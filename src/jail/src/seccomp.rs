//! seccomp allow-lists by class. What is not named kills the process; opening and looking for files answers EACCES where no files
//! are allowed, so that libraries degrade; clone3 answers ENOSYS, so that the C library falls back to clone, whose flags can be seen.

use crate::Error;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Which system calls a daemon may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Given descriptors, memory, time, threads; accepting and using local sockets.
    Compute,
    /// Compute, and connecting to edges.
    Asker,
    /// Compute, and reading files again: open for reading, look up, list.
    Reader,
    /// Compute, and connecting to edges, memfds, TCP sockets that were accepted.
    Session,
    /// Compute, TCP sockets that were accepted, and connecting by TCP, to where Landlock and the network namespace allow; no listen, and no
    /// local sockets but those that it was given. And reading files again, as a Reader does: certificates, the passwords of smarthosts.
    Client,
    /// Client, and UDP, which Landlock does not know.
    Resolver,
    /// Compute, and files: open, read, write, sync, rename, unlink, mkdir. No chmod, chown, xattr, mknod, symlink.
    Files,
    /// Files, connecting to edges, and granting sessions.
    Keeper,
}

impl Class {
    /// Whether it calls other hosts.
    pub(crate) fn is_client(self) -> bool {
        matches!(self, Self::Client | Self::Resolver)
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// No MPTCP, no other families: only what edges are made of.
const SOCK_TYPE_MASK: u64 = 0xf;
const MSG_FASTOPEN: u64 = 0x2000_0000;

const ALWAYS: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_dup,
    libc::SYS_memfd_create,
];

/// Of fcntl(2). Not F_SETOWN and F_SETSIG, by which the kernel sends a signal of one's choice to a process of one's choice.
const DESCRIPTOR_COMMANDS: &[i32] =
    &[libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC, libc::F_ADD_SEALS, libc::F_GET_SEALS];

/// Of fcntl(2), for SQLite.
const LOCKS: &[i32] = &[libc::F_GETLK, libc::F_SETLK, libc::F_SETLKW];

#[cfg(target_arch = "x86_64")]
const ALWAYS_ARCH: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_ARCH: &[c_long] = &[];

const SESSION: &[c_long] = &[libc::SYS_connect, libc::SYS_sendfile];

const READER: &[c_long] = &[libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_getdents64];

const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_renameat2,
    libc::SYS_renameat,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_flock,
    libc::SYS_fadvise64,
];

#[cfg(target_arch = "x86_64")]
const FILES_ARCH: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
];
#[cfg(not(target_arch = "x86_64"))]
const FILES_ARCH: &[c_long] = &[];

/// Denied with EACCES instead of death where files are not allowed.
const FILE_PROBES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_statfs,
];

#[cfg(target_arch = "x86_64")]
const FILE_PROBES_ARCH: &[c_long] = &[libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const FILE_PROBES_ARCH: &[c_long] = &[];

/// Denied with EACCES everywhere: asked by libraries that work without.
const PROBES: &[c_long] = &[
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_fchown,
    libc::SYS_fchmod,
    libc::SYS_utimensat,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_getrusage,
    libc::SYS_setpriority,
];

/// Installs the filters; there is no way back.
pub(crate) fn install(class: Class) -> Result<(), Error> {
    for filter in filters(class)? {
        // TSYNC is not needed: there is one thread.
        seccompiler::apply_filter(&filter).map_err(|e| Error::Seccomp(e.to_string()))?;
    }
    Ok(())
}

fn filters(class: Class) -> Result<Vec<BpfProgram>, Error> {
    let unconditional = |list: &[&[c_long]]| -> Rules { list.iter().flat_map(|l| l.iter()).map(|n| (*n, vec![])).collect() };
    let mut denied = unconditional(&[PROBES]);
    if !matches!(class, Class::Files | Class::Keeper) {
        denied.extend(unconditional(&[FILE_PROBES, FILE_PROBES_ARCH]));
    }
    if class == Class::Reader || class.is_client() {
        for number in READER.iter().chain(&[libc::SYS_openat]) {
            denied.remove(number);
        }
    }
    let no_clone3 = unconditional(&[&[libc::SYS_clone3]]);

    let mut allowed = unconditional(&[ALWAYS, ALWAYS_ARCH]);
    match class {
        Class::Compute => {}
        Class::Asker => allowed.extend(unconditional(&[&[libc::SYS_connect]])),
        Class::Reader => allowed.extend(unconditional(&[READER])),
        Class::Session => allowed.extend(unconditional(&[SESSION])),
        Class::Client | Class::Resolver => allowed.extend(unconditional(&[SESSION, READER, &[libc::SYS_bind]])),
        Class::Files => allowed.extend(unconditional(&[FILES, FILES_ARCH])),
        Class::Keeper => allowed.extend(unconditional(&[FILES, FILES_ARCH, &[libc::SYS_connect]])),
    }
    allowed.extend(conditional(class)?);
    // What another filter denies must pass this one, or it would kill.
    for number in denied.keys().chain(no_clone3.keys()) {
        allowed.entry(*number).or_default();
    }
    Ok(vec![
        build(denied, SeccompAction::Allow, SeccompAction::Errno(libc::EACCES as u32))?,
        build(no_clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?,
        build(allowed, SeccompAction::KillProcess, SeccompAction::Allow)?,
    ])
}

/// Calls that are allowed with some arguments only.
fn conditional(class: Class) -> Result<Rules, Error> {
    let mut rules = Rules::new();
    let mut add = |call: c_long, conditions: Vec<SeccompCondition>| -> Result<(), Error> {
        rules.entry(call).or_default().push(SeccompRule::new(conditions).map_err(fail)?);
        Ok(())
    };
    // No executable memory.
    let no_exec = || is(2, Op::MaskedEq(libc::PROT_EXEC as u64), 0);
    add(libc::SYS_mmap, vec![no_exec()?])?;
    add(libc::SYS_mprotect, vec![no_exec()?])?;
    // Threads, never processes or namespaces.
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
    let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
    let namespaces = (namespaces | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP) as u64;
    add(libc::SYS_clone, vec![is(0, Op::MaskedEq(thread | namespaces), thread)?])?;
    // Only its own threads can be signalled: raise and abort.
    let pid = u64::from(std::process::id());
    add(libc::SYS_tgkill, vec![is(0, Op::Eq, pid)?])?;
    for option in [libc::PR_SET_NAME, 0x5356_4d41 /* PR_SET_VMA */] {
        add(libc::SYS_prctl, vec![is(0, Op::Eq, option as u64)?])?;
    }
    // ioctl_fionbio and nothing else.
    add(libc::SYS_ioctl, vec![is(1, Op::Eq, libc::FIONBIO)?])?;
    // What is sent ends. Nothing else: a listening socket belongs to PID 1 too, and would be shut for whoever starts next.
    add(libc::SYS_shutdown, vec![is(1, Op::Eq, libc::SHUT_WR as u64)?])?;
    let locks: &[i32] = if matches!(class, Class::Files | Class::Keeper) { LOCKS } else { &[] };
    for command in DESCRIPTOR_COMMANDS.iter().chain(locks) {
        add(libc::SYS_fcntl, vec![is(1, Op::Eq, *command as u64)?])?;
    }
    add(libc::SYS_sendmsg, vec![is(2, Op::MaskedEq(MSG_FASTOPEN), 0)?])?;
    add(libc::SYS_sendto, vec![is(3, Op::MaskedEq(MSG_FASTOPEN), 0)?])?;
    let unix = |add: &mut dyn FnMut(c_long, Vec<SeccompCondition>) -> Result<(), Error>, call, kind: i32| {
        add(call, vec![is(0, Op::Eq, libc::AF_UNIX as u64)?, is(1, Op::MaskedEq(SOCK_TYPE_MASK), kind as u64)?, is(2, Op::Eq, 0)?])
    };
    // tokio's signal handling wakes itself through a stream pair; sessions are granted as seqpacket pairs.
    unix(&mut add, libc::SYS_socketpair, libc::SOCK_STREAM)?;
    if class == Class::Keeper {
        unix(&mut add, libc::SYS_socketpair, libc::SOCK_SEQPACKET)?;
    }
    if class == Class::Reader || class.is_client() {
        let writing = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_PATH) as u64;
        add(libc::SYS_openat, vec![is(2, Op::MaskedEq(writing), libc::O_RDONLY as u64)?])?;
    }
    if matches!(class, Class::Asker | Class::Session | Class::Keeper) {
        unix(&mut add, libc::SYS_socket, libc::SOCK_SEQPACKET)?;
    }
    if class.is_client() {
        let datagrams = (class == Class::Resolver).then_some((libc::SOCK_DGRAM, libc::IPPROTO_UDP));
        for family in [libc::AF_INET, libc::AF_INET6] {
            for (kind, protocol) in [(libc::SOCK_STREAM, libc::IPPROTO_TCP)].into_iter().chain(datagrams) {
                for protocol in [0, protocol] {
                    let what = [(0, Op::Eq, family), (1, Op::MaskedEq(SOCK_TYPE_MASK), kind), (2, Op::Eq, protocol)];
                    let what: Result<_, _> = what.into_iter().map(|(at, op, value)| is(at, op, value as u64)).collect();
                    add(libc::SYS_socket, what?)?;
                }
            }
        }
    }
    if class == Class::Session || class.is_client() {
        let option = |level: i32, name: i32| -> Result<_, Error> { Ok(vec![is(1, Op::Eq, level as u64)?, is(2, Op::Eq, name as u64)?]) };
        for name in [libc::TCP_NODELAY, libc::TCP_CORK, libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT, libc::TCP_USER_TIMEOUT]
        {
            add(libc::SYS_setsockopt, option(libc::IPPROTO_TCP, name)?)?;
        }
        // Not SO_LINGER: the last close of a socket that lingers waits, and a socket that was passed is closed by who received it.
        for name in [libc::SO_KEEPALIVE, libc::SO_REUSEADDR] {
            add(libc::SYS_setsockopt, option(libc::SOL_SOCKET, name)?)?;
        }
    }
    Ok(rules)
}

/// Compares the low 32 bits of an argument: every argument checked here is an int.
fn is(argument: u8, op: Op, value: u64) -> Result<SeccompCondition, Error> {
    SeccompCondition::new(argument, Len::Dword, op, value).map_err(fail)
}

fn build(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(fail)?;
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(fail)?;
    BpfProgram::try_from(filter).map_err(fail)
}

fn fail(error: impl std::fmt::Display) -> Error {
    Error::Seccomp(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

    use super::*;
    use std::{
        net::TcpListener,
        os::unix::{net::UnixStream, process::ExitStatusExt},
        process::{Command, ExitStatus},
        time::Duration,
    };

    /// Names what the ignored test below does.
    const ACT: &str = "POSTERN_TEST_ACT";
    /// fcntl(2), not among libc's.
    const F_SETSIG: i32 = 10;

    /// Does something in a process of its own.
    fn run(act: &str) -> ExitStatus {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "seccomp::tests::act", "--ignored", "--quiet"]).env(ACT, act).output().unwrap().status
    }

    fn assert_death(acts: &[&str]) {
        for act in acts {
            assert_eq!(run(act).signal(), Some(libc::SIGSYS), "{act}");
        }
    }

    /// A socket that lingers makes its last close wait for a stranger: whoever is sent one on an edge would stand still.
    #[test]
    fn no_socket_can_be_made_to_linger() {
        assert!(run("session keeps alive").success());
        assert_death(&["session lingers", "client lingers"]);
    }

    /// A listening socket stays open for whoever starts next, and the kernel sends no signal for us.
    #[test]
    fn no_socket_is_shut_and_nobody_made_its_owner() {
        for act in ["session finishes", "keeper locks"] {
            assert!(run(act).success(), "{act}");
        }
        assert_death(&["session shuts", "session owns", "session chooses a signal", "session locks"]);
    }

    #[test]
    #[ignore = "is run by other tests, in a process that it may end"]
    fn act() {
        let act = std::env::var(ACT).unwrap();
        let class = if act.starts_with("session") {
            Class::Session
        } else if act.starts_with("keeper") {
            Class::Keeper
        } else {
            Class::Client
        };
        let (listener, (one, _other)) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixStream::pair().unwrap());
        install(class).unwrap();
        let shut = |how| rustix::net::shutdown(&one, how).unwrap();
        // What the kernel makes of it does not matter here.
        // SAFETY: the descriptor is standard input, and the argument is a null pointer or the number 0: nothing is written to.
        let fcntl = |command| _ = unsafe { libc::fcntl(0, command, 0) };
        match act.split_once(' ').unwrap().1 {
            "keeps alive" => rustix::net::sockopt::set_socket_keepalive(&listener, true).unwrap(),
            "lingers" => rustix::net::sockopt::set_socket_linger(&listener, Some(Duration::from_secs(60))).unwrap(),
            "finishes" => shut(rustix::net::Shutdown::Write),
            "shuts" => shut(rustix::net::Shutdown::Both),
            "owns" => fcntl(libc::F_SETOWN),
            "chooses a signal" => fcntl(F_SETSIG),
            "locks" => fcntl(libc::F_SETLK),
            other => panic!("{other}"),
        }
    }
}
