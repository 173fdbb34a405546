//! Header sections: where they end, which fields they have (RFC 5322 2.2), and unfolding.
//!
//! A header ends at its first empty line, at a delimiter of a multipart around it, or with the message. A line that is no field
//! (no colon, or something else than printable ASCII before it) is skipped together with its continuation lines; it ends nothing, so
//! no reader finds a field behind it that this one did not see. White space before the colon is allowed (RFC 5322 4.5.8).

use crate::limits::MAX_VALUE;
use memchr::memchr;
use pure_index::{Field, Span};
use std::borrow::Cow;

/// The fields that mean something to this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Bcc,
    Cc,
    ContentDescription,
    ContentDisposition,
    ContentId,
    ContentLanguage,
    ContentLocation,
    ContentMd5,
    ContentTransferEncoding,
    ContentType,
    Date,
    DeliveredTo,
    From,
    InReplyTo,
    MessageId,
    Received,
    References,
    ReplyTo,
    ResentFrom,
    ResentSender,
    Sender,
    Subject,
    TlsRequired,
    To,
}

const NAMES: [(&[u8], Name); 24] = [
    (b"bcc", Name::Bcc),
    (b"cc", Name::Cc),
    (b"content-description", Name::ContentDescription),
    (b"content-disposition", Name::ContentDisposition),
    (b"content-id", Name::ContentId),
    (b"content-language", Name::ContentLanguage),
    (b"content-location", Name::ContentLocation),
    (b"content-md5", Name::ContentMd5),
    (b"content-transfer-encoding", Name::ContentTransferEncoding),
    (b"content-type", Name::ContentType),
    (b"date", Name::Date),
    (b"delivered-to", Name::DeliveredTo),
    (b"from", Name::From),
    (b"in-reply-to", Name::InReplyTo),
    (b"message-id", Name::MessageId),
    (b"received", Name::Received),
    (b"references", Name::References),
    (b"reply-to", Name::ReplyTo),
    (b"resent-from", Name::ResentFrom),
    (b"resent-sender", Name::ResentSender),
    (b"sender", Name::Sender),
    (b"subject", Name::Subject),
    (b"tls-required", Name::TlsRequired),
    (b"to", Name::To),
];

impl Name {
    /// Field names ignore case (RFC 5322 1.2.2).
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, name)| *name)
    }
}

/// One header section.
#[derive(Debug, Default)]
pub(crate) struct Header<'a> {
    pub(crate) span: Span,
    pub(crate) fields: Vec<Field>,
    /// More fields than may be indexed.
    pub(crate) overflow: bool,
    /// The first field of each known name. Duplicates of what may stand once are not looked at by anyone.
    first: [Option<&'a [u8]>; NAMES.len()],
}

impl<'a> Header<'a> {
    /// The raw value of the first field of this name, as far as values are read.
    pub(crate) fn get(&self, name: Name) -> Option<&'a [u8]> {
        self.first.get(name as usize).copied().flatten()
    }

    /// Reads the header that starts at `start`, keeping at most `max_fields` fields. `ends` says whether a line that begins with `--`
    /// is a delimiter of a multipart around it.
    pub(crate) fn read(message: &'a [u8], start: usize, max_fields: usize, ends: impl Fn(&[u8]) -> bool) -> Self {
        let mut header = Self::default();
        // Start and length of the name of the field that may go on.
        let mut current: Option<(usize, usize)> = None;
        let mut at = start;
        let end = loop {
            let rest = message.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break at;
            }
            let length = memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
            let line = chomp(rest.get(..length).unwrap_or_default());
            match line.first() {
                None => {
                    header.push(message, current.take(), at, max_fields);
                    break at + length;
                }
                Some(b' ' | b'\t') => {}
                Some(b'-') if line.starts_with(b"--") && ends(line) => break at,
                Some(_) => {
                    header.push(message, current.take(), at, max_fields);
                    current = name_length(line).map(|n| (at, n));
                }
            }
            at += length;
        };
        header.push(message, current, end, max_fields);
        header.span = Span { start: offset(start), end: offset(end) };
        header
    }

    fn push(&mut self, message: &'a [u8], field: Option<(usize, usize)>, end: usize, max_fields: usize) {
        let Some((start, name_length)) = field else { return };
        let field =
            Field { span: Span { start: offset(start), end: offset(end) }, name_len: u16::try_from(name_length).unwrap_or(u16::MAX) };
        let name = message.get(start..start + name_length).unwrap_or_default();
        if let Some(first) = Name::of(name).and_then(|known| self.first.get_mut(known as usize)) {
            first.get_or_insert_with(|| value(message, &field));
        }
        if self.fields.len() < max_fields {
            self.fields.push(field);
        } else {
            self.overflow = true;
        }
    }
}

/// Bytes of a field name at the start of a line: printable ASCII but the colon (RFC 5322 2.2), white space, a colon.
fn name_length(line: &[u8]) -> Option<usize> {
    let length = line.iter().position(|b| !matches!(b, b'!'..=b'9' | b';'..=b'~'))?;
    let after = line.get(length..)?.iter().find(|b| !matches!(b, b' ' | b'\t'));
    (length > 0 && length <= usize::from(u16::MAX) && after == Some(&b':')).then_some(length)
}

/// The name of an indexed field.
pub fn name<'a>(message: &'a [u8], field: &Field) -> &'a [u8] {
    let whole = slice(message, field.span);
    whole.get(..usize::from(field.name_len)).unwrap_or(whole)
}

/// The raw value of an indexed field, what follows the colon with all its line breaks, at most [`MAX_VALUE`] bytes.
pub fn value<'a>(message: &'a [u8], field: &Field) -> &'a [u8] {
    let after = slice(message, field.span).get(usize::from(field.name_len)..).unwrap_or_default();
    let value = memchr(b':', after).and_then(|colon| after.get(colon + 1..)).unwrap_or_default();
    value.get(..MAX_VALUE).unwrap_or(value)
}

/// Removes line breaks (RFC 5322 2.2.3) and white space at the ends. A lone CR or NUL becomes a blank, so that the result can stand in a line.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = crate::cursor::trim(value);
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => {}
            b'\r' if bytes.peek() == Some(&b'\n') => {}
            b'\r' | 0 => out.push(b' '),
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}

/// Whether a value holds control characters beside tabs and line breaks; [`unfold`] would hide some of them.
pub(crate) fn has_stray_controls(value: &[u8]) -> bool {
    let mut bytes = value.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\t' | b'\n' => {}
            b'\r' if bytes.peek() == Some(&&b'\n') => {}
            _ if byte.is_ascii_control() => return true,
            _ => {}
        }
    }
    false
}

/// Whether there is a CR that no LF follows, or a NUL.
pub(crate) fn has_stray_line_ends(header: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', 0, header).any(|at| header.get(at..at.saturating_add(2)) != Some(b"\r\n"))
}

/// A line without its line break. A bare LF ends a line as CRLF does: messages that did not come by SMTP may have it.
pub(crate) fn chomp(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The bytes of a span.
pub fn slice(message: &[u8], span: Span) -> &[u8] {
    let range = usize::try_from(span.start).unwrap_or(usize::MAX)..usize::try_from(span.end).unwrap_or(usize::MAX);
    message.get(range).unwrap_or_default()
}

/// Messages are cut to what offsets can count before anything is read.
pub(crate) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &[u8]) -> Vec<(String, String)> {
        let header = Header::read(message, 0, 100, |_| false);
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        header.fields.iter().map(|f| (text(name(message, f)), text(&unfold(value(message, f))))).collect()
    }

    #[test]
    fn names_stand_in_the_order_of_the_enum() {
        assert!(NAMES.iter().enumerate().all(|(i, (_, name))| *name as usize == i));
    }

    #[test]
    fn fields_and_folding() {
        let message = b"From: a\r\nSubject : one\r\n two\r\n\tthree\r\nEmpty:\r\nX:y\r\n\r\nFrom: body\r\n";
        let expected = [("From", "a"), ("Subject", "one two\tthree"), ("Empty", ""), ("X", "y")];
        assert_eq!(fields(message), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        let header = Header::read(message, 0, 100, |_| false);
        assert_eq!(slice(message, header.span).len(), message.len() - 12);
        assert_eq!(slice(message, header.fields[1].span), b"Subject : one\r\n two\r\n\tthree\r\n");
        assert_eq!(header.fields[1].name_len, 7);
    }

    #[test]
    fn what_is_no_field_is_skipped_and_ends_nothing() {
        let message = b" leading: x\nA: 1\nno colon here\n continued: 2\nB: 3\nn\xc3\xa4me: 4\n: 5\nC: 6";
        assert_eq!(fields(message).iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["A", "B", "C"]);
    }

    #[test]
    fn a_blank_line_of_white_space_continues_the_field() {
        assert_eq!(fields(b"A: 1\r\n \r\n 2\r\nB: 3\r\n\r\nx"), [("A".into(), "1  2".into()), ("B".into(), "3".into())]);
    }

    #[test]
    fn the_first_of_a_name_wins_and_more_fields_than_allowed_are_noticed() {
        let message = b"Subject: one\r\nsubject: two\r\nFrom: x\r\n\r\n";
        let header = Header::read(message, 0, 2, |_| false);
        assert_eq!(header.get(Name::Subject), Some(&b" one\r\n"[..]));
        assert_eq!(header.get(Name::From), Some(&b" x\r\n"[..]));
        assert!(header.overflow && header.fields.len() == 2);
    }

    #[test]
    fn a_delimiter_ends_a_header() {
        let message = b"A: 1\r\n--b\r\nB: 2\r\n";
        let header = Header::read(message, 0, 9, |line| line == b"--b");
        assert_eq!((header.span.end, header.fields.len()), (6, 1));
    }

    #[test]
    fn unfolding_leaves_no_control_that_ends_a_line() {
        assert_eq!(&*unfold(b" a\r\n b\rc\0d\n e \r\n"), b"a b c d e");
    }
}
