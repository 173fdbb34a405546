//! TLSA records (RFC 6698) under the rules of SMTP (RFC 7672 3.1).

use crate::der;
use sha2::{Digest, Sha256, Sha512};

/// Certificate usage DANE-TA(2): an authority that the server's chain must lead to.
const DANE_TA: u8 = 2;
/// Certificate usage DANE-EE(3): the server's own certificate or key.
const DANE_EE: u8 = 3;
/// Bytes of association data that are looked at: a large certificate.
const MAX_DATA: usize = 16 * 1024;
/// Certificates of a chain that are looked at.
pub const MAX_CHAIN: usize = 16;

/// One TLSA record as it stands in the DNS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// Certificate usage.
    pub usage: u8,
    /// Selector: 0 the certificate, 1 its key.
    pub selector: u8,
    /// Matching type: 0 as it is, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// Certificate association data.
    pub data: Vec<u8>,
}

impl Tlsa {
    /// RFC 7672 3.1: usages 0 and 1 cannot be used for SMTP; unknown parameters and impossible lengths neither.
    pub fn is_usable(&self) -> bool {
        let length = match self.matching {
            0 => !self.data.is_empty() && self.data.len() <= MAX_DATA,
            1 => self.data.len() == 32,
            2 => self.data.len() == 64,
            _ => false,
        };
        matches!(self.usage, DANE_TA | DANE_EE) && matches!(self.selector, 0 | 1) && length
    }

    /// Whether this certificate is meant.
    fn matches(&self, certificate: &[u8]) -> bool {
        let selected = match self.selector {
            0 => certificate,
            _ => match der::public_key(certificate) {
                Some(key) => key,
                None => return false,
            },
        };
        match self.matching {
            0 => self.data == selected,
            1 => self.data == Sha256::digest(selected).as_slice(),
            2 => self.data == Sha512::digest(selected).as_slice(),
            _ => false,
        }
    }

    /// As RFC 8460 4.1 wants it in a report: `3 1 1 0123...`.
    pub fn to_text(&self) -> String {
        let data: String = self.data.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {} {} {data}", self.usage, self.selector, self.matching)
    }
}

/// How a server's chain relates to the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// DANE-EE: its own certificate is meant. Names and dates do not count (RFC 7672 3.1.1).
    EndEntity,
    /// DANE-TA: these are trust anchors. The chain must lead to one of them, be within its dates, and carry the name (RFC 7672 3.1.2).
    Anchors(Vec<Vec<u8>>),
    /// Nothing matches.
    None,
}

/// Compares a chain, the server's own certificate first, with usable and other records.
pub fn compare(records: &[Tlsa], chain: &[&[u8]]) -> Match {
    let usable = || records.iter().filter(|r| r.is_usable());
    if let Some(own) = chain.first()
        && usable().any(|r| r.usage == DANE_EE && r.matches(own))
    {
        return Match::EndEntity;
    }
    let mut anchors: Vec<Vec<u8>> = Vec::new();
    for record in usable().filter(|r| r.usage == DANE_TA) {
        // An authority that stands in the record itself need not be in the chain (RFC 7671 5.2.2).
        if (record.selector, record.matching) == (0, 0) {
            anchors.push(record.data.clone());
        }
        anchors.extend(chain.iter().skip(1).take(MAX_CHAIN).filter(|c| record.matches(c)).map(|c| c.to_vec()));
    }
    anchors.sort_unstable();
    anchors.dedup();
    if anchors.is_empty() { Match::None } else { Match::Anchors(anchors) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    fn certificate() -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["mx.remote.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.der().to_vec(), key.subject_public_key_info())
    }

    fn tlsa(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Tlsa {
        Tlsa { usage, selector, matching, data: data.to_vec() }
    }

    #[test]
    fn every_usable_form_matches_its_certificate_only() {
        let ((own, key), (authority, authority_key), (other, _)) = (certificate(), certificate(), certificate());
        let chain = [own.as_slice(), authority.as_slice()];
        let forms = |usage: u8, certificate: &[u8], key: &[u8]| {
            [
                tlsa(usage, 0, 0, certificate),
                tlsa(usage, 0, 1, &Sha256::digest(certificate)),
                tlsa(usage, 0, 2, &Sha512::digest(certificate)),
                tlsa(usage, 1, 0, key),
                tlsa(usage, 1, 1, &Sha256::digest(key)),
                tlsa(usage, 1, 2, &Sha512::digest(key)),
            ]
        };
        for record in forms(3, &own, &key) {
            assert_eq!(compare(std::slice::from_ref(&record), &chain), Match::EndEntity, "{record:?}");
            assert_eq!(compare(&[record], &[&other]), Match::None);
        }
        for record in forms(2, &authority, &authority_key) {
            assert_eq!(compare(&[record], &chain), Match::Anchors(vec![authority.clone()]));
        }
        // The server's own certificate is no authority over itself, and an authority's is not the server's.
        assert_eq!(compare(&[tlsa(2, 1, 1, &Sha256::digest(&key))], &chain), Match::None);
        assert_eq!(compare(&[tlsa(3, 0, 0, &authority)], &chain), Match::None);
        assert_eq!(compare(&[tlsa(2, 0, 0, &authority)], &[&own]), Match::Anchors(vec![authority.clone()]));
        assert_eq!(compare(&[tlsa(3, 1, 1, &[0; 32])], &[]), Match::None);
    }

    #[test]
    fn what_smtp_cannot_use_is_not_usable() {
        let (own, key) = certificate();
        for record in [
            tlsa(0, 1, 1, &Sha256::digest(&key)),
            tlsa(1, 1, 1, &Sha256::digest(&key)),
            tlsa(4, 0, 0, &own),
            tlsa(3, 2, 0, &own),
            tlsa(3, 0, 3, &own),
            tlsa(3, 0, 1, &own),
            tlsa(3, 1, 2, &Sha256::digest(&key)),
            tlsa(3, 0, 0, b""),
            tlsa(3, 0, 0, &vec![0; MAX_DATA + 1]),
        ] {
            assert!(!record.is_usable(), "{record:?}");
            assert_eq!(compare(&[record], &[&own]), Match::None);
        }
    }
}
