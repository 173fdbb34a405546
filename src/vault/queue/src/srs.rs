//! The Sender Rewriting Scheme: a forwarded message gets a reverse-path of ours, and what comes back to it goes to its sender.
//!
//! `SRS0=HASH=DAY=DOMAIN=LOCAL@ours`, and for what was rewritten before us `SRS1=HASH=HOST=REST@ours`. The hash is of everything
//! else in it, in lower case since others change case; nobody can make one, so nobody can relay through us.
//!
//! A sender that does not fit into a local part of 64 octets (RFC 5321 4.5.3.1.1) is kept by the spool under a name,
//! `SRS0=NAME=DAY@ours`, for as long as such addresses are good. The name is a hash too.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use pure_addr::{Address, Domain, LocalPart, MAX_LOCAL_PART, MAX_PATH};
use sha2::Sha256;

/// Base32 digits of the hash: 50 bits.
const HASH: usize = 10;
/// Base32 digits of the name of a sender that is kept: 80 bits.
const NAME: usize = 16;
/// Days that an address is good for. Failures come within a week; queues give up after five days.
pub const GOOD_FOR: i64 = 21;
/// Days that can be told apart: two digits.
const CYCLE: i64 = 1024;
const MILLIS: i64 = 86_400_000;
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A reverse-path of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    pub path: Address,
    /// The sender, when the path does not say who that is.
    pub kept: Option<Kept>,
}

/// A sender that the spool keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub sender: Address,
    /// Since when, in days since 1970.
    pub day: i64,
}

/// To whom mail for an SRS address goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Sender(Address),
    /// The one that is kept under this name, if [`is_named`].
    Kept(String),
}

/// Whether an address has the form of ours.
pub fn is(address: &Address) -> bool {
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

/// The reverse-path under which mail of `sender` is sent on, at our domain. None when our domain is too long for any.
pub fn rewrite(key: &[u8], sender: &Address, ours: &Domain, now: i64) -> Option<Rewritten> {
    if let Some(path) = within(key, sender, ours, now) {
        return Some(Rewritten { path, kept: None });
    }
    let day = now.div_euclid(MILLIS);
    let stamp = stamp(day)?;
    let name = name(key, sender, ours, &stamp)?;
    let path = fitting(format!("SRS0={name}={stamp}"), ours)?;
    Some(Rewritten { path, kept: Some(Kept { name, sender: sender.clone(), day }) })
}

/// An address that is not too long, quotes included (RFC 5321 4.5.3.1.1, 4.5.3.1.3).
fn fitting(local: String, domain: &Domain) -> Option<Address> {
    let address = Address { local: LocalPart::new(local).ok()?, domain: domain.clone() };
    let length = address.local.to_string().len();
    // A path has brackets and `@` too.
    let whole = length.saturating_add(domain.as_str().len()).saturating_add(3);
    (length <= MAX_LOCAL_PART && whole <= MAX_PATH).then_some(address)
}

/// The form that says everything, if it fits.
fn within(key: &[u8], sender: &Address, ours: &Domain, now: i64) -> Option<Address> {
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
    fitting(text, ours)
}

/// To whom mail for an SRS address goes back; none when it is not one that we made lately.
pub fn reverse(key: &[u8], address: &Address, now: i64) -> Option<Origin> {
    let ours = address.domain.as_str();
    let (form, rest) = tagged(address.local.as_str())?;
    let (given, rest) = rest.split_once('=')?;
    match form {
        0 => {
            let Some((day, rest)) = rest.split_once('=') else {
                return (given.len() == NAME && fresh(rest, now)).then(|| Origin::Kept(given.to_ascii_uppercase()));
            };
            same(given, &hash(key, &["0", day, rest, ours])?).then_some(())?;
            fresh(day, now).then_some(())?;
            let (domain, local) = rest.split_once('=')?;
            Some(Origin::Sender(Address { local: LocalPart::new(local).ok()?, domain: Domain::parse(domain).ok()? }))
        }
        _ => {
            same(given, &hash(key, &["1", rest, ours])?).then_some(())?;
            let (domain, local) = rest.split_once('=')?;
            Some(Origin::Sender(Address { local: LocalPart::new(format!("SRS0={local}")).ok()?, domain: Domain::parse(domain).ok()? }))
        }
    }
}

/// Whether `address` names this sender, and was made on the day that it says.
pub fn is_named(key: &[u8], address: &Address, sender: &Address) -> bool {
    let parts = tagged(address.local.as_str()).and_then(|(_, rest)| rest.split_once('='));
    parts.is_some_and(|(given, day)| name(key, sender, &address.domain, &day.to_ascii_uppercase()).is_some_and(|name| same(given, &name)))
}

/// Of a sender on one day; exact in its case, which a remote may care for.
fn name(key: &[u8], sender: &Address, ours: &Domain, day: &str) -> Option<String> {
    digest(key, &["kept", day, &sender.to_string(), ours.as_str()], NAME)
}

fn hash(key: &[u8], parts: &[&str]) -> Option<String> {
    let lower: Vec<String> = parts.iter().map(|part| part.to_lowercase()).collect();
    digest(key, &lower.iter().map(String::as_str).collect::<Vec<_>>(), HASH)
}

fn digest(key: &[u8], parts: &[&str], digits: usize) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part.as_bytes());
        // No part has a NUL.
        mac.update(b"\0");
    }
    let mut text = BASE32_NOPAD.encode(&mac.finalize().into_bytes());
    text.truncate(digits);
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
        let path = rewritten(&sender, &ours);
        assert!(path.local.as_str().starts_with("SRS0=") && path.local.as_str().ends_with("=remote.test=Some.One"), "{path}");
        assert_eq!(reverse(KEY, &path, NOW), Some(Origin::Sender(sender.clone())));
        let lower = address(&path.to_string().to_lowercase());
        let Some(Origin::Sender(found)) = reverse(KEY, &lower, NOW + 21 * MILLIS) else { panic!() };
        assert_eq!(found.key(), sender.key());
        assert_eq!(reverse(KEY, &path, NOW + 22 * MILLIS), None);
        assert!(is(&path) && !is(&sender));
    }

    #[test]
    fn what_was_rewritten_before_goes_back_to_the_first_host() {
        let ours = Domain::parse("mta.test").unwrap();
        let first = address("SRS0=abcd=XY=origin.test=user@first.test");
        let path = rewritten(&first, &ours);
        assert!(path.local.as_str().starts_with("SRS1="), "{path}");
        assert_eq!(reverse(KEY, &path, NOW), Some(Origin::Sender(first)));
        let second = address("SRS1=hhhh=first.test=abcd=XY=o.test=u@second.test");
        let path = rewritten(&second, &ours);
        assert_eq!(reverse(KEY, &path, NOW), Some(Origin::Sender(address("SRS0=abcd=XY=o.test=u@first.test"))));
    }

    /// Nobody makes one: another key, another domain, any change of it.
    #[test]
    fn forgeries_are_refused() {
        let ours = Domain::parse("mta.test").unwrap();
        let path = rewritten(&address("user@remote.test"), &ours);
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

    /// RFC 5321 4.5.3.1.1: 64 octets, the quotes of a quoted local part among them.
    #[test]
    fn what_does_not_fit_has_a_name() {
        let ours = Domain::parse("mta.test").unwrap();
        // SRS0=, 10 digits, =, 2 digits, =, remote.test, =: 31 octets.
        let fits = address(&format!("{}@remote.test", "x".repeat(33)));
        assert_eq!(rewritten(&fits, &ours).local.as_str().len(), 64);
        for long in [
            format!("{}@remote.test", "x".repeat(34)),
            format!("{}@remote.test", "X".repeat(64)),
            format!("\"{} {}\"@remote.test", "x".repeat(16), "y".repeat(16)),
            format!("\u{fc}{}@remote.test", "x".repeat(32)),
            format!("a@{0}.{0}.test", "d".repeat(60)),
            format!("SRS0=abcd=XY={}.test=user@{}.test", "o".repeat(30), "f".repeat(30)),
            format!("SRS1=abcd={}.test==abcd=XY=o.test=user@second.test", "f".repeat(25)),
        ] {
            let sender = address(&long);
            let Rewritten { path, kept: Some(kept) } = rewrite(KEY, &sender, &ours, NOW).unwrap() else { panic!("{long}") };
            assert_eq!((path.to_string().len(), &kept.sender, kept.day), (5 + 16 + 3 + 9, &sender, NOW / MILLIS), "{path}");
            assert_eq!(address(&path.to_string()), path);
            // Back again, in any case, while it is good.
            for (way, at) in [(path.clone(), NOW), (address(&path.to_string().to_lowercase()), NOW + 21 * MILLIS)] {
                assert_eq!(reverse(KEY, &way, at), Some(Origin::Kept(kept.name.clone())));
                assert!(is_named(KEY, &way, &sender));
            }
            assert_eq!(reverse(KEY, &path, NOW + 22 * MILLIS), None);
            // Another sender, another day, another domain of ours, another key: another name.
            assert!(!is_named(KEY, &path, &fits) && !is_named(b"another key of thirty-two bytes..", &path, &sender));
            let day = address(&path.to_string().replace(path.local.as_str(), &format!("SRS0={}=AA", kept.name)));
            let domain = address(&path.to_string().replace("@mta.test", "@other.test"));
            assert!(!is_named(KEY, &day, &sender) && !is_named(KEY, &domain, &sender));
            // The same sender on the same day is kept once.
            assert_eq!(rewrite(KEY, &sender, &ours, NOW).unwrap().kept, Some(kept));
        }
        // What others made of such an address of ours fits, and comes back by the first host.
        let first = address("SRS0=ABCDEFGHIJKLMNOP=XY@first.test");
        assert_eq!(reverse(KEY, &rewritten(&first, &ours), NOW), Some(Origin::Sender(first)));
    }

    /// A path of ours that cannot be written is none: RFC 5321 4.5.3.1.3.
    #[test]
    fn a_domain_of_ours_that_leaves_no_room_gives_no_path() {
        let label = "d".repeat(60);
        let ours = Domain::parse(&format!("{label}.{label}.{label}.{label}.test")).unwrap();
        assert_eq!(rewrite(KEY, &address("x@remote.test"), &ours, NOW), None);
    }

    /// One that says everything.
    fn rewritten(sender: &Address, ours: &Domain) -> Address {
        let Rewritten { path, kept: None } = rewrite(KEY, sender, ours, NOW).unwrap() else { panic!("{sender} is kept") };
        path
    }
}
