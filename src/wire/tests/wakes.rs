//! A request wakes the server once, and its answer the client once: not also when the other end reads what was sent.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use rustix::thread::{Pid, gettid};
use std::{sync::mpsc, time::Duration};
use tokio::runtime::Handle;
use wire::{Conn, Edge, Reply, Served, Session, edge::Never};

#[derive(Debug)]
struct Echo;

impl Edge for Echo {
    const NAME: &'static str = "echo";
    const MAX_BODY: usize = 4096;
    const MAX_FDS: usize = 0;
    type Request = u32;
    type Response = u32;
    type Event = Never;
}

const REQUESTS: u32 = 1000;

/// On a runtime of its own: what the future comes to, and how often its thread went to sleep.
fn alone<T>(future: impl Future<Output = T>) -> (T, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { (future.await, Handle::current().metrics().worker_park_count(0)) })
}

/// Waits until this thread sleeps: whatever the other one's last system call woke it for, it has looked at.
fn asleep(thread: Pid) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        if stat.rsplit_once(") ").unwrap().1.starts_with('S') {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn each_end_is_woken_once_for_a_request() {
    let (client, server) = Conn::pair().unwrap();
    let (tell, told) = mpsc::channel();
    let client_thread = gettid();
    let serving = std::thread::spawn(move || {
        tell.send(gettid()).unwrap();
        alone(async {
            let served = Served::<Echo>::new(server, Duration::from_secs(60)).await.unwrap();
            while let Ok((id, n, _)) = served.request().await {
                asleep(client_thread);
                served.answer(id, &Reply::new(n)).await.unwrap();
            }
        })
    });
    let server_thread = told.recv().unwrap();
    let ((), client_slept) = alone(async {
        let mut session = Session::<Echo>::new(client).await.unwrap();
        for n in 0..REQUESTS {
            assert_eq!(session.call(&n, &[]).await.unwrap().body, n);
            asleep(server_thread);
        }
    });
    let ((), server_slept) = serving.join().unwrap();
    // Some for the start and the end; with a second wake-up for each request there are twice as many.
    let most = u64::from(REQUESTS) * 5 / 4;
    assert!(client_slept <= most && server_slept <= most, "{client_slept} and {server_slept} for {REQUESTS}");
}
