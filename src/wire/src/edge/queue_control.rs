//! postern -> queue: what the administrator sees and does.

use super::mail::QueueId;
use crate::{Edge, List};
use pure_addr::{Address, ReversePath, Text};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug)]
pub struct QueueControl;

impl Edge for QueueControl {
    const NAME: &'static str = "queue-control";
    const MAX_BODY: usize = 2 * 1024 * 1024;
    const MAX_FDS: usize = 0;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Messages with a number above `after`, in order, at most 500.
    List {
        /// Where to go on.
        after: QueueId,
    },
    /// One message with its recipients.
    Show(QueueId),
    /// Try again now; all messages when none is named.
    Retry(Option<QueueId>),
    /// Take a message out of the spool for good, without telling its sender.
    Delete(QueueId),
}

/// What the queue may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `List`.
    Messages(List<Message, 500>),
    /// To `Show`.
    Message(Box<(Message, List<Recipient, 1000>)>),
    /// To `Retry` and `Delete`: how many.
    Done(u64),
    /// No message has this number.
    NoSuchMessage,
}

/// A message in the spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number.
    pub id: QueueId,
    /// Seconds since 1970.
    pub received_at: i64,
    /// Bytes.
    pub size: u64,
    /// Who sent it.
    pub reverse_path: ReversePath,
    /// Recipients that are not done.
    pub waiting: u32,
}

/// A recipient that is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The forward-path.
    pub address: Address,
    /// Tries so far.
    pub attempts: u32,
    /// Seconds since 1970 of the next try; none: only when asked.
    pub next_attempt: Option<i64>,
    /// Why it waits.
    pub status: Text<200>,
}
