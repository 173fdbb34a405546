//! Private keys and what they can sign. aws-lc holds them and overwrites them when they are dropped.

use crate::{
    limits::RSA_BITS,
    pem::Section,
    statement::{
        Statement,
        scheme::{
            ECDSA_SECP256R1_SHA256, ECDSA_SECP384R1_SHA384, ED25519, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
            RSA_PSS_RSAE_SHA256, RSA_PSS_RSAE_SHA384, RSA_PSS_RSAE_SHA512,
        },
    },
};
use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_SHA256 as PKCS1_256, RSA_PKCS1_SHA384 as PKCS1_384, RSA_PKCS1_SHA512 as PKCS1_512, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};

/// A key of one of the kinds that TLS servers use.
pub(crate) enum PrivateKey {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// The key in a PEM section: PKCS #8 (RFC 5958), SEC1 (RFC 5915) or PKCS #1 (RFC 8017). None when it is none of these.
    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let der = section.content.as_slice();
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| match section.label {
            "PRIVATE KEY" => EcdsaKeyPair::from_pkcs8(algorithm, der).ok(),
            "EC PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(algorithm, der).ok(),
            _ => None,
        };
        let rsa = || match section.label {
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(der).ok(),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(der).ok(),
            _ => None,
        };
        let ed25519 = || match section.label {
            "PRIVATE KEY" => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok(),
            _ => None,
        };
        ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self::P256)
            .or_else(|| ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Self::P384))
            .or_else(|| ed25519().map(Self::Ed25519))
            .or_else(|| rsa().filter(|key| RSA_BITS.contains(&key.public_modulus_len().saturating_mul(8))).map(Self::Rsa))
    }

    /// SubjectPublicKeyInfo, as a certificate has it.
    pub(crate) fn public_key(&self) -> Option<Vec<u8>> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::P256(key) | Self::P384(key) => key.public_key().as_der().ok()?,
            Self::Ed25519(key) => key.public_key().as_der().ok()?,
            Self::Rsa(key) => key.public_key().as_der().ok()?,
        };
        Some(der.as_ref().to_vec())
    }

    /// The SignatureSchemes it can make, best first.
    pub(crate) fn schemes(&self) -> &'static [u16] {
        match self {
            Self::P256(_) => &[ECDSA_SECP256R1_SHA256],
            Self::P384(_) => &[ECDSA_SECP384R1_SHA384],
            Self::Ed25519(_) => &[ED25519],
            Self::Rsa(_) => {
                &[RSA_PSS_RSAE_SHA256, RSA_PSS_RSAE_SHA384, RSA_PSS_RSAE_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512]
            }
        }
    }

    /// None when the key cannot make this scheme, or the scheme has no place in this kind of handshake.
    pub(crate) fn sign(&self, scheme: u16, statement: &Statement) -> Option<Vec<u8>> {
        if !self.schemes().contains(&scheme) || !statement.permits(scheme) {
            return None;
        }
        match self {
            Self::P256(key) | Self::P384(key) => Some(key.sign(&SystemRandom::new(), statement.bytes()).ok()?.as_ref().to_vec()),
            Self::Ed25519(key) => Some(key.try_sign(statement.bytes()).ok()?.as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(rsa_encoding(scheme)?, &SystemRandom::new(), statement.bytes(), &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

fn rsa_encoding(scheme: u16) -> Option<&'static dyn RsaEncoding> {
    Some(match scheme {
        RSA_PSS_RSAE_SHA256 => &RSA_PSS_SHA256,
        RSA_PSS_RSAE_SHA384 => &RSA_PSS_SHA384,
        RSA_PSS_RSAE_SHA512 => &RSA_PSS_SHA512,
        RSA_PKCS1_SHA256 => &PKCS1_256,
        RSA_PKCS1_SHA384 => &PKCS1_384,
        RSA_PKCS1_SHA512 => &PKCS1_512,
        _ => return None,
    })
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}
