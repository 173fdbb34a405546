//! The header fields that the queue puts in front of a message (RFC 5321 4.4).
//!
//! Everything written here comes from bounded types without control characters; what may be free text is reduced to the
//! characters of an atom first. Every clause stands on a line of its own and no line is broken inside a word, so nothing is folded
//! wrongly and no line reaches 998 octets (RFC 5322 2.1.1).

use crate::spool::{Destination, Record};
use pure_addr::{Address, Domain};
use pure_index::{Malformed, MessageIndex};
use std::{fmt::Write, net::IpAddr};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use wire::edge::mail::{Envelope, QueueId, Recipient};

/// Bytes kept of a HELO that is no domain.
const MAX_ODD_HELO: usize = 64;

/// Header fields, each with its length and that of its name.
#[derive(Debug, Default)]
pub(crate) struct Prefix {
    pub(crate) bytes: Vec<u8>,
    fields: Vec<(u32, u16)>,
    /// Fields that the client left out, for the index: what they say.
    date: Option<(String, i64)>,
    message_id: Option<String>,
}

impl Prefix {
    fn push(&mut self, name: &'static str, value: &str) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
        let len = self.bytes.len().saturating_sub(before);
        // Both are far below the limits of their types: names are constants, values have at most some 8,000 bytes.
        self.fields.push((u32::try_from(len).unwrap_or(u32::MAX), u16::try_from(name.len()).unwrap_or(u16::MAX)));
    }

    /// The index of the message with these fields in front.
    pub(crate) fn index(&self, mut index: MessageIndex) -> Result<MessageIndex, Malformed> {
        index.structure = index.structure.with_prefix(&self.fields)?;
        if let Some((text, at)) = &self.date {
            index.sent_at = Some(*at);
            index.envelope.date = Some(text.clone().into_bytes().into());
            index.search.headers.push(("date".into(), pure_index::fold(text)));
        }
        if let Some(id) = &self.message_id {
            index.message_id = Some(id.trim_matches(['<', '>']).to_owned());
            index.envelope.message_id = Some(id.clone().into_bytes().into());
            index.search.headers.push(("message-id".into(), pure_index::fold(id)));
        }
        Ok(index)
    }
}

/// What one delivery of a message begins with.
pub(crate) fn prefix(id: QueueId, record: &Record, received_at: i64, recipient: &Recipient, hostname: &Domain) -> Prefix {
    let mut prefix = Prefix::default();
    // RFC 5321 4.4: the delivering system inserts it, once, at the beginning.
    prefix.push("Return-Path", &angle(record.envelope.reverse_path.address()));
    prefix.push("Delivered-To", &recipient.address.to_string());
    if let Some(judgement) = &record.judgement {
        prefix.push("Authentication-Results", &judgement.results(hostname));
    }
    prefix.push("Received", &received(id, record, received_at, hostname));
    complete(&mut prefix, record, received_at);
    prefix
}

/// What a message to elsewhere begins with.
pub(crate) fn outgoing(id: QueueId, record: &Record, received_at: i64, first: Option<&Destination>, hostname: &Domain) -> Vec<u8> {
    let mut prefix = Prefix::default();
    // Loops through aliases end here when they come back, even when other hosts cut the Received fields.
    if let Some(alias) = first.filter(|d| d.forwarded).and_then(|d| record.address(d)) {
        prefix.push("Delivered-To", &alias.to_string());
    }
    prefix.push("Received", &received(id, record, received_at, hostname));
    complete(&mut prefix, record, received_at);
    prefix.bytes
}

/// RFC 6409 8: what the client left out.
fn complete(prefix: &mut Prefix, record: &Record, received_at: i64) {
    if let Some(date) = &record.date {
        prefix.push("Date", date.as_str());
        prefix.date = Some((date.to_string(), received_at.div_euclid(1000)));
    }
    if let Some(id) = &record.message_id {
        prefix.push("Message-ID", id.as_str());
        prefix.message_id = Some(id.to_string());
    }
}

fn angle(address: Option<&Address>) -> String {
    address.map_or_else(|| "<>".into(), |a| format!("<{a}>"))
}

/// RFC 5321 4.4 Time-stamp-line.
fn received(id: QueueId, record: &Record, received_at: i64, hostname: &Domain) -> String {
    let envelope = &record.envelope;
    let mut out = String::new();
    // Writing to a String does not fail.
    if record.own {
        let _ = write!(out, "by {hostname}\r\n\tid {id}");
    } else if record.hide_client {
        let _ = write!(out, "by {hostname} with {}\r\n\tid {id}", protocol(envelope, record.submitter.is_some()));
    } else {
        let _ =
            write!(out, "from {}\r\n\tby {hostname} with {}\r\n\tid {id}", from(envelope), protocol(envelope, record.submitter.is_some()));
    }
    // RFC 5321 7.2: with more than one recipient the clause would tell each of the others.
    if let [only] = &*envelope.recipients
        && (envelope.smtputf8 || only.address.is_ascii())
    {
        let _ = write!(out, "\r\n\tfor <{}>", only.address);
    }
    // RFC 8314 4.3: the tls clause names the cipher suite.
    if let Some(cipher) = envelope.tls.as_ref().map(|tls| atom(tls.cipher.as_str(), 64)).filter(|c| !c.is_empty()) {
        let _ = write!(out, "\r\n\ttls {cipher}");
    }
    let _ = write!(out, ";\r\n\t{}", date(received_at));
    out
}

/// Extended-Domain: what the client called itself, and where it really was.
fn from(envelope: &Envelope) -> String {
    let peer = literal(envelope.peer);
    match Domain::parse(envelope.helo.as_str()) {
        Ok(helo) => format!("{helo} ({peer})"),
        // Hosts say anything. It is kept for a person to see, where no parser takes it for a name.
        Err(_) => {
            let helo = atom(envelope.helo.as_str(), MAX_ODD_HELO);
            format!("{peer} ({peer}{}{helo})", if helo.is_empty() { "" } else { " helo=" })
        }
    }
}

/// RFC 5321 4.1.3.
fn literal(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// RFC 3848 and RFC 6531 4.3.
fn protocol(envelope: &Envelope, authenticated: bool) -> &'static str {
    match (envelope.extended, envelope.smtputf8, envelope.tls.is_some(), authenticated) {
        (false, _, _, _) => "SMTP",
        (true, false, false, false) => "ESMTP",
        (true, false, false, true) => "ESMTPA",
        (true, false, true, false) => "ESMTPS",
        (true, false, true, true) => "ESMTPSA",
        (true, true, false, false) => "UTF8SMTP",
        (true, true, false, true) => "UTF8SMTPA",
        (true, true, true, false) => "UTF8SMTPS",
        (true, true, true, true) => "UTF8SMTPSA",
    }
}

/// The characters of an atom that mean nothing inside a comment either; anything else becomes `?`.
fn atom(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '?' }).collect()
}

/// RFC 5322 3.3, always in UTC. `at` is milliseconds since 1970.
pub(crate) fn date(at: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    // The years that this format cannot write are before 1900.
    at.format(&Rfc2822).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, envelope, owner};
    use pure_addr::{ReversePath, Text};
    use wire::edge::mail::Tls;

    fn record(envelope: Envelope, authenticated: bool) -> Record {
        let mut record = Record::bare(envelope);
        record.submitter = authenticated.then(|| owner(1, "alice@mta.test"));
        record
    }

    fn written(record: &Record) -> String {
        let recipient = &record.envelope.recipients[0];
        let prefix = prefix(QueueId(0x2a), record, 1_763_695_887_500, recipient, &Domain::parse("mail.mta.test").unwrap());
        assert_eq!(prefix.fields.iter().map(|f| f.0 as usize).sum::<usize>(), prefix.bytes.len());
        String::from_utf8(prefix.bytes).unwrap()
    }

    #[test]
    fn the_fields_in_front_of_a_message() {
        let mut e = envelope("x@remote.test", &["alice@mta.test"]);
        e.tls = Some(Tls { version: Text::new("TLS1.3").unwrap(), cipher: Text::new("TLS_AES_256_GCM_SHA384").unwrap() });
        assert_eq!(
            written(&record(e, false)),
            "Return-Path: <x@remote.test>\r\nDelivered-To: alice@mta.test\r\nReceived: from client.remote.test ([192.0.2.7])\r\n\
             \tby mail.mta.test with ESMTPS\r\n\tid 000000000000002a\r\n\tfor <alice@mta.test>\r\n\ttls TLS_AES_256_GCM_SHA384;\r\n\
             \tFri, 21 Nov 2025 03:31:27 +0000\r\n"
        );
    }

    /// RFC 6409 8: fields that were left out are in both copies, and the index of the local one speaks of them.
    #[test]
    fn what_the_client_left_out_is_added_and_where_it_was_is_hidden() {
        let mut record = record(envelope("alice@mta.test", &["alice@mta.test"]), true);
        record.hide_client = true;
        record.date = Some(Text::new("Fri, 21 Nov 2025 03:31:27 +0000").unwrap());
        record.message_id = Some(Text::new("<1.2@mail.mta.test>").unwrap());
        let hostname = Domain::parse("mail.mta.test").unwrap();
        let prefix = prefix(QueueId(0x2a), &record, 1_763_695_887_500, &record.envelope.recipients[0], &hostname);
        let index = prefix.index(MessageIndex::default()).unwrap();
        assert_eq!((index.message_id.as_deref(), index.sent_at), (Some("1.2@mail.mta.test"), Some(1_763_695_887)));
        let text = String::from_utf8(prefix.bytes).unwrap();
        let out = String::from_utf8(outgoing(QueueId(0x2a), &record, 1_763_695_887_500, None, &hostname)).unwrap();
        assert!(text.ends_with(&out) && out.starts_with("Received: by mail.mta.test with ESMTPA\r\n"), "{text}");
        assert!(
            out.ends_with("Date: Fri, 21 Nov 2025 03:31:27 +0000\r\nMessage-ID: <1.2@mail.mta.test>\r\n") && !out.contains("192.0.2.7")
        );
    }

    #[test]
    fn null_path_and_many_recipients() {
        let mut e = envelope("x@remote.test", &["alice@mta.test", "bob@mta.test"]);
        e.reverse_path = ReversePath::Null;
        e.peer = "2001:db8::1".parse().unwrap();
        let text = written(&record(e, true));
        assert!(text.starts_with("Return-Path: <>\r\n"), "{text}");
        assert!(text.contains("([IPv6:2001:db8::1])") && text.contains("with ESMTPA\r\n"), "{text}");
        assert!(!text.contains("for <"), "{text}");
    }

    #[test]
    fn protocols_by_their_registered_names() {
        let mut e = envelope("x@remote.test", &["alice@mta.test"]);
        e.smtputf8 = true;
        assert_eq!(protocol(&e, true), "UTF8SMTPA");
        e.extended = false;
        assert_eq!(protocol(&e, false), "SMTP");
    }

    /// What calls itself by something that is no name cannot add a clause, close the comment or break the line.
    #[test]
    fn an_odd_helo_is_disarmed() {
        for (helo, seen) in [
            ("x) by evil.test (y; Mon", "[192.0.2.7] ([192.0.2.7] helo=x??by?evil.test??y??Mon)\r\n"),
            ("", "[192.0.2.7] ([192.0.2.7])\r\n"),
            ("ünï cödé", "[192.0.2.7] ([192.0.2.7] helo=?n??c?d?)\r\n"),
            ("[192.0.2.9]", "[192.0.2.9] ([192.0.2.7])\r\n"),
        ] {
            let mut e = envelope("x@remote.test", &["alice@mta.test"]);
            e.helo = Text::new(helo).unwrap();
            let text = written(&record(e, false));
            assert!(text.contains(&format!("Received: from {seen}")), "{text}");
        }
    }

    /// A quoted local part keeps its quotes, and no line is longer than RFC 5322 2.1.1 allows.
    #[test]
    fn long_and_quoted_addresses() {
        let odd = format!("\"a b; c>{}\"@{}.test", "x".repeat(50), "d".repeat(60));
        let mut e = envelope("x@remote.test", &[]);
        e.recipients.push(Recipient { address: address(&odd), notify: None, orcpt: None }).unwrap();
        e.helo = Text::new("h".repeat(255)).unwrap();
        let text = written(&record(e, false));
        assert!(text.contains(&format!("for <{odd}>;")), "{text}");
        assert!(text.split("\r\n").all(|line| line.len() < 998 && !line.contains(['\r', '\n'])));
    }
}
