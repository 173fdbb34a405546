//! postern -> queue: what the administrator sees and does.

use super::{
    mail::QueueId,
    send_deliver::{Remote, Status},
};
use crate::{Edge, List};
use pure_addr::{Address, ReversePath, Text};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug)]
pub struct QueueControl;

impl Edge for QueueControl {
    const NAME: &'static str = "queue-control";
    const MAX_BODY: usize = 16 * 1024 * 1024;
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
        /// Which.
        filter: Filter,
    },
    /// One message with its recipients.
    Show(QueueId),
    /// The last attempts for each recipient of a message that is not done.
    Trace(QueueId),
    /// Does something with messages.
    Change {
        /// What.
        action: Action,
        /// With which.
        filter: Filter,
    },
}

/// Which messages, or which of their recipients. What is not said is not asked for; the empty filter is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// This message.
    pub id: Option<QueueId>,
    /// Messages that this account submitted.
    pub account: Option<Address>,
    /// Recipients of this domain, or of the smarthost of this name written as `:NAME`.
    pub destination: Option<Text<255>>,
}

/// What the administrator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Try what waits now.
    Retry,
    /// Leave it where it is until it is released.
    Hold,
    /// Try what is held now, and let an account send again.
    Release,
    /// Take it out of the spool for good, without telling its sender.
    Delete,
}

/// What the queue may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `List`.
    Messages(List<Message, 500>),
    /// To `Show`.
    Message(Box<(Message, List<Recipient, 1000>)>),
    /// To `Trace`.
    Trace(List<Attempts, 1000>),
    /// To `Change`: how many messages.
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
    /// The account that submitted it.
    pub account: Option<Address>,
    /// Recipients that are not done.
    pub waiting: u32,
}

/// A recipient that is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The forward-path.
    pub address: Address,
    /// Where an alias sends it.
    pub target: Option<Address>,
    /// The destination that it waits for: a domain, or `:NAME` of a smarthost; none for a local account.
    pub destination: Option<Text<255>>,
    /// Tries so far.
    pub attempts: u32,
    /// Seconds since 1970 of the next try; none: only when asked.
    pub next_attempt: Option<i64>,
    /// Why it waits.
    pub status: Text<1000>,
}

/// The attempts that are remembered of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The forward-path.
    pub address: Address,
    /// The oldest first.
    pub attempts: List<Attempt, 5>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Seconds since 1970.
    pub at: i64,
    /// RFC 3463.
    pub status: Status,
    /// What happened.
    pub text: Text<500>,
    /// The remote's words.
    pub reply: Option<Text<1000>>,
    /// The host that it was about.
    pub remote: Option<Remote>,
}
