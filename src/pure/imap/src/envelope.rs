//! ENVELOPE, BODY and BODYSTRUCTURE, written from the index without parsing a message again.

use crate::Out;
use pure_index::{Encoding, Envelope, EnvelopeAddress, Part, PartKind, Structure};
use serde_bytes::ByteBuf;

/// `envelope` (RFC 9051 7.5.2).
pub fn envelope(out: &mut Out, envelope: &Envelope) {
    out.text("(");
    out.nstring(bytes(envelope.date.as_ref())).text(" ");
    out.nstring(bytes(envelope.subject.as_ref())).text(" ");
    // RFC 9051 7.5.2: Sender and Reply-To are From when absent.
    for list in [&envelope.from, or(&envelope.sender, &envelope.from), or(&envelope.reply_to, &envelope.from)] {
        addresses(out, list);
        out.text(" ");
    }
    for list in [&envelope.to, &envelope.cc, &envelope.bcc] {
        addresses(out, list);
        out.text(" ");
    }
    out.nstring(bytes(envelope.in_reply_to.as_ref())).text(" ");
    out.nstring(bytes(envelope.message_id.as_ref())).text(")");
}

fn or<'a>(list: &'a Vec<EnvelopeAddress>, other: &'a Vec<EnvelopeAddress>) -> &'a Vec<EnvelopeAddress> {
    if list.is_empty() { other } else { list }
}

fn bytes(value: Option<&ByteBuf>) -> Option<&[u8]> {
    value.map(|value| value.as_slice())
}

fn addresses(out: &mut Out, list: &[EnvelopeAddress]) {
    if list.is_empty() {
        out.text("NIL");
        return;
    }
    out.text("(");
    for address in list {
        out.text("(").nstring(bytes(address.name.as_ref()));
        // The source route is obsolete and always NIL (RFC 9051 7.5.2 addr-adl).
        out.text(" NIL ").nstring(bytes(address.mailbox.as_ref()));
        out.text(" ").nstring(bytes(address.host.as_ref())).text(")");
    }
    out.text(")");
}

/// What is still to be written of a structure; the explicit stack in place of recursion.
enum Step {
    Part(usize),
    MultipartEnd(usize),
    MessageEnd(usize),
}

/// `body` (RFC 9051 7.5.2): BODYSTRUCTURE with `extended`, BODY without.
pub fn body_structure(out: &mut Out, structure: &Structure, extended: bool) {
    let parts = structure.parts();
    let mut children: Vec<Vec<usize>> = vec![vec![]; parts.len()];
    for (index, part) in parts.iter().enumerate() {
        if let Some(list) = part.parent.and_then(|parent| children.get_mut(usize::from(parent))) {
            list.push(index);
        }
    }
    let mut steps = vec![Step::Part(0)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Part(index) => {
                let (Some(part), Some(inside)) = (parts.get(index), children.get(index)) else {
                    empty_text(out);
                    continue;
                };
                match (part.kind, inside.first()) {
                    (PartKind::Multipart, Some(_)) => {
                        out.text("(");
                        steps.push(Step::MultipartEnd(index));
                        steps.extend(inside.iter().rev().map(|child| Step::Part(*child)));
                    }
                    (PartKind::Message, Some(child)) => {
                        out.text("(");
                        basic_fields(out, part, None);
                        out.text(" ");
                        let inner = parts.get(*child).and_then(|child| child.envelope.as_deref());
                        envelope(out, inner.unwrap_or(&Envelope::default()));
                        out.text(" ");
                        steps.push(Step::MessageEnd(index));
                        steps.push(Step::Part(*child));
                    }
                    (PartKind::Multipart, None) => {
                        // `body-type-mpart` needs at least one body.
                        out.text("(");
                        empty_text(out);
                        steps.push(Step::MultipartEnd(index));
                    }
                    (PartKind::Leaf | PartKind::Message, _) => leaf(out, part, extended),
                }
            }
            Step::MultipartEnd(index) => {
                if let Some(part) = parts.get(index) {
                    multipart_end(out, part, extended);
                }
            }
            Step::MessageEnd(index) => {
                if let Some(part) = parts.get(index) {
                    out.text(" ").display(part.lines);
                    single_extension(out, part, extended);
                    out.text(")");
                }
            }
        }
    }
}

fn empty_text(out: &mut Out) {
    out.text("(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0)");
}

fn multipart_end(out: &mut Out, part: &Part, extended: bool) {
    let subtype: &[u8] = if part.subtype.is_empty() { b"MIXED" } else { &part.subtype };
    out.text(" ").string(subtype);
    if extended {
        out.text(" ");
        params(out, &part.params);
        disposition_and_rest(out, part);
    }
    out.text(")");
}

fn leaf(out: &mut Out, part: &Part, extended: bool) {
    let is = |name: &[u8]| part.media_type.eq_ignore_ascii_case(name);
    // A client that reads `MESSAGE` `RFC822` or `MULTIPART` expects what only a part that was looked into has.
    let embedded = is(b"MESSAGE") && (part.subtype.eq_ignore_ascii_case(b"RFC822") || part.subtype.eq_ignore_ascii_case(b"GLOBAL"));
    let opaque = embedded || is(b"MULTIPART");
    out.text("(");
    basic_fields(out, part, opaque.then_some(("APPLICATION", "OCTET-STREAM")));
    // What is told as text has lines.
    if !opaque && (is(b"TEXT") || is_unnamed(part)) {
        out.text(" ").display(part.lines);
    }
    single_extension(out, part, extended);
    out.text(")");
}

/// Half a type is none.
fn is_unnamed(part: &Part) -> bool {
    part.media_type.is_empty() || part.subtype.is_empty()
}

/// `media-type SP body-fields`.
fn basic_fields(out: &mut Out, part: &Part, instead: Option<(&str, &str)>) {
    let (media_type, subtype): (&[u8], &[u8]) = match instead {
        Some((media_type, subtype)) => (media_type.as_bytes(), subtype.as_bytes()),
        None if is_unnamed(part) => (b"TEXT", b"PLAIN"),
        None => (&part.media_type, &part.subtype),
    };
    out.string(media_type).text(" ").string(subtype).text(" ");
    params(out, &part.params);
    out.text(" ").nstring(bytes(part.id.as_ref()));
    out.text(" ").nstring(bytes(part.description.as_ref())).text(" ");
    match &part.encoding {
        Encoding::SevenBit => out.text("\"7BIT\""),
        Encoding::EightBit => out.text("\"8BIT\""),
        Encoding::Binary => out.text("\"BINARY\""),
        Encoding::QuotedPrintable => out.text("\"QUOTED-PRINTABLE\""),
        Encoding::Base64 => out.text("\"BASE64\""),
        Encoding::Other(name) => out.string(name),
    };
    out.text(" ").display(part.body.len());
}

/// `body-ext-1part`.
fn single_extension(out: &mut Out, part: &Part, extended: bool) {
    if extended {
        out.text(" ").nstring(bytes(part.md5.as_ref()));
        disposition_and_rest(out, part);
    }
}

fn disposition_and_rest(out: &mut Out, part: &Part) {
    match &part.disposition {
        None => {
            out.text(" NIL");
        }
        Some(disposition) => {
            out.text(" (").string(&disposition.kind).text(" ");
            params(out, &disposition.params);
            out.text(")");
        }
    }
    match part.language.as_slice() {
        [] => {
            out.text(" NIL");
        }
        [one] => {
            out.text(" ").string(one);
        }
        several => {
            out.text(" (");
            for (i, language) in several.iter().enumerate() {
                out.text(if i > 0 { " " } else { "" }).string(language);
            }
            out.text(")");
        }
    }
    out.text(" ").nstring(bytes(part.location.as_ref()));
}

fn params(out: &mut Out, params: &[(ByteBuf, ByteBuf)]) {
    if params.is_empty() {
        out.text("NIL");
        return;
    }
    for (i, (name, value)) in params.iter().enumerate() {
        out.text(if i == 0 { "(" } else { " " }).string(name).text(" ").string(value);
    }
    out.text(")");
}

#[cfg(test)]
mod tests;
