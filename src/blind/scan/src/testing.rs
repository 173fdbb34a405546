//! A dns that says what it is told to.

use pure_addr::{Domain, Text};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::sync::watch;
use wire::{
    Error, List, Reply, Service,
    edge::dns_scan::{DnsForScan, Request, Response},
    serve,
};

pub(crate) struct Dns {
    pub(crate) edge: PathBuf,
    zone: Arc<Zone>,
    _dir: TempDir,
}

struct Zone {
    texts: Mutex<HashMap<String, Response>>,
    asked: Mutex<HashMap<String, usize>>,
    stalled: watch::Sender<HashSet<String>>,
}

pub(crate) fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

impl Service<DnsForScan> for Zone {
    async fn call(&self, request: Request, _: Vec<OwnedFd>) -> Result<Reply<DnsForScan>, Error> {
        let Request::Texts(name) = request else { return Ok(Reply::new(Response::Nothing)) };
        *self.asked.lock().unwrap().entry(name.to_string()).or_default() += 1;
        let mut stalled = self.stalled.subscribe();
        drop(stalled.wait_for(|names| !names.contains(name.as_str())).await);
        Ok(Reply::new(self.texts.lock().unwrap().get(name.as_str()).cloned().unwrap_or(Response::Nothing)))
    }
}

impl Dns {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let edge = dir.path().join("dns");
        let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&fd, &SocketAddrUnix::new(&edge).unwrap()).unwrap();
        listen(&fd, 16).unwrap();
        let zone = Arc::new(Zone { texts: Mutex::default(), asked: Mutex::default(), stalled: watch::Sender::default() });
        tokio::spawn(serve::<DnsForScan, _>(fd, zone.clone()));
        Self { edge, zone, _dir: dir }
    }

    pub(crate) fn say(&self, name: &str, text: &str) {
        let texts = Response::Texts(List::new(vec![Text::new(text).unwrap()]).unwrap());
        self.zone.texts.lock().unwrap().insert(name.to_owned(), texts);
    }

    pub(crate) fn asked(&self, name: &str) -> usize {
        self.zone.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// Answers nothing about this name until it goes on.
    pub(crate) fn stall(&self, name: &str) {
        self.zone.stalled.send_modify(|names| {
            names.insert(name.to_owned());
        });
    }

    pub(crate) fn go_on(&self, name: &str, response: Response) {
        self.zone.texts.lock().unwrap().insert(name.to_owned(), response);
        self.zone.stalled.send_modify(|names| {
            names.remove(name);
        });
    }
}
