//! Content on its way out: dots stuffed (RFC 5321 4.5.2), and checked once more for what no message may hold on the wire.

use crate::content::plain_run;

/// The content has a bare CR, a bare LF or NUL and was not declared BINARYMIME: it must not be sent (RFC 5321 2.3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BareBytes;

/// Where in the content the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    Text,
    Cr,
}

/// How content travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// After DATA: dots are stuffed.
    Dots,
    /// After BDAT: as it is.
    Chunk,
    /// After BDAT, with any byte anywhere (RFC 3030 3).
    Binary,
}

/// Writes one message.
#[derive(Debug)]
pub(crate) struct ContentWriter {
    transfer: Transfer,
    at: At,
    written: u64,
}

impl ContentWriter {
    pub(crate) fn new(transfer: Transfer) -> Self {
        Self { transfer, at: At::LineStart, written: 0 }
    }

    /// Bytes of content so far, without stuffed dots.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn transfer(&self) -> Transfer {
        self.transfer
    }

    /// Appends a piece to `out`. After an error what was appended must not be sent, nor anything after it.
    pub(crate) fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), BareBytes> {
        self.written = self.written.saturating_add(piece.len() as u64);
        if self.transfer == Transfer::Binary {
            out.extend_from_slice(piece);
            return Ok(());
        }
        let mut input = piece;
        while let Some((&first, rest)) = input.split_first() {
            if self.at == At::Cr {
                if first != b'\n' {
                    return Err(BareBytes);
                }
                out.extend_from_slice(b"\r\n");
                self.at = At::LineStart;
                input = rest;
                continue;
            }
            let (text, rest) = input.split_at_checked(plain_run(input)).unwrap_or((input, &[]));
            if !text.is_empty() {
                if self.at == At::LineStart && first == b'.' && self.transfer == Transfer::Dots {
                    out.push(b'.');
                }
                out.extend_from_slice(text);
                self.at = At::Text;
            }
            input = rest;
            if let Some((&special, rest)) = rest.split_first() {
                if special != b'\r' {
                    return Err(BareBytes);
                }
                self.at = At::Cr;
                input = rest;
            }
        }
        Ok(())
    }

    /// Appends what ends the content.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BareBytes> {
        match (self.transfer, self.at) {
            (Transfer::Dots | Transfer::Chunk, At::Cr) => return Err(BareBytes),
            (Transfer::Dots, At::LineStart) => out.extend_from_slice(b".\r\n"),
            // RFC 5321 4.1.1.4: the CRLF in front of the dot belongs to the content.
            (Transfer::Dots, At::Text) => out.extend_from_slice(b"\r\n.\r\n"),
            (Transfer::Chunk | Transfer::Binary, _) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataDecoder, Limits, Progress};

    fn written(transfer: Transfer, content: &[u8], size: usize) -> Result<Vec<u8>, BareBytes> {
        let (mut writer, mut out) = (ContentWriter::new(transfer), Vec::new());
        for piece in content.chunks(size) {
            writer.write(piece, &mut out)?;
        }
        writer.finish(&mut out)?;
        Ok(out)
    }

    #[test]
    fn dots_are_stuffed_and_come_off_again() {
        for content in [&b""[..], b".", b"..\r\n", b"\r\n.\r\n\r\n", b"a\r\n.\r\n.b\r\nc.\r\n", b"a", b".\r\n.", b"\r\n"] {
            for size in 1..5 {
                let out = written(Transfer::Dots, content, size).unwrap();
                let (mut decoder, mut back, mut rest) = (DataDecoder::new(&Limits::DEFAULT), Vec::new(), out.as_slice());
                assert_eq!(decoder.decode(&mut rest, &mut back), Progress::End(None), "{content:?}");
                assert!(rest.is_empty());
                let mut expected = content.to_vec();
                if !content.is_empty() && !content.ends_with(b"\r\n") {
                    expected.extend(b"\r\n");
                }
                assert_eq!(back, expected);
                assert_eq!(written(Transfer::Chunk, content, size).unwrap(), content);
            }
        }
    }

    #[test]
    fn bare_bytes_never_leave() {
        for bad in [&b"a\nb"[..], b"a\rb", b"a\0b", b"\n.\n", b"\r\r\n", b"a\r", b"\r\n.\r\r\n", b"x\r\n\n"] {
            for size in 1..4 {
                assert_eq!(written(Transfer::Dots, bad, size), Err(BareBytes), "{bad:?}");
                assert_eq!(written(Transfer::Chunk, bad, size), Err(BareBytes), "{bad:?}");
                assert_eq!(written(Transfer::Binary, bad, size).unwrap(), bad);
            }
        }
    }
}
