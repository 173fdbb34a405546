//! Types that several edges share: the envelope and who handed it over.

use crate::List;
use pure_addr::{AccountId, Address, ReversePath, Text};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};

/// Recipients of one message at most. RFC 5321 4.5.3.1.8 wants at least 100.
pub const MAX_RECIPIENTS: usize = 1_000;
/// Bytes of the largest message any configuration may allow.
pub const MAX_MESSAGE: u64 = 1024 * 1024 * 1024;

/// A random number that ties the log lines of one connection together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// The number of a message in the spool; grows, never reused. Written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QueueId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What RFC 6152 and RFC 3030 say of a message's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// 7BIT, or not said.
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
    /// BINARYMIME: may hold bare CR, LF and NUL.
    BinaryMime,
}

/// RFC 3461 4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ret {
    /// Return the whole message.
    Full,
    /// Return its header.
    Headers,
}

/// RFC 3461 4.1. All false is `NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// SUCCESS.
    pub success: bool,
    /// FAILURE.
    pub failure: bool,
    /// DELAY.
    pub delay: bool,
}

/// One RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The forward-path.
    pub address: Address,
    /// NOTIFY, if given.
    pub notify: Option<Notify>,
    /// ORCPT, decoded: address type and address.
    pub orcpt: Option<(Text<64>, Text<500>)>,
}

/// The TLS of the connection that brought a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// `TLS1.3`.
    pub version: Text<16>,
    /// The cipher suite's IANA name.
    pub cipher: Text<64>,
}

/// Everything SMTP said about a message, and who said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The connection.
    pub session: SessionId,
    /// The client's address.
    pub peer: IpAddr,
    /// What it called itself; free text, since hosts say anything.
    pub helo: Text<255>,
    /// EHLO rather than HELO.
    pub extended: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// The connection's encryption.
    pub tls: Option<Tls>,
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// BODY=.
    pub body: Body,
    /// RET=.
    pub ret: Option<Ret>,
    /// ENVID=, decoded.
    pub envid: Option<Text<100>>,
    /// RCPT TO, in order, none twice.
    pub recipients: List<Recipient, MAX_RECIPIENTS>,
}

/// What the queue says of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecipientVerdict {
    /// It can be accepted.
    Accept,
    /// A hosted domain, but nobody there: 550 5.1.1.
    Unknown,
    /// Not a hosted domain, and this client may not relay: 550 5.7.1.
    NoRelay,
    /// The mailbox is over its quota: 452 4.2.2.
    MailboxFull,
    /// It cannot be known now: 451 4.3.0.
    Unavailable,
    /// Too much was sent there lately: 450 4.7.1.
    RateLimited,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Submitted {
    /// On disk under this number: 250.
    Accepted(QueueId),
    /// Refused for good; the reason decides code and text.
    Rejected(Reason),
    /// Not now: 451. Nothing was kept.
    Deferred,
    /// The account has sent as much as it may, or a recipient gets as much as it may: 450 4.7.1. Nothing was kept.
    RateLimited,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Too many Received fields (RFC 5321 6.3): 554 5.4.6.
    Loop,
    /// A header From, Sender or Resent-From that is not the account's own, or not exactly one From: 550 5.7.1.
    Identity,
    /// Larger than the limit: 552 5.3.4.
    Size,
    /// No recipient can be served any more: 554 5.1.1.
    NoRecipient,
    /// The reverse-path is not the account's own: 553 5.7.1.
    Sender,
    /// It says that it is from a domain of ours, or does not say clearly who it is from, and nothing proves it: 550 5.7.1.
    Unauthenticated,
    /// The domain in From wants what fails DMARC to be refused (RFC 9989 7.4): 550 5.7.26.
    Policy,
    /// Nothing proves who it is from, and an alias leads elsewhere, where our address would vouch for it: 550 5.7.1.
    NotPassedOn,
}

/// Which service a login is for; a session is good for that alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// IMAP, a store session.
    Imap,
    /// Submission, a queue session.
    Submission,
}

/// An account as the directory knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its number.
    pub account: AccountId,
    /// Its primary address.
    pub address: Address,
    /// Bytes it may store; none is no limit.
    pub quota: Option<u64>,
}
