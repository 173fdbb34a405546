//! ENVELOPE of a header (RFC 9051 7.5.2), and the account of how much an index may hold.

use crate::{
    address,
    header::{Header, Name, unfold},
    limits::{ELEMENT_COST, MAX_TOTAL_STRINGS},
};
use pure_index::{Envelope, EnvelopeAddress, MAX_STRING};
use serde_bytes::ByteBuf;

/// What the strings of one index may still take. Once it is used up strings are empty and lists end.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_TOTAL_STRINGS)
    }
}

impl Budget {
    pub(crate) fn string(&mut self, bytes: &[u8]) -> ByteBuf {
        let kept = bytes.get(..MAX_STRING.min(self.0)).unwrap_or(bytes);
        self.0 -= kept.len();
        ByteBuf::from(kept)
    }

    /// A string that is one of a list.
    pub(crate) fn element(&mut self, bytes: &[u8]) -> ByteBuf {
        self.0 = self.0.saturating_sub(ELEMENT_COST);
        self.string(bytes)
    }

    pub(crate) fn parameters(&mut self, params: &[(Vec<u8>, Vec<u8>)]) -> Vec<(ByteBuf, ByteBuf)> {
        let mut out = Vec::new();
        for (name, value) in params {
            if self.0 < ELEMENT_COST {
                break;
            }
            out.push((self.element(name), self.string(value)));
        }
        out
    }

    fn addresses(&mut self, list: address::List) -> Vec<EnvelopeAddress> {
        let mut out = Vec::new();
        for item in list.items {
            if self.0 < ELEMENT_COST {
                break;
            }
            self.0 -= ELEMENT_COST;
            let mut keep = |string: Option<ByteBuf>| string.map(|s| self.string(&s));
            let EnvelopeAddress { name, mailbox, host } = item.into_envelope();
            out.push(EnvelopeAddress { name: keep(name), mailbox: keep(mailbox), host: keep(host) });
        }
        out
    }
}

/// The first field of each name counts; the others are as if they were not there.
pub(crate) fn read(header: &Header<'_>, budget: &mut Budget) -> Envelope {
    let addresses = |name, budget: &mut Budget| {
        let list = header.get(name).map(|value| address::parse(&unfold(value))).unwrap_or_default();
        budget.addresses(list)
    };
    let text = |name, budget: &mut Budget| header.get(name).map(|value| budget.string(&unfold(value)));
    let date = text(Name::Date, budget);
    let subject = text(Name::Subject, budget);
    let message_id = text(Name::MessageId, budget);
    let in_reply_to = text(Name::InReplyTo, budget);
    let from = addresses(Name::From, budget);
    // Absent or empty: From stands in (RFC 9051 7.5.2).
    let or_from = |name, budget: &mut Budget| {
        let list = addresses(name, budget);
        if list.is_empty() { budget.copy(&from) } else { list }
    };
    let sender = or_from(Name::Sender, budget);
    let reply_to = or_from(Name::ReplyTo, budget);
    let to = addresses(Name::To, budget);
    let cc = addresses(Name::Cc, budget);
    let bcc = addresses(Name::Bcc, budget);
    Envelope { date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id }
}

impl Budget {
    /// The same list again, at its price.
    fn copy(&mut self, list: &[EnvelopeAddress]) -> Vec<EnvelopeAddress> {
        let mut out = Vec::new();
        for address in list {
            if self.0 < ELEMENT_COST {
                break;
            }
            self.0 -= ELEMENT_COST;
            let mut keep = |string: &Option<ByteBuf>| string.as_ref().map(|s| self.string(s));
            out.push(EnvelopeAddress { name: keep(&address.name), mailbox: keep(&address.mailbox), host: keep(&address.host) });
        }
        out
    }
}
