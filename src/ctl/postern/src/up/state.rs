//! The state directory of `up`:
//!
//! ```text
//! postern.toml      the configuration; written once, then yours
//! passwords         address and password of every account, one a line; mode 0600
//! ca.pem            for clients to trust
//! state/DAEMON/     what a daemon keeps
//! credentials/DAEMON/  what a daemon is given: the configuration; keys also gets tls.crt and tls.key
//! run/EDGE/sock     the sockets of the edges
//! run/notify/, run/pid/  READY messages, and the number of each daemon's process
//! log/DAEMON.log    unless -v sends the logs to the terminal
//! bin/              copies of the executables, when other users could not reach the originals
//! lock              held while `up` runs
//! ```

use super::{
    certificate::{self, VALID},
    daemons::{DAEMONS, Daemon, EdgeSocket},
    privilege::{self, Separation},
};
use crate::{
    Failure, check,
    control::{MAX_SOCKET_PATH, plain, socket},
};
use pure_addr::Address;
use pure_config::Config;
use rustix::{
    fs::FlockOperation,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};
use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};
use time::OffsetDateTime;
use wire::edge::auth_control::Password;

/// What `up` declares when the state directory has no configuration of its own.
const DEMO: &str = r#"# Written by "postern up"; change it as you like, it is not written again.
hostname = "mail.example.test"
postmaster = "alice@example.test"

[domains."example.test"]

[accounts."alice@example.test"]

[accounts."bob@example.test"]

# A demonstration sends nothing to other domains: such mail is accepted and waits, "postern queue list" shows it.
[send]
paused = true
"#;
/// Accounts that `up` gives passwords; a demonstration has two, a test a handful.
const MAX_ACCOUNTS: usize = 20_000;
/// A certificate with less than this left is replaced.
const RENEW_BEFORE: time::Duration = time::Duration::days(97);
/// Connections to an edge that wait to be accepted.
const BACKLOG: i32 = 1024;
/// The longest name below `run/`, with its socket.
const LONGEST_EDGE: &str = "/auth-submission/sock";

/// The prepared directory.
#[derive(Debug)]
pub(super) struct State {
    /// As the daemons see it.
    root: PathBuf,
    /// As the person at the terminal sees it.
    pub(super) shown: PathBuf,
    /// Where the edges' sockets are.
    pub(super) run: PathBuf,
    /// `run` was made in the directory for temporary files and goes with us.
    temporary_run: bool,
    /// Whether daemons have users of their own.
    pub(super) users: bool,
    pub(super) config: Config,
    config_text: String,
    /// Released by the kernel when the process ends.
    _lock: File,
}

/// Creates the directory, or takes it over from an earlier run.
pub(super) fn create(state: &Path) -> Result<PathBuf, Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.map_err(|e| Failure::new(state.display(), format_args!("{}; --state DIR names another place", plain(&e))))?;
    state.canonicalize().map_err(|e| wrong(state, &e))
}

impl State {
    /// `config` and `accounts` are files to start from instead of the demonstration's.
    pub(super) fn open(shown: &Path, separation: Separation, config: Option<&Path>, accounts: Option<&Path>) -> Result<Self, Failure> {
        let Separation { users, root } = separation;
        let lock = lock(&root, shown)?;
        let file = root.join("postern.toml");
        let given = config.map(check::read).transpose()?;
        if given.is_some() || !file.exists() {
            write(&file, given.as_deref().unwrap_or(DEMO), 0o644)?;
        }
        if let Some(accounts) = accounts {
            write(&root.join("passwords"), &check::read(accounts)?, 0o600)?;
        }
        let (config_text, config) = configuration(&file, shown)?;
        for name in ["log", "state", "credentials"] {
            directory(&root.join(name), 0o711)?;
        }
        let (run, temporary_run) = run_directory(&root)?;
        for name in ["notify", "pid"] {
            directory(&run.join(name), 0o711)?;
        }
        Ok(Self { root, shown: shown.to_owned(), run, temporary_run, users, config, config_text, _lock: lock })
    }

    /// The accounts and their passwords: those of an earlier run, and a new one for every declared account without.
    pub(super) fn passwords(&self) -> Result<Vec<(Address, Password)>, Failure> {
        let file = self.root.join("passwords");
        let text = if file.exists() { check::read(&file)? } else { String::new() };
        let mut all =
            parse_passwords(&text).map_err(|line| Failure::new(file.display(), format_args!("line {line} is not ADDRESS PASSWORD")))?;
        let known: HashSet<Address> = all.iter().map(|(address, _)| address.clone()).collect();
        for account in self.config.accounts.iter().filter(|account| !known.contains(&account.address)) {
            all.push((account.address.clone(), random_password()?));
        }
        if all.len() > MAX_ACCOUNTS {
            return Err(Failure::new(file.display(), format_args!("more than {MAX_ACCOUNTS} accounts")));
        }
        if all.len() > known.len() {
            let text: String = all.iter().map(|(address, password)| format!("{address} {}\n", password.0)).collect();
            write(&file, &text, 0o600)?;
        }
        Ok(all)
    }

    /// What each daemon is given, and where it may write.
    pub(super) fn hand_out(&self) -> Result<(), Failure> {
        self.certificate()?;
        for daemon in DAEMONS {
            let credentials = self.credentials(daemon);
            directory(&credentials, 0o700)?;
            write(&credentials.join("postern.toml"), &self.config_text, 0o400)?;
            self.give(&credentials, daemon)?;
            if daemon.state {
                let state = self.state(daemon);
                directory(&state, 0o700)?;
                self.give(&state, daemon)?;
            }
        }
        Ok(())
    }

    /// The configuration as it stands now, for daemons that run. The certificate stays.
    pub(super) fn hand_out_again(&self) -> Result<(), Failure> {
        if self.users {
            // The daemons read again what they have: it is theirs, and `up` has given up what it takes to replace it.
            let file = self.shown.join("postern.toml");
            let _ = writeln!(io::stderr(), "postern: {}: started by root, up reads it at its start alone", file.display());
            return Ok(());
        }
        let (text, _) = configuration(&self.root.join("postern.toml"), &self.shown)?;
        DAEMONS.iter().try_for_each(|daemon| write(&self.credentials(daemon).join("postern.toml"), &text, 0o400))
    }

    fn give(&self, path: &Path, daemon: &Daemon) -> Result<(), Failure> {
        if !self.users {
            return Ok(());
        }
        privilege::give(path, daemon.uid, daemon.gid).map_err(|e| wrong(path, &e))
    }

    fn certificate(&self) -> Result<(), Failure> {
        let authority = self.root.join("ca.pem");
        let Some(keys) = DAEMONS.iter().find(|d| d.tls_key).map(|d| self.credentials(d)) else { return Ok(()) };
        directory(&keys, 0o700)?;
        let (chain, key) = (keys.join("tls.crt"), keys.join("tls.key"));
        let fresh = |path: &Path| {
            let age = fs::metadata(path).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
            age.is_some_and(|age| VALID.saturating_sub(RENEW_BEFORE) > age)
        };
        if [&authority, &chain, &key].into_iter().all(|path| fresh(path)) {
            return Ok(());
        }
        let names = [self.config.hostname.as_str(), "localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let issued = certificate::issue(names, OffsetDateTime::now_utc()).map_err(|e| Failure::new("certificate", e))?;
        write(&chain, &issued.chain, 0o400)?;
        write(&key, &issued.key, 0o400)?;
        write(&authority, &issued.authority, 0o644)
    }

    /// An executable where every daemon's user can run it.
    pub(super) fn binaries(&self, dir: &Path) -> Result<PathBuf, Failure> {
        let dir = dir.canonicalize().map_err(|e| wrong(dir, &e))?;
        let mut names: Vec<&str> = DAEMONS.iter().map(|d| d.binary).collect();
        names.dedup();
        if let Some(missing) = names.iter().find(|name| !dir.join(name).is_file()) {
            return Err(Failure::new(dir.join(missing).display(), "there is no such executable; --bin DIR says where they are"));
        }
        if !self.users || names.iter().all(|name| privilege::reachable(&dir.join(name))) {
            return Ok(dir);
        }
        let bin = self.root.join("bin");
        directory(&bin, 0o755)?;
        for name in names {
            let (from, to) = (dir.join(name), bin.join(name));
            remove(&to)?;
            fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ())).map_err(|e| wrong(&to, &e))?;
            fs::set_permissions(&to, Permissions::from_mode(0o755)).map_err(|e| wrong(&to, &e))?;
        }
        Ok(bin)
    }

    /// The listening socket of an edge.
    pub(super) fn edge(&self, edge: &EdgeSocket) -> Result<OwnedFd, Failure> {
        directory(&self.run.join(edge.name), 0o711)?;
        let path = socket(&self.run, edge.name);
        remove(&path)?;
        let made = || -> io::Result<OwnedFd> {
            let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            bind(&fd, &SocketAddrUnix::new(&path)?)?;
            fs::set_permissions(&path, Permissions::from_mode(0o660))?;
            if self.users {
                std::os::unix::fs::chown(&path, Some(edge.uid), Some(edge.gid))?;
            }
            listen(&fd, BACKLOG)?;
            Ok(fd)
        };
        made().map_err(|e| wrong(&path, &e))
    }

    /// Where a daemon says READY.
    pub(super) fn notify(&self, daemon: &Daemon) -> Result<(PathBuf, tokio::net::UnixDatagram), Failure> {
        let path = self.run.join("notify").join(daemon.name);
        remove(&path)?;
        let made = || -> io::Result<tokio::net::UnixDatagram> {
            let socket = tokio::net::UnixDatagram::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            if self.users {
                std::os::unix::fs::chown(&path, Some(daemon.uid), Some(daemon.gid))?;
            }
            Ok(socket)
        };
        made().map(|socket| (path.clone(), socket)).map_err(|e| wrong(&path, &e))
    }

    pub(super) fn log(&self, daemon: &Daemon) -> Result<(PathBuf, File), Failure> {
        let path = self.root.join("log").join(format!("{}.log", daemon.name));
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&path).map_err(|e| wrong(&path, &e))?;
        Ok((path, file))
    }

    pub(super) fn credentials(&self, daemon: &Daemon) -> PathBuf {
        self.root.join("credentials").join(daemon.name)
    }

    pub(super) fn state(&self, daemon: &Daemon) -> PathBuf {
        self.root.join("state").join(daemon.name)
    }

    /// The certificate to trust, by the name that everybody can use.
    pub(super) fn authority(&self) -> PathBuf {
        self.shown.join("ca.pem")
    }

    pub(super) fn authority_pem(&self) -> Result<String, Failure> {
        check::read(&self.root.join("ca.pem"))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.temporary_run {
            // What is left over is in a directory for temporary files.
            let _ = fs::remove_dir_all(&self.run);
        }
    }
}

/// The file and what it says; every mistake in it is told with its place.
fn configuration(file: &Path, shown: &Path) -> Result<(String, Config), Failure> {
    let text = check::read(file)?;
    let config = Config::parse(&text).map_err(|mistakes| {
        for mistake in mistakes {
            let _ = writeln!(io::stderr(), "{}: {mistake}", shown.join("postern.toml").display());
        }
        Failure::Reported
    })?;
    Ok((text, config))
}

/// The sockets live in `run/`, or behind it in a short path when the kernel's limit asks for one.
fn run_directory(root: &Path) -> Result<(PathBuf, bool), Failure> {
    let run = root.join("run");
    if fs::symlink_metadata(&run).is_ok_and(|meta| meta.is_symlink()) {
        remove(&run)?;
    }
    if run.as_os_str().len().saturating_add(LONGEST_EDGE.len()) <= MAX_SOCKET_PATH {
        directory(&run, 0o711)?;
        return Ok((run, false));
    }
    if run.is_dir() {
        fs::remove_dir_all(&run).map_err(|e| wrong(&run, &e))?;
    }
    let short = PathBuf::from(format!("/tmp/postern-up-{}", random_name()?));
    DirBuilder::new().mode(0o711).create(&short).map_err(|e| wrong(&short, &e))?;
    symlink(&short, &run).map_err(|e| wrong(&run, &e))?;
    Ok((short, true))
}

fn lock(root: &Path, shown: &Path) -> Result<File, Failure> {
    let path = root.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(|e| wrong(&path, &e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::new(shown.display(), "another postern up is running with this state directory")),
        Err(e) => Err(wrong(&path, &e.into())),
    }
}

/// Creates a directory, or sets the mode of one that is there and ours.
fn directory(path: &Path, mode: u32) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path).and_then(|()| {
        if fs::metadata(path)?.mode() & 0o777 == mode { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(mode)) }
    });
    made.map_err(|e| wrong(path, &e))
}

/// Replaces a file whole; it never exists with another mode.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    remove(&fresh)?;
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        // The mode is the one that was asked for, whatever the umask.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    written().map_err(|e| wrong(path, &e))
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(wrong(path, &e)),
        _ => Ok(()),
    }
}

fn wrong(path: &Path, error: &io::Error) -> Failure {
    Failure::new(path.display(), plain(error))
}

/// `ADDRESS PASSWORD` a line; the number of the first line that is not.
fn parse_passwords(text: &str) -> Result<Vec<(Address, Password)>, usize> {
    let mut all = Vec::new();
    for (at, line) in (1usize..).zip(text.lines()) {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // A quoted local part may hold spaces, a password of this file may not.
        let (address, password) = line.rsplit_once(' ').ok_or(at)?;
        all.push((Address::parse(address.trim_end()).map_err(|_| at)?, Password(password.to_owned())));
    }
    Ok(all)
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Failure::new("random numbers", e))?;
    Ok(bytes)
}

/// 80 random bits in letters and digits that are hard to confuse.
fn random_password() -> Result<Password, Failure> {
    Ok(Password(data_encoding::BASE32_DNSCURVE.encode(&random::<10>()?)))
}

fn random_name() -> Result<String, Failure> {
    Ok(data_encoding::HEXLOWER.encode(&random::<6>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Result<State, Failure> {
        State::open(dir, Separation { users: false, root: dir.to_owned() }, None, None)
    }

    #[test]
    fn the_demonstration_is_a_valid_configuration() {
        let config = Config::parse(DEMO).unwrap();
        assert_eq!(config.accounts.len(), 2);
    }

    #[test]
    fn a_second_start_keeps_configuration_and_passwords() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap().passwords().unwrap();
        assert_eq!(first.len(), 2);
        assert_ne!(first[0].1, first[1].1);
        let mode = fs::metadata(dir.path().join("passwords")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(open(dir.path()).unwrap().passwords().unwrap(), first);
    }

    #[test]
    fn two_cannot_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path()).unwrap();
        let Err(Failure::Because(line)) = open(dir.path()) else { panic!("opened twice") };
        assert!(line.contains("another postern up"), "{line}");
    }

    #[test]
    fn only_keys_is_handed_the_key_and_it_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(dir.path()).unwrap();
        state.hand_out().unwrap();
        for daemon in DAEMONS {
            let mut names: Vec<String> =
                fs::read_dir(state.credentials(daemon)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            let expected: &[&str] = if daemon.name == "keys" { &["postern.toml", "tls.crt", "tls.key"] } else { &["postern.toml"] };
            assert_eq!(names, expected, "{}", daemon.name);
        }
        let key = dir.path().join("credentials/keys/tls.key");
        let before = fs::read(&key).unwrap();
        state.hand_out().unwrap();
        assert_eq!(fs::read(&key).unwrap(), before);
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o400);
    }

    #[test]
    fn a_path_too_long_for_sockets_gets_a_short_one() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(90));
        let deep = create(&deep).unwrap();
        let state = open(&deep).unwrap();
        state.edge(&DAEMONS[0].edges[0]).unwrap();
        assert!(socket(&deep.join("run"), DAEMONS[0].edges[0].name).exists());
        let short = state.run.clone();
        drop(state);
        assert!(!short.exists());
    }

    #[test]
    fn passwords_are_one_pair_a_line() {
        let read = parse_passwords("# fixture\nalice@mta.test secret-alice\n\nbob@mta.test secret-bob\n").unwrap();
        assert_eq!(read[1], (Address::parse("bob@mta.test").unwrap(), Password("secret-bob".into())));
        assert_eq!(parse_passwords("alice@mta.test secret\nnonsense\n").unwrap_err(), 2);
    }
}
