//! The message of a lease: what stands in front, and the sealed rest.

use crate::limits::BLOCK;
use std::{io, sync::OnceLock};
use wire::SealedMessage;

/// See the module.
#[derive(Debug)]
pub(crate) struct Message {
    prefix: Vec<u8>,
    rest: SealedMessage,
    eight_bit: OnceLock<bool>,
}

impl Message {
    pub(crate) fn new(prefix: Vec<u8>, rest: SealedMessage) -> Self {
        Self { prefix, rest, eight_bit: OnceLock::new() }
    }

    /// Whether a byte of it is above 127, whatever was declared of it. Looked for once.
    pub(crate) fn is_eight_bit(&self) -> io::Result<bool> {
        if let Some(known) = self.eight_bit.get() {
            return Ok(*known);
        }
        let (mut offset, mut buffer) = (0_u64, vec![0; BLOCK]);
        let found = loop {
            let count = self.read(&mut buffer, offset)?;
            if count == 0 {
                break false;
            }
            if !buffer.get(..count).unwrap_or_default().is_ascii() {
                break true;
            }
            offset = offset.saturating_add(count as u64);
        };
        Ok(*self.eight_bit.get_or_init(|| found))
    }

    /// Bytes as a whole.
    pub(crate) fn len(&self) -> u64 {
        (self.prefix.len() as u64).saturating_add(self.rest.len())
    }

    /// Reads from `offset` into `buffer`; how much, 0 at the end.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(prefix) = usize::try_from(offset).ok().and_then(|at| self.prefix.get(at..)).filter(|p| !p.is_empty()) {
            let count = prefix.len().min(buffer.len());
            for (to, from) in buffer.iter_mut().zip(prefix) {
                *to = *from;
            }
            return Ok(count);
        }
        let offset = offset.saturating_sub(self.prefix.len() as u64);
        let left = usize::try_from(self.rest.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        self.rest.read_exact_at(buffer.get_mut(..count).unwrap_or_default(), offset)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::MessageWriter;

    #[test]
    fn it_is_read_as_one() {
        for size in 1..9 {
            let message = Message::new(b"abc".to_vec(), MessageWriter::sealed(b"defgh").unwrap());
            let (mut all, mut buffer) = (Vec::new(), vec![0; size]);
            loop {
                let count = message.read(&mut buffer, all.len() as u64).unwrap();
                if count == 0 {
                    break;
                }
                all.extend(&buffer[..count]);
            }
            assert_eq!((all.as_slice(), message.len()), (&b"abcdefgh"[..], 8));
        }
    }

    #[test]
    fn a_byte_above_127_is_found_wherever_it_is() {
        let long = vec![b'x'; 2 * BLOCK];
        for (prefix, rest, expected) in [
            (&b"abc"[..], &b"def"[..], false),
            (b"ab\x80", b"def", true),
            (b"abc", &[&long[..], b"\xff"].concat(), true),
            (b"abc", &long, false),
            (b"", b"", false),
        ] {
            let message = Message::new(prefix.to_vec(), MessageWriter::sealed(rest).unwrap());
            assert_eq!([message.is_eight_bit().unwrap(), message.is_eight_bit().unwrap()], [expected; 2]);
        }
    }
}
