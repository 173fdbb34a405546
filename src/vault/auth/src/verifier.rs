//! Password verifiers: argon2id for PLAIN, SCRAM-SHA-256 keys for SCRAM. Neither reveals the password; both are secret.

use crate::limits::{
    ARGON2_LANES, ARGON2_MEMORY_KIB, ARGON2_PASSES, MAX_ARGON2_LANES, MAX_ARGON2_MEMORY_KIB, MAX_ARGON2_PASSES, MAX_PASSWORD, MAX_VERIFIER,
    MIN_PASSWORD, SALT, SCRAM_ITERATIONS, SCRAM_ITERATIONS_RANGE,
};
use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::{BASE64, BASE64_NOPAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, fmt, str::FromStr};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Why text is not a verifier. Says nothing of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVerifier {
    #[error("is not an argon2id hash such as $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH")]
    Argon2,
    #[error("asks for more memory, passes or lanes than allowed (256 MiB, 20, 16)")]
    TooExpensive,
    #[error("its second line is not SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER with at least 4096 iterations")]
    Scram,
    #[error("is longer than 1024 bytes or has more than two lines")]
    TooLong,
}

/// What an account has to log in with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Verifiers {
    pub(crate) argon2: Option<Argon2id>,
    pub(crate) scram: Option<ScramKeys>,
}

impl Verifiers {
    /// Both kinds for a password that [`acceptable`] has let through. Slow on purpose.
    pub(crate) fn make(password: &str, salts: [[u8; SALT]; 2]) -> Option<Self> {
        let password = prepare(password);
        let [argon2_salt, scram_salt] = salts;
        let argon2 = Argon2id::make(password.as_bytes(), argon2_salt)?;
        Some(Self { argon2: Some(argon2), scram: Some(ScramKeys::make(password.as_bytes(), scram_salt.to_vec(), SCRAM_ITERATIONS)) })
    }

    /// The content of a credential `account.ADDRESS`: an argon2id PHC string, and optionally a line with SCRAM keys.
    pub(crate) fn from_credential(text: &str) -> Result<Self, InvalidVerifier> {
        if text.len() > MAX_VERIFIER {
            return Err(InvalidVerifier::TooLong);
        }
        let mut lines = text.trim().lines();
        let argon2 = lines.next().unwrap_or_default().trim().parse()?;
        let scram = lines.next().map(|line| line.trim().parse()).transpose()?;
        if lines.next().is_some() {
            return Err(InvalidVerifier::TooLong);
        }
        Ok(Self { argon2: Some(argon2), scram })
    }

    pub(crate) fn can_log_in(&self) -> bool {
        self.argon2.is_some() || self.scram.is_some()
    }
}

/// Whether a new password may be set: at most 1024 bytes, no control characters, at least 8 characters left after preparation.
pub(crate) fn acceptable(password: &str) -> bool {
    password.len() <= MAX_PASSWORD && !password.chars().any(char::is_control) && prepare(password).chars().count() >= MIN_PASSWORD
}

/// SASLprep (RFC 4013; RFC 5802 2.2, RFC 4616 2). What it prohibits is taken as it is, so that no password is shut out.
pub(crate) fn prepare(password: &str) -> Zeroizing<String> {
    Zeroizing::new(match stringprep::saslprep(password) {
        Ok(Cow::Borrowed(same)) => same.to_owned(),
        Ok(Cow::Owned(prepared)) => prepared,
        Err(_) => password.to_owned(),
    })
}

/// How expensive an argon2id verifier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    pub(crate) fn memory_kib(self) -> u32 {
        self.memory_kib
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: ARGON2_MEMORY_KIB, passes: ARGON2_PASSES, lanes: ARGON2_LANES }
    }
}

/// A PHC string `$argon2id$v=19$m=..,t=..,p=..$salt$hash` (RFC 9106).
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub(crate) struct Argon2id {
    #[zeroize(skip)]
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Argon2id {
    /// Bytes of a hash made here.
    const HASH: usize = 32;

    fn make(password: &[u8], salt: [u8; SALT]) -> Option<Self> {
        let cost = Cost::default();
        let hash = derive(cost, password, &salt, Self::HASH)?;
        Some(Self { cost, salt: salt.to_vec(), hash: hash.to_vec() })
    }

    /// A verifier that no password fits, with the cost of a real one: the work for a user that does not exist.
    pub(crate) fn decoy(cost: Cost) -> Self {
        Self { cost, salt: vec![0; SALT], hash: Vec::new() }
    }

    pub(crate) fn cost(&self) -> Cost {
        self.cost
    }

    /// Slow on purpose, equally so whatever the answer.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        let length = if self.hash.is_empty() { Self::HASH } else { self.hash.len() };
        derive(self.cost, password, &self.salt, length).is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }
}

fn derive(cost: Cost, password: &[u8], salt: &[u8], length: usize) -> Option<Zeroizing<Vec<u8>>> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(length)).ok()?;
    let mut hash = Zeroizing::new(vec![0; length]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(password, salt, &mut hash).ok()?;
    Some(hash)
}

impl FromStr for Argon2id {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;
        const HASH_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
        let fields: Vec<&str> = text.split('$').collect();
        let ["", "argon2id", "v=19", cost, salt, hash] = fields.as_slice() else { return Err(InvalidVerifier::Argon2) };
        let cost = parse_cost(cost).ok_or(InvalidVerifier::Argon2)?;
        if cost.memory_kib > MAX_ARGON2_MEMORY_KIB || cost.passes > MAX_ARGON2_PASSES || cost.lanes > MAX_ARGON2_LANES {
            return Err(InvalidVerifier::TooExpensive);
        }
        let bytes = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| InvalidVerifier::Argon2);
        let (salt, hash) = (bytes(salt)?, bytes(hash)?);
        if !SALT_BYTES.contains(&salt.len()) || !HASH_BYTES.contains(&hash.len()) {
            return Err(InvalidVerifier::Argon2);
        }
        Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(hash.len())).map_err(|_| InvalidVerifier::Argon2)?;
        Ok(Self { cost, salt, hash })
    }
}

fn parse_cost(text: &str) -> Option<Cost> {
    let mut parts = text.split(',');
    let mut part = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    let cost = Cost { memory_kib: part("m")?, passes: part("t")?, lanes: part("p")? };
    parts.next().is_none().then_some(cost)
}

impl Argon2id {
    /// The PHC string, for the database.
    pub(crate) fn to_phc(&self) -> Zeroizing<String> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let (salt, hash) = (BASE64_NOPAD.encode(&self.salt), Zeroizing::new(BASE64_NOPAD.encode(&self.hash)));
        Zeroizing::new(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${}", *hash))
    }
}

impl fmt::Debug for Argon2id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Argon2id(..)")
    }
}

/// What RFC 5802 3 lets a server keep, for SHA-256 (RFC 7677).
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct ScramKeys {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

impl ScramKeys {
    /// RFC 5802 3, from a prepared password.
    pub(crate) fn make(password: &[u8], salt: Vec<u8>, iterations: u32) -> Self {
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, iterations, &mut salted);
        let mut client_key = hmac_sha256(&salted, &[b"Client Key"]);
        let server_key = hmac_sha256(&salted, &[b"Server Key"]);
        let stored_key = sha256(&client_key);
        salted.zeroize();
        client_key.zeroize();
        Self { iterations, salt, stored_key, server_key }
    }

    /// `SCRAM-SHA-256$iterations:salt$stored:server` (RFC 5803 form, as PostgreSQL keeps it), for the database.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        let (stored, server) = (Zeroizing::new(BASE64.encode(&self.stored_key)), Zeroizing::new(BASE64.encode(&self.server_key)));
        Zeroizing::new(format!("SCRAM-SHA-256${}:{}${}:{}", self.iterations, BASE64.encode(&self.salt), *stored, *server))
    }
}

impl FromStr for ScramKeys {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        Self::parse(text).ok_or(InvalidVerifier::Scram)
    }
}

impl ScramKeys {
    fn parse(text: &str) -> Option<Self> {
        let (shape, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = shape.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|n| SCRAM_ITERATIONS_RANGE.contains(n))?;
        let bytes = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let salt = bytes(salt).filter(|salt| (8..=64).contains(&salt.len()))?;
        Some(Self { iterations, salt, stored_key: bytes(stored)?.try_into().ok()?, server_key: bytes(server)?.try_into().ok()? })
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Overwrites what calls that have returned left on this thread's stack: hash functions keep a block of what they are given there.
#[inline(never)]
pub(crate) fn wipe_stack() {
    let mut below = [0u8; 16 * 1024];
    below.zeroize();
    std::hint::black_box(&mut below);
}

/// HMAC-SHA-256 over the concatenation of `parts`.
pub fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // RFC 2104 2: a key shorter than the block is filled up with zeros.
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key).for_each(|(b, k)| *b = *k);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A PHC string that costs next to nothing to check.
    pub(crate) fn cheap_phc(password: &str) -> String {
        let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
        let hash = derive(cost, password.as_bytes(), &[1; SALT], 32).unwrap().to_vec();
        (*Argon2id { cost, salt: vec![1; SALT], hash }.to_phc()).clone()
    }

    #[test]
    fn a_made_verifier_fits_its_password_alone_and_survives_its_text() {
        let made = Verifiers::make("correct horse", [[1; SALT], [2; SALT]]).unwrap();
        let argon2 = made.argon2.clone().unwrap();
        assert!(argon2.to_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$AQEBAQEBAQEBAQEBAQEBAQ$"));
        let text = format!("{}\n{}\n", *argon2.to_phc(), *made.scram.clone().unwrap().to_text());
        let read = Verifiers::from_credential(&text).unwrap();
        assert_eq!(read, made);
        assert!(read.argon2.as_ref().unwrap().verify(b"correct horse"));
        assert!(!read.argon2.as_ref().unwrap().verify(b"correct horsf"));
        assert!(!read.argon2.as_ref().unwrap().verify(b""));
    }

    /// Made by another implementation: `printf password | argon2 somesalt -id -v 13 -m 16 -t 2 -p 1`.
    #[test]
    fn a_verifier_of_another_implementation_is_understood() {
        let phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let verifier: Argon2id = phc.parse().unwrap();
        assert!(verifier.verify(b"password"));
        assert!(!verifier.verify(b"Password"));
        assert_eq!(*verifier.to_phc(), phc);
    }

    /// RFC 7677 3.
    #[test]
    fn scram_keys_of_the_rfc_example() {
        let salt = BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::make(b"pencil", salt, 4096);
        assert_eq!(BASE64.encode(&keys.stored_key), "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
        assert_eq!(BASE64.encode(&keys.server_key), "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
        assert_eq!(keys.to_text().parse::<ScramKeys>().unwrap(), keys);
    }

    #[test]
    fn what_is_not_a_verifier_is_refused() {
        let salt_and_hash = "c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        for (text, why) in [
            ("", InvalidVerifier::Argon2),
            ("hunter2", InvalidVerifier::Argon2),
            ("$2b$12$abcdefghijklmnopqrstuv", InvalidVerifier::Argon2),
            (&format!("$argon2i$v=19$m=65536,t=2,p=1${salt_and_hash}"), InvalidVerifier::Argon2),
            (&format!("$argon2id$v=16$m=65536,t=2,p=1${salt_and_hash}"), InvalidVerifier::Argon2),
            (&format!("$argon2id$v=19$t=2,m=65536,p=1${salt_and_hash}"), InvalidVerifier::Argon2),
            (&format!("$argon2id$v=19$m=65536,t=2,p=1,x=1${salt_and_hash}"), InvalidVerifier::Argon2),
            (&format!("$argon2id$v=19$m=65536,t=0,p=1${salt_and_hash}"), InvalidVerifier::Argon2),
            (&format!("$argon2id$v=19$m=1,t=1,p=1${salt_and_hash}"), InvalidVerifier::Argon2),
            ("$argon2id$v=19$m=65536,t=2,p=1$c29t$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", InvalidVerifier::Argon2),
            ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFh", InvalidVerifier::Argon2),
            (&format!("$argon2id$v=19$m=262145,t=2,p=1${salt_and_hash}"), InvalidVerifier::TooExpensive),
            (&format!("$argon2id$v=19$m=65536,t=21,p=1${salt_and_hash}"), InvalidVerifier::TooExpensive),
            (&format!("$argon2id$v=19$m=65536,t=2,p=17${salt_and_hash}"), InvalidVerifier::TooExpensive),
            (&format!("$argon2id$v=19$m=65536,t=2,p=1${salt_and_hash}\nplain"), InvalidVerifier::Scram),
            (
                &format!(
                    "$argon2id$v=19$m=65536,t=2,p=1${salt_and_hash}\nSCRAM-SHA-256$1:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
                ),
                InvalidVerifier::Scram,
            ),
            (&"x".repeat(MAX_VERIFIER + 1), InvalidVerifier::TooLong),
        ] {
            assert_eq!(Verifiers::from_credential(text), Err(why), "{text}");
        }
    }

    #[test]
    fn passwords_are_prepared_and_bounded() {
        // RFC 4013 3: soft hyphen mapped to nothing, non-ASCII space to a space, compatibility forms composed.
        assert_eq!(*prepare("I\u{ad}X"), "IX");
        assert_eq!(*prepare("\u{2168}"), "IX");
        assert_eq!(*prepare("a\u{a0}b"), "a b");
        assert_eq!(*prepare("a\tb"), "a\tb");
        assert!(acceptable("xxxxxxxx") && acceptable(&"x".repeat(MAX_PASSWORD)) && acceptable("pässwörd"));
        for bad in ["", "xxxxxxx", "ääääääa", "\u{ad}xxxxxxx", "a\0bcdefgh", "a\nbcdefgh", &"x".repeat(MAX_PASSWORD + 1)] {
            assert!(!acceptable(bad), "{bad:?}");
        }
    }

    #[test]
    fn secrets_print_nothing() {
        let made = Verifiers { argon2: Some(Argon2id::decoy(Cost::default())), scram: Some(ScramKeys::make(b"x", vec![0; 16], 4096)) };
        assert_eq!(format!("{made:?}"), "Verifiers { argon2: Some(Argon2id(..)), scram: Some(ScramKeys(..)) }");
    }

    #[test]
    fn no_password_fits_a_decoy() {
        let decoy = Argon2id::decoy(Cost { memory_kib: 64, passes: 1, lanes: 1 });
        assert!(!decoy.verify(b"") && !decoy.verify(b"x"));
    }
}
