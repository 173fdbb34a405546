//! The real process in its jail, between fakes: it serves, and `kill -9` at any time loses no accepted message and doubles none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report of a test")]
mod world;

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use wire::{
    Client, Edge, MessageWriter,
    edge::{
        auth_directory::{self, AuthDirectory},
        keys_dkim::KeysDkim,
        mail::{QueueId, Submitted},
        queue_control::{self, QueueControl},
        queue_grant::QueueGrant,
        queue_inbound::{self, QueueInbound},
        scan_index::ScanForQueue,
        send_deliver::SendDeliver,
        store_deliver::StoreDeliver,
    },
};
use world::*;

const CONFIG: &str = "hostname = \"mail.mta.test\"\n[domains.\"mta.test\"]\n[accounts.\"alice@mta.test\"]\n";

/// The part of PID 1: sockets that outlive the process, and what it is started with.
struct Host {
    world: World,
    listeners: Vec<(&'static str, OwnedFd)>,
}

impl Host {
    fn new() -> Self {
        let world = World::new();
        let dir = world.dir.path().to_owned();
        for (edge, socket) in [
            (ScanForQueue::NAME, "scan"),
            (AuthDirectory::NAME, "directory"),
            (StoreDeliver::NAME, "store"),
            (KeysDkim::NAME, "keys"),
            (SendDeliver::NAME, "send"),
        ] {
            std::fs::create_dir(dir.join(edge)).unwrap();
            std::os::unix::fs::symlink(dir.join(socket), dir.join(edge).join("sock")).unwrap();
        }
        for name in ["credentials", "state"] {
            std::fs::create_dir(dir.join(name)).unwrap();
        }
        std::fs::write(dir.join("credentials/postern.toml"), CONFIG).unwrap();
        let listeners =
            [QueueInbound::NAME, QueueGrant::NAME, QueueControl::NAME].map(|name| (name, listener(&dir.join(name)))).into_iter().collect();
        Self { world, listeners }
    }

    fn path(&self) -> &Path {
        self.world.dir.path()
    }

    fn start(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern-queue"));
        command
            .env_clear()
            .env("CREDENTIALS_DIRECTORY", self.path().join("credentials"))
            .env("STATE_DIRECTORY", self.path().join("state"))
            .env("POSTERN_EDGES", self.path())
            .env("POSTERN_LOG", "warn")
            .stdin(Stdio::null());
        let fds: Vec<_> = self.listeners.iter().map(|(name, fd)| (*name, fd.as_fd())).collect();
        Process(jail::spawn::spawn(&mut command, &fds).unwrap())
    }
}

/// Killed when the test ends, however it ends.
struct Process(Child);

impl Process {
    fn kill(mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "it ended by itself");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn empty(control: &Client<QueueControl>) {
    soon("an empty spool", async {
        loop {
            let list =
                control.call(&queue_control::Request::List { after: QueueId(0), filter: queue_control::Filter::default() }, &[]).await;
            if let Ok(queue_control::Response::Messages(list)) = list.map(|reply| reply.body)
                && list.is_empty()
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A body with a tag; every fifth is kept as a file.
fn tagged(tag: u64) -> Vec<u8> {
    let mut body = format!("From: x@remote.test\r\n\r\ntag {tag:08}\r\n").into_bytes();
    if tag.is_multiple_of(5) {
        body.resize(200_000, b'x');
    }
    body
}

fn tag(text: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.split_once("\r\n\r\ntag ").unwrap();
    rest.chars().take(8).collect::<String>().parse().unwrap()
}

/// Accepted messages after which the process is killed, each time.
const KILLS: [u64; 8] = [1, 10, 40, 41, 90, 150, 200, 260];
const MESSAGES: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_delivers_every_accepted_message_once() {
    let host = Host::new();
    let mut process = host.start();
    let inbound = Arc::new(Client::<QueueInbound>::new(host.path().join(QueueInbound::NAME)));
    let control = Client::<QueueControl>::new(host.path().join(QueueControl::NAME));
    let (next, accepted) = (Arc::new(AtomicU64::new(0)), tokio::sync::watch::Sender::new(Vec::<u64>::new()));
    let mut senders = Vec::new();
    for _ in 0..10 {
        let (inbound, next, accepted) = (inbound.clone(), next.clone(), accepted.clone());
        senders.push(tokio::spawn(async move {
            while (accepted.borrow().len() as u64) < MESSAGES {
                let tag = next.fetch_add(1, Ordering::Relaxed);
                let message = MessageWriter::sealed(&tagged(tag)).unwrap();
                let request = queue_inbound::Request::Submit(envelope("x@remote.test", &["alice@mta.test"]));
                // What got no answer, or another one, may or may not arrive; its sender tries again with the next.
                let answer = inbound.call(&request, &[message.as_fd()]).await.map(|reply| reply.body);
                match answer {
                    Ok(queue_inbound::Response::Submitted(Submitted::Accepted(_))) => accepted.send_modify(|list| list.push(tag)),
                    _ => tokio::task::yield_now().await,
                }
            }
        }));
    }
    let mut seen = accepted.subscribe();
    for after in KILLS {
        soon("accepted messages", seen.wait_for(|list| list.len() as u64 >= after)).await.unwrap();
        process.kill();
        process = host.start();
    }
    for sender in senders {
        soon("senders", sender).await.unwrap();
    }
    empty(&control).await;
    let mut arrived: HashMap<u64, u32> = HashMap::new();
    for stored in host.world.store.all() {
        let tag = tag(&stored.text);
        assert!(stored.text.ends_with(&tagged(tag)));
        *arrived.entry(tag).or_insert(0) += 1;
    }
    assert!(arrived.values().all(|n| *n == 1), "doubled");
    for tag in accepted.borrow().iter() {
        assert!(arrived.contains_key(tag), "lost {tag}");
    }
    // Answered after the files of all earlier commits were removed.
    empty(&control).await;
    assert_eq!(std::fs::read_dir(host.path().join("state/spool")).unwrap().count(), 0);
    process.kill();
}

/// SIGTERM ends it at once and cleanly; systemd counts that as success.
#[tokio::test]
async fn it_ends_when_asked() {
    let host = Host::new();
    let mut process = host.start();
    let control = Client::<QueueControl>::new(host.path().join(QueueControl::NAME));
    empty(&control).await;
    let pid = rustix::process::Pid::from_child(&process.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || process.0.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

/// Killed while mail leaves: each recipient elsewhere gets one copy, or its sender one report.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_each_recipient_elsewhere_ends_once() {
    const FORWARDED: u64 = 120;
    let host = Host::new();
    // What was delivered and not noted is offered again: the remote knows the message.
    *host.world.send.remembers.lock().unwrap() = true;
    host.world.send.domain("gone.test", Some(refused()));
    {
        let mut entries = host.world.directory.entries.lock().unwrap();
        let remote = |to: String| auth_directory::Target::Remote(address(&to));
        for n in 0..FORWARDED {
            entries.insert(format!("alias{n}@mta.test"), vec![remote(format!("v{n}@d{}.test", n % 7)), remote(format!("w{n}@gone.test"))]);
        }
    }
    let mut process = host.start();
    let inbound = Client::<QueueInbound>::new(host.path().join(QueueInbound::NAME));
    let control = Client::<QueueControl>::new(host.path().join(QueueControl::NAME));
    for n in 0..FORWARDED {
        let to = format!("alias{n}@mta.test");
        loop {
            let message = MessageWriter::sealed(&tagged(n)).unwrap();
            let request = queue_inbound::Request::Submit(envelope("alice@mta.test", &[&to]));
            let answer = inbound.call(&request, &[message.as_fd()]).await.map(|reply| reply.body);
            if matches!(answer, Ok(queue_inbound::Response::Submitted(Submitted::Accepted(_)))) {
                break;
            }
            tokio::task::yield_now().await;
        }
        if n % 15 == 14 {
            process.kill();
            process = host.start();
        }
    }
    for answered in 1..4 {
        let before = *host.world.send.answered.borrow();
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50 * answered), host.world.send.has_answered(before + 20)).await;
        process.kill();
        process = host.start();
    }
    empty(&control).await;
    let reports: Vec<String> = host.world.store.all().iter().map(|s| String::from_utf8_lossy(&s.text).into_owned()).collect();
    let delivered = host.world.send.delivered.lock().unwrap().clone();
    for n in 0..FORWARDED {
        let copies = delivered.iter().filter(|(_, _, a)| a.key() == format!("v{n}@d{}.test", n % 7)).count();
        let told = reports.iter().filter(|r| r.contains(&format!("Final-Recipient: rfc822; alias{n}@mta.test\r\n"))).count();
        // A message whose answer was lost may have entered twice: as many copies as reports, and at least one.
        assert!(copies >= 1 && copies == told, "{n}: {copies} copies, {told} reports");
    }
    assert_eq!(std::fs::read_dir(host.path().join("state/spool")).unwrap().count(), 0);
    process.kill();
}
