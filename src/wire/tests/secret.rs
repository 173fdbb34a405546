//! What carries a password leaves no copy of it behind. Alone in its process, whose whole memory it searches.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use serde_bytes::ByteBuf;
use std::{fs::File, os::fd::OwnedFd, os::unix::fs::FileExt, sync::Arc};
use wire::{Conn, Edge, Error, Reply, Secret, Served, Service, Session, edge::Never, serve_connection};

#[derive(Debug)]
struct Login;

impl Edge for Login {
    const NAME: &'static str = "login";
    const MAX_BODY: usize = 1024 * 1024;
    const MAX_FDS: usize = 0;
    const SECRET: bool = true;
    /// The password, and what makes the frame so long that it goes in a memory file.
    type Request = (Secret, ByteBuf);
    type Response = u32;
    type Event = Never;
}

/// The password, as it must not be anywhere: each byte inverted.
fn inverted() -> Vec<u8> {
    (0..40u8).map(|n| n.wrapping_mul(37) ^ 0x5a).collect()
}

fn request(padding: usize) -> (Secret, ByteBuf) {
    (password(), ByteBuf::from(vec![0; padding]))
}

fn password() -> Secret {
    // Of its full size at once: a vector that grows leaves what it was.
    let mut bytes = Vec::with_capacity(40);
    bytes.extend(inverted().iter().map(|byte| !byte));
    bytes.into()
}

/// How often the password is in this process.
fn copies() -> usize {
    let (needle, memory) = (inverted(), File::open("/proc/self/mem").unwrap());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            found += bytes.windows(needle.len()).filter(|window| window.iter().zip(&needle).all(|(a, b)| *a == !b)).count();
            bytes.fill(0);
        }
    }
    found
}

struct Checks;

impl Service<Login> for Checks {
    async fn call(&self, (request, _): (Secret, ByteBuf), _fds: Vec<OwnedFd>) -> Result<Reply<Login>, Error> {
        Ok(Reply::new(request.iter().map(|byte| u32::from(*byte)).sum()))
    }
}

#[test]
fn no_password_stays_in_memory_after_it_was_sent_and_received() {
    let kept = password();
    assert!(copies() > 0, "the search finds nothing at all");
    drop(kept);
    assert_eq!(copies(), 0, "of a dropped password");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for padding in [0, 256 * 1024] {
        runtime.block_on(sent_and_received(padding));
        assert_eq!(copies(), 0, "of a password that was sent beside {padding} bytes");
    }
}

async fn sent_and_received(padding: usize) {
    // As auth takes it, and as a session would.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    let listener = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET, None).unwrap();
    rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let client = wire::Client::<Login>::new(&path);
    let server = async {
        let accepted = rustix::net::accept(&listener).unwrap();
        serve_connection::<Login, _>(Conn::new(accepted).unwrap(), Arc::new(Checks)).await
    };
    let asking = async {
        let request = request(padding);
        client.call(&request, &[]).await.unwrap()
    };
    tokio::select! {
        // The client connects first: accepting blocks.
        biased;
        _ = asking => {}
        ended = server => ended.unwrap(),
    }
    let (ours, theirs) = Conn::pair().unwrap();
    let (session, served) = tokio::join!(Session::<Login>::new(ours), Served::<Login>::new(theirs, Login::PATIENCE));
    let (mut session, served) = (session.unwrap(), served.unwrap());
    let request = request(padding);
    session.start(&request, &[]).await.unwrap();
    drop(served.request().await.unwrap());
}
