//! queue, store -> scan: what is in this message?
//!
//! The queue may also ask where a message that came from outside is really from, for what a signature is to cover, and for the same message in
//! seven bits.
//!
//! Scan can misjudge, and nothing else: it has no network and no files, and asks nobody but dns. Its answer is checked to be a tree of parts
//! inside the message before anyone uses it, and what it says of the origin are closed values.

use super::keys_dkim::{MAX_SEALED_SETS, SealedSet, SigningInput};
use crate::{Edge, List};
use pure_addr::{ReversePath, Text};
use pure_index::{MessageIndex, judgement::Judgement};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::net::IpAddr;

/// The queue asks, for mail on its way.
#[derive(Debug)]
pub struct ScanForQueue;

/// The store asks, for appended messages.
#[derive(Debug)]
pub struct ScanForStore;

impl Edge for ScanForQueue {
    const NAME: &'static str = "scan-queue";
    const MAX_BODY: usize = 8 * 1024 * 1024;
    const MAX_FDS: usize = 1;
    type Request = QueueRequest;
    type Response = QueueResponse;
    type Event = super::Never;
}

impl Edge for ScanForStore {
    const NAME: &'static str = "scan-store";
    const MAX_BODY: usize = ScanForQueue::MAX_BODY;
    const MAX_FDS: usize = 1;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Index the message in the sealed memfd that comes along.
    Index,
}

/// What the queue may ask; each time with the message in a sealed memfd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueRequest {
    /// [`QueueResponse::Index`].
    Index(Request),
    /// [`QueueResponse::Judged`], for a message that came over this connection.
    Judge(Box<Connection>),
    /// What a signature is to cover when these header fields, each ended by CRLF, stand in front: [`QueueResponse::ToSign`].
    ToSign(ByteBuf),
    /// The same for an ARC set, and the sets before it: [`QueueResponse::ToSeal`].
    ToSeal(ByteBuf),
    /// The same message with nothing but 7-bit content (RFC 6152 3, RFC 2045 6): [`QueueResponse::SevenBit`] and a sealed memfd.
    SevenBit,
}

/// Who brought a message, as SMTP knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its address.
    pub peer: IpAddr,
    /// What it calls itself.
    pub helo: Text<255>,
    /// MAIL FROM.
    pub reverse_path: ReversePath,
}

/// What scan may answer the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueResponse {
    /// To [`QueueRequest::Index`].
    Index(Response),
    /// To [`QueueRequest::Judge`].
    Judged(Box<MessageIndex>, Box<Judgement>),
    /// To [`QueueRequest::ToSign`].
    ToSign(Box<SigningInput>),
    /// To [`QueueRequest::ToSeal`].
    ToSeal(Box<SigningInput>, List<SealedSet, MAX_SEALED_SETS>),
    /// To [`QueueRequest::SevenBit`].
    SevenBit,
    /// It could not: the message made it fail, or, for seven bits, cannot be converted.
    Failed,
}

/// What scan may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// What it found.
    Indexed(Box<MessageIndex>),
    /// It could not: the message made it fail. Tempfail.
    Failed,
}
