//! One mail transaction: which commands are out, and what became of each recipient.

use super::{
    Capabilities, Class, Client, Failure, Phase, ServerReply, State, Step, command,
    content::{BareBytes, ContentWriter, Transfer},
    reply::EnhancedStatus,
};
use crate::{Body, Recipient, Ret};
use pure_addr::{ReversePath, Text};
use std::{collections::VecDeque, sync::Arc};

/// Commands without an answer yet: together and with their answers they fit into the buffers of both sides (RFC 2920 3.1).
const WINDOW: usize = 50;

/// A message's envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// Something in the message's header needs SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// What the content needs.
    pub body: Body,
    /// RET=.
    pub ret: Option<Ret>,
    /// ENVID=, decoded.
    pub envid: Option<Text<100>>,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// Bytes of the content, exactly.
    pub size: u64,
    /// RCPT TO.
    pub recipients: Vec<Recipient>,
}

impl Mail {
    /// Whether the header or an address needs SMTPUTF8.
    pub fn needs_smtputf8(&self) -> bool {
        let sender = self.reverse_path.address().is_some_and(|address| !address.is_ascii());
        self.smtputf8 || sender || self.recipients.iter().any(|r| !r.address.is_ascii())
    }
}

/// Why this server cannot take a message; nothing was said to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuitable {
    /// Larger than the limit of SIZE, in bytes (RFC 1870 6.1).
    TooLarge(u64),
    /// It needs SMTPUTF8 (RFC 6531 3.2).
    NoSmtpUtf8,
    /// It needs 8BITMIME, or CHUNKING and BINARYMIME (RFC 6152 3, RFC 3030 3).
    NoEightBit,
    /// It needs REQUIRETLS within TLS (RFC 8689 4.2.1).
    NoRequireTls,
    /// The session is not ready for a transaction.
    NotReady,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server has taken responsibility for it.
    Delivered(Arc<ServerReply>),
    /// The server said no, at this point; the reply's class says for how long.
    Refused(Phase, Arc<ServerReply>),
    /// Too many recipients at a time (RFC 5321 4.5.3.1.10): offer it again in a further transaction of this session.
    TooMany(Arc<ServerReply>),
    /// Nothing is decided.
    Open,
    /// The whole content was written and the connection was lost before the answer. Not delivered as far as anybody knows, but a
    /// second copy may be the price of trying again.
    Uncertain,
}

/// A command whose answer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
}

#[derive(Debug, Clone)]
enum Fate {
    Open,
    Accepted,
    Decided(Verdict),
}

#[derive(Debug)]
pub(super) struct Transaction {
    mail: Mail,
    transfer: Transfer,
    asked: VecDeque<Asked>,
    next_rcpt: usize,
    /// MAIL, DATA have been written.
    mail_sent: bool,
    data_sent: bool,
    /// No further command: the outcome no longer depends on it.
    stopped: bool,
    accepted: usize,
    recipients: Vec<Fate>,
    go_ahead: bool,
    /// The end of the content was handed to the driver.
    content_complete: bool,
}

impl Transaction {
    fn new(mail: Mail, offered: &Capabilities) -> Self {
        let transfer = match mail.body {
            Body::BinaryMime => Transfer::Binary,
            Body::SevenBit | Body::EightBitMime if offered.chunking => Transfer::Chunk,
            Body::SevenBit | Body::EightBitMime => Transfer::Dots,
        };
        let recipients = vec![Fate::Open; mail.recipients.len()];
        Self {
            mail,
            transfer,
            asked: VecDeque::new(),
            next_rcpt: 0,
            mail_sent: false,
            data_sent: false,
            stopped: false,
            accepted: 0,
            recipients,
            go_ahead: false,
            content_complete: false,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.asked.front() {
            Some(Asked::Reset) => Phase::Reset,
            Some(Asked::Mail) | None => Phase::Mail,
            Some(Asked::Rcpt(_)) => Phase::Rcpt,
            Some(Asked::Data) => Phase::Data,
        }
    }

    /// Writes as many commands as may be under way.
    fn fill(&mut self, dirty: &mut bool, offered: &Capabilities, out: &mut Vec<u8>) {
        let window = if offered.pipelining { WINDOW } else { 1 };
        while !self.stopped && self.asked.len() < window {
            if *dirty {
                *dirty = false;
                self.asked.push_back(Asked::Reset);
                out.extend_from_slice(b"RSET\r\n");
            } else if !self.mail_sent {
                self.mail_sent = true;
                self.asked.push_back(Asked::Mail);
                out.extend_from_slice(&command::mail(&self.mail, offered));
            } else if let Some(recipient) = self.mail.recipients.get(self.next_rcpt) {
                self.asked.push_back(Asked::Rcpt(self.next_rcpt));
                self.next_rcpt = self.next_rcpt.saturating_add(1);
                out.extend_from_slice(&command::rcpt(recipient, self.mail.needs_smtputf8(), offered));
            } else if self.transfer == Transfer::Dots && !self.data_sent && (self.accepted > 0 || !self.asked.is_empty()) {
                self.data_sent = true;
                self.asked.push_back(Asked::Data);
                out.extend_from_slice(b"DATA\r\n");
            } else {
                return;
            }
        }
    }

    /// One answer. Returns false when it makes no sense.
    fn take(&mut self, reply: &Arc<ServerReply>) -> bool {
        let class = reply.class();
        match self.asked.pop_front() {
            None => false,
            Some(Asked::Data) => match class {
                Class::Intermediate => {
                    self.go_ahead = true;
                    true
                }
                Class::Completed => false,
                Class::Transient | Class::Permanent => {
                    self.decide_open(&Verdict::Refused(Phase::Data, reply.clone()));
                    true
                }
            },
            Some(Asked::Reset) => class == Class::Completed,
            Some(Asked::Mail) => {
                if matches!(class, Class::Transient | Class::Permanent) {
                    self.stopped = true;
                    self.decide_open(&Verdict::Refused(Phase::Mail, reply.clone()));
                }
                class != Class::Intermediate
            }
            Some(Asked::Rcpt(at)) => {
                let Some(recipient @ Fate::Open) = self.recipients.get_mut(at) else { return class != Class::Intermediate };
                *recipient = match class {
                    Class::Intermediate => return false,
                    Class::Completed => {
                        self.accepted = self.accepted.saturating_add(1);
                        Fate::Accepted
                    }
                    Class::Transient | Class::Permanent if self.accepted > 0 && means_too_many(reply) => {
                        Fate::Decided(Verdict::TooMany(reply.clone()))
                    }
                    Class::Transient | Class::Permanent => Fate::Decided(Verdict::Refused(Phase::Rcpt, reply.clone())),
                };
                true
            }
        }
    }

    /// Whether every command that matters is answered.
    fn is_answered(&self) -> bool {
        self.asked.is_empty() && (self.stopped || self.next_rcpt >= self.mail.recipients.len())
    }

    /// Decides what is not decided yet.
    fn decide_open(&mut self, verdict: &Verdict) {
        for recipient in &mut self.recipients {
            if !matches!(recipient, Fate::Decided(_)) {
                *recipient = Fate::Decided(verdict.clone());
            }
        }
    }

    /// The server closes: whoever it had not refused has its word.
    pub(super) fn closing(&mut self, reply: &Arc<ServerReply>) {
        let phase = if self.content_complete { Phase::End } else { self.phase() };
        self.decide_open(&Verdict::Refused(phase, reply.clone()));
    }

    fn verdicts(self) -> Vec<Verdict> {
        let uncertain = self.content_complete;
        let verdict = |recipient| match recipient {
            Fate::Decided(verdict) => verdict,
            Fate::Accepted if uncertain => Verdict::Uncertain,
            Fate::Open | Fate::Accepted => Verdict::Open,
        };
        self.recipients.into_iter().map(verdict).collect()
    }
}

/// RFC 5321 4.5.3.1.10: 452, and by older servers 552. A full mailbox has the same codes; the enhanced status tells them apart.
fn means_too_many(reply: &ServerReply) -> bool {
    matches!(reply.code(), 452 | 552) && matches!(reply.stated_status(), None | Some(EnhancedStatus(_, 5, 3)))
}

impl Client {
    /// Begins a transaction, unless this server cannot take the message.
    pub fn begin(&mut self, mail: Mail) -> Result<(), Unsuitable> {
        if !self.is_ready() {
            return Err(Unsuitable::NotReady);
        }
        let offered = &self.offered;
        if let Some(limit) = offered.max_size.filter(|limit| mail.size > *limit) {
            return Err(Unsuitable::TooLarge(limit));
        }
        if mail.needs_smtputf8() && !offered.smtputf8 {
            return Err(Unsuitable::NoSmtpUtf8);
        }
        let carried = match mail.body {
            Body::SevenBit => true,
            Body::EightBitMime => offered.eight_bit_mime,
            Body::BinaryMime => offered.chunking && offered.binary_mime,
        };
        if !carried {
            return Err(Unsuitable::NoEightBit);
        }
        // RFC 8689 4.2.1: only TLS makes the offer worth anything.
        if mail.require_tls && !(offered.require_tls && self.encrypted) {
            return Err(Unsuitable::NoRequireTls);
        }
        let mut transaction = Transaction::new(mail, offered);
        transaction.fill(&mut self.dirty, offered, &mut self.output);
        self.transaction = Some(transaction);
        self.state = State::Envelope;
        Ok(())
    }

    /// A reply to a command of the envelope.
    pub(super) fn take_envelope(&mut self, phase: Phase, reply: Arc<ServerReply>) -> Option<Step> {
        let Some(transaction) = &mut self.transaction else { return Some(self.fail(Failure::OutOfStep(phase))) };
        self.state = State::Envelope;
        if !transaction.take(&reply) {
            return Some(self.fail(Failure::OutOfStep(phase)));
        }
        let early = transaction.asked.is_empty() && !self.reader.is_empty();
        if early {
            return Some(self.fail(Failure::OutOfStep(phase)));
        }
        transaction.fill(&mut self.dirty, &self.offered, &mut self.output);
        if !transaction.is_answered() {
            return None;
        }
        let (accepted, go_ahead, transfer) = (transaction.accepted, transaction.go_ahead, transaction.transfer);
        let refused = transaction.data_sent && !go_ahead;
        if accepted == 0 || refused {
            // RFC 2920 3.1: DATA was accepted for nobody. Rather than send an empty message, the connection ends.
            self.dirty = true;
            return Some(self.done(!go_ahead));
        }
        if transfer != Transfer::Dots {
            // RFC 3030 2: one chunk, whose length is the message's.
            self.output.extend_from_slice(format!("BDAT {} LAST\r\n", transaction.mail.size).as_bytes());
        }
        self.state = State::Content(ContentWriter::new(transfer));
        Some(Step::Content)
    }

    /// Hands content to the output. After an error the connection must be dropped.
    pub fn content(&mut self, piece: &[u8]) -> Result<(), BareBytes> {
        match &mut self.state {
            State::Content(writer) => writer.write(piece, &mut self.output),
            _ => Ok(()),
        }
    }

    /// The content is complete. An error, as of [`Self::content`], also when it is not as long as was announced.
    pub fn end_content(&mut self) -> Result<(), BareBytes> {
        let State::Content(writer) = &mut self.state else { return Ok(()) };
        let Some(transaction) = &mut self.transaction else { return Err(BareBytes) };
        if writer.transfer() != Transfer::Dots && writer.written() != transaction.mail.size {
            return Err(BareBytes);
        }
        writer.finish(&mut self.output)?;
        transaction.content_complete = true;
        self.state = State::End;
        Ok(())
    }

    /// A reply that came before the content was complete: a refusal counts, and the rest cannot be sent any more.
    pub(super) fn take_early(&mut self, phase: Phase, reply: Arc<ServerReply>) -> Option<Step> {
        match (reply.class(), &mut self.transaction) {
            (Class::Transient | Class::Permanent, Some(transaction)) => {
                transaction.decide_open(&Verdict::Refused(Phase::End, reply));
                Some(self.done(false))
            }
            _ => Some(self.fail(Failure::OutOfStep(phase))),
        }
    }

    /// The reply to the whole message.
    pub(super) fn take_end(&mut self, phase: Phase, reply: Arc<ServerReply>) -> Option<Step> {
        let Some(transaction) = &mut self.transaction else { return Some(self.fail(Failure::OutOfStep(phase))) };
        let verdict = match reply.class() {
            Class::Completed => Verdict::Delivered(reply),
            Class::Transient | Class::Permanent => Verdict::Refused(Phase::End, reply),
            Class::Intermediate => return Some(self.fail(Failure::OutOfStep(phase))),
        };
        transaction.decide_open(&verdict);
        let reusable = self.reader.is_empty();
        Some(self.done(reusable))
    }

    fn done(&mut self, reusable: bool) -> Step {
        self.output.clear();
        self.state = if reusable { State::Ready } else { State::Closed(Failure::Ended) };
        Step::Done(self.abandon())
    }

    /// Takes what is known of the transaction under way, none when there is none.
    pub fn abandon(&mut self) -> Vec<Verdict> {
        self.transaction.take().map(Transaction::verdicts).unwrap_or_default()
    }
}
