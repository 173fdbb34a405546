//! Whoever sends to a peer that does not read waits, without keeping others from anything, and goes on when it reads.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use serde_bytes::ByteBuf;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use wire::{Conn, Edge, Reply, Served, Session, edge::Never};

#[derive(Debug)]
struct Parts;

impl Edge for Parts {
    const NAME: &'static str = "parts";
    const MAX_BODY: usize = 64 * 1024;
    const MAX_FDS: usize = 0;
    type Request = u32;
    type Response = ByteBuf;
    type Event = Never;
}

const SENDERS: u8 = 8;
const EACH: usize = 64;

#[tokio::test]
async fn senders_wait_for_room_and_lose_nothing() {
    let (client, server) = Conn::pair().unwrap();
    let (session, served) = tokio::join!(Session::<Parts>::new(client), Served::<Parts>::new(server, Duration::from_secs(60)));
    let (mut session, served) = (session.unwrap(), Arc::new(served.unwrap()));
    session.start(&1, &[]).await.unwrap();
    let (id, _, _) = served.request().await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let (served, sent) = (served.clone(), sent.clone());
        senders.spawn(async move {
            for _ in 0..EACH {
                served.part(id, &Reply::new(ByteBuf::from(vec![sender; 60 * 1024]))).await.unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // All senders have their turns: one thread does all of it, and looks at the sockets every few turns.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let before = sent.load(Ordering::Relaxed);
    assert!((1..usize::from(SENDERS) * EACH).contains(&before), "{before}");
    let mut counts = [0; SENDERS as usize];
    for _ in 0..usize::from(SENDERS) * EACH {
        let part = session.next().await.unwrap().unwrap().body;
        assert!(part.len() == 60 * 1024 && part.iter().all(|byte| *byte == part[0]));
        counts[usize::from(part[0])] += 1;
    }
    assert_eq!(counts, [EACH; SENDERS as usize]);
    while senders.join_next().await.is_some_and(|sender| sender.is_ok()) {}
    assert!(senders.is_empty());
}
