//! MTA-STS (RFC 8461): the record that says there is a policy, and the policy.

use std::time::Duration;

/// Bytes of a policy (RFC 8461 3.2: 64 kilobytes).
pub const MAX_POLICY: usize = 64 * 1024;
/// Hosts of a policy that are kept; mail goes to fewer.
const MAX_HOSTS: usize = 64;
/// Bytes of a record that are looked at.
const MAX_RECORD: usize = 2048;
/// RFC 8461 3.2: about one year.
const MAX_AGE: u64 = 31_557_600;

/// What `_mta-sts.DOMAIN` says: the id of the current policy. None when there is no policy (RFC 8461 3.1: not exactly one record).
pub fn record_id<'a>(records: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut stated = records.into_iter().filter(|text| text.len() <= MAX_RECORD).filter(|text| is_version(text));
    match (stated.next(), stated.next()) {
        (Some(text), None) => id_of(text),
        _ => None,
    }
}

/// RFC 8461 3.1: begins with `v=STSv1` and a semicolon, case and all.
fn is_version(text: &str) -> bool {
    text.strip_prefix("v=STSv1").is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with(';'))
}

fn id_of(text: &str) -> Option<String> {
    let mut id = None;
    for field in text.split(';').skip(1) {
        let field = field.trim_matches([' ', '\t']);
        if field.is_empty() {
            continue;
        }
        let (name, value) = field.split_once('=')?;
        if name == "id" && id.is_none() {
            let well_formed = (1..=32).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric());
            id = Some(well_formed.then(|| value.to_owned())?);
        }
    }
    id
}

/// What happens to hosts outside a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Mail does not go there.
    Enforce,
    /// It is reported.
    Testing,
    /// There is no policy any more.
    None,
}

/// A policy (RFC 8461 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `mode`.
    pub mode: Mode,
    /// `max_age`: how long it holds after it was fetched.
    pub max_age: Duration,
    /// `mx`, in lower case.
    hosts: Vec<String>,
}

/// Why text is no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Beyond [`MAX_POLICY`].
    #[error("is larger than 64 KiB")]
    TooLarge,
    /// Not UTF-8, or a line that is no `key: value`.
    #[error("is not made of lines `key: value`")]
    Form,
    /// Not `version: STSv1`.
    #[error("has no version STSv1")]
    Version,
    /// No mode, or another one.
    #[error("has no valid mode")]
    Mode,
    /// No `max_age`, or not a number of seconds up to a year.
    #[error("has no valid max_age")]
    MaxAge,
    /// No host where one must be, or none that could be one.
    #[error("has no valid mx")]
    Host,
}

impl Policy {
    /// Reads the body of a policy file.
    pub fn parse(body: &[u8]) -> Result<Self, Invalid> {
        if body.len() > MAX_POLICY {
            return Err(Invalid::TooLarge);
        }
        let text = std::str::from_utf8(body).map_err(|_| Invalid::Form)?;
        let (mut version, mut mode, mut max_age, mut hosts) = (None, None, None, Vec::new());
        // RFC 8461 3.2: LF or CRLF.
        for line in text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)) {
            if line.trim_matches([' ', '\t']).is_empty() {
                continue;
            }
            let (key, value) = line.split_once(':').ok_or(Invalid::Form)?;
            let value = value.trim_matches([' ', '\t']);
            if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
                return Err(Invalid::Form);
            }
            // RFC 8461 3.2: of a field that stands twice the first counts, except mx.
            match key {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" if hosts.len() < MAX_HOSTS => hosts.push(host(value).ok_or(Invalid::Host)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(Invalid::Version);
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(Invalid::Mode),
        };
        let digits = max_age.filter(|v| (1..=10).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_digit())).ok_or(Invalid::MaxAge)?;
        let seconds: u64 = digits.parse().map_err(|_| Invalid::MaxAge)?;
        if hosts.is_empty() && mode != Mode::None {
            return Err(Invalid::Host);
        }
        // A longer time is no mistake that should cost the domain its protection.
        Ok(Self { mode, max_age: Duration::from_secs(seconds.min(MAX_AGE)), hosts })
    }

    /// Whether mail may go to this host (RFC 8461 4.1): a wildcard stands for exactly one label, the leftmost.
    pub fn allows(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.hosts.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(suffix) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
            None => *pattern == name,
        })
    }

    /// Its lines, for a report (RFC 8460 4.1).
    pub fn lines(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let fixed = ["version: STSv1".to_owned(), format!("mode: {mode}"), format!("max_age: {}", self.max_age.as_secs())];
        fixed.into_iter().chain(self.hosts.iter().map(|host| format!("mx: {host}"))).collect()
    }
}

/// A host name or `*.` and one.
fn host(text: &str) -> Option<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    (name.len() <= 253 && name.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800\n";

    fn parse(text: &str) -> Result<Policy, Invalid> {
        Policy::parse(text.as_bytes())
    }

    #[test]
    fn records() {
        for (good, id) in [("v=STSv1; id=20160831085700Z;", "20160831085700Z"), ("v=STSv1;id=1", "1"), ("v=STSv1 ; x=y; id=a; id=b;", "a")]
        {
            assert_eq!(record_id([good, "v=spf1 -all"]).as_deref(), Some(id));
        }
        for bad in [
            "v=STSv1",
            "v=STSv1;",
            "v=STSv1; id=;",
            "v=STSv1; id=a b;",
            "v=STSv2; id=1;",
            "V=STSv1; id=1;",
            "id=1; v=STSv1;",
            "v=STSv1; id=a-b;",
            "v=STSv1; id",
        ] {
            assert_eq!(record_id([bad]), None, "{bad}");
        }
        assert_eq!(record_id([format!("v=STSv1; id={};", "a".repeat(33)).as_str()]), None);
        // RFC 8461 3.1: two records are none.
        assert_eq!(record_id(["v=STSv1; id=1;", "v=STSv1; id=2;"]), None);
        assert_eq!(record_id([]), None);
    }

    #[test]
    fn policies() {
        let policy = parse(GOOD).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::Enforce, Duration::from_secs(604_800)));
        assert_eq!(parse(&GOOD.replace('\n', "\r\n")).unwrap(), policy);
        assert_eq!(parse(&format!("{GOOD}x-new: whatever: it is\nmode: none\n")).unwrap(), policy);
        assert_eq!(parse("version: STSv1\nmode: none\nmax_age: 0").unwrap().mode, Mode::None);
        assert_eq!(policy.lines().last().unwrap(), "mx: backupmx.example.com");
        assert_eq!(parse(&GOOD.replace("604800", "9999999999")).unwrap().max_age.as_secs(), MAX_AGE);
        assert_eq!(parse(&policy.lines().join("\n")).unwrap(), policy);
    }

    #[test]
    fn hosts_match_whole_labels() {
        let policy = parse(GOOD).unwrap();
        for (name, allowed) in [
            ("mail.example.com", true),
            ("MAIL.EXAMPLE.COM", true),
            ("x.example.net", true),
            ("example.net", false),
            ("a.b.example.net", false),
            ("xmail.example.com", false),
            ("mail.example.com.evil.test", false),
            ("*.example.net", true),
            (".example.net", false),
            ("", false),
        ] {
            assert_eq!(policy.allows(name), allowed, "{name}");
        }
    }

    #[test]
    fn broken_policies_are_refused() {
        for (from, to, why) in [
            ("STSv1", "STSv2", Invalid::Version),
            ("version: STSv1\n", "", Invalid::Version),
            ("enforce", "Enforce", Invalid::Mode),
            ("mode: enforce\n", "", Invalid::Mode),
            ("604800", "-1", Invalid::MaxAge),
            ("604800", "12345678901", Invalid::MaxAge),
            ("max_age: 604800\n", "", Invalid::MaxAge),
            ("*.example.net", "*.*.net", Invalid::Host),
            ("*.example.net", "mx.*.net", Invalid::Host),
            ("*.example.net", "*", Invalid::Host),
            ("*.example.net", "", Invalid::Host),
            ("mode: ", "mode ", Invalid::Form),
            ("version", "<html>", Invalid::Form),
        ] {
            assert_eq!(parse(&GOOD.replacen(from, to, 1)), Err(why), "{from} -> {to}");
        }
        assert_eq!(parse("version: STSv1\nmode: testing\nmax_age: 1\n"), Err(Invalid::Host));
        assert_eq!(Policy::parse(b"\xff"), Err(Invalid::Form));
        assert_eq!(Policy::parse(&vec![b'\n'; MAX_POLICY + 1]), Err(Invalid::TooLarge));
        assert!(Policy::parse(&[GOOD.as_bytes(), &vec![b'\n'; MAX_POLICY - GOOD.len()]].concat()).is_ok());
    }
}
