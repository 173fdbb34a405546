//! The Sender Rewriting Scheme: a forwarded message gets a reverse-path of ours, and what comes back to it goes to its sender.
//!
//! `SRS0=HASH=DAY=DOMAIN=LOCAL@ours`, and for what was rewritten before us `SRS1=HASH=HOST=REST@ours`. The hash is of everything
//! else in it, in lower case since others change case; nobody can make one, so nobody can relay through us.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use pure_addr::{Address, Domain, LocalPart};
use sha2::Sha256;

/// Base32 digits of the hash: 50 bits.
const HASH: usize = 10;
/// Days that an address is good for. Failures come within a week; queues give up after five days.
const GOOD_FOR: i64 = 21;
/// Days that can be told apart: two digits.
const CYCLE: i64 = 1024;
const MILLIS: i64 = 86_400_000;
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Whether an address has the form of ours.
pub(crate) fn is(address: &Address) -> bool {
    tagged(address.local.as_str()).is_some()
}

/// 0 or 1, and what follows the tag.
fn tagged(local: &str) -> Option<(u8, &str)> {
    let (tag, rest) = (local.get(..4)?, local.get(5..)?);
    let separator = matches!(local.as_bytes().get(4), Some(b'=' | b'-' | b'+'));
    match (separator, tag.to_ascii_uppercase().as_str()) {
        (true, "SRS0") => Some((0, rest)),
        (true, "SRS1") => Some((1, rest)),
        _ => None,
    }
}

/// The reverse-path under which mail of `sender` is sent on, at our domain. None when it would be longer than a local part may be.
pub(crate) fn rewrite(key: &[u8], sender: &Address, ours: &Domain, now: i64) -> Option<Address> {
    let local = sender.local.as_str();
    let text = match tagged(local) {
        // Rewritten before: the first host is kept, and those between are skipped.
        Some((0, rest)) => {
            let rest = format!("{}={rest}", sender.domain);
            format!("SRS1={}={rest}", hash(key, &["1", &rest, ours.as_str()])?)
        }
        Some((_, rest)) => {
            let (_, rest) = rest.split_once('=')?;
            format!("SRS1={}={rest}", hash(key, &["1", rest, ours.as_str()])?)
        }
        None => {
            let day = stamp(now.div_euclid(MILLIS))?;
            let rest = format!("{}={local}", sender.domain);
            format!("SRS0={}={day}={rest}", hash(key, &["0", &day, &rest, ours.as_str()])?)
        }
    };
    Some(Address { local: LocalPart::new(text).ok()?, domain: ours.clone() })
}

/// To whom mail for an SRS address goes back; none when it is not one that we made lately.
pub(crate) fn reverse(key: &[u8], address: &Address, now: i64) -> Option<Address> {
    let ours = address.domain.as_str();
    let (form, rest) = tagged(address.local.as_str())?;
    let (given, rest) = rest.split_once('=')?;
    match form {
        0 => {
            let (day, rest) = rest.split_once('=')?;
            same(given, &hash(key, &["0", day, rest, ours])?).then_some(())?;
            fresh(day, now).then_some(())?;
            let (domain, local) = rest.split_once('=')?;
            Some(Address { local: LocalPart::new(local).ok()?, domain: Domain::parse(domain).ok()? })
        }
        _ => {
            same(given, &hash(key, &["1", rest, ours])?).then_some(())?;
            let (domain, local) = rest.split_once('=')?;
            Some(Address { local: LocalPart::new(format!("SRS0={local}")).ok()?, domain: Domain::parse(domain).ok()? })
        }
    }
}

fn hash(key: &[u8], parts: &[&str]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part.to_lowercase().as_bytes());
        // No part has a NUL.
        mac.update(b"\0");
    }
    let mut text = BASE32_NOPAD.encode(&mac.finalize().into_bytes());
    text.truncate(HASH);
    Some(text)
}

/// In the same time for all that differ.
fn same(given: &str, right: &str) -> bool {
    let given = given.to_ascii_uppercase();
    given.len() == right.len() && given.bytes().zip(right.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn stamp(day: i64) -> Option<String> {
    let day = usize::try_from(day.rem_euclid(CYCLE)).ok()?;
    let digit = |n: usize| DIGITS.get(n % 32).map(|d| char::from(*d));
    Some([digit(day / 32)?, digit(day)?].iter().collect())
}

fn fresh(text: &str, now: i64) -> bool {
    let today = now.div_euclid(MILLIS);
    (0..=GOOD_FOR).any(|ago| stamp(today.saturating_sub(ago)).is_some_and(|day| day.eq_ignore_ascii_case(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::address;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: i64 = 1_763_695_887_000;

    #[test]
    fn there_and_back_whatever_the_case() {
        let ours = Domain::parse("mta.test").unwrap();
        let sender = address("Some.One@remote.test");
        let path = rewrite(KEY, &sender, &ours, NOW).unwrap();
        assert!(path.local.as_str().starts_with("SRS0=") && path.local.as_str().ends_with("=remote.test=Some.One"), "{path}");
        assert_eq!(reverse(KEY, &path, NOW), Some(sender.clone()));
        let lower = address(&path.to_string().to_lowercase());
        assert_eq!(reverse(KEY, &lower, NOW + 21 * MILLIS).unwrap().key(), sender.key());
        assert_eq!(reverse(KEY, &path, NOW + 22 * MILLIS), None);
        assert!(is(&path) && !is(&sender));
    }

    #[test]
    fn what_was_rewritten_before_goes_back_to_the_first_host() {
        let ours = Domain::parse("mta.test").unwrap();
        let first = address("SRS0=abcd=XY=origin.test=user@first.test");
        let path = rewrite(KEY, &first, &ours, NOW).unwrap();
        assert!(path.local.as_str().starts_with("SRS1="), "{path}");
        assert_eq!(reverse(KEY, &path, NOW), Some(first));
        let second = address("SRS1=hhhh=first.test=abcd=XY=o.test=u@second.test");
        let path = rewrite(KEY, &second, &ours, NOW).unwrap();
        assert_eq!(reverse(KEY, &path, NOW), Some(address("SRS0=abcd=XY=o.test=u@first.test")));
    }

    /// Nobody makes one: another key, another domain, any change of it.
    #[test]
    fn forgeries_are_refused() {
        let ours = Domain::parse("mta.test").unwrap();
        let path = rewrite(KEY, &address("user@remote.test"), &ours, NOW).unwrap();
        let text = path.to_string();
        assert_eq!(reverse(b"another key of thirty-two bytes..", &path, NOW), None);
        for forged in [
            text.replace("remote.test", "victim.test"),
            text.replace("=user@", "=other@"),
            text.replace("@mta.test", "@other.test"),
            text.replace("SRS0=", "SRS1="),
            format!("SRS0={}", &text[7..]),
            "SRS0=@mta.test".into(),
            "SRS0====@mta.test".into(),
            "SRS0=AAAAAAAAAA=AA=remote.test=user@mta.test".into(),
        ] {
            let Ok(forged) = Address::parse(&forged) else { continue };
            assert_eq!(reverse(KEY, &forged, NOW), None, "{forged}");
        }
        for at in 5..15 {
            let mut changed = path.local.as_str().to_owned().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let forged = Address { local: LocalPart::new(String::from_utf8(changed).unwrap()).unwrap(), domain: ours.clone() };
            assert_eq!(reverse(KEY, &forged, NOW), None);
        }
    }

    #[test]
    fn what_is_too_long_is_not_rewritten() {
        let sender = address(&format!("{}@remote.test", "x".repeat(60)));
        assert_eq!(rewrite(KEY, &sender, &Domain::parse("mta.test").unwrap(), NOW), None);
    }
}
