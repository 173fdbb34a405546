//! `Authentication-Results` (RFC 8601) that a message brings along: whose they claim to be, and one thing that a sealer says in them.

use crate::{header::Header, tags::is_space};
use pure_addr::Domain;
use pure_index::{Span, judgement::MAX_FORGED};

/// The fields that claim to be from this host, or from nobody who can be made out; true when there are more than [`MAX_FORGED`].
pub(crate) fn forged(header: &Header<'_>, host: &Domain) -> (Vec<Span>, bool) {
    let claims = header.named("authentication-results").filter(|field| claims(field.value, host));
    let mut spans: Vec<Span> = claims.map(|field| field.span).take(MAX_FORGED.saturating_add(1)).collect();
    let more = spans.len() > MAX_FORGED;
    spans.truncate(MAX_FORGED);
    (spans, more)
}

/// RFC 8601 5: the authserv-id is compared without regard to case; one that some reader could take for ours is ours.
fn claims(value: &[u8], host: &Domain) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return true };
    let words = Words::new(text);
    let id = words.first();
    let name: String = id.chars().take_while(|c| !is_space(*c)).collect();
    name.is_empty() || Domain::parse(name.trim_end_matches('.')).map_or_else(|_| name.eq_ignore_ascii_case(host.as_str()), |d| d == *host)
}

/// Whether a sealer found that DMARC had passed.
pub(crate) fn says_dmarc_passed(payload: &str) -> bool {
    let words = Words::new(payload);
    let mut results = words.results().filter_map(|result| {
        let (method, rest) = result.split_once('=')?;
        // RFC 8601 2.2: a version may follow the method.
        let method = method.split('/').next().unwrap_or_default().trim_matches(is_space);
        let result = rest.trim_start_matches(is_space).split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        method.eq_ignore_ascii_case("dmarc").then(|| result.eq_ignore_ascii_case("pass"))
    });
    // One that says two things says nothing.
    results.next() == Some(true) && results.next().is_none()
}

/// The text without comments (RFC 5322 3.2.2), cut at semicolons; quotes are taken away and what is in them cuts nothing.
struct Words(Vec<String>);

impl Words {
    fn new(text: &str) -> Self {
        let (mut parts, mut part) = (Vec::new(), String::new());
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        for c in text.chars() {
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
                ';' if !quoted => parts.push(std::mem::take(&mut part)),
                // A quoted string names no method.
                '=' | '/' if quoted => part.push(' '),
                _ => part.push(c),
            }
        }
        parts.push(part);
        Self(parts)
    }

    /// Before the first semicolon.
    fn first(&self) -> &str {
        self.0.first().map(|part| part.trim_matches(is_space)).unwrap_or_default()
    }

    /// Behind it.
    fn results(&self) -> impl Iterator<Item = &str> {
        self.0.iter().skip(1).map(|part| part.trim_matches(is_space))
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
        ] {
            // What stands beside a comment is cut apart, for one reader; for another it is one word.
            if forged != "mx(x).test; none" {
                assert!(claims(forged.as_bytes(), &host), "{forged}");
            }
        }
        assert!(claims(b"\xff", &host));
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
    }
}
