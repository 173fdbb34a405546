//! The real process inside its jail: started as PID 1 would, delivering to a smarthost under Landlock and seccomp.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

mod world;

use pure_addr::Text;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::fd::AsFd,
    process::{Child, Command, ExitStatus},
    sync::Arc,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use wire::{
    Client, Conn, Edge, Error,
    edge::{
        mail::QueueId,
        send_deliver::{Lease, Route, SendDeliver},
        send_names::SendNames,
    },
    serve_given,
};
use world::*;

/// The process, a smarthost named "relay", and what the DNS says.
struct Confined {
    dir: TempDir,
    relay: Host,
    dns: Arc<Dns>,
    child: Child,
}

impl Confined {
    async fn start(answers: Answers) -> Self {
        let identity = Authority::new().identity("smtp.relay.test");
        let relay = Host::start(any_port(), "PIPELINING,AUTH PLAIN", Some(identity.server.clone()), true, answers).await;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("credentials")).unwrap();
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
        let dns = Arc::new(Dns::default());
        dns.address("smtp.relay.test", false, loopback(1));
        dns.address("remote.test", false, loopback(1));
        let (listener, names) = (socket(&path("send")), socket(&path("names")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern-send"));
        command.env("CREDENTIALS_DIRECTORY", path("credentials")).env_remove("NOTIFY_SOCKET");
        let given = [(SendDeliver::NAME, listener.as_fd()), (SendNames::NAME, names.as_fd())];
        let child = jail::spawn::spawn(&mut command, &given).unwrap();
        Self { dir, relay, dns, child }
    }

    /// A dns that has just been started.
    fn dns(&self) -> JoinHandle<Result<(), Error>> {
        tokio::spawn(serve_given::<SendNames, _>(Conn::dial(&self.dir.path().join("names")).unwrap(), self.dns.clone()))
    }

    fn queue(&self) -> Client<SendDeliver> {
        Client::new(self.dir.path().join("send"))
    }

    async fn end(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap()
    }
}

/// A lease for the smarthost.
fn to_relay(id: u64) -> Lease {
    let mut lease = lease("remote.test", &["a@remote.test", "b@other.test"]);
    (lease.id, lease.route) = (QueueId(id), Route::Smarthost(Text::new("relay").unwrap()));
    lease
}

const LOGIN: &[(&str, &str)] = &[("AUTH PLAIN AHVzZXIAcGVuY2ls", "235 ok"), ("AUTH", "535 no")];

#[tokio::test]
async fn mail_leaves_from_inside_the_jail() {
    let confined = Confined::start(answers(LOGIN)).await;
    let dns = confined.dns();
    let client = confined.queue();
    let direct = lease("remote.test", &["a@remote.test", "b@other.test"]);
    // In the world outside nothing leads to loopback.
    assert_eq!(outcomes(&deliver(&client, direct, b"x\r\n").await), ["F 5.4.4"; 2]);
    let big = format!("Subject: x\r\n\r\n{}", "a line\r\n".repeat(500_000));
    for id in [1, 2] {
        let report = deliver(&client, to_relay(id), big.as_bytes()).await;
        assert_eq!(outcomes(&report), ["D 2.0.0", "D 2.0.0"], "{report:?}");
    }
    assert_eq!((confined.relay.count(), confined.relay.seen(|s| s.connections)), (2, 1));

    assert!(!dns.is_finished());
    let pid = Pid::from_raw(i32::try_from(confined.child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(confined.end().await.success());
    assert!(dns.await.unwrap().is_err(), "dns hears of the end");
}

/// It waits for a dns, and goes on with the next when one has ended.
#[tokio::test]
async fn mail_waits_for_a_dns_that_is_being_started() {
    let confined = Confined::start(answers(LOGIN)).await;
    let client = confined.queue();
    for id in [1, 2] {
        let (report, dns) = tokio::join!(deliver(&client, to_relay(id), b"Subject: x\r\n\r\n"), async {
            tokio::task::yield_now().await;
            vec![confined.dns()]
        });
        assert_eq!(outcomes(&report), ["D 2.0.0", "D 2.0.0"], "{report:?}");
        // As the end of its process would.
        dns.iter().for_each(JoinHandle::abort);
    }
    assert_eq!(confined.relay.count(), 2);
}
