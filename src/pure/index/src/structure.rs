use crate::{Envelope, MAX_DEPTH, MAX_FIELDS, MAX_LANGUAGES, MAX_PARAMETERS, MAX_PARTS, bounded};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// A half-open range of bytes of the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// Bytes in it.
    pub fn len(self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn within(self, outer: Span) -> bool {
        outer.start <= self.start && self.start <= self.end && self.end <= outer.end
    }
}

/// One header field: the span runs from the first byte of its name to after its last CRLF, folded lines included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The whole field.
    pub span: Span,
    /// Bytes of the name, before the colon and any blank in front of it.
    pub name_len: u16,
}

/// RFC 2045 6.1, with the unknown kept so that BODYSTRUCTURE can say it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// `7bit`, also when nothing is said.
    #[default]
    SevenBit,
    /// `8bit`.
    EightBit,
    /// `binary`.
    Binary,
    /// `quoted-printable`.
    QuotedPrintable,
    /// `base64`.
    Base64,
    /// Anything else; its content cannot be decoded.
    Other(ByteBuf),
}

/// RFC 2183.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disposition {
    /// `inline`, `attachment`, ...
    pub kind: ByteBuf,
    /// Its parameters.
    #[serde(deserialize_with = "bounded::<_, _, MAX_PARAMETERS>")]
    pub params: Vec<(ByteBuf, ByteBuf)>,
}

/// What a part may contain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartKind {
    /// No parts inside.
    #[default]
    Leaf,
    /// Any number of parts inside.
    Multipart,
    /// Exactly one part inside: the root of the embedded message (message/rfc822, message/global).
    Message,
}

/// One part. Strings are raw bytes as they stand in the header, quotes removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Index of the part around it; none for the message itself.
    pub parent: Option<u16>,
    /// What is inside.
    pub kind: PartKind,
    /// Its MIME header; for the message and for an embedded message their whole header. Ends after the empty line.
    pub header: Span,
    /// Its content, without the line break that belongs to the boundary.
    pub body: Span,
    /// Lines in the body.
    pub lines: u32,
    /// `text` of `text/plain`.
    pub media_type: ByteBuf,
    /// `plain` of `text/plain`.
    pub subtype: ByteBuf,
    /// Content-Type's parameters.
    #[serde(deserialize_with = "bounded::<_, _, MAX_PARAMETERS>")]
    pub params: Vec<(ByteBuf, ByteBuf)>,
    /// Content-ID.
    pub id: Option<ByteBuf>,
    /// Content-Description.
    pub description: Option<ByteBuf>,
    /// Content-Transfer-Encoding.
    pub encoding: Encoding,
    /// Content-MD5.
    pub md5: Option<ByteBuf>,
    /// Content-Disposition.
    pub disposition: Option<Disposition>,
    /// Content-Language.
    #[serde(deserialize_with = "bounded::<_, _, MAX_LANGUAGES>")]
    pub language: Vec<ByteBuf>,
    /// Content-Location.
    pub location: Option<ByteBuf>,
    /// The fields of `header`.
    #[serde(deserialize_with = "bounded::<_, _, MAX_FIELDS>")]
    pub fields: Vec<Field>,
    /// For the root of an embedded message: its envelope.
    pub envelope: Option<Box<Envelope>>,
}

/// The parts in the order of their headers; the first is the message itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(into = "Vec<Part>")]
pub struct Structure(Vec<Part>);

/// The parts are not a tree inside the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the parts are not a tree inside the message")
    }
}

impl std::error::Error for Malformed {}

impl Structure {
    /// Checks the tree; the empty list stands for "no structure known".
    pub fn new(parts: Vec<Part>) -> Result<Self, Malformed> {
        if parts.len() > MAX_PARTS {
            return Err(Malformed);
        }
        let mut depths: Vec<usize> = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let own = Span { start: part.header.start, end: part.body.end };
            let (depth, outer) = match part.parent {
                None if index == 0 => (0, own),
                None => return Err(Malformed),
                Some(parent) => {
                    let parent = usize::from(parent);
                    let around = parts.get(parent).filter(|p| parent < index && p.kind != PartKind::Leaf).ok_or(Malformed)?;
                    (depths.get(parent).ok_or(Malformed)? + 1, around.body)
                }
            };
            let ordered = part.header.within(own) && part.body.within(own) && part.header.end == part.body.start && own.within(outer);
            let fields = part.fields.len() <= MAX_FIELDS
                && part.fields.iter().all(|f| f.span.within(part.header) && u32::from(f.name_len) <= f.span.len());
            if !ordered || !fields || depth > MAX_DEPTH {
                return Err(Malformed);
            }
            depths.push(depth);
        }
        Ok(Self(parts))
    }

    /// All parts.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The message itself.
    pub fn root(&self) -> Option<&Part> {
        self.0.first()
    }

    /// The parts directly inside one, in order.
    pub fn children(&self, of: usize) -> impl Iterator<Item = (usize, &Part)> {
        self.0.iter().enumerate().skip(of + 1).filter(move |(_, p)| p.parent.map(usize::from) == Some(of))
    }

    /// The structure after header fields were put in front of the message: every offset moves, the fields join the root's.
    /// `added` are the byte lengths of each field and of its name.
    pub fn with_prefix(mut self, added: &[(u32, u16)]) -> Result<Self, Malformed> {
        let shift: u32 = added.iter().try_fold(0u32, |sum, (len, _)| sum.checked_add(*len)).ok_or(Malformed)?;
        let move_span = |span: &mut Span| -> Result<(), Malformed> {
            span.start = span.start.checked_add(shift).ok_or(Malformed)?;
            span.end = span.end.checked_add(shift).ok_or(Malformed)?;
            Ok(())
        };
        for part in &mut self.0 {
            move_span(&mut part.header)?;
            move_span(&mut part.body)?;
            for field in &mut part.fields {
                move_span(&mut field.span)?;
            }
        }
        if let Some(root) = self.0.first_mut() {
            root.header.start = 0;
            let mut fields = Vec::with_capacity(added.len() + root.fields.len());
            let mut at = 0u32;
            for (len, name_len) in added {
                let end = at.checked_add(*len).ok_or(Malformed)?;
                fields.push(Field { span: Span { start: at, end }, name_len: *name_len });
                at = end;
            }
            fields.append(&mut root.fields);
            fields.truncate(MAX_FIELDS);
            root.fields = fields;
        }
        Self::new(self.0)
    }
}

impl<'de> Deserialize<'de> for Structure {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(bounded::<_, _, MAX_PARTS>(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl From<Structure> for Vec<Part> {
    fn from(structure: Structure) -> Vec<Part> {
        structure.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(parent: Option<u16>, kind: PartKind, header: (u32, u32), body: (u32, u32)) -> Part {
        Part { parent, kind, header: Span { start: header.0, end: header.1 }, body: Span { start: body.0, end: body.1 }, ..Part::default() }
    }

    #[test]
    fn a_tree_is_accepted_and_moved() {
        let parts = vec![
            part(None, PartKind::Multipart, (0, 10), (10, 100)),
            part(Some(0), PartKind::Leaf, (20, 30), (30, 40)),
            part(Some(0), PartKind::Message, (50, 60), (60, 90)),
            part(Some(2), PartKind::Leaf, (60, 70), (70, 90)),
        ];
        let moved = Structure::new(parts).unwrap().with_prefix(&[(5, 2), (7, 3)]).unwrap();
        let root = moved.root().unwrap();
        assert_eq!((root.header, root.body), (Span { start: 0, end: 22 }, Span { start: 22, end: 112 }));
        assert_eq!(root.fields[1], Field { span: Span { start: 5, end: 12 }, name_len: 3 });
        assert_eq!(moved.parts()[3].body, Span { start: 82, end: 102 });
        assert_eq!(moved.children(0).map(|(i, _)| i).collect::<Vec<_>>(), [1, 2]);
    }

    /// Attack case MIME-02: no cycle, no part outside its parent, ever decodes.
    #[test]
    fn what_is_no_tree_is_refused() {
        let root = || part(None, PartKind::Multipart, (0, 10), (10, 100));
        for bad in [
            vec![part(Some(0), PartKind::Leaf, (0, 1), (1, 2))],
            vec![root(), part(None, PartKind::Leaf, (20, 30), (30, 40))],
            vec![root(), part(Some(1), PartKind::Leaf, (20, 30), (30, 40))],
            vec![root(), part(Some(2), PartKind::Multipart, (20, 30), (30, 40)), part(Some(1), PartKind::Multipart, (20, 30), (30, 40))],
            vec![root(), part(Some(0), PartKind::Leaf, (5, 30), (30, 40))],
            vec![root(), part(Some(0), PartKind::Leaf, (20, 30), (30, 101))],
            vec![root(), part(Some(0), PartKind::Leaf, (20, 30), (31, 40))],
            vec![part(None, PartKind::Leaf, (0, 10), (10, 100)), part(Some(0), PartKind::Leaf, (20, 30), (30, 40))],
        ] {
            assert_eq!(Structure::new(bad), Err(Malformed));
        }
    }

    #[test]
    fn depth_is_limited() {
        let chain = |n: u32| {
            (0..n).map(|i| part(i.checked_sub(1).map(|p| p as u16), PartKind::Multipart, (i, i + 1), (i + 1, 1000))).collect::<Vec<_>>()
        };
        assert!(Structure::new(chain(MAX_DEPTH as u32 + 1)).is_ok());
        assert!(Structure::new(chain(MAX_DEPTH as u32 + 2)).is_err());
    }
}
