//! queue -> keys: DKIM signatures (RFC 6376) and ARC sets (RFC 8617) over a header hash that `keys` rebuilds from typed fields.
//!
//! What is signed is the text of a `DKIM-Signature`, `ARC-Message-Signature` or `ARC-Seal` field that keys writes itself, behind fields that it has checked to be in canonical
//! form: nothing else can come out of it, whoever asks.

use crate::{Edge, List};
use pure_addr::{Domain, Text};
use pure_index::judgement::{Judgement, MAX_ARC_SETS};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct KeysDkim;

/// Sets that may stand before one that is added (RFC 8617 4.2.1).
pub const MAX_SEALED_SETS: usize = MAX_ARC_SETS - 1;
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
    /// Add an ARC set.
    Seal(Box<Seal>),
}

/// The next ARC set of a message that is passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// `d=`
    pub domain: Domain,
    /// `t=`: seconds since 1970.
    pub time: i64,
    /// Who found out what is said: the authserv-id (RFC 8601 2.5).
    pub host: Domain,
    /// What the signature of the message covers.
    pub input: Box<SigningInput>,
    /// What was found when the message came.
    pub judgement: Box<Judgement>,
    /// The sets that it has, instance 1 first.
    pub sets: List<SealedSet, MAX_SEALED_SETS>,
}

/// The values of an older ARC set, in relaxed form (RFC 6376 3.4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSet {
    /// `ARC-Authentication-Results`.
    pub results: ByteBuf,
    /// `ARC-Message-Signature`.
    pub message: ByteBuf,
    /// `ARC-Seal`.
    pub seal: ByteBuf,
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
    /// Whole fields, each ended by CRLF: the `DKIM-Signature` of Ed25519 and that of RSA; or `ARC-Seal`, `ARC-Message-Signature` and
    /// `ARC-Authentication-Results`, in that order.
    Signatures(List<ByteBuf, 4>),
    /// This domain is not one to sign for.
    NotOurs,
    /// Not now: no key could be made or read.
    Unavailable,
}
