//! One message to one destination, and what became of it.

use super::{
    breaker,
    breaker::Contact,
    verdict::{self, Times, Verdict, local},
};
use crate::{
    Clock, Random,
    ask::{Scanner, SevenBit},
    dsn::{Action, Told},
    post::{Original, Post, Unavailable},
    settings::Settings,
    spool::{
        Body as Kept, Op, Record, Settled, Spool,
        outgoing::{Fate, Outgoing, Todo},
    },
    trace,
};
use pure_addr::{Domain, ReversePath};
use serde_bytes::ByteBuf;
use std::{collections::HashMap, os::fd::AsFd, sync::Arc, time::Duration};
use tokio::sync::oneshot;
use wire::{
    Client, List, SealedMessage,
    edge::{
        auth_directory::Target,
        keys_dkim::KeysDkim,
        mail::Body,
        send_deliver::{Lease, LeaseRecipient, Outcome, Request, Response, Route, SendDeliver, Status, TlsResult, Trace},
    },
};

/// How long `send` may take to say what it knows; it has it in memory.
const KNOWN_PATIENCE: Duration = Duration::from_secs(5);
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Everything that sending needs.
pub(crate) struct Sender {
    pub(crate) send: Client<SendDeliver>,
    pub(crate) keys: Client<KeysDkim>,
    pub(crate) scan: Arc<Scanner>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) post: Arc<Post>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    pub(crate) hostname: Domain,
}

/// What was said about a lease: of each recipient, or why nobody was asked.
type Answers = Result<(HashMap<u32, Outcome>, Vec<TlsResult>), Trace>;

impl Sender {
    /// Offers a message to `send` and notes what became of it.
    pub(super) async fn deliver(&self, out: Outgoing, route: Route) -> Contact {
        let message = self.body(&out).await;
        let answers = match &message {
            Some(message) => self.attempt(&out, message, route).await,
            None => Err(local(Status(4, 3, 0), "the message cannot be read from the spool")),
        };
        let (times, contact, tls);
        let mut verdicts = Vec::with_capacity(out.todo.len());
        match answers {
            Ok((mut outcomes, results)) => {
                // Each lease has fewer recipients than the one before, or it has an interval behind it, whatever send says.
                let some_are_done = out.todo.iter().any(|t| matches!(outcomes.get(&t.number), Some(Outcome::Delivered { .. })));
                outcomes.retain(|_, outcome| some_are_done || *outcome != Outcome::Again);
                contact = breaker::contact(outcomes.values());
                tls = results;
                times = Times::new(&self.settings.send, out.received_at, self.clock.now());
                for todo in &out.todo {
                    let notify = notify(&out.record, todo.number);
                    // What send forgot is tried again.
                    let outcome = outcomes
                        .remove(&todo.number)
                        .unwrap_or_else(|| Outcome::Deferred(local(Status(4, 3, 0), "no result was reported")));
                    verdicts.push((todo, verdict::after(outcome, todo, notify, times, (self.random)())));
                }
            }
            Err(trace) => {
                (contact, tls) = (Contact::Untried, Vec::new());
                times = Times::new(&self.settings.send, out.received_at, self.clock.now());
                for todo in &out.todo {
                    verdicts.push((todo, verdict::untried(trace.clone(), todo, notify(&out.record, todo.number), times, (self.random)())));
                }
            }
        }
        self.settle(&out, message.as_deref(), verdicts, times, tls).await;
        contact
    }

    /// A message that is late or over while its destination is not tried.
    pub(super) async fn overdue(&self, out: Outgoing, trace: &Trace) {
        let message = self.body(&out).await;
        let times = Times::new(&self.settings.send, out.received_at, self.clock.now());
        let verdicts =
            out.todo.iter().map(|todo| (todo, verdict::overdue(trace.clone(), todo, notify(&out.record, todo.number), times))).collect();
        self.settle(&out, message.as_deref(), verdicts, times, Vec::new()).await;
    }

    async fn attempt(&self, out: &Outgoing, message: &Arc<SealedMessage>, route: Route) -> Answers {
        let mut outcomes = if out.again { self.known(out).await } else { HashMap::new() };
        let todo: Vec<Todo> = out.todo.iter().filter(|t| !outcomes.contains_key(&t.number)).cloned().collect();
        if todo.is_empty() {
            return Ok((outcomes, Vec::new()));
        }
        let mut tls = match self.offer(out, message, route.clone(), out.record.envelope.body, &todo).await {
            Ok((results, tls)) => {
                outcomes.extend(results);
                tls
            }
            Err(trace) if outcomes.is_empty() => return Err(trace),
            Err(trace) => {
                outcomes.extend(todo.iter().map(|t| (t.number, Outcome::Deferred(trace.clone()))));
                return Ok((outcomes, Vec::new()));
            }
        };
        let again: Vec<Todo> =
            out.todo.iter().filter(|t| matches!(outcomes.get(&t.number), Some(Outcome::NeedsSevenBit))).cloned().collect();
        if again.is_empty() {
            return Ok((outcomes, tls));
        }
        match self.scan.seven_bit(message).await {
            SevenBit::Converted(converted) => match self.offer(out, &Arc::new(converted), route, Body::SevenBit, &again).await {
                Ok((results, more)) => {
                    outcomes.extend(results);
                    tls.extend(more);
                }
                Err(trace) => outcomes.extend(again.iter().map(|t| (t.number, Outcome::Deferred(trace.clone())))),
            },
            // RFC 6152 3: no conversion, no delivery. The verdict says so.
            SevenBit::Impossible => {}
            SevenBit::Unavailable => {
                let trace = local(Status(4, 3, 0), "the message cannot be converted to seven bits now");
                outcomes.extend(again.iter().map(|t| (t.number, Outcome::Deferred(trace.clone()))));
            }
        }
        Ok((outcomes, tls))
    }

    /// What was delivered for a queue that ended before it heard. Asked before anything is read or signed, which takes long for many:
    /// as long as only `send` knows, its end makes second copies.
    async fn known(&self, out: &Outgoing) -> HashMap<u32, Outcome> {
        let numbers = List::new(out.todo.iter().map(|t| t.number).collect()).unwrap_or_default();
        match self.send.call_within(KNOWN_PATIENCE, &Request::Known { id: out.id, numbers }, &[]).await.map(|reply| reply.body) {
            Ok(Response::Report(report)) => {
                let results = report.results.into_vec().into_iter();
                results.filter(|(number, _)| out.todo.iter().any(|t| t.number == *number)).collect()
            }
            // A process that was started anew knows nothing either.
            Ok(Response::ReportTo(_)) | Err(_) => HashMap::new(),
        }
    }

    /// One lease.
    async fn offer(&self, out: &Outgoing, message: &Arc<SealedMessage>, route: Route, body: Body, todo: &[Todo]) -> Answers {
        let record = &out.record;
        let first = todo.first().and_then(|t| record.destination(t.number));
        let prefix = trace::outgoing(out.id, record, out.received_at, first, &self.hostname);
        let prefix = self.sign(record, message, prefix).await?;
        let alias = first.filter(|d| d.forwarded).and_then(|d| record.address(d));
        let prefix = self.seal(record, alias, message, prefix).await?;
        let recipients: Vec<LeaseRecipient> = todo.iter().filter_map(|t| recipient(record, t.number)).collect();
        let envelope = &record.envelope;
        let reverse_path = match first.and_then(|d| d.rewritten.clone()) {
            Some(rewritten) => ReversePath::Address(rewritten),
            None => envelope.reverse_path.clone(),
        };
        let smtputf8 =
            envelope.smtputf8 || reverse_path.address().is_some_and(|a| !a.is_ascii()) || recipients.iter().any(|r| !r.address.is_ascii());
        let lease = Lease {
            id: out.id,
            route: route.clone(),
            reverse_path,
            smtputf8,
            body,
            ret: envelope.ret,
            envid: envelope.envid.clone(),
            require_tls: envelope.require_tls,
            // RFC 8689 4.1: who requires it has the last word.
            tls_optional: record.tls_optional && !envelope.require_tls,
            recipients: List::new(recipients).unwrap_or_default(),
            prefix: ByteBuf::from(prefix),
        };
        match self.send.call(&Request::Deliver(Box::new(lease)), &[message.as_fd()]).await.map(|reply| reply.body) {
            Ok(Response::Report(report)) => {
                let mut tls = report.tls.into_vec();
                // A process that is not trusted must not make us report about others.
                tls.retain(|result| matches!(&route, Route::Direct(domain) if *domain == result.domain));
                Ok((report.results.into_vec().into_iter().collect(), tls))
            }
            Ok(Response::ReportTo(_)) => {
                tracing::error!(MESSAGE = %out.id, "send answered another question");
                Err(local(Status(4, 3, 0), "the delivery was not reported"))
            }
            Err(error) => {
                tracing::warn!(MESSAGE = %out.id, %error, "a delivery ended without a report; it is offered again");
                Err(local(Status(4, 3, 0), "the process that sends is not available"))
            }
        }
    }

    /// Notes the verdicts, in one transaction with what the sender is told.
    async fn settle(
        &self,
        out: &Outgoing,
        message: Option<&SealedMessage>,
        mut verdicts: Vec<(&Todo, Verdict)>,
        times: Times,
        tls: Vec<TlsResult>,
    ) {
        for (todo, verdict) in &verdicts {
            self.log(out, todo, verdict);
        }
        let told: Vec<Told<'_>> = verdicts
            .iter()
            .filter_map(|(todo, verdict)| {
                let (action, trace) = verdict.tell.clone()?;
                let recipient = out.record.recipient(out.record.destination(todo.number)?)?;
                Some(Told { recipient, action, trace })
            })
            .collect();
        let original = Original { id: out.id, record: &out.record, received_at: out.received_at, message };
        let own = match self.post.report(original, told).await {
            Ok(own) => own,
            // Whoever cannot be told of a failure now is not done.
            Err(Unavailable) => {
                for (todo, verdict) in &mut verdicts {
                    if let Some((Action::Failed, _)) = verdict.tell {
                        let next = times.now.saturating_add(crate::backoff::spread(60_000, (self.random)()));
                        let tries = crate::spool::outgoing::encode(&todo.tries);
                        verdict.fate = Fate::Waits { next, attempts: todo.attempts, warned: todo.warned, tries };
                    } else if let Fate::Waits { warned, .. } = &mut verdict.fate {
                        *warned = todo.warned;
                    }
                }
                Vec::new()
            }
        };
        let (answer, settled) = oneshot::channel();
        self.spool.push(Op::Settle(Box::new(Settled {
            id: out.id,
            total: out.record.total(),
            file: matches!(out.body, Kept::File(_)),
            fates: verdicts.into_iter().map(|(todo, verdict)| (todo.number, verdict.fate)).collect(),
            own,
            now: times.now,
            tls: (times.now.div_euclid(DAY), tls),
            answer,
        })));
        // Dropped when the writer has ended: the next start goes on with what is on disk.
        let _ = settled.await;
    }

    fn log(&self, out: &Outgoing, todo: &Todo, verdict: &Verdict) {
        let (session, number) = (out.record.envelope.session, todo.number);
        let told = verdict.tell.as_ref().map(|(action, _)| tracing::field::debug(*action));
        match &verdict.fate {
            Fate::Done => tracing::info!(MESSAGE = %out.id, %session, number, told, "a delivery to elsewhere has ended"),
            Fate::Waits { next, attempts, .. } => {
                tracing::info!(MESSAGE = %out.id, %session, number, attempts, next, told, "a delivery to elsewhere waits");
            }
        }
    }

    async fn body(&self, out: &Outgoing) -> Option<Arc<SealedMessage>> {
        match &out.body {
            Kept::Sealed(message) => Some(message.clone()),
            Kept::File(size) => {
                let (files, id, size) = (self.spool.files.clone(), out.id, *size);
                match tokio::task::spawn_blocking(move || files.read(id, size)).await.ok()? {
                    Ok(message) => Some(Arc::new(message)),
                    Err(error) => {
                        tracing::error!(MESSAGE = %out.id, %error, "the body cannot be read from the spool");
                        None
                    }
                }
            }
        }
    }
}

fn notify(record: &Record, number: u32) -> Option<wire::edge::mail::Notify> {
    record.recipient(record.destination(number)?)?.notify
}

fn recipient(record: &Record, number: u32) -> Option<LeaseRecipient> {
    let destination = record.destination(number)?;
    let given = record.recipient(destination)?;
    let Target::Remote(address) = &destination.target else { return None };
    // RFC 3461 5.2.7.1: whom the sender named is not forgotten when an alias leads on.
    let orcpt = given.orcpt.clone().or_else(|| {
        let text = destination.forwarded.then(|| given.address.to_string())?;
        Some((pure_addr::Text::new("rfc822").ok()?, pure_addr::Text::new(text).ok()?))
    });
    Some(LeaseRecipient { number, address: address.clone(), notify: given.notify, orcpt })
}
