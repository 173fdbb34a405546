//! Internet messages and MIME: from bytes to [`MessageIndex`], once, for everybody.
//!
//! Only `scan`, which has no network, no files and no secrets, runs [`index`]; every other process uses what it found. The modules
//! for decoding (transfer encodings, character sets, encoded-words) can be used where decoded content is shown.
//!
//! Invariants:
//!
//! * every input has an index; nothing here fails, panics or recurses on input;
//! * time is linear in the size of the message, memory beyond it bounded by the limits of `pure_index` and [`limits`];
//! * offsets are true for the bytes given, whatever their line ends: CRLF and bare LF both end lines, bare CR does not;
//! * the parts pass [`Structure::new`] by construction;
//! * of duplicates (header fields that may stand once, parameters) the first counts, for every reader;
//! * nothing is expanded, executed, dereferenced or reassembled: message/external-body and message/partial are leaves.
//!
//! | standard | implemented |
//! |---|---|
//! | RFC 5322, 6532 | fields, folding, addresses, dates, identifiers, with the obsolete syntax of section 4 |
//! | RFC 2045, 2046 | all but message/partial and message/external-body |
//! | RFC 2047, 2231 | all |
//! | RFC 2183, 3282 | all |
//! | RFC 5256 2.1 | base subject |

pub mod address;
pub mod charset;
mod cursor;
pub mod date;
mod envelope;
pub mod header;
pub mod html;
mod identity;
pub mod limits;
pub mod param;
pub mod reference;
pub mod seven_bit;
pub mod subject;
mod text;
pub mod transfer;
mod tree;
pub mod word;

pub use text::file_name;

use header::{Name, unfold};
use pure_index::{MessageIndex, Structure};

/// Reads a whole message. What lies beyond `u32::MAX` bytes is as if it were not there.
pub fn index(message: &[u8]) -> MessageIndex {
    let message = message.get(..usize::try_from(u32::MAX).unwrap_or(usize::MAX)).unwrap_or(message);
    let tree::Tree { parts, header, envelope } = tree::read(message);
    let value = |name| header.get(name).map(unfold).unwrap_or_default();
    let (search, preview) = text::read(message, &header, &parts);
    let has_attachment = text::has_attachment(&parts);
    let sent = header.get(Name::Date).and_then(|raw| date::parse(&unfold(raw)));
    MessageIndex {
        envelope,
        search,
        message_id: reference::identifiers(&value(Name::MessageId)).next(),
        references: reference::references(&value(Name::References), &value(Name::InReplyTo)),
        base_subject: subject::base(&value(Name::Subject)),
        sent_at: sent.map(|(seconds, _)| seconds),
        sent_zone: sent.map_or(0, |(_, zone)| zone),
        has_attachment,
        preview,
        identity: identity::read(message, &header),
        // The tests try to find a message for which this is not so.
        structure: Structure::new(parts).unwrap_or_default(),
    }
}
