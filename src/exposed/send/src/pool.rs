//! Connections that have no work for a moment.

use crate::{
    limits::{MAX_IDLE, MAX_MESSAGES},
    session::Session,
};
use pure_addr::Domain;
use pure_tlspolicy::Requirement;
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use wire::edge::send_deliver::Route;

/// What a connection is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) route: Route,
    pub(crate) host: Domain,
    pub(crate) requirement: Requirement,
}

/// A session, and to which address.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) session: Session,
    pub(crate) address: IpAddr,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    idle: Vec<(u64, Key, Idle)>,
}

/// See the module.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pool(Arc<Mutex<State>>);

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to the same host under the same conditions that is still alive.
    pub(crate) async fn take(&self, key: &Key) -> Option<Idle> {
        loop {
            let mut found = {
                let mut state = self.state();
                let at = state.idle.iter().position(|(_, k, _)| k == key)?;
                state.idle.swap_remove(at).2
            };
            if found.session.is_quiet().await {
                return Some(found);
            }
        }
    }

    /// Keeps a connection for `patience`, or ends it when it has done enough.
    pub(crate) fn keep(&self, key: Key, idle: Idle, patience: Duration) {
        if !idle.session.is_ready() || idle.session.messages >= MAX_MESSAGES || patience.is_zero() {
            tokio::spawn(idle.session.quit());
            return;
        }
        let number = {
            let mut state = self.state();
            if state.idle.len() >= MAX_IDLE {
                drop(state);
                tokio::spawn(idle.session.quit());
                return;
            }
            let number = state.next;
            state.next = number.wrapping_add(1);
            state.idle.push((number, key, idle));
            number
        };
        let pool = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            let expired = {
                let mut state = pool.state();
                let at = state.idle.iter().position(|(n, _, _)| *n == number);
                at.map(|at| state.idle.swap_remove(at).2)
            };
            if let Some(expired) = expired {
                expired.session.quit().await;
            }
        });
    }

    /// Ends all of them: the settings have changed.
    pub(crate) fn clear(&self) {
        for (_, _, idle) in self.state().idle.drain(..) {
            tokio::spawn(idle.session.quit());
        }
    }
}
