//! `/etc/resolv.conf`: the servers of `Resolver::System` (resolv.conf(5)).

use crate::limits::{FILE_BYTES, SYSTEM_SERVERS};
use std::{
    fs::File,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

/// RFC 1035 4.2.
const PORT: u16 = 53;

/// The servers that the file names; this host itself when there is no file or none is named, as resolv.conf(5) says.
pub fn servers(path: &Path) -> io::Result<Vec<SocketAddr>> {
    match read(path) {
        Ok(text) => Ok(parse(&text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(parse("")),
        Err(e) => Err(e),
    }
}

/// A small file of text.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES { Err(io::Error::other("the file is too large")) } else { Ok(text) }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        match words.next().unwrap_or_default().parse::<IpAddr>() {
            Ok(address) if servers.len() < SYSTEM_SERVERS => servers.push(SocketAddr::new(address, PORT)),
            Ok(_) => {}
            // An address with a zone (fe80::1%eth0) among them: it means nothing without that interface.
            Err(_) => tracing::warn!(line, "a name server in resolv.conf cannot be used"),
        }
    }
    if servers.is_empty() {
        servers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_the_file() {
        let texts = |text: &str| parse(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        let text = "# comment\nsearch example.org\nnameserver 192.0.2.1\noptions edns0\n nameserver\t2001:db8::1 # other\nnameserver fe80::1%eth0\n";
        assert_eq!(texts(text), ["192.0.2.1:53", "[2001:db8::1]:53"]);
        assert_eq!(texts(""), ["127.0.0.1:53"]);
        assert_eq!(texts(&"nameserver 192.0.2.1\n".repeat(100)).len(), SYSTEM_SERVERS);
        assert_eq!(servers(Path::new("/nonexistent/resolv.conf")).unwrap().len(), 1);
    }
}
