//! The real process inside its jail: started as PID 1 would, reading messages under Landlock and seccomp.
#![cfg(test)]

use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Pid, Signal, kill_process},
};
use std::{fs, os::fd::AsFd, path::Path, process::Command};
use wire::{
    Client, Edge, MessageWriter,
    edge::scan_index::{QueueRequest, QueueResponse, Request, Response, ScanForQueue, ScanForStore},
};

fn socket(path: &Path) -> OwnedFd {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&fd, 16).unwrap();
    fd
}

async fn ask<E: Edge>(client: &Client<E>, request: E::Request, message: &[u8]) -> E::Response {
    let message = MessageWriter::sealed(message).unwrap();
    client.call(&request, &[message.as_fd()]).await.unwrap().body
}

#[tokio::test]
async fn messages_are_read_inside_the_jail() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("credentials")).unwrap();
    // The sandbox of the machine that runs the tests may be weaker than what Postern asks of a server.
    fs::write(path("credentials").join("postern.toml"), "hostname = \"mail.mta.test\"\nallow_weak_sandbox = true\n").unwrap();
    let (queue, store) = (socket(&path("queue")), socket(&path("store")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-scan"));
    command.env("CREDENTIALS_DIRECTORY", path("credentials")).env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
    let fds = [(ScanForQueue::NAME, queue.as_fd()), (ScanForStore::NAME, store.as_fd())];
    let mut child = jail::spawn::spawn(&mut command, &fds).unwrap();

    let (for_queue, for_store) = (Client::<ScanForQueue>::new(path("queue")), Client::<ScanForStore>::new(path("store")));
    let request = QueueRequest::Index(Request::Index);
    let answer = ask(&for_queue, request, b"Subject: Hello\r\n\r\nWorld\r\n").await;
    let QueueResponse::Index(Response::Indexed(index)) = answer else { panic!() };
    assert_eq!(index.search.body, "world");
    // Large enough for memory of its own and an answer in a memfd.
    let large = format!("Content-Type: text/html\r\n\r\n{}", "<p>word</p>\r\n".repeat(1_000_000));
    let Response::Indexed(index) = ask(&for_store, Request::Index, large.as_bytes()).await else { panic!() };
    assert!(index.search.body.len() > 1_000_000);

    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}
