//! Confinement: what every daemon does before anything else, and the only unsafe code of the project.
//!
//! [`confine`] reads the same in every `main`:
//!
//! 1. take what PID 1 (or `postern up`) handed over: descriptors by name, credentials, the configuration, the state directory;
//! 2. start the log, on the journal's socket that was among them; have TCP sockets listen again that were disconnected meanwhile;
//! 3. give up every capability, set no_new_privs, switch core dumps off;
//! 4. Landlock: no file but the state directory, no TCP bind or connect, no abstract socket, no signal to others;
//! 5. seccomp: the allow-list of the profile's class; a violation kills the process.
//!
//! Then [`Process::run`] starts the runtime, says READY and feeds the watchdog. Nothing runs before the jail is shut: there is one
//! thread, and no byte from outside has been read.

pub mod disk;
mod inherit;
mod journal;
mod log;
mod notify;
mod restrict;
mod run;
mod seccomp;
pub mod spawn;

pub use inherit::Secret;
pub use run::{Process, Shutdown, Sources};
pub use seccomp::Class;

use pure_config::Config;
use std::{
    future::Future,
    io::{self, Write},
    path::PathBuf,
};

/// What a taken-over process of this kind would hold; decides what a panic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Talks to the Internet, holds nothing. A panic loses one session.
    Exposed,
    /// Parses hostile content, reaches nothing. A panic loses one message.
    Blind,
    /// Holds mail or secrets. A panic ends the process, which starts again from its durable state.
    Vault,
}

/// What one daemon is.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// The daemon's name, as in the journal.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Which system calls it needs.
    pub class: Class,
    /// Whether it keeps state: `$STATE_DIRECTORY` must be given, and is all it may write.
    pub state: bool,
    /// Files it must be able to read again later, beside its credentials.
    pub read: fn(&Config) -> Vec<PathBuf>,
    /// TCP ports that a [`Class::Client`] or [`Class::Resolver`] connects to; [`nowhere`] for all others.
    pub connect: fn(&Config) -> Vec<u16>,
    /// Threads of the runtime at most; half as many as the machine has processors when that is less, since the processes of one message
    /// take turns and a thread that only looks for work costs the others theirs.
    pub workers: usize,
}

/// For daemons that open no connection.
pub fn nowhere(_: &Config) -> Vec<u16> {
    Vec::new()
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
    /// What the environment should hold is missing or wrong.
    #[error("{0}")]
    Environment(String),
    /// The configuration is not valid.
    #[error("postern.toml: {0}")]
    Config(String),
    /// The kernel cannot enforce the confinement, and the configuration does not allow less.
    #[error("the sandbox cannot be enforced ({0}); allow_weak_sandbox = true would start without it")]
    Weak(String),
    /// The filter could not be built.
    #[error("seccomp: {0}")]
    Seccomp(String),
}

/// The whole `main` of a daemon: confine, then serve.
pub fn main<F, S>(profile: &Profile, start: S) -> std::process::ExitCode
where
    S: FnOnce(Process) -> Result<F, Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
{
    match confine(profile) {
        Ok(process) => process.run(start),
        Err(error) => {
            // The log may not exist yet; stderr is the journal under systemd.
            let _ = writeln!(io::stderr(), "postern-{}: {error}", profile.name);
            std::process::ExitCode::FAILURE
        }
    }
}

/// Takes over what was handed to this process and locks it in. Call it first in `main`, before any thread exists.
pub fn confine(profile: &Profile) -> Result<Process, Error> {
    let mut inherited = inherit::take(profile)?;
    log::start(profile.name, inherited.fd(inherit::JOURNAL));
    inherited.listen_again();
    let config = inherited.config()?;
    if profile.kind == Kind::Vault {
        run::abort_on_panic();
    }
    restrict::give_back_memory();
    restrict::no_core_dumps()?;
    restrict::drop_capabilities()?;
    let landlock = restrict::landlock(profile, &config, &inherited);
    let landlock = match landlock {
        Ok(abi) => abi.to_owned(),
        Err(e) if config.allow_weak_sandbox => {
            tracing::error!(error = %e, "starting with a weak sandbox: Landlock is not in force");
            "none".into()
        }
        Err(e) => return Err(e),
    };
    let notifier = notify::Notifier::new(inherited.fd(inherit::NOTIFY))?;
    // rustix looks for the vDSO at its first use of the clock, with a prctl that the filter refuses.
    let _ = run::monotonic_usec();
    seccomp::install(profile.class)?;
    tracing::info!(landlock, seccomp = ?profile.class, kind = ?profile.kind, no_new_privs = true, capabilities = 0, "confined");
    Ok(Process::new(*profile, config, inherited, notifier))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

    use super::*;
    use std::{
        fs,
        os::unix::process::ExitStatusExt,
        process::{Command, ExitStatus},
    };

    /// Names the kind of the process that the ignored test below becomes.
    const KIND: &str = "POSTERN_TEST_KIND";

    /// A process of this kind, with what PID 1 would give it, one of whose threads panics.
    fn panics(kind: Kind) -> ExitStatus {
        let dir = tempfile::tempdir().unwrap();
        // The sandbox of the machine that runs the tests may be weaker than what Postern asks of a server.
        fs::write(dir.path().join("postern.toml"), "hostname = \"mail.jail.test\"\nallow_weak_sandbox = true\n").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::a_process_panics", "--ignored", "--quiet"]).env(KIND, format!("{kind:?}"));
        command.env("CREDENTIALS_DIRECTORY", dir.path()).env("STATE_DIRECTORY", dir.path()).env_remove("NOTIFY_SOCKET");
        command.output().unwrap().status
    }

    /// A vault's invariants may be broken after a panic; a front end loses one session.
    #[test]
    fn a_panic_ends_a_vault_and_nobody_else() {
        assert_eq!(panics(Kind::Vault).signal(), Some(libc::SIGABRT));
        assert!(panics(Kind::Exposed).success());
    }

    #[test]
    #[ignore = "is run by another test, in a process that it may end"]
    fn a_process_panics() {
        let (kind, class) = match std::env::var(KIND).unwrap().as_str() {
            "Vault" => (Kind::Vault, Class::Keeper),
            _ => (Kind::Exposed, Class::Session),
        };
        let profile = Profile { name: "test", kind, class, state: true, read: |_| Vec::new(), connect: nowhere, workers: 1 };
        let _process = confine(&profile).unwrap();
        assert!(std::thread::spawn(|| panic!("in one of its threads")).join().is_err());
    }
}
