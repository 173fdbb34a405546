//! What PID 1 hands over: sd_listen_fds(3) descriptors by name, credentials, the state directory.

use crate::{Error, Profile};
use pure_config::Config;
use rustix::io::FdFlags;
use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// First descriptor of sd_listen_fds(3).
const FIRST: RawFd = 3;
/// More listeners than any installation has.
const MAX_FDS: usize = 64;
/// Bytes of one credential; systemd's own limit.
const MAX_CREDENTIAL: u64 = 1024 * 1024;
/// A datagram socket that is connected to the journal comes under this name.
pub(crate) const JOURNAL: &str = "journal";
/// A datagram socket that is connected to whom sd_notify(3) tells comes under this name.
pub(crate) const NOTIFY: &str = "notify";
/// The configuration comes under this name.
pub(crate) const CONFIG: &str = "postern.toml";

/// A credential: overwritten when dropped, silent in logs.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) fds: Vec<(String, OwnedFd)>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) edges: PathBuf,
    pub(crate) credentials_dir: PathBuf,
    pub(crate) boot: Option<u64>,
}

pub(crate) fn take(profile: &Profile) -> Result<Inherited, Error> {
    let credentials_dir = path("CREDENTIALS_DIRECTORY")?;
    let state = if profile.state { Some(path("STATE_DIRECTORY")?) } else { None };
    let edges = env::var_os("POSTERN_EDGES").map_or_else(|| PathBuf::from("/run/postern"), PathBuf::from);
    let boot = if profile.state { boot_id() } else { None };
    Ok(Inherited { fds: listen_fds()?, state, edges, credentials_dir, boot })
}

/// The kernel's identifier of this start of the machine, random(4).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// From systemd's `%b` where the unit hides the kernel's own file (`ProcSubset=pid`). Read now: Landlock hides it everywhere.
fn boot_id() -> Option<u64> {
    let text = env::var("POSTERN_BOOT_ID").ok().or_else(|| fs::read_to_string(BOOT_ID).ok())?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    if digits.len() == 16 { u64::from_str_radix(&digits, 16).ok() } else { None }
}

fn path(variable: &str) -> Result<PathBuf, Error> {
    let value = env::var_os(variable).ok_or_else(|| Error::Environment(format!("{variable} is not set")))?;
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err(Error::Environment(format!("{variable} is not one absolute path"))) }
}

fn listen_fds() -> Result<Vec<(String, OwnedFd)>, Error> {
    // `postern up` cannot know the pid before the fork and leaves LISTEN_PID out; systemd always sets it.
    let ours = env::var("LISTEN_PID").map_or(true, |pid| pid == std::process::id().to_string());
    let count = env::var("LISTEN_FDS").ok().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
    if !ours || count == 0 {
        return Ok(Vec::new());
    }
    if count > MAX_FDS {
        return Err(Error::Environment("LISTEN_FDS is too large".into()));
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    if names.len() != count {
        return Err(Error::Environment("LISTEN_FDNAMES does not name every descriptor".into()));
    }
    let mut fds = Vec::new();
    for (fd, name) in (FIRST..).zip(names) {
        // SAFETY: the protocol says that these descriptors are open and ours alone; this runs once, before anything else could
        // have taken them over. A number that is not open shows in the next call and ends the process.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).map_err(|e| Error::Io("inherited descriptor", e.into()))?;
        fds.push((name.to_owned(), fd));
    }
    Ok(fds)
}

/// Who was taken over and could connect can have disconnected a TCP socket: it listens no more, but is still bound to its port. PID 1 opens
/// such a one anew at the next start, `postern up` hands it over as it is: it shall end there too.
fn listen_again(fd: &OwnedFd) {
    use rustix::net::{SocketType, getpeername, getsockname, listen, sockopt};
    let is_tcp = sockopt::socket_type(fd).is_ok_and(|kind| kind == SocketType::STREAM)
        && getsockname(fd).is_ok_and(|own| SocketAddr::try_from(own).is_ok_and(|own| own.port() != 0));
    if is_tcp && sockopt::socket_acceptconn(fd) == Ok(false) && getpeername(fd).is_err() {
        match listen(fd, libc::SOMAXCONN) {
            Ok(()) => tracing::error!("a socket that was handed over did not listen any more: whoever had it before has shut it"),
            Err(error) => tracing::error!(%error, "a socket that was handed over does not listen"),
        }
    }
}

/// Reads one credential; none when it was not given.
pub(crate) fn credential(dir: &Path, name: &str) -> Result<Option<Secret>, Error> {
    // Names are ours or made from configured addresses; a path separator never belongs in one.
    if name.contains('/') || name.starts_with('.') {
        return Err(Error::Environment(format!("{name:?} is not a credential name")));
    }
    let path = dir.join(name);
    match fs::metadata(&path) {
        Ok(meta) if meta.len() > MAX_CREDENTIAL => return Err(Error::Environment(format!("credential {name} is too large"))),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::Io("credential", e)),
    }
    let bytes = fs::read(&path).map_err(|e| Error::Io("credential", e))?;
    Ok(Some(Secret(Zeroizing::new(bytes))))
}

/// Reads every credential but the configuration.
pub(crate) fn credentials(dir: &Path) -> Result<BTreeMap<String, Secret>, Error> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::Io("credentials", e))? {
        let entry = entry.map_err(|e| Error::Io("credentials", e))?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if name != CONFIG
            && !name.starts_with('.')
            && let Some(secret) = credential(dir, &name)?
        {
            all.insert(name, secret);
        }
    }
    Ok(all)
}

/// Reads and parses the configuration.
pub(crate) fn config(dir: &Path) -> Result<Config, Error> {
    let text = credential(dir, CONFIG)?.ok_or_else(|| Error::Environment(format!("no credential {CONFIG}")))?;
    let text = std::str::from_utf8(text.expose()).map_err(|_| Error::Config("is not UTF-8".into()))?;
    Config::parse(text).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Error::Config(lines.join("; "))
    })
}

impl Inherited {
    /// Takes the descriptor of this name, if there is one.
    pub(crate) fn fd(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.fds.iter().position(|(n, _)| n == name)?;
        Some(self.fds.swap_remove(at).1)
    }

    /// See [`listen_again`].
    pub(crate) fn listen_again(&self) {
        self.fds.iter().for_each(|(_, fd)| listen_again(fd));
    }

    pub(crate) fn config(&self) -> Result<Config, Error> {
        config(&self.credentials_dir)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_socket_that_was_disconnected_listens_again() {
        // Bound to a port by its number, as those of PID 1 are: only then does it stay bound.
        let listener = std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
            .find_map(|free| TcpListener::bind(free).ok())
            .unwrap();
        let address = listener.local_addr().unwrap();
        let fd = OwnedFd::from(listener);
        rustix::net::connect_unspec(&fd).unwrap();
        assert!(TcpStream::connect(address).is_err());
        listen_again(&fd);
        let client = TcpStream::connect(address).unwrap();
        let (_, peer) = TcpListener::from(fd).accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    }

    #[test]
    fn what_listens_or_is_connected_stays_as_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        for fd in [&client, &OwnedFd::from(listener.try_clone().unwrap())] {
            listen_again(fd);
        }
        assert_eq!(rustix::net::sockopt::socket_acceptconn(&client), Ok(false));
        assert!(listener.accept().is_ok());
    }
}
