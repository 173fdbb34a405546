//! What a submission server may mend (RFC 6409 8): fields that the client left out, and, where the account wants it, those that
//! betray where and with what its owner writes. And what a server must take out of mail that comes to it (RFC 8601 5).

use crate::spool::Record;
use pure_addr::{Domain, Text};
use pure_index::{MessageIndex, Span};
use std::io::{self, Write};
use wire::{MessageWriter, SealedMessage, edge::mail::QueueId};

/// Fields that are taken out when the client is hidden.
const BETRAYING: [&str; 5] = ["user-agent", "x-mailer", "x-originating-ip", "x-originating-client", "x-client-ip"];
/// What claims to be ours, and is not.
const CLAIMING: &[u8] = b"authentication-results";
/// Bytes copied at a time.
const CHUNK: usize = 256 * 1024;

/// Notes in the record what is to be added: `Date` and `Message-ID`, never others.
pub(crate) fn complete(record: &mut Record, index: &MessageIndex, id: QueueId, now: i64, random: u64, hostname: &Domain) {
    if !index.identity.has_date {
        record.date = Text::new(crate::trace::date(now)).ok();
    }
    if !index.identity.has_message_id {
        record.message_id = Text::new(format!("<{id}.{random:016x}@{hostname}>")).ok();
    }
}

/// An account's message without what claims to have been found here (RFC 8601 5), whoever it names, and, to hide the client, without the
/// fields that betray it; none when there are none.
pub(crate) fn clean(message: &SealedMessage, index: &MessageIndex, hide: bool) -> io::Result<Option<SealedMessage>> {
    let Some(root) = index.structure.root() else { return Ok(None) };
    let betraying = BETRAYING.iter().map(|name| name.as_bytes()).filter(|_| hide);
    let names: Vec<&[u8]> = betraying.chain([CLAIMING]).collect();
    let mut cut: Vec<Span> = Vec::new();
    for field in &root.fields {
        let len = usize::from(field.name_len);
        if !names.iter().any(|name| name.len() == len) {
            continue;
        }
        let mut name = vec![0; len];
        message.read_exact_at(&mut name, u64::from(field.span.start))?;
        if names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            cut.push(field.span);
        }
    }
    without(message, &cut)
}

/// The message without these fields, which must be `Authentication-Results` in its header; none when there are none.
pub(crate) fn disown(message: &SealedMessage, index: &MessageIndex, forged: &[Span]) -> io::Result<Option<SealedMessage>> {
    let Some(root) = index.structure.root() else { return Ok(None) };
    for span in forged {
        // Whoever names the fields only reads them: nothing else can be cut out of a message by it.
        let field = root.fields.iter().find(|field| field.span == *span).ok_or_else(|| io::Error::other("no such field"))?;
        let mut name = vec![0; usize::from(field.name_len)];
        message.read_exact_at(&mut name, u64::from(span.start))?;
        if !name.eq_ignore_ascii_case(CLAIMING) {
            return Err(io::Error::other("another field"));
        }
    }
    without(message, forged)
}

fn without(message: &SealedMessage, cut: &[Span]) -> io::Result<Option<SealedMessage>> {
    if cut.is_empty() {
        return Ok(None);
    }
    let mut writer = MessageWriter::new(message.len())?;
    let mut at = 0u64;
    for span in cut {
        copy(message, at, u64::from(span.start), &mut writer)?;
        at = at.max(u64::from(span.end));
    }
    copy(message, at, message.len(), &mut writer)?;
    writer.seal().map(Some)
}

fn copy(message: &SealedMessage, from: u64, to: u64, writer: &mut MessageWriter) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let n = usize::try_from(to.saturating_sub(at)).unwrap_or(CHUNK).min(CHUNK);
        let chunk = buffer.get_mut(..n).unwrap_or_default();
        message.read_exact_at(chunk, at)?;
        writer.write_all(chunk)?;
        at = at.saturating_add(n as u64);
    }
    Ok(())
}
