//! keys/tls, for each front end: certificates for everyone, signatures over what is built here.

use crate::{keyring::Keyring, limits::GRACE, statement::Statement};
use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::sync::watch;
use wire::{
    Error, Reply, Service,
    edge::keys_tls::{Handshakes, Request, Response},
};

/// The keys in use, and those they replaced for as long as handshakes begun with them may last.
pub(crate) struct Keys {
    current: watch::Sender<Arc<Keyring>>,
    replaced: Mutex<Option<(Arc<Keyring>, Instant)>>,
}

impl Keys {
    pub(crate) fn new(ring: Keyring) -> Self {
        Self { current: watch::Sender::new(Arc::new(ring)), replaced: Mutex::new(None) }
    }

    /// Puts another generation into use and tells everyone who waits for it. Connections in TLS do not notice.
    pub(crate) fn replace(&self, load: impl FnOnce(&Keyring) -> Keyring) {
        let old = self.current.borrow().clone();
        let new = Arc::new(load(&old));
        // Kept before the new ones can be seen: at no moment is a generation unknown that somebody may be using. The same
        // certificates with keys read again are the same generation, and need not be kept.
        if new.generation() != old.generation() {
            *self.replaced.lock().unwrap_or_else(PoisonError::into_inner) = Some((old, Instant::now()));
        }
        self.current.send_replace(new);
    }

    fn ring(&self, generation: u64, now: Instant) -> Option<Arc<Keyring>> {
        let current = self.current.borrow().clone();
        if current.generation() == generation {
            return Some(current);
        }
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        if replaced.as_ref().is_some_and(|(_, since)| now.saturating_duration_since(*since) >= GRACE) {
            *replaced = None;
        }
        replaced.as_ref().filter(|(ring, _)| ring.generation() == generation).map(|(ring, _)| ring.clone())
    }

    /// None when the generation, the key or the scheme is not known.
    pub(crate) fn sign(&self, generation: u64, key: u16, scheme: u16, statement: &Statement, now: Instant) -> Option<Vec<u8>> {
        self.ring(generation, now)?.sign(key, scheme, statement)
    }
}

impl<E: Handshakes> Service<E> for Keys {
    async fn call(&self, request: Request, _fds: Vec<OwnedFd>) -> Result<Reply<E>, Error> {
        let answer = match request {
            Request::Certificates => self.current.borrow().certificates(),
            Request::Changed(generation) => {
                let mut current = self.current.subscribe();
                let changed = current.wait_for(|ring| ring.generation() != generation).await.map_err(|_| Error::Closed)?;
                changed.certificates()
            }
            Request::Sign { generation, key, scheme, input } => {
                let statement = Statement::build(&input).map_err(|_| Error::Malformed("a handshake that cannot be"))?;
                match self.sign(generation, key, scheme, &statement, Instant::now()) {
                    Some(signature) => Response::Signature(signature.into()),
                    None => Response::NoSuchKey,
                }
            }
        };
        Ok(Reply::new(answer))
    }
}
