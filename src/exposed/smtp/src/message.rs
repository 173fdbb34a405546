//! A message on its way in: a memfd, and its share of what all of them together may have.

use exposed_tls::{Room, Share, network};
use std::{
    io::{self, Write},
    net::IpAddr,
    sync::Arc,
};
use wire::{MessageWriter, SealedMessage};

/// Bytes that all messages under way may have together, and those of one peer.
pub(crate) type Budget = Room<IpAddr>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Message {
    writer: MessageWriter,
    share: Share<IpAddr>,
}

impl Message {
    /// An empty one of this peer that may grow to `limit` bytes.
    pub(crate) fn new(budget: &Arc<Budget>, peer: IpAddr, limit: u64) -> io::Result<Self> {
        Ok(Self { writer: MessageWriter::new(limit)?, share: budget.share(network(peer)) })
    }

    /// Adds bytes; on failure the message is worthless.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.share.grow(bytes.len() as u64) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.writer.write_all(bytes)
    }

    /// No more bytes. The share is to be kept as long as the sealed message.
    pub(crate) fn seal(self) -> io::Result<(SealedMessage, Share<IpAddr>)> {
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
        assert_eq!(budget.left(), 10);
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
