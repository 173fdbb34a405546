//! auth -> queue: a session for one account, whose answer brings one end of a [`super::queue_submit`] connection; and the end of
//! all its sessions.

use super::mail::{Owner, SessionId};
use crate::Edge;
use pure_addr::AccountId;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug)]
pub struct QueueGrant;

impl Edge for QueueGrant {
    const NAME: &'static str = "queue-grant";
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
        /// Whose mail it will be.
        owner: Owner,
        /// The connection that logged in, for the log.
        session: SessionId,
    },
    /// What was granted for this account until now is over: its password is another one, or it is gone.
    End(AccountId),
}

/// What the queue may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// One descriptor comes along.
    Granted,
    /// Too many sessions.
    Busy,
    /// No session of the account that was granted before serves another request.
    Ended,
}
