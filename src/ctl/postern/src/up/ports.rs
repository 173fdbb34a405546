//! The TCP sockets of the appliance, on loopback only.

use crate::{Failure, control::plain};
use rustix::net::listen;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    os::fd::OwnedFd,
};

/// Added to the port base; the base 2000 gives 2525, 2587, 2465 and 2993.
const OFFSETS: [(&str, u16); 4] = [("mx", 525), ("submission", 587), ("submissions", 465), ("imaps", 993)];
/// The largest base whose ports all exist.
pub(super) const MAX_BASE: u16 = u16::MAX - 993;
/// Connections that wait to be accepted, while a daemon is being restarted for example.
const BACKLOG: i32 = 1024;

/// The listening sockets by name. They stay open here for as long as `up` runs, so a daemon that restarts refuses nobody.
#[derive(Debug)]
pub(super) struct Ports(BTreeMap<&'static str, (u16, OwnedFd)>);

impl Ports {
    /// Binds all of them; with base 0 to ports that are free.
    pub(super) fn bind(base: u16) -> Result<Self, Failure> {
        let mut all = BTreeMap::new();
        for (name, offset) in OFFSETS {
            let port = if base == 0 { 0 } else { base.saturating_add(offset) };
            let failed = |e: std::io::Error| {
                let taken = if e.kind() == std::io::ErrorKind::AddrInUse { "; --port-base N chooses other ports" } else { "" };
                Failure::new(format_args!("{name} port {port}"), format_args!("{}{taken}", plain(&e)))
            };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
            listen(&listener, BACKLOG).map_err(|e| failed(e.into()))?;
            let port = listener.local_addr().map_err(failed)?.port();
            all.insert(name, (port, OwnedFd::from(listener)));
        }
        Ok(Self(all))
    }

    pub(super) fn number(&self, name: &str) -> u16 {
        self.0.get(name).map_or(0, |(port, _)| *port)
    }

    pub(super) fn socket(&self, name: &str) -> Option<&OwnedFd> {
        self.0.get(name).map(|(_, socket)| socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_base_gives_the_documented_ports() {
        let ports: Vec<u16> = OFFSETS.iter().map(|(_, offset)| 2000 + offset).collect();
        assert_eq!(ports, [2525, 2587, 2465, 2993]);
        assert!(OFFSETS.iter().all(|(_, offset)| MAX_BASE.checked_add(*offset).is_some()));
    }

    #[test]
    fn free_ports_differ_and_a_taken_one_is_a_single_line() {
        let ports = Ports::bind(0).unwrap();
        let numbers: std::collections::BTreeSet<u16> = OFFSETS.iter().map(|(name, _)| ports.number(name)).collect();
        assert_eq!(numbers.len(), 4);
        let base = ports.number("mx").checked_sub(525).filter(|base| *base > 0);
        if let Some(base) = base {
            let Err(Failure::Because(line)) = Ports::bind(base) else { panic!("the port was taken twice") };
            assert!(line.starts_with("mx port") && !line.contains('\n'), "{line}");
        }
    }
}
