//! sd_notify(3). PID 1 hands the socket over connected. `postern up`, and whoever starts a daemon by hand, names it in NOTIFY_SOCKET: it is
//! connected before the jail shuts, since reaching it needs a path.

use crate::Error;
use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

#[derive(Debug)]
pub(crate) struct Notifier {
    socket: Option<UnixDatagram>,
    /// Half of WatchdogSec.
    pub(crate) watchdog: Option<Duration>,
}

impl Notifier {
    pub(crate) fn silent() -> Self {
        Self { socket: None, watchdog: None }
    }

    /// `given` is connected.
    pub(crate) fn new(given: Option<OwnedFd>) -> Result<Self, Error> {
        let socket = match (given, env::var_os("NOTIFY_SOCKET")) {
            (Some(socket), _) => Some(socket.into()),
            (None, Some(name)) => Some(connect(&name).map_err(|e| Error::Io("NOTIFY_SOCKET", e))?),
            (None, None) => None,
        };
        let usec = env::var("WATCHDOG_USEC").ok().and_then(|v| v.parse::<u64>().ok());
        let ours = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = usec.filter(|_| ours).map(|usec| Duration::from_micros(usec / 2)).filter(|d| !d.is_zero());
        Ok(Self { socket, watchdog })
    }

    pub(crate) fn send(&self, state: &str) {
        if let Some(socket) = &self.socket {
            // PID 1 that cannot hear us will act on its own time limits.
            let _ = socket.send(state.as_bytes());
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(name)?,
    }
    Ok(socket)
}
