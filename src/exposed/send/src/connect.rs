//! Which addresses may be connected to, in which order, and how.

use crate::settings::{Random, Reach, Settings};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::net::{TcpSocket, TcpStream};

/// errno(3), the same on every architecture. std has one kind for this and EACCES.
const EPERM: i32 = 1;

/// Whether a mail host that the DNS or an address literal names may be here: at a public address, or in a network that is declared.
pub(crate) fn is_allowed(address: IpAddr, own: &[IpAddr], settings: &Settings) -> bool {
    let address = address.to_canonical();
    !own.contains(&address)
        && (is_global(address, settings.reach) || settings.private_networks.iter().any(|network| network.contains(address)))
}

/// Whether a policy may be fetched from here: what a stranger publishes must not make us speak to our own network, declared or not.
pub(crate) fn is_public(address: IpAddr, own: &[IpAddr], reach: Reach) -> bool {
    let address = address.to_canonical();
    !own.contains(&address) && is_global(address, reach)
}

/// RFC 6890 2.2: unicast that means the same host everywhere; the unit's slice has the same in `IPAddressAllow=` (`tests/system`).
fn is_global(address: IpAddr, reach: Reach) -> bool {
    if address.is_loopback() {
        return reach.loopback;
    }
    match address {
        IpAddr::V4(v4) => !matches!(
            v4.octets(),
            // This network, private (RFC 1918), shared (RFC 6598), link-local (RFC 3927), protocol assignments, benchmarks (RFC 2544),
            // multicast, reserved and broadcast.
            [0 | 10 | 127 | 224..=255, ..]
                | [100, 64..=127, ..]
                | [169, 254, ..]
                | [172, 16..=31, ..]
                | [192, 0, 0, _]
                | [192, 168, ..]
                | [198, 18..=19, ..]
        ),
        // RFC 4291 2.4: global unicast as far as it is given out, without 6to4 (RFC 3056), in which any IPv4 address can be written.
        // Outside of it are unique local (RFC 4193), link-local, multicast, NAT64 (RFC 6052) and IPv4 in IPv6.
        IpAddr::V6(v6) => matches!(v6.segments(), [first @ 0x2000..=0x3fff, ..] if first != 0x2002),
    }
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

    /// What the DNS can do of attack case SSRF-01; the same lists as of the unit's filter in `tests/system`.
    #[test]
    fn names_lead_to_public_addresses_of_others() {
        let mut settings = crate::settings::tests::settings();
        let own = [ip("192.0.2.1")];
        for bad in [
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "240.0.0.1",
            "169.254.169.254",
            "192.0.0.192",
            "198.18.0.1",
            "198.19.255.255",
            "fe80::1",
            "ff02::1",
            "100::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "fc00::1",
            "fd00:ec2::254",
        ] {
            assert!(!is_allowed(ip(bad), &own, &settings) && !is_public(ip(bad), &own, settings.reach), "{bad}");
        }
        for good in [
            "192.0.2.2",
            "2001:db8::1",
            "1.0.0.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2003::1",
            "2a00:1450::1",
            "3fff::1",
            "::ffff:192.0.2.2",
        ] {
            assert!(is_allowed(ip(good), &own, &settings) && is_public(ip(good), &own, settings.reach), "{good}");
        }
        // What is declared is for mail, and never ourselves.
        settings.private_networks = vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for declared in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"] {
            assert!(is_allowed(ip(declared), &own, &settings) && !is_public(ip(declared), &own, settings.reach), "{declared}");
        }
        assert!(!is_allowed(ip("10.2.0.1"), &own, &settings) && !is_allowed(ip("10.1.2.3"), &[ip("10.1.2.3")], &settings));
        settings.reach.loopback = true;
        assert!(is_allowed(ip("127.0.0.1"), &own, &settings));
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
