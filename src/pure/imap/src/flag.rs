use crate::limits;
use std::fmt;

/// A flag of a message (RFC 9051 2.3.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// `\Seen`.
    Seen,
    /// `\Answered`.
    Answered,
    /// `\Flagged`.
    Flagged,
    /// `\Deleted`.
    Deleted,
    /// `\Draft`.
    Draft,
    /// Anything without a backslash.
    Keyword(Keyword),
}

/// A keyword: an atom of at most [`limits::KEYWORD`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keyword(String);

impl Keyword {
    /// Checks that it is an atom.
    pub fn new(text: &str) -> Option<Self> {
        let ok = !text.is_empty() && text.len() <= limits::KEYWORD && text.bytes().all(crate::cursor::is_atom_char);
        ok.then(|| Self(text.to_owned()))
    }

    /// The atom.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a backslash name means to a client that sets flags.
pub(crate) enum Backslash {
    Flag(Flag),
    /// `\Recent` belongs to the server (RFC 3501 2.3.2); clients that copy flags send it and mean nothing by it.
    Recent,
    Unknown,
}

impl Flag {
    pub(crate) fn from_backslash(name: &[u8]) -> Backslash {
        let known: [(&[u8], Self); 5] = [
            (b"Seen", Self::Seen),
            (b"Answered", Self::Answered),
            (b"Flagged", Self::Flagged),
            (b"Deleted", Self::Deleted),
            (b"Draft", Self::Draft),
        ];
        if name.eq_ignore_ascii_case(b"Recent") {
            return Backslash::Recent;
        }
        known.into_iter().find(|(text, _)| name.eq_ignore_ascii_case(text)).map_or(Backslash::Unknown, |(_, flag)| Backslash::Flag(flag))
    }

    /// As written in answers.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Seen => "\\Seen",
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Draft => "\\Draft",
            Self::Keyword(keyword) => keyword.as_str(),
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
