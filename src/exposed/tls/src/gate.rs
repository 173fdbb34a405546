//! How many connections at a time, in all and of one peer, and who has to go when there are too many.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::task::AbortHandle;

/// Counts the connections of one listener.
#[derive(Debug)]
pub struct Gate {
    total: usize,
    per_peer: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    count: usize,
    peers: HashMap<IpAddr, usize>,
    /// By age; only those who have not proven who they are.
    strangers: BTreeMap<u64, Option<AbortHandle>>,
}

/// A place inside; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    gate: Arc<Gate>,
    number: u64,
    peer: IpAddr,
}

impl Gate {
    /// At most `total` connections, and `per_peer` from one IPv4 address or IPv6 /64.
    pub fn new(total: usize, per_peer: usize) -> Arc<Self> {
        Arc::new(Self { total, per_peer, inside: Mutex::default() })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, or not. When the house is full, the oldest stranger is put out for the newcomer, so that holding
    /// connections open keeps nobody else out.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let peer = network(address);
        let mut inside = self.inside();
        if inside.peers.get(&peer).copied().unwrap_or(0) >= self.per_peer {
            return None;
        }
        if inside.count >= self.total {
            let (_, oldest) = inside.strangers.pop_first()?;
            if let Some(task) = oldest {
                task.abort();
            }
        }
        let number = inside.next;
        inside.next = inside.next.wrapping_add(1);
        inside.count = inside.count.saturating_add(1);
        *inside.peers.entry(peer).or_default() += 1;
        inside.strangers.insert(number, None);
        Some(Slot { gate: self.clone(), number, peer })
    }
}

impl Slot {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The peer has logged in: it will not be put out for a stranger.
    pub fn authenticated(&self) {
        self.gate.inside().strangers.remove(&self.number);
    }
}

impl Gate {
    pub(crate) fn runs_as(&self, number: u64, task: AbortHandle) {
        if let Some(entry) = self.inside().strangers.get_mut(&number) {
            *entry = Some(task);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inside = self.gate.inside();
        inside.strangers.remove(&self.number);
        inside.count = inside.count.saturating_sub(1);
        if let Some(count) = inside.peers.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                inside.peers.remove(&self.peer);
            }
        }
    }
}

/// One customer's usual share of the address space: who is behind it counts as one peer.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn a_peer_has_its_share() {
        let gate = Gate::new(10, 2);
        let first = gate.enter(ip("2001:db8::1")).unwrap();
        let _second = gate.enter(ip("2001:db8::2")).unwrap();
        assert!(gate.enter(ip("2001:db8::3")).is_none());
        assert!(gate.enter(ip("2001:db8:0:1::3")).is_some());
        drop(first);
        assert!(gate.enter(ip("2001:db8::3")).is_some());
    }

    /// Attack case IMAP-14: strangers that hold connections do not keep others out.
    #[test]
    fn the_oldest_stranger_goes_first() {
        let gate = Gate::new(2, 10);
        let known = gate.enter(ip("192.0.2.1")).unwrap();
        known.authenticated();
        let _stranger = gate.enter(ip("192.0.2.2")).unwrap();
        let third = gate.enter(ip("192.0.2.3")).unwrap();
        third.authenticated();
        // Nobody left to put out.
        assert!(gate.enter(ip("192.0.2.4")).is_none());
    }
}
