//! A peer that sends what it likes.

use rustix::{
    cmsg_space,
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg, shutdown, socket_with, sockopt,
    },
};
use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};
use test_support::Appliance;
use wire::{
    BUILD_ID, encode,
    frame::{MAX_FDS, MAX_INLINE},
};

/// Bounds a failure, no success.
const PATIENCE: Duration = Duration::from_secs(60);

// Kinds of frames, as src/wire/src/frame.rs numbers them.
/// The greeting of each side.
pub const HELLO: u8 = 0;
/// Client to server.
pub const REQUEST: u8 = 1;
/// The last answer to its request.
pub const RESPONSE: u8 = 2;
/// One of several answers to its request.
pub const PARTIAL: u8 = 3;
/// Takes a request back.
pub const CANCEL: u8 = 4;
/// Server to client, unasked.
pub const EVENT: u8 = 5;
/// The request could not be served.
pub const REFUSED: u8 = 6;
/// The flag of a frame whose body is in its first descriptor.
pub const IN_MEMFD: u8 = 1;

/// One datagram.
#[derive(Debug)]
pub struct Packet {
    /// Header and body.
    pub bytes: Vec<u8>,
    /// What comes along.
    pub fds: Vec<OwnedFd>,
}

/// A frame with its body in the datagram.
pub fn frame(kind: u8, flags: u8, id: u32, body: &[u8]) -> Packet {
    Packet { bytes: [&[kind, flags], &id.to_le_bytes()[..], body].concat(), fds: Vec::new() }
}

/// The greeting on this edge, as of this build.
///
/// # Panics
/// Never.
pub fn hello(edge: &str, build: &str) -> Packet {
    frame(HELLO, 0, 0, &encode(&(edge, build)).unwrap())
}

/// One end of a connection, of which any bytes can be sent.
#[derive(Debug)]
pub struct Peer(OwnedFd);

impl Peer {
    /// Connects to an edge of a running appliance.
    ///
    /// # Panics
    /// When it cannot.
    pub fn connect(appliance: &Appliance, edge: &str) -> Self {
        let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let path = appliance.state().join("run").join(edge).join("sock");
        connect(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
        Self::of(fd)
    }

    /// Takes over a connected socket.
    ///
    /// # Panics
    /// When it is none.
    pub fn of(fd: OwnedFd) -> Self {
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
        Self::without_limit(fd)
    }

    /// The same for who waits for others, however long they say nothing.
    ///
    /// # Panics
    /// When it is no socket.
    pub fn without_limit(fd: OwnedFd) -> Self {
        rustix::io::ioctl_fionbio(&fd, false).unwrap();
        Self(fd)
    }

    /// Ends the connection for both sides, whoever still holds it.
    pub fn end(&self) {
        // It may have ended already.
        let _ = shutdown(&self.0, Shutdown::Both);
    }

    /// Whether it was taken: a server that has closed takes nothing.
    ///
    /// # Panics
    /// When there are more descriptors than a datagram can hold.
    pub fn send(&self, packet: &Packet) -> bool {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS + 2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = packet.fds.iter().map(AsFd::as_fd).collect();
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&self.0, &[IoSlice::new(&packet.bytes)], &mut control, SendFlags::NOSIGNAL).is_ok()
    }

    /// The next datagram; none at the end of the connection.
    ///
    /// # Panics
    /// When nothing comes, and no end.
    pub fn recv(&self) -> Option<Packet> {
        let mut bytes = vec![0; MAX_INLINE + 6];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) if message.bytes > 0 => {
                bytes.truncate(message.bytes);
                let rights =
                    control.drain().filter_map(|item| if let RecvAncillaryMessage::ScmRights(fds) = item { Some(fds) } else { None });
                Some(Packet { bytes, fds: rights.flatten().collect() })
            }
            Ok(_) | Err(Errno::CONNRESET | Errno::PIPE) => None,
            Err(e) => panic!("the connection is neither served nor ended: {e}"),
        }
    }

    /// Whether the server greets who is honest.
    pub fn is_greeted(&self, edge: &str) -> bool {
        self.send(&hello(edge, BUILD_ID)) && self.recv().is_some_and(|packet| packet.bytes.first() == Some(&HELLO))
    }
}

/// A memfd of zeros with these seals.
///
/// # Panics
/// When there is no memory.
pub fn memfd(length: u64, seals: SealFlags) -> OwnedFd {
    let fd = memfd_create("lie", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, length).unwrap();
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

/// The same packet with these descriptors.
pub fn with_fds(mut packet: Packet, fds: Vec<OwnedFd>) -> Packet {
    packet.fds = fds;
    packet
}
