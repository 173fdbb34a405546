use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// RFC 5321 4.5.3.1.2.
pub const MAX_DOMAIN: usize = 255;
/// RFC 1035 2.3.4.
pub const MAX_LABEL: usize = 63;

/// A domain in canonical form (lower-case A-labels), or an address literal with its brackets.
///
/// U-labels are accepted only when they are already valid IDNA2008 labels that survive the round trip: nothing is
/// mapped, so no look-alike of a hosted domain ever becomes equal to it (RUSTSEC-2024-0421).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

impl Domain {
    /// A domain name or an address literal (RFC 5321 4.1.2, 4.1.3; RFC 6531 3.3 for U-labels).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::Empty);
        }
        if text.len() > MAX_DOMAIN {
            return Err(Invalid::TooLong(MAX_DOMAIN));
        }
        if text.starts_with('[') {
            return Self::literal(text);
        }
        let mut out = String::with_capacity(text.len());
        for label in text.split('.') {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(&canonical_label(label)?);
        }
        if out.len() > MAX_DOMAIN {
            return Err(Invalid::TooLong(MAX_DOMAIN));
        }
        // A last label of digits only is a mistyped IPv4 address, never a domain (RFC 3696 2).
        if out.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit())) {
            return Err(Invalid::Domain);
        }
        Ok(Self(out))
    }

    fn literal(text: &str) -> Result<Self, Invalid> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or(Invalid::Literal)?;
        let tag = inner.get(..5).filter(|t| t.eq_ignore_ascii_case("IPv6:"));
        let canonical = if tag.is_some() {
            let address = inner.get(5..).unwrap_or_default();
            format!("[IPv6:{}]", Ipv6Addr::from_str(address).map_err(|_| Invalid::Literal)?)
        } else {
            format!("[{}]", Ipv4Addr::from_str(inner).map_err(|_| Invalid::Literal)?)
        };
        Ok(Self(canonical))
    }

    /// Whether this is an address literal such as `[192.0.2.1]`.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this other domain, or stands below it.
    pub fn is_within(&self, above: &Self) -> bool {
        self.0.strip_suffix(&above.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The domains that it stands below, the nearest first; none for an address literal.
    pub fn parents(&self) -> impl Iterator<Item = Self> {
        let mut rest = if self.is_literal() { "" } else { self.0.as_str() };
        std::iter::from_fn(move || {
            rest = rest.split_once('.')?.1;
            Some(Self(rest.to_owned()))
        })
    }
}

fn canonical_label(label: &str) -> Result<String, Invalid> {
    let ascii = if label.is_ascii() {
        let lower = label.to_ascii_lowercase();
        if lower.starts_with("xn--") {
            // An A-label is equal only to itself; one that does not decode and encode back is fake.
            let (unicode, ok) = idna::domain_to_unicode(&lower);
            if ok.is_err() || unicode.is_ascii() || to_ascii(&unicode)? != lower {
                return Err(Invalid::Domain);
            }
        }
        lower
    } else {
        let ascii = to_ascii(label)?;
        let (unicode, ok) = idna::domain_to_unicode(&ascii);
        // Nothing may have been mapped: full-width, Roman numeral and other look-alikes end here.
        if ok.is_err() || unicode != label {
            return Err(Invalid::Domain);
        }
        ascii
    };
    let ldh = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if ascii.is_empty() || ascii.len() > MAX_LABEL || ascii.starts_with('-') || ascii.ends_with('-') || !ascii.bytes().all(ldh) {
        return Err(Invalid::Domain);
    }
    Ok(ascii)
}

fn to_ascii(label: &str) -> Result<String, Invalid> {
    idna::domain_to_ascii_strict(label).map_err(|_| Invalid::Domain)
}

impl TryFrom<String> for Domain {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let parsed = Self::parse(&text)?;
        // Only the canonical form may come from another process.
        if parsed.0 == text { Ok(parsed) } else { Err(Invalid::Domain) }
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> String {
        domain.0
    }
}

impl FromStr for Domain {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_below_whom() {
        let domain = |text: &str| Domain::parse(text).unwrap();
        for (name, above, expected) in
            [("a.test", "a.test", true), ("x.y.a.test", "a.test", true), ("nota.test", "a.test", false), ("test", "a.test", false)]
        {
            assert_eq!(domain(name).is_within(&domain(above)), expected, "{name} {above}");
        }
        let parents = |text: &str| domain(text).parents().map(String::from).collect::<Vec<_>>();
        assert_eq!(parents("a.b.c.test"), ["b.c.test", "c.test", "test"]);
        assert!(parents("test").is_empty() && parents("[192.0.2.1]").is_empty());
    }

    #[test]
    fn one_canonical_form() {
        for (given, expected) in [
            ("MTA.Test", "mta.test"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[ipv6:2001:DB8::1]", "[IPv6:2001:db8::1]"),
        ] {
            assert_eq!(Domain::parse(given).unwrap().as_str(), expected);
        }
    }

    /// Attack case ADDR-03: nothing becomes equal to a hosted domain by normalisation.
    #[test]
    fn look_alikes_are_refused() {
        for given in [
            "",
            ".",
            "mta..test",
            "mta.test.",
            "mta.test..",
            "-mta.test",
            "mta-.test",
            "xn--mta-.test",
            "xn--mta-test-",
            "mta.test.xn--",
            "mta\u{3002}test",
            "MTA.TEST\u{200b}",
            "xn--0049",
            "xn--99999999999999",
            "\u{217f}ta.test",
            "mta.test\u{ff0e}",
            "(c)mta.test",
            "192.0.2.1",
            "[192.0.2.256]",
            "[IPv6:1::2::3]",
            "[]",
            "[192.0.2.1",
            "mta .test",
            "mta\0.test",
        ] {
            assert!(Domain::parse(given).is_err(), "{given:?} was accepted");
        }
        let cyrillic = Domain::parse("m\u{442}a.test").unwrap();
        assert_ne!(cyrillic.as_str(), "mta.test");
    }

    #[test]
    fn limits() {
        let label = "a".repeat(63);
        assert!(Domain::parse(&format!("{label}.test")).is_ok());
        assert!(Domain::parse(&format!("{label}a.test")).is_err());
        let long = format!("{label}.{label}.{label}.{}", "a".repeat(63));
        assert_eq!(long.len(), MAX_DOMAIN);
        assert!(Domain::parse(&long).is_ok());
        assert_eq!(Domain::parse(&format!("{long}a")), Err(Invalid::TooLong(MAX_DOMAIN)));
    }
}
