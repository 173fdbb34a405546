//! The contracts between processes.
//!
//! One AF_UNIX SOCK_SEQPACKET socket per edge, one datagram per frame, one module and one enum pair per edge in [`edge`].
//!
//! * A frame is a fixed header and a `postcard` body; bytes left over after decoding are an error.
//! * A frame has at most [`frame::MAX_INLINE`] bytes; a larger body, up to the edge's own limit, travels in a sealed memfd.
//! * The first frame either way is [`frame::Hello`]: the edge's name and the build id. Internal protocols never need compatibility.
//! * Requests carry an id, so that one connection has many under way; a reply may come in several frames.
//! * Frames of an edge that carries passwords ([`Edge::SECRET`]) are overwritten after use, at both ends.
//! * A peer that breaks any of this ends its own connection and nothing else.
//!
//! As a rule the client connects to the server's listening socket. Where neither may make a socket, the client listens and who starts the
//! server connects it ([`Client::listening`], [`serve_given`]).
//!
//! [`Client`] is for connections shared by many tasks, [`Session`] for one owned by one task, [`serve`] and [`Served`] for their
//! other ends.

mod bounded;
mod client;
mod conn;
pub mod edge;
pub mod frame;
mod sealed;
mod secret;
mod server;
mod session;

pub use bounded::List;
pub use client::Client;
pub use conn::Conn;
pub use edge::Edge;
pub use frame::{decode, encode};
pub use sealed::{MessageWriter, NotSealed, SealedMessage};
pub use secret::Secret;
pub use server::{Caller, Reply, Service, serve, serve_connection, serve_given};
pub use session::{Served, Session};

/// The identity of this build; two processes talk only when theirs are equal.
pub const BUILD_ID: &str = env!("POSTERN_BUILD_ID");

/// Why a connection or a call ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system call failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer sent what this edge does not have.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// The peer is of another build.
    #[error("the peer is of another build")]
    OtherBuild,
    /// The answer did not come in time.
    #[error("no answer within the time limit")]
    Timeout,
    /// What was to be sent is larger than the edge allows.
    #[error("the frame is larger than the edge allows")]
    TooLarge,
    /// The peer could not do it now; nothing is known to have changed.
    #[error("the peer could not answer the request")]
    Refused,
}
