//! Macro strings (RFC 7208 7).

use super::Sender;
use crate::limits::MAX_SPF_TERMS;
use pure_addr::{MAX_DOMAIN, QueryName};
use std::{fmt::Write, net::IpAddr};

/// Bytes of an expanded name that are built before its labels are cut to what a name may have.
const MAX_EXPANDED: usize = 4 * 1024;

/// A macro string, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MacroString(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Macro {
        letter: char,
        /// How many parts from the right remain; none is all.
        parts: Option<usize>,
        reverse: bool,
        delimiters: String,
    },
}

/// It is no macro string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl MacroString {
    /// `explanation`: the letters that make sense in `exp=` alone are allowed (RFC 7208 7.2).
    pub(crate) fn parse(text: &str, explanation: bool) -> Result<Self, Malformed> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, macro_) = rest.split_at_checked(at).ok_or(Malformed)?;
            literal(&mut pieces, before)?;
            let mut letters = macro_.chars().skip(1);
            rest = match letters.next() {
                Some(c @ ('%' | '_' | '-')) => {
                    let text = match c {
                        '_' => " ",
                        '-' => "%20",
                        _ => "%",
                    };
                    pieces.push(Piece::Text(text.to_owned()));
                    macro_.get(2..).unwrap_or_default()
                }
                Some('{') => {
                    let (inner, after) = macro_.get(2..).and_then(|inner| inner.split_once('}')).ok_or(Malformed)?;
                    pieces.push(expand(inner, explanation)?);
                    after
                }
                _ => return Err(Malformed),
            };
            if pieces.len() > MAX_SPF_TERMS {
                return Err(Malformed);
            }
        }
        literal(&mut pieces, rest)?;
        Ok(Self(pieces))
    }

    /// Whether its end can be the end of a name (RFC 7208 7.1 domain-end): a macro, or a top label that is not all digits.
    pub(crate) fn ends_as_a_name(&self) -> bool {
        match self.0.last() {
            Some(Piece::Macro { .. }) => true,
            Some(Piece::Text(text)) => {
                let text = text.strip_suffix('.').unwrap_or(text);
                // Without a dot it must follow a macro, whose end is the label before it.
                let Some((_, top)) = text.rsplit_once('.') else { return false };
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
                !top.is_empty()
                    && top.bytes().all(plain)
                    && !top.bytes().all(|b| b.is_ascii_digit())
                    && !top.starts_with('-')
                    && !top.ends_with('-')
            }
            None => false,
        }
    }

    /// The name; none when there can be no such name.
    pub(crate) fn name(&self, values: &Values<'_>) -> Option<QueryName> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Macro { letter, parts, reverse, delimiters } => {
                    let value = values.of(letter.to_ascii_lowercase());
                    let mut list: Vec<&str> = value.split(|c| delimiters.contains(c)).collect();
                    if *reverse {
                        list.reverse();
                    }
                    let from = list.len().saturating_sub(parts.unwrap_or(list.len()));
                    out.push_str(&list.get(from..).unwrap_or_default().join("."));
                }
            }
            if out.len() > MAX_EXPANDED {
                return None;
            }
        }
        // RFC 7208 7.3: labels are taken away from the left until it fits.
        let mut name = out.strip_suffix('.').unwrap_or(&out);
        while name.len() > MAX_DOMAIN.saturating_sub(2) {
            name = name.split_once('.')?.1;
        }
        QueryName::parse(name).ok()
    }
}

/// RFC 7208 7.1 macro-literal: visible ASCII but `%`.
fn literal(pieces: &mut Vec<Piece>, text: &str) -> Result<(), Malformed> {
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Malformed);
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
    Ok(())
}

/// What stands between the braces.
fn expand(inner: &str, explanation: bool) -> Result<Piece, Malformed> {
    let mut letters = inner.chars();
    let letter = letters.next().ok_or(Malformed)?;
    let known = match letter.to_ascii_lowercase() {
        's' | 'l' | 'o' | 'd' | 'i' | 'p' | 'h' | 'v' => true,
        'c' | 'r' | 't' => explanation,
        _ => false,
    };
    let rest = letters.as_str();
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (count, rest) = rest.split_at_checked(digits).ok_or(Malformed)?;
    let parts = match count {
        "" => None,
        // RFC 7208 7.1: 0 parts make no sense. More than fit a number are all of them.
        _ => Some(count.parse::<usize>().unwrap_or(usize::MAX)).filter(|n| *n > 0).map(Some).ok_or(Malformed)?,
    };
    let (reverse, delimiters) = match rest.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if !known || !delimiters.chars().all(|c| ".-+,/_=".contains(c)) {
        return Err(Malformed);
    }
    let delimiters = if delimiters.is_empty() { "." } else { delimiters };
    Ok(Piece::Macro { letter, parts, reverse, delimiters: delimiters.to_owned() })
}

/// What the letters stand for.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    pub(crate) peer: IpAddr,
    pub(crate) sender: &'a Sender,
    pub(crate) helo: &'a str,
    /// The domain whose record this is.
    pub(crate) domain: &'a QueryName,
}

impl Values<'_> {
    /// RFC 7208 7.2.
    fn of(&self, letter: char) -> String {
        let Sender { local, domain } = self.sender;
        match letter {
            's' => format!("{local}@{domain}"),
            'l' => local.clone(),
            'o' => domain.to_string(),
            'd' => self.domain.to_string(),
            'i' => address(self.peer),
            'v' => if self.peer.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
            'h' => self.helo.to_owned(),
            // `p` is not to be used (RFC 7208 7.2); what could not be found out is called that (RFC 7208 7.3).
            _ => "unknown".to_owned(),
        }
    }
}

/// RFC 7208 7.3: IPv6 as nibbles between dots.
fn address(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let mut out = String::new();
            for byte in v6.octets() {
                // Writing to a String does not fail.
                let _ = write!(out, "{:x}.{:x}.", byte >> 4, byte & 0xf);
            }
            out.pop();
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_addr::Domain;

    /// RFC 7208 7.4.
    #[test]
    fn the_examples_of_the_standard() {
        let sender = Sender { local: "strong-bad".into(), domain: Domain::parse("email.example.com").unwrap() };
        let domain = QueryName::parse("email.example.com").unwrap();
        let expand = |text: &str, peer: &str| {
            let values = Values { peer: peer.parse().unwrap(), sender: &sender, helo: "mx.example.org", domain: &domain };
            MacroString::parse(text, false).unwrap().name(&values).map(String::from)
        };
        for (text, expected) in [
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}.x", "strong-bad.x"),
            ("%{l-}.x", "strong.bad.x"),
            ("%{lr-}.x", "bad.strong.x"),
            ("%{l1r-}.x", "strong.x"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
            ("%{H}.%{p}", "mx.example.org.unknown"),
        ] {
            assert_eq!(expand(text, "192.0.2.3").as_deref(), Some(expected), "{text}");
        }
        assert_eq!(
            expand("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01").as_deref(),
            Some("1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com")
        );
        // Whatever a label may hold (RFC 2181 11), it need not be a host's.
        for (text, expected) in
            [("%{s}", "strong-bad@email.example.com"), ("a%_b.test", "a b.test"), ("a%%b.test", "a%b.test"), ("%{i}", "192.0.2.3")]
        {
            assert_eq!(expand(text, "192.0.2.3").as_deref(), Some(expected), "{text}");
        }
        // No such name can be.
        for text in ["a..test", "%{l}..test", &format!("{}.test", "a".repeat(64))] {
            assert_eq!(expand(text, "192.0.2.3"), None, "{text}");
        }
        let long = format!("{}end.test", "abcdefghi.".repeat(40));
        let cut = expand(&long, "192.0.2.3").unwrap();
        assert!(cut.len() <= 253 && cut.starts_with("abcdefghi.") && long.ends_with(&cut));
    }

    #[test]
    fn what_is_no_macro_string() {
        for bad in ["%", "%a", "%{", "%{}", "%{d", "%{x}", "%{d0}", "%{d2x}", "%{c}", "%{t}", "a b", "\u{e4}", "%{d.!}"] {
            assert_eq!(MacroString::parse(bad, false).err(), Some(Malformed), "{bad}");
        }
        assert!(MacroString::parse("%{c} %{t}".replace(' ', "%_").as_str(), true).is_ok());
        assert!(MacroString::parse(&"%%".repeat(MAX_SPF_TERMS + 1), false).is_err());
        let ends = |text: &str| MacroString::parse(text, false).unwrap().ends_as_a_name();
        assert!(ends("a.test") && ends("a.test.") && ends("x%{d}") && ends("%{i}.a-b"));
        assert!(!ends("a") && !ends("") && !ends("a.123") && !ends("192.0.2.1") && !ends("a.-b") && !ends("a.b%%") && !ends("a/b"));
    }
}
