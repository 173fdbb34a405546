//! The text of a policy (RFC 7208 4.5, 4.6, 5, 6).

use super::macros::{MacroString, Malformed};
use crate::limits::MAX_SPF_TERMS;
use pure_index::judgement::SpfResult;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A policy, understood as a whole: one mistake anywhere and there is none (RFC 7208 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) directives: Vec<Directive>,
    pub(crate) redirect: Option<MacroString>,
}

/// What a client that matches comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) result: SpfResult,
    pub(crate) mechanism: Mechanism,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Prefixes),
    Mx(Option<MacroString>, Prefixes),
    Ptr(Option<MacroString>),
    Network(Network),
    Exists(MacroString),
}

/// Bits of an address that must be the same, by family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefixes {
    v4: u8,
    v6: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    pub(crate) fn contains(&self, peer: IpAddr) -> bool {
        let differing = match (self.address, peer) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
            _ => return false,
        };
        differing >= u32::from(self.bits)
    }
}

impl Prefixes {
    pub(crate) fn around(self, address: IpAddr) -> Network {
        Network { address, bits: if address.is_ipv4() { self.v4 } else { self.v6 } }
    }
}

/// Whether a record is one of SPF (RFC 7208 4.5).
pub(crate) fn is_spf(text: &str) -> bool {
    let version = text.get(..6).is_some_and(|v| v.eq_ignore_ascii_case("v=spf1"));
    version && matches!(text.as_bytes().get(6), None | Some(b' '))
}

impl Policy {
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let mut policy = Self { directives: Vec::new(), redirect: None };
        let mut explained = false;
        let terms = text.get(6..).ok_or(Malformed)?.split(' ').filter(|term| !term.is_empty());
        for (number, term) in terms.enumerate() {
            if number >= MAX_SPF_TERMS {
                return Err(Malformed);
            }
            let name = term.split(['=', ':', '/']).next().unwrap_or_default();
            match term.get(name.len()..).and_then(|rest| rest.strip_prefix('=')) {
                Some(value) if is_name(name) => match name.to_ascii_lowercase().as_str() {
                    // RFC 7208 6: these two stand once.
                    "redirect" if policy.redirect.is_none() => policy.redirect = Some(name_spec(value)?),
                    "exp" if !explained => {
                        name_spec(value)?;
                        explained = true;
                    }
                    "redirect" | "exp" => return Err(Malformed),
                    // RFC 7208 6: others are passed over, if they are well formed.
                    _ => drop(MacroString::parse(value, true)?),
                },
                _ => policy.directives.push(directive(term)?),
            }
        }
        Ok(policy)
    }
}

/// RFC 7208 4.6.1: the name of a modifier.
fn is_name(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn directive(term: &str) -> Result<Directive, Malformed> {
    let (result, rest) = match term.chars().next() {
        Some('+') => (SpfResult::Pass, term.get(1..)),
        Some('-') => (SpfResult::Fail, term.get(1..)),
        Some('~') => (SpfResult::SoftFail, term.get(1..)),
        Some('?') => (SpfResult::Neutral, term.get(1..)),
        _ => (SpfResult::Pass, Some(term)),
    };
    let rest = rest.ok_or(Malformed)?;
    let at = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, behind) = rest.split_at_checked(at).ok_or(Malformed)?;
    let argument = behind.strip_prefix(':');
    let mechanism = match (name.to_ascii_lowercase().as_str(), argument) {
        ("all", None) if behind.is_empty() => Mechanism::All,
        ("include", Some(name)) => Mechanism::Include(name_spec(name)?),
        ("exists", Some(name)) => Mechanism::Exists(name_spec(name)?),
        ("a", _) => with_prefixes(behind).map(|(name, prefixes)| Mechanism::A(name, prefixes))?,
        ("mx", _) => with_prefixes(behind).map(|(name, prefixes)| Mechanism::Mx(name, prefixes))?,
        ("ptr", Some(name)) => Mechanism::Ptr(Some(name_spec(name)?)),
        ("ptr", None) if behind.is_empty() => Mechanism::Ptr(None),
        ("ip4", Some(text)) => Mechanism::Network(network::<Ipv4Addr>(text, 32)?),
        ("ip6", Some(text)) => Mechanism::Network(network::<Ipv6Addr>(text, 128)?),
        _ => return Err(Malformed),
    };
    Ok(Directive { result, mechanism })
}

/// RFC 7208 7.1 domain-spec.
fn name_spec(text: &str) -> Result<MacroString, Malformed> {
    let name = MacroString::parse(text, false)?;
    if name.ends_as_a_name() { Ok(name) } else { Err(Malformed) }
}

/// `[ ":" domain-spec ] [ "/" bits ] [ "//" bits ]` (RFC 7208 5.3, 5.4). A slash may also stand in the name and in a macro.
fn with_prefixes(text: &str) -> Result<(Option<MacroString>, Prefixes), Malformed> {
    let mut prefixes = Prefixes { v4: 32, v6: 128 };
    let mut rest = text;
    if let Some((before, number)) = rest.rsplit_once("//")
        && is_number(number)
    {
        prefixes.v6 = bits(number, 128)?;
        rest = before;
    }
    if let Some((before, number)) = rest.rsplit_once('/')
        && is_number(number)
    {
        prefixes.v4 = bits(number, 32)?;
        rest = before;
    }
    match rest.strip_prefix(':') {
        Some(name) => Ok((Some(name_spec(name)?), prefixes)),
        None if rest.is_empty() => Ok((None, prefixes)),
        None => Err(Malformed),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn network<A: std::str::FromStr + Into<IpAddr>>(text: &str, most: u8) -> Result<Network, Malformed> {
    let (address, number) = text.split_once('/').map_or((text, None), |(address, number)| (address, Some(number)));
    let address = address.parse::<A>().map_err(|_| Malformed)?.into();
    Ok(Network { address, bits: number.map_or(Ok(most), |number| bits(number, most))? })
}

/// RFC 7208 5.6: no leading zeros.
fn bits(text: &str, most: u8) -> Result<u8, Malformed> {
    let plain = is_number(text) && (text == "0" || !text.starts_with('0'));
    text.parse::<u8>().ok().filter(|bits| plain && *bits <= most).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert!(
            is_spf("v=spf1") && is_spf("V=SPF1 -all") && !is_spf("v=spf10") && !is_spf("v=spf1;-all") && !is_spf("v=spf") && !is_spf("")
        );
    }

    #[test]
    fn policies_that_are_understood() {
        let policy =
            Policy::parse("v=spf1  mx/24//64 -A:%{d2}/30 ?include:a.test ip4:192.0.2.0/24 ip6:2001:db8::/32 foo=b%%r exp=x.%{d} ~all ")
                .unwrap();
        assert_eq!(policy.directives.len(), 6);
        let results: Vec<_> = policy.directives.iter().map(|d| d.result).collect();
        use SpfResult::*;
        assert_eq!(results, [Pass, Fail, Neutral, Pass, Pass, SoftFail]);
        let Mechanism::Network(network) = &policy.directives[3].mechanism else { panic!() };
        assert!(network.contains("192.0.2.255".parse().unwrap()) && !network.contains("192.0.3.0".parse().unwrap()));
        assert!(!network.contains("::ffff:192.0.2.1".parse().unwrap()));
        let all = Network { address: "::".parse().unwrap(), bits: 0 };
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!(Policy::parse("v=spf1 redirect=_spf.%{d}").unwrap().redirect.is_some());
        assert_eq!(Policy::parse("v=spf1").unwrap().directives, []);
        assert!(Policy::parse("v=spf1 exists:%{l1r+-/}.a.test a:%{d/}.b.test/8").is_ok());
        // A name may have whatever is printed.
        let policy = Policy::parse("v=spf1 a:foo:bar/baz.example.com a:a/b.example.com/24//64 mx:a//b.example.com").unwrap();
        let Mechanism::A(Some(_), prefixes) = &policy.directives[1].mechanism else { panic!() };
        assert_eq!(*prefixes, Prefixes { v4: 24, v6: 64 });
    }

    #[test]
    fn one_mistake_anywhere_and_there_is_none() {
        for bad in [
            "foo",
            "all:x",
            "all/8",
            "include",
            "include:",
            "include:a",
            "exists",
            "a:",
            "a:a",
            "a/33",
            "a/01",
            "a//129",
            "a/8/8",
            "mx:a.test/",
            "mx:a.test/x",
            "a//",
            "a/x",
            "a:b.test//",
            "ptr:",
            "ptr/8",
            "ip4",
            "ip4:",
            "ip4:192.0.2",
            "ip4:192.0.2.1/33",
            "ip4:::1",
            "ip6:192.0.2.1",
            "ip6:::1/129",
            "ip4:192.0.2.1/+8",
            "redirect=a.test redirect=b.test",
            "exp=a.test exp=b.test",
            "redirect=",
            "exp=a",
            "x=%",
            "-",
            "++all",
            "=x",
            "1x=y",
            "a:b.test:c",
            "%{d}",
            "include=a.test",
            "all -",
            "a\u{e4}=b\u{e4}",
        ] {
            // A known name with an equals sign is an unknown modifier, which is passed over.
            if bad != "include=a.test" {
                assert!(Policy::parse(&format!("v=spf1 {bad} -all")).is_err(), "{bad}");
            }
        }
        assert!(Policy::parse(&format!("v=spf1{}", " a".repeat(MAX_SPF_TERMS + 1))).is_err());
    }
}
