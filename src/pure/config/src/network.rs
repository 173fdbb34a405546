use std::net::IpAddr;

/// A network, as `10.1.0.0/16` or, of one host, `10.1.2.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    /// Bits that all its addresses have in common.
    length: u32,
}

/// Not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// It has another form.
    #[error("is not a network")]
    Form,
    /// Bits of hosts are set: is it the network or the host that is meant?
    #[error("has bits beyond its prefix")]
    Bits,
    /// It is no prefix at all, or holds loopback, multicast or unspecified addresses.
    #[error("holds addresses that no other host has")]
    Nobody,
}

impl Network {
    /// Whether the address, which is not an IPv4 address in IPv6 form, is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => shift(u128::from(own.to_bits() ^ other.to_bits()), 32, self.length) == 0,
            (IpAddr::V6(own), IpAddr::V6(other)) => shift(own.to_bits() ^ other.to_bits(), 128, self.length) == 0,
            _ => false,
        }
    }
}

/// The first `length` of so many bits.
fn shift(bits: u128, width: u32, length: u32) -> u128 {
    bits.checked_shr(width.saturating_sub(length)).unwrap_or(0)
}

impl std::str::FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Form)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            // No sign and no superfluous zero.
            Some(text) if text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit()) && !(text.len() > 1 && text.starts_with('0')) => {
                text.parse().map_err(|_| InvalidNetwork::Form)?
            }
            Some(_) => return Err(InvalidNetwork::Form),
            None => width,
        };
        if length > width {
            return Err(InvalidNetwork::Form);
        }
        let bits = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let network = Self { address, length };
        if bits != shift(bits, width, length).checked_shl(width.saturating_sub(length)).unwrap_or(0) {
            return Err(InvalidNetwork::Bits);
        }
        // IPv4 in IPv6 form is IPv4, and is written so.
        let nobodys = ["0.0.0.0", "127.0.0.1", "224.0.0.0", "255.255.255.255", "::", "::1", "::ffff:0.0.0.0", "ff00::"];
        let is_nobodys = address.is_loopback() || address.is_multicast() || address.to_canonical() != address;
        if length == 0 || is_nobodys || nobodys.iter().filter_map(|a| a.parse().ok()).any(|a| network.contains(a)) {
            return Err(InvalidNetwork::Nobody);
        }
        Ok(network)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"][..], &["9.255.255.255", "11.0.0.0", "::a00:0", "127.0.0.1"][..]),
            ("10.1.2.3", &["10.1.2.3"], &["10.1.2.2", "10.1.2.4"]),
            ("192.168.4.0/30", &["192.168.4.3"], &["192.168.4.4"]),
            ("fd00::/8", &["fd00::1", "fdff::"], &["fc00::1", "fe00::", "10.0.0.1"]),
            ("64:ff9b::/96", &["64:ff9b::a00:1"], &["64:ff9b:1::"]),
            ("fd00::1", &["fd00::1"], &["fd00::2"]),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(inside.iter().all(|a| network.contains(a.parse().unwrap())), "{network}");
            assert!(!outside.iter().any(|a| network.contains(a.parse().unwrap())), "{network}");
        }
        assert_eq!("10.1.2.3".parse::<Network>().unwrap().to_string(), "10.1.2.3/32");
    }

    #[test]
    fn what_is_no_network_of_hosts_is_refused() {
        for (text, expected) in [
            ("", InvalidNetwork::Form),
            ("10.0.0.0/33", InvalidNetwork::Form),
            ("10.0.0.0/", InvalidNetwork::Form),
            ("10.0.0.0/+8", InvalidNetwork::Form),
            ("10.0.0.0/08", InvalidNetwork::Form),
            ("10/8", InvalidNetwork::Form),
            ("fd00::/129", InvalidNetwork::Form),
            ("mail.example.org", InvalidNetwork::Form),
            ("10.0.0.1/8", InvalidNetwork::Bits),
            ("fd00::1/64", InvalidNetwork::Bits),
            ("0.0.0.0/0", InvalidNetwork::Nobody),
            ("::/0", InvalidNetwork::Nobody),
            ("127.0.0.0/8", InvalidNetwork::Nobody),
            ("127.0.0.2", InvalidNetwork::Nobody),
            ("64.0.0.0/2", InvalidNetwork::Nobody),
            ("239.0.0.0/8", InvalidNetwork::Nobody),
            ("::/3", InvalidNetwork::Nobody),
            ("ff02::/16", InvalidNetwork::Nobody),
            ("::ffff:10.0.0.0/104", InvalidNetwork::Nobody),
        ] {
            assert_eq!(text.parse::<Network>(), Err(expected), "{text}");
        }
    }
}
