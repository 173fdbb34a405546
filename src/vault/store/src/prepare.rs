//! A message index as the store keeps it: checked against the message, cut to its limits, encoded. Done before the account is locked.

use crate::{
    limits::{CUT_ADDRESSES, CUT_STRING, MAX_ENVELOPE, MAX_PREVIEW, MAX_SORT_STRING, MAX_STRUCTURE},
    messages::Dates,
};
use pure_index::{Envelope, EnvelopeAddress, MAX_REFERENCES, MAX_SEARCH_HEADER, MAX_SEARCH_TEXT, MessageIndex, Structure, fold};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use wire::{edge::store_session::SortKeys, encode};

/// What is written beside a message.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) envelope: Vec<u8>,
    pub(crate) structure: Vec<u8>,
    pub(crate) sort: Vec<u8>,
    pub(crate) preview: String,
    /// One line for each field: `name: value`.
    pub(crate) headers: String,
    pub(crate) text: String,
    /// One for each message identifier, together with the base subject (RFC 8621 3).
    pub(crate) threads: Vec<i64>,
    pub(crate) sent_at: Option<i64>,
    pub(crate) sent_zone: i32,
}

/// The index is not one of this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit;

impl Prepared {
    /// `len`: bytes of the message, with everything in front of it.
    pub(crate) fn new(index: MessageIndex, len: u64) -> Result<Self, Unfit> {
        if index.structure.root().is_some_and(|root| u64::from(root.body.end) > len) {
            return Err(Unfit);
        }
        let sort = SortKeys {
            sent_at: index.sent_at.unwrap_or(0),
            subject: cut(index.base_subject.clone(), MAX_SORT_STRING),
            from: first_mailbox(&index.envelope.from),
            to: first_mailbox(&index.envelope.to),
            cc: first_mailbox(&index.envelope.cc),
            message_id: cut(index.message_id.clone().unwrap_or_default(), MAX_SORT_STRING),
            references: index.references.iter().take(MAX_REFERENCES).map(|r| cut(r.clone(), MAX_SORT_STRING)).collect(),
        };
        let structure = encode(&index.structure).map_err(|_| Unfit)?;
        let structure = if structure.len() > MAX_STRUCTURE { encode(&Structure::default()).map_err(|_| Unfit)? } else { structure };
        Ok(Self {
            envelope: envelope(index.envelope)?,
            structure,
            threads: thread_keys(&sort),
            sort: encode(&sort).map_err(|_| Unfit)?,
            preview: index.preview.chars().filter(|c| !c.is_control() || *c == '\n').take(MAX_PREVIEW).collect(),
            headers: headers(&index.search.headers),
            text: cut(index.search.body, MAX_SEARCH_TEXT),
            sent_at: index.sent_at,
            sent_zone: index.sent_zone,
        })
    }

    /// With the time at which the message came.
    pub(crate) fn dates(&self, received_at: i64) -> Dates {
        Dates { received_at, sent_at: self.sent_at, sent_zone: self.sent_zone }
    }
}

/// Every key under which mail of the same conversation finds this one: same identifier and same base subject.
pub(crate) fn thread_keys(sort: &SortKeys) -> Vec<i64> {
    let own = Some(&sort.message_id).filter(|id| !id.is_empty());
    let mut keys: Vec<i64> = own
        .into_iter()
        .chain(&sort.references)
        .map(|id| {
            let digest = Sha256::new().chain_update(id).chain_update([0]).chain_update(&sort.subject).finalize();
            digest.first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes))
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn headers(fields: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        if out.len().saturating_add(name.len()).saturating_add(value.len()) > MAX_SEARCH_HEADER {
            break;
        }
        // A line break inside would make one field look like two.
        let flat = |text: &str| text.replace(['\n', '\r'], " ");
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}: {}", fold(&flat(name).replace(':', " ")), flat(value));
    }
    out
}

/// RFC 5256 3: addr-mailbox of the first address.
fn first_mailbox(addresses: &[EnvelopeAddress]) -> String {
    let mailbox = addresses.first().and_then(|a| a.mailbox.as_ref());
    cut(mailbox.map(|m| fold(&String::from_utf8_lossy(m))).unwrap_or_default(), MAX_SORT_STRING)
}

fn envelope(mut envelope: Envelope) -> Result<Vec<u8>, Unfit> {
    let encoded = encode(&envelope).map_err(|_| Unfit)?;
    if encoded.len() <= MAX_ENVELOPE {
        return Ok(encoded);
    }
    let Envelope { date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id } = &mut envelope;
    for string in [date, subject, in_reply_to, message_id].into_iter().flatten() {
        string.truncate(CUT_STRING);
    }
    for list in [from, sender, reply_to, to, cc, bcc] {
        list.truncate(CUT_ADDRESSES);
        for string in list.iter_mut().flat_map(|a| [&mut a.name, &mut a.mailbox, &mut a.host]).flatten() {
            let string: &mut ByteBuf = string;
            string.truncate(CUT_STRING);
        }
    }
    encode(&envelope).map_err(|_| Unfit)
}

/// At most `max` bytes, cut between characters.
fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_index::{Part, Span};

    fn structure(end: u32) -> Structure {
        Structure::new(vec![Part {
            header: Span { start: 0, end: 2 },
            body: Span { start: 2, end },
            media_type: ByteBuf::from("text"),
            subtype: ByteBuf::from("plain"),
            ..Part::default()
        }])
        .unwrap()
    }

    #[test]
    fn a_structure_beyond_the_message_is_refused() {
        let index = |end| MessageIndex { structure: structure(end), ..MessageIndex::default() };
        assert!(Prepared::new(index(10), 10).is_ok());
        assert_eq!(Prepared::new(index(11), 10).err(), Some(Unfit));
    }

    #[test]
    fn large_envelopes_are_cut_down() {
        let address = EnvelopeAddress { name: Some(ByteBuf::from(vec![b'x'; 4000])), mailbox: Some(ByteBuf::from("a")), host: None };
        let index = MessageIndex { envelope: Envelope { to: vec![address; 900], ..Envelope::default() }, ..MessageIndex::default() };
        let prepared = Prepared::new(index, 0).unwrap();
        assert!(prepared.envelope.len() < MAX_ENVELOPE);
        let envelope: Envelope = wire::decode(&prepared.envelope).unwrap();
        assert_eq!((envelope.to.len(), envelope.to[0].name.as_ref().unwrap().len()), (CUT_ADDRESSES, CUT_STRING));
    }

    #[test]
    fn a_field_cannot_pretend_to_be_two() {
        let headers = headers(&[("subject".into(), "a\nfrom: eve".into()), ("x:y".into(), "ä".into())]);
        assert_eq!(headers, "subject: a from: eve\nx y: ä\n");
    }

    #[test]
    fn threads_need_the_same_subject() {
        let keys = |subject: &str, id: &str, refs: &[&str]| {
            thread_keys(&SortKeys {
                subject: subject.into(),
                message_id: id.into(),
                references: refs.iter().map(|r| (*r).to_owned()).collect(),
                ..SortKeys::default()
            })
        };
        let (a, b) = (keys("x", "1", &[]), keys("x", "2", &["1", "1"]));
        assert_eq!((a.len(), b.len()), (1, 2));
        assert!(b.contains(&a[0]) && !keys("y", "2", &["1"]).contains(&a[0]));
        assert!(keys("x", "", &[]).is_empty());
    }
}
