//! submission, imap -> auth: SASL exchanges. Success brings a connected socket that is good for one account.
//!
//! Front ends hand over what the client said, undecoded beyond base64; only `auth` reads it. One connection carries many
//! exchanges. Which edge it arrives on is what the session will be for: an imap that was taken over cannot ask for a session of the
//! queue, whatever it writes.

use super::mail::{Owner, Protocol, SessionId};
use crate::{Edge, Secret};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::{net::IpAddr, time::Duration};

/// imap asks; success brings a session of the store.
#[derive(Debug)]
pub struct AuthForImap;

/// submission asks; success brings a session of the queue.
#[derive(Debug)]
pub struct AuthForSubmission;

/// What both have in common.
pub trait Login: Edge<Request = Request, Response = Response> {
    /// What a session of this edge is for.
    const PROTOCOL: Protocol;
}

impl Login for AuthForImap {
    const PROTOCOL: Protocol = Protocol::Imap;
}

impl Login for AuthForSubmission {
    const PROTOCOL: Protocol = Protocol::Submission;
}

/// Bytes of one SASL message.
pub const MAX_SASL: usize = 9 * 1024;

// Verifying waits its turn among others: argon2id is meant to be slow.
const PATIENCE: Duration = Duration::from_secs(60);

impl Edge for AuthForImap {
    const NAME: &'static str = "auth-imap";
    const MAX_BODY: usize = 16 * 1024;
    const MAX_FDS: usize = 1;
    const SECRET: bool = true;
    const PATIENCE: Duration = PATIENCE;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

impl Edge for AuthForSubmission {
    const NAME: &'static str = "auth-submission";
    const MAX_BODY: usize = AuthForImap::MAX_BODY;
    const MAX_FDS: usize = 1;
    const SECRET: bool = true;
    const PATIENCE: Duration = PATIENCE;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// SASL mechanisms. `LOGIN` and IMAP's LOGIN command arrive as PLAIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// RFC 7677 with channel binding `tls-exporter` (RFC 9266).
    ScramSha256Plus,
}

/// What a front end may ask.
#[derive(Serialize, Deserialize)]
pub enum Request {
    /// Begins an exchange.
    Start {
        /// The connection, for the log.
        session: SessionId,
        /// The real address of the client; penalties count by it.
        peer: IpAddr,
        /// How.
        mechanism: Mechanism,
        /// The client's first message; every mechanism here begins with the client.
        initial: Secret,
        /// `tls-exporter` value of the connection (RFC 9266), 32 bytes, where there is TLS 1.3.
        channel_binding: Option<ByteBuf>,
    },
    /// The client's next message.
    Continue {
        /// From [`Response::Challenge`].
        exchange: u64,
        /// The message.
        response: Secret,
    },
    /// The client gave up.
    Abort {
        /// From [`Response::Challenge`].
        exchange: u64,
    },
}

// A request holds a password: its Debug says nothing of the contents.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start { .. } => "Start",
            Self::Continue { .. } => "Continue",
            Self::Abort { .. } => "Abort",
        })
    }
}

/// What `auth` may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The client has to answer this.
    Challenge {
        /// Names the exchange; used once.
        exchange: u64,
        /// The server's message.
        data: ByteBuf,
    },
    /// Logged in. One descriptor comes along: a store session for IMAP, a queue session for submission.
    Success {
        /// As whom.
        owner: Owner,
        /// The server's last message, which the client must see (SCRAM's server signature).
        data: Option<ByteBuf>,
    },
    /// Not logged in.
    Failure(Failure),
    /// An exchange was ended by [`Request::Abort`].
    Aborted,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// Wrong name, wrong password, wrong proof: all the same to the client.
    Credentials,
    /// Too many failures from this network or for this account; try later.
    TooMany,
    /// The message is not of the mechanism, or the exchange is unknown.
    Malformed,
    /// auth, store or queue cannot do it now.
    Unavailable,
}
