//! What becomes of a stranger's message for where it is from. Pure: scan has found it out, and the directory says whose the author's domain is.

use crate::admit::Refusal;
use pure_addr::Domain;
use pure_config::MxConfig;
use pure_index::judgement::{Alignment, Dmarc, DmarcPolicy, DmarcResult, Judgement};
use wire::edge::mail::Reason;

/// What becomes of a message that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It is delivered: its author is proven, or somebody who is trusted vouches for it.
    Proven,
    /// It is delivered.
    Deliver,
    /// It is delivered here, and passed on to nobody.
    Keep,
    /// It is delivered where suspicious mail goes, and passed on to nobody.
    Suspect,
}

/// `own`: the author is of a domain of ours, or of one below, and not proven.
///
/// What cannot be known now refuses nothing, but mail in our own name, which comes again.
pub(crate) fn decide(judgement: &Judgement, own: bool, config: &MxConfig) -> Result<Disposition, Refusal> {
    const UNAUTHENTICATED: Refusal = Refusal::Rejected(Reason::Unauthenticated);
    let dmarc = &judgement.dmarc;
    // RFC 9989 5.3.1, RFC 5322 3.6 (attack case FROM-02): one reader shows one author, another the other, or a domain where there is none.
    // RFC 8601 5: what claims to be ours must go, and cannot.
    if judgement.overflow || dmarc.result == DmarcResult::PermError {
        return Err(UNAUTHENTICATED);
    }
    if dmarc.alignment == Alignment::Aligned || judgement.vouched_for(|sealer| config.trusted_sealers.contains(sealer)) {
        return Ok(Disposition::Proven);
    }
    if own {
        // Attack case RLY-04. A stranger may have made the names slow that would tell.
        return match (config.accept_own_unauthenticated, dmarc.alignment) {
            (true, _) => Ok(Disposition::Keep),
            (false, Alignment::Unknown) => Err(Refusal::Deferred),
            (false, Alignment::Aligned | Alignment::NotAligned) => Err(UNAUTHENTICATED),
        };
    }
    match (dmarc.result, dmarc.policy) {
        (DmarcResult::Fail, DmarcPolicy::Reject) => Err(Refusal::Rejected(Reason::Policy)),
        (DmarcResult::Fail, DmarcPolicy::Quarantine) => Ok(Disposition::Suspect),
        // RFC 5322 3.6.2: From names somebody.
        _ if dmarc.author.is_none() => Ok(Disposition::Suspect),
        _ => Ok(Disposition::Deliver),
    }
}

/// Whether an alias of this domain may pass a message on: what it sends has a reverse-path of that domain, and SPF passes for our address. So
/// what says that it is from there, or from a domain above it, would be believed elsewhere (RFC 9989 4.4, relaxed alignment).
pub(crate) fn pass_on(dmarc: &Dmarc, disposition: Disposition, alias: &Domain) -> Result<(), Refusal> {
    const NOT_PASSED_ON: Refusal = Refusal::Rejected(Reason::NotPassedOn);
    match disposition {
        Disposition::Proven => Ok(()),
        Disposition::Keep | Disposition::Suspect => Err(NOT_PASSED_ON),
        Disposition::Deliver => match &dmarc.author {
            Some(author) if alias.is_within(author) => {
                Err(if dmarc.alignment == Alignment::Unknown { Refusal::Deferred } else { NOT_PASSED_ON })
            }
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_index::judgement::{Arc, ArcResult, Seal};

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn judged(result: DmarcResult, policy: DmarcPolicy, alignment: Alignment) -> Judgement {
        Judgement { dmarc: Dmarc { result, policy, alignment, author: Some(domain("a.test")) }, ..Judgement::default() }
    }

    const UNAUTHENTICATED: Result<Disposition, Refusal> = Err(Refusal::Rejected(Reason::Unauthenticated));
    const POLICY: Result<Disposition, Refusal> = Err(Refusal::Rejected(Reason::Policy));

    /// Attack case RLY-04, and RFC 9989 7.4 for the domains of others.
    #[test]
    fn what_nothing_vouches_for() {
        use DmarcPolicy::{None as Nothing, Quarantine, Reject};
        use DmarcResult::{Fail, None, Pass, TempError};
        let (strict, lax) = (MxConfig::default(), MxConfig { accept_own_unauthenticated: true, ..MxConfig::default() });
        let (deliver, proven) = (Ok(Disposition::Deliver), Ok(Disposition::Proven));
        for (result, policy, others, ours) in [
            (None, Nothing, deliver, UNAUTHENTICATED),
            (Fail, Nothing, deliver, UNAUTHENTICATED),
            (Fail, Quarantine, Ok(Disposition::Suspect), UNAUTHENTICATED),
            (Fail, Reject, POLICY, UNAUTHENTICATED),
            (TempError, Reject, deliver, UNAUTHENTICATED),
        ] {
            let judgement = judged(result, policy, Alignment::NotAligned);
            assert_eq!(decide(&judgement, false, &strict), others, "{result:?} {policy:?}");
            assert_eq!(decide(&judgement, true, &strict), ours, "{result:?} {policy:?}");
            assert_eq!(decide(&judgement, true, &lax), Ok(Disposition::Keep), "{result:?} {policy:?}");
        }
        assert_eq!(decide(&judged(Pass, Reject, Alignment::Aligned), true, &strict), proven);
        // An outage refuses nobody. Who says that he is one of us comes again: he may have made it.
        for unknown in [judged(TempError, Reject, Alignment::Unknown), judged(None, Nothing, Alignment::Unknown)] {
            assert_eq!(decide(&unknown, false, &strict), deliver);
            assert_eq!(decide(&unknown, true, &strict), Err(Refusal::Deferred));
            assert_eq!(decide(&unknown, true, &lax), Ok(Disposition::Keep));
        }
        let mut nobody = judged(None, Nothing, Alignment::NotAligned);
        nobody.dmarc.author = Option::None;
        assert_eq!(decide(&nobody, false, &strict), Ok(Disposition::Suspect));
    }

    /// What an alias sends has our reverse-path and comes from our address.
    #[test]
    fn what_is_not_proven_is_not_vouched_for_elsewhere() {
        const NOT_PASSED_ON: Result<(), Refusal> = Err(Refusal::Rejected(Reason::NotPassedOn));
        let of = |author: &str, alignment, disposition| {
            let dmarc = Dmarc { author: Some(domain(author)), alignment, ..Dmarc::default() };
            pass_on(&dmarc, disposition, &domain("mail.corp.test"))
        };
        for author in ["other.test", "corp.test", "mail.corp.test"] {
            assert_eq!(of(author, Alignment::NotAligned, Disposition::Proven), Ok(()));
            assert_eq!(of(author, Alignment::NotAligned, Disposition::Keep), NOT_PASSED_ON);
            assert_eq!(of(author, Alignment::NotAligned, Disposition::Suspect), NOT_PASSED_ON);
        }
        assert_eq!(of("other.test", Alignment::NotAligned, Disposition::Deliver), Ok(()));
        assert_eq!(of("other.test", Alignment::Unknown, Disposition::Deliver), Ok(()));
        assert_eq!(of("corp.test", Alignment::NotAligned, Disposition::Deliver), NOT_PASSED_ON);
        assert_eq!(of("corp.test", Alignment::Unknown, Disposition::Deliver), Err(Refusal::Deferred));
    }

    /// Attack case ARC-01: a chain that holds counts for nothing by itself.
    #[test]
    fn a_trusted_sealer_vouches() {
        let sealer = domain("lists.test");
        let config = MxConfig { trusted_sealers: vec![sealer.clone()], ..MxConfig::default() };
        let mut judgement = judged(DmarcResult::Fail, DmarcPolicy::Reject, Alignment::NotAligned);
        judgement.arc = Arc { result: ArcResult::Pass, instance: Some(1), seals: vec![Seal { domain: sealer, passed: true }] };
        assert_eq!(decide(&judgement, true, &config), Ok(Disposition::Proven));
        assert_eq!(decide(&judgement, false, &MxConfig::default()), POLICY);
        judgement.arc.seals.iter_mut().for_each(|seal| seal.passed = false);
        assert_eq!(decide(&judgement, true, &config), UNAUTHENTICATED);
    }

    /// Attack case FROM-02, and RLY-04: what is no domain for us is ours for another reader.
    #[test]
    fn authors_that_are_not_clear_are_refused() {
        let unclear = judged(DmarcResult::PermError, DmarcPolicy::None, Alignment::NotAligned);
        let lax = MxConfig { accept_own_unauthenticated: true, ..MxConfig::default() };
        assert_eq!((decide(&unclear, false, &MxConfig::default()), decide(&unclear, false, &lax)), (UNAUTHENTICATED, UNAUTHENTICATED));
        let overflow = Judgement { overflow: true, ..judged(DmarcResult::Pass, DmarcPolicy::None, Alignment::Aligned) };
        assert_eq!(decide(&overflow, false, &MxConfig::default()), UNAUTHENTICATED);
    }
}
