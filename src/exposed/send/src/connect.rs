//! Which addresses may be connected to, in which order, and how.

use crate::settings::{Random, Reach};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::net::{TcpSocket, TcpStream};

/// errno(3), the same on every architecture. std has one kind for this and EACCES.
const EPERM: i32 = 1;

/// Whether a name from the DNS may lead here: never back to ourselves or to nobody in particular.
pub(crate) fn is_allowed(address: IpAddr, own: &[IpAddr], reach: Reach) -> bool {
    let address = address.to_canonical();
    if own.contains(&address) {
        return false;
    }
    if address.is_loopback() {
        return reach.loopback;
    }
    let unusable = match address {
        // RFC 1122 3.2.1.3: this network, link-local, class E and broadcast.
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            first == 0 || v4.is_link_local() || first >= 240
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4().is_some(),
    };
    !(unusable || address.is_unspecified() || address.is_multicast())
}

/// Whether HTTPS may go there: what a stranger publishes must not make us speak to our own network.
pub(crate) fn is_public(address: IpAddr, own: &[IpAddr], reach: Reach) -> bool {
    let private = match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..]),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    is_allowed(address, own, reach) && !private
}

/// Equal addresses in random order, IPv6 and IPv4 in turn, IPv6 first (RFC 5321 5.1, RFC 6555 3.2 in spirit: neither starves the other).
pub(crate) fn in_turn(addresses: Vec<IpAddr>, random: &Random) -> Vec<IpAddr> {
    let (mut six, mut four): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    random.shuffle(&mut six);
    random.shuffle(&mut four);
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(six.next());
        all.extend(four.next());
        if all.len() == before {
            return all;
        }
    }
}

/// Whether this host has no way to addresses of that family at all: such an attempt has cost nothing.
pub(crate) fn is_no_route(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
}

/// What to say of a connection that was not made. The unit's address filter drops what goes to an address that is not allowed: the system
/// call fails with EPERM or, for TCP, nothing ever comes back. The jail's refusal of a port is EACCES.
pub(crate) fn explain(error: &io::Error, address: IpAddr) -> String {
    let filtered = error.raw_os_error() == Some(EPERM);
    if filtered || (error.kind() == io::ErrorKind::TimedOut && !is_public(address, &[], Reach::default())) {
        format!("{error}; the unit postern-send allows public addresses only: IPAddressAllow={address} in a drop-in adds this one")
    } else {
        error.to_string()
    }
}

/// Connects, from the first of `sources` that is of the same family and is ours.
pub(crate) async fn connect(to: SocketAddr, sources: &[IpAddr], patience: Duration) -> io::Result<TcpStream> {
    let socket = if to.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    socket.set_nodelay(true)?;
    let mut of_family = false;
    let mut bound = false;
    for source in sources.iter().filter(|source| source.is_ipv6() == to.is_ipv6()) {
        of_family = true;
        bound = bound || socket.bind(SocketAddr::new(*source, 0)).is_ok();
    }
    if of_family && !bound {
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "none of the source addresses is an address of this host"));
    }
    tokio::time::timeout(patience, socket.connect(to)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn names_do_not_lead_back() {
        let reach = Reach::default();
        let own = [ip("192.0.2.1")];
        for bad in [
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "169.254.169.254",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "192.0.2.1",
            "::ffff:192.0.2.1",
        ] {
            assert!(!is_allowed(ip(bad), &own, reach), "{bad}");
        }
        for good in ["192.0.2.2", "2001:db8::1", "10.0.0.1"] {
            assert!(is_allowed(ip(good), &own, reach), "{good}");
        }
        for private in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"] {
            assert!(!is_public(ip(private), &own, reach), "{private}");
        }
        assert!(is_public(ip("192.0.2.2"), &own, reach));
        assert!(is_allowed(ip("127.0.0.1"), &own, Reach { loopback: true, ..reach }));
    }

    #[test]
    fn the_remedy_for_a_filtered_address_is_named() {
        let words = |error: io::Error, address| explain(&error, ip(address));
        let remedy = "IPAddressAllow=10.1.2.3";
        assert!(words(io::ErrorKind::TimedOut.into(), "10.1.2.3").contains(remedy));
        assert!(words(io::Error::from_raw_os_error(EPERM), "10.1.2.3").contains(remedy));
        for error in [io::ErrorKind::ConnectionRefused.into(), io::Error::from_raw_os_error(13)] {
            assert!(!words(error, "10.1.2.3").contains("IPAddressAllow"));
        }
        assert!(!words(io::ErrorKind::TimedOut.into(), "192.0.2.2").contains("IPAddressAllow"));
    }

    #[test]
    fn families_take_turns() {
        let random = Random(Arc::new(|| 0));
        let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"].map(ip).to_vec();
        let order = in_turn(all, &random);
        assert_eq!(order.iter().map(IpAddr::is_ipv6).collect::<Vec<_>>(), [true, false, false, false]);
    }
}
