//! `Authentication-Results` (RFC 8601) that a message brings along: whose they claim to be, and one thing that a sealer says in them.

use crate::{header::Header, limits::MAX_RESULTS, tags::is_space};
use pure_addr::Domain;
use pure_index::{Span, judgement::MAX_FORGED};
use std::str::Chars;

/// The fields that claim to be from this host, or from nobody who can be made out; true when there are more than [`MAX_FORGED`].
pub(crate) fn forged(header: &Header<'_>, host: &Domain) -> (Vec<Span>, bool) {
    let claims = header.named("authentication-results").filter(|field| claims(field.value, host));
    let mut spans: Vec<Span> = claims.map(|field| field.span).take(MAX_FORGED.saturating_add(1)).collect();
    let more = spans.len() > MAX_FORGED;
    spans.truncate(MAX_FORGED);
    (spans, more)
}

/// RFC 8601 5: the authserv-id is compared without regard to case; one that some reader could take for ours is ours, and so is what nobody
/// could make out.
fn claims(value: &[u8], host: &Domain) -> bool {
    if value.len() > MAX_RESULTS {
        return true;
    }
    let Ok(text) = std::str::from_utf8(value) else { return true };
    let id = Parts::new(text).next().unwrap_or_default();
    // Whatever can stand in no name ends it, for one reader or another: white space, a version, a control character.
    let name: String = id.trim_start_matches(is_space).chars().take_while(|c| c.is_alphanumeric() || "-_.".contains(*c)).collect();
    let name = name.trim_end_matches('.');
    name.is_empty() || Domain::parse(name).map_or_else(|_| name.eq_ignore_ascii_case(host.as_str()), |domain| domain == *host)
}

/// Whether a sealer found that DMARC had passed.
pub(crate) fn says_dmarc_passed(payload: &str) -> bool {
    if payload.len() > MAX_RESULTS {
        return false;
    }
    // The first part is the sealer's name.
    let mut results = Parts::new(payload).skip(1).filter_map(|part| {
        let (method, rest) = part.split_once('=')?;
        // RFC 8601 2.2: a version may follow the method.
        let method = method.split('/').next().unwrap_or_default().trim_matches(is_space);
        let result = rest.trim_start_matches(is_space).split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        method.eq_ignore_ascii_case("dmarc").then(|| result.eq_ignore_ascii_case("pass"))
    });
    // One that says two things says nothing.
    results.next() == Some(true) && results.next().is_none()
}

/// The text without comments (RFC 5322 3.2.2), cut at semicolons; quotes are taken away and what is in them cuts nothing.
struct Parts<'a>(Option<Chars<'a>>);

impl<'a> Parts<'a> {
    fn new(text: &'a str) -> Self {
        Self(Some(text.chars()))
    }
}

impl Iterator for Parts<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let chars = self.0.as_mut()?;
        let mut part = String::new();
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        for c in chars {
            if std::mem::take(&mut escaped) {
                if depth == 0 {
                    part.push(if c == '=' || c == '/' { ' ' } else { c });
                }
                continue;
            }
            match c {
                '\\' if quoted || depth > 0 => escaped = true,
                '"' if depth == 0 => quoted = !quoted,
                '(' if !quoted => depth = depth.saturating_add(1),
                ')' if !quoted && depth > 0 => {
                    depth = depth.saturating_sub(1);
                    part.push(' ');
                }
                _ if depth > 0 => {}
                ';' if !quoted => return Some(part),
                // A quoted string names no method.
                '=' | '/' if quoted => part.push(' '),
                _ => part.push(c),
            }
        }
        self.0 = None;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_claims_to_be_us_is_found() {
        let host = Domain::parse("mx.test").unwrap();
        for forged in [
            "mx.test; spf=pass",
            " MX.Test ;spf=pass",
            "(a (b) \\) c) mx.test 1; none",
            "\"mx.test\"; none",
            "mx.test.; none",
            "\r\n\tmx.test\r\n\t; none",
            "mx(x).test; none",
            "",
            "; spf=pass",
            "(mx.test",
            "mx.test",
            // RFC 8601 2.2: a version, which no blank need stand before for every reader.
            "mx.test/1; dmarc=pass",
            "mx.test\u{b}; dmarc=pass",
            "\u{c}mx.test; dmarc=pass",
            "mx.test=; dmarc=pass",
            "mx.test\u{a0}; dmarc=pass",
            "mx.test..; dmarc=pass",
        ] {
            // What stands beside a comment is cut apart, for one reader; for another it is one word.
            if forged != "mx(x).test; none" {
                assert!(claims(forged.as_bytes(), &host), "{forged}");
            }
        }
        assert!(claims(b"\xff", &host));
        // Longer than anybody's is nobody's who could be made out.
        let long = |length: usize| format!("other.test; {}", "x".repeat(length));
        assert!(!claims(long(MAX_RESULTS - 12).as_bytes(), &host) && claims(long(MAX_RESULTS - 11).as_bytes(), &host));
        for other in ["other.test; spf=pass", "xmx.test; none", "mx.test.evil; none", "\"mx test\"; none", "(mx.test) other.test; none"] {
            assert!(!claims(other.as_bytes(), &host), "{other}");
        }
    }

    #[test]
    fn what_a_sealer_says_of_dmarc() {
        for passed in
            ["x.test; dmarc=pass", "x;spf=fail; DMARC/1 = pass (p=none) header.from=a", "x; dkim=fail; dmarc=Pass", "x;dmarc=(c)pass"]
        {
            assert!(says_dmarc_passed(passed), "{passed}");
        }
        for not in [
            "x.test; dmarc=fail",
            "dmarc=pass",
            "x; dmarc=passed",
            "x; (dmarc=pass)",
            "x; spf=pass reason=\"a; dmarc=pass\"",
            "x; spf=pass reason=\"\\\"; dmarc=pass\"",
            "x; dmarc=pass; dmarc=fail",
            "x; \"dmarc=pass\"",
            "x; xdmarc=pass",
            "x; dmarc.x=pass",
            "",
        ] {
            assert!(!says_dmarc_passed(not), "{not}");
        }
        let long = |length: usize| format!("x; dmarc=pass;{}", " ".repeat(length));
        assert!(says_dmarc_passed(&long(MAX_RESULTS - 14)) && !says_dmarc_passed(&long(MAX_RESULTS - 13)));
    }

    /// One part at a time: what a stranger writes between semicolons is not kept all at once.
    #[test]
    fn parts_are_read_one_by_one() {
        let mut parts = Parts::new("a (;) \";\";b");
        assert_eq!([parts.next(), parts.next(), parts.next()], [Some("a   ;".into()), Some("b".into()), None]);
    }
}
