//! Messages that the queue writes itself: reports to senders, notices to people. They enter the spool like any other, in the
//! transaction that settles what they are about.

use crate::{
    Clock, Random,
    ask::{Directory, Relay, Resolution},
    dsn::{self, Head, Report, Told},
    limits::{MAX_RETURNED, MAX_RETURNED_HEADER},
    settings::Settings,
    spool::{Accept, Record, Spool},
};
use pure_addr::{Address, Domain, ReversePath, Text};
use std::{net::IpAddr, net::Ipv6Addr, sync::Arc, time::Duration};
use tokio::sync::oneshot;
use wire::{
    List, MessageWriter, SealedMessage,
    edge::mail::{Body, Envelope, QueueId, Recipient, SessionId},
};

/// Times that the directory is asked where a report goes, and the first wait between; the next ones are twice as long.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Writes them.
pub(crate) struct Post {
    pub(crate) directory: Arc<Directory>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) hostname: Domain,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
}

/// It cannot be known now where a message of our own goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// How a message of our own is to be protected on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsWish {
    /// As its destination has it.
    AsPolicy,
    /// REQUIRETLS (RFC 8689 2).
    Required,
    /// `TLS-Required: No` (RFC 8689 3).
    Optional,
}

/// The message that a report is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Original<'a> {
    pub(crate) id: QueueId,
    pub(crate) record: &'a Record,
    pub(crate) received_at: i64,
    pub(crate) message: Option<&'a SealedMessage>,
}

impl Post {
    /// The report on some recipients of a message; nothing when there is nobody to tell.
    pub(crate) async fn report(&self, original: Original<'_>, told: Vec<Told<'_>>) -> Result<Vec<Accept>, Unavailable> {
        // RFC 3464 2, RFC 5321 4.5.5: nothing is sent about a message with the null reverse-path.
        let Some(sender) = original.record.envelope.reverse_path.address() else { return Ok(Vec::new()) };
        if told.is_empty() {
            return Ok(Vec::new());
        }
        let (header, whole) = returned(original, dsn::returns_whole(original.record, &told));
        let expire = i64::try_from(self.settings.send.expire.as_millis()).unwrap_or(i64::MAX);
        let report = Report {
            id: original.id,
            record: original.record,
            received_at: original.received_at,
            retry_until: original.received_at.saturating_add(expire),
            told,
            header,
            whole,
        };
        // RFC 8689 5: a report goes as its message did.
        let tls = match (original.record.envelope.require_tls, original.record.tls_optional) {
            (true, _) => TlsWish::Required,
            (false, true) => TlsWish::Optional,
            (false, false) => TlsWish::AsPolicy,
        };
        self.write(std::slice::from_ref(sender), dsn::subject(&report.told), tls, |head| dsn::compose(&report, head)).await
    }

    /// A message of our own to people; nothing when none of them exists.
    pub(crate) async fn write(
        &self,
        to: &[Address],
        subject: &str,
        tls: TlsWish,
        compose: impl FnOnce(&Head<'_>) -> (Vec<u8>, bool),
    ) -> Result<Vec<Accept>, Unavailable> {
        let accepted = self.resolve(to).await?;
        let Some(first) = to.first().filter(|_| !accepted.is_empty()) else {
            tracing::warn!(to = ?to.first().map(Address::to_string), "there is nobody to tell");
            return Ok(Vec::new());
        };
        let live = self.spool.numbers.give();
        let now = self.clock.now();
        let from = &self.settings.postmaster;
        let random = (self.random)();
        let (bytes, eight) = compose(&Head {
            id: live.id,
            now,
            random,
            hostname: &self.hostname,
            from,
            to: first,
            subject,
            tls_optional: tls == TlsWish::Optional,
        });
        let mut recipients = List::default();
        for address in to {
            recipients.push(Recipient { address: address.clone(), notify: None, orcpt: None }).map_err(|_| Unavailable)?;
        }
        let envelope = Envelope {
            session: SessionId(0),
            peer: IpAddr::V6(Ipv6Addr::LOCALHOST),
            helo: Text::lossy(self.hostname.as_str().as_bytes()),
            extended: true,
            smtputf8: to.iter().any(|a| !a.is_ascii()),
            require_tls: tls == TlsWish::Required,
            tls: None,
            reverse_path: ReversePath::Null,
            body: if eight { Body::EightBitMime } else { Body::SevenBit },
            ret: None,
            envid: None,
            recipients,
        };
        let admitted = crate::admit::admit(envelope, None, accepted, |_| None).map_err(|_| Unavailable)?;
        let mut record = Record::new(admitted);
        record.own = true;
        record.tls_optional = tls == TlsWish::Optional;
        record.sign_as = Some(from.domain.clone());
        let message = MessageWriter::sealed(&bytes).map_err(|_| Unavailable)?;
        let encoded = wire::encode(&record).map_err(|_| Unavailable)?;
        let routes = record.routes(&self.settings);
        tracing::info!(MESSAGE = %live.id, to = %first, subject, "a message of our own");
        // Nobody waits for it alone: it enters with what it is about.
        let (answer, _) = oneshot::channel();
        Ok(vec![Accept {
            live,
            received_at: now,
            record: Arc::new(record),
            encoded,
            message: Arc::new(message),
            file: None,
            index: None,
            room: None,
            routes,
            counted: None,
            kept: Vec::new(),
            answer,
        }])
    }

    /// Those who exist. A restart of the directory is waited for.
    async fn resolve(&self, to: &[Address]) -> Result<Vec<crate::admit::AcceptedRecipient>, Unavailable> {
        let mut wait = FIRST_WAIT;
        for attempt in 1..=TRIES {
            let mut accepted = Vec::new();
            let mut unavailable = false;
            for address in to {
                match self.directory.resolve(Recipient { address: address.clone(), notify: None, orcpt: None }, Relay::Allowed).await {
                    Resolution::Accepted(recipient) => accepted.push(recipient),
                    Resolution::Unavailable => unavailable = true,
                    Resolution::Unknown | Resolution::NoRelay => {}
                }
            }
            if !unavailable {
                return Ok(accepted);
            }
            if attempt < TRIES {
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2);
            }
        }
        Err(Unavailable)
    }
}

/// The header of a message, and all of it if it is wanted and not too large.
fn returned(original: Original<'_>, whole: bool) -> (Vec<u8>, Option<Vec<u8>>) {
    let Some(message) = original.message else { return (Vec::new(), None) };
    let most = if whole && message.len() <= MAX_RETURNED { MAX_RETURNED } else { MAX_RETURNED_HEADER };
    let len = usize::try_from(message.len().min(most)).unwrap_or(0);
    let mut bytes = vec![0; len];
    if message.read_exact_at(&mut bytes, 0).is_err() {
        return (Vec::new(), None);
    }
    if whole && message.len() <= MAX_RETURNED {
        return (Vec::new(), Some(bytes));
    }
    // The header ends with an empty line; one that is too long ends with its last whole line.
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|at| at.saturating_add(4))
        .or_else(|| bytes.windows(2).rposition(|w| w == b"\r\n").map(|at| at.saturating_add(2)))
        .unwrap_or(0);
    bytes.truncate(end);
    (bytes, None)
}
