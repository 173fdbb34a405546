//! Public keys in the DNS (RFC 6376 3.6.1, RFC 8463 4), and whether one of them made a signature.

use crate::{
    limits::{MAX_KEYS, MAX_SIGNATURE},
    tags::Tags,
};
use aws_lc_rs::{
    digest::{Digest, SHA256},
    rsa::PublicKey,
    signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaParameters, UnparsedPublicKey},
};
use data_encoding::BASE64;
use pure_dkim::Algorithm;
use pure_index::judgement::DkimResult;

/// RFC 8301 3.2: shorter ones verify nothing.
const MIN_RSA_BITS: u32 = 1024;

/// One key.
#[derive(Debug)]
struct Key {
    algorithm: Algorithm,
    bytes: Vec<u8>,
    /// `t=s`: the identity must be of the domain itself.
    strict: bool,
}

/// What a signature is, as far as its key has to know.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) algorithm: Algorithm,
    /// SHA-256 of what is signed.
    pub(crate) digest: &'a [u8; 32],
    pub(crate) signature: &'a [u8],
    /// `i=` is of a subdomain.
    pub(crate) below: bool,
}

/// What the records at the name of a key make of a signature.
pub(crate) fn verify(records: &[String], signed: &Signed<'_>) -> DkimResult {
    let mut outcome = DkimResult::PermError;
    for record in records.iter().filter(|text| is_key(text)).take(MAX_KEYS) {
        match Key::parse(record).map_or(DkimResult::PermError, |key| key.verify(signed)) {
            DkimResult::Pass => return DkimResult::Pass,
            DkimResult::PermError => {}
            other => outcome = other,
        }
    }
    outcome
}

/// Other records may stand at the name.
fn is_key(text: &str) -> bool {
    text.contains("p=")
}

impl Key {
    /// None: it is no key for mail, it cannot be read, or it was revoked.
    fn parse(record: &str) -> Option<Self> {
        let tags = Tags::parse(record).ok()?;
        // RFC 6376 3.6.1: if there is a version, it comes first and is this one.
        if tags.get("v").is_some() && tags.first() != Some(("v", "DKIM1")) {
            return None;
        }
        let algorithm = match tags.get("k") {
            None | Some("rsa") => Algorithm::RsaSha256,
            Some("ed25519") => Algorithm::Ed25519Sha256,
            Some(_) => return None,
        };
        let names = |tag: &str, wanted: &[&str]| {
            tags.compact(tag).is_none_or(|list| list.split(':').any(|name| wanted.iter().any(|w| name.eq_ignore_ascii_case(w))))
        };
        if !names("h", &["sha256"]) || !names("s", &["*", "email"]) {
            return None;
        }
        let strict = tags.compact("t").is_some_and(|flags| flags.split(':').any(|flag| flag == "s"));
        // RFC 6376 3.6.1: an empty one was revoked.
        let bytes = BASE64.decode(tags.compact("p")?.as_bytes()).ok().filter(|p| !p.is_empty() && p.len() <= MAX_SIGNATURE)?;
        Some(Self { algorithm, bytes, strict })
    }

    fn verify(&self, signed: &Signed<'_>) -> DkimResult {
        if self.algorithm != signed.algorithm || (self.strict && signed.below) {
            return DkimResult::PermError;
        }
        let holds = match self.algorithm {
            Algorithm::RsaSha256 => {
                // A SubjectPublicKeyInfo, or what some publish instead: a bare RSAPublicKey (RFC 6376 3.6.1 names both).
                let Ok(key) = PublicKey::from_der(&self.bytes) else { return DkimResult::PermError };
                if RsaParameters::public_modulus_len(key.as_ref()).is_ok_and(|bits| bits < MIN_RSA_BITS) {
                    return DkimResult::Policy;
                }
                let Ok(digest) = Digest::import_less_safe(signed.digest, &SHA256) else { return DkimResult::PermError };
                let key = UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &self.bytes);
                key.verify_digest(&digest, signed.signature)
            }
            // RFC 8463 3: the hash is what is signed.
            Algorithm::Ed25519Sha256 => UnparsedPublicKey::new(&ED25519, &self.bytes).verify(signed.digest, signed.signature),
        };
        if holds.is_ok() { DkimResult::Pass } else { DkimResult::Fail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::{
        encoding::{AsDer, PublicKeyX509Der},
        rand::SystemRandom,
        rsa::KeySize,
        signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
    };
    use sha2::{Digest as _, Sha256};

    const TEXT: &[u8] = b"what is signed";

    fn outcome(record: &str, algorithm: Algorithm, signature: &[u8], below: bool) -> DkimResult {
        let digest: [u8; 32] = Sha256::digest(TEXT).into();
        verify(&[record.to_owned()], &Signed { algorithm, digest: &digest, signature, below })
    }

    #[test]
    fn both_algorithms_and_both_forms_of_rsa() {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), TEXT, &mut signature).unwrap();
        let spki: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
        for der in [spki.as_ref(), rsa.public_key().as_ref()] {
            let p = BASE64.encode(der);
            let of = |record: &str, below| outcome(&record.replace('@', &p), Algorithm::RsaSha256, &signature, below);
            for good in ["v=DKIM1; p=@", "p=@", "k=rsa; h=sha1:sha256; s=email; t=y; n=x; p=@;", "v=DKIM1;s=*;p=@"] {
                assert_eq!(of(good, true), DkimResult::Pass, "{good}");
            }
            for bad in
                ["p=", "k=ed25519; p=@", "h=sha1; p=@", "s=tlsrpt; p=@", "k=rsa; v=DKIM1; p=@", "v=DKIM2; p=@", "p=@; p=@", "p=%", "x"]
            {
                assert_eq!(of(bad, false), DkimResult::PermError, "{bad}");
            }
            assert_eq!((of("t=s; p=@", true), of("t=s; p=@", false)), (DkimResult::PermError, DkimResult::Pass));
            assert_eq!(outcome(&format!("p={p}"), Algorithm::RsaSha256, &signature[1..], false), DkimResult::Fail);
        }
        let ed = Ed25519KeyPair::generate().unwrap();
        let digest: [u8; 32] = Sha256::digest(TEXT).into();
        let signature = ed.try_sign(&digest).unwrap();
        let record = format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(ed.public_key().as_ref()));
        assert_eq!(outcome(&record, Algorithm::Ed25519Sha256, signature.as_ref(), false), DkimResult::Pass);
        assert_eq!(outcome(&record, Algorithm::RsaSha256, signature.as_ref(), false), DkimResult::PermError);
        assert_eq!(outcome(&record, Algorithm::Ed25519Sha256, b"", false), DkimResult::Fail);
        // The first of several that holds counts; what is no key is passed over.
        let digest = &digest;
        let signed = Signed { algorithm: Algorithm::Ed25519Sha256, digest, signature: signature.as_ref(), below: false };
        let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(verify(&list(&["v=spf1 -all", "p=", &record]), &signed), DkimResult::Pass);
        assert_eq!(verify(&list(&["p=", "p=", &record]), &signed), DkimResult::PermError);
        assert_eq!(verify(&[], &signed), DkimResult::PermError);
    }

    /// Attack case DKIM-05 of old: 512 bits are factored in hours (RFC 8301 3.2).
    #[test]
    fn short_keys_verify_nothing() {
        // An RSAPublicKey with a modulus of 512 bits.
        let modulus = [&[0x00, 0xc5][..], &[0x5a; 62], &[0x4f]].concat();
        let der = [&[0x30, 0x48, 0x02, 0x41][..], &modulus, &[0x02, 0x03, 0x01, 0x00, 0x01]].concat();
        let record = format!("p={}", BASE64.encode(&der));
        assert_eq!(outcome(&record, Algorithm::RsaSha256, &[1; 64], false), DkimResult::Policy);
    }
}
