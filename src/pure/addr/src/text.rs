use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;

/// At most `N` bytes of UTF-8 without control characters: what a peer said, safe to keep, log and write in a header.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const N: usize>(String);

impl<const N: usize> Text<N> {
    /// Refuses what does not fit; for names that must be kept exactly.
    pub fn new(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        if text.len() > N {
            return Err(Invalid::TooLong(N));
        }
        // U+2028 and U+2029 end a line for some log readers.
        if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(Invalid::Character);
        }
        Ok(Self(text))
    }

    /// Makes any bytes fit, replacing and cutting; for diagnostics only, since it loses information.
    pub fn lossy(bytes: &[u8]) -> Self {
        let mut out = String::new();
        for c in String::from_utf8_lossy(bytes).chars() {
            let c = if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { '\u{FFFD}' } else { c };
            if out.len() + c.len_utf8() > N {
                break;
            }
            out.push(c);
        }
        Self(out)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const N: usize> TryFrom<String> for Text<N> {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::new(text)
    }
}

impl<const N: usize> From<Text<N>> for String {
    fn from(text: Text<N>) -> String {
        text.0
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
