//! What accounts log in with: the password, what it costs to verify it, and a client's half of SCRAM.

use crate::Failure;
use data_encoding::{BASE64, BASE64_NOPAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Of every account.
pub(crate) const PASSWORD: &str = "bench-secret-7";
/// What Postern's verifiers cost: KiB, passes, lanes. The peer's are made alike.
const ARGON2: (u32, u32, u32) = (19 * 1024, 2, 1);
/// What Postern's SCRAM keys cost a client.
const SCRAM_ITERATIONS: u32 = 10_000;
/// One salt will do: nothing is stored under it that is worth anything.
const SALT: &[u8; 16] = b"salt-of-bench-16";

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 7677.
    Scram,
}

/// The password as an argon2id PHC string.
pub(crate) fn argon2_phc() -> Result<String, Failure> {
    let (memory, passes, lanes) = ARGON2;
    let params = argon2::Params::new(memory, passes, lanes, Some(32)).map_err(|e| format!("argon2: {e}"))?;
    let mut hash = [0; 32];
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2.hash_password_into(PASSWORD.as_bytes(), SALT, &mut hash).map_err(|e| format!("argon2: {e}"))?;
    Ok(format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}", BASE64_NOPAD.encode(SALT), BASE64_NOPAD.encode(&hash)))
}

/// SCRAM keys as Dovecot writes them: iterations, salt, stored key, server key.
pub(crate) fn scram_keys() -> Result<String, Failure> {
    let salted = salted_password(SALT, SCRAM_ITERATIONS);
    let stored = Sha256::digest(hmac_sha256(&salted, b"Client Key")?);
    let server = hmac_sha256(&salted, b"Server Key")?;
    Ok(format!("{SCRAM_ITERATIONS},{},{},{}", BASE64.encode(SALT), BASE64.encode(&stored), BASE64.encode(&server)))
}

/// The client's half of one exchange (RFC 5802 3).
#[derive(Debug)]
pub(crate) struct Scram {
    bare: String,
    signature: Vec<u8>,
}

impl Scram {
    pub(crate) fn new(user: &str) -> Self {
        static NONCE: AtomicU64 = AtomicU64::new(1);
        let nonce = NONCE.fetch_add(1, Ordering::Relaxed);
        Self { bare: format!("n={user},r=bench-nonce-{}-{nonce}", std::process::id()), signature: Vec::new() }
    }

    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    pub(crate) fn answer(&mut self, challenge: &str) -> Result<String, Failure> {
        let field = |name: &str| challenge.split(',').find_map(|f| f.strip_prefix(name)).ok_or_else(|| format!("no {name} in {challenge}"));
        let salt = BASE64.decode(field("s=")?.as_bytes())?;
        let salted = salted_password(&salt, field("i=")?.parse()?);
        let without_proof = format!("c=biws,r={}", field("r=")?);
        let message = format!("{},{challenge},{without_proof}", self.bare);
        let client_key = hmac_sha256(&salted, b"Client Key")?;
        let signature = hmac_sha256(&Sha256::digest(client_key), message.as_bytes())?;
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        self.signature = hmac_sha256(&hmac_sha256(&salted, b"Server Key")?, message.as_bytes())?.to_vec();
        Ok(format!("{without_proof},p={}", BASE64.encode(&proof)))
    }

    pub(crate) fn verify(&self, last: &str) -> Result<(), Failure> {
        if last == format!("v={}", BASE64.encode(&self.signature)) { Ok(()) } else { Err("the server does not know the password".into()) }
    }
}

/// By salt and iterations.
type Salted = HashMap<(Vec<u8>, u32), [u8; 32]>;

/// Remembered, as a mail program does: the client's work is not what is measured.
fn salted_password(salt: &[u8], iterations: u32) -> [u8; 32] {
    static KNOWN: OnceLock<Mutex<Salted>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    let key = (salt.to_vec(), iterations);
    if let Some(found) = known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return *found;
    }
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(PASSWORD.as_bytes(), salt, iterations, &mut salted);
    known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, salted);
    salted
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Result<[u8; 32], Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|e| format!("hmac: {e}"))?;
    mac.update(message);
    Ok(mac.finalize().into_bytes().into())
}
