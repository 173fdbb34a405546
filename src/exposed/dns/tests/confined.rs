//! The real process inside its jail: started as PID 1 would, asking by UDP and TCP under Landlock and seccomp.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

use hickory_resolver::proto::rr::RecordType;
use pure_addr::Domain;
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Pid, Signal, kill_process},
};
use std::{fs, os::fd::AsFd, path::Path, process::Command};
use test_names::{Lie, Server, World};
use wire::{
    Client, Conn, Edge,
    edge::{
        dns_scan::{self, DnsForScan},
        send_names::{Records, Request, Response, SendNames},
    },
};

fn socket(path: &Path) -> OwnedFd {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&fd, 16).unwrap();
    fd
}

#[tokio::test]
async fn questions_are_answered_inside_the_jail() {
    let mut world = World::new();
    world.zone("test.", true).mx("test.", 10, "mx.test.").address("mx.test.", "192.0.2.1").lie("test.", RecordType::MX, Lie::Truncate);
    let anchor = world.anchor_digest();
    let server = Server::start(world).await;

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("credentials")).unwrap();
    fs::write(path("root.key"), anchor).unwrap();
    let config = format!(
        "hostname = \"mail.mta.test\"\nallow_weak_sandbox = true\n[dns]\nservers = [\"{}\"]\ntrust_anchor = {:?}\n",
        server.address,
        path("root.key")
    );
    // The sandbox of the machine that runs the tests may be weaker than what Postern asks of a server.
    fs::write(path("credentials").join("postern.toml"), config).unwrap();
    let (edge, scan) = (socket(&path("edge")), socket(&path("scan")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-dns"));
    command.env("CREDENTIALS_DIRECTORY", path("credentials")).env_remove("NOTIFY_SOCKET");
    // As PID 1 does: dns is connected to send, which listens.
    let client = Client::<SendNames>::listening(edge).unwrap();
    let connection = Conn::dial(&path("edge")).unwrap();
    let given = [(SendNames::NAME, connection.as_fd()), (DnsForScan::NAME, scan.as_fd())];
    let mut child = jail::spawn::spawn(&mut command, &given).unwrap();
    drop(connection);

    let ask = async |request: Request| client.call(&request, &[]).await.unwrap().body;
    let mx = ask(Request::Mx(Domain::parse("test").unwrap())).await;
    let Response::Found { secure: true, records: Records::Mx(list), .. } = &mx else { panic!("{mx:?}") };
    assert_eq!(list[0].host.as_ref().unwrap().as_str(), "mx.test");
    assert!(server.by_tcp("test."));
    let addresses = ask(Request::Addresses(Domain::parse("mx.test").unwrap())).await;
    assert!(matches!(addresses, Response::Found { secure: true, .. }), "{addresses:?}");
    assert_eq!(ask(Request::Mx(Domain::parse("nothing.test").unwrap())).await, Response::None { secure: true, no_name: true });

    let for_scan = Client::<DnsForScan>::new(path("scan"));
    let hosts = for_scan.call(&dns_scan::Request::Exchanges(Domain::parse("test").unwrap().into()), &[]).await.unwrap().body;
    assert!(matches!(&hosts, dns_scan::Response::Exchanges(list) if list.len() == 1), "{hosts:?}");

    // A reload reads nothing that was declared, and breaks nothing.
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    assert!(matches!(ask(Request::Addresses(Domain::parse("mx.test").unwrap())).await, Response::Found { .. }));
    // Send goes: dns ends well, to be connected to the next one.
    drop(client);
    assert!(tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap().success());
}
