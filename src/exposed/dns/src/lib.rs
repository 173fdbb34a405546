//! Names: what the DNS says of them, and how surely. The library of postern-dns.
//!
//! # Security
//!
//! * Talks to: name servers (UDP and TCP, port 53 or the one that is declared), scan (dns-scan), which connects to it, and send
//!   (send-names), to which PID 1 connects it. It answers both and asks neither.
//! * Parses: DNS messages and their signatures, from whoever answers: servers, those on the way to them, and the owner of any name that
//!   somebody writes mail to, or from.
//! * Holds: what it has been told, until its time is over. No secret, no mail, no file but `/etc/resolv.conf` and the trust anchors.
//! * A taken-over dns can answer as it likes: it can send mail to other hosts (whose certificates it cannot forge, where MTA-STS or the
//!   configuration demands one; with DANE it can vouch for its own), or keep mail from leaving; it can have mail from anybody pass for mail from somebody else.
//!
//! # Invariants
//!
//! * `secure` is said of what was proven by DNSSEC down from the trust anchors, here, every alias on the way and every denial included.
//!   What a server says of its own validation (AD) counts for nothing;
//! * data whose proof is missing or wrong is never an answer: `Bogus`. An outage is never a denial: `Unavailable`;
//! * every question ends within a time and a number of queries; whatever is remembered is bounded in number and in time;
//! * a panic while one question is answered costs that question.
//!
//! # Limits of what is done
//!
//! DNAME below a signed zone is bogus (the synthesised CNAME is not signed, RFC 6672 5.3.1); keys of the root that replace each other are
//! not followed by themselves (RFC 5011): new ones come with a new version, or with the file of trust anchors. Without name servers to ask, names of
//! more than some 24 labels cannot be known: the recursor looks for a zone at each label, and may ask so often.

mod anchors;
mod cache;
pub mod limits;
#[doc(hidden)] // For tests/fuzz.
pub mod origin;
mod resolver;
pub mod system;
mod upstream;
#[doc(hidden)] // For tests/fuzz.
pub mod validator;

pub use anchors::{Anchors, InvalidAnchors};
pub use hickory_resolver::net::runtime::TokioRuntimeProvider as Network;
pub use resolver::Resolver;
pub use upstream::ROOT_SERVERS;

use std::{io, path::Path};

/// Why the trust anchors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorsError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what it should be.
    #[error("{0}")]
    Invalid(#[from] InvalidAnchors),
}

/// The declared trust anchors, or IANA's.
pub fn anchors(path: Option<&Path>) -> Result<Anchors, AnchorsError> {
    match path {
        Some(path) => Ok(Anchors::parse(&system::read(path)?)?),
        None => Ok(Anchors::default()),
    }
}
