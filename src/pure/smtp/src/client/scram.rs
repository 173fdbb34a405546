//! SCRAM-SHA-256, the client's side (RFC 5802, RFC 7677), without channel binding.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use zeroize::Zeroizing;

/// Iterations that a server may ask for: fewer protect nothing (RFC 7677 4), more keep us busy.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;
/// Bytes of a message of the server.
const MAX_MESSAGE: usize = 4096;
/// base64 of `n,,`: no channel binding, no other identity.
const BINDING: &str = "biws";

/// The first message, sent.
#[derive(Debug)]
pub(crate) struct ClientFirst {
    bare: String,
    nonce: String,
}

/// The last message, sent.
#[derive(Debug)]
pub(crate) struct ClientFinal {
    server_signature: [u8; 32],
}

impl ClientFirst {
    pub(crate) fn new(user: &str, nonce: &str) -> Option<Self> {
        if !is_nonce(nonce) || user.chars().any(char::is_control) {
            return None;
        }
        let user = prepared(user).replace('=', "=3D").replace(',', "=2C");
        Some(Self { bare: format!("n={user},r={nonce}"), nonce: nonce.to_owned() })
    }

    /// gs2-header and client-first-message-bare.
    pub(crate) fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// client-final-message in answer to server-first-message.
    pub(crate) fn answer(self, server_first: &[u8], password: &[u8]) -> Option<(ClientFinal, String)> {
        let server_first = text(server_first)?;
        let mut attributes = server_first.split(',');
        let nonce = attributes.next()?.strip_prefix("r=")?;
        // RFC 5802 5.1: ours with something of the server's behind it.
        if !is_nonce(nonce) || !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return None;
        }
        let salt = BASE64.decode(attributes.next()?.strip_prefix("s=")?.as_bytes()).ok().filter(|salt| !salt.is_empty())?;
        let iterations = attributes.next()?.strip_prefix("i=")?;
        let iterations: u32 = if iterations.bytes().all(|b| b.is_ascii_digit()) { iterations.parse().ok()? } else { return None };
        if !ITERATIONS.contains(&iterations) {
            return None;
        }
        let password = std::str::from_utf8(password).ok()?;
        let mut salted = Zeroizing::new([0_u8; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(prepared(password).as_bytes(), &salt, iterations, salted.as_mut());
        let client_key = Zeroizing::new(hmac(salted.as_ref(), b"Client Key")?);
        let stored_key: [u8; 32] = Sha256::digest(client_key.as_ref()).into();
        let without_proof = format!("c={BINDING},r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.bare);
        let signature = hmac(&stored_key, message.as_bytes())?;
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let server_key = Zeroizing::new(hmac(salted.as_ref(), b"Server Key")?);
        let server_signature = hmac(server_key.as_ref(), message.as_bytes())?;
        Some((ClientFinal { server_signature }, format!("{without_proof},p={}", BASE64.encode(&proof))))
    }
}

impl ClientFinal {
    /// Whether server-final-message proves that the server knows the password.
    pub(crate) fn verify(self, server_final: &[u8]) -> Option<()> {
        let signature = text(server_final)?.split(',').next()?.strip_prefix("v=")?;
        // Whoever could measure this comparison is who is being checked; it learns nothing that helps it.
        (BASE64.decode(signature.as_bytes()).ok()? == self.server_signature).then_some(())
    }
}

fn text(message: &[u8]) -> Option<&str> {
    std::str::from_utf8(message).ok().filter(|text| text.len() <= MAX_MESSAGE)
}

/// RFC 5802 7: printable ASCII without comma.
fn is_nonce(text: &str) -> bool {
    text.len() >= 18 && text.bytes().all(|b| matches!(b, b'!'..=b'+' | b'-'..=b'~'))
}

/// RFC 4013. What it prohibits is taken as it is.
fn prepared(text: &str) -> Zeroizing<String> {
    Zeroizing::new(stringprep::saslprep(text).map_or_else(|_| text.to_owned(), Cow::into_owned))
}

fn hmac(key: &[u8], message: &[u8]) -> Option<[u8; 32]> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).ok()?;
    mac.update(message);
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER_FIRST: &[u8] = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn first() -> ClientFirst {
        ClientFirst::new("user", "rOprNGfwEbeRWgbNEkqO").unwrap()
    }

    /// RFC 7677 3.
    #[test]
    fn the_example_of_the_standard() {
        assert_eq!(first().message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, message) = first().answer(SERVER_FIRST, b"pencil").unwrap();
        assert_eq!(message, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        last.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        for bad in [&b"v=AAAA"[..], b"e=other-error", b"", b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="] {
            let (last, _) = first().answer(SERVER_FIRST, b"pencil").unwrap();
            assert!(last.verify(bad).is_none());
        }
        for bad in [
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=anotherNonceThanOurOwn,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096",
            "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "",
        ] {
            assert!(first().answer(bad.as_bytes(), b"pencil").is_none(), "{bad}");
        }
        assert!(ClientFirst::new("a\0b", "rOprNGfwEbeRWgbNEkqO").is_none() && ClientFirst::new("user", "short").is_none());
        assert_eq!(ClientFirst::new("a,b=c", "rOprNGfwEbeRWgbNEkqO").unwrap().bare, "n=a=2Cb=3Dc,r=rOprNGfwEbeRWgbNEkqO");
    }
}
