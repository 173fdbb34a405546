//! auth -> store: a session for one account. The answer brings one end of a [`super::store_session`] connection.

use super::mail::{Owner, SessionId};
use crate::Edge;
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
pub struct Request {
    /// Whose mailboxes.
    pub owner: Owner,
    /// The connection that logged in, for the log.
    pub session: SessionId,
}

/// What the store may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// One descriptor comes along.
    Granted,
    /// Too many sessions, of this account or in all.
    Busy,
}
