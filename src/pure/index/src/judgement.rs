//! What `scan` finds about the origin of a message that came from outside: SPF, DKIM, DMARC and ARC, as closed values.
//!
//! Nothing of the message is in it but domain names and selectors of a closed alphabet, so what is written from it into a header
//! ([`Judgement::results`]) cannot end a clause or a line, whoever made it (attack case IPC-06).

use crate::{Span, bounded};
use pure_addr::Domain;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Signatures of one message that are verified, and so results of DKIM.
pub const MAX_SIGNATURES: usize = 8;
/// Sets of one ARC chain (RFC 8617 4.2.1).
pub const MAX_ARC_SETS: usize = 50;
/// Fields of one message that claim to be ours and are taken out.
pub const MAX_FORGED: usize = 100;
/// Bytes of a selector: what fits a domain name (RFC 1035 2.3.4).
pub const MAX_SELECTOR: usize = 253;

/// RFC 7208 2.6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpfResult {
    /// There is no policy.
    #[default]
    None,
    /// The policy says nothing.
    Neutral,
    /// The client may.
    Pass,
    /// The client may not.
    Fail,
    /// The client probably may not.
    SoftFail,
    /// It cannot be known now.
    TempError,
    /// The policy cannot be understood.
    PermError,
}

/// RFC 8601 2.7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DkimResult {
    /// The signature holds.
    Pass,
    /// It does not.
    Fail,
    /// It may hold, and counts for nothing here: a weak key or algorithm, or a part of the body that is not signed.
    Policy,
    /// It cannot be known now.
    TempError,
    /// The signature or its key cannot be understood.
    PermError,
}

/// RFC 9989 5.3, RFC 7489 11.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DmarcResult {
    /// There is no policy, or no author.
    #[default]
    None,
    /// An identity that is aligned with the author has passed.
    Pass,
    /// None has.
    Fail,
    /// It cannot be known now.
    TempError,
    /// There is not one author's domain.
    PermError,
}

/// What a domain asks for when a message in its name fails (RFC 9989 4.7 `p=`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DmarcPolicy {
    /// Nothing.
    #[default]
    None,
    /// Suspicion.
    Quarantine,
    /// Refusal.
    Reject,
}

/// Whether SPF or DKIM have passed for a domain that is aligned with the author's (RFC 9989 4.4), whatever is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alignment {
    /// One has.
    Aligned,
    /// None has.
    NotAligned,
    /// It cannot be known now: one might have.
    #[default]
    Unknown,
}

/// RFC 8617 4.4 and 5.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArcResult {
    /// There is no chain.
    #[default]
    None,
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It cannot be known now.
    TempError,
}

/// Which identity SPF was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpfIdentity {
    /// RFC 7208 2.4.
    MailFrom,
    /// RFC 7208 2.3.
    Helo,
}

/// One check of SPF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spf {
    /// What came of it.
    pub result: SpfResult,
    /// Of what.
    pub identity: SpfIdentity,
    /// Whose policy.
    pub domain: Domain,
}

/// The name of a key: labels of letters, digits, hyphens and underscores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(String);

impl Selector {
    /// In lower case (RFC 6376 3.1: names of the DNS).
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let label = |l: &str| !l.is_empty() && l.bytes().all(plain);
        (text.len() <= MAX_SELECTOR && text.split('.').all(label)).then(|| Self(text.to_ascii_lowercase()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Selector {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).filter(|selector| selector.0 == text).ok_or("not a selector")
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> String {
        selector.0
    }
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dkim {
    /// What came of it.
    pub result: DkimResult,
    /// `d=`, if it can be read.
    pub domain: Option<Domain>,
    /// `s=`, if it can be read.
    pub selector: Option<Selector>,
}

/// What DMARC says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dmarc {
    /// What came of it.
    pub result: DmarcResult,
    /// What the author's domain asks for when it fails.
    pub policy: DmarcPolicy,
    /// Whether something vouches for the author, whatever is published.
    pub alignment: Alignment,
    /// The domain in From, if there is exactly one.
    pub author: Option<Domain>,
}

/// One seal of a chain that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// `d=` of the ARC-Seal.
    pub domain: Domain,
    /// The sealer says that DMARC had passed when the message came to it.
    pub passed: bool,
}

/// The ARC chain of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arc {
    /// What came of it.
    pub result: ArcResult,
    /// The highest instance that there is; none when the chain cannot be continued: it has no order, or its end says `cv=fail`
    /// (RFC 8617 5.1).
    pub instance: Option<u8>,
    /// The seals of a chain that holds, oldest first.
    #[serde(deserialize_with = "bounded::<_, _, MAX_ARC_SETS>")]
    pub seals: Vec<Seal>,
}

/// Everything that `scan` finds about the origin of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// SPF of MAIL FROM and of HELO, in that order, as far as they name a domain.
    #[serde(deserialize_with = "bounded::<_, _, 2>")]
    pub spf: Vec<Spf>,
    /// The first [`MAX_SIGNATURES`] signatures.
    #[serde(deserialize_with = "bounded::<_, _, MAX_SIGNATURES>")]
    pub dkim: Vec<Dkim>,
    /// DMARC.
    pub dmarc: Dmarc,
    /// ARC.
    pub arc: Arc,
    /// `Authentication-Results` fields of the message that claim to be ours (RFC 8601 5), in order.
    #[serde(deserialize_with = "bounded::<_, _, MAX_FORGED>")]
    pub forged: Vec<Span>,
    /// There are more of them, or more fields than are looked at.
    pub overflow: bool,
}

impl Judgement {
    /// `authres-payload` (RFC 8601 2.2, RFC 8617 4.1.1): our name and all results, each on a line of its own.
    pub fn results(&self, host: &Domain) -> String {
        let mut out = host.to_string();
        // Writing to a String does not fail.
        for Spf { result, identity, domain } in &self.spf {
            let of = match identity {
                SpfIdentity::MailFrom => "mailfrom",
                SpfIdentity::Helo => "helo",
            };
            let _ = write!(out, ";\r\n\tspf={} smtp.{of}={domain}", spf(*result));
        }
        if self.spf.is_empty() {
            out.push_str(";\r\n\tspf=none");
        }
        for Dkim { result, domain, selector } in &self.dkim {
            let _ = write!(out, ";\r\n\tdkim={}", dkim(*result));
            if let Some(domain) = domain {
                let _ = write!(out, " header.d={domain}");
            }
            if let Some(selector) = selector {
                let _ = write!(out, "\r\n\t header.s={}", selector.as_str());
            }
        }
        if self.dkim.is_empty() {
            out.push_str(";\r\n\tdkim=none");
        }
        let _ = write!(out, ";\r\n\tdmarc={}", dmarc(self.dmarc.result));
        if matches!(self.dmarc.result, DmarcResult::Pass | DmarcResult::Fail) {
            let _ = write!(out, " (p={})", policy(self.dmarc.policy));
        }
        if let Some(author) = &self.dmarc.author {
            let _ = write!(out, " header.from={author}");
        }
        let _ = write!(out, ";\r\n\tarc={}", arc(self.arc.result));
        if let Some(last) = self.arc.seals.last() {
            let _ = write!(out, " (i={} d={})", self.arc.seals.len(), last.domain);
        }
        out
    }

    /// Whether a seal of somebody who is trusted says that DMARC had passed, and all that came after it are trusted too.
    pub fn vouched_for(&self, trusted: impl Fn(&Domain) -> bool) -> bool {
        self.arc.result == ArcResult::Pass && self.arc.seals.iter().rev().take_while(|seal| trusted(&seal.domain)).any(|seal| seal.passed)
    }
}

fn spf(result: SpfResult) -> &'static str {
    match result {
        SpfResult::None => "none",
        SpfResult::Neutral => "neutral",
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
    }
}

fn dkim(result: DkimResult) -> &'static str {
    match result {
        DkimResult::Pass => "pass",
        DkimResult::Fail => "fail",
        DkimResult::Policy => "policy",
        DkimResult::TempError => "temperror",
        DkimResult::PermError => "permerror",
    }
}

fn dmarc(result: DmarcResult) -> &'static str {
    match result {
        DmarcResult::None => "none",
        DmarcResult::Pass => "pass",
        DmarcResult::Fail => "fail",
        DmarcResult::TempError => "temperror",
        DmarcResult::PermError => "permerror",
    }
}

fn policy(policy: DmarcPolicy) -> &'static str {
    match policy {
        DmarcPolicy::None => "none",
        DmarcPolicy::Quarantine => "quarantine",
        DmarcPolicy::Reject => "reject",
    }
}

fn arc(result: ArcResult) -> &'static str {
    match result {
        ArcResult::None => "none",
        ArcResult::Pass => "pass",
        ArcResult::Fail => "fail",
        // RFC 8617 10.1 registers none, pass and fail; RFC 8601 2.7 has this one for all methods.
        ArcResult::TempError => "temperror",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn results_as_they_are_written() {
        let judgement = Judgement {
            spf: vec![
                Spf { result: SpfResult::Pass, identity: SpfIdentity::MailFrom, domain: domain("a.test") },
                Spf { result: SpfResult::SoftFail, identity: SpfIdentity::Helo, domain: domain("mx.a.test") },
            ],
            dkim: vec![
                Dkim { result: DkimResult::Pass, domain: Some(domain("a.test")), selector: Selector::parse("2026") },
                Dkim { result: DkimResult::PermError, domain: None, selector: None },
            ],
            dmarc: Dmarc {
                result: DmarcResult::Pass,
                policy: DmarcPolicy::Reject,
                alignment: Alignment::Aligned,
                author: Some(domain("a.test")),
            },
            arc: Arc { result: ArcResult::Pass, instance: Some(1), seals: vec![Seal { domain: domain("l.test"), passed: true }] },
            ..Judgement::default()
        };
        assert_eq!(
            judgement.results(&domain("mx.test")),
            "mx.test;\r\n\tspf=pass smtp.mailfrom=a.test;\r\n\tspf=softfail smtp.helo=mx.a.test;\r\n\tdkim=pass header.d=a.test\r\n\t \
             header.s=2026;\r\n\tdkim=permerror;\r\n\tdmarc=pass (p=reject) header.from=a.test;\r\n\tarc=pass (i=1 d=l.test)"
        );
        let nothing = Judgement::default().results(&domain("mx.test"));
        assert_eq!(nothing, "mx.test;\r\n\tspf=none;\r\n\tdkim=none;\r\n\tdmarc=none;\r\n\tarc=none");
    }

    /// Attack case IPC-06: what could end a clause is no selector.
    #[test]
    fn selectors_hold_nothing_that_could_end_a_clause() {
        for bad in ["", "a b", "a;dmarc=pass", "a\r\nX: y", "a..b", ".", "a(", "\u{e4}", &"a".repeat(254)] {
            assert_eq!(Selector::parse(bad), None, "{bad}");
        }
        assert_eq!(Selector::parse("S1.x_y-").unwrap().as_str(), "s1.x_y-");
        assert!(Selector::try_from("S1".to_owned()).is_err());
    }

    #[test]
    fn only_an_unbroken_row_of_trusted_seals_vouches() {
        let seal = |name: &str, passed| Seal { domain: domain(name), passed };
        let judged = |result, seals: Vec<Seal>| Judgement { arc: Arc { result, instance: None, seals }, ..Judgement::default() };
        let trusted = |d: &Domain| d.as_str().starts_with("good");
        assert!(judged(ArcResult::Pass, vec![seal("good.test", true)]).vouched_for(trusted));
        assert!(
            judged(ArcResult::Pass, vec![seal("bad.test", false), seal("good.test", true), seal("good2.test", false)]).vouched_for(trusted)
        );
        assert!(!judged(ArcResult::Pass, vec![seal("good.test", true), seal("bad.test", true)]).vouched_for(trusted));
        assert!(!judged(ArcResult::Pass, vec![seal("bad.test", true), seal("good.test", false)]).vouched_for(trusted));
        assert!(!judged(ArcResult::Fail, vec![seal("good.test", true)]).vouched_for(trusted));
        assert!(!judged(ArcResult::Pass, vec![]).vouched_for(trusted));
    }
}
