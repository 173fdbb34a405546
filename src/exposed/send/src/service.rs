//! send-deliver: leases in, reports out.

use crate::{
    attempt::Attempt,
    dns::{Answer, Dns},
    levels::Levels,
    limits::{MAX_LEASES, PREFIX, TURN},
    message::Message,
    pool::Pool,
    route::Way,
    settings::Settings,
    sts::Policies,
};
use pure_addr::Domain;
use pure_tlspolicy::tlsrpt;
use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};
use tokio::sync::Semaphore;
use wire::{
    Error, List, Reply, SealedMessage, Service,
    edge::send_deliver::{Lease, Outcome, Report, Request, Response, SendDeliver},
};

/// Carries out leases.
#[derive(Debug)]
pub struct Sender {
    settings: RwLock<Arc<Settings>>,
    pub(crate) dns: Dns,
    pub(crate) policies: Policies,
    pub(crate) pool: Pool,
    pub(crate) levels: Levels,
    turns: Semaphore,
}

impl Sender {
    /// `dns` is where the edge to dns listens.
    pub fn new(settings: Settings, dns: &Path) -> Self {
        Self {
            settings: RwLock::new(Arc::new(settings)),
            dns: Dns::new(dns),
            policies: Policies::new(),
            pool: Pool::default(),
            levels: Levels::new(),
            turns: Semaphore::new(MAX_LEASES),
        }
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses other settings from the next lease on.
    pub fn reload(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.pool.clear();
    }

    async fn deliver(&self, lease: &Lease, fds: Vec<OwnedFd>) -> Result<Report, Error> {
        let settings = self.settings();
        let mut fds = fds.into_iter();
        let (Some(fd), None) = (fds.next(), fds.next()) else { return Err(Error::Malformed("not one descriptor")) };
        let sealed = SealedMessage::from_fd(fd, settings.max_message.saturating_add(PREFIX)).map_err(|error| {
            tracing::warn!(%error, "not a sealed message");
            Error::Malformed("not a sealed message")
        })?;
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Error::Refused) };
        let message = Message::new(lease.prefix.to_vec(), sealed);
        let mut attempt = Attempt::new(lease);
        let mut way = Way::new(self, &settings, &mut attempt, &message);
        let in_time = tokio::time::timeout(settings.limits.lease, Box::pin(way.go())).await.is_ok();
        let why = if in_time { "no host could be tried" } else { "delivery took too long and was broken off" };
        let report = attempt.finish(why);
        log(lease, &report);
        Ok(report)
    }

    async fn report_to(&self, domain: &Domain) -> Response {
        Response::ReportTo(match self.dns.tls_reporting(domain).await {
            Answer::Found { records, .. } => List::new(tlsrpt::addresses(records.iter().map(String::as_str))),
            Answer::None { .. } => Some(List::default()),
            Answer::Bogus | Answer::Unavailable => None,
        })
    }
}

/// Every address that one record may give fits into the answer.
const _: () = assert!(tlsrpt::MAX_ADDRESSES == 8);

impl Service<SendDeliver> for Sender {
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply<SendDeliver>, Error> {
        Ok(Reply::new(match request {
            Request::Deliver(lease) => Response::Report(Box::new(self.deliver(&lease, fds).await?)),
            Request::ReportTo(domain) if fds.is_empty() => self.report_to(&domain).await,
            Request::ReportTo(_) => return Err(Error::Malformed("a descriptor where none may be")),
        }))
    }
}

fn log(lease: &Lease, report: &Report) {
    for (recipient, (_, outcome)) in lease.recipients.iter().zip(report.results.iter()) {
        let (word, trace) = match outcome {
            Outcome::Delivered { trace, .. } => ("delivered", Some(trace)),
            Outcome::Failed(trace) => ("failed", Some(trace)),
            Outcome::Deferred(trace) => ("deferred", Some(trace)),
            Outcome::NeedsSevenBit => ("needs seven bits", None),
        };
        let remote = trace.and_then(|t| t.remote.as_ref());
        tracing::info!(
            message = %lease.id,
            recipient = %recipient.address,
            outcome = word,
            status = trace.map(|t| t.status.to_string()),
            host = remote.map(|r| r.host.as_str()),
            tls = remote.and_then(|r| r.tls.as_ref()).map(|t| t.version.as_str()),
            said = trace.map(|t| t.reply.as_ref().map_or(t.text.as_str(), |r| r.as_str())),
            "sent"
        );
    }
}
