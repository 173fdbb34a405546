//! Content-Transfer-Encoding (RFC 2045 6), decoded piece by piece so that a large part never stands in memory twice.
//!
//! Decoding never fails. What an encoding does not allow is skipped (base64) or passed through (quoted-printable), as RFC 2045 6.7
//! and 6.8 recommend.

use pure_index::Encoding;

/// White space at the end of a quoted-printable line is held back up to this many bytes.
const MAX_HELD: usize = 1024;

/// Decodes one part.
#[derive(Debug, Clone)]
pub struct Decoder(State);

#[derive(Debug, Clone)]
enum State {
    Identity,
    Base64 { bits: u32, count: u8 },
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    /// None for an encoding that is not known: its content stays as it is and means nothing.
    pub fn new(encoding: &Encoding) -> Option<Self> {
        match encoding {
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => Some(Self(State::Identity)),
            Encoding::Base64 => Some(Self(State::Base64 { bits: 0, count: 0 })),
            Encoding::QuotedPrintable => Some(Self(State::QuotedPrintable(QuotedPrintable::default()))),
            Encoding::Other(_) => None,
        }
    }

    /// Decodes the next piece; `out` grows by at most `input.len()` bytes and a constant.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            State::Identity => out.extend_from_slice(input),
            State::Base64 { bits, count } => base64(input, bits, count, out),
            State::QuotedPrintable(state) => input.iter().for_each(|byte| state.push(*byte, out)),
        }
    }

    /// What was held back until the end was known.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.0 {
            State::Identity => {}
            State::Base64 { bits, count } => flush(bits, count, out),
            State::QuotedPrintable(state) => state.finish(out),
        }
    }
}

/// Decodes a whole body at once; none for an unknown encoding.
pub fn decode(encoding: &Encoding, body: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(encoding)?;
    let mut out = Vec::new();
    decoder.push(body, &mut out);
    decoder.finish(&mut out);
    Some(out)
}

/// In [`VALUES`]: not of the alphabet.
const SKIP: u8 = 64;

const VALUES: [u8; 256] = {
    let mut values = [SKIP; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut i = 0;
    while i < alphabet.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            values[alphabet[i] as usize] = i as u8;
        }
        i += 1;
    }
    values
};

/// RFC 2045 6.8. Padding ends a group and not the content: bodies that were encoded in pieces go on after it.
fn base64(input: &[u8], bits: &mut u32, count: &mut u8, out: &mut Vec<u8>) {
    out.reserve(input.len() / 4 * 3 + 3);
    for byte in input {
        if *byte == b'=' {
            flush(std::mem::take(bits), std::mem::take(count), out);
            continue;
        }
        let value = VALUES.get(usize::from(*byte)).copied().unwrap_or(SKIP);
        if value == SKIP {
            continue;
        }
        *bits = (*bits << 6) | u32::from(value);
        *count += 1;
        if *count == 4 {
            let [_, a, b, c] = bits.to_be_bytes();
            out.extend_from_slice(&[a, b, c]);
            (*bits, *count) = (0, 0);
        }
    }
}

/// The whole bytes of a group that was cut short.
fn flush(bits: u32, count: u8, out: &mut Vec<u8>) {
    match count {
        2 => out.push(bits.wrapping_shr(4) as u8),
        3 => {
            let [_, _, a, b] = bits.wrapping_shr(2).to_be_bytes();
            out.extend_from_slice(&[a, b]);
        }
        _ => {}
    }
}

#[derive(Debug, Clone, Default)]
struct QuotedPrintable {
    /// White space that counts only if something but a line end follows, behind an `=` if `equals` is set.
    held: Vec<u8>,
    equals: bool,
    /// First digit after an `=`.
    high: Option<u8>,
}

impl QuotedPrintable {
    fn push(&mut self, byte: u8, out: &mut Vec<u8>) {
        if let Some(high) = self.high.take() {
            self.equals = false;
            match (hex(high), hex(byte)) {
                (Some(h), Some(l)) => return out.push(h * 16 + l),
                _ => out.extend_from_slice(&[b'=', high]),
            }
        }
        match byte {
            // RFC 2045 6.7 (5): a soft line break, with the white space that a gateway may have added.
            b'\n' if self.equals => {
                self.equals = false;
                self.held.clear();
            }
            // RFC 2045 6.7 (3): white space at the end of a line is not part of the text.
            b'\n' => {
                let crlf = self.held.last() == Some(&b'\r');
                self.held.clear();
                out.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
            }
            b' ' | b'\t' | b'\r' => {
                if self.held.len() >= MAX_HELD {
                    self.release(out);
                }
                self.held.push(byte);
            }
            _ if self.equals && self.held.is_empty() && hex(byte).is_some() => self.high = Some(byte),
            b'=' => {
                self.release(out);
                self.equals = true;
            }
            _ => {
                self.release(out);
                out.push(byte);
            }
        }
    }

    /// What was held back is content after all.
    fn release(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.equals) {
            out.push(b'=');
        }
        out.append(&mut self.held);
    }

    /// White space before the end is at the end of a line, and an `=` there is a soft break whose line end went to the delimiter.
    fn finish(self, out: &mut Vec<u8>) {
        if let Some(high) = self.high {
            out.extend_from_slice(&[b'=', high]);
        }
    }
}

/// Lower-case digits are accepted as RFC 2045 6.7 (note 1) recommends.
pub(crate) fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(encoding: &Encoding, input: &[u8], size: usize) -> Vec<u8> {
        let mut decoder = Decoder::new(encoding).unwrap();
        let mut out = Vec::new();
        input.chunks(size).for_each(|c| decoder.push(c, &mut out));
        decoder.finish(&mut out);
        out
    }

    #[test]
    fn any_cut_gives_the_same() {
        let cases: [(Encoding, &[u8], &[u8]); 12] = [
            (Encoding::Base64, b"aGVsbG8=", b"hello"),
            (Encoding::Base64, b"aGVs\r\nbG8", b"hello"),
            (Encoding::Base64, b"aGVsbA==aGVs!*bA", b"hellhell"),
            (Encoding::Base64, b"a", b""),
            (Encoding::QuotedPrintable, b"a=C3=a4 b=\r\nc  \r\nd \t", "a\u{e4} bc\r\nd".as_bytes()),
            (Encoding::QuotedPrintable, b"soft=  \r\nbreak=", b"softbreak"),
            (Encoding::QuotedPrintable, b"=G1 =4 =A", b"=G1 =4 =A"),
            (Encoding::QuotedPrintable, b"==41=", b"=A"),
            (Encoding::QuotedPrintable, b"a = b", b"a = b"),
            (Encoding::QuotedPrintable, b"lf \nx", b"lf\nx"),
            (Encoding::EightBit, b"a=\r\n", b"a=\r\n"),
            (Encoding::Base64, b"", b""),
        ];
        for (encoding, input, expected) in cases {
            for size in 1..=input.len().max(1) {
                let got = pieces(&encoding, input, size);
                assert_eq!(got, expected, "{:?} in pieces of {size}", String::from_utf8_lossy(input));
            }
        }
        assert_eq!(decode(&Encoding::Other(b"x-uu".to_vec().into()), b"x"), None);
    }

    #[test]
    fn a_long_run_of_blanks_is_passed_through() {
        let mut input = vec![b' '; 5000];
        input.push(b'x');
        assert_eq!(pieces(&Encoding::QuotedPrintable, &input, 100), input);
    }
}
