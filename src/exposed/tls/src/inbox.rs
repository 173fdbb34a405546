//! Bytes received and not yet used. The grammars decide where a line ends; this only bounds what waits.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroize;

/// Bytes asked for in one read.
const READ: usize = 16 * 1024;

/// A bounded buffer that costs nothing while it is empty. As long as passwords may come, which is at first, it overwrites what was used.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    /// No password comes any more.
    plain: bool,
}

impl Inbox {
    /// Whether what comes may be a password.
    pub fn expect_secrets(&mut self, expected: bool) {
        self.plain = !expected;
    }

    /// What waits.
    pub fn data(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Marks the first `n` bytes as used.
    pub fn consume(&mut self, n: usize) {
        let used = self.start;
        self.start = self.start.saturating_add(n).min(self.bytes.len());
        if !self.plain {
            self.bytes.get_mut(used..self.start).unwrap_or_default().zeroize();
        }
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.data().is_empty()
    }

    /// Forgets what waits: plaintext sent before a TLS handshake must never be read as if it came after (RFC 3207 4.2).
    pub fn clear(&mut self) {
        self.overwrite();
        self.bytes = Vec::new();
        self.start = 0;
    }

    /// Gives the memory back when nothing waits; for sessions about to be idle.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.clear();
        }
    }

    /// Reads once; 0 is the end of the stream. `InvalidData` when `limit` bytes wait already. Safe to drop before it completes.
    pub async fn fill<R: AsyncRead + Unpin>(&mut self, from: &mut R, limit: usize) -> io::Result<usize> {
        if self.data().len() >= limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.start > 0 {
            self.move_down();
        }
        if self.bytes.capacity() == 0 {
            // Wait without a buffer: an idle session has none.
            let mut first = [0u8; 1];
            if from.read(&mut first).await? == 0 {
                return Ok(0);
            }
            self.bytes.reserve(READ);
            self.bytes.extend_from_slice(&first);
            return Ok(1);
        }
        self.make_room(READ.min(limit));
        let mut window = from.take(limit.saturating_sub(self.bytes.len()) as u64);
        window.read_buf(&mut self.bytes).await
    }

    fn move_down(&mut self) {
        let left = self.bytes.len().saturating_sub(self.start);
        self.bytes.copy_within(self.start.., 0);
        if !self.plain {
            self.bytes.get_mut(left..).unwrap_or_default().zeroize();
        }
        self.bytes.truncate(left);
        self.start = 0;
    }

    fn make_room(&mut self, bytes: usize) {
        if self.plain {
            self.bytes.reserve(bytes);
        } else if self.bytes.len() == self.bytes.capacity() {
            // A vector that grows by itself leaves what it was.
            let mut larger = Vec::with_capacity(self.bytes.len().saturating_add(bytes));
            larger.extend_from_slice(&self.bytes);
            std::mem::replace(&mut self.bytes, larger).zeroize();
        }
    }

    fn overwrite(&mut self) {
        if !self.plain {
            self.bytes.zeroize();
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.overwrite();
    }
}
