//! What becomes of a stranger's message for where it is from. Pure: scan has found it out, and the directory says whose the author's domain is.

use crate::admit::Refusal;
use pure_config::MxConfig;
use pure_index::{
    MessageIndex,
    judgement::{Alignment, DmarcPolicy, DmarcResult, Judgement},
};
use wire::edge::mail::Reason;

/// What becomes of a message that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It is delivered.
    Deliver,
    /// It is delivered where suspicious mail goes.
    Suspect,
}

/// `own`: the author is of a domain of ours, and nothing vouches for it.
///
/// What cannot be known now refuses nothing.
pub(crate) fn decide(judgement: &Judgement, index: &MessageIndex, own: bool, config: &MxConfig) -> Result<Disposition, Refusal> {
    let dmarc = &judgement.dmarc;
    // RFC 9989 5.3.1, RFC 5322 3.6 (attack case FROM-02): one reader shows one author, another the other. RFC 8601 5: what claims to be ours
    // must go, and cannot.
    if judgement.overflow || (dmarc.result == DmarcResult::PermError && has_several_authors(index)) {
        return Err(Refusal::Rejected(Reason::Unauthenticated));
    }
    if dmarc.alignment == Alignment::Aligned || judgement.vouched_for(|sealer| config.trusted_sealers.contains(sealer)) {
        return Ok(Disposition::Deliver);
    }
    if own && dmarc.alignment == Alignment::NotAligned {
        // Attack case RLY-04.
        return if config.accept_own_unauthenticated { Ok(Disposition::Deliver) } else { Err(Refusal::Rejected(Reason::Unauthenticated)) };
    }
    match (dmarc.result, dmarc.policy) {
        (DmarcResult::Fail, DmarcPolicy::Reject) => Err(Refusal::Rejected(Reason::Policy)),
        (DmarcResult::Fail, DmarcPolicy::Quarantine) => Ok(Disposition::Suspect),
        _ => Ok(Disposition::Deliver),
    }
}

fn has_several_authors(index: &MessageIndex) -> bool {
    let mut hosts = index.envelope.from.iter().filter_map(|address| address.host.as_ref());
    let first = hosts.next();
    index.identity.from_fields > 1 || hosts.any(|host| !first.is_some_and(|first| first.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_addr::Domain;
    use pure_index::{
        EnvelopeAddress, Identity,
        judgement::{Arc, ArcResult, Dmarc, Seal},
    };

    fn judged(result: DmarcResult, policy: DmarcPolicy, alignment: Alignment) -> Judgement {
        Judgement { dmarc: Dmarc { result, policy, alignment, author: None }, ..Judgement::default() }
    }

    fn of(judgement: &Judgement, own: bool, config: &MxConfig) -> Result<Disposition, Refusal> {
        decide(judgement, &MessageIndex::default(), own, config)
    }

    const UNAUTHENTICATED: Result<Disposition, Refusal> = Err(Refusal::Rejected(Reason::Unauthenticated));
    const POLICY: Result<Disposition, Refusal> = Err(Refusal::Rejected(Reason::Policy));

    /// Attack case RLY-04, and RFC 9989 7.4 for the domains of others.
    #[test]
    fn what_nothing_vouches_for() {
        use DmarcPolicy::{None as Nothing, Quarantine, Reject};
        use DmarcResult::{Fail, None, Pass, TempError};
        let (strict, lax) = (MxConfig::default(), MxConfig { accept_own_unauthenticated: true, ..MxConfig::default() });
        let deliver = Ok(Disposition::Deliver);
        for (result, policy, others, ours) in [
            (None, Nothing, deliver, UNAUTHENTICATED),
            (Fail, Nothing, deliver, UNAUTHENTICATED),
            (Fail, Quarantine, Ok(Disposition::Suspect), UNAUTHENTICATED),
            (Fail, Reject, POLICY, UNAUTHENTICATED),
            (TempError, Reject, deliver, UNAUTHENTICATED),
        ] {
            let judgement = judged(result, policy, Alignment::NotAligned);
            assert_eq!(of(&judgement, false, &strict), others, "{result:?} {policy:?}");
            assert_eq!(of(&judgement, true, &strict), ours, "{result:?} {policy:?}");
            assert_eq!(of(&judgement, true, &lax), deliver, "{result:?} {policy:?}");
        }
        assert_eq!(of(&judged(Pass, Reject, Alignment::Aligned), true, &strict), deliver);
        // An outage refuses nobody.
        assert_eq!(of(&judged(TempError, Reject, Alignment::Unknown), true, &strict), deliver);
        assert_eq!(of(&judged(None, Nothing, Alignment::Unknown), true, &strict), deliver);
    }

    /// Attack case ARC-01: a chain that holds counts for nothing by itself.
    #[test]
    fn a_trusted_sealer_vouches() {
        let sealer = Domain::parse("lists.test").unwrap();
        let config = MxConfig { trusted_sealers: vec![sealer.clone()], ..MxConfig::default() };
        let mut judgement = judged(DmarcResult::Fail, DmarcPolicy::Reject, Alignment::NotAligned);
        judgement.arc = Arc { result: ArcResult::Pass, instance: Some(1), seals: vec![Seal { domain: sealer, passed: true }] };
        assert_eq!(of(&judgement, true, &config), Ok(Disposition::Deliver));
        assert_eq!(of(&judgement, false, &MxConfig::default()), POLICY);
        judgement.arc.seals.iter_mut().for_each(|seal| seal.passed = false);
        assert_eq!(of(&judgement, true, &config), UNAUTHENTICATED);
    }

    #[test]
    fn several_authors_are_refused() {
        let unclear = judged(DmarcResult::PermError, DmarcPolicy::None, Alignment::NotAligned);
        let with = |from_fields: u32, hosts: &[&str]| {
            let from = hosts.iter().map(|h| EnvelopeAddress { host: Some(h.as_bytes().to_vec().into()), ..EnvelopeAddress::default() });
            let mut index = MessageIndex { identity: Identity { from_fields, ..Identity::default() }, ..MessageIndex::default() };
            index.envelope.from = from.collect();
            decide(&unclear, &index, false, &MxConfig::default())
        };
        assert_eq!(with(2, &["a.test"]), UNAUTHENTICATED);
        assert_eq!(with(1, &["a.test", "b.test"]), UNAUTHENTICATED);
        // One that cannot be read is strange, and nobody else's.
        assert_eq!(with(1, &["a..test"]), Ok(Disposition::Deliver));
        let overflow = Judgement { overflow: true, ..judged(DmarcResult::Pass, DmarcPolicy::None, Alignment::Aligned) };
        assert_eq!(of(&overflow, false, &MxConfig::default()), UNAUTHENTICATED);
    }
}
