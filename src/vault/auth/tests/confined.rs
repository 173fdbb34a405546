//! The real process inside its jail: started as PID 1 would, doing all of its work under Landlock and seccomp.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use pure_addr::{Address, Domain};
use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Pid, Signal, kill_process},
};
use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use wire::{
    Client, Conn, Edge, Error, Reply, Service,
    edge::{
        auth_control::{self, AuthControl, Password},
        auth_directory::{self, AuthDirectory},
        auth_login::{AuthForImap, AuthForSubmission, Failure, Mechanism, Request, Response},
        mail::SessionId,
        store_grant::{self, StoreGrant},
    },
    serve,
};

// The sandbox of the machine that runs the tests may be weaker than what Postern asks of a server.
const CONFIG: &str = "hostname = \"mail.mta.test\"\nallow_weak_sandbox = true\n[domains.\"mta.test\"]\n[accounts.\"alice@mta.test\"]\n";
/// "password".
const VERIFIER: &str = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

struct Store;

impl Service<StoreGrant> for Store {
    async fn call(&self, _request: store_grant::Request, _fds: Vec<OwnedFd>) -> Result<Reply<StoreGrant>, Error> {
        let (_ours, theirs) = Conn::pair()?;
        Ok(Reply::with_fd(store_grant::Response::Granted, theirs))
    }
}

/// Ends the process with the test.
struct Daemon {
    child: Child,
    files: TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listener(edges: &Path, name: &str) -> OwnedFd {
    let directory = edges.join(name);
    fs::create_dir_all(&directory).unwrap();
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(directory.join("sock")).unwrap()).unwrap();
    listen(&fd, 16).unwrap();
    fd
}

impl Daemon {
    fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name);
        for name in ["state", "credentials", "edges"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("credentials").join("postern.toml"), CONFIG).unwrap();
        fs::write(path("credentials").join("account.alice@mta.test"), VERIFIER).unwrap();
        tokio::spawn(serve::<StoreGrant, Store>(listener(&path("edges"), StoreGrant::NAME), Arc::new(Store)));
        let edges = [AuthForImap::NAME, AuthForSubmission::NAME, AuthDirectory::NAME, AuthControl::NAME];
        let sockets: Vec<_> = edges.iter().map(|name| (*name, listener(&path("edges"), name))).collect();
        let sockets: Vec<_> = sockets.iter().map(|(name, fd)| (*name, fd.as_fd())).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern-auth"));
        command
            .env("CREDENTIALS_DIRECTORY", path("credentials"))
            .env("STATE_DIRECTORY", path("state"))
            .env("POSTERN_EDGES", path("edges"))
            .env_remove("NOTIFY_SOCKET");
        let child = jail::spawn::spawn(&mut command, &sockets).unwrap();
        Self { child, files }
    }

    fn client<E: Edge>(&self) -> Client<E> {
        Client::new(self.files.path().join("edges").join(E::NAME).join("sock"))
    }

    async fn login(&self, name: &str, password: &str) -> Response {
        let request = Request::Start {
            session: SessionId(1),
            peer: [192, 0, 2, 1].into(),
            mechanism: Mechanism::Plain,
            initial: format!("\0{name}\0{password}").into_bytes().into(),
            channel_binding: None,
        };
        self.client::<AuthForImap>().call(&request, &[]).await.unwrap().body
    }

    async fn change(&self, request: auth_control::Request) -> auth_control::Response {
        self.client::<AuthControl>().call(&request, &[]).await.unwrap().body
    }

    fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.trim().to_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

#[tokio::test]
async fn everything_works_inside_the_jail() {
    let mut daemon = Daemon::start();
    assert!(matches!(daemon.login("alice@mta.test", "password").await, Response::Success { .. }));
    assert_eq!(daemon.login("alice@mta.test", "wrong").await, Response::Failure(Failure::Credentials));
    assert_eq!((daemon.status("NoNewPrivs"), daemon.status("Seccomp"), daemon.status("CapEff")), ("1".into(), "2".into(), "0".repeat(16)));

    let run = Domain::parse("run.test").unwrap();
    assert_eq!(daemon.change(auth_control::Request::AddDomain(run)).await, auth_control::Response::Done);
    let carol = auth_control::Request::AddAccount {
        address: address("carol@run.test"),
        password: Some(Password("carol's own".into())),
        quota: None,
    };
    assert_eq!(daemon.change(carol).await, auth_control::Response::Done);
    assert!(matches!(daemon.login("carol@run.test", "carol's own").await, Response::Success { .. }));
    let resolve = auth_directory::Request::Resolve(address("carol+x@run.test"));
    let resolved = daemon.client::<AuthDirectory>().call(&resolve, &[]).await.unwrap().body;
    assert!(matches!(resolved, auth_directory::Response::Targets(targets) if targets.len() == 1));

    // Attack case AUTH-03: what a check needed goes back to the kernel, however many there were.
    for _ in 0..6 {
        assert!(matches!(daemon.login("alice@mta.test", "password").await, Response::Success { .. }));
        assert_eq!(daemon.login("nosuch@mta.test", "x").await, Response::Failure(Failure::Credentials));
    }
    let resident: u64 = daemon.status("VmRSS").trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 32 * 1024, "{resident} KiB");

    // SIGHUP: a configuration that cannot be used changes nothing, the next one does.
    let config = daemon.files.path().join("credentials").join("postern.toml");
    fs::write(&config, "nonsense").unwrap();
    daemon.signal(Signal::HUP);
    fs::write(&config, format!("{CONFIG}[domains.\"new.test\"]\n")).unwrap();
    daemon.signal(Signal::HUP);
    let new = auth_directory::Request::Resolve(address("nobody@new.test"));
    tokio::time::timeout(Duration::from_secs(60), async {
        while daemon.client::<AuthDirectory>().call(&new, &[]).await.unwrap().body != auth_directory::Response::Unknown {
            daemon.signal(Signal::HUP);
        }
    })
    .await
    .unwrap();

    daemon.signal(Signal::TERM);
    assert!(daemon.child.wait().unwrap().success());
}
