//! send-deliver: leases in, reports out.

use crate::{
    asker::{Asker, Waiting},
    attempt::Attempt,
    dns::{Answer, Dns},
    levels::Levels,
    limits::{DRAIN, LAST_REPORTS, MAX_LEASES, PREFIX, TURN},
    message::Message,
    pool::Pool,
    recent::Recent,
    route::Way,
    settings::Settings,
    sts::Policies,
};
use pure_addr::Domain;
use pure_tlspolicy::tlsrpt;
use std::{
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, RwLock},
};
use tokio::sync::Semaphore;
use wire::{
    Client, Error, List, Reply, SealedMessage, Service,
    edge::{
        send_deliver::{Lease, LeaseRecipient, Outcome, Report, Request, Response, SendDeliver},
        send_names::SendNames,
    },
};

/// Carries out leases.
#[derive(Debug)]
pub struct Sender(Arc<Means>);

/// What leases are carried out with. Shared with their tasks, which outlive the connection that asked.
#[derive(Debug)]
pub(crate) struct Means {
    settings: RwLock<Arc<Settings>>,
    pub(crate) dns: Dns,
    pub(crate) policies: Policies,
    pub(crate) pool: Pool,
    pub(crate) levels: Levels,
    recent: Recent,
    turns: Semaphore,
}

impl Sender {
    /// `dns` answers questions about names.
    pub fn new(settings: Settings, dns: Client<SendNames>) -> Self {
        Self(Arc::new(Means {
            settings: RwLock::new(Arc::new(settings)),
            dns: Dns::new(dns),
            policies: Policies::new(),
            pool: Pool::default(),
            levels: Levels::new(),
            recent: Recent::default(),
            turns: Semaphore::new(MAX_LEASES),
        }))
    }

    /// Uses other settings from the next lease on.
    pub fn reload(&self, settings: Settings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.0.pool.clear();
    }

    /// Begins no other lease, and waits until those that are under way have been reported, at most [`DRAIN`]: what is cut off after
    /// its last byte would be sent twice.
    pub async fn drain(&self) {
        // New leases stand behind this in the line.
        let all = u32::try_from(MAX_LEASES).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(DRAIN, self.0.turns.acquire_many(all)).await;
        tokio::time::sleep(LAST_REPORTS).await;
    }

    async fn deliver(&self, lease: Box<Lease>, fds: Vec<OwnedFd>) -> Result<Report, Error> {
        let settings = self.0.settings();
        let mut fds = fds.into_iter();
        let (Some(fd), None) = (fds.next(), fds.next()) else { return Err(Error::Malformed("not one descriptor")) };
        let sealed = SealedMessage::from_fd(fd, settings.max_message.saturating_add(PREFIX)).map_err(|error| {
            tracing::warn!(%error, "not a sealed message");
            Error::Malformed("not a sealed message")
        })?;
        let (means, waiting) = (self.0.clone(), Waiting::default());
        let asker = waiting.asker();
        // A task of its own: this future is dropped with the queue's connection, and an answer that is due must be heard all the same.
        let result = tokio::spawn(async move { means.carry_out(*lease, sealed, &asker).await }).await;
        drop(waiting);
        result.unwrap_or(Err(Error::Refused))
    }
}

impl Means {
    fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn carry_out(&self, mut lease: Lease, sealed: SealedMessage, asker: &Asker) -> Result<Report, Error> {
        let (claim, mut outcomes) = self.recent.claim(&lease).await;
        let all = std::mem::take(&mut lease.recipients);
        let open: Vec<LeaseRecipient> = all.iter().filter(|r| !outcomes.contains_key(&r.number)).cloned().collect();
        if open.len() < all.len() {
            tracing::info!(MESSAGE = %lease.id, known = outcomes.len(), "the queue has not heard what became of a delivery: told again");
        }
        let mut tls = List::default();
        if !open.is_empty() {
            lease.recipients = List::new(open).unwrap_or_default();
            let turn = tokio::time::timeout(TURN, self.turns.acquire()).await;
            let Ok(Ok(_turn)) = turn else { return Err(Error::Refused) };
            let report = self.attempt(&lease, sealed, asker).await;
            tls = report.tls;
            outcomes.extend(report.results.into_vec());
        }
        claim.finish(outcomes.clone());
        // As many as the lease has, which is a list of the same length; the queue tries what it hears nothing of again.
        let results = all.iter().filter_map(|r| Some((r.number, outcomes.remove(&r.number)?)));
        Ok(Report { results: List::new(results.collect()).unwrap_or_default(), tls })
    }

    async fn attempt(&self, lease: &Lease, sealed: SealedMessage, asker: &Asker) -> Report {
        let settings = self.settings();
        let message = Message::new(lease.prefix.to_vec(), sealed);
        let mut attempt = Attempt::new(lease, asker);
        let mut way = Way::new(self, &settings, &mut attempt, &message);
        let in_time = tokio::time::timeout(settings.limits.lease, Box::pin(way.go())).await.is_ok();
        let why = if in_time { "no host could be tried" } else { "delivery took too long and was broken off" };
        let report = attempt.finish(why);
        log(lease, &report);
        report
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
            Request::Deliver(lease) => Response::Report(Box::new(self.deliver(lease, fds).await?)),
            Request::Known { id, numbers } if fds.is_empty() => {
                let results = List::new(self.0.recent.known(id, &numbers)).unwrap_or_default();
                Response::Report(Box::new(Report { results, tls: List::default() }))
            }
            Request::ReportTo(domain) if fds.is_empty() => self.0.report_to(&domain).await,
            Request::Known { .. } | Request::ReportTo(_) => return Err(Error::Malformed("a descriptor where none may be")),
        }))
    }
}

fn log(lease: &Lease, report: &Report) {
    for (number, outcome) in &report.results {
        let Some(recipient) = lease.recipients.iter().find(|r| r.number == *number) else { continue };
        let (word, trace) = match outcome {
            Outcome::Delivered { trace, .. } => ("delivered", Some(trace)),
            Outcome::Failed(trace) => ("failed", Some(trace)),
            Outcome::Deferred(trace) => ("deferred", Some(trace)),
            Outcome::NeedsSevenBit => ("needs seven bits", None),
            Outcome::Again => ("to be tried again", None),
        };
        let remote = trace.and_then(|t| t.remote.as_ref());
        tracing::info!(
            MESSAGE = %lease.id,
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
