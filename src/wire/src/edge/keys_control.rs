//! postern -> keys: the public halves of DKIM keys, and their rotation.

use crate::{Edge, List};
use pure_addr::{Domain, Text};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use zeroize::Zeroize;

/// See the module.
#[derive(Debug)]
pub struct KeysControl;

impl Edge for KeysControl {
    const NAME: &'static str = "keys-control";
    const MAX_BODY: usize = 4 * 1024 * 1024;
    const MAX_FDS: usize = 0;
    const SECRET: bool = true;
    const PATIENCE: Duration = Duration::from_secs(60);
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The keys of a domain; the first are made if there are none.
    Keys(Domain),
    /// Begin the next rotation of a domain now.
    Rotate(Domain),
    /// Use this private key, PKCS #8 or PKCS #1 PEM, for a domain under this selector.
    Import {
        /// Whose.
        domain: Domain,
        /// `s=`
        selector: Text<63>,
        /// The key; overwritten after use.
        pem: Pem,
    },
}

/// A private key on its way in; overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pem(pub String);

impl Drop for Pem {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pem(..)")
    }
}

/// What `keys` may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// All keys of the domain.
    Keys(List<Key, 32>),
    /// It cannot be done; why, for a person.
    Refused(Text<200>),
}

/// The public half of a DKIM key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `s=`
    pub selector: Text<63>,
    /// What it is for now.
    pub stage: Stage,
    /// Seconds since 1970 of the next change of stage.
    pub until: Option<i64>,
    /// The TXT record at `SELECTOR._domainkey.DOMAIN` (RFC 6376 3.6.1, RFC 8463 4).
    pub record: Text<1000>,
}

/// The life of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Published ahead of its use.
    Next,
    /// It signs.
    Current,
    /// It no longer signs; published until old mail has aged out.
    Old,
}
