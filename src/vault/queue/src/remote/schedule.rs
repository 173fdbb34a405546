//! Which destination is worked on, and by how many leases at a time.

use super::{Outbound, Working, breaker, breaker::Contact, lease::Sender, verdict::millis};
use crate::{
    limits::{MAX_DESTINATIONS, MAX_POLL},
    settings,
    spool::{
        Op,
        outgoing::{Circuit, Due, Outgoing, Which},
    },
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::task::JoinSet;
use wire::edge::send_deliver::Route;

/// How long to leave a full disk alone, and how long to wait for room in memory before looking again.
const PAUSE: Duration = Duration::from_secs(1);
/// In milliseconds: in it `messages_per_minute` are sent, at least one.
const MINUTE: i64 = 60_000;
/// Messages that are late or over and looked at in one go.
const SWEEP: usize = 32;

/// Starts a task for every destination that comes due.
pub(crate) async fn dispatch(sender: Arc<Sender>, outbound: Arc<Outbound>) {
    if sender.settings.send.paused {
        tracing::warn!("sending is paused by the configuration");
        return;
    }
    // Ended with this one.
    let mut tasks: JoinSet<()> = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let free = if outbound.is_closing() { 0 } else { MAX_DESTINATIONS.saturating_sub(outbound.working()) };
        let now = sender.clock.now();
        let mut wait = MAX_POLL;
        if free > 0 {
            let Some(found) = sender.spool.ask(|answer| Op::Dispatch { now, limit: free, answer }).await else {
                if sender.spool.inbox.has_ended() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let full = found.due.len() >= free;
            for Due { name, circuit } in found.due {
                match settings::route(&name) {
                    Some(route) => {
                        let working = outbound.enter(&name);
                        tasks.spawn(Task { sender: sender.clone(), route, circuit, working, next_start: 0 }.run());
                    }
                    None => tracing::error!(destination = name, "no destination"),
                }
            }
            if let Some(next) = found.next.filter(|_| !full) {
                wait = until(next, now);
            }
        }
        let _ = tokio::time::timeout(wait, outbound.due.notified()).await;
    }
}

fn until(next: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(next.saturating_sub(now)).unwrap_or(0)).clamp(Duration::from_millis(10), MAX_POLL)
}

/// The work on one destination.
struct Task {
    sender: Arc<Sender>,
    route: Route,
    circuit: Circuit,
    working: Working,
    /// When the next lease may start, with a limit per minute.
    next_start: i64,
}

impl Task {
    async fn run(mut self) {
        let mut running: JoinSet<Contact> = JoinSet::new();
        loop {
            if self.working.outbound.is_closing() {
                // What is under way is reported; the next start leases the rest.
                while running.join_next().await.is_some() {}
                return;
            }
            if self.working.poke.reset.swap(false, Ordering::Relaxed) {
                self.circuit = Circuit::default();
            }
            let now = self.sender.clock.now();
            // No interval is longer; a clock that went back does not make it so.
            self.next_start = self.next_start.min(now.saturating_add(MINUTE));
            let mut wait = MAX_POLL;
            let allowed = self.allowed(now, running.len());
            let mut idle = allowed == 0 && running.is_empty() && self.next_start <= now;
            if allowed > 0 {
                let Some(taken) = self.take(Which::Due, now, allowed).await else {
                    if self.sender.spool.inbox.has_ended() {
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let (leases, starved) = taken;
                idle = leases.is_empty() && running.is_empty() && !starved;
                let full = leases.len() >= allowed;
                self.started(now, leases.len());
                for lease in leases {
                    let (sender, route) = (self.sender.clone(), self.route.clone());
                    running.spawn(async move { sender.deliver(lease, route).await });
                }
                if starved && running.is_empty() {
                    if let Some(deadline) = tokio::time::Instant::now().checked_add(PAUSE) {
                        self.working.outbound.budget.freed(deadline).await;
                    }
                    continue;
                }
                if full && self.allowed(now, running.len()) > 0 {
                    continue;
                }
            }
            if idle {
                if self.circuit.failures >= breaker::OPENS_AFTER {
                    self.sweep(now).await;
                }
                let circuit = self.circuit.clone();
                let name = self.working.name.clone();
                match self.sender.spool.ask(|answer| Op::Rest { name, now, circuit, answer }).await {
                    Some(true) => return,
                    Some(false) => continue,
                    None if self.sender.spool.inbox.has_ended() => return,
                    None => tokio::time::sleep(PAUSE).await,
                }
            }
            if self.next_start > now {
                wait = until(self.next_start, now);
            }
            tokio::select! {
                Some(ended) = running.join_next() => self.ended(ended.unwrap_or(Contact::Untried)),
                () = self.working.poke.more.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// How many leases may start now.
    fn allowed(&self, now: i64, running: usize) -> usize {
        let config = &self.sender.settings.send;
        let most = usize::try_from(config.connections_per_destination.max(1)).unwrap_or(1);
        let allowed = breaker::allows(&self.circuit, now, running, most);
        match config.messages_per_minute {
            Some(_) if now < self.next_start => 0,
            Some(_) => allowed.min(1),
            None => allowed,
        }
    }

    fn started(&mut self, now: i64, leases: usize) {
        if let Some(rate) = self.sender.settings.send.messages_per_minute.filter(|_| leases > 0) {
            self.next_start = now.saturating_add(MINUTE.checked_div(i64::from(rate)).unwrap_or(MINUTE));
        }
    }

    fn ended(&mut self, contact: Contact) {
        let was_open = self.circuit.failures >= breaker::OPENS_AFTER;
        breaker::note(&mut self.circuit, contact, self.sender.clock.now(), (self.sender.random)());
        let open = self.circuit.failures >= breaker::OPENS_AFTER;
        if open != was_open {
            let reason = self.circuit.last.as_ref().map(|trace| trace.text.as_str());
            tracing::warn!(destination = self.working.name, open, reason, "whether mail for a destination waits");
        }
    }

    async fn take(&self, which: Which, now: i64, limit: usize) -> Option<(Vec<Outgoing>, bool)> {
        let name = self.working.name.clone();
        let taken = self.sender.spool.ask(|answer| Op::Take { name, now, which, limit, answer }).await?;
        Some((taken.leases, taken.starved))
    }

    /// While nothing is tried: mail whose time is over fails, and senders hear of the delay.
    async fn sweep(&self, now: i64) {
        let Some(trace) = self.circuit.last.clone() else { return };
        let config = &self.sender.settings.send;
        let late = config.warn_after.map_or(i64::MIN, |after| now.saturating_sub(millis(after)));
        let which = Which::Overdue { expired: now.saturating_sub(millis(config.expire)), late };
        while let Some((leases, _)) = self.take(which, now, SWEEP).await {
            if leases.is_empty() {
                return;
            }
            for lease in leases {
                self.sender.overdue(lease, &trace).await;
            }
        }
    }
}
