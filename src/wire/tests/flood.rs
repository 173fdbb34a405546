//! A client that asks for more than its server has room for waits, whatever it sends.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use serde_bytes::ByteBuf;
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Semaphore;
use wire::{Client, Edge, Error, Reply, Service, edge::Never, serve};

/// Bytes of a request, and how many of them an edge works on at a time.
const LARGE: usize = 2 * 1024 * 1024 - 1024;
const AT_A_TIME: usize = 32;
/// More than that, by several connections.
const CLIENTS: usize = 4;
const EACH: usize = 15;

#[derive(Debug)]
struct Flooded;

impl Edge for Flooded {
    const NAME: &'static str = "flooded";
    const MAX_BODY: usize = 2 * 1024 * 1024;
    const MAX_FDS: usize = 0;
    type Request = ByteBuf;
    type Response = ();
    type Event = Never;
}

struct Slow {
    under_way: AtomicUsize,
    most: AtomicUsize,
    gate: Semaphore,
}

impl Service<Flooded> for Slow {
    async fn call(&self, _request: ByteBuf, _fds: Vec<OwnedFd>) -> Result<Reply<Flooded>, Error> {
        let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        self.gate.acquire().await.unwrap().forget();
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        Ok(Reply::new(()))
    }
}

#[tokio::test]
async fn requests_under_way_are_bounded_in_bytes_over_all_connections() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 16).unwrap();
    let slow = Arc::new(Slow { under_way: AtomicUsize::new(0), most: AtomicUsize::new(0), gate: Semaphore::new(0) });
    tokio::spawn(serve::<Flooded, _>(listener, slow.clone()));
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let client = Arc::new(Client::<Flooded>::new(&path));
        for _ in 0..EACH {
            let client = client.clone();
            asked.spawn(async move { client.call(&ByteBuf::from(vec![7; LARGE]), &[]).await.unwrap() });
        }
    }
    while slow.under_way.load(Ordering::Relaxed) < AT_A_TIME {
        tokio::task::yield_now().await;
    }
    // Everybody else has his turn: one thread does all of it, and looks at the sockets every few turns.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    slow.gate.add_permits(CLIENTS * EACH);
    while asked.join_next().await.is_some_and(|answered| answered.is_ok()) {}
    assert!(asked.is_empty());
    assert_eq!(slow.most.load(Ordering::Relaxed), AT_A_TIME);
}
