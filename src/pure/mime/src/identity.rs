//! Who a message says it is from, for the check of a submission (RFC 6409 6.1) and for loop detection.

use crate::{
    address::{self, Item},
    header::{self, Header, Name, unfold},
    limits::{MAX_DELIVERED_TO, MAX_VALUE},
};
use pure_index::{Identity, MAX_ADDRESSES, MAX_STRING};

/// Reads every occurrence of the fields in which a sender names itself, not only the first.
///
/// `unreadable` is set when a field holds anything but well-formed addresses, holds none at all, is cut by a limit, when there are more
/// fields than are looked at, or when a bare CR or NUL stands anywhere in the header.
pub(crate) fn read(message: &[u8], header: &Header<'_>) -> Identity {
    // BINARYMIME (RFC 3030 3) lets these through, and some reader takes a bare CR for a line end, NUL for the end of the text.
    let ambiguous = header::has_stray_line_ends(header::slice(message, header.span));
    let mut identity = Identity { unreadable: header.overflow || ambiguous, ..Identity::default() };
    for field in &header.fields {
        let raw = header::value(message, field);
        match Name::of(header::name(message, field)) {
            Some(name @ (Name::From | Name::Sender | Name::ResentFrom | Name::ResentSender)) => {
                if name == Name::From {
                    identity.from_fields = identity.from_fields.saturating_add(1);
                }
                identity.unreadable |= raw.len() >= MAX_VALUE || header::has_stray_controls(raw);
                authors(&unfold(raw), &mut identity);
            }
            Some(Name::Received) => identity.received_fields = identity.received_fields.saturating_add(1),
            Some(Name::DeliveredTo) if identity.delivered_to.len() < MAX_DELIVERED_TO => {
                let value = unfold(raw);
                let value = value.get(..MAX_STRING).unwrap_or(&value);
                identity.delivered_to.push(String::from_utf8_lossy(value).into_owned());
            }
            // RFC 8689 3: "No" is its only value.
            Some(Name::TlsRequired) => identity.tls_optional |= unfold(raw).trim_ascii().eq_ignore_ascii_case(b"no"),
            Some(Name::Date) => identity.has_date = true,
            Some(Name::MessageId) => identity.has_message_id = true,
            _ => {}
        }
    }
    identity
}

fn authors(value: &[u8], identity: &mut Identity) {
    let list = address::parse(value);
    identity.unreadable |= !list.clean;
    let mut any = false;
    for item in &list.items {
        let Item::Mailbox { local, domain, .. } = item else { continue };
        any = true;
        if identity.authors.len() >= MAX_ADDRESSES {
            identity.unreadable = true;
            return;
        }
        match item.address() {
            Some(address) => identity.authors.push(address.to_string()),
            None => {
                identity.unreadable = true;
                let text = [local, &b"@"[..], domain].concat();
                let text = text.get(..pure_addr::MAX_PATH).unwrap_or(&text);
                identity.authors.push(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    identity.unreadable |= !any;
}
