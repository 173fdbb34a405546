//! queue -> auth: who lives at an address, and who may write from it.

use super::mail::Owner;
use crate::{Edge, List};
use pure_addr::{AccountId, Address, Text};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug)]
pub struct AuthDirectory;

/// Targets that one address may lead to.
pub const MAX_TARGETS: usize = 256;

impl Edge for AuthDirectory {
    const NAME: &'static str = "auth-directory";
    const MAX_BODY: usize = 256 * 1024;
    const MAX_FDS: usize = 0;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What the queue may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Where mail for this address goes.
    Resolve(Address),
    /// Whether an account may use every one of these as its sender.
    MaySend {
        /// Whose.
        account: AccountId,
        /// Which; as text, since they come from header fields.
        addresses: List<Text<320>, 64>,
    },
    /// The directory's generation, answered once it is another one than this; 0 is never one.
    Changed(u64),
}

/// What `auth` may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Not a domain of ours.
    NotLocal,
    /// Our domain, nobody there.
    Unknown,
    /// Deliver to all of these.
    Targets(List<Target, MAX_TARGETS>),
    /// To [`Request::MaySend`].
    MaySend(bool),
    /// To [`Request::Changed`]: answers up to now may be kept until it is another one.
    Generation(u64),
}

/// One place that mail for an address goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A local account.
    Account {
        /// Which.
        owner: Owner,
        /// What follows the subaddress separator (RFC 5233).
        detail: Option<Text<64>>,
    },
    /// An alias leads elsewhere.
    Remote(Address),
}
