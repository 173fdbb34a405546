//! Reports on TLS to the domains that want them (RFC 8460): once a day for each, about the day before, in UTC.

use crate::{
    dsn::Head,
    limits::REPORT_POLL,
    post::TlsWish,
    remote::{Outbound, Sender},
    spool::{
        Op, Settles,
        tls::{Count, Key},
    },
    trace,
};
use pure_addr::Address;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use time::{Duration as Span, OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::oneshot;
use wire::edge::send_deliver::{Request, Response, TlsFailure, TlsPolicy};

const DAY: i64 = 86_400_000;
/// How long to wait until a domain is asked again where its reports go.
const LATER: i64 = 3_600_000;
/// Days after which a report that nobody could be asked about is given up.
const TOO_OLD: i64 = 7;

/// Writes the reports of past days.
pub(crate) async fn run(sender: Arc<Sender>, outbound: Arc<Outbound>) {
    loop {
        while report_one(&sender).await {}
        if sender.spool.inbox.has_ended() {
            return;
        }
        let _ = tokio::time::timeout(REPORT_POLL, outbound.reports.notified()).await;
    }
}

/// True when there may be another one.
async fn report_one(sender: &Sender) -> bool {
    let now = sender.clock.now();
    let today = now.div_euclid(DAY);
    let next = sender.spool.ask(|answer| Op::TlsReport { before: today, now, answer }).await;
    let Some((key, counts)) = next.and_then(|next| next.report) else { return false };
    let wanted = if !sender.settings.send.tls_reports || today.saturating_sub(key.day) > TOO_OLD {
        Some(Vec::new())
    } else {
        match sender.send.call(&Request::ReportTo(key.domain.clone()), &[]).await.map(|reply| reply.body) {
            Ok(Response::ReportTo(to)) => to.map(wire::List::into_vec),
            Ok(Response::Report(_)) | Err(_) => None,
        }
    };
    let own = match wanted {
        None => None,
        Some(to) => match elsewhere(sender, to).await {
            None => None,
            Some(to) if to.is_empty() => Some(Vec::new()),
            Some(to) => {
                // RFC 8460 3: about failures it is sent although TLS fails.
                let subject = subject(&key, &sender.settings.postmaster, now);
                sender.post.write(&to, &subject, TlsWish::Optional, |head| (compose(&key, &counts, head).into_bytes(), false)).await.ok()
            }
        },
    };
    let Some(own) = own else {
        sender.spool.push(Op::TlsLater { key, due: now.saturating_add(LATER) });
        // Answered after it: the same report does not come back at once.
        return sender.spool.ask(Op::Floor).await.is_some();
    };
    let (answer, done) = oneshot::channel();
    sender.spool.push(Op::Own { own, settles: Settles::TlsReport(key), answer });
    done.await.is_ok()
}

/// Those that are not of our own domains: a record of strangers must not fill the mailboxes of our accounts. None when it cannot be
/// known now.
async fn elsewhere(sender: &Sender, to: Vec<Address>) -> Option<Vec<Address>> {
    let mut elsewhere = Vec::new();
    for address in to {
        if sender.post.directory.is_local(&address).await? {
            tracing::info!(%address, "no report on TLS goes to an account of ours");
        } else {
            elsewhere.push(address);
        }
    }
    Some(elsewhere)
}

/// RFC 8460 5.3.
fn subject(key: &Key, postmaster: &Address, now: i64) -> String {
    format!("Report Domain: {} Submitter: {} Report-ID: <{}>", key.domain, postmaster.domain, id(key, postmaster, now))
}

fn id(key: &Key, postmaster: &Address, now: i64) -> String {
    format!("{}.{}.{}@{}", key.day, now.div_euclid(1000), key.domain, postmaster.domain)
}

fn day(days: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(days.saturating_mul(86_400)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// RFC 8460 5.3: multipart/report with a text for a person and the report.
pub(crate) fn compose(key: &Key, counts: &[Count], head: &Head<'_>) -> String {
    let boundary = head.boundary();
    let (ours, domain) = (&head.from.domain, &key.domain);
    let begin = day(key.day).unix_timestamp();
    let name = format!("{ours}!{domain}!{begin}!{}.json", begin.saturating_add(86_399));
    format!(
        "{}TLS-Report-Domain: {domain}\r\nTLS-Report-Submitter: {ours}\r\n\
         Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         This is an aggregate report on TLS of {ours}\r\nabout connections to the mail hosts of {domain}\r\non {}.\r\n\r\n\
         --{boundary}\r\nContent-Type: application/tlsrpt+json\r\nContent-Transfer-Encoding: 7bit\r\n\
         Content-Disposition: attachment;\r\n\tfilename=\"{name}\"\r\n\r\n{}\r\n--{boundary}--\r\n",
        head.write(),
        trace::date(begin.saturating_mul(1000)),
        lines(&report(key, counts, head))
    )
}

/// RFC 5322 2.1.1 limits lines: one value on each.
fn lines(report: &Value) -> String {
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    let mut out = String::new();
    for line in text.lines() {
        // Names of domains are ASCII; policy lines of strangers need not be.
        for c in line.chars() {
            let mut units = [0; 2];
            if c.is_ascii() {
                out.push(c);
            } else {
                c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
        }
        out.push_str("\r\n");
    }
    out
}

/// RFC 8460 4.4.
fn report(key: &Key, counts: &[Count], head: &Head<'_>) -> Value {
    let mut policies: BTreeMap<(u8, Vec<String>), Vec<&Count>> = BTreeMap::new();
    for count in counts {
        let text = count.policy_text.iter().map(ToString::to_string).collect();
        policies.entry((order(count.policy), text)).or_default().push(count);
    }
    let end = day(key.day.saturating_add(1)).saturating_sub(Span::SECOND);
    let time = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    let policies: Vec<Value> = policies
        .into_iter()
        .map(|((_, text), counts)| {
            let sessions =
                |failed: bool| counts.iter().filter(|c| c.failure.is_some() == failed).fold(0u64, |sum, c| sum.saturating_add(c.sessions));
            let policy = counts.first().map_or(TlsPolicy::None, |c| c.policy);
            let mut described = json!({"policy-type": policy_name(policy), "policy-domain": key.domain.as_str()});
            if let Some(object) = described.as_object_mut() {
                if policy != TlsPolicy::None {
                    object.insert("policy-string".into(), json!(text));
                }
                // RFC 8460 4.4: the patterns of an MTA-STS policy.
                let hosts: Vec<&str> = text.iter().filter_map(|line| line.strip_prefix("mx:")).map(str::trim).collect();
                if policy == TlsPolicy::MtaSts && !hosts.is_empty() {
                    object.insert("mx-host".into(), json!(hosts));
                }
            }
            let mut entry = json!({
                "policy": described,
                "summary": {"total-successful-session-count": sessions(false), "total-failure-session-count": sessions(true)},
            });
            let details: Vec<Value> = counts.iter().filter_map(|c| Some(detail(c, c.failure?))).collect();
            if let Some(object) = entry.as_object_mut().filter(|_| !details.is_empty()) {
                object.insert("failure-details".into(), Value::Array(details));
            }
            entry
        })
        .collect();
    json!({
        "organization-name": head.from.domain.as_str(),
        "date-range": {"start-datetime": time(day(key.day)), "end-datetime": time(end)},
        "contact-info": head.from.to_string(),
        "report-id": id(key, head.from, head.now),
        "policies": policies,
    })
}

fn detail(count: &Count, failure: TlsFailure) -> Value {
    let mut detail = json!({
        "result-type": failure_name(failure),
        "receiving-mx-hostname": count.mx,
        "failed-session-count": count.sessions,
    });
    if let Some(object) = detail.as_object_mut().filter(|_| !count.address.is_empty()) {
        object.insert("receiving-ip".into(), json!(count.address));
    }
    detail
}

fn order(policy: TlsPolicy) -> u8 {
    match policy {
        TlsPolicy::Dane => 0,
        TlsPolicy::MtaSts => 1,
        TlsPolicy::None => 2,
    }
}

fn policy_name(policy: TlsPolicy) -> &'static str {
    match policy {
        TlsPolicy::Dane => "tlsa",
        TlsPolicy::MtaSts => "sts",
        TlsPolicy::None => "no-policy-found",
    }
}

fn failure_name(failure: TlsFailure) -> &'static str {
    match failure {
        TlsFailure::StartTlsNotSupported => "starttls-not-supported",
        TlsFailure::CertificateHostMismatch => "certificate-host-mismatch",
        TlsFailure::CertificateNotTrusted => "certificate-not-trusted",
        TlsFailure::CertificateExpired => "certificate-expired",
        TlsFailure::ValidationFailure => "validation-failure",
        TlsFailure::TlsaInvalid => "tlsa-invalid",
        TlsFailure::DnssecInvalid => "dnssec-invalid",
        TlsFailure::DaneRequired => "dane-required",
        TlsFailure::StsPolicyFetchError => "sts-policy-fetch-error",
        TlsFailure::StsPolicyInvalid => "sts-policy-invalid",
        TlsFailure::StsWebpkiInvalid => "sts-webpki-invalid",
    }
}
