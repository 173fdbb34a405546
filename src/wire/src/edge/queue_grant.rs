//! auth -> queue: a session for one account. The answer brings one end of a [`super::queue_submit`] connection.

use super::mail::{Owner, SessionId};
use crate::Edge;
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
pub struct Request {
    /// Whose mail it will be.
    pub owner: Owner,
    /// The connection that logged in, for the log.
    pub session: SessionId,
}

/// What the queue may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// One descriptor comes along.
    Granted,
    /// Too many sessions.
    Busy,
}
