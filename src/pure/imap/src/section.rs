//! Where the bytes of `BODY[...]` and `BINARY[...]` lie in a message.

use crate::Partial;
use pure_index::{Encoding, Part, PartKind, Span, Structure};

/// What stands between the brackets of `BODY[...]` (RFC 9051 6.4.5.1 and 9 section-spec).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// Part numbers; empty for the message itself.
    pub path: Vec<u32>,
    /// What of it; none for its content.
    pub text: Option<SectionText>,
}

/// `section-text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionText {
    /// `HEADER`.
    Header,
    /// `TEXT`.
    Text,
    /// `MIME`.
    Mime,
    /// `HEADER.FIELDS` and `HEADER.FIELDS.NOT`.
    Fields {
        /// All but those.
        not: bool,
        /// As the client wrote them.
        names: Vec<String>,
    },
}

/// One piece of a section's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the message.
    Message(Span),
    /// An empty line that ends a selection of header fields.
    EmptyLine(Span),
}

impl Piece {
    fn span(self) -> Span {
        match self {
            Self::Message(span) | Self::EmptyLine(span) => span,
        }
    }

    fn cut(self, from: u32, to: u32) -> Self {
        let span = self.span();
        let cut = Span { start: span.start.saturating_add(from), end: span.start.saturating_add(to) };
        match self {
            Self::Message(_) => Self::Message(cut),
            Self::EmptyLine(_) => Self::EmptyLine(cut),
        }
    }
}

/// The content of a section: pieces in order. Those of [`Piece::EmptyLine`] are offsets into a CRLF.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content(pub Vec<Piece>);

impl Content {
    fn one(span: Span) -> Self {
        Self(vec![Piece::Message(span)])
    }

    /// Bytes of it.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|piece| u64::from(piece.span().len())).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// RFC 9051 6.4.5: the bytes of a partial, fewer or none when it goes beyond the end.
    pub fn slice(&self, partial: Partial) -> Self {
        let (from, to) = (u64::from(partial.start), u64::from(partial.start) + u64::from(partial.len));
        let mut at = 0u64;
        let mut out = vec![];
        for piece in &self.0 {
            let len = piece.span().len();
            let end = at + u64::from(len);
            let (a, b) = (from.clamp(at, end) - at, to.clamp(at, end) - at);
            if let (Ok(a), Ok(b)) = (u32::try_from(a), u32::try_from(b))
                && a < b
            {
                out.push(piece.cut(a, b));
            }
            at = end;
        }
        Self(out)
    }
}

/// The part that a path names, and whether the path stands for the message itself (RFC 9051 6.4.5.1):
/// * numbers count the parts of a multipart from 1;
/// * a message that is no multipart has exactly the part 1, its content;
/// * below a message/rfc822 part the numbers count the parts of the message inside it.
fn part(structure: &Structure, path: &[u32]) -> Option<usize> {
    let mut at = 0usize;
    // Whether the next number looks into the message whose root is `at`, rather than into the part `at`.
    let mut at_message = true;
    for number in path {
        let mut current = structure.parts().get(at)?;
        if !at_message && current.kind == PartKind::Message {
            at = structure.children(at).next()?.0;
            current = structure.parts().get(at)?;
            at_message = true;
        }
        if current.kind == PartKind::Multipart {
            let index = usize::try_from(*number).ok()?.checked_sub(1)?;
            at = structure.children(at).nth(index)?.0;
        } else if !at_message || *number != 1 {
            return None;
        }
        at_message = false;
    }
    Some(at)
}

/// The root of the message that HEADER and TEXT speak of: the message itself, or the one inside a message/rfc822 part.
fn message_root<'s>(structure: &'s Structure, path: &[u32]) -> Option<&'s Part> {
    if path.is_empty() {
        return structure.root();
    }
    let at = part(structure, path)?;
    structure.parts().get(at).filter(|part| part.kind == PartKind::Message)?;
    structure.children(at).next().map(|(_, part)| part)
}

/// Where the content of a section lies. None when there is no such part: the answer is NIL.
///
/// `name_of` gives the name of a header field's bytes; it is asked only for HEADER.FIELDS.
pub fn resolve<'m>(structure: &Structure, section: &Section, header_bytes: impl Fn(Span) -> Option<&'m [u8]>) -> Option<Content> {
    match &section.text {
        None if section.path.is_empty() => {
            let root = structure.root()?;
            Some(Content::one(Span { start: root.header.start, end: root.body.end }))
        }
        None => structure.parts().get(part(structure, &section.path)?).map(|part| Content::one(part.body)),
        Some(SectionText::Mime) => structure.parts().get(part(structure, &section.path)?).map(|part| Content::one(part.header)),
        Some(SectionText::Header) => message_root(structure, &section.path).map(|root| Content::one(root.header)),
        Some(SectionText::Text) => message_root(structure, &section.path).map(|root| Content::one(root.body)),
        Some(SectionText::Fields { not, names }) => {
            let root = message_root(structure, &section.path)?;
            Some(fields(root, *not, names, header_bytes))
        }
    }
}

/// The header that must be read before [`resolve`] can answer: only HEADER.FIELDS needs one.
pub fn header_needed(structure: &Structure, section: &Section) -> Option<Span> {
    match &section.text {
        Some(SectionText::Fields { .. }) => message_root(structure, &section.path).map(|root| root.header),
        _ => None,
    }
}

/// The fields whose names match, in the order of the message, and an empty line (RFC 9051 6.4.5.1).
fn fields<'m>(root: &Part, not: bool, names: &[String], header_bytes: impl Fn(Span) -> Option<&'m [u8]>) -> Content {
    let mut out: Vec<Piece> = vec![];
    for field in &root.fields {
        let name = Span { start: field.span.start, end: field.span.start.saturating_add(u32::from(field.name_len)) };
        let Some(bytes) = header_bytes(name) else { continue };
        if names.iter().any(|wanted| wanted.as_bytes().eq_ignore_ascii_case(bytes)) == not {
            continue;
        }
        match out.last_mut() {
            Some(Piece::Message(last)) if last.end == field.span.start => last.end = field.span.end,
            _ => out.push(Piece::Message(field.span)),
        }
    }
    out.push(Piece::EmptyLine(Span { start: 0, end: 2 }));
    Content(out)
}

/// A part that BINARY can give (RFC 9051 6.4.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinaryPart<'s> {
    /// Its content as stored.
    pub span: Span,
    /// How it is encoded; [`Encoding::Other`] is answered NO [UNKNOWN-CTE].
    pub encoding: &'s Encoding,
}

/// The bytes of `BINARY[path]`; none when there is no such part. A multipart or a whole message is given as it is.
pub fn resolve_binary<'s>(structure: &'s Structure, path: &[u32]) -> Option<BinaryPart<'s>> {
    let root = structure.root()?;
    if path.is_empty() {
        return Some(BinaryPart { span: Span { start: root.header.start, end: root.body.end }, encoding: &Encoding::Binary });
    }
    let part = structure.parts().get(part(structure, path)?)?;
    let encoding = if part.kind == PartKind::Leaf { &part.encoding } else { &Encoding::Binary };
    Some(BinaryPart { span: part.body, encoding })
}

#[cfg(test)]
mod tests;
