//! How SASL (RFC 4422) travels in SMTP (RFC 4954 4) and IMAP (RFC 9051 6.2.2): base64, strict, one line each way. What the messages mean
//! is `auth`'s business.
//!
//! SECURITY. Reads what anybody says before login, and holds passwords while they pass: nothing of them is printed, and their memory is
//! overwritten.

use data_encoding::BASE64;
use std::fmt;
use zeroize::Zeroizing;

/// Bytes that may be a password: never printed, no Clone, overwritten when dropped.
#[derive(PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a line of the client says within an exchange.
#[derive(Debug, PartialEq, Eq)]
pub enum Response {
    /// The next message; may be empty.
    Message(Secret),
    /// `*`.
    Cancel,
    /// Not base64.
    Malformed,
}

impl Response {
    /// Reads a line of an exchange, without its CRLF.
    pub fn parse(line: &[u8]) -> Self {
        if line == b"*" { Self::Cancel } else { decode(line).map_or(Self::Malformed, Self::Message) }
    }

    /// Reads the initial response of AUTH (RFC 4954 4) or AUTHENTICATE (RFC 4959 3), where `=` stands for an empty message.
    pub fn parse_initial(text: &[u8]) -> Self {
        if text == b"=" { Self::Message(Secret::new(Vec::new())) } else { decode(text).map_or(Self::Malformed, Self::Message) }
    }
}

/// RFC 4648 4 without any leniency: no white space, padding required, no stray bits.
fn decode(text: &[u8]) -> Option<Secret> {
    // The decoder would take several padded texts in a row.
    let padding_inside = text.iter().position(|&b| b == b'=').is_some_and(|at| text.len().saturating_sub(at) > 2);
    if padding_inside {
        return None;
    }
    // What cannot be decoded to its end is overwritten too.
    let mut message = Zeroizing::new(vec![0; BASE64.decode_len(text.len()).ok()?]);
    let length = BASE64.decode_mut(text, &mut message).ok()?;
    message.truncate(length);
    Some(Secret(message))
}

/// A message of the server: the text of a 334 reply, or of a continuation.
pub fn challenge(message: &[u8]) -> String {
    BASE64.encode(message)
}

/// User and password of a LOGIN exchange as a PLAIN message (RFC 4616 2).
pub fn plain(user: &Secret, password: &Secret) -> Option<Secret> {
    let (user, password) = (user.as_bytes(), password.as_bytes());
    if user.contains(&0) || password.contains(&0) {
        return None;
    }
    Some(Secret::new([b"\0", user, b"\0", password].concat()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

    use super::*;

    fn message(bytes: &[u8]) -> Response {
        Response::Message(Secret::new(bytes.to_vec()))
    }

    #[test]
    fn responses_are_read() {
        assert_eq!(Response::parse(b"AGFsaWNlAHg="), message(b"\0alice\0x"));
        assert_eq!(Response::parse(b""), message(b""));
        assert_eq!(Response::parse(b"*"), Response::Cancel);
        assert_eq!(Response::parse_initial(b"="), message(b""));
        assert_eq!(Response::parse_initial(b"AA=="), message(b"\0"));
    }

    #[test]
    fn base64_is_strict() {
        for bad in [&b"="[..], b"AA", b"AA=", b"AB==", b"AA==AA==", b" AA==", b"A\nA=", b"AUTH PLAIN AGFsaWNlAHg=", b"_-==", b"**"] {
            assert_eq!(Response::parse(bad), Response::Malformed, "{bad:?}");
        }
        assert_eq!(Response::parse_initial(b"*"), Response::Malformed);
    }

    #[test]
    fn login_becomes_plain() {
        let secret = |b: &[u8]| Secret::new(b.to_vec());
        assert_eq!(plain(&secret(b"alice"), &secret(b"pw")).unwrap().as_bytes(), b"\0alice\0pw");
        assert!(plain(&secret(b"a\0b"), &secret(b"pw")).is_none());
        assert!(plain(&secret(b"a"), &secret(b"p\0w")).is_none());
    }

    #[test]
    fn debug_says_nothing() {
        assert_eq!(format!("{:?}", message(b"hunter2")), "Message(Secret(..))");
    }
}
