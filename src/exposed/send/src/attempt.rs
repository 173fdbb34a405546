//! One lease: every recipient gets exactly one outcome, whatever happens on the way and wherever the time runs out.
//!
//! A refusal for good is an outcome at once. Everything else leaves the recipient open for the next host, with the reason kept; who is
//! still open at the end is deferred for the last reason. After the end of the content no other host is tried for who was accepted:
//! the message may have been taken.
//!
//! An attempt ends early when somebody was delivered, for whom the rest must not hold up the report; and when the queue is gone, which
//! has nothing more completed for it.

use crate::{
    asker::Asker,
    limits::MAX_TRANSACTIONS,
    message::Message,
    outcome::{self, Peer, refused},
    session::{Session, Unsendable},
};
use pure_smtp::{
    Notify, OriginalRecipient, Recipient,
    client::{Class, Failure, Mail, Phase, ServerReply, Step, Unsuitable, Verdict},
};
use wire::{
    List,
    edge::{
        mail::Body,
        send_deliver::{Lease, Outcome, Report, Status, TlsResult, Trace},
    },
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) lease: &'a Lease,
    asker: &'a Asker,
    /// Somebody was delivered.
    delivered: bool,
    /// For whom others wait no longer in this attempt.
    cut_short: bool,
    outcomes: Vec<Option<Outcome>>,
    /// Why a recipient is not delivered yet.
    reasons: Vec<Option<Trace>>,
    /// Why a host took nothing, and whether every one so far refused for good.
    host: Option<(bool, Trace)>,
    tls: List<TlsResult, { wire::edge::send_deliver::MAX_TLS_RESULTS }>,
}

/// How a session served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// As far as it could.
    Used,
    /// It had died while it waited: nothing was tried.
    Stale,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(lease: &'a Lease, asker: &'a Asker) -> Self {
        let count = lease.recipients.len();
        Self {
            lease,
            asker,
            delivered: false,
            cut_short: false,
            outcomes: vec![None; count],
            reasons: vec![None; count],
            host: None,
            tls: List::default(),
        }
    }

    /// Whether anybody is left, and there is to be a further try in this attempt.
    pub(crate) fn goes_on(&mut self) -> bool {
        if !self.asker.waits() || self.outcomes.iter().all(Option::is_some) {
            return false;
        }
        self.cut_short |= self.delivered;
        !self.delivered
    }

    /// Nobody who is left can be delivered.
    pub(crate) fn fail_all(&mut self, trace: &Trace) {
        self.decide_all(|| Outcome::Failed(trace.clone()));
    }

    fn decide_all(&mut self, outcome: impl Fn() -> Outcome) {
        for open in self.outcomes.iter_mut().filter(|o| o.is_none()) {
            *open = Some(outcome());
        }
    }

    /// A host took nothing: `permanent` when it said so for good.
    pub(crate) fn host_failed(&mut self, permanent: bool, trace: Trace) {
        match &self.host {
            // One that may work later counts for more than all that never will.
            Some((false, _)) if permanent => {}
            _ => self.host = Some((permanent, trace)),
        }
    }

    pub(crate) fn negotiated(&mut self, result: TlsResult) {
        // More than fits is more than a report needs.
        let _ = self.tls.push(result);
    }

    /// The report. Whoever has no outcome is deferred, or offered again at once where others cut the attempt short; failed only when
    /// every host refused for good. When the queue is gone, nothing is said of them: the next one has them tried.
    pub(crate) fn finish(self, otherwise: &str) -> Report {
        let (outcomes, reasons, host) = (self.outcomes, self.reasons, self.host);
        let (waits, cut_short) = (self.asker.waits(), self.cut_short);
        let results = self.lease.recipients.iter().zip(outcomes).zip(reasons).filter_map(|((recipient, outcome), reason)| {
            let open = || match (reason, &host) {
                _ if cut_short => Outcome::Again,
                (Some(reason), _) => Outcome::Deferred(reason),
                (None, Some((true, trace))) => Outcome::Failed(trace.clone()),
                (None, Some((false, trace))) => Outcome::Deferred(trace.clone()),
                (None, None) => Outcome::Deferred(outcome::trace(Status(4, 4, 1), otherwise)),
            };
            let outcome = outcome.or_else(|| waits.then(open))?;
            Some((recipient.number, outcome))
        });
        // As many as the lease has, which is a list of the same length.
        Report { results: List::new(results.collect()).unwrap_or_default(), tls: self.tls }
    }

    /// Offers the message to whoever is open.
    pub(crate) async fn serve(&mut self, session: &mut Session, peer: &Peer, message: &Message, reused: bool) -> Served {
        let mut todo: Vec<usize> = self.outcomes.iter().enumerate().filter(|(_, o)| o.is_none()).map(|(at, _)| at).collect();
        for round in 0..MAX_TRANSACTIONS {
            if todo.is_empty() || !session.is_ready() {
                break;
            }
            if !self.goes_on() {
                return Served::Used;
            }
            let rest = todo.split_off(todo.len().min(session.recipients()));
            let mail = match self.mail(&todo, message) {
                Ok(mail) => mail,
                Err(unsendable) => {
                    self.unsendable(&unsendable, peer);
                    return Served::Used;
                }
            };
            let dsn = session.offers_dsn();
            // Whoever is offered now is offered again in this session only if the server asks for it.
            let again = match session.transaction(mail, message, self.asker).await {
                Err(unsuitable) => {
                    self.unsuitable(unsuitable, peer);
                    return Served::Used;
                }
                Ok(Err(unsendable)) => {
                    self.unsendable(&unsendable, peer);
                    return Served::Used;
                }
                Ok(Ok(Step::Done(verdicts))) => self.take(&todo, verdicts, dsn, peer, "ended the session"),
                Ok(Ok(Step::Failed(failure))) => {
                    let verdicts = session.abandon();
                    let untouched = verdicts.iter().all(|v| matches!(v, Verdict::Open | Verdict::Refused(Phase::Reset | Phase::Mail, _)));
                    let gone =
                        matches!(failure, Failure::Lost(Phase::Reset | Phase::Mail) | Failure::Closing(Phase::Reset | Phase::Mail, _));
                    if reused && round == 0 && untouched && gone {
                        return Served::Stale;
                    }
                    let (_, trace) = outcome::failed(peer, &failure);
                    self.take(&todo, verdicts, dsn, peer, trace.text.as_str());
                    for at in todo.iter().chain(&rest) {
                        self.keep_reason(*at, trace.clone());
                    }
                    return Served::Used;
                }
                Ok(Ok(Step::Read | Step::Handshake | Step::Ready | Step::Content)) => {
                    self.host_failed(false, peer.trace(Status(4, 3, 0), "the session is out of step"));
                    return Served::Used;
                }
            };
            todo = again;
            todo.extend(rest);
        }
        for at in todo {
            let text = "took only a part of the recipients; the rest is tried again later";
            self.keep_reason(at, peer.trace(Status(4, 5, 3), text));
        }
        Served::Used
    }

    /// Notes a reason if there is none from this or an earlier host.
    fn keep_reason(&mut self, at: usize, trace: Trace) {
        if let (Some(None), Some(reason @ None)) = (self.outcomes.get(at), self.reasons.get_mut(at)) {
            *reason = Some(trace);
        }
    }

    /// Takes the verdicts of one transaction; who is to be offered again in this session.
    fn take(&mut self, offered: &[usize], verdicts: Vec<Verdict>, dsn: bool, peer: &Peer, why: &str) -> Vec<usize> {
        let mut again = Vec::new();
        for (at, verdict) in offered.iter().zip(verdicts) {
            self.delivered |= matches!(verdict, Verdict::Delivered(_));
            let (outcome, reason) = match verdict {
                Verdict::Delivered(reply) => (Some(Outcome::Delivered { dsn, trace: peer.said(&reply, "accepted the message") }), None),
                Verdict::Refused(phase, reply) if is_permanent(phase, &reply) => {
                    (Some(Outcome::Failed(peer.said(&reply, refused(phase)))), None)
                }
                Verdict::Refused(phase, reply) => {
                    let mut trace = peer.said(&reply, refused(phase));
                    // 552 that is taken for 452 must not read like a failure.
                    trace.status.0 = 4;
                    (None, Some(trace))
                }
                Verdict::TooMany(_) => {
                    again.push(*at);
                    (None, None)
                }
                Verdict::Uncertain => {
                    let text = "the connection was lost after the message was sent, before it was answered: it may have been delivered";
                    tracing::warn!(MESSAGE = %self.lease.id, host = %peer.host, reason = why, text);
                    (Some(Outcome::Deferred(peer.trace(Status(4, 4, 2), text))), None)
                }
                Verdict::Open => (None, None),
            };
            if let (Some(slot), Some(outcome)) = (self.outcomes.get_mut(*at), outcome) {
                *slot = Some(outcome);
            }
            if let (Some(slot), Some(reason)) = (self.reasons.get_mut(*at), reason) {
                *slot = Some(reason);
            }
        }
        again
    }

    fn unsuitable(&mut self, unsuitable: Unsuitable, peer: &Peer) {
        match unsuitable {
            Unsuitable::TooLarge(limit) => {
                self.fail_all(&peer.trace(Status(5, 3, 4), &format!("takes messages of {limit} bytes at most, and this one is larger")));
            }
            Unsuitable::NoSmtpUtf8 => {
                let text = "takes no internationalised mail (SMTPUTF8), which an address or the header of this message needs";
                self.fail_all(&peer.trace(Status(5, 6, 7), text));
            }
            Unsuitable::NoEightBit => self.decide_all(|| Outcome::NeedsSevenBit),
            // RFC 8689 4.2.1: another host may offer it.
            Unsuitable::NoRequireTls => {
                self.host_failed(true, peer.trace(Status(5, 7, 30), "does not offer REQUIRETLS, which this message asks for"));
            }
            Unsuitable::NotReady => self.host_failed(false, peer.trace(Status(4, 3, 0), "the session is out of step")),
        }
    }

    /// The fault is the message's, or ours, or nobody wants it any more; the connection is dropped with the message half sent, which no server accepts.
    fn unsendable(&mut self, unsendable: &Unsendable, peer: &Peer) {
        match unsendable {
            Unsendable::Bare => {
                tracing::error!(MESSAGE = %self.lease.id, "the queue offers a message with bare CR, LF or NUL");
                self.fail_all(&peer.trace(Status(5, 6, 0), "the message has a bare CR, a bare LF or NUL and cannot be sent"));
            }
            Unsendable::Unwanted => {
                tracing::info!(MESSAGE = %self.lease.id, host = %peer.host, "the queue is gone: the message was not completed");
            }
            Unsendable::Unreadable(error) => {
                tracing::error!(MESSAGE = %self.lease.id, %error, "the message cannot be read");
                let trace = peer.trace(Status(4, 3, 0), "the message could not be read on our side");
                self.decide_all(|| Outcome::Deferred(trace.clone()));
            }
        }
    }

    fn mail(&self, todo: &[usize], message: &Message) -> Result<Mail, Unsendable> {
        let lease = self.lease;
        let body = match lease.body {
            // RFC 6152 3: never to a host without 8BITMIME, also when its author's program has not declared it.
            Body::SevenBit if message.is_eight_bit().map_err(Unsendable::Unreadable)? => pure_smtp::Body::EightBitMime,
            Body::SevenBit => pure_smtp::Body::SevenBit,
            Body::EightBitMime => pure_smtp::Body::EightBitMime,
            Body::BinaryMime => pure_smtp::Body::BinaryMime,
        };
        let notify = |n: wire::edge::mail::Notify| Notify { success: n.success, failure: n.failure, delay: n.delay };
        let recipients = todo.iter().filter_map(|at| lease.recipients.get(*at)).map(|recipient| Recipient {
            address: recipient.address.clone(),
            notify: recipient.notify.map(notify),
            original: recipient.orcpt.clone().map(|(kind, address)| OriginalRecipient { kind, address }),
        });
        Ok(Mail {
            reverse_path: lease.reverse_path.clone(),
            smtputf8: lease.smtputf8,
            body,
            ret: lease.ret.map(|ret| match ret {
                wire::edge::mail::Ret::Full => pure_smtp::Ret::Full,
                wire::edge::mail::Ret::Headers => pure_smtp::Ret::Headers,
            }),
            envid: lease.envid.clone(),
            require_tls: lease.require_tls,
            size: message.len(),
            recipients: recipients.collect(),
        })
    }
}

/// RFC 5321 4.5.3.1.10: a client treats 552 to RCPT as 452, unless the enhanced status says what it is about.
fn is_permanent(phase: Phase, reply: &ServerReply) -> bool {
    let too_many = phase == Phase::Rcpt && reply.code() == 552 && reply.stated_status().is_none();
    reply.class() == Class::Permanent && !too_many
}
