//! Auth's edge: a socket good for one account, until auth says that it is not.

use crate::{
    cell::Listener,
    limits::{MAX_SESSIONS, MAX_SESSIONS_PER_ACCOUNT},
    session::{self, Ticket},
    store::Store,
};
use std::{
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
};
use wire::{
    Conn, Error, Reply, Service,
    edge::store_grant::{Request, Response, StoreGrant},
};

/// The service behind auth's connection.
#[derive(Debug)]
pub struct Grant(pub Arc<Store>);

impl Service<StoreGrant> for Grant {
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply<StoreGrant>, Error> {
        if !fds.is_empty() {
            return Err(Error::Malformed("a descriptor with a request for one"));
        }
        let store = &self.0;
        let (owner, session) = match request {
            Request::Session { owner, session } => (owner, session),
            Request::End(account) => {
                let ended = store.end_sessions(account);
                tracing::info!(%account, ended, "sessions ended by auth");
                return Ok(Reply::new(Response::Ended));
            }
        };
        let cell = store.cell(owner.account);
        let listener = Arc::new(Listener::default());
        // Counted before the limits are looked at, so that none slips through; given back when the ticket is dropped.
        let of_account = cell.listen(&listener);
        let in_all = store.sessions.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket { store: store.clone(), cell, listener };
        if of_account > MAX_SESSIONS_PER_ACCOUNT || in_all >= MAX_SESSIONS {
            tracing::warn!(account = %owner.account, %session, "too many sessions");
            return Ok(Reply::new(Response::Busy));
        }
        let (ours, theirs) = Conn::pair()?;
        tracing::debug!(account = %owner.account, %session, "session granted");
        tokio::spawn(session::run(ticket, ours, owner.quota, session));
        Ok(Reply::with_fd(Response::Granted, theirs))
    }
}
