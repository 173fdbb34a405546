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
use tokio::time::Instant;
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

#[derive(Debug)]
struct Kept {
    until: Instant,
    key: Key,
    idle: Idle,
}

#[derive(Debug, Default)]
struct State {
    kept: Vec<Kept>,
    /// A task ends those whose time is over: one for all, not one for each message.
    watched: bool,
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
                let at = state.kept.iter().position(|kept| kept.key == *key)?;
                state.kept.swap_remove(at).idle
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
        // A time beyond all time is none: such a connection is not kept at all.
        let until = Instant::now().checked_add(patience);
        let watch = {
            let mut state = self.state();
            match until.filter(|_| state.kept.len() < MAX_IDLE) {
                Some(until) => state.kept.push(Kept { until, key, idle }),
                None => {
                    drop(state);
                    tokio::spawn(idle.session.quit());
                    return;
                }
            }
            !std::mem::replace(&mut state.watched, true)
        };
        if watch {
            tokio::spawn(self.clone().watch());
        }
    }

    /// Ends what was kept for long enough, until nothing is kept.
    async fn watch(self) {
        loop {
            let now = Instant::now();
            let (over, next) = {
                let mut state = self.state();
                let over: Vec<Kept> = state.kept.extract_if(.., |kept| kept.until <= now).collect();
                let next = state.kept.iter().map(|kept| kept.until).min();
                state.watched = next.is_some();
                (over, next)
            };
            for kept in over {
                tokio::spawn(kept.idle.session.quit());
            }
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => return,
            }
        }
    }

    /// Ends all of them: the settings have changed.
    pub(crate) fn clear(&self) {
        for kept in self.state().kept.drain(..) {
            tokio::spawn(kept.idle.session.quit());
        }
    }
}
