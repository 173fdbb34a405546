//! auth -> store: a session for one account, whose answer brings one end of a [`super::store_session`] connection; and the end of
//! all its sessions.

use super::mail::{Owner, SessionId};
use crate::Edge;
use pure_addr::AccountId;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug)]
pub struct StoreGrant;

impl Edge for StoreGrant {
    const NAME: &'static str = "store-grant";
    const MAX_BODY: usize = 4096;
    const MAX_FDS: usize = 1;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What auth may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A session.
    Session {
        /// Whose mailboxes.
        owner: Owner,
        /// The connection that logged in, for the log.
        session: SessionId,
    },
    /// What was granted for this account until now is over: its password is another one, or it is gone.
    End(AccountId),
}

/// What the store may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// One descriptor comes along.
    Granted,
    /// Too many sessions, of this account or in all.
    Busy,
    /// No session of the account that was granted before serves another request.
    Ended,
}
