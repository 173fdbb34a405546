//! Delivery status notifications (RFC 3464, RFC 3461, RFC 6522, RFC 6533): what a sender is told, as bytes. No I/O.
//!
//! The remote's words are bounded text without control characters already; here they are folded so that no line is too long, and
//! stand only where free text may stand. An alias is not betrayed: recipients are named as the sender named them.

use crate::{spool::Record, trace::date};
use pure_addr::{Address, Domain};
use std::fmt::Write;
use wire::edge::{
    mail::{Body, Notify, QueueId, Recipient, Ret},
    send_deliver::Trace,
};

/// Columns of text for a person.
const WIDTH: usize = 76;

/// RFC 3464 2.3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Failed,
    Delayed,
    Relayed,
    Delivered,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Relayed => "relayed",
            Self::Delivered => "delivered",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Your message could not be delivered",
            Self::Delayed => "Your message is delayed",
            Self::Relayed => "Your message was passed on",
            Self::Delivered => "Your message was delivered",
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Failed => "It could not be delivered to:",
            Self::Delayed => "It could not be delivered yet, and will be tried again. You need not send it again:",
            Self::Relayed => "It was passed on to a system that does not confirm delivery:",
            Self::Delivered => "It was delivered to:",
        }
    }
}

/// Whether the sender wants to hear of this (RFC 3461 4.1; without NOTIFY, 5.2.1 c: failures, and delays as we like).
pub(crate) fn wanted(notify: Option<Notify>, action: Action) -> bool {
    match (notify, action) {
        (None, Action::Failed | Action::Delayed) => true,
        (None, Action::Relayed | Action::Delivered) => false,
        (Some(n), Action::Failed) => n.failure,
        (Some(n), Action::Delayed) => n.delay,
        (Some(n), Action::Relayed | Action::Delivered) => n.success,
    }
}

/// One recipient of a report.
#[derive(Debug, Clone)]
pub(crate) struct Told<'a> {
    pub(crate) recipient: &'a Recipient,
    pub(crate) action: Action,
    pub(crate) trace: Trace,
}

/// What is reported.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// The message in question.
    pub(crate) id: QueueId,
    pub(crate) record: &'a Record,
    /// Milliseconds since 1970.
    pub(crate) received_at: i64,
    pub(crate) retry_until: i64,
    pub(crate) told: Vec<Told<'a>>,
    /// Its header, with the empty line if there is one.
    pub(crate) header: Vec<u8>,
    /// All of it, if it is to be returned.
    pub(crate) whole: Option<Vec<u8>>,
}

/// Whether the whole message is returned. RFC 8689 5: of one that requires TLS, its header alone. RFC 3461 4.3: RET says nothing about reports of success and delay, which never do.
pub(crate) fn returns_whole(record: &Record, told: &[Told<'_>]) -> bool {
    record.envelope.ret != Some(Ret::Headers)
        && !record.envelope.require_tls
        && record.envelope.body != Body::BinaryMime
        && told.iter().any(|t| t.action == Action::Failed)
}

/// Who writes to whom, and what makes it unique.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) id: QueueId,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    pub(crate) random: u64,
    pub(crate) hostname: &'a Domain,
    pub(crate) from: &'a Address,
    pub(crate) to: &'a Address,
    pub(crate) subject: &'a str,
    /// Better in clear text than not at all.
    pub(crate) tls_optional: bool,
}

impl Head<'_> {
    /// The fields of the header before those of MIME.
    pub(crate) fn write(&self) -> String {
        let Self { id, now, random, hostname, from, to, subject, tls_optional } = self;
        // RFC 8689 3.
        let tls = if *tls_optional { "TLS-Required: No\r\n" } else { "" };
        format!(
            "Date: {}\r\nFrom: Mail Delivery System <{from}>\r\nTo: {to}\r\nSubject: {subject}\r\n\
             Message-ID: <{id}.{random:016x}@{hostname}>\r\nAuto-Submitted: auto-replied\r\n{tls}MIME-Version: 1.0\r\n",
            date(*now)
        )
    }

    /// RFC 2046 5.1.1; nothing that is quoted can know it.
    pub(crate) fn boundary(&self) -> String {
        format!("={}.{:016x}", self.id, self.random)
    }
}

/// The subject of a report: its worst news.
pub(crate) fn subject(told: &[Told<'_>]) -> &'static str {
    told.iter().map(|t| t.action).min().unwrap_or(Action::Failed).subject()
}

/// The report, and whether it has bytes above 127.
pub(crate) fn compose(report: &Report<'_>, head: &Head<'_>) -> (Vec<u8>, bool) {
    let boundary = head.boundary();
    let text = for_a_person(report, head);
    // RFC 6533 3: only what cannot be said in ASCII is said in the newer form.
    let global = report.told.iter().any(|t| !t.recipient.address.is_ascii());
    let status = status(report, head, global);
    let original = report.whole.as_ref().unwrap_or(&report.header);
    let utf8 = report.record.envelope.smtputf8;
    let original_type = match (report.whole.is_some(), utf8) {
        (true, false) => "message/rfc822",
        (true, true) => "message/global",
        (false, false) => "text/rfc822-headers",
        (false, true) => "message/global-headers",
    };
    let eight = !(text.is_ascii() && status.is_ascii() && original.is_ascii());
    let encoding = |ascii: bool| if ascii { "7bit" } else { "8bit" };
    let mut out = head.write().into_bytes();
    let mut put = |part: &str| out.extend_from_slice(part.as_bytes());
    put(&format!(
        "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\nContent-Transfer-Encoding: {}\r\n\r\n",
        encoding(!eight)
    ));
    put(&format!(
        "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n\r\n{text}\r\n",
        encoding(text.is_ascii())
    ));
    put(&format!(
        "--{boundary}\r\nContent-Type: message/{}delivery-status\r\nContent-Transfer-Encoding: {}\r\n\r\n{status}\r\n",
        if global { "global-" } else { "" },
        encoding(status.is_ascii())
    ));
    put(&format!("--{boundary}\r\nContent-Type: {original_type}\r\nContent-Transfer-Encoding: {}\r\n\r\n", encoding(original.is_ascii())));
    out.extend_from_slice(original);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (out, eight)
}

fn for_a_person(report: &Report<'_>, head: &Head<'_>) -> String {
    let mut out = format!("This is the mail system of {}.\r\n\r\n", head.hostname);
    wrap(&mut out, "", &format!("It is about the message that you sent at {}.", date(report.received_at)));
    for action in [Action::Failed, Action::Delayed, Action::Relayed, Action::Delivered] {
        let mut of = report.told.iter().filter(|t| t.action == action).peekable();
        if of.peek().is_none() {
            continue;
        }
        out.push_str("\r\n");
        wrap(&mut out, "", action.heading());
        for told in of {
            let _ = write!(out, "\r\n  {}\r\n", told.recipient.address);
            wrap(&mut out, "    ", told.trace.text.as_str());
            if let Some(reply) = &told.trace.reply {
                let who = told.trace.remote.as_ref().map_or_else(|| "The other system".into(), |r| r.host.to_string());
                wrap(&mut out, "    ", &format!("{who} said: {reply}"));
            }
        }
        if action == Action::Delayed {
            out.push_str("\r\n");
            wrap(&mut out, "", &format!("Delivery will be tried until {}.", date(report.retry_until)));
        }
    }
    out
}

fn status(report: &Report<'_>, head: &Head<'_>, global: bool) -> String {
    let envelope = &report.record.envelope;
    let mut out = String::new();
    let field = |out: &mut String, name: &str, value: &str| {
        let mut line = format!("{name}:");
        // RFC 3464 2.1.2: fields are those of RFC 5322, in ASCII; RFC 6533 3 lifts the latter.
        let value: String = value.chars().map(|c| if global || c.is_ascii() { c } else { '?' }).collect();
        for word in value.split(' ') {
            fold(out, &mut line, word);
        }
        let _ = write!(out, "{line}\r\n");
    };
    if let Some(envid) = &envelope.envid {
        field(&mut out, "Original-Envelope-Id", envid.as_str());
    }
    field(&mut out, "Reporting-MTA", &format!("dns; {}", head.hostname));
    field(&mut out, "X-Postern-Queue-Id", &report.id.to_string());
    field(&mut out, "Arrival-Date", &date(report.received_at));
    for told in &report.told {
        out.push_str("\r\n");
        if let Some((kind, address)) = &told.recipient.orcpt {
            field(&mut out, "Original-Recipient", &format!("{kind}; {address}"));
        }
        let address = &told.recipient.address;
        field(&mut out, "Final-Recipient", &format!("{}; {address}", if address.is_ascii() { "rfc822" } else { "utf-8" }));
        field(&mut out, "Action", told.action.name());
        field(&mut out, "Status", &told.trace.status.to_string());
        if let Some(remote) = &told.trace.remote {
            field(&mut out, "Remote-MTA", &format!("dns; {}", remote.host));
        }
        if let Some(reply) = &told.trace.reply {
            field(&mut out, "Diagnostic-Code", &format!("smtp; {reply}"));
        }
        if matches!(told.action, Action::Failed | Action::Delayed) {
            field(&mut out, "Last-Attempt-Date", &date(head.now));
        }
        if told.action == Action::Delayed {
            field(&mut out, "Will-Retry-Until", &date(report.retry_until));
        }
    }
    out
}

/// Adds a word to a line that is folded (RFC 5322 2.2.3); a word that fits on no line is cut.
fn fold(out: &mut String, line: &mut String, word: &str) {
    let mut rest = word;
    loop {
        let (piece, more) = split(rest, WIDTH);
        if line.len().saturating_add(piece.len()) >= WIDTH && !line.trim().is_empty() {
            let _ = write!(out, "{line}\r\n");
            line.clear();
        }
        let _ = write!(line, " {piece}");
        if more.is_empty() {
            return;
        }
        rest = more;
    }
}

/// Writes a paragraph, each line behind the margin.
fn wrap(out: &mut String, margin: &str, text: &str) {
    let mut line = margin.to_owned();
    for word in text.split(' ') {
        let mut rest = word;
        loop {
            let (piece, more) = split(rest, WIDTH);
            if line.len() > margin.len() && line.len().saturating_add(piece.len()) >= WIDTH {
                let _ = write!(out, "{}\r\n", line.trim_end());
                line.clear();
                line.push_str(margin);
            }
            line.push_str(piece);
            line.push(' ');
            if more.is_empty() {
                break;
            }
            rest = more;
        }
    }
    let _ = write!(out, "{}\r\n", line.trim_end());
}

/// At most so many bytes, and what follows.
fn split(text: &str, most: usize) -> (&str, &str) {
    if text.len() <= most {
        return (text, "");
    }
    let at = (0..=most).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    text.split_at(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, envelope};
    use pure_addr::Text;
    use wire::edge::send_deliver::{Remote, Status};

    fn record(to: &[&str]) -> Record {
        let mut record = Record::bare(envelope("alice@mta.test", to));
        record.envelope.envid = Some(Text::new("QQ314159").unwrap());
        record.envelope.recipients = wire::List::new(
            to.iter()
                .map(|t| Recipient {
                    address: address(t),
                    notify: None,
                    orcpt: Some((Text::new("rfc822").unwrap(), Text::new("orig@remote.test").unwrap())),
                })
                .collect(),
        )
        .unwrap();
        record
    }

    fn trace(reply: &str) -> Trace {
        let host = Domain::parse("mx.remote.test").unwrap();
        Trace {
            status: Status(5, 1, 1),
            reply: Some(Text::lossy(reply.as_bytes())),
            text: Text::new("the recipient was refused").unwrap(),
            remote: Some(Remote { host, address: None, tls: None }),
        }
    }

    fn written(record: &Record, action: Action, reply: &str, whole: Option<&[u8]>) -> String {
        let told = record.envelope.recipients.iter().map(|recipient| Told { recipient, action, trace: trace(reply) }).collect();
        let (hostname, from, to) = (Domain::parse("mail.mta.test").unwrap(), address("postmaster@mta.test"), address("alice@mta.test"));
        let report = Report {
            id: QueueId(0x2a),
            record,
            received_at: 1_763_695_887_500,
            retry_until: 1_763_695_887_500,
            told,
            header: b"Subject: hello\r\n\r\n".to_vec(),
            whole: whole.map(<[u8]>::to_vec),
        };
        let head = Head {
            id: QueueId(0x2b),
            now: 1_763_695_888_000,
            random: 7,
            hostname: &hostname,
            from: &from,
            to: &to,
            subject: subject(&report.told),
            tls_optional: false,
        };
        let (bytes, eight) = compose(&report, &head);
        assert_eq!(eight, !bytes.is_ascii());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for line in text.split("\r\n") {
            assert!(line.len() < 998 && !line.contains(['\r', '\n']), "{line:?}");
        }
        text
    }

    #[test]
    fn a_failure_as_the_standards_want_it() {
        let text = written(&record(&["v@remote.test"]), Action::Failed, "550 5.1.1 no such user", Some(b"Subject: hello\r\n\r\nHi.\r\n"));
        let status = "Original-Envelope-Id: QQ314159\r\nReporting-MTA: dns; mail.mta.test\r\nX-Postern-Queue-Id: 000000000000002a\r\n\
                      Arrival-Date: Fri, 21 Nov 2025 03:31:27 +0000\r\n\r\nOriginal-Recipient: rfc822; orig@remote.test\r\n\
                      Final-Recipient: rfc822; v@remote.test\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.remote.test\r\n\
                      Diagnostic-Code: smtp; 550 5.1.1 no such user\r\nLast-Attempt-Date: Fri, 21 Nov 2025 03:31:28 +0000\r\n";
        assert!(text.contains(status), "{text}");
        assert!(
            text.contains("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: hello\r\n\r\nHi.\r\n\r\n--=")
        );
        assert!(text.contains("Auto-Submitted: auto-replied\r\n") && text.contains("mx.remote.test said: 550 5.1.1 no such user\r\n"));
    }

    #[test]
    fn delays_say_until_when() {
        let text = written(&record(&["v@remote.test"]), Action::Delayed, "451 later", None);
        assert!(
            text.contains("Action: delayed\r\n")
                && text.contains("Will-Retry-Until: ")
                && text.replace("\r\n", " ").contains("You need not send it again")
        );
        assert!(text.contains("Content-Type: text/rfc822-headers\r\n"));
    }

    /// Attack case: a reply of 1,000 bytes without a blank, with control characters and 8-bit, stays inside its field.
    #[test]
    fn the_remotes_words_are_disarmed() {
        let reply = format!("550 {}\r\nAction: delivered\r\n\u{e9}{}", "x".repeat(400), "y".repeat(500));
        let text = written(&record(&["v@remote.test"]), Action::Failed, &reply, None);
        assert_eq!(text.matches("\r\nAction: ").count(), 1, "{text}");
        let status = text.split("message/delivery-status").nth(1).unwrap().split("--=").next().unwrap();
        assert!(status.is_ascii(), "{status}");
    }

    #[test]
    fn addresses_beyond_ascii_need_the_newer_form() {
        let mut record = record(&["\u{e9}@remote.test"]);
        record.envelope.smtputf8 = true;
        let text = written(&record, Action::Failed, "550 no", None);
        assert!(text.contains("Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit"));
        assert!(text.contains("Final-Recipient: utf-8; \u{e9}@remote.test\r\n") && text.contains("message/global-headers"));
    }

    #[test]
    fn what_is_returned() {
        let mut record = record(&["v@remote.test"]);
        let told = |action| vec![Told { recipient: &record.envelope.recipients[0], action, trace: trace("") }];
        assert!(returns_whole(&record, &told(Action::Failed)));
        assert!(!returns_whole(&record, &told(Action::Delayed)));
        let failed = record.envelope.recipients[0].clone();
        record.envelope.ret = Some(Ret::Headers);
        assert!(!returns_whole(&record, &[Told { recipient: &failed, action: Action::Failed, trace: trace("") }]));
    }
}
