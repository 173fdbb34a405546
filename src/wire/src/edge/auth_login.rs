//! submission, imap -> auth: SASL exchanges. Success brings a connected socket that is good for one account.
//!
//! Front ends hand over what the client said, undecoded beyond base64; only `auth` reads it. One connection carries many
//! exchanges; an exchange belongs to the connection that started it.

use super::mail::{Owner, Protocol, SessionId};
use crate::Edge;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::{net::IpAddr, time::Duration};

/// See the module.
#[derive(Debug)]
pub struct AuthLogin;

/// Bytes of one SASL message.
pub const MAX_SASL: usize = 9 * 1024;

impl Edge for AuthLogin {
    const NAME: &'static str = "auth-login";
    const MAX_BODY: usize = 16 * 1024;
    const MAX_FDS: usize = 1;
    // Verifying waits its turn among others: argon2id is meant to be slow.
    const PATIENCE: Duration = Duration::from_secs(60);
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
        /// What the session will be for.
        protocol: Protocol,
        /// The connection, for the log.
        session: SessionId,
        /// The real address of the client; penalties count by it.
        peer: IpAddr,
        /// How.
        mechanism: Mechanism,
        /// The client's first message; every mechanism here begins with the client.
        initial: ByteBuf,
        /// `tls-exporter` value of the connection (RFC 9266), 32 bytes, where there is TLS 1.3.
        channel_binding: Option<ByteBuf>,
    },
    /// The client's next message.
    Continue {
        /// From [`Response::Challenge`].
        exchange: u64,
        /// The message.
        response: ByteBuf,
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
