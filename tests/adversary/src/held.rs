//! Descriptors that a process holds: its own as they are, and those that it could have been handed.
//!
//! What is done to a socket is done to all who share it. An act that ends one is therefore tried on a socket that is made for it, of the
//! kind that the process holds and in the network namespace where PID 1 made that, and handed over as any peer of the process could.

use crate::{Puppet, Stop, stage::AGAIN};
use rustix::{
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, bind,
        getpeername, getsockname, listen, sendmsg, socket_with, sockopt,
    },
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Child, Command},
    thread,
};
use system::{Failure, children, eventually, inner, status};

/// No descriptor.
pub(crate) const NONE: u64 = u64::MAX;

impl Puppet {
    /// Hands a descriptor over, by a pair of sockets that it makes itself. Nothing of it is an act: what does not succeed is no answer.
    pub(crate) fn hand(&mut self, fd: BorrowedFd<'_>) -> Result<u64, Stop> {
        self.receive(fd).map_err(|_| Stop::Lost)
    }

    fn receive(&mut self, fd: BorrowedFd<'_>) -> Result<u64, Stop> {
        let (own, other) = self.pair(libc::SOCK_STREAM)?;
        let end = self.take(other)?;
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        let handed = [fd];
        control.push(SendAncillaryMessage::ScmRights(&handed));
        sendmsg(&end, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL).map_err(|_| Stop::Lost)?;
        // `struct msghdr`, and behind the 16 bytes of a `struct cmsghdr` the number (recvmsg(2), cmsg(3)).
        let (byte, control) = (self.bytes(b"x")?, self.bytes(&[0; 24])?);
        let vector = self.words(&[byte, 1])?;
        let message = self.words(&[0, 0, vector, 1, control, 24, 0])?;
        self.call(libc::SYS_recvmsg, [own, message, 0, 0, 0, 0])?;
        self.int(control.saturating_add(16))
    }

    /// Another descriptor here for what it holds under this number.
    fn take(&self, number: u64) -> Result<OwnedFd, Stop> {
        let number = i32::try_from(number).map_err(|_| Stop::Lost)?;
        let pidfd = process(self.pid().as_raw())?;
        pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).map_err(|_| Stop::Lost)
    }

    /// A local datagram socket that it holds, as it was given to it: by PID 1, or by itself at its start.
    pub(crate) fn datagram_socket(&self) -> Result<u64, Stop> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid())).map_err(|_| Stop::Lost)?.flatten() {
            numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let is_one = |number: &&u64| {
            self.take(**number).is_ok_and(|fd| {
                sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX) && sockopt::socket_type(&fd) == Ok(SocketType::DGRAM)
            })
        };
        Ok(numbers.iter().find(is_one).copied().unwrap_or(NONE))
    }
}

/// A descriptor for a process, by its number here.
pub(crate) fn process(pid: i32) -> Result<OwnedFd, Stop> {
    let pid = Pid::from_raw(pid).ok_or(Stop::Lost)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|_| Stop::Lost)
}

/// Makes sockets in the network of a process.
fn in_network_of<T: Send>(pid: u32, make: impl FnOnce() -> io::Result<T> + Send) -> Result<T, Stop> {
    let network = File::open(format!("/proc/{pid}/ns/net")).map_err(|_| Stop::Lost)?;
    let inside = || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        make()
    };
    thread::scope(|scope| scope.spawn(inside).join()).map_err(|_| Stop::Lost)?.map_err(|_| Stop::Lost)
}

/// A TCP socket that listens, as PID 1 makes it for the host.
pub(crate) fn listening(host: u32, here: Ipv4Addr) -> Result<OwnedFd, Stop> {
    in_network_of(host, || TcpListener::bind((here, 0)).map(OwnedFd::from))
}

/// A TCP connection of somebody, as it is accepted there, and the other end.
pub(crate) fn accepted(host: u32, here: Ipv4Addr) -> Result<(OwnedFd, TcpStream), Stop> {
    in_network_of(host, || {
        let listener = TcpListener::bind((here, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        Ok((listener.accept()?.0.into(), client))
    })
}

/// A local socket that listens, as PID 1 makes it for an edge.
pub(crate) fn listening_local() -> Result<OwnedFd, Stop> {
    let made = || -> rustix::io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // A name of the kernel's choice.
        bind(&socket, &SocketAddrUnix::new_unnamed())?;
        listen(&socket, 1)?;
        Ok(socket)
    };
    made().map_err(|_| Stop::Lost)
}

/// A process of a daemon's user which holds back the signals that are tried on it: one that came is seen.
#[derive(Debug)]
pub(crate) struct Victim {
    outside: Child,
    pid: u32,
}

impl Victim {
    /// In the host, as the user of a process.
    pub(crate) fn beside(host: u32, process: u32) -> Result<Self, Stop> {
        let id = |field: &str| Some(status(process, field)?.split_whitespace().next()?.to_owned());
        let (user, group) = id("Uid").zip(id("Gid")).ok_or(Stop::Lost)?;
        let mut outside = Command::new("nsenter")
            .args(["-t", &host.to_string(), "-p", "--", "env", "--block-signal=USR1", "--block-signal=IO"])
            .args(["setpriv", "--reuid", &user, "--regid", &group, "--clear-groups", "sleep", "infinity"])
            .spawn()
            .map_err(|_| Stop::Lost)?;
        let asleep = || children(outside.id()).into_iter().find(|pid| status(*pid, "Name").is_some_and(|name| name == "sleep"));
        match eventually("a victim", AGAIN, asleep) {
            Ok(pid) => Ok(Self { outside, pid }),
            Err(_) => {
                let _ = outside.kill();
                Err(Stop::Lost)
            }
        }
    }

    /// Its number in the host.
    pub(crate) fn inner(&self) -> i32 {
        inner(self.pid).unwrap_or(0)
    }

    /// Whether a signal waits for it. The kernel has sent it when the call that made it returns.
    pub(crate) fn is_signalled(&self) -> Result<bool, Stop> {
        let waiting = |field: &str| u64::from_str_radix(&status(self.pid, field)?, 16).ok();
        let (own, all) = waiting("SigPnd").zip(waiting("ShdPnd")).ok_or(Stop::Lost)?;
        Ok(own | all != 0)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.outside.wait();
    }
}

/// What a process holds, each kind once: what is at the other end of a socket, the name of a file.
pub(crate) fn descriptors(pid: u32) -> Result<BTreeSet<String>, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::new(format!("descriptors of {pid}: {e}"));
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| failed(&"no number"))?;
    let process = pidfd_open(number, PidfdFlags::empty()).map_err(|e| failed(&e))?;
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        // It may have been closed just now.
        let Ok(file) = fs::read_link(entry.path()) else { continue };
        let file = file.to_string_lossy().into_owned();
        let socket = || pidfd_getfd(&process, entry.file_name().to_str()?.parse().ok()?, PidfdGetfdFlags::empty()).ok();
        all.insert(if file.starts_with("socket:") {
            let Some(socket) = socket() else { continue };
            in_words(&socket).map_err(|e| failed(&e))?
        } else {
            nameless(&file).unwrap_or(file)
        });
    }
    Ok(all)
}

/// A file that never had a name (O_TMPFILE) has a number in its place.
fn nameless(file: &str) -> Option<String> {
    let (directory, name) = file.strip_suffix(" (deleted)")?.rsplit_once('/')?;
    name.strip_prefix('#')?.parse::<u64>().ok()?;
    Some(format!("{directory}, a file without a name"))
}

/// A socket: its kind, and where it leads.
fn in_words(socket: &OwnedFd) -> rustix::io::Result<String> {
    let kind = match sockopt::socket_type(socket)? {
        SocketType::STREAM => "stream",
        SocketType::DGRAM => "datagrams",
        SocketType::SEQPACKET => "packets",
        _ => "other",
    };
    let listens = sockopt::socket_acceptconn(socket)?;
    let (own, peer) = (getsockname(socket)?, getpeername(socket).ok().flatten());
    if sockopt::socket_domain(socket)? != AddressFamily::UNIX {
        let port = SocketAddr::try_from(own).map_or(0, |own| own.port());
        return Ok(match (listens, peer) {
            (true, _) => format!("TCP, listens on port {port}"),
            (false, Some(_)) => format!("Internet, {kind}, connected"),
            (false, None) => format!("Internet, {kind}"),
        });
    }
    let path = |address: SocketAddrAny| {
        let path = SocketAddrUnix::try_from(address).ok()?.path_bytes().map(|path| String::from_utf8_lossy(path).into_owned());
        path.filter(|path| !path.is_empty())
    };
    Ok(match (listens, path(own), peer.and_then(path)) {
        (true, own, _) => format!("local, {kind}, listens at {}", own.unwrap_or_default()),
        (false, _, Some(peer)) => format!("local, {kind}, to {peer}"),
        (false, Some(own), None) => format!("local, {kind}, from {own}"),
        (false, None, None) => format!("local, {kind}, of a pair"),
    })
}
