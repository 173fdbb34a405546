//! submission -> queue, on the socket that a login returned: mail of one account. The socket says whose; no request does.

use super::mail::{Envelope, RecipientVerdict, Submitted};
use crate::Edge;
use pure_addr::{Address, ReversePath};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug)]
pub struct QueueSubmit;

impl Edge for QueueSubmit {
    const NAME: &'static str = "queue-submit";
    const MAX_BODY: usize = 2 * 1024 * 1024;
    const MAX_FDS: usize = 1;
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What a logged-in submission session may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// May the account use this reverse-path?
    Sender(ReversePath),
    /// May this RCPT be accepted?
    Recipient(Address),
    /// Take this message; one sealed memfd comes along.
    Submit(Box<Envelope>),
}

/// What the queue may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Sender`]: none when it cannot be known now.
    Sender(Option<bool>),
    /// To [`Request::Recipient`].
    Recipient(RecipientVerdict),
    /// To [`Request::Submit`].
    Submitted(Submitted),
}
