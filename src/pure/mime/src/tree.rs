//! The tree of parts (RFC 2046), found in one pass from the first byte to the last.
//!
//! * Open parts stand on a stack of at most [`MAX_DEPTH`] + 1 entries; nothing recurses.
//! * A delimiter is a line of `--`, the boundary and white space (RFC 2046 5.1.1); the innermost multipart that is still open and has this
//!   boundary takes it, and everything inside that one ends there. So a delimiter of a multipart further out ends all parts that
//!   were left open, and what follows a close delimiter (the epilogue) is no part. The line break before a delimiter belongs to it,
//!   unless it ends the header of the part before.
//! * A multipart in which no delimiter was found has one part: text/plain, all of its body. So every multipart has a part, as
//!   BODYSTRUCTURE needs, and people see what is in it.
//! * message/rfc822 and message/global are opened when their encoding is an identity (RFC 2046 5.2.1, RFC 6532 3.7).
//! * A part that is declared to contain parts but is not opened (depth, number, encoding) is a leaf of type application/octet-stream.
//!   Delimiters that would start a part beyond [`MAX_PARTS`] are not honoured; the last part, then application/octet-stream too, goes on.

use crate::{
    envelope::{self, Budget},
    header::{Header, Name, chomp, offset, slice, unfold},
    limits::MAX_TOTAL_FIELDS,
    param,
};
use memchr::{memchr, memchr_iter, memmem};
use pure_index::{Disposition, Encoding, Envelope, MAX_DEPTH, MAX_FIELDS, MAX_PARTS, Part, PartKind, Span};
use serde_bytes::ByteBuf;

/// What was found in one message.
pub(crate) struct Tree<'a> {
    pub(crate) parts: Vec<Part>,
    /// The header of the message itself.
    pub(crate) header: Header<'a>,
    /// Of the message itself.
    pub(crate) envelope: Envelope,
}

/// Takes a message apart. It has at most `u32::MAX` bytes.
pub(crate) fn read(message: &[u8]) -> Tree<'_> {
    let mut reader = Reader {
        message,
        parts: Vec::new(),
        open: Vec::new(),
        lines: Lines { message, counted: 0, breaks: 0 },
        budget: Budget::default(),
        fields: MAX_TOTAL_FIELDS,
        header: Header::default(),
        envelope: Envelope::default(),
    };
    reader.run();
    Tree { parts: reader.parts, header: reader.header, envelope: reader.envelope }
}

struct Reader<'a> {
    message: &'a [u8],
    parts: Vec<Part>,
    open: Vec<Open>,
    lines: Lines<'a>,
    budget: Budget,
    /// Fields that may still be indexed.
    fields: usize,
    header: Header<'a>,
    envelope: Envelope,
}

/// A part whose end has not been found.
struct Open {
    part: usize,
    /// Of a multipart whose close delimiter has not been found.
    boundary: Option<Vec<u8>>,
    digest: bool,
    /// Line breaks before its body.
    breaks: u32,
}

/// Where a part comes from.
#[derive(Clone, Copy)]
struct Start {
    parent: Option<u16>,
    /// The root of an embedded message.
    embedded: bool,
    /// In multipart/digest, what says nothing is a message (RFC 2046 5.1.5).
    digest: bool,
}

impl<'a> Reader<'a> {
    fn run(&mut self) {
        let mut at = 0;
        let mut start = Some(Start { parent: None, embedded: false, digest: false });
        while let Some(next) = start {
            at = self.start_part(next, at);
            let index = self.parts.len().saturating_sub(1);
            start = match self.parts.last() {
                Some(part) if part.kind == PartKind::Message => {
                    Some(Start { parent: u16::try_from(index).ok(), embedded: true, digest: false })
                }
                _ => self.next_part(&mut at),
            };
        }
        self.close_above(0, self.message.len(), true);
    }

    /// Reads the header at `at` and opens a part; where its body starts.
    fn start_part(&mut self, start: Start, at: usize) -> usize {
        let allowed = self.fields.min(MAX_FIELDS);
        let open = &self.open;
        let header = Header::read(self.message, at, allowed, |line| delimited(open, line).is_some());
        self.fields -= header.fields.len().min(self.fields);
        // The message's own envelope comes first, so that no part inside can use up its share.
        let is_message = start.embedded || start.parent.is_none();
        let envelope = is_message.then(|| envelope::read(&header, &mut self.budget));
        let mut part = describe(&header, start.digest, &mut self.budget);
        part.parent = start.parent;
        part.header = header.span;
        part.body = Span { start: header.span.end, end: header.span.end };
        part.fields = header.fields.clone();
        if start.embedded {
            part.envelope = envelope.map(Box::new);
        } else if let Some(own) = envelope {
            self.envelope = own;
        }

        let can_open = self.open.len() < MAX_DEPTH && self.parts.len() + 1 < MAX_PARTS;
        let mut boundary = None;
        part.kind = match declared(&part) {
            PartKind::Multipart if can_open => {
                boundary = param::boundary(&part.params);
                PartKind::Multipart
            }
            PartKind::Message if can_open && is_identity(&part.encoding) => PartKind::Message,
            PartKind::Leaf => PartKind::Leaf,
            _ => {
                make_opaque(&mut part);
                PartKind::Leaf
            }
        };
        let digest = part.kind == PartKind::Multipart && part.subtype.eq_ignore_ascii_case(b"digest");
        let body = index(header.span.end);
        self.open.push(Open { part: self.parts.len(), boundary, digest, breaks: self.lines.before(body) });
        self.parts.push(part);
        if start.parent.is_none() {
            self.header = header;
        }
        body
    }

    /// Goes on to the next delimiter that starts a part. None at the end of the message.
    fn next_part(&mut self, at: &mut usize) -> Option<Start> {
        while self.open.iter().any(|o| o.boundary.is_some()) {
            let line_start = dashes(self.message, *at)?;
            let rest = self.message.get(line_start..)?;
            let length = memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
            *at = line_start + length;
            let Some((level, close)) = delimited(&self.open, chomp(rest.get(..length)?)) else { continue };
            if !close && self.parts.len() >= MAX_PARTS {
                self.swallow();
                continue;
            }
            self.close_above(level + 1, line_start, false);
            let around = self.open.get_mut(level)?;
            if close {
                around.boundary = None;
                continue;
            }
            return Some(Start { parent: u16::try_from(around.part).ok(), embedded: false, digest: around.digest });
        }
        None
    }

    /// The last part there may be gets what would be the next one.
    fn swallow(&mut self) {
        if let Some(last) = self.parts.last_mut() {
            make_opaque(last);
            last.encoding = Encoding::Binary;
        }
    }

    /// Ends all parts on the stack from `level` up before the delimiter line at `at`, or at the end of the message.
    fn close_above(&mut self, level: usize, at: usize, at_end: bool) {
        let Some(innermost) = self.open.get(level..).and_then(<[Open]>::last).and_then(|o| self.parts.get(o.part)) else { return };
        let line_break = if at_end { 0 } else { break_before(self.message, at) };
        let floor = index(innermost.body.start);
        let end = at.saturating_sub(line_break).max(floor);
        let mut breaks = self.lines.before(at);
        if end < at {
            breaks = breaks.saturating_sub(1);
        }
        while self.open.len() > level {
            let Some(open) = self.open.pop() else { return };
            self.close(&open, end, breaks);
        }
    }

    fn close(&mut self, open: &Open, end: usize, breaks: u32) {
        let childless = self.parts.len() == open.part + 1;
        let Some(part) = self.parts.get_mut(open.part) else { return };
        part.body.end = offset(end);
        // The last line counts also when its line break went to the delimiter.
        let body = slice(self.message, part.body);
        let partial = u32::from(!matches!(body.last(), None | Some(b'\n')));
        part.lines = breaks.saturating_sub(open.breaks).saturating_add(partial);
        if part.kind == PartKind::Multipart && childless {
            let mut text = plain(Span { start: part.body.start, end: part.body.start });
            text.body = part.body;
            text.lines = part.lines;
            text.parent = u16::try_from(open.part).ok();
            self.parts.push(text);
        }
    }
}

/// Counts line breaks up to places that only move forward.
struct Lines<'a> {
    message: &'a [u8],
    counted: usize,
    breaks: u32,
}

impl Lines<'_> {
    fn before(&mut self, at: usize) -> u32 {
        if let Some(more) = self.message.get(self.counted..at) {
            self.breaks = self.breaks.saturating_add(offset(memchr_iter(b'\n', more).count()));
            self.counted = at;
        }
        self.breaks
    }
}

/// The first line from `at`, which is the start of a line, that begins with `--`.
fn dashes(message: &[u8], at: usize) -> Option<usize> {
    let rest = message.get(at..)?;
    if rest.starts_with(b"--") {
        return Some(at);
    }
    Some(at + memmem::find(rest, b"\n--")? + 1)
}

/// Whose delimiter a line is, and whether it is the closing one.
fn delimited(open: &[Open], line: &[u8]) -> Option<(usize, bool)> {
    let line = crate::cursor::trim_end(line).strip_prefix(b"--")?;
    open.iter().enumerate().rev().find_map(|(level, open)| match line.strip_prefix(open.boundary.as_deref()?)? {
        b"" => Some((level, false)),
        b"--" => Some((level, true)),
        _ => None,
    })
}

/// Bytes of the line break that ends before `at`.
fn break_before(message: &[u8], at: usize) -> usize {
    match message.get(..at) {
        Some([.., b'\r', b'\n']) => 2,
        Some([.., b'\n']) => 1,
        _ => 0,
    }
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn is_identity(encoding: &Encoding) -> bool {
    matches!(encoding, Encoding::SevenBit | Encoding::EightBit | Encoding::Binary)
}

/// What the type of a part says about its inside.
fn declared(part: &Part) -> PartKind {
    if part.media_type.eq_ignore_ascii_case(b"multipart") {
        PartKind::Multipart
    } else if part.media_type.eq_ignore_ascii_case(b"message")
        && [&b"rfc822"[..], b"global"].iter().any(|s| part.subtype.eq_ignore_ascii_case(s))
    {
        PartKind::Message
    } else {
        PartKind::Leaf
    }
}

fn make_opaque(part: &mut Part) {
    part.media_type = ByteBuf::from(*b"application");
    part.subtype = ByteBuf::from(*b"octet-stream");
}

/// A part of which nothing is said (RFC 2045 5.2).
fn plain(header: Span) -> Part {
    Part {
        parent: None,
        kind: PartKind::Leaf,
        header,
        body: Span { start: header.end, end: header.end },
        lines: 0,
        media_type: ByteBuf::from(*b"text"),
        subtype: ByteBuf::from(*b"plain"),
        params: vec![(ByteBuf::from(*b"charset"), ByteBuf::from(*b"us-ascii"))],
        id: None,
        description: None,
        encoding: Encoding::SevenBit,
        md5: None,
        disposition: None,
        language: Vec::new(),
        location: None,
        fields: Vec::new(),
        envelope: None,
    }
}

/// What the MIME fields of a header say.
fn describe(header: &Header<'_>, digest: bool, budget: &mut Budget) -> Part {
    let mut part = plain(header.span);
    match header.get(Name::ContentType).map(|value| param::content_type(&unfold(value))) {
        Some(Some(found)) => {
            part.media_type = budget.string(&found.media_type);
            part.subtype = budget.string(&found.subtype);
            part.params = budget.parameters(&found.params);
        }
        // Unreadable: RFC 2045 5.2 recommends the default of all defaults.
        Some(None) => {}
        None if digest => {
            part.media_type = ByteBuf::from(*b"message");
            part.subtype = ByteBuf::from(*b"rfc822");
            part.params.clear();
        }
        None => {}
    }
    if let Some(value) = header.get(Name::ContentTransferEncoding) {
        part.encoding = match param::encoding(&unfold(value)) {
            Encoding::Other(text) => Encoding::Other(budget.string(&text)),
            known => known,
        };
    }
    if let Some((kind, params)) = header.get(Name::ContentDisposition).and_then(|value| param::disposition(&unfold(value))) {
        part.disposition = Some(Disposition { kind: budget.string(&kind), params: budget.parameters(&params) });
    }
    let mut text = |name| header.get(name).map(|value| budget.string(&unfold(value))).filter(|text| !text.is_empty());
    part.id = text(Name::ContentId);
    part.description = text(Name::ContentDescription);
    part.md5 = text(Name::ContentMd5);
    part.location = text(Name::ContentLocation);
    if let Some(value) = header.get(Name::ContentLanguage) {
        part.language = param::languages(&unfold(value)).iter().map(|tag| budget.element(tag)).filter(|tag| !tag.is_empty()).collect();
    }
    part
}
