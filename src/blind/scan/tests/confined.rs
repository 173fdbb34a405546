//! The real process inside its jail: started as PID 1 would, reading messages under Landlock and seccomp.
#![cfg(test)]

use pure_addr::{ReversePath, Text};
use pure_index::judgement::DkimResult;
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Pid, Signal, kill_process},
};
use std::{fs, os::fd::AsFd, path::Path, process::Command, sync::Arc};
use wire::{
    Client, Edge, Error, List, MessageWriter, Reply, Service,
    edge::{
        dns_scan::{self, DnsForScan},
        scan_index::{Connection, QueueRequest, QueueResponse, Request, Response, ScanForQueue, ScanForStore},
    },
    serve,
};

/// RFC 8463 A.3, both signatures, with the keys of A.2.
const FOOTBALL: &[u8] = include_bytes!("../../../../tests/fixtures/rfc8463-a3.eml");
const BRISBANE: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const TEST: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCN\
b3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

/// Knows two keys.
struct Dns;

impl Service<DnsForScan> for Dns {
    async fn call(&self, request: dns_scan::Request, _: Vec<OwnedFd>) -> Result<Reply<DnsForScan>, Error> {
        let dns_scan::Request::Texts(name) = request else { return Ok(Reply::new(dns_scan::Response::Nothing)) };
        let key = match name.as_str() {
            "brisbane._domainkey.football.example.com" => BRISBANE,
            "test._domainkey.football.example.com" => TEST,
            _ => return Ok(Reply::new(dns_scan::Response::Nothing)),
        };
        Ok(Reply::new(dns_scan::Response::Texts(List::new(vec![Text::new(key).unwrap()]).unwrap())))
    }
}

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
    fs::create_dir_all(path("edges/dns-scan")).unwrap();
    tokio::spawn(serve::<DnsForScan, _>(socket(&path("edges/dns-scan/sock")), Arc::new(Dns)));
    // The sandbox of the machine that runs the tests may be weaker than what Postern asks of a server.
    fs::write(path("credentials").join("postern.toml"), "hostname = \"mail.mta.test\"\nallow_weak_sandbox = true\n").unwrap();
    let (queue, store) = (socket(&path("queue")), socket(&path("store")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-scan"));
    command.env("POSTERN_EDGES", path("edges")).env("CREDENTIALS_DIRECTORY", path("credentials")).env_remove("NOTIFY_SOCKET");
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

    // Asking dns and verifying both kinds of signatures are allowed too.
    let connection = Connection { peer: "192.0.2.1".parse().unwrap(), helo: Text::new("c.test").unwrap(), reverse_path: ReversePath::Null };
    let answer = ask(&for_queue, QueueRequest::Judge(Box::new(connection)), FOOTBALL).await;
    let QueueResponse::Judged(_, judgement) = answer else { panic!("{answer:?}") };
    assert!(judgement.dkim.len() == 2 && judgement.dkim.iter().all(|dkim| dkim.result == DkimResult::Pass), "{judgement:?}");

    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}
