use crate::{Domain, Invalid};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// RFC 5321 4.5.3.1.1.
pub const MAX_LOCAL_PART: usize = 64;
/// RFC 5321 4.5.3.1.3, with the brackets.
pub const MAX_PATH: usize = 256;

/// The local part, unquoted: `"a b"` is kept as `a b` and written with quotes again where it must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalPart(String);

impl LocalPart {
    /// Takes an unquoted local part. Any printable character may stand in it; control characters may not.
    pub fn new(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        if text.is_empty() {
            return Err(Invalid::Empty);
        }
        if text.len() > MAX_LOCAL_PART {
            return Err(Invalid::TooLong(MAX_LOCAL_PART));
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(Invalid::Character);
        }
        Ok(Self(text))
    }

    /// The unquoted text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Splits `user+detail` at the first separator; no detail when there is none or the user would be empty.
    pub fn subaddress(&self, separator: char) -> Option<(Self, &str)> {
        let (user, detail) = self.0.split_once(separator)?;
        Some((Self::new(user).ok()?, detail))
    }
}

impl TryFrom<String> for LocalPart {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::new(text)
    }
}

impl From<LocalPart> for String {
    fn from(local: LocalPart) -> String {
        local.0
    }
}

/// atext of RFC 5322 3.2.3, with the UTF-8 of RFC 6532 3.2.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
}

fn is_dot_string(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.0) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

/// `local-part@domain` (RFC 5321 4.1.2 Mailbox). The domain is exactly what follows the last unquoted `@`; `%`, `!` and
/// source routes have no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Before the `@`.
    pub local: LocalPart,
    /// After it.
    pub domain: Domain,
}

impl Address {
    /// Parses the whole text as one address, without brackets, comments or white space.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match Self::parse_prefix(text)? {
            (address, "") => Ok(address),
            _ => Err(Invalid::Form),
        }
    }

    /// Parses an address at the start of `text` and returns what follows it (up to `>`, a blank or the end).
    pub fn parse_prefix(text: &str) -> Result<(Self, &str), Invalid> {
        let (local, rest) = if let Some(quoted) = text.strip_prefix('"') { quoted_string(quoted)? } else { dot_string(text)? };
        let rest = rest.strip_prefix('@').ok_or(Invalid::Form)?;
        let end = rest.find(['>', ' ', '\t']).unwrap_or(rest.len());
        let (domain, rest) = rest.split_at(end);
        let address = Self { local, domain: Domain::parse(domain)? };
        // Two octets of the path are its brackets.
        if address.local.0.len() + address.domain.as_str().len() + 1 > MAX_PATH - 2 {
            return Err(Invalid::TooLong(MAX_PATH));
        }
        Ok((address, rest))
    }

    /// The form under which the directory knows an address: local parts of hosted domains ignore case.
    pub fn key(&self) -> String {
        let mut local = String::new();
        for c in self.local.0.chars() {
            // U+212A, the Kelvin sign, is no `k`: no character becomes ASCII that was not (attack case ADDR-03).
            if !c.is_ascii() && c.to_lowercase().any(|lower| lower.is_ascii()) { local.push(c) } else { local.extend(c.to_lowercase()) }
        }
        format!("{local}@{}", self.domain)
    }

    /// Whether it needs SMTPUTF8 on the wire (RFC 6531 3.4).
    pub fn is_ascii(&self) -> bool {
        self.local.0.is_ascii()
    }
}

fn dot_string(text: &str) -> Result<(LocalPart, &str), Invalid> {
    let end = text.find(|c| !(is_atext(c) || c == '.')).unwrap_or(text.len());
    let (local, rest) = text.split_at(end);
    if !is_dot_string(local) {
        return Err(Invalid::LocalPart);
    }
    Ok((LocalPart::new(local)?, rest))
}

/// Quoted-string after its opening quote.
fn quoted_string(text: &str) -> Result<(LocalPart, &str), Invalid> {
    let mut local = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next().ok_or(Invalid::LocalPart)? {
            '"' => break,
            '\\' => local.push(chars.next().filter(|c| matches!(c, ' '..='~')).ok_or(Invalid::LocalPart)?),
            c if c.is_control() => return Err(Invalid::Character),
            c => local.push(c),
        }
    }
    Ok((LocalPart::new(local)?, chars.as_str()))
}

impl FromStr for Address {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// RFC 5321 4.1.2 Reverse-path: where failures are reported, or `<>` for what must not cause any.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`: RFC 5321 4.5.5.
    Null,
    /// `<local-part@domain>`.
    Address(Address),
}

impl ReversePath {
    /// The address, if any.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Address(address) => Some(address),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Address(address) => write!(f, "<{address}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for (given, written) in [
            ("alice@mta.test", "alice@mta.test"),
            ("\"alice\"@MTA.test", "alice@mta.test"),
            ("\"a b\"@mta.test", "\"a b\"@mta.test"),
            ("\"a\\\"b\"@mta.test", "\"a\\\"b\"@mta.test"),
            ("\"v@remote.test\"@mta.test", "\"v@remote.test\"@mta.test"),
            ("é@mta.test", "é@mta.test"),
            ("a%b!c@[192.0.2.1]", "a%b!c@[192.0.2.1]"),
        ] {
            let address = Address::parse(given).unwrap();
            assert_eq!(address.to_string(), written);
            assert_eq!(Address::parse(written).unwrap(), address);
        }
    }

    /// Attack cases ADDR-01 and RLY-01: what is not an address is refused, never trimmed or decoded.
    #[test]
    fn malformed_is_refused() {
        for given in [
            "\"\"@mta.test",
            "\"@mta.test",
            "\"\\\"@mta.test",
            "@mta.test",
            "",
            "alice@",
            "alice",
            ".alice@mta.test",
            "al..ice@mta.test",
            "alice.@mta.test",
            "alice@mta..test",
            "alice@-mta.test",
            "alice(c)@mta.test",
            "alice@(c)mta.test",
            "alice@mta.test>garbage",
            "hello@(foo@bar)mta.test",
            "hello\"foo@bar\"@mta.test",
            "foo@bar\"aa\\\\\" hello world\".test",
            "alice@\u{217f}ta.test",
            "alice\u{ff20}mta.test",
            "@mta.test:victim@remote.test",
            "victim@remote.test@mta.test",
            "victim@remote.test\0@mta.test",
            "victim@remote.test\t@mta.test",
            "victim@mta.test,victim@remote.test",
            "a\r\nb@mta.test",
            "\"a\r\nb\"@mta.test",
            "\"a\\\nb\"@mta.test",
        ] {
            assert!(Address::parse(given).is_err(), "{given:?} was accepted");
        }
    }

    /// Attack case ADDR-03: folding case makes no look-alike equal to an account.
    #[test]
    fn case_is_folded_within_ascii_or_outside_of_it() {
        let key = |text: &str| Address::parse(text).unwrap().key();
        assert_eq!(key("KATE@mta.test"), "kate@mta.test");
        assert_eq!(key("ÄGIDIUS@mta.test"), "ägidius@mta.test");
        assert_ne!(key("\u{212a}ate@mta.test"), "kate@mta.test");
        assert!(!key("\u{130}da@mta.test").contains('i'));
    }

    #[test]
    fn limits() {
        let local = "a".repeat(MAX_LOCAL_PART);
        assert!(Address::parse(&format!("{local}@mta.test")).is_ok());
        assert!(Address::parse(&format!("a{local}@mta.test")).is_err());
    }

    #[test]
    fn subaddress() {
        let local = LocalPart::new("alice+news+x").unwrap();
        let (user, detail) = local.subaddress('+').unwrap();
        assert_eq!((user.as_str(), detail), ("alice", "news+x"));
        assert!(LocalPart::new("+x").unwrap().subaddress('+').is_none());
    }
}
