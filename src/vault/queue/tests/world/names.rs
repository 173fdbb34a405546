//! The fakes of those who know names and keys: auth's directory, and keys.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use wire::{
    Error, List, Reply, Service,
    edge::{
        auth_directory::{self, AuthDirectory, Target},
        keys_dkim::{self, KeysDkim},
    },
};

pub struct Directory {
    pub entries: Mutex<HashMap<String, Vec<Target>>>,
    /// Addresses that account 1 may send as.
    pub own: Mutex<Vec<String>>,
    pub failing: Mutex<bool>,
    pub calls: AtomicU64,
}

impl Service<AuthDirectory> for Directory {
    async fn call(&self, request: auth_directory::Request, _: Vec<OwnedFd>) -> Result<Reply<AuthDirectory>, Error> {
        if let auth_directory::Request::Changed(_) = request {
            // Nothing may be kept: tests change the entries.
            std::future::pending::<()>().await;
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        if *self.failing.lock().unwrap() {
            return Err(Error::Refused);
        }
        Ok(Reply::new(match request {
            auth_directory::Request::Resolve(address) => match self.entries.lock().unwrap().get(&address.key()) {
                Some(targets) => auth_directory::Response::Targets(List::new(targets.clone()).unwrap()),
                None if address.domain.as_str() == "mta.test" => auth_directory::Response::Unknown,
                None => auth_directory::Response::NotLocal,
            },
            auth_directory::Request::Changed(_) => auth_directory::Response::Generation(1),
            auth_directory::Request::MaySend { account, addresses } => {
                let own = self.own.lock().unwrap();
                auth_directory::Response::MaySend(account.get() == 1 && addresses.iter().all(|a| own.iter().any(|o| o == a.as_str())))
            }
        }))
    }
}

/// Signs for mta.test.
pub struct Keys {
    pub unavailable: Mutex<bool>,
}

impl Service<KeysDkim> for Keys {
    async fn call(&self, request: keys_dkim::Request, _: Vec<OwnedFd>) -> Result<Reply<KeysDkim>, Error> {
        let (domain, time, input) = match request {
            keys_dkim::Request::Sign { domain, time, input } => (domain, time, input),
            keys_dkim::Request::Seal(seal) => {
                let field = format!("ARC-Seal: i={}; d={}; h={}\r\n", seal.sets.len() + 1, seal.domain, seal.host).into_bytes().into();
                let sealed = List::new(vec![field]).unwrap();
                let unavailable = *self.unavailable.lock().unwrap();
                return Ok(Reply::new(if unavailable {
                    keys_dkim::Response::Unavailable
                } else {
                    keys_dkim::Response::Signatures(sealed)
                }));
            }
        };
        Ok(Reply::new(if *self.unavailable.lock().unwrap() {
            keys_dkim::Response::Unavailable
        } else if domain.as_str() == "mta.test" {
            let field = |a: &str| format!("DKIM-Signature: a={a}; d={domain}; t={time}; bh={}\r\n", input.body_hash[0]).into_bytes().into();
            keys_dkim::Response::Signatures(List::new(vec![field("ed25519-sha256"), field("rsa-sha256")]).unwrap())
        } else {
            keys_dkim::Response::NotOurs
        }))
    }
}
