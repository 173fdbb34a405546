//! The real process inside its jail: started as PID 1 would, delivering to a smarthost under Landlock and seccomp.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

mod world;

use pure_addr::Text;
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, os::fd::AsFd, process::Command};
use wire::{
    Client, Edge,
    edge::{
        dns_send::DnsForSend,
        mail::QueueId,
        send_deliver::{Route, SendDeliver},
    },
    serve,
};
use world::*;

#[tokio::test]
async fn mail_leaves_from_inside_the_jail() {
    let authority = Authority::new();
    let identity = authority.identity("smtp.relay.test");
    let list = answers(&[("AUTH PLAIN AHVzZXIAcGVuY2ls", "235 ok"), ("AUTH", "535 no")]);
    let relay = Host::start(any_port(), "PIPELINING,AUTH PLAIN", Some(identity.server.clone()), true, list).await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["credentials", "edges", "edges/dns-send"] {
        fs::create_dir(path(name)).unwrap();
    }
    fs::write(path("ca.pem"), identity.authority_pem()).unwrap();
    // The sandbox of the machine that runs the tests may be weaker than what Postern asks of a server.
    let config = format!(
        "hostname = \"mail.mta.test\"\nallow_weak_sandbox = true\n[send.smarthosts.relay]\nhost = \"smtp.relay.test\"\nport = {}\n\
         user = \"user\"\ncertificate_authority = \"{}\"\n",
        relay.address.port(),
        path("ca.pem").display()
    );
    fs::write(path("credentials/postern.toml"), config).unwrap();
    fs::write(path("credentials/smarthost.relay"), "pencil\n").unwrap();
    let dns = std::sync::Arc::new(Dns::default());
    dns.address("smtp.relay.test", false, loopback(1));
    dns.address("remote.test", false, loopback(1));
    tokio::spawn(serve::<DnsForSend, _>(socket(&path("edges/dns-send/sock")), dns));
    let listener = socket(&path("send"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-send"));
    command.env("CREDENTIALS_DIRECTORY", path("credentials")).env("POSTERN_EDGES", path("edges"));
    command.env_remove("NOTIFY_SOCKET");
    let mut child = jail::spawn::spawn(&mut command, &[(SendDeliver::NAME, listener.as_fd())]).unwrap();

    let client = Client::<SendDeliver>::new(path("send"));
    let mut given = lease("remote.test", &["a@remote.test", "b@other.test"]);
    // In the world outside nothing leads to loopback.
    assert_eq!(outcomes(&deliver(&client, given.clone(), b"x\r\n").await), ["F 5.4.4"; 2]);
    given.route = Route::Smarthost(Text::new("relay").unwrap());
    let big = format!("Subject: x\r\n\r\n{}", "a line\r\n".repeat(500_000));
    for id in [1, 2] {
        given.id = QueueId(id);
        let report = deliver(&client, given.clone(), big.as_bytes()).await;
        assert_eq!(outcomes(&report), ["D 2.0.0", "D 2.0.0"], "{report:?}");
    }
    assert_eq!((relay.count(), relay.seen(|s| s.connections)), (2, 1));

    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}
