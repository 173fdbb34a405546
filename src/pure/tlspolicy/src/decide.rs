//! From what is declared and what was found to what one connection must be.

use crate::{
    dane::Tlsa,
    sts::{Mode, Policy},
};

/// What is declared for a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Override {
    /// Plain text even where TLS is offered.
    None,
    /// TLS where offered, any certificate.
    May,
    /// TLS, any certificate.
    Encrypt,
    /// TLS with a certificate for the host from a public authority.
    Verify,
    /// TLSA records must exist and match.
    DaneOnly,
    /// One of these certificates, by SHA-256.
    Fingerprint(Vec<[u8; 32]>),
}

/// What was found about one host of a destination.
#[derive(Debug, Clone, Default)]
pub struct Evidence<'a> {
    /// TLSA records of the host, if MX, address and they themselves are all secure (RFC 7672 2.2). Some and empty: there are none.
    pub tlsa: Option<&'a [Tlsa]>,
    /// The destination's MTA-STS policy, fetched and not expired.
    pub sts: Option<&'a Policy>,
    /// The message requires TLS (RFC 8689).
    pub require_tls: bool,
    /// The host's name is known securely: its MX was validated, or configured, or it is the destination itself.
    pub secure_name: bool,
}

/// What one connection must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// Plain text, though TLS be offered.
    Plain,
    /// TLS if offered and possible, whatever the certificate.
    Opportunistic,
    /// TLS, whatever the certificate.
    Encrypt,
    /// TLS with a certificate for the host from a trusted authority.
    Verify,
    /// TLS as these records say.
    Dane(Vec<Tlsa>),
    /// TLS with one of these certificates, by SHA-256.
    Fingerprint(Vec<[u8; 32]>),
}

impl Requirement {
    /// Whether mail may go without TLS.
    pub fn permits_plain(&self) -> bool {
        matches!(self, Self::Plain | Self::Opportunistic)
    }
}

/// Which policy was applied, for a report (RFC 8460 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// `tlsa`
    Dane,
    /// `sts`
    Sts,
    /// `no-policy-found`
    None,
}

/// What is decided about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Connect.
    Connect {
        /// Under this condition.
        requirement: Requirement,
        /// By this policy.
        basis: Basis,
        /// A failure against the policy is only reported: `mode: testing` (RFC 8461 5).
        testing: bool,
    },
    /// `dane-only`, and there is no usable record: not to this host now.
    DaneRequired,
    /// The MTA-STS policy does not name this host (RFC 8461 5.1).
    NotInPolicy,
    /// RFC 8689 4.2.1: nothing says that this host is the right one.
    Unauthenticated,
}

/// Decides: what is declared, else DANE, else MTA-STS, else TLS where it is offered.
pub fn decide(host: &str, declared: Option<&Override>, evidence: &Evidence<'_>) -> Decision {
    let connect = |requirement, basis| Decision::Connect { requirement, basis, testing: false };
    let usable: Option<Vec<Tlsa>> = evidence.tlsa.map(|records| records.iter().filter(|r| r.is_usable()).cloned().collect());
    let decision = match declared {
        Some(Override::DaneOnly) => match usable {
            Some(records) if !records.is_empty() => connect(Requirement::Dane(records), Basis::Dane),
            _ => Decision::DaneRequired,
        },
        Some(Override::None) => connect(Requirement::Plain, Basis::None),
        Some(Override::May) => connect(Requirement::Opportunistic, Basis::None),
        Some(Override::Encrypt) => connect(Requirement::Encrypt, Basis::None),
        Some(Override::Verify) => connect(Requirement::Verify, Basis::None),
        Some(Override::Fingerprint(list)) => connect(Requirement::Fingerprint(list.clone()), Basis::None),
        None => match (usable, evidence.tlsa) {
            (Some(records), _) if !records.is_empty() => connect(Requirement::Dane(records), Basis::Dane),
            // RFC 7672 2.2: records of which none is usable make TLS mandatory, without authentication; MTA-STS may ask for more.
            (Some(_), Some([_, ..])) => match sts(host, evidence.sts) {
                decision @ (Decision::Connect { requirement: Requirement::Verify, .. } | Decision::NotInPolicy) => decision,
                _ => connect(Requirement::Encrypt, Basis::Dane),
            },
            _ => sts(host, evidence.sts),
        },
    };
    if evidence.require_tls { with_require_tls(host, decision, evidence) } else { decision }
}

/// RFC 8461 5.
fn sts(host: &str, policy: Option<&Policy>) -> Decision {
    let opportunistic = |basis, testing| Decision::Connect { requirement: Requirement::Opportunistic, basis, testing };
    match policy {
        Some(policy) if policy.mode == Mode::Enforce && !policy.allows(host) => Decision::NotInPolicy,
        Some(policy) if policy.mode == Mode::Enforce => {
            Decision::Connect { requirement: Requirement::Verify, basis: Basis::Sts, testing: false }
        }
        Some(policy) if policy.mode == Mode::Testing => opportunistic(Basis::Sts, true),
        _ => opportunistic(Basis::None, false),
    }
}

/// RFC 8689 4.2.1: the host's name must be known securely, and its certificate be verified.
fn with_require_tls(host: &str, decision: Decision, evidence: &Evidence<'_>) -> Decision {
    let Decision::Connect { requirement, basis, .. } = decision else { return decision };
    let named = evidence.secure_name || evidence.sts.is_some_and(|policy| policy.mode == Mode::Enforce && policy.allows(host));
    let requirement = match requirement {
        authenticated @ (Requirement::Dane(_) | Requirement::Fingerprint(_)) => authenticated,
        _ if named => Requirement::Verify,
        _ => return Decision::Unauthenticated,
    };
    Decision::Connect { requirement, basis, testing: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: &str) -> Policy {
        Policy::parse(format!("version: STSv1\nmode: {mode}\nmx: mx.remote.test\nmax_age: 10\n").as_bytes()).unwrap()
    }

    fn tlsa(usage: u8) -> Tlsa {
        Tlsa { usage, selector: 1, matching: 1, data: vec![0; 32] }
    }

    fn connect(requirement: Requirement, basis: Basis) -> Decision {
        Decision::Connect { requirement, basis, testing: false }
    }

    #[test]
    fn dane_comes_before_mta_sts_before_chance() {
        let (enforce, testing, usable, not) = (policy("enforce"), policy("testing"), [tlsa(3), tlsa(1)], [tlsa(1)]);
        let decide =
            |tlsa: Option<&[Tlsa]>, sts: Option<&Policy>, host: &str| decide(host, None, &Evidence { tlsa, sts, ..Evidence::default() });
        let dane = connect(Requirement::Dane(vec![tlsa(3)]), Basis::Dane);
        assert_eq!(decide(Some(&usable), Some(&enforce), "other.test"), dane);
        assert_eq!(decide(Some(&not), None, "mx.remote.test"), connect(Requirement::Encrypt, Basis::Dane));
        assert_eq!(decide(Some(&not), Some(&enforce), "mx.remote.test"), connect(Requirement::Verify, Basis::Sts));
        assert_eq!(decide(Some(&not), Some(&enforce), "other.test"), Decision::NotInPolicy);
        for none in [None, Some(&[][..])] {
            assert_eq!(decide(none, Some(&enforce), "mx.remote.test"), connect(Requirement::Verify, Basis::Sts));
            assert_eq!(decide(none, Some(&enforce), "other.test"), Decision::NotInPolicy);
            let reported = Decision::Connect { requirement: Requirement::Opportunistic, basis: Basis::Sts, testing: true };
            assert_eq!(decide(none, Some(&testing), "other.test"), reported);
            assert_eq!(decide(none, Some(&policy("none")), "other.test"), connect(Requirement::Opportunistic, Basis::None));
            assert_eq!(decide(none, None, "other.test"), connect(Requirement::Opportunistic, Basis::None));
        }
    }

    #[test]
    fn what_is_declared_comes_first() {
        let (enforce, usable) = (policy("enforce"), [tlsa(3)]);
        let evidence = Evidence { tlsa: Some(&usable), sts: Some(&enforce), ..Evidence::default() };
        let decide = |declared: Override, evidence: &Evidence<'_>| decide("other.test", Some(&declared), evidence);
        assert_eq!(decide(Override::None, &evidence), connect(Requirement::Plain, Basis::None));
        assert_eq!(decide(Override::May, &evidence), connect(Requirement::Opportunistic, Basis::None));
        assert_eq!(decide(Override::Fingerprint(vec![[1; 32]]), &evidence), connect(Requirement::Fingerprint(vec![[1; 32]]), Basis::None));
        assert_eq!(decide(Override::DaneOnly, &evidence), connect(Requirement::Dane(usable.to_vec()), Basis::Dane));
        for records in [None, Some(&[][..]), Some(&[tlsa(1)][..])] {
            assert_eq!(decide(Override::DaneOnly, &Evidence { tlsa: records, ..Evidence::default() }), Decision::DaneRequired);
        }
    }

    #[test]
    fn require_tls_never_makes_it_weaker() {
        let (enforce, usable) = (policy("enforce"), [tlsa(3)]);
        let bare = Evidence { require_tls: true, ..Evidence::default() };
        let dane = Evidence { tlsa: Some(&usable), ..bare.clone() };
        let sts = Evidence { sts: Some(&enforce), ..bare.clone() };
        let named = Evidence { secure_name: true, ..bare.clone() };
        assert_eq!(decide("mx.remote.test", None, &bare), Decision::Unauthenticated);
        assert_eq!(decide("mx.remote.test", Some(&Override::None), &bare), Decision::Unauthenticated);
        assert_eq!(decide("mx.remote.test", None, &dane), connect(Requirement::Dane(usable.to_vec()), Basis::Dane));
        assert_eq!(decide("mx.remote.test", None, &sts), connect(Requirement::Verify, Basis::Sts));
        assert_eq!(decide("mx.remote.test", None, &named), connect(Requirement::Verify, Basis::None));
        assert_eq!(decide("other.test", None, &sts), Decision::NotInPolicy);
    }
}
