//! Content: DATA and BDAT, up to the verdict on the message.

use super::*;
use crate::{
    content::{Fault, Progress},
    transaction::Body,
};

/// A chunk that is arriving.
#[derive(Debug)]
pub(super) struct Chunk {
    left: u64,
    last: bool,
    /// The reply when the chunk belongs to no message and is only read to find its end (RFC 3030 2).
    refusal: Option<Reply>,
}

impl Session {
    pub(super) fn data_began(&mut self, transaction: Transaction, began: bool) {
        if !began {
            return self.reply(&say::LOCAL_PROBLEM);
        }
        self.mode = Mode::Data(transaction, DataDecoder::new(&self.settings.limits));
        self.reply(&say::GO_AHEAD);
    }

    /// Decodes; false when all input is used.
    pub(super) fn take_data(&mut self, input: &mut &[u8], content: &mut Vec<u8>) -> bool {
        let Mode::Data(_, decoder) = &mut self.mode else { return false };
        let progress = decoder.decode(input, content);
        if progress == Progress::More {
            return false;
        }
        let Mode::Data(transaction, _) = std::mem::replace(&mut self.mode, Mode::Command) else { return false };
        match progress {
            Progress::More => return false,
            Progress::End(None) => self.begin(Action::Commit(Box::new(transaction)), Waiting::Commit),
            Progress::End(Some(fault)) => {
                self.actions.push_back(Action::DropMessage);
                // Two ends of data were meant by somebody: nothing behind ours is to be trusted (SMUG-01).
                if fault == Fault::BareBytes { self.close(&refusal(fault)) } else { self.reply_fault(fault) }
            }
            Progress::Overrun(fault) => {
                self.actions.push_back(Action::DropMessage);
                self.close(&refusal(fault));
            }
        }
        true
    }

    /// BDAT: whatever is wrong with it, its bytes are not commands.
    pub(super) fn bdat(&mut self, size: u64, last: bool) {
        // More than any message may have: reading on is not an option (SMUG-06).
        let room = if let Mail::Chunks(_, checker) = &self.mail { checker.room() } else { self.settings.limits.message_size };
        if size > room {
            return self.close(&say::TOO_LARGE);
        }
        match std::mem::replace(&mut self.mail, Mail::None) {
            Mail::None => self.drain(size, last, say::MAIL_FIRST),
            Mail::Envelope(transaction) if transaction.recipients().is_empty() => self.drain(size, last, say::NO_RECIPIENTS),
            Mail::Envelope(transaction) => self.begin(Action::BeginMessage, Waiting::BeginChunks { transaction, size, last }),
            chunks @ Mail::Chunks(..) => {
                self.mail = chunks;
                self.mode = Mode::Chunk(Chunk { left: size, last, refusal: None });
            }
        }
    }

    pub(super) fn chunks_began(&mut self, transaction: Transaction, size: u64, last: bool, began: bool) {
        if !began {
            return self.drain(size, last, say::LOCAL_PROBLEM);
        }
        let checker = ChunkChecker::new(&self.settings.limits, transaction.body == Body::BinaryMime);
        self.mail = Mail::Chunks(transaction, checker);
        self.mode = Mode::Chunk(Chunk { left: size, last, refusal: None });
    }

    /// Reads a chunk for nothing. Over the whole connection, no more than one message's worth.
    fn drain(&mut self, size: u64, last: bool, reply: Reply) {
        self.counts.drained = self.counts.drained.saturating_add(size);
        if self.counts.drained > self.settings.limits.message_size {
            return self.close(&reply);
        }
        self.mode = Mode::Chunk(Chunk { left: size, last, refusal: Some(reply) });
    }

    /// Takes bytes of the chunk; false when more are needed.
    pub(super) fn take_chunk(&mut self, input: &mut &[u8], content: &mut Vec<u8>) -> bool {
        let Mode::Chunk(chunk) = &mut self.mode else { return false };
        let n = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at_checked(n).unwrap_or((input, &[]));
        *input = rest;
        chunk.left = chunk.left.saturating_sub(bytes.len() as u64);
        let complete = chunk.left == 0;
        if let (None, Mail::Chunks(_, checker)) = (&chunk.refusal, &mut self.mail) {
            checker.take(bytes, content);
        }
        if complete {
            self.chunk_complete();
        }
        complete
    }

    fn chunk_complete(&mut self) {
        let Mode::Chunk(chunk) = std::mem::replace(&mut self.mode, Mode::Command) else { return };
        if let Some(reply) = chunk.refusal {
            return if reply.is_permanent_failure() { self.refuse(&reply) } else { self.reply(&reply) };
        }
        match std::mem::replace(&mut self.mail, Mail::None) {
            Mail::Chunks(transaction, checker) => {
                let fault = if chunk.last || checker.fault().is_some() {
                    checker.finish()
                } else {
                    self.mail = Mail::Chunks(transaction, checker);
                    return self.reply(&say::CHUNK_OK);
                };
                match fault {
                    None => self.begin(Action::Commit(Box::new(transaction)), Waiting::Commit),
                    Some(fault) => {
                        self.actions.push_back(Action::DropMessage);
                        self.reply_fault(fault);
                    }
                }
            }
            _ => self.close(&say::OUT_OF_STEP),
        }
    }

    pub(super) fn committed(&mut self, verdict: CommitVerdict) {
        match verdict {
            CommitVerdict::Accepted(id) => {
                self.counts.idle = 0;
                self.counts.errors = 0;
                self.reply(&Reply::new(250, Status(2, 0, 0), "").with_text(format!("Accepted as {id}")));
            }
            CommitVerdict::Loop => self.reply(&say::LOOP),
            CommitVerdict::Identity => self.reply(&say::NOT_YOUR_IDENTITY),
            CommitVerdict::TooLarge => self.reply(&say::TOO_LARGE),
            CommitVerdict::NoRecipient => self.reply(&say::NO_RECIPIENT_LEFT),
            CommitVerdict::Sender => self.reply(&say::NOT_YOUR_ADDRESS),
            CommitVerdict::Unauthenticated => self.reply(&say::UNAUTHENTICATED),
            CommitVerdict::Policy => self.reply(&say::REFUSED_BY_POLICY),
            CommitVerdict::NotPassedOn => self.reply(&say::NOT_PASSED_ON),
            CommitVerdict::Deferred => self.reply(&say::LOCAL_PROBLEM),
            CommitVerdict::RateLimited => self.reply(&say::RATE_LIMITED),
        }
    }

    fn reply_fault(&mut self, fault: Fault) {
        if fault == Fault::Storage { self.reply(&say::LOCAL_PROBLEM) } else { self.refuse(&refusal(fault)) }
    }
}

fn refusal(fault: Fault) -> Reply {
    match fault {
        Fault::BareBytes => say::BARE_BYTES,
        Fault::Continuation => say::CONTINUATION,
        Fault::LineTooLong => say::CONTENT_LINE_TOO_LONG,
        Fault::TooLarge => say::TOO_LARGE,
        Fault::Storage => say::LOCAL_PROBLEM,
    }
}
