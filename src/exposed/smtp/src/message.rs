//! A message on its way in: a memfd, and its share of what all of them together may have.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use wire::{MessageWriter, SealedMessage};

/// Bytes that all messages under way may have together.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU64,
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes) })
    }
}

/// What was taken from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    taken: u64,
}

impl Share {
    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        let left = &self.budget.left;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        self.taken = self.taken.saturating_add(bytes);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Message {
    writer: MessageWriter,
    share: Share,
}

impl Message {
    /// An empty one that may grow to `limit` bytes.
    pub(crate) fn new(budget: &Arc<Budget>, limit: u64) -> io::Result<Self> {
        Ok(Self { writer: MessageWriter::new(limit)?, share: Share { budget: budget.clone(), taken: 0 } })
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

    #[test]
    fn a_share_is_given_back() {
        let budget = Budget::new(10);
        let mut first = Message::new(&budget, 100).unwrap();
        first.append(b"12345678").unwrap();
        let mut second = Message::new(&budget, 100).unwrap();
        assert!(second.append(b"123").is_err());
        second.append(b"12").unwrap();
        let (sealed, share) = first.seal().unwrap();
        assert!(second.append(b"1").is_err());
        assert_eq!(sealed.read_all().unwrap(), b"12345678");
        drop(share);
        second.append(b"12345678").unwrap();
        drop(second);
        assert_eq!(budget.left.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn a_message_has_its_own_limit() {
        let mut message = Message::new(&Budget::new(100), 4).unwrap();
        message.append(b"1234").unwrap();
        assert!(message.append(b"5").is_err());
    }
}
