//! DKIM private keys. They sign a [`pure_dkim::Unsigned`], which only `pure_dkim` can make, and nothing else.

use crate::{limits::RSA_BITS, pem::Section};
use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use data_encoding::BASE64;
use pure_addr::Text;
use pure_dkim::{Algorithm, Unsigned};
use zeroize::Zeroizing;

/// A key of one of the two kinds that RFC 8301 and RFC 8463 leave. aws-lc overwrites it when it is dropped.
pub(crate) enum DkimKey {
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl DkimKey {
    /// A new key; RSA of 2048 bits takes a good part of a second.
    pub(crate) fn generate(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Ed25519Sha256 => Ed25519KeyPair::generate().ok().map(Self::Ed25519),
            Algorithm::RsaSha256 => RsaKeyPair::generate(KeySize::Rsa2048).ok().map(Self::Rsa),
        }
    }

    /// The operator's: PKCS #8 (RFC 5958) or PKCS #1 (RFC 8017); RSA of fewer than 2048 bits is refused, as some verifiers
    /// do with fewer than 1024 (RFC 8301 3.2).
    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let der = section.content.as_slice();
        let rsa = |key: RsaKeyPair| RSA_BITS.contains(&key.public_modulus_len().saturating_mul(8)).then_some(Self::Rsa(key));
        match section.label {
            "PRIVATE KEY" => Self::from_pkcs8(Algorithm::Ed25519Sha256, der).or_else(|| RsaKeyPair::from_pkcs8(der).ok().and_then(rsa)),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(der).ok().and_then(rsa),
            _ => None,
        }
    }

    /// A key as [`Self::to_pkcs8`] gives it.
    pub(crate) fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Ed25519Sha256 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Self::Ed25519),
            Algorithm::RsaSha256 => RsaKeyPair::from_pkcs8(der).ok().map(Self::Rsa),
        }
    }

    /// For its file.
    pub(crate) fn to_pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        let der: Pkcs8V1Der<'_> = match self {
            Self::Ed25519(key) => key.as_der().ok()?,
            Self::Rsa(key) => key.as_der().ok()?,
        };
        Some(Zeroizing::new(der.as_ref().to_vec()))
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519Sha256,
            Self::Rsa(_) => Algorithm::RsaSha256,
        }
    }

    /// The TXT record of the public half: RFC 6376 3.6.1 with a SubjectPublicKeyInfo, RFC 8463 4 with the bare key.
    pub(crate) fn record(&self) -> Option<Text<1000>> {
        let (kind, key) = match self {
            Self::Ed25519(key) => ("ed25519", BASE64.encode(key.public_key().as_ref())),
            Self::Rsa(key) => {
                let der: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
                ("rsa", BASE64.encode(der.as_ref()))
            }
        };
        Text::new(format!("v=DKIM1; k={kind}; p={key}")).ok()
    }

    /// The whole field with its signature.
    pub(crate) fn sign(&self, unsigned: Unsigned) -> Option<Vec<u8>> {
        let signature = match self {
            // RFC 8463 3: the hash is what is signed.
            Self::Ed25519(key) => key.try_sign(digest(&SHA256, unsigned.input()).as_ref()).ok()?.as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), unsigned.input(), &mut signature).ok()?;
                signature
            }
        };
        Some(unsigned.finish(&signature))
    }
}

impl std::fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DkimKey(..)")
    }
}
