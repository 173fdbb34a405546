//! The same message in seven bits (RFC 6152 3): for a host that does not offer 8BITMIME.
//!
//! * Leaves with content that is not 7bit (RFC 2045 2.7: bytes above 127, NUL, lone CR or LF, long lines) are encoded anew, text as
//!   quoted-printable, the rest as base64; decoded, they are the same bytes as before.
//! * Content-Transfer-Encoding fields say what is so afterwards, also those of multiparts and embedded messages, whose content may not be
//!   encoded itself (RFC 2045 6.4): what is inside them is.
//! * Nothing inside a multipart/signed is touched (RFC 1847 2.1): a message that would need it cannot be converted. The same holds where
//!   a part is too deep or too late to be seen, and for bytes above 127 in a header (RFC 6532 has no downgrade).
//! * Text around parts, which nobody is shown, gets `?` for such bytes. Everything else is as it was, byte for byte.

use crate::{
    header::{Header, Name, name, slice, unfold, value},
    param,
    transfer::decode,
    tree,
};
use memchr::memmem;
use pure_index::{Encoding, MAX_PARTS, Part, PartKind, Span};
use std::io::{self, Write};

/// Longest line of 7bit content (RFC 2045 2.7, RFC 5322 2.1.1).
const MAX_LINE: usize = 998;
/// Longest line of an encoding (RFC 2045 6.7 (5), 6.8).
const ENCODED_LINE: usize = 76;
/// Content bytes of a line of base64.
const BASE64_LINE: usize = ENCODED_LINE / 4 * 3;

/// Why a message cannot be had in seven bits.
#[derive(Debug)]
pub enum NotConvertible {
    /// A header has bytes above 127, or NUL, or line ends that are not CRLF.
    Header,
    /// The text around the parts has line ends that are not CRLF.
    Around,
    /// It is inside a multipart/signed: any change would break the signature.
    Signed,
    /// A part that may not be encoded, or whose inside cannot be seen.
    Part,
    /// The output cannot be written.
    Io(io::Error),
}

impl From<io::Error> for NotConvertible {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes `message`, which has at most `u32::MAX` bytes, in seven bits.
pub fn seven_bit(message: &[u8], out: &mut impl Write) -> Result<(), NotConvertible> {
    if u32::try_from(message.len()).is_err() {
        return Err(NotConvertible::Part);
    }
    let parts = tree::read(message).parts;
    let inside_signed = inside_signed(&parts);
    let any_signed = inside_signed.contains(&true);
    let mut at = 0;
    for (number, (part, signed)) in parts.iter().zip(inside_signed).enumerate() {
        let is_root = part.parent.is_none_or(|parent| parts.get(usize::from(parent)).is_some_and(|p| p.kind == PartKind::Message));
        let part = Reading { message, part, signed, is_root, last_possible: number.saturating_add(1) >= MAX_PARTS };
        let header = part.part.header;
        around(message.get(at..index(header.start)).unwrap_or_default(), any_signed, out)?;
        at = part.write(out)?;
    }
    around(message.get(at..).unwrap_or_default(), any_signed, out)
}

/// Which parts are inside a multipart/signed. A part comes after the one around it.
fn inside_signed(parts: &[Part]) -> Vec<bool> {
    let mut signed: Vec<bool> = Vec::new();
    for part in parts {
        let parent = part.parent.map(usize::from);
        let inherited = parent.and_then(|at| signed.get(at)).copied().unwrap_or(false);
        let is_signed = |p: &Part| p.kind == PartKind::Multipart && p.subtype.eq_ignore_ascii_case(b"signed");
        signed.push(inherited || parent.and_then(|at| parts.get(at)).is_some_and(is_signed));
    }
    signed
}

/// Preambles, epilogues and delimiters.
fn around(text: &[u8], signed: bool, out: &mut impl Write) -> Result<(), NotConvertible> {
    if has_stray_ends(text) {
        return Err(NotConvertible::Around);
    }
    if text.iter().all(|b| b.is_ascii() && *b != 0) {
        return Ok(out.write_all(text)?);
    }
    if signed {
        return Err(NotConvertible::Signed);
    }
    let replaced: Vec<u8> = text.iter().map(|b| if b.is_ascii() && *b != 0 { *b } else { b'?' }).collect();
    Ok(out.write_all(&replaced)?)
}

/// What becomes of the content of a part.
enum Content {
    Same,
    QuotedPrintable(Vec<u8>),
    Base64(Vec<u8>),
}

struct Reading<'a> {
    message: &'a [u8],
    part: &'a Part,
    /// Inside a multipart/signed.
    signed: bool,
    /// The root of a message, with a header of RFC 5322.
    is_root: bool,
    /// What would be further parts may be inside.
    last_possible: bool,
}

impl Reading<'_> {
    /// Writes header and, of a leaf, body; where what follows starts.
    fn write(&self, out: &mut impl Write) -> Result<usize, NotConvertible> {
        let header = slice(self.message, self.part.header);
        if header.iter().any(|b| !b.is_ascii() || *b == 0) || has_stray_ends(header) {
            return Err(NotConvertible::Header);
        }
        if self.part.kind != PartKind::Leaf {
            let label = matches!(self.part.encoding, Encoding::EightBit | Encoding::Binary).then_some("7bit");
            self.write_header(label.filter(|_| !self.signed), None, out)?;
            return Ok(index(self.part.header.end));
        }
        let body = slice(self.message, self.part.body);
        let clean = is_seven_bit(body);
        if !clean && self.signed {
            return Err(NotConvertible::Signed);
        }
        let content = if clean { Content::Same } else { self.encode(body)? };
        // A message without Content-Type says that it is US-ASCII, and bytes above 127 show that it is not.
        let typed = self.fields().get(Name::ContentType).is_some();
        let charset = if std::str::from_utf8(body).is_ok() { "utf-8" } else { "unknown-8bit" };
        match content {
            Content::Same => {
                let relabel = matches!(self.declared_encoding(), Encoding::EightBit | Encoding::Binary) && !self.signed;
                self.write_header(relabel.then_some("7bit"), None, out)?;
                out.write_all(body)?;
            }
            Content::QuotedPrintable(decoded) => {
                self.write_header(Some("quoted-printable"), (!typed).then_some(charset), out)?;
                quoted_printable(&decoded, out)?;
            }
            Content::Base64(decoded) => {
                self.write_header(Some("base64"), (!typed).then_some(charset), out)?;
                base64(&decoded, out)?;
                if index(self.part.body.end) == self.message.len() {
                    out.write_all(b"\r\n")?;
                }
            }
        }
        Ok(index(self.part.body.end))
    }

    fn fields(&self) -> Header<'_> {
        let end = index(self.part.header.end);
        let message = self.message.get(..end).unwrap_or_default();
        Header::read(message, index(self.part.header.start), usize::MAX, |_| false)
    }

    /// As the header says; the tree says otherwise of a part that it could not open.
    fn declared_encoding(&self) -> Encoding {
        self.fields().get(Name::ContentTransferEncoding).map_or(Encoding::SevenBit, |value| param::encoding(&unfold(value)))
    }

    fn encode(&self, body: &[u8]) -> Result<Content, NotConvertible> {
        // A multipart without delimiters has a part without a header, which can say nothing; the last part there may be can hold others.
        if self.part.header.is_empty() || self.last_possible {
            return Err(NotConvertible::Part);
        }
        let declared = self.fields().get(Name::ContentType).and_then(|value| param::content_type(&unfold(value)));
        let (media_type, subtype) = declared.map_or((b"text".to_vec(), b"plain".to_vec()), |d| (d.media_type, d.subtype));
        // RFC 2046 5.2, RFC 6533: of the messages that are leaves only the international ones may be encoded.
        let international = subtype.get(..7).is_some_and(|s| s.eq_ignore_ascii_case(b"global-"));
        let container = media_type.eq_ignore_ascii_case(b"multipart") || media_type.eq_ignore_ascii_case(b"message") && !international;
        if container {
            return Err(NotConvertible::Part);
        }
        // Broken base64 or quoted-printable is encoded as what its readers make of it.
        let decoded = decode(&self.declared_encoding(), body).ok_or(NotConvertible::Part)?;
        let text = media_type.eq_ignore_ascii_case(b"text") || international;
        Ok(if text { Content::QuotedPrintable(decoded) } else { Content::Base64(decoded) })
    }

    /// The header with its Content-Transfer-Encoding replaced, and a Content-Type with this charset added.
    fn write_header(&self, encoding: Option<&str>, charset: Option<&str>, out: &mut impl Write) -> Result<(), NotConvertible> {
        let header = slice(self.message, self.part.header);
        let Some(encoding) = encoding else { return Ok(out.write_all(header)?) };
        let fields = self.fields();
        let mut line = Some(format!("Content-Transfer-Encoding: {encoding}\r\n"));
        let mut at = self.part.header.start;
        let mut has_version = false;
        for field in &fields.fields {
            let name = name(self.message, field);
            has_version |= name.eq_ignore_ascii_case(b"mime-version") && !value(self.message, field).is_empty();
            if Name::of(name) == Some(Name::ContentTransferEncoding) {
                out.write_all(slice(self.message, Span { start: at, end: field.span.start }))?;
                // Of several the first has counted, and is the only one now.
                out.write_all(line.take().unwrap_or_default().as_bytes())?;
                at = field.span.end;
            }
        }
        let rest = slice(self.message, Span { start: at, end: self.part.header.end });
        let mut added = line.unwrap_or_default();
        if let Some(charset) = charset {
            added.push_str(&format!("Content-Type: text/plain; charset={charset}\r\n"));
        }
        if self.is_root && !has_version && encoding != "7bit" {
            added.push_str("MIME-Version: 1.0\r\n");
        }
        if added.is_empty() {
            return Ok(out.write_all(rest)?);
        }
        // In front of the empty line, which is there when there is a body.
        let fields = if rest.ends_with(b"\r\n\r\n") || rest == b"\r\n" { rest.strip_suffix(b"\r\n") } else { None };
        let fields = fields.ok_or(NotConvertible::Header)?;
        out.write_all(fields)?;
        out.write_all(added.as_bytes())?;
        Ok(out.write_all(b"\r\n")?)
    }
}

/// RFC 2045 2.7, with CRLF as the only line end.
fn is_seven_bit(body: &[u8]) -> bool {
    body.iter().all(|b| b.is_ascii() && *b != 0) && !has_stray_ends(body) && lines_are_short(body)
}

fn lines_are_short(body: &[u8]) -> bool {
    let mut start = 0;
    for end in memmem::find_iter(body, b"\r\n").chain([body.len()]) {
        if end.saturating_sub(start) > MAX_LINE {
            return false;
        }
        start = end.saturating_add(2);
    }
    true
}

fn has_stray_ends(text: &[u8]) -> bool {
    let mut before = 0;
    for byte in text.iter().copied().chain([b' ']) {
        if (byte == b'\n') != (before == b'\r') {
            return true;
        }
        before = byte;
    }
    false
}

/// RFC 2045 6.7, for text: CRLF stays, everything else that is not printable is encoded, lone CR and LF among it.
fn quoted_printable(mut text: &[u8], out: &mut impl Write) -> io::Result<()> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut line: Vec<u8> = Vec::with_capacity(ENCODED_LINE + 2);
    let mut continued = false;
    while let Some((byte, rest)) = text.split_first() {
        if let Some(after) = text.strip_prefix(b"\r\n") {
            line.extend_from_slice(b"\r\n");
            out.write_all(&line)?;
            line.clear();
            continued = false;
            text = after;
            continue;
        }
        let ends = rest.is_empty() || rest.starts_with(b"\r\n");
        let plain = match byte {
            b' ' | b'\t' => !ends,
            // A line that begins where the text had no line end must not look like a delimiter.
            b'-' => !(continued && line.is_empty()),
            b'=' => false,
            _ => matches!(byte, b'!'..=b'~'),
        };
        let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
        let encoded = [b'=', digit(byte >> 4), digit(byte & 15)];
        let piece = if plain { std::slice::from_ref(byte) } else { encoded.as_slice() };
        // The last column is for the `=` of a soft line break, unless the line ends here.
        let room = if ends { ENCODED_LINE } else { ENCODED_LINE - 1 };
        if line.len() + piece.len() > room {
            line.extend_from_slice(b"=\r\n");
            out.write_all(&line)?;
            line.clear();
            continued = true;
            // Again, since it is at the start of a line now.
            continue;
        }
        line.extend_from_slice(piece);
        text = rest;
    }
    out.write_all(&line)
}

/// RFC 2045 6.8, without a line end behind the last line.
fn base64(content: &[u8], out: &mut impl Write) -> io::Result<()> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (number, chunk) in content.chunks(BASE64_LINE).enumerate() {
        let mut line: Vec<u8> = Vec::with_capacity(ENCODED_LINE + 2);
        if number > 0 {
            line.extend_from_slice(b"\r\n");
        }
        for group in chunk.chunks(3) {
            let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for place in 0..4usize {
                let letter = ALPHABET.get(usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0)).copied().unwrap_or(b'A');
                line.push(if place <= group.len() { letter } else { b'=' });
            }
        }
        out.write_all(&line)?;
    }
    Ok(())
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
