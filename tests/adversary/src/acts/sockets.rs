//! Sockets: every way out, and every edge.

use super::{Act, Facts, arg};
use crate::{Puppet, Stop};
use libc::{AF_INET, AF_INET6, AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM};
use std::net::{Ipv4Addr, Ipv6Addr};
use system::SERVICES;

/// Ports that are tried: those that `send` and `dns` need, and one that nobody does.
const PORTS: [u16; 4] = [25, 443, 53, 80];
const MPTCP: i32 = 262;

impl Puppet {
    fn socket(&mut self, family: i32, kind: i32, protocol: i32) -> Result<u64, Stop> {
        self.call(libc::SYS_socket, [arg(family), arg(kind | SOCK_CLOEXEC), arg(protocol), 0, 0, 0])
    }

    pub(super) fn connect(&mut self, fd: u64, address: &[u8]) -> Result<(), Stop> {
        let length = address.len() as u64;
        let address = self.bytes(address)?;
        self.call(libc::SYS_connect, [fd, address, length, 0, 0, 0]).map(drop)
    }

    /// A socket and something to do with it.
    fn with_socket(
        &mut self,
        (family, kind, protocol): (i32, i32, i32),
        attempt: impl FnOnce(&mut Self, u64) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let fd = self.socket(family, kind, protocol)?;
        attempt(self, fd)
    }

    fn connect_path(&mut self, kind: i32, path: &str) -> Result<(), Stop> {
        self.with_socket((AF_UNIX, kind, 0), |p, fd| p.connect(fd, &unix(path)))
    }
}

/// `sockaddr_in`
pub(super) fn inet(address: Ipv4Addr, port: u16) -> Vec<u8> {
    [&(AF_INET as u16).to_ne_bytes()[..], &port.to_be_bytes(), &address.octets(), &[0; 8]].concat()
}

/// `sockaddr_in6`
fn inet6(address: Ipv6Addr, port: u16) -> Vec<u8> {
    [&(AF_INET6 as u16).to_ne_bytes()[..], &port.to_be_bytes(), &[0; 4], &address.octets(), &[0; 4]].concat()
}

/// `sockaddr_un`; a name that begins with NUL is abstract.
pub(super) fn unix(path: &str) -> Vec<u8> {
    let end: &[u8] = if path.starts_with('\0') { &[] } else { b"\0" };
    [&(AF_UNIX as u16).to_ne_bytes()[..], path.as_bytes(), end].concat()
}

pub(super) fn acts() -> Vec<Act> {
    let mut acts = Vec::new();
    for edge in SERVICES.iter().flat_map(|service| service.serves) {
        let path = move |facts: &Facts| format!("{}/{edge}/sock", facts.edges);
        acts.push(Act::new(format!("edge {edge}"), move |puppet, facts| puppet.connect_path(SOCK_SEQPACKET, &path(facts))));
    }
    let stream = |p: &mut Puppet, path: &str| p.connect_path(SOCK_STREAM, path);
    acts.push(Act::new("unix: D-Bus", move |p, _| stream(p, "/run/dbus/system_bus_socket")));
    acts.push(Act::new("unix: PID 1", move |p, _| stream(p, "/run/systemd/private")));
    acts.push(Act::new("unix: a new journal stream", move |p, _| stream(p, "/run/systemd/journal/stdout")));
    acts.push(Act::new("unix: a new journal datagram socket", |p, _| p.connect_path(SOCK_DGRAM, "/run/systemd/journal/socket")));
    acts.push(Act::new("unix: notify PID 1 anew", |p, _| p.connect_path(SOCK_DGRAM, "/run/systemd/notify")));
    acts.push(Act::new("unix: abstract", |p, f| p.connect_path(SOCK_SEQPACKET, &format!("\0{}", f.abstract_name))));
    acts.push(Act::new("unix: bind", |p, f| {
        let address = unix(&f.own_file("adversary-sock"));
        p.with_socket((AF_UNIX, SOCK_SEQPACKET, 0), |p, fd| p.bind(fd, &address))
    }));
    acts.push(Act::new("unix: bind abstract and listen", |p, _| {
        p.with_socket((AF_UNIX, SOCK_SEQPACKET, 0), |p, fd| {
            p.bind(fd, &unix("\0adversary"))?;
            p.listen(fd)
        })
    }));
    acts.push(Act::new("unix: stream pair", |p, _| p.pair(SOCK_STREAM).map(drop)));
    acts.push(Act::new("unix: datagram pair", |p, _| p.pair(SOCK_DGRAM).map(drop)));
    acts.extend(network());
    for (name, family, kind, protocol) in [
        ("socket: raw ICMP", AF_INET, SOCK_RAW, libc::IPPROTO_ICMP),
        ("socket: ping", AF_INET, SOCK_DGRAM, libc::IPPROTO_ICMP),
        ("socket: packet", libc::AF_PACKET, SOCK_RAW, 0),
        ("socket: netlink route", libc::AF_NETLINK, SOCK_RAW, libc::NETLINK_ROUTE),
        ("socket: netlink netfilter", libc::AF_NETLINK, SOCK_RAW, libc::NETLINK_NETFILTER),
        ("socket: netlink audit", libc::AF_NETLINK, SOCK_RAW, libc::NETLINK_AUDIT),
        ("socket: vsock", libc::AF_VSOCK, SOCK_STREAM, 0),
        ("socket: AF_ALG", libc::AF_ALG, SOCK_SEQPACKET, 0),
        ("socket: AF_KEY", libc::AF_KEY, SOCK_RAW, 2),
        ("socket: AF_XDP", libc::AF_XDP, SOCK_RAW, 0),
        ("socket: AF_TIPC", libc::AF_TIPC, SOCK_SEQPACKET, 0),
        ("socket: AF_BLUETOOTH", libc::AF_BLUETOOTH, SOCK_RAW, 1),
        ("socket: AF_CAN", libc::AF_CAN, SOCK_RAW, 1),
        ("socket: SCTP", AF_INET, SOCK_STREAM, libc::IPPROTO_SCTP),
        ("socket: UDP-Lite", AF_INET, SOCK_DGRAM, libc::IPPROTO_UDPLITE),
        ("socket: DCCP", AF_INET, libc::SOCK_DCCP, libc::IPPROTO_DCCP),
        ("socket: SMC", 43, SOCK_STREAM, 0),
        ("socket: MPTCP", AF_INET, SOCK_STREAM, MPTCP),
    ] {
        acts.push(Act::new(name, move |p, _| p.with_socket((family, kind, protocol), |_, _| Ok(()))));
    }
    acts
}

impl Puppet {
    /// Two local sockets that are connected.
    pub(crate) fn pair(&mut self, kind: i32) -> Result<(u64, u64), Stop> {
        let both = self.words(&[0])?;
        self.call(libc::SYS_socketpair, [arg(AF_UNIX), arg(kind | SOCK_CLOEXEC), 0, both, 0, 0])?;
        Ok((self.int(both)?, self.int(both.saturating_add(4))?))
    }

    fn bind(&mut self, fd: u64, address: &[u8]) -> Result<(), Stop> {
        let length = address.len() as u64;
        let address = self.bytes(address)?;
        self.call(libc::SYS_bind, [fd, address, length, 0, 0, 0]).map(drop)
    }

    pub(super) fn listen(&mut self, fd: u64) -> Result<(), Stop> {
        self.call(libc::SYS_listen, [fd, 1, 0, 0, 0, 0]).map(drop)
    }

    pub(super) fn send_to(&mut self, fd: u64, flags: i32, address: &[u8]) -> Result<(), Stop> {
        let length = address.len() as u64;
        let (byte, address) = (self.text("x")?, self.bytes(address)?);
        self.call(libc::SYS_sendto, [fd, byte, 1, arg(flags | libc::MSG_NOSIGNAL), address, length]).map(drop)
    }

    fn send_message_to(&mut self, fd: u64, flags: i32, address: &[u8]) -> Result<(), Stop> {
        let message = self.message_to(address)?;
        self.call(libc::SYS_sendmsg, [fd, message, arg(flags | libc::MSG_NOSIGNAL), 0, 0, 0]).map(drop)
    }

    /// One byte to somewhere: `struct msghdr`, and room for what sendmmsg(2) has behind it.
    fn message_to(&mut self, address: &[u8]) -> Result<u64, Stop> {
        let length = address.len() as u64;
        let (byte, address) = (self.text("x")?, self.bytes(address)?);
        let part = self.words(&[byte, 1])?;
        self.words(&[address, length, part, 1, 0, 0, 0, 0])
    }
}

fn network() -> Vec<Act> {
    const TCP: (i32, i32, i32) = (AF_INET, SOCK_STREAM, 0);
    const TCP6: (i32, i32, i32) = (AF_INET6, SOCK_STREAM, 0);
    const UDP: (i32, i32, i32) = (AF_INET, SOCK_DGRAM, 0);
    let mut acts = Vec::new();
    for port in PORTS {
        acts.push(Act::new(format!("TCP to port {port}"), move |p, f| p.with_socket(TCP, |p, fd| p.connect(fd, &inet(f.remote, port)))));
    }
    acts.push(Act::new("TCP to port 25 by IPv6", |p, f| p.with_socket(TCP6, |p, fd| p.connect(fd, &inet6(f.remote6, 25)))));
    acts.push(Act::new("TCP to port 25 of this machine", |p, f| p.with_socket(TCP, |p, fd| p.connect(fd, &inet(f.here, 25)))));
    acts.push(Act::new("TCP to port 25 of loopback", |p, _| p.with_socket(TCP, |p, fd| p.connect(fd, &inet(Ipv4Addr::LOCALHOST, 25)))));
    acts.push(Act::new("TCP fast open to port 25", |p, f| {
        p.with_socket(TCP, |p, fd| p.send_to(fd, libc::MSG_FASTOPEN, &inet(f.remote, 25)))
    }));
    acts.push(Act::new("TCP fast open to port 80", |p, f| {
        p.with_socket(TCP, |p, fd| p.send_to(fd, libc::MSG_FASTOPEN, &inet(f.remote, 80)))
    }));
    acts.push(Act::new("TCP fast open by sendmsg to port 25", |p, f| {
        p.with_socket(TCP, |p, fd| p.send_message_to(fd, libc::MSG_FASTOPEN, &inet(f.remote, 25)))
    }));
    acts.push(Act::new("TCP fast open by sendmsg to port 80", |p, f| {
        p.with_socket(TCP, |p, fd| p.send_message_to(fd, libc::MSG_FASTOPEN, &inet(f.remote, 80)))
    }));
    acts.push(Act::new("TCP fast open by sendmmsg to port 80", |p, f| {
        p.with_socket(TCP, |p, fd| {
            let message = p.message_to(&inet(f.remote, 80))?;
            p.call(libc::SYS_sendmmsg, [fd, message, 1, arg(libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL), 0, 0]).map(drop)
        })
    }));
    acts.push(Act::new("TCP fast open by setsockopt to port 80", |p, f| {
        p.with_socket(TCP, |p, fd| {
            let one = p.words(&[1])?;
            p.call(libc::SYS_setsockopt, [fd, arg(libc::IPPROTO_TCP), arg(libc::TCP_FASTOPEN_CONNECT), one, 4, 0])?;
            p.connect(fd, &inet(f.remote, 80))
        })
    }));
    acts.push(Act::new("MPTCP to port 80", |p, f| {
        p.with_socket((AF_INET, SOCK_STREAM, MPTCP), |p, fd| p.connect(fd, &inet(f.remote, 80)))
    }));
    acts.push(Act::new("UDP to port 53", |p, f| p.with_socket(UDP, |p, fd| p.send_to(fd, 0, &inet(f.remote, 53)))));
    acts.push(Act::new("UDP to port 9", |p, f| p.with_socket(UDP, |p, fd| p.send_to(fd, 0, &inet(f.remote, 9)))));
    acts.push(Act::new("UDP: receive on port 5353", |p, _| p.with_socket(UDP, |p, fd| p.bind(fd, &inet(Ipv4Addr::UNSPECIFIED, 5353)))));
    acts.push(Act::new("TCP: bind port 0", |p, _| p.with_socket(TCP, |p, fd| p.bind(fd, &inet(Ipv4Addr::UNSPECIFIED, 0)))));
    acts.push(Act::new("TCP: bind port 2526", |p, _| p.with_socket(TCP, |p, fd| p.bind(fd, &inet(Ipv4Addr::UNSPECIFIED, 2526)))));
    acts.push(Act::new("TCP: bind port 24", |p, _| p.with_socket(TCP, |p, fd| p.bind(fd, &inet(Ipv4Addr::UNSPECIFIED, 24)))));
    acts.push(Act::new("TCP: listen", |p, _| p.with_socket(TCP, Puppet::listen)));
    acts.push(Act::new("TCP: attach a packet filter", |p, _| {
        p.with_socket(TCP, |p, fd| {
            let code = p.words(&[0x0000_0000_0000_0006])?;
            let program = p.words(&[1, code])?;
            p.call(libc::SYS_setsockopt, [fd, arg(libc::SOL_SOCKET), arg(libc::SO_ATTACH_FILTER), program, 16, 0]).map(drop)
        })
    }));
    acts.push(Act::new("TCP: netfilter tables", |p, _| {
        p.with_socket(TCP, |p, fd| {
            // `struct ipt_getinfo`: the name of a table, and room.
            let mut table = [0; 84];
            table[..6].copy_from_slice(b"filter");
            let (buffer, length) = (p.bytes(&table)?, p.words(&[84])?);
            // IPT_SO_GET_INFO
            p.call(libc::SYS_getsockopt, [fd, arg(libc::IPPROTO_IP), 64, buffer, length, 0]).map(drop)
        })
    }));
    acts.push(Act::new("ask for the interfaces (SIOCGIFCONF)", |p, _| {
        let (socket, _) = p.pair(SOCK_STREAM)?;
        let request = p.words(&[0, 0])?;
        p.call(libc::SYS_ioctl, [socket, 0x8912, request, 0, 0, 0]).map(drop)
    }));
    acts
}
