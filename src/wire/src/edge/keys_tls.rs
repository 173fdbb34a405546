//! mx, submission, imap -> keys: certificates, and signatures over handshakes that `keys` itself rebuilds.
//!
//! `keys` never signs bytes it was handed: a signature is only ever over a TLS 1.3 server CertificateVerify or a TLS 1.2
//! ServerKeyExchange. What a taken-over listener gains is what it had: it can terminate TLS while it is owned.
//!
//! Each front end has an edge of its own, with connections and requests of its own: one that was taken over is known by the name of
//! its edge, and cannot use up what the others need.

use crate::{Edge, List};
use pure_addr::Text;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::time::Duration;

/// mx asks.
#[derive(Debug)]
pub struct KeysForMx;

/// submission asks.
#[derive(Debug)]
pub struct KeysForSubmission;

/// imap asks.
#[derive(Debug)]
pub struct KeysForImap;

/// What they have in common.
pub trait Handshakes: Edge<Request = Request, Response = Response> {}

impl Handshakes for KeysForMx {}
impl Handshakes for KeysForSubmission {}
impl Handshakes for KeysForImap {}

const MAX_BODY: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

impl Edge for KeysForMx {
    const NAME: &'static str = "keys-tls-mx";
    const MAX_BODY: usize = MAX_BODY;
    const MAX_FDS: usize = 0;
    const PATIENCE: Duration = PATIENCE;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

impl Edge for KeysForSubmission {
    const NAME: &'static str = "keys-tls-submission";
    const MAX_BODY: usize = MAX_BODY;
    const MAX_FDS: usize = 0;
    const PATIENCE: Duration = PATIENCE;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

impl Edge for KeysForImap {
    const NAME: &'static str = "keys-tls-imap";
    const MAX_BODY: usize = MAX_BODY;
    const MAX_FDS: usize = 0;
    const PATIENCE: Duration = PATIENCE;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What a listener may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The public half of everything: [`Response::Certificates`].
    Certificates,
    /// Answers like `Certificates`, but only once the generation is another one.
    Changed(u64),
    /// A signature: [`Response::Signature`] or [`Response::NoSuchKey`].
    Sign {
        /// The generation the key number is from.
        generation: u64,
        /// Which key.
        key: u16,
        /// TLS SignatureScheme (RFC 8446 4.2.3).
        scheme: u16,
        /// What is signed.
        input: SignInput,
    },
}

/// The parts from which `keys` builds what it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignInput {
    /// RFC 8446 4.4.3, context "TLS 1.3, server CertificateVerify".
    Tls13ServerVerify {
        /// Transcript-Hash: 32 or 48 bytes.
        transcript_hash: ByteBuf,
    },
    /// RFC 8422 5.4, a named curve.
    Tls12KeyExchange {
        /// From ClientHello.
        client_random: [u8; 32],
        /// From ServerHello.
        server_random: [u8; 32],
        /// NamedCurve.
        group: u16,
        /// The server's ephemeral public key; at most 133 bytes (P-521).
        public: ByteBuf,
    },
}

/// What `keys` may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// All certificates, the default first.
    Certificates {
        /// Changes with every reload.
        generation: u64,
        /// Empty when none is configured or readable.
        list: List<Certificate, 64>,
    },
    /// The signature's bytes.
    Signature(ByteBuf),
    /// The generation, key or scheme is not known: ask for the certificates again.
    NoSuchKey,
}

/// One certificate with its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The number its key is asked for by.
    pub key: u16,
    /// The DNS names in it, lower-case; `*.` in front is a wildcard.
    pub names: List<Text<255>, 256>,
    /// DER, end entity first.
    pub chain: List<ByteBuf, 10>,
    /// TLS SignatureSchemes that the key can make, best first.
    pub schemes: List<u16, 8>,
}
