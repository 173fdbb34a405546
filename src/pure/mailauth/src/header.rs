//! The fields of a message's header, as they stand there, and their canonical forms (RFC 6376 3.4).

use pure_dkim::relax;
use pure_index::{MessageIndex, Span};
use std::collections::HashMap;

/// One form of canonicalization (RFC 6376 3.4).
pub(crate) use pure_dkim::Form;

/// One field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) span: Span,
    /// As it is written, without white space behind it.
    pub(crate) name: &'a [u8],
    /// What follows the colon, line ends included.
    pub(crate) value: &'a [u8],
    whole: &'a [u8],
}

impl Field<'_> {
    /// With the CRLF at its end.
    pub(crate) fn canonical(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Simple => self.whole.to_vec(),
            Form::Relaxed => relaxed(self.name, self.value),
        }
    }

    /// Without the value of its tag `b=` and without the CRLF at its end: what a signature says of itself (RFC 6376 3.7).
    pub(crate) fn unsigned(&self, form: Form) -> Vec<u8> {
        let value = without_signature(self.value);
        let mut out = match form {
            Form::Simple => {
                let head = self.whole.len().saturating_sub(self.value.len());
                [self.whole.get(..head).unwrap_or_default(), &value].concat()
            }
            Form::Relaxed => relaxed(self.name, &value),
        };
        if out.ends_with(b"\r\n") {
            out.truncate(out.len().saturating_sub(2));
        }
        out
    }
}

/// RFC 6376 3.4.2.
fn relaxed(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&name.to_ascii_lowercase()[..], b":", &relax(value), b"\r\n"].concat()
}

/// RFC 6376 3.5: the value of `b=` counts as the empty string, and the white space around it goes with it.
fn without_signature(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for (number, part) in value.split(|b| *b == b';').enumerate() {
        if number > 0 {
            out.push(b';');
        }
        let equals = memchr::memchr(b'=', part);
        let name = equals.and_then(|at| part.get(..at)).unwrap_or_default().trim_ascii();
        match equals {
            Some(at) if name == b"b" => out.extend_from_slice(part.get(..=at).unwrap_or(part)),
            _ => out.extend_from_slice(part),
        }
    }
    out
}

/// All fields of a message's own header, as far as they are indexed.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    fields: Vec<Field<'a>>,
    /// By name in lower case: positions, the last one first (RFC 6376 5.4.2).
    by_name: HashMap<Vec<u8>, Vec<usize>>,
}

impl<'a> Header<'a> {
    pub(crate) fn of(message: &'a [u8], index: &MessageIndex) -> Self {
        let mut fields = Vec::new();
        for field in index.structure.root().map(|root| root.fields.as_slice()).unwrap_or_default() {
            let (start, end) = (to_usize(field.span.start), to_usize(field.span.end));
            let whole = message.get(start..end).unwrap_or_default();
            let (name, rest) = whole.split_at_checked(usize::from(field.name_len)).unwrap_or_default();
            let colon = memchr::memchr(b':', rest).map_or(rest.len(), |at| at.saturating_add(1));
            fields.push(Field { span: field.span, name, value: rest.get(colon..).unwrap_or_default(), whole });
        }
        let mut by_name: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (at, field) in fields.iter().enumerate().rev() {
            by_name.entry(field.name.to_ascii_lowercase()).or_default().push(at);
        }
        Self { fields, by_name }
    }

    pub(crate) fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The fields of this name, first to last.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Field<'a>> {
        let places = self.by_name.get(name.as_bytes()).map(Vec::as_slice).unwrap_or_default();
        places.iter().rev().filter_map(|at| self.fields.get(*at))
    }

    /// The instance of a name in lower case, counted from the last (RFC 6376 5.4.2).
    pub(crate) fn instance(&self, name: &str, number: usize) -> Option<&Field<'a>> {
        self.fields.get(*self.by_name.get(name.as_bytes())?.get(number)?)
    }
}

fn to_usize(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_taken_out_and_nothing_else() {
        for (value, expected) in [
            (&b" v=1; b=abc; bh=b=x"[..], &b" v=1; b=; bh=b=x"[..]),
            (b"b=abc", b"b="),
            (b" b\r\n = a\r\n b\r\n", b" b\r\n ="),
            (b" bh=x; bb=y", b" bh=x; bb=y"),
            (b"", b""),
        ] {
            assert_eq!(without_signature(value), expected);
        }
    }

    /// RFC 6376 3.4.5.
    #[test]
    fn canonical_forms() {
        let message = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\n";
        let index = pure_mime::index(message);
        let header = Header::of(message, &index);
        let all = |form| header.fields().iter().flat_map(|f| f.canonical(form)).collect::<Vec<u8>>();
        assert_eq!(all(Form::Relaxed), b"a:X\r\nb:Y Z\r\n");
        assert_eq!(all(Form::Simple), b"A: X\r\nB : Y\t\r\n\tZ  \r\n");
    }

    #[test]
    fn fields_are_counted_from_the_last() {
        let message = b"X: 1\r\nx: 2\r\nY: 3\r\nX: 4\r\n\r\n";
        let index = pure_mime::index(message);
        let header = Header::of(message, &index);
        let value = |at| header.instance("x", at).map(|f| f.value.trim_ascii());
        assert_eq!((value(0), value(1), value(2), value(3)), (Some(&b"4"[..]), Some(&b"2"[..]), Some(&b"1"[..]), None));
        assert_eq!(header.named("x").count(), 3);
        assert!(header.instance("z", 0).is_none());
    }
}
