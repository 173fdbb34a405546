//! queue, store -> scan: what is in this message?
//!
//! Scan can misjudge, and nothing else: it has no network, no files, and its answer is checked to be a tree of parts inside
//! the message before anyone uses it.

use crate::Edge;
use pure_index::MessageIndex;
use serde::{Deserialize, Serialize};

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
    type Request = Request;
    type Response = Response;
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

/// What scan may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// What it found.
    Indexed(Box<MessageIndex>),
    /// It could not: the message made it fail. Tempfail.
    Failed,
}
