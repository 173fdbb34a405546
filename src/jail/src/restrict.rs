//! Capabilities, core dumps, Landlock.

use crate::{Error, Profile, inherit::Inherited};
use caps::{CapSet, Capability};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use pure_config::Config;
use std::{io, path::Path};

/// The least that must be in force: it restricts TCP, abstract sockets and signals as well as files. Linux 6.12.
const REQUIRED: ABI = ABI::V6;

pub(crate) fn no_core_dumps() -> Result<(), Error> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none).map_err(|e| Error::Io("RLIMIT_CORE", e.into()))?;
    // Also keeps other processes of the same user out of /proc/PID/mem.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|e| Error::Io("PR_SET_DUMPABLE", e.into()))
}

/// Large buffers come from the kernel and go back to it at once. Left to itself glibc keeps what was freed and, for aligned
/// buffers such as argon2's 19 MiB, does not find it again: every login would add to the process.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 1024 * 1024;
        // SAFETY: sets a number inside the allocator, and there is no other thread yet.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    }
}

/// Gives freed memory back to the kernel when there is much of it: what a crowd needed is not what is needed at rest.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    {
        const MUCH: usize = 8 * 1024 * 1024;
        // SAFETY: only reads the allocator's own counters, under its locks.
        let freed = unsafe { libc::mallinfo2() }.fordblks;
        if freed > MUCH {
            // SAFETY: only returns pages that hold nothing, under the allocator's locks.
            unsafe { libc::malloc_trim(0) };
        }
    }
}

pub(crate) fn drop_capabilities() -> Result<(), Error> {
    let failed = |e: caps::errors::CapsError| Error::Io("capabilities", io::Error::other(e.to_string()));
    // The bounding set can be emptied only by who could use it; under no_new_privs it is without effect anyway.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed)? {
        caps::clear(None, CapSet::Bounding).map_err(failed)?;
    }
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    // PID 1 hands over empty sets, and its filter has no capset: it is called only where there is something to give up.
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        if !caps::read(None, set).map_err(failed)?.is_empty() {
            caps::clear(None, set).map_err(failed)?;
        }
    }
    rustix::thread::set_no_new_privs(true).map_err(|e| Error::Io("no_new_privs", e.into()))
}

/// Shuts off the file system but for the state directory and what must be read again later. Returns what is in force.
pub(crate) fn landlock(profile: &Profile, config: &Config, inherited: &Inherited) -> Result<&'static str, Error> {
    let weak = |e: &dyn std::fmt::Display| Error::Weak(e.to_string());
    let newest = ABI::V7;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))
        .map_err(|e| weak(&e))?
        .handle_access(AccessNet::from_all(REQUIRED))
        .map_err(|e| weak(&e))?
        .scope(Scope::from_all(REQUIRED))
        .map_err(|e| weak(&e))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))
        .map_err(|e| weak(&e))?;
    let mut created = ruleset.create().map_err(|e| weak(&e))?;
    if let Some(state) = &inherited.state {
        created = allow(created, state, AccessFs::from_all(REQUIRED) & !exec())?;
    }
    created = allow(created, &inherited.credentials_dir, read())?;
    // What is not there cannot be allowed, and what stands beside it is not to be: it is read after the next start.
    for path in (profile.read)(config).iter().filter(|path| path.exists()) {
        created = allow(created, path, read())?;
    }
    if profile.class.is_client() {
        for port in (profile.connect)(config) {
            created = created.add_rule(NetPort::new(port, AccessNet::ConnectTcp)).map_err(|e| weak(&e))?;
        }
        // A source address without a port; no connection can come in, since the filter has no listen.
        created = created.add_rule(NetPort::new(0, AccessNet::BindTcp)).map_err(|e| weak(&e))?;
    }
    let status = created.restrict_self().map_err(|e| weak(&e))?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(Error::Weak("Landlock is not enforced by this kernel".into()));
    }
    Ok("ABI 6 or newer")
}

fn exec() -> BitFlags<AccessFs> {
    AccessFs::Execute
        | AccessFs::MakeChar
        | AccessFs::MakeBlock
        | AccessFs::MakeSock
        | AccessFs::MakeFifo
        | AccessFs::MakeSym
        | AccessFs::IoctlDev
}

fn read() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn allow(ruleset: landlock::RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<landlock::RulesetCreated, Error> {
    let fd = PathFd::new(path).map_err(|e| Error::Environment(format!("{}: {e}", path.display())))?;
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(REQUIRED) };
    ruleset.add_rule(PathBeneath::new(fd, access)).map_err(|e| Error::Weak(e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

    use super::*;
    use crate::{Class, Kind, nowhere};
    use std::{env, fs, path::PathBuf, process::Command};

    /// A directory with the file of the first name, in which those of both names may be read.
    const PLACE: &str = "POSTERN_TEST_PLACE";

    fn named(_: &Config) -> Vec<PathBuf> {
        let place = PathBuf::from(env::var_os(PLACE).unwrap());
        vec![place.join("named"), place.join("absent")]
    }

    /// A place to shut somebody in, and the words for that.
    fn prepared() -> (tempfile::TempDir, Command) {
        let place = tempfile::tempdir().unwrap();
        for name in ["named", "beside"] {
            fs::write(place.path().join(name), name).unwrap();
        }
        fs::create_dir(place.path().join("credentials")).unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "restrict::tests::shut_in", "--ignored", "--quiet", "--nocapture"]);
        command.env(PLACE, place.path());
        (place, command)
    }

    /// Why it was not shut in, if it was not.
    fn weakness(has_succeeded: bool, said: &[u8]) -> Option<String> {
        let said = String::from_utf8_lossy(said);
        let weak = said.lines().find_map(|line| Some(line.split_once("weak: ")?.1.to_owned()));
        assert!(weak.is_some() || has_succeeded, "{said}");
        weak
    }

    fn weakness_here() -> Option<String> {
        let (_place, mut command) = prepared();
        let output = command.output().unwrap();
        weakness(output.status.success(), &output.stdout)
    }

    /// What is named and not there opens nothing else: not the directory in which it could be.
    #[test]
    fn a_file_that_is_not_there_opens_no_directory() {
        if let Some(reason) = weakness_here() {
            test_support::skip(&reason);
        }
    }

    /// On a kernel that says of itself that it knows this Landlock and no more (landlock_create_ruleset(2)).
    #[cfg(target_arch = "x86_64")]
    fn weakness_on_a_kernel_of(abi: u64) -> Option<String> {
        use nix::{
            sys::{
                ptrace::{self, Options},
                wait::{WaitPidFlag, WaitStatus, waitpid},
            },
            unistd::Pid,
        };
        use std::{os::unix::process::CommandExt, process::Stdio};
        /// `linux/landlock.h`
        const LANDLOCK_CREATE_RULESET_VERSION: u64 = 1;
        /// What stands in the place of an answer before a call is made.
        const NONE_YET: u64 = (-libc::ENOSYS as i64).cast_unsigned();
        let next = |pid| waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
        let (_place, mut command) = prepared();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: one system call, which touches no memory.
        unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
        let child = command.spawn().unwrap();
        let first = Pid::from_raw(child.id().try_into().unwrap());
        assert!(matches!(next(first), WaitStatus::Stopped(..)), "it begins held");
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(first, options).unwrap();
        // The one thread that it makes is the test.
        let test = loop {
            ptrace::cont(first, None).unwrap();
            if let WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_CLONE) = next(first) {
                break Pid::from_raw(ptrace::getevent(first).unwrap().try_into().unwrap());
            }
        };
        ptrace::detach(first, None).unwrap();
        assert!(matches!(next(test), WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)), "it begins held");
        loop {
            ptrace::syscall(test, None).unwrap();
            match next(test) {
                WaitStatus::PtraceSyscall(_) => {
                    let mut registers = ptrace::getregs(test).unwrap();
                    let asks = (libc::SYS_landlock_create_ruleset as u64, LANDLOCK_CREATE_RULESET_VERSION);
                    if (registers.orig_rax, registers.rdx) == asks && registers.rax != NONE_YET {
                        registers.rax = abi;
                        ptrace::setregs(test, registers).unwrap();
                    }
                }
                WaitStatus::Exited(..) => break,
                other => panic!("{other:?}"),
            }
        }
        let output = child.wait_with_output().unwrap();
        weakness(output.status.success(), &output.stdout)
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_kernel_that_knows_less_than_is_required_shuts_nobody_in() {
        if let Some(reason) = weakness_here() {
            return test_support::skip(&reason);
        }
        let required = REQUIRED as u64;
        for less in 0..required {
            assert!(weakness_on_a_kernel_of(less).is_some(), "shut in with ABI {less}");
        }
        assert_eq!(weakness_on_a_kernel_of(required), None);
    }

    #[test]
    #[ignore = "is run by another test, in a process of its own"]
    fn shut_in() {
        let place = PathBuf::from(env::var_os(PLACE).unwrap());
        let profile =
            Profile { name: "test", kind: Kind::Exposed, class: Class::Reader, state: false, read: named, connect: nowhere, workers: 1 };
        let config = Config::parse("hostname = \"mail.jail.test\"").unwrap();
        let inherited =
            Inherited { fds: Vec::new(), state: None, edges: place.clone(), credentials_dir: place.join("credentials"), boot: None };
        match landlock(&profile, &config, &inherited) {
            Err(Error::Weak(why)) => return println!("weak: {why}"),
            shut => drop(shut.unwrap()),
        }
        assert_eq!(fs::read_to_string(place.join("named")).unwrap(), "named");
        assert_eq!(fs::read_to_string(place.join("beside")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read_dir(&place).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
