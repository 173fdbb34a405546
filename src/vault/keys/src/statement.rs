//! The only things that are ever signed, built from typed fields.
//!
//! The two kinds cannot be taken for one another: a CertificateVerify begins with 64 blanks and continues with a `T`, where a
//! ServerKeyExchange, after 64 bytes of randoms, has the curve type 3.

use wire::edge::keys_tls::SignInput;

/// TLS SignatureScheme numbers (RFC 8446 4.2.3).
pub(crate) mod scheme {
    pub(crate) const RSA_PKCS1_SHA256: u16 = 0x0401;
    pub(crate) const RSA_PKCS1_SHA384: u16 = 0x0501;
    pub(crate) const RSA_PKCS1_SHA512: u16 = 0x0601;
    pub(crate) const ECDSA_SECP256R1_SHA256: u16 = 0x0403;
    pub(crate) const ECDSA_SECP384R1_SHA384: u16 = 0x0503;
    pub(crate) const RSA_PSS_RSAE_SHA256: u16 = 0x0804;
    pub(crate) const RSA_PSS_RSAE_SHA384: u16 = 0x0805;
    pub(crate) const RSA_PSS_RSAE_SHA512: u16 = 0x0806;
    pub(crate) const ED25519: u16 = 0x0807;
}

/// RFC 8446 4.4.3.
const CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";
/// RFC 8422 5.4: ECCurveType named_curve.
const NAMED_CURVE: u8 = 3;

/// A field has a length that no handshake gives it: the peer is not one of ours in good health.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Impossible;

/// What a signature is made over, and by which protocol's rules.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    bytes: Vec<u8>,
    is_tls13: bool,
}

impl Statement {
    pub(crate) fn build(input: &SignInput) -> Result<Self, Impossible> {
        match input {
            SignInput::Tls13ServerVerify { transcript_hash } => {
                // SHA-256 or SHA-384: the hashes of all TLS 1.3 cipher suites.
                if !matches!(transcript_hash.len(), 32 | 48) {
                    return Err(Impossible);
                }
                Ok(Self { bytes: [&[b' '; 64], CONTEXT, transcript_hash.as_slice()].concat(), is_tls13: true })
            }
            SignInput::Tls12KeyExchange { client_random, server_random, group, public } => {
                if !is_public_key_of(*group, public) {
                    return Err(Impossible);
                }
                let [high, low] = group.to_be_bytes();
                let length = u8::try_from(public.len()).map_err(|_| Impossible)?;
                let parameters = [NAMED_CURVE, high, low, length];
                let bytes = [client_random.as_slice(), server_random.as_slice(), &parameters, public.as_slice()].concat();
                Ok(Self { bytes, is_tls13: false })
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// RFC 8446 4.2.3: PKCS #1 v1.5 signs certificates in TLS 1.3, never handshakes.
    pub(crate) fn permits(&self, scheme: u16) -> bool {
        use scheme::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512};
        !(self.is_tls13 && matches!(scheme, RSA_PKCS1_SHA256 | RSA_PKCS1_SHA384 | RSA_PKCS1_SHA512))
    }
}

/// Whether these bytes are a public key of this NamedCurve (RFC 8422 5.1.1, 5.4): x25519, or an uncompressed point.
fn is_public_key_of(group: u16, public: &[u8]) -> bool {
    match group {
        0x001d => public.len() == 32,
        0x0017 => public.len() == 65 && public.first() == Some(&4),
        0x0018 => public.len() == 97 && public.first() == Some(&4),
        0x0019 => public.len() == 133 && public.first() == Some(&4),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls13(length: usize) -> SignInput {
        SignInput::Tls13ServerVerify { transcript_hash: vec![1; length].into() }
    }

    fn tls12(group: u16, public: Vec<u8>) -> SignInput {
        SignInput::Tls12KeyExchange { client_random: [b' '; 32], server_random: [b' '; 32], group, public: public.into() }
    }

    /// The example of RFC 8446 4.4.3, which is for this very context and a hash of 32 bytes of 01.
    #[test]
    fn the_example_of_the_rfc() {
        let statement = Statement::build(&tls13(32)).unwrap();
        let mut expected = vec![0x20; 64];
        expected.extend_from_slice(b"TLS 1.3, server CertificateVerify");
        expected.push(0);
        expected.extend_from_slice(&[1; 32]);
        assert_eq!(statement.bytes(), expected);
    }

    #[test]
    fn key_exchange_is_laid_out_as_in_the_rfc() {
        let statement = Statement::build(&tls12(0x001d, vec![9; 32])).unwrap();
        let mut expected = vec![b' '; 64];
        expected.extend_from_slice(&[3, 0, 0x1d, 32]);
        expected.extend_from_slice(&[9; 32]);
        assert_eq!(statement.bytes(), expected);
    }

    #[test]
    fn fields_of_impossible_shape_are_refused() {
        for length in [0, 1, 31, 33, 47, 49, 64, 4096] {
            assert_eq!(Statement::build(&tls13(length)), Err(Impossible), "{length}");
        }
        assert!(Statement::build(&tls13(48)).is_ok());
        for (group, length) in [(0x17u16, 65usize), (0x18, 97), (0x19, 133)] {
            assert!(Statement::build(&tls12(group, vec![4; length])).is_ok());
            for (first, length) in [(4, length - 1), (4, length + 1), (2, length), (0, length)] {
                assert_eq!(Statement::build(&tls12(group, vec![first; length])), Err(Impossible));
            }
        }
        for group in [0, 0x16, 0x1a, 0x1e, 0x11ec, 0xffff] {
            assert_eq!(Statement::build(&tls12(group, vec![4; 32])), Err(Impossible));
        }
    }

    /// Randoms of blanks do not make one kind look like the other.
    #[test]
    fn the_kinds_never_meet() {
        let (new, old) = (Statement::build(&tls13(32)).unwrap(), Statement::build(&tls12(0x001d, vec![9; 32])).unwrap());
        assert_eq!(new.bytes()[..64], old.bytes()[..64]);
        assert_ne!(new.bytes()[64], old.bytes()[64]);
    }

    #[test]
    fn pkcs1_is_for_tls_1_2_alone() {
        let (new, old) = (Statement::build(&tls13(32)).unwrap(), Statement::build(&tls12(0x001d, vec![9; 32])).unwrap());
        assert!(old.permits(scheme::RSA_PKCS1_SHA256) && !new.permits(scheme::RSA_PKCS1_SHA256));
        assert!(old.permits(scheme::RSA_PSS_RSAE_SHA256) && new.permits(scheme::RSA_PSS_RSAE_SHA256));
    }
}
