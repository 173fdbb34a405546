//! queue -> store: local delivery, at most once per [`DeliveryId`].

use super::mail::{Owner, QueueId};
use crate::Edge;
use pure_addr::MailboxName;
use pure_index::MessageIndex;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fmt;

/// See the module.
#[derive(Debug)]
pub struct StoreDeliver;

impl Edge for StoreDeliver {
    const NAME: &'static str = "store-deliver";
    const MAX_BODY: usize = 8 * 1024 * 1024;
    const MAX_FDS: usize = 1;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// One message to one account. The spool remembers it until the same life of the store has said `Synced` after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// The message in the spool.
    pub message: QueueId,
    /// Which of its deliveries.
    pub number: u32,
}

/// Which life of the store answers: a random number that every process of it draws at its start.
///
/// What one process applied and did not sync, the next one knows nothing of: only a `Synced` with the `Life` of a `Delivered` covers it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Life(pub u64);

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What the queue may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Put the message in the sealed memfd into an account.
    Deliver(Box<Delivery>),
    /// Answered once everything that was `Delivered` before in this life of the store is on disk.
    Sync,
    /// These deliveries will never be repeated: their ids may be forgotten. All ids of messages below the number.
    Settled(QueueId),
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Names it; a repetition changes nothing.
    pub id: DeliveryId,
    /// To whom.
    pub owner: Owner,
    /// Where; INBOX when the mailbox does not exist.
    pub mailbox: MailboxName,
    /// Seconds since 1970: INTERNALDATE.
    pub received_at: i64,
    /// Header fields to put in front of the message, each ended by CRLF.
    pub prefix: ByteBuf,
    /// The index of prefix and message together.
    pub index: MessageIndex,
}

/// What the store may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It is in the account, now or since an earlier try. Not yet safe from a power cut: see [`Request::Sync`].
    Delivered(Life),
    /// It does not fit into the account's quota.
    OverQuota {
        /// Bytes that would.
        room: u64,
    },
    /// Not now: disk, database.
    Unavailable,
    /// To [`Request::Sync`]. A delivery of another life has to be repeated.
    Synced(Life),
    /// To [`Request::Settled`].
    Settled,
}
