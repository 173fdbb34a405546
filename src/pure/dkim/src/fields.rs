//! What a signature is to cover (RFC 6376 5.4): the fields of a message that people and programs act on.

use crate::{Field, is_name, limits, relax};
use memchr::{memchr, memmem};

/// Signed when present, and signed once more as absent, so that nobody can add one (RFC 6376 8.15, attack case DKIM-02).
const OVERSIGNED: [&str; 10] =
    ["from", "reply-to", "to", "cc", "subject", "date", "message-id", "mime-version", "content-type", "content-transfer-encoding"];
/// Signed when present.
const SIGNED: [&str; 3] = ["sender", "in-reply-to", "references"];
/// Whole families that are signed when present: RFC 2369, RFC 2919, RFC 8058 (one-click unsubscription must be signed), RFC 5322 3.6.6.
const FAMILIES: [&str; 2] = ["list-", "resent-"];

/// Why a message cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsignable {
    /// A lone CR or LF, or a NUL, in the header: readers would not agree what it says.
    #[error("its header has a lone CR or LF or a NUL")]
    Controls,
    /// The fields in front are not whole fields.
    #[error("what stands in front is no header field")]
    Prefix,
    /// RFC 5322 3.6 wants one.
    #[error("it does not have exactly one From")]
    From,
    /// More or longer than [`limits`] allow.
    #[error("its header is too large")]
    TooLarge,
}

/// A message's header and its body (RFC 5322 2.1). The empty line between them belongs to neither.
pub fn split(message: &[u8]) -> (&[u8], &[u8]) {
    if let Some(body) = message.strip_prefix(b"\r\n") {
        return (&[], body);
    }
    match memmem::find(message, b"\r\n\r\n") {
        Some(at) => (message.get(..at.saturating_add(2)).unwrap_or_default(), message.get(at.saturating_add(4)..).unwrap_or_default()),
        None => (message, &[]),
    }
}

/// The entries of `h=` for a message with this header when the fields of `prefix`, each ended by CRLF, stand in front of it. For each name
/// the last instance comes first (RFC 6376 5.4.2).
pub fn to_sign(prefix: &[u8], header: &[u8]) -> Result<Vec<Field>, Unsignable> {
    if prefix.len().saturating_add(header.len()) > limits::MAX_HEADER {
        return Err(Unsignable::TooLarge);
    }
    if !prefix.is_empty() && (!prefix.ends_with(b"\r\n") || prefix.starts_with(b"\r\n") || memmem::find(prefix, b"\r\n\r\n").is_some()) {
        return Err(Unsignable::Prefix);
    }
    // One text: a message that begins with white space continues the last field in front of it, for everybody who reads it.
    let whole = [prefix, header].concat();
    if has_stray_controls(&whole) {
        return Err(Unsignable::Controls);
    }
    let present = present(&whole);
    if present.iter().filter(|(name, _)| name == "from").count() != 1 {
        return Err(Unsignable::From);
    }
    let mut out = Chosen::default();
    for name in OVERSIGNED {
        out.all(&present, |found| found == name)?;
        out.push(Field { name: name.to_owned(), value: None })?;
    }
    out.all(&present, |found| SIGNED.contains(&found))?;
    out.all(&present, |found| FAMILIES.iter().any(|family| found.starts_with(family)))?;
    Ok(out.fields)
}

#[derive(Default)]
struct Chosen {
    fields: Vec<Field>,
    bytes: usize,
}

impl Chosen {
    fn all(&mut self, present: &[(String, &[u8])], wanted: impl Fn(&str) -> bool) -> Result<(), Unsignable> {
        for (name, value) in present.iter().rev().filter(|(name, _)| wanted(name)) {
            self.push(Field { name: name.clone(), value: Some(relax(value)) })?;
        }
        Ok(())
    }

    fn push(&mut self, field: Field) -> Result<(), Unsignable> {
        self.bytes = self.bytes.saturating_add(field.value.as_ref().map_or(0, Vec::len));
        if self.fields.len() >= limits::MAX_FIELDS || self.bytes > limits::MAX_VALUES {
            return Err(Unsignable::TooLarge);
        }
        self.fields.push(field);
        Ok(())
    }
}

/// The fields whose names can be signed: lower-case name, and value with its line breaks. A line that is no field is left out together
/// with its continuation lines.
fn present(header: &[u8]) -> Vec<(String, &[u8])> {
    let mut out = Vec::new();
    let mut rest = header;
    while !rest.is_empty() {
        let (field, after) = rest.split_at_checked(field_length(rest)).unwrap_or((rest, &[]));
        rest = after;
        let Some(colon) = memchr(b':', field) else { continue };
        let (name, value) = field.split_at_checked(colon).unwrap_or_default();
        // RFC 5322 4.5.8: white space before the colon; RFC 6376 3.4.2 takes it out.
        let name = String::from_utf8_lossy(name).trim_end_matches([' ', '\t']).to_ascii_lowercase();
        if is_name(&name) {
            out.push((name, value.get(1..).unwrap_or_default()));
        }
    }
    out
}

/// Bytes of the line at the start and of the lines that continue it.
fn field_length(header: &[u8]) -> usize {
    let ends = memchr::memchr_iter(b'\n', header).map(|at| at.saturating_add(1));
    let mut ends = ends.filter(|end| !matches!(header.get(*end), Some(b' ' | b'\t')));
    ends.next().unwrap_or(header.len())
}

/// Whether there is a CR or LF without the other, or a NUL (RFC 5322 2.2): BINARYMIME (RFC 3030 3) lets them through.
pub fn has_stray_controls(header: &[u8]) -> bool {
    let mut before = 0;
    for byte in header.iter().copied().chain([b' ']) {
        if byte == 0 || (byte == b'\n') != (before == b'\r') {
            return true;
        }
        before = byte;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(prefix: &str, header: &str) -> Result<Vec<String>, Unsignable> {
        let text = |f: &Field| match &f.value {
            Some(value) => format!("{}:{}", f.name, String::from_utf8_lossy(value)),
            None => f.name.clone(),
        };
        Ok(to_sign(prefix.as_bytes(), header.as_bytes())?.iter().map(text).collect())
    }

    /// Attack case DKIM-02: what may stand once is signed once more as absent, also when there is none.
    #[test]
    fn what_people_see_is_signed_and_oversigned() {
        let fields = shown("", "From: a@x.test\r\nX-Other: 1\r\nSubject : one\r\nsubject:two\r\n\tthree\r\n").unwrap();
        let expected = [
            "from:a@x.test",
            "from",
            "reply-to",
            "to",
            "cc",
            "subject:two three",
            "subject:one",
            "subject",
            "date",
            "message-id",
            "mime-version",
            "content-type",
            "content-transfer-encoding",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn families_are_signed_last_instance_first() {
        let header = "Received: x\r\nList-Unsubscribe: <https://x.test/>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
            Resent-From: r@x.test\r\nSender: s@x.test\r\nFROM: a@x.test\r\nReferences: <1@x>\r\nDKIM-Signature: v=1\r\n";
        let fields = shown("List-Id: <l.x.test>\r\n", header).unwrap();
        let expected = [
            "references:<1@x>",
            "sender:s@x.test",
            "resent-from:r@x.test",
            "list-unsubscribe-post:List-Unsubscribe=One-Click",
            "list-unsubscribe:<https://x.test/>",
            "list-id:<l.x.test>",
        ];
        assert_eq!(fields[11..], expected);
    }

    #[test]
    fn the_prefix_counts_and_may_be_continued() {
        let fields = shown("Date: now\r\n", " and then\r\nFrom: a@x.test\r\n").unwrap();
        assert!(fields.contains(&"date:now and then".to_owned()), "{fields:?}");
        for prefix in ["Date: now", "\r\nDate: now\r\n", "Date: now\r\n\r\nX: y\r\n", "\r\n"] {
            assert_eq!(shown(prefix, "From: a@x.test\r\n"), Err(Unsignable::Prefix), "{prefix:?}");
        }
        assert_eq!(shown("From: b@x.test\r\n", "From: a@x.test\r\n"), Err(Unsignable::From));
    }

    #[test]
    fn what_cannot_be_signed() {
        assert_eq!(shown("", "To: a@x.test\r\n"), Err(Unsignable::From));
        assert_eq!(shown("", "From: a\r\nfrom : b\r\n"), Err(Unsignable::From));
        for header in ["From: a\nTo: b\r\n", "From: a\rb\r\n", "From: a\0\r\n", "From: a\r\n\nx", "From: a\r"] {
            assert_eq!(shown("", header), Err(Unsignable::Controls), "{header:?}");
        }
        let many = format!("From: a\r\n{}", "List-X: y\r\n".repeat(limits::MAX_FIELDS));
        assert_eq!(shown("", &many), Err(Unsignable::TooLarge));
        assert_eq!(shown("", &format!("From: a\r\nTo: {}\r\n", "x".repeat(limits::MAX_VALUES))), Err(Unsignable::TooLarge));
        assert_eq!(shown("", &format!("From: a\r\nX: {}\r\n", "x".repeat(limits::MAX_HEADER))), Err(Unsignable::TooLarge));
    }

    #[test]
    fn names_that_would_break_the_tag_list_are_not_signed() {
        let header =
            format!("From: a\r\nList-;d=evil.test: x\r\nList-\u{e4}: x\r\nno field\r\n at all: x\r\nList-{}: x\r\n", "x".repeat(78));
        assert!(shown("", &header).unwrap().iter().all(|f| !f.starts_with("list-")));
    }

    #[test]
    fn messages_are_split_at_the_first_empty_line() {
        assert_eq!(split(b"A: b\r\n\r\nx\r\n\r\ny"), (&b"A: b\r\n"[..], &b"x\r\n\r\ny"[..]));
        assert_eq!(split(b"\r\nx"), (&b""[..], &b"x"[..]));
        assert_eq!(split(b"A: b\r\n"), (&b"A: b\r\n"[..], &b""[..]));
        assert_eq!(split(b"A: b\r\n\r\n"), (&b"A: b\r\n"[..], &b""[..]));
    }
}
