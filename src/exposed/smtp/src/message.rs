//! A message on its way in: a memfd, and its share of what all of them together may have.

use exposed_tls::network;
use std::{
    collections::HashMap,
    io::{self, Write},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use wire::{MessageWriter, SealedMessage};

/// Bytes that all messages under way may have together, and those of one peer: nobody alone keeps the others' mail out.
#[derive(Debug)]
pub(crate) struct Budget {
    per_peer: u64,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    left: u64,
    peers: HashMap<IpAddr, u64>,
}

impl Budget {
    pub(crate) fn new(bytes: u64, per_peer: u64) -> Arc<Self> {
        Arc::new(Self { per_peer, inside: Mutex::new(Inside { left: bytes, peers: HashMap::new() }) })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was taken from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    peer: IpAddr,
    taken: u64,
}

impl Share {
    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        let mut inside = self.budget.inside();
        let all = inside.left.checked_sub(bytes);
        let own = inside.peers.get(&self.peer).copied().unwrap_or(0).saturating_add(bytes);
        let Some(left) = all.filter(|_| own <= self.budget.per_peer) else { return Err(io::ErrorKind::QuotaExceeded.into()) };
        inside.left = left;
        inside.peers.insert(self.peer, own);
        self.taken = self.taken.saturating_add(bytes);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut inside = self.budget.inside();
        inside.left = inside.left.saturating_add(self.taken);
        if let Some(own) = inside.peers.get_mut(&self.peer) {
            *own = own.saturating_sub(self.taken);
            if *own == 0 {
                inside.peers.remove(&self.peer);
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Message {
    writer: MessageWriter,
    share: Share,
}

impl Message {
    /// An empty one of this peer that may grow to `limit` bytes.
    pub(crate) fn new(budget: &Arc<Budget>, peer: IpAddr, limit: u64) -> io::Result<Self> {
        let share = Share { budget: budget.clone(), peer: network(peer), taken: 0 };
        Ok(Self { writer: MessageWriter::new(limit)?, share })
    }

    /// Adds bytes; on failure the message is worthless.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.share.grow(bytes.len() as u64)?;
        self.writer.write_all(bytes)
    }

    /// No more bytes. The share is to be kept as long as the sealed message.
    pub(crate) fn seal(self) -> io::Result<(SealedMessage, Share)> {
        Ok((self.writer.seal()?, self.share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(budget: &Arc<Budget>, peer: &str) -> Message {
        Message::new(budget, peer.parse().unwrap(), 100).unwrap()
    }

    #[test]
    fn a_share_is_given_back() {
        let budget = Budget::new(10, 10);
        let mut first = message(&budget, "192.0.2.1");
        first.append(b"12345678").unwrap();
        let mut second = message(&budget, "192.0.2.1");
        assert!(second.append(b"123").is_err());
        second.append(b"12").unwrap();
        let (sealed, share) = first.seal().unwrap();
        assert!(second.append(b"1").is_err());
        assert_eq!(sealed.read_all().unwrap(), b"12345678");
        drop(share);
        second.append(b"12345678").unwrap();
        drop(second);
        let inside = budget.inside();
        assert!(inside.left == 10 && inside.peers.is_empty());
    }

    /// Attack class SLOW: a peer that fills its messages and never ends them leaves room for the others.
    #[test]
    fn a_peer_has_its_share() {
        let budget = Budget::new(10, 4);
        let (mut first, mut second) = (message(&budget, "2001:db8::1"), message(&budget, "2001:db8::2"));
        first.append(b"123").unwrap();
        assert!(second.append(b"12").is_err());
        second.append(b"1").unwrap();
        message(&budget, "2001:db8:0:1::1").append(b"1234").unwrap();
        drop(first);
        second.append(b"234").unwrap();
    }

    #[test]
    fn a_message_has_its_own_limit() {
        let mut message = Message::new(&Budget::new(100, 100), IpAddr::from([192, 0, 2, 1]), 4).unwrap();
        message.append(b"1234").unwrap();
        assert!(message.append(b"5").is_err());
    }
}
