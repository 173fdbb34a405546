use crate::{Domain, Invalid, MAX_DOMAIN, MAX_LABEL};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A name that the DNS is asked for: labels of printable ASCII without dots in them, in lower case. It need not be a host's or a mail domain's
/// (RFC 2181 11): policies make such names out of what a client says (RFC 7208 7.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueryName(String);

impl QueryName {
    /// The name without a dot at its end.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::Empty);
        }
        if text.len() > MAX_DOMAIN {
            return Err(Invalid::TooLong(MAX_DOMAIN));
        }
        // RFC 1035 2.3.4.
        let label = |label: &str| !label.is_empty() && label.len() <= MAX_LABEL && label.bytes().all(|b| matches!(b, b' '..=b'~'));
        if text.split('.').all(label) { Ok(Self(text.to_ascii_lowercase())) } else { Err(Invalid::Domain) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its labels, in the order in which they are written.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl From<Domain> for QueryName {
    fn from(domain: Domain) -> Self {
        Self(domain.into())
    }
}

impl TryFrom<String> for QueryName {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let parsed = Self::parse(&text)?;
        // Only the canonical form may come from another process.
        if parsed.0 == text { Ok(parsed) } else { Err(Invalid::Domain) }
    }
}

impl From<QueryName> for String {
    fn from(name: QueryName) -> String {
        name.0
    }
}

impl fmt::Display for QueryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_dns() {
        for good in ["a.test", "A+b=c/d:e.Test", "a b.test", "_dmarc.a.test", "3.2.0.192.in-addr.arpa", "test", "-.a@b.test"] {
            let name = QueryName::parse(good).unwrap();
            assert_eq!(name.as_str(), good.to_ascii_lowercase());
            assert_eq!(name.labels().count(), good.split('.').count());
            assert_eq!(QueryName::try_from(good.to_owned()).is_ok(), !good.contains('A'));
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a\tb.test", "a\0.test", "\u{e4}.test", "a\r\n.test"] {
            assert!(QueryName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(QueryName::parse(&"a".repeat(MAX_LABEL)).is_ok() && QueryName::parse(&"a".repeat(MAX_LABEL + 1)).is_err());
        let long = "a.".repeat(MAX_DOMAIN / 2);
        assert!(QueryName::parse(&format!("{long}a")).is_ok() && QueryName::parse(&format!("{long}aa")).is_err());
        assert_eq!(QueryName::from(Domain::parse("b\u{fc}cher.test").unwrap()).as_str(), "xn--bcher-kva.test");
    }
}
