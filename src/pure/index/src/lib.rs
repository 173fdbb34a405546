//! What `scan` finds in a message, as plain data: the only view of MIME that any other process has.
//!
//! Offsets count bytes from the start of the message as stored, so a reader can cut parts out of it without parsing.
//! The parts are a tree by construction: [`Structure::new`] refuses a child that does not come after its parent, is not strictly
//! inside the parent's range, or has more than [`MAX_DEPTH`] ancestors. The same check runs whenever a structure is decoded.

mod bounded;
pub mod judgement;
mod structure;

pub use bounded::{MAX_LISTS, bounded, within_limits};
pub use structure::{Disposition, Encoding, Field, Malformed, Part, PartKind, Span, Structure};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Parts in one message; what lies beyond becomes part of an opaque leaf.
pub const MAX_PARTS: usize = 1_000;
/// Levels of nesting, multipart and message/rfc822 together.
pub const MAX_DEPTH: usize = 32;
/// Header fields indexed in one header.
pub const MAX_FIELDS: usize = 1_000;
/// Addresses kept for one address field of an envelope.
pub const MAX_ADDRESSES: usize = 1_000;
/// Bytes kept of one string of an envelope or a parameter.
pub const MAX_STRING: usize = 8 * 1024;
/// Message identifiers kept from `References` and `In-Reply-To` together.
pub const MAX_REFERENCES: usize = 200;
/// Parameters of one Content-Type or Content-Disposition.
pub const MAX_PARAMETERS: usize = 64;
/// Tags of one Content-Language.
pub const MAX_LANGUAGES: usize = 32;
/// `Delivered-To` fields of one message that are kept.
pub const MAX_DELIVERED_TO: usize = 100;
/// Header fields of one message that are searched: those it came with, and those that were put in front of it.
pub const MAX_SEARCH_FIELDS: usize = MAX_FIELDS + 24;
/// Bytes of decoded text kept for searching bodies.
pub const MAX_SEARCH_TEXT: usize = 1024 * 1024;
/// Bytes of decoded header text kept for searching.
pub const MAX_SEARCH_HEADER: usize = 64 * 1024;

/// RFC 9051 7.5.2 ENVELOPE: strings are the unfolded raw bytes of the field, encoded-words left as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// `Date`.
    pub date: Option<ByteBuf>,
    /// `Subject`.
    pub subject: Option<ByteBuf>,
    /// `From`.
    #[serde(deserialize_with = "bounded::<_, _, MAX_ADDRESSES>")]
    pub from: Vec<EnvelopeAddress>,
    /// `Sender`, or `From` when absent.
    #[serde(deserialize_with = "bounded::<_, _, MAX_ADDRESSES>")]
    pub sender: Vec<EnvelopeAddress>,
    /// `Reply-To`, or `From` when absent.
    #[serde(deserialize_with = "bounded::<_, _, MAX_ADDRESSES>")]
    pub reply_to: Vec<EnvelopeAddress>,
    /// `To`.
    #[serde(deserialize_with = "bounded::<_, _, MAX_ADDRESSES>")]
    pub to: Vec<EnvelopeAddress>,
    /// `Cc`.
    #[serde(deserialize_with = "bounded::<_, _, MAX_ADDRESSES>")]
    pub cc: Vec<EnvelopeAddress>,
    /// `Bcc`.
    #[serde(deserialize_with = "bounded::<_, _, MAX_ADDRESSES>")]
    pub bcc: Vec<EnvelopeAddress>,
    /// `In-Reply-To`.
    pub in_reply_to: Option<ByteBuf>,
    /// `Message-ID`.
    pub message_id: Option<ByteBuf>,
}

/// One address of an envelope. A group starts with its name in `mailbox` and no host, and ends with neither.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeAddress {
    /// The display name, quotes and escapes removed.
    pub name: Option<ByteBuf>,
    /// The local part.
    pub mailbox: Option<ByteBuf>,
    /// The domain.
    pub host: Option<ByteBuf>,
}

/// What is searched: decoded, unfolded and lower-cased by [`fold`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchText {
    /// Name and value of the fields of the message's own header, in order.
    #[serde(deserialize_with = "bounded::<_, _, MAX_SEARCH_FIELDS>")]
    pub headers: Vec<(String, String)>,
    /// The text of the text parts, separated by newlines.
    pub body: String,
}

/// Everything `scan` says about one message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageIndex {
    /// For FETCH ENVELOPE and for sorting.
    pub envelope: Envelope,
    /// For BODYSTRUCTURE and for cutting out parts.
    pub structure: Structure,
    /// For SEARCH.
    pub search: SearchText,
    /// `Message-ID` without its brackets, if well-formed.
    pub message_id: Option<String>,
    /// `References`, or without any the first of `In-Reply-To`, without brackets, oldest first, at most [`MAX_REFERENCES`].
    #[serde(deserialize_with = "bounded::<_, _, MAX_REFERENCES>")]
    pub references: Vec<String>,
    /// The subject without reply and forward marks (RFC 5256 2.1), decoded and folded.
    pub base_subject: String,
    /// `Date` as seconds since 1970 UTC, if it can be read.
    pub sent_at: Option<i64>,
    /// How many seconds east of UTC the clock of `Date` was: its day is what SEARCH asks for (RFC 9051 6.4.4).
    pub sent_zone: i32,
    /// Whether a part is an attachment (RFC 8621 4.1.4 hasAttachment).
    pub has_attachment: bool,
    /// The first bytes of the text, for a list of messages (RFC 8621 4.1.4 preview), at most 256 characters.
    pub preview: String,
    /// What a submission is checked against.
    pub identity: Identity,
}

/// The header fields in which a sender names itself, and what may stop a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Number of `From` fields; RFC 5322 3.6 wants exactly one.
    pub from_fields: u32,
    /// Every addr-spec in From, Sender, Resent-From and Resent-Sender.
    #[serde(deserialize_with = "bounded::<_, _, MAX_ADDRESSES>")]
    pub authors: Vec<String>,
    /// Whether one of those fields could not be read completely.
    pub unreadable: bool,
    /// Number of `Received` fields (RFC 5321 6.3).
    pub received_fields: u32,
    /// Values of `Delivered-To` fields, for loop detection.
    #[serde(deserialize_with = "bounded::<_, _, MAX_DELIVERED_TO>")]
    pub delivered_to: Vec<String>,
    /// Whether there is a `Date` and a `Message-ID` field.
    pub has_date: bool,
    /// See `has_date`.
    pub has_message_id: bool,
    /// There is a `TLS-Required: No` (RFC 8689 3).
    pub tls_optional: bool,
}

/// What is white space in texts that are kept, and in what is looked for in them: a run of it is one blank.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// The one way text is made comparable: Unicode lower case, without expansion tables of our own.
pub fn fold(text: &str) -> String {
    text.to_lowercase()
}
