//! The fake of send: says what a script says, and remembers what it was given.

use super::{Gate, soon};
use pure_addr::{Address, Text};
use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};
use tokio::sync::watch;
use wire::{
    Error, List, Reply, SealedMessage, Service,
    edge::{
        mail::QueueId,
        send_deliver::{self, Lease, Outcome, Report, SendDeliver, Status, TlsResult, Trace},
    },
};

/// Says what a script says, and remembers what it was given.
pub struct Send {
    /// What becomes of mail for an address, the next first; the last one stays. Without any it is delivered.
    pub script: Mutex<HashMap<String, Vec<Outcome>>>,
    /// What becomes of mail for a domain that has no script for the address.
    pub domains: Mutex<HashMap<String, Outcome>>,
    /// Leases with the whole text of their messages.
    pub leases: Mutex<Vec<(Lease, String)>>,
    /// Recipients that were delivered to.
    pub delivered: Mutex<Vec<(QueueId, u32, Address)>>,
    /// A recipient that was delivered to is not again: a remote that knows the message's number.
    pub remembers: Mutex<bool>,
    pub tls: Mutex<Vec<TlsResult>>,
    pub report_to: Mutex<Option<Vec<Address>>>,
    /// The connection ends instead of an answer.
    pub dying: Mutex<bool>,
    /// What every lease is answered with, whatever it was about.
    pub lies: Mutex<Option<Vec<(u32, Outcome)>>>,
    pub gate: Gate,
    pub asked: watch::Sender<u64>,
    pub answered: watch::Sender<u64>,
}

pub fn trace(status: Status, reply: Option<&str>) -> Trace {
    Trace { status, reply: reply.map(|r| Text::new(r).unwrap()), text: Text::new("said the script").unwrap(), remote: None }
}

pub fn refused() -> Outcome {
    Outcome::Failed(trace(Status(5, 1, 1), Some("550 5.1.1 no such user")))
}

pub fn later() -> Outcome {
    Outcome::Deferred(trace(Status(4, 2, 1), Some("451 4.2.1 later")))
}

pub fn unreachable() -> Outcome {
    Outcome::Deferred(trace(Status(4, 4, 1), None))
}

pub fn taken(dsn: bool) -> Outcome {
    Outcome::Delivered { dsn, trace: trace(Status(2, 0, 0), Some("250 2.0.0 OK")) }
}

impl Send {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::default(),
            domains: Mutex::default(),
            leases: Mutex::default(),
            delivered: Mutex::default(),
            remembers: Mutex::new(false),
            tls: Mutex::default(),
            report_to: Mutex::new(Some(Vec::new())),
            dying: Mutex::new(false),
            lies: Mutex::new(None),
            gate: Gate::new(),
            asked: watch::Sender::new(0),
            answered: watch::Sender::new(0),
        })
    }

    pub fn says(&self, to: &str, outcomes: &[Outcome]) {
        self.script.lock().unwrap().insert(to.into(), outcomes.to_vec());
    }

    pub fn domain(&self, domain: &str, outcome: Option<Outcome>) {
        match outcome {
            Some(outcome) => self.domains.lock().unwrap().insert(domain.into(), outcome),
            None => self.domains.lock().unwrap().remove(domain),
        };
    }

    fn outcome(&self, address: &Address) -> Outcome {
        let mut script = self.script.lock().unwrap();
        match script.get_mut(&address.key()) {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None => self.domains.lock().unwrap().get(address.domain.as_str()).cloned().unwrap_or_else(|| taken(false)),
        }
    }

    /// Waits until so many leases were answered.
    pub async fn has_answered(&self, n: u64) {
        soon("leases", self.answered.subscribe().wait_for(|have| *have >= n)).await.unwrap();
    }

    pub fn lease(&self, n: usize) -> (Lease, String) {
        self.leases.lock().unwrap()[n].clone()
    }

    pub fn copies(&self, to: &str) -> usize {
        self.delivered.lock().unwrap().iter().filter(|(_, _, a)| a.key() == to).count()
    }
}

impl Service<SendDeliver> for Send {
    async fn call(&self, request: send_deliver::Request, fds: Vec<OwnedFd>) -> Result<Reply<SendDeliver>, Error> {
        let lease = match request {
            send_deliver::Request::ReportTo(_) => {
                let to = self.report_to.lock().unwrap().clone();
                return Ok(Reply::new(send_deliver::Response::ReportTo(to.map(|to| List::new(to).unwrap()))));
            }
            send_deliver::Request::Known { id, numbers } => {
                let remembers = *self.remembers.lock().unwrap();
                let delivered = self.delivered.lock().unwrap();
                let known = |number: &&u32| remembers && delivered.iter().any(|(i, n, _)| (i, n) == (&id, *number));
                let results = numbers.iter().filter(known).map(|number| (*number, taken(false))).collect();
                let report = Report { results: List::new(results).unwrap(), tls: List::default() };
                return Ok(Reply::new(send_deliver::Response::Report(Box::new(report))));
            }
            send_deliver::Request::Deliver(lease) => *lease,
        };
        let message = SealedMessage::from_fd(fds.into_iter().next().unwrap(), 1 << 30).unwrap();
        let mut text = lease.prefix.to_vec();
        text.extend(message.read_all()?);
        self.leases.lock().unwrap().push((lease.clone(), String::from_utf8_lossy(&text).into_owned()));
        self.asked.send_modify(|n| *n += 1);
        self.gate.pass().await;
        if *self.dying.lock().unwrap() {
            return Err(Error::Malformed("the script ends it"));
        }
        let mut results = self.lies.lock().unwrap().clone().unwrap_or_default();
        let honest = results.is_empty();
        for recipient in lease.recipients.iter().filter(|_| honest) {
            let id = (lease.id, recipient.number, recipient.address.clone());
            let known = *self.remembers.lock().unwrap() && self.delivered.lock().unwrap().contains(&id);
            let outcome = if known { taken(false) } else { self.outcome(&recipient.address) };
            if matches!(outcome, Outcome::Delivered { .. }) && !known {
                self.delivered.lock().unwrap().push(id);
            }
            results.push((recipient.number, outcome));
        }
        self.answered.send_modify(|n| *n += 1);
        let tls = List::new(self.tls.lock().unwrap().clone()).unwrap();
        Ok(Reply::new(send_deliver::Response::Report(Box::new(Report { results: List::new(results).unwrap(), tls }))))
    }
}
