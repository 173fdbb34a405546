//! queue -> keys: DKIM signatures (RFC 6376) over a header hash that `keys` rebuilds from typed fields.
//!
//! What is signed is the text of a `DKIM-Signature` field that keys writes itself, behind fields that it has checked to be in canonical
//! form: nothing else can come out of it, whoever asks.

use crate::{Edge, List};
use pure_addr::{Domain, Text};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct KeysDkim;

/// Header fields under one signature.
pub const MAX_SIGNED_FIELDS: usize = 128;

impl Edge for KeysDkim {
    const NAME: &'static str = "keys-dkim";
    const MAX_BODY: usize = 1024 * 1024;
    const MAX_FDS: usize = 0;
    /// The first signature of a domain waits for an RSA key to be made.
    const PATIENCE: Duration = Duration::from_secs(30);
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What the queue may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Sign for this domain.
    Sign {
        /// `d=`
        domain: Domain,
        /// `t=`: seconds since 1970.
        time: i64,
        /// What.
        input: Box<SigningInput>,
    },
}

/// What a signature covers, as scan computed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningInput {
    /// SHA-256 of the body in relaxed form (RFC 6376 3.4.4): `bh=`.
    pub body_hash: [u8; 32],
    /// The fields to sign, in the order of `h=`: for each name the last instance first (RFC 6376 5.4.2).
    pub fields: List<SignedField, MAX_SIGNED_FIELDS>,
}

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedField {
    /// Lower-case.
    pub name: Text<77>,
    /// In relaxed form (RFC 6376 3.4.2), without CRLF; none: the name is signed as absent (RFC 6376 5.4, oversigning).
    pub value: Option<ByteBuf>,
}

/// What `keys` may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Whole `DKIM-Signature` fields, each ended by CRLF: Ed25519 and RSA.
    Signatures(List<ByteBuf, 4>),
    /// This domain is not one to sign for.
    NotOurs,
    /// Not now: no key could be made or read.
    Unavailable,
}
