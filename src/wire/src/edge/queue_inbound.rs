//! mx -> queue: mail from strangers, for hosted recipients only.
//!
//! A taken-over mx can inject mail as a stranger, which SMTP allows anyway. The queue asks the directory again for
//! every recipient of a submitted envelope, so nothing that mx claims makes it relay.

use super::mail::{Envelope, RecipientVerdict, Submitted};
use crate::Edge;
use pure_addr::{Address, ReversePath};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug)]
pub struct QueueInbound;

impl Edge for QueueInbound {
    const NAME: &'static str = "queue-inbound";
    const MAX_BODY: usize = 2 * 1024 * 1024;
    const MAX_FDS: usize = 1;
    // The answer comes after scan and the disk.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What mx may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// May this RCPT be accepted?
    Recipient {
        /// From MAIL.
        reverse_path: ReversePath,
        /// From RCPT.
        recipient: Address,
    },
    /// Take this message; one sealed memfd comes along.
    Submit(Box<Envelope>),
}

/// What the queue may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Recipient`].
    Recipient(RecipientVerdict),
    /// To [`Request::Submit`].
    Submitted(Submitted),
}
