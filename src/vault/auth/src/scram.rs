//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side (RFC 5802, RFC 7677), without I/O.
//!
//! [`ClientFirst`] becomes an [`Exchange`], which the client's answer consumes: no state survives success or failure.

use crate::{
    limits::MAX_NONCE,
    verifier::{ScramKeys, hmac_sha256, sha256},
};
use data_encoding::BASE64;
use subtle::ConstantTimeEq;
use wire::edge::auth_login::Mechanism;

/// Why an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not a message of the mechanism.
    Malformed,
    /// A message of the mechanism that does not authenticate anybody.
    Credentials,
}

/// What the client says of channel binding (RFC 5802 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// `n`: it cannot.
    Unsupported,
    /// `y`: it could, and thinks that we cannot.
    NotOffered,
    /// `p=tls-exporter`.
    TlsExporter,
    /// `p=` anything else.
    Other,
}

/// client-first-message of RFC 5802 7.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientFirst {
    binding: Binding,
    gs2_header: String,
    bare: String,
    nonce: String,
    /// As whom to act; only the user themself is allowed.
    pub authzid: Option<String>,
    /// Unescaped.
    pub username: String,
}

impl ClientFirst {
    pub fn parse(message: &[u8]) -> Result<Self, Refused> {
        let text = utf8(message)?;
        let (flag, rest) = text.split_once(',').ok_or(Refused::Malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(Refused::Malformed)?;
        let binding = match flag {
            "n" => Binding::Unsupported,
            "y" => Binding::NotOffered,
            "p=tls-exporter" => Binding::TlsExporter,
            _ if flag.starts_with("p=") => Binding::Other,
            _ => return Err(Refused::Malformed),
        };
        let authzid = match authzid {
            "" => None,
            given => Some(unescape(given.strip_prefix("a=").ok_or(Refused::Malformed)?)?),
        };
        let mut attributes = bare.split(',');
        let first = attributes.next().unwrap_or_default();
        if first.starts_with("m=") {
            // RFC 5802 5.1: a mandatory extension nobody knows.
            return Err(Refused::Credentials);
        }
        let username = unescape(first.strip_prefix("n=").ok_or(Refused::Malformed)?)?;
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(Refused::Malformed)?;
        if !is_nonce(nonce) {
            return Err(Refused::Malformed);
        }
        extensions(attributes)?;
        let header = text.len().saturating_sub(bare.len());
        let gs2_header = text.get(..header).unwrap_or_default().to_owned();
        Ok(Self { binding, gs2_header, bare: bare.to_owned(), nonce: nonce.to_owned(), authzid, username })
    }

    /// The server's first message, and what waits for the client's last.
    ///
    /// `channel_binding` is the `tls-exporter` value (RFC 9266) where the connection has one; then -PLUS was offered.
    pub fn challenge(
        self,
        mechanism: Mechanism,
        channel_binding: Option<&[u8]>,
        keys: ScramKeys,
        server_nonce: &str,
    ) -> Result<(Exchange, String), Refused> {
        let bound = match (mechanism, self.binding, channel_binding) {
            (Mechanism::ScramSha256Plus, Binding::TlsExporter, Some(value)) => value,
            // RFC 5802 6: whoever says `y` when -PLUS was offered has been lied to by someone between us.
            (Mechanism::ScramSha256, Binding::NotOffered, None) | (Mechanism::ScramSha256, Binding::Unsupported, _) => &[],
            _ => return Err(Refused::Credentials),
        };
        let nonce = format!("{}{server_nonce}", self.nonce);
        let server_first = format!("r={nonce},s={},i={}", BASE64.encode(&keys.salt), keys.iterations);
        let expected_binding = BASE64.encode(&[self.gs2_header.as_bytes(), bound].concat());
        let auth_message = format!("{},{server_first},", self.bare);
        Ok((Exchange { keys, nonce, expected_binding, auth_message }, server_first))
    }
}

/// Between the server's first message and the client's last.
pub struct Exchange {
    keys: ScramKeys,
    nonce: String,
    /// base64 of gs2-header and channel binding data, as `c=` must have it.
    expected_binding: String,
    /// AuthMessage of RFC 5802 3, up to the client's last message.
    auth_message: String,
}

impl Exchange {
    /// Checks the client's last message; returns the server's, with its signature.
    pub fn finish(self, message: &[u8]) -> Result<String, Refused> {
        let text = utf8(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Refused::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|a| a.strip_prefix("c=")).ok_or(Refused::Malformed)?;
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(Refused::Malformed)?;
        extensions(attributes)?;
        let proof: [u8; 32] = BASE64.decode(proof.as_bytes()).ok().and_then(|p| p.try_into().ok()).ok_or(Refused::Credentials)?;
        let same_binding = binding.as_bytes().ct_eq(self.expected_binding.as_bytes());
        let same_nonce = nonce.as_bytes().ct_eq(self.nonce.as_bytes());
        let auth_message = [self.auth_message.as_bytes(), without_proof.as_bytes()];
        let client_signature = hmac_sha256(&self.keys.stored_key, &auth_message);
        let mut client_key = proof;
        client_key.iter_mut().zip(client_signature).for_each(|(k, s)| *k ^= s);
        let same_key = sha256(&client_key).ct_eq(&self.keys.stored_key);
        if !bool::from(same_binding & same_nonce & same_key) {
            return Err(Refused::Credentials);
        }
        Ok(format!("v={}", BASE64.encode(&hmac_sha256(&self.keys.server_key, &auth_message))))
    }
}

fn utf8(message: &[u8]) -> Result<&str, Refused> {
    std::str::from_utf8(message).ok().filter(|text| !text.contains('\0')).ok_or(Refused::Malformed)
}

/// `saslname` of RFC 5802 7: `=2C` is a comma, `=3D` an equals sign, no other `=` may stand in it.
fn unescape(text: &str) -> Result<String, Refused> {
    let mut parts = text.split('=');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (c, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Refused::Malformed),
        };
        out.push(c);
        out.push_str(rest);
    }
    if out.is_empty() { Err(Refused::Malformed) } else { Ok(out) }
}

/// `printable` of RFC 5802 7, without the comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NONCE && text.bytes().all(|b| matches!(b, b'!'..=b'+' | b'-'..=b'~'))
}

/// Optional extensions are ignored (RFC 5802 5.1); a mandatory one, or an attribute out of its place, is refused.
fn extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<(), Refused> {
    for attribute in attributes {
        let (name, value) = attribute.split_once('=').ok_or(Refused::Malformed)?;
        if value.is_empty() || name.len() != 1 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(Refused::Malformed);
        }
        if "anmrcsipve".contains(name) {
            return Err(Refused::Credentials);
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

    fn keys() -> ScramKeys {
        ScramKeys::make(b"pencil", BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096)
    }

    /// A client of its own: what it answers to `server_first`.
    pub(crate) fn client_final(password: &str, gs2: &str, bare: &str, bound: &[u8], server_first: &str) -> String {
        let field = |name: &str| server_first.split(',').find_map(|a| a.strip_prefix(name)).unwrap().to_owned();
        let salt = BASE64.decode(field("s=").as_bytes()).unwrap();
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password.as_bytes(), &salt, field("i=").parse().unwrap(), &mut salted);
        let client_key = hmac_sha256(&salted, &[b"Client Key"]);
        let without_proof = format!("c={},r={}", BASE64.encode(&[gs2.as_bytes(), bound].concat()), field("r="));
        let message = format!("{bare},{server_first},{without_proof}");
        let signature = hmac_sha256(&sha256(&client_key), &[message.as_bytes()]);
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(k, s)| k ^ s).collect();
        format!("{without_proof},p={}", BASE64.encode(&proof))
    }

    fn first(gs2: &str) -> (String, String) {
        let bare = format!("n=user,r={CLIENT_NONCE}");
        (format!("{gs2}{bare}"), bare)
    }

    /// RFC 7677 3, to the byte.
    #[test]
    fn the_example_of_the_rfc() {
        let client = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(client.username, "user");
        let (exchange, server_first) = client.challenge(Mechanism::ScramSha256, None, keys(), SERVER_NONCE).unwrap();
        assert_eq!(server_first, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let last = exchange
            .finish(b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .unwrap();
        assert_eq!(last, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn channel_binding_ties_the_login_to_its_connection() {
        let (message, bare) = first("p=tls-exporter,,");
        let attempt = |client_sees: &[u8], server_sees: Option<&[u8]>| {
            let client = ClientFirst::parse(message.as_bytes()).unwrap();
            let (exchange, server_first) = client.challenge(Mechanism::ScramSha256Plus, server_sees, keys(), SERVER_NONCE)?;
            exchange.finish(client_final("pencil", "p=tls-exporter,,", &bare, client_sees, &server_first).as_bytes())
        };
        assert!(attempt(&[7; 32], Some(&[7; 32])).is_ok());
        assert_eq!(attempt(&[7; 32], Some(&[8; 32])), Err(Refused::Credentials));
        assert_eq!(attempt(b"", Some(&[8; 32])), Err(Refused::Credentials));
        assert_eq!(attempt(&[7; 32], None), Err(Refused::Credentials));
    }

    /// Attack case AUTH-09: downgrades.
    #[test]
    fn a_downgrade_of_channel_binding_is_refused() {
        let attempt = |gs2: &str, mechanism, server_sees: Option<&[u8]>| {
            let client = ClientFirst::parse(first(gs2).0.as_bytes())?;
            client.challenge(mechanism, server_sees, keys(), SERVER_NONCE).map(|_| ())
        };
        let bound: Option<&[u8]> = Some(&[7; 32]);
        assert_eq!(attempt("y,,", Mechanism::ScramSha256, bound), Err(Refused::Credentials));
        assert_eq!(attempt("y,,", Mechanism::ScramSha256, None), Ok(()));
        assert_eq!(attempt("n,,", Mechanism::ScramSha256, bound), Ok(()));
        for gs2 in ["n,,", "y,,", "p=tls-unique,,", "p=tls-server-end-point,,"] {
            assert_eq!(attempt(gs2, Mechanism::ScramSha256Plus, bound), Err(Refused::Credentials), "{gs2}");
        }
        assert_eq!(attempt("p=tls-exporter,,", Mechanism::ScramSha256, bound), Err(Refused::Credentials));
        assert_eq!(attempt("p=tls-exporter,,", Mechanism::ScramSha256Plus, None), Err(Refused::Credentials));
    }

    /// Attack case AUTH-09: changed nonce, empty and foreign proofs, another header than was begun with.
    #[test]
    fn a_wrong_last_message_is_refused() {
        let (message, bare) = first("n,,");
        let finish = |change: &dyn Fn(String) -> String| {
            let client = ClientFirst::parse(message.as_bytes()).unwrap();
            let (exchange, server_first) = client.challenge(Mechanism::ScramSha256, None, keys(), SERVER_NONCE).unwrap();
            exchange.finish(change(client_final("pencil", "n,,", &bare, b"", &server_first)).as_bytes())
        };
        assert!(finish(&|m| m).is_ok());
        let without_proof = |m: &str| m.rsplit_once(",p=").unwrap().0.to_owned();
        let credentials: [&dyn Fn(String) -> String; 8] = [
            &|m| m.replace("%hv", "%hw"),
            &|m| m.replace(SERVER_NONCE, ""),
            &|m| m.replace("c=biws", "c=eSws"),
            &|m| format!("{},p=", without_proof(&m)),
            &|m| format!("{},p={}", without_proof(&m), BASE64.encode(&[0; 32])),
            &|m| format!("{},p=!!!!", without_proof(&m)),
            &|m| m.replace(",p=", ",m=x,p="),
            &|m| m.replace(",p=", ",r=x,p="),
        ];
        for (at, change) in credentials.iter().enumerate() {
            assert_eq!(finish(change), Err(Refused::Credentials), "change {at}");
        }
        for message in ["", "c=biws", "c=biws,r=x", "r=x,c=biws,p=AA==", ",,,p=", "c=biws,r=x,junk,p=AA=="] {
            assert_eq!(finish(&|_| message.into()), Err(Refused::Malformed), "{message}");
        }
        // A proof made with another password, and an optional extension that is not ours.
        let client = ClientFirst::parse(message.as_bytes()).unwrap();
        let (exchange, server_first) = client.challenge(Mechanism::ScramSha256, None, keys(), SERVER_NONCE).unwrap();
        let foreign = client_final("pen", "n,,", &bare, b"", &server_first);
        assert_eq!(exchange.finish(foreign.as_bytes()), Err(Refused::Credentials));
    }

    /// Attack case AUTH-09: names and extensions of the first message.
    #[test]
    fn first_messages_are_read_strictly() {
        for bad in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,r=x",
            "n,,n=,r=x",
            "n,,n=user,r=",
            "n,,r=x,n=user",
            "x,,n=user,r=x",
            "p,,n=user,r=x",
            "n,user,n=user,r=x",
            "n,a=,n=user,r=x",
            "n,,n=us=er,r=x",
            "n,,n=us=2c,r=x",
            "n,,n=user=,r=x",
            "n,,n=user,r=a b",
            "n,,n=user,r=é",
            "n,,n=us\0er,r=x",
            "n,,n=user,r=x,",
            "n,,n=user,r=x,junk",
            "n,,n=user,r=x,z=",
            "n,,n=user,r=x,zz=1",
            "n,,n=user,r=x,1=1",
        ] {
            assert_eq!(ClientFirst::parse(bad.as_bytes()), Err(Refused::Malformed), "{bad:?}");
        }
        assert_eq!(ClientFirst::parse(b"n,,n=\xff,r=x"), Err(Refused::Malformed));
        for refused in ["n,,m=x,n=user,r=x", "n,,n=user,r=x,m=x", "n,,n=user,r=x,i=1", "n,,n=user,r=x,n=admin"] {
            assert_eq!(ClientFirst::parse(refused.as_bytes()), Err(Refused::Credentials), "{refused}");
        }
        assert_eq!(ClientFirst::parse(b"n,,n=a=2Cb=3D,r=x").unwrap().username, "a,b=");
        assert_eq!(ClientFirst::parse(b"n,a=u=2C,n=user,r=x,z=1").unwrap().authzid.as_deref(), Some("u,"));
        let nonce = "x".repeat(MAX_NONCE);
        assert!(ClientFirst::parse(format!("n,,n=user,r={nonce}").as_bytes()).is_ok());
        assert!(ClientFirst::parse(format!("n,,n=user,r={nonce}x").as_bytes()).is_err());
    }
}
