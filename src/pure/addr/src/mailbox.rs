use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The hierarchy separator of every mailbox name.
pub const SEPARATOR: char = '/';
/// Bytes of UTF-8 in a whole name.
pub const MAX_MAILBOX_NAME: usize = 512;
/// Levels in a name.
pub const MAX_MAILBOX_DEPTH: usize = 16;

/// The full path of a mailbox in UTF-8: `Archive/2026`. `INBOX` is written in capitals whatever was given (RFC 9051 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailboxName(String);

impl MailboxName {
    /// Where mail arrives.
    pub fn inbox() -> Self {
        Self("INBOX".into())
    }

    /// Checks a path. No level may be empty; `%` and `*` would be unreachable by LIST and are refused.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        if name.is_empty() {
            return Err(Invalid::Empty);
        }
        if name.len() > MAX_MAILBOX_NAME {
            return Err(Invalid::TooLong(MAX_MAILBOX_NAME));
        }
        let bad = |c: char| c.is_control() || matches!(c, '%' | '*' | '\u{2028}' | '\u{2029}' | '\u{FFFD}');
        if name.chars().any(bad) || name.split(SEPARATOR).any(|level| level.is_empty() || level == "." || level == "..") {
            return Err(Invalid::Character);
        }
        if name.split(SEPARATOR).count() > MAX_MAILBOX_DEPTH {
            return Err(Invalid::TooLong(MAX_MAILBOX_NAME));
        }
        let (first, rest) = name.split_once(SEPARATOR).map_or((name, None), |(f, r)| (f, Some(r)));
        Ok(Self(match (first.eq_ignore_ascii_case("INBOX"), rest) {
            (true, None) => "INBOX".into(),
            (true, Some(rest)) => format!("INBOX{SEPARATOR}{rest}"),
            (false, _) => name.into(),
        }))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name one level up.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once(SEPARATOR).map(|(parent, _)| Self(parent.into()))
    }

    /// The last level.
    pub fn leaf(&self) -> &str {
        self.0.rsplit_once(SEPARATOR).map_or(&self.0, |(_, leaf)| leaf)
    }

    /// Whether `self` lies below `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.starts_with(SEPARATOR))
    }

    /// Whether this is INBOX itself.
    pub fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }
}

impl TryFrom<String> for MailboxName {
    type Error = Invalid;
    fn try_from(name: String) -> Result<Self, Invalid> {
        Self::new(&name)
    }
}

impl From<MailboxName> for String {
    fn from(name: MailboxName) -> String {
        name.0
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(MailboxName::new("inbox").unwrap().as_str(), "INBOX");
        assert_eq!(MailboxName::new("inBox/a").unwrap().as_str(), "INBOX/a");
        assert_eq!(MailboxName::new("Entwürfe/2026").unwrap().leaf(), "2026");
        for bad in ["", "/", "a//b", "/a", "a/", "a%b", "a*", "a\0", "a\r\nb", "..", "a/../b"] {
            assert!(MailboxName::new(bad).is_err(), "{bad:?}");
        }
        let (a, b) = (MailboxName::new("a").unwrap(), MailboxName::new("a/b").unwrap());
        assert!(b.is_below(&a) && !a.is_below(&a) && !MailboxName::new("ab").unwrap().is_below(&a));
        assert!(MailboxName::new("a/".repeat(16).trim_end_matches('/')).is_ok());
        assert!(MailboxName::new(&format!("{}a", "a/".repeat(16))).is_err());
    }
}
