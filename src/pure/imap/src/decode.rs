//! Content-Transfer-Encoding undone in a stream, for BINARY (RFC 9051 6.4.5.1).
//!
//! Total: what is not in the encoding is left out (base64) or kept as it is (quoted-printable), as RFC 2045 6.7 and 6.8 advise.

use pure_index::Encoding;

/// Decodes a part given in chunks of any size; holds a few bytes.
#[derive(Debug)]
pub struct Decoder(Kind);

#[derive(Debug)]
enum Kind {
    Identity,
    Base64 { bits: u32, have: u32, ended: bool },
    QuotedPrintable { held: Vec<u8> },
}

/// The transfer encoding has no decoder: answer NO [UNKNOWN-CTE].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown transfer encoding")]
pub struct UnknownEncoding;

/// RFC 2045 6.7 rule 5 limits a line to 76; a run of blanks longer than this is no longer held back.
const MAX_HELD: usize = 1024;

impl Decoder {
    /// For a part.
    pub fn new(encoding: &Encoding) -> Result<Self, UnknownEncoding> {
        Ok(Self(match encoding {
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => Kind::Identity,
            Encoding::Base64 => Kind::Base64 { bits: 0, have: 0, ended: false },
            Encoding::QuotedPrintable => Kind::QuotedPrintable { held: vec![] },
            Encoding::Other(_) => return Err(UnknownEncoding),
        }))
    }

    /// Decodes a chunk to the end of `out`; adds at most [`Decoder::HELD`] bytes more than `chunk` has.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Identity => out.extend_from_slice(chunk),
            Kind::Base64 { bits, have, ended } => {
                for byte in chunk {
                    let value = match byte {
                        b'A'..=b'Z' => byte - b'A',
                        b'a'..=b'z' => byte - b'a' + 26,
                        b'0'..=b'9' => byte - b'0' + 52,
                        b'+' => 62,
                        b'/' => 63,
                        b'=' => {
                            *ended = true;
                            continue;
                        }
                        _ => continue,
                    };
                    if *ended {
                        // RFC 2045 6.8: padding is the end; what follows it is no content.
                        return;
                    }
                    *bits = (*bits << 6 | u32::from(value)) & 0x00ff_ffff;
                    *have += 6;
                    if *have >= 8 {
                        *have -= 8;
                        out.push(u8::try_from(*bits >> *have & 0xff).unwrap_or_default());
                    }
                }
            }
            Kind::QuotedPrintable { held } => {
                for byte in chunk {
                    quoted_printable(held, *byte, out);
                }
            }
        }
    }

    /// Bytes that may be held back from one chunk to the next.
    pub const HELD: usize = MAX_HELD + 2;

    /// The end of the part.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Kind::QuotedPrintable { held } = &mut self.0 {
            // RFC 2045 6.7 rule 3: blanks at the end of a line are not content; nor is a soft line break at the end.
            if held.first() == Some(&b'=') && held.len() > 1 && held.get(1).is_none_or(|b| !matches!(b, b' ' | b'\t' | b'\r')) {
                out.append(held);
            }
            held.clear();
        }
    }
}

/// `held` is a run of blanks, with a CR after it maybe, or the beginning of an escape.
fn quoted_printable(held: &mut Vec<u8>, byte: u8, out: &mut Vec<u8>) {
    if held.first() == Some(&b'=') {
        escape(held, byte, out);
        return;
    }
    match byte {
        b' ' | b'\t' if held.len() < MAX_HELD && held.last() != Some(&b'\r') => held.push(byte),
        b'\r' if held.last() != Some(&b'\r') => held.push(byte),
        b'\n' if held.last() == Some(&b'\r') => {
            held.clear();
            out.extend_from_slice(b"\r\n");
        }
        b'=' => {
            out.append(held);
            held.push(byte);
        }
        _ => {
            out.append(held);
            out.push(byte);
        }
    }
}

/// After `=`: two hexadecimal digits, or blanks and a line end.
fn escape(held: &mut Vec<u8>, byte: u8, out: &mut Vec<u8>) {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    match (held.get(1).copied(), byte) {
        (Some(first), _) if digit(first).is_some() => match (digit(first), digit(byte)) {
            (Some(high), Some(low)) => {
                held.clear();
                out.push(high << 4 | low);
            }
            _ => {
                out.append(held);
                quoted_printable(held, byte, out);
            }
        },
        (None, b) if digit(b).is_some() => held.push(b),
        (_, b'\n') => held.clear(),
        (_, b' ' | b'\t' | b'\r') if held.len() < MAX_HELD => held.push(byte),
        _ => {
            out.append(held);
            quoted_printable(held, byte, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: Encoding, text: &str) -> String {
        let mut whole = vec![];
        let mut decoder = Decoder::new(&encoding).unwrap();
        decoder.push(text.as_bytes(), &mut whole);
        decoder.finish(&mut whole);
        let mut bytewise = vec![];
        let mut decoder = Decoder::new(&encoding).unwrap();
        for byte in text.as_bytes() {
            decoder.push(&[*byte], &mut bytewise);
        }
        decoder.finish(&mut bytewise);
        assert_eq!(whole, bytewise);
        String::from_utf8_lossy(&whole).into_owned()
    }

    #[test]
    fn base64() {
        assert_eq!(decode(Encoding::Base64, "SGVs\r\nbG8h\r\n"), "Hello!");
        assert_eq!(decode(Encoding::Base64, "SGVsbG8=\r\n"), "Hello");
        assert_eq!(decode(Encoding::Base64, "S!G V*s"), "Hel");
        assert_eq!(decode(Encoding::Base64, "QQ==\r\nQUFB"), "A");
        assert_eq!(decode(Encoding::Base64, ""), "");
    }

    #[test]
    fn quoted_printable_text() {
        for (encoded, text) in [
            ("a=3Db", "a=b"),
            ("a=\r\nb", "ab"),
            ("a=  \r\nb", "ab"),
            ("a  \r\nb", "a\r\nb"),
            ("a  b", "a  b"),
            ("=C3=A9=c3=a9", "éé"),
            ("a=", "a"),
            ("a=4", "a=4"),
            ("a=zz", "a=zz"),
            ("a=4=41", "a=4A"),
            ("a\rb\r", "a\rb"),
            ("==41", "=A"),
        ] {
            assert_eq!(decode(Encoding::QuotedPrintable, encoded), text, "{encoded:?}");
        }
        let long = format!("a{}b", " ".repeat(3000));
        assert_eq!(decode(Encoding::QuotedPrintable, &long), long);
    }

    #[test]
    fn others() {
        assert_eq!(decode(Encoding::EightBit, "é=41"), "é=41");
        assert!(Decoder::new(&Encoding::Other(b"x-uue".to_vec().into())).is_err());
    }
}
