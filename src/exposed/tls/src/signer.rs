//! rustls' signing key, with the key elsewhere.

use crate::oracle::Oracle;
use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    sign::{Signer, SigningKey},
};
use serde_bytes::ByteBuf;
use std::sync::Arc;
use wire::edge::keys_tls::{Request, Response, SignInput};

/// RFC 8446 4.4.3.
const TLS13_CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";
const TLS13_PADDING: usize = 64;

/// One private key of `keys`, by number.
#[derive(Debug, Clone)]
pub(crate) struct RemoteKey {
    pub(crate) oracle: Arc<Oracle>,
    pub(crate) generation: u64,
    pub(crate) key: u16,
    pub(crate) schemes: Arc<[SignatureScheme]>,
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes.iter().find(|s| offered.contains(s))?;
        Some(Box::new(RemoteSigner { key: self.clone(), scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.schemes.first() {
            Some(SignatureScheme::ED25519) => SignatureAlgorithm::ED25519,
            Some(
                SignatureScheme::ECDSA_NISTP256_SHA256 | SignatureScheme::ECDSA_NISTP384_SHA384 | SignatureScheme::ECDSA_NISTP521_SHA512,
            ) => SignatureAlgorithm::ECDSA,
            _ => SignatureAlgorithm::RSA,
        }
    }
}

#[derive(Debug)]
struct RemoteSigner {
    key: RemoteKey,
    scheme: SignatureScheme,
}

impl Signer for RemoteSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let input = take_apart(message).ok_or_else(|| Error::General("not a handshake that keys signs".into()))?;
        let request = Request::Sign { generation: self.key.generation, key: self.key.key, scheme: self.scheme.into(), input };
        // rustls asks synchronously, from within the handshake's task; other tasks of this worker move on meanwhile.
        match tokio::task::block_in_place(|| self.key.oracle.ask(request)) {
            Ok(Response::Signature(signature)) => Ok(signature.into_vec()),
            Ok(_) => Err(Error::General("keys has no such key any more".into())),
            Err(error) => {
                tracing::error!(%error, "keys did not sign");
                Err(Error::General("keys did not answer".into()))
            }
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// The typed fields of what rustls wants signed.
fn take_apart(message: &[u8]) -> Option<SignInput> {
    if let Some((padding, rest)) = message.split_at_checked(TLS13_PADDING)
        && padding.iter().all(|b| *b == 0x20)
        && let Some(hash) = rest.strip_prefix(TLS13_CONTEXT)
    {
        return Some(SignInput::Tls13ServerVerify { transcript_hash: ByteBuf::from(hash) });
    }
    // RFC 8422 5.4: randoms, then curve_type named_curve(3), the curve, the length of the point, the point.
    let (client_random, rest) = message.split_first_chunk::<32>()?;
    let (server_random, rest) = rest.split_first_chunk::<32>()?;
    let ([3, a, b, len], public) = rest.split_first_chunk::<4>()? else { return None };
    (usize::from(*len) == public.len()).then(|| SignInput::Tls12KeyExchange {
        client_random: *client_random,
        server_random: *server_random,
        group: u16::from_be_bytes([*a, *b]),
        public: ByteBuf::from(public),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_taken_apart_and_nothing_else() {
        let mut tls13 = vec![0x20; 64];
        tls13.extend(TLS13_CONTEXT);
        tls13.extend([7; 48]);
        assert_eq!(take_apart(&tls13), Some(SignInput::Tls13ServerVerify { transcript_hash: ByteBuf::from([7; 48]) }));

        let mut tls12 = vec![1; 32];
        tls12.extend([2; 32]);
        tls12.extend([3, 0, 29, 32]);
        tls12.extend([9; 32]);
        let Some(SignInput::Tls12KeyExchange { group: 29, public, .. }) = take_apart(&tls12) else { panic!("not taken apart") };
        assert_eq!(public.as_slice(), [9; 32]);
        tls12.push(0);
        assert_eq!(take_apart(&tls12), None);
        assert_eq!(take_apart(b"anything else"), None);
    }
}
