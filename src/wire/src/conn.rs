use crate::{
    Edge, Error, SealedMessage,
    frame::{self, HEADER, Header, Hello, Kind, MAX_FDS, MAX_INLINE},
    sealed::MessageWriter,
};
use pure_addr::Text;
use rustix::{
    cmsg_space,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, connect, recvmsg, sendmsg, socket_with, socketpair,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    cell::RefCell,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Mutex, Semaphore},
};
use zeroize::Zeroize;

/// Between two attempts where descriptors or memory have run out.
const AGAIN: Duration = Duration::from_millis(100);

/// Connections that are watched for room at a time, each by a descriptor more: those who never read must not use up the process's.
const MAX_WATCHED: usize = 8_192;
static WATCHED: Semaphore = Semaphore::const_new(MAX_WATCHED);

/// One SOCK_SEQPACKET connection. Sending and receiving take `&self`: a datagram is whole or absent, so many tasks may share it.
///
/// Watched for what can be read alone. Where room to send is watched too, every datagram that the peer reads wakes us, since the kernel
/// tells of room that was there all along: that doubled the wake-ups of a request.
#[derive(Debug)]
pub struct Conn {
    socket: AsyncFd<OwnedFd>,
    /// Held by the one that waits for room.
    full: Mutex<()>,
}

/// A frame that was received, its body decoded by the caller's type.
#[derive(Debug)]
pub(crate) struct Received<T> {
    pub(crate) header: Header,
    pub(crate) body: Option<T>,
    pub(crate) fds: Vec<OwnedFd>,
    /// Bytes of its encoded body.
    pub(crate) size: u32,
}

thread_local! {
    // One buffer a thread, not a connection: five thousand idle sessions must cost nothing.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; HEADER + MAX_INLINE]);
}

impl Conn {
    /// Takes over a connected socket.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { socket: register(fd, Interest::READABLE)?, full: Mutex::default() })
    }

    /// Connects to a listening socket by path.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::new(Self::dial(path)?)
    }

    /// The same for a socket that is handed to another process.
    pub fn dial(path: &Path) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // A full backlog answers EAGAIN at once; the caller's retry is the back-pressure.
        connect(&fd, &SocketAddrUnix::new(path)?)?;
        Ok(fd)
    }

    /// Two connected ends; one is usually passed to another process.
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
    }

    /// Whether the other end is closed.
    pub(crate) fn is_hung_up(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut socket = [PollFd::new(self.socket.get_ref(), PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // What cannot be asked is as good as closed: nothing is sent for it, and it is asked for again.
        poll(&mut socket, Some(&now)).is_err() || socket.iter().any(|s| s.revents().intersects(PollFlags::HUP | PollFlags::ERR))
    }

    /// The other end reads what was sent, and then the end, whoever still holds this one.
    pub(crate) fn finish(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.socket.get_ref(), rustix::net::Shutdown::Write)?)
    }

    /// Sends our hello and checks the peer's.
    pub async fn greet<E: Edge>(&self) -> Result<(), Error> {
        let hello = Hello { edge: text(E::NAME)?, build: text(crate::BUILD_ID)? };
        self.send::<E, _>(Kind::Hello, 0, &hello, &[]).await?;
        let received = self.recv::<E, Hello>().await?;
        match received.body {
            Some(theirs) if received.header.kind == Kind::Hello && received.fds.is_empty() => {
                if theirs.build != hello.build {
                    return Err(Error::OtherBuild);
                }
                if theirs.edge != hello.edge {
                    return Err(Error::Malformed("another edge"));
                }
                Ok(())
            }
            _ => Err(Error::Malformed("no hello")),
        }
    }

    pub(crate) async fn send<E: Edge, T: Serialize>(&self, kind: Kind, id: u32, body: &T, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let frame = Outgoing::new::<E, T>(kind, id, body, fds)?;
        if self.sent(&frame, fds)? {
            return Ok(());
        }
        let _alone = self.full.lock().await;
        while !self.sent(&frame, fds)? {
            self.room().await;
        }
        Ok(())
    }

    /// False when the peer has no room.
    fn sent(&self, frame: &Outgoing, fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        match frame.send(self.socket.get_ref().as_fd(), fds) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Waits until the peer may have room, or is gone.
    async fn room(&self) {
        // A second descriptor, since one is watched only once.
        let watch = |permit| Some((register(self.socket.get_ref().try_clone().ok()?, Interest::WRITABLE).ok()?, permit));
        match WATCHED.try_acquire().ok().and_then(watch) {
            Some((watched, _permit)) => drop(watched.writable().await),
            // Out of descriptors or memory: look again later.
            None => tokio::time::sleep(AGAIN).await,
        }
    }

    /// Sends if the peer has room now; `Ok(false)` when it has not.
    pub(crate) fn try_send<E: Edge, T: Serialize>(&self, kind: Kind, id: u32, body: &T) -> Result<bool, Error> {
        Ok(self.sent(&Outgoing::new::<E, T>(kind, id, body, &[])?, &[])?)
    }

    /// Receives one frame. Safe to drop before it completes: a datagram is taken whole or not at all.
    pub(crate) async fn recv<E: Edge, T: DeserializeOwned>(&self) -> Result<Received<T>, Error> {
        loop {
            let mut guard = self.socket.readable().await?;
            match guard.try_io(|fd| receive::<E, T>(fd.get_ref().as_fd())) {
                Ok(Ok(result)) => return result,
                Ok(Err(e)) => return Err(e.into()),
                Err(_would_block) => {}
            }
        }
    }
}

/// The listening socket of an edge.
#[derive(Debug)]
pub(crate) struct Listener(AsyncFd<OwnedFd>);

impl Listener {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(register(fd, Interest::READABLE)?))
    }

    /// The next connection. Safe to drop before it completes. An error is the end of the runtime.
    pub(crate) async fn accept<E: Edge>(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            let mut guard = self.0.readable().await?;
            match guard.try_io(|l| accept_with(l.get_ref().as_fd(), flags).map_err(io::Error::from)) {
                Ok(Ok(accepted)) => return Ok(accepted),
                Ok(Err(e)) => {
                    // Out of descriptors or memory: wait for some to come back instead of spinning.
                    tracing::error!(edge = E::NAME, error = %e, "accept failed");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(_would_block) => {}
            }
        }
    }
}

/// An `OwnedFd` returns the same descriptor for as long as it lives: the promise that tokio's unsafe replacement of this function asks
/// its caller for. Unsafe code stands in `jail` alone, hence the safe older name.
#[expect(deprecated, reason = "sound for OwnedFd; the replacement is unsafe")]
fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

fn text(s: &str) -> Result<Text<64>, Error> {
    Text::new(s).map_err(|_| Error::Malformed("name too long"))
}

struct Outgoing {
    header: [u8; HEADER],
    body: Vec<u8>,
    memfd: Option<SealedMessage>,
    secret: bool,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.secret {
            self.body.zeroize();
        }
    }
}

impl Outgoing {
    fn new<E: Edge, T: Serialize>(kind: Kind, id: u32, body: &T, fds: &[BorrowedFd<'_>]) -> Result<Self, Error> {
        let mut body = if E::SECRET { frame::encode_in_place(body)? } else { frame::encode(body)? };
        if body.len() > E::MAX_BODY || fds.len() > E::MAX_FDS {
            return Err(Error::TooLarge);
        }
        let memfd = if body.len() > MAX_INLINE {
            let mut body = std::mem::take(&mut body);
            let sealed = MessageWriter::sealed(&body);
            if E::SECRET {
                body.zeroize();
            }
            Some(sealed?)
        } else {
            None
        };
        Ok(Self { header: Header { kind, id, in_memfd: memfd.is_some() }.to_bytes(), body, memfd, secret: E::SECRET })
    }

    fn send(&self, to: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let all: Vec<BorrowedFd<'_>> = self.memfd.iter().map(AsFd::as_fd).chain(fds.iter().copied()).collect();
        if !all.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&all)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let parts = [IoSlice::new(&self.header), IoSlice::new(&self.body)];
        sendmsg(to, &parts, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }
}

/// The outer result is the system call's (so that "would block" is seen), the inner what the peer is guilty of.
fn receive<E: Edge, T: DeserializeOwned>(from: BorrowedFd<'_>) -> io::Result<Result<Received<T>, Error>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message = recvmsg(from, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
        let mut fds = Vec::new();
        for item in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = item {
                fds.extend(rights);
            }
        }
        if message.bytes == 0 && fds.is_empty() {
            return Ok(Err(Error::Closed));
        }
        if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Ok(Err(Error::Malformed("longer than the limit")));
        }
        let opened = open::<E, T>(buffer.get(..message.bytes).unwrap_or_default(), fds);
        if E::SECRET {
            buffer.get_mut(..message.bytes).unwrap_or_default().zeroize();
        }
        Ok(opened)
    })
}

fn open<E: Edge, T: DeserializeOwned>(datagram: &[u8], mut fds: Vec<OwnedFd>) -> Result<Received<T>, Error> {
    let (header, inline) = Header::split(datagram)?;
    let mut size = inline.len() as u64;
    let body = if header.in_memfd {
        if fds.is_empty() || !inline.is_empty() {
            return Err(Error::Malformed("no body"));
        }
        let sealed = SealedMessage::from_fd(fds.remove(0), E::MAX_BODY as u64).map_err(|_| Error::Malformed("body is not sealed"))?;
        size = sealed.len();
        let mut body = sealed.read_all()?;
        let decoded = frame::decode(&body);
        if E::SECRET {
            body.zeroize();
        }
        Some(decoded?)
    } else if matches!(header.kind, Kind::Cancel | Kind::Refused) {
        if !inline.is_empty() {
            return Err(Error::Malformed("a body where none may be"));
        }
        None
    } else {
        if inline.len() > E::MAX_BODY {
            return Err(Error::Malformed("longer than the limit"));
        }
        Some(frame::decode(inline)?)
    };
    if fds.len() > E::MAX_FDS {
        return Err(Error::Malformed("too many descriptors"));
    }
    Ok(Received { header, body, fds, size: u32::try_from(size).unwrap_or(u32::MAX) })
}
