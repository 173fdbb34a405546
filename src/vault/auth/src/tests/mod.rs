//! The edges from outside, over real sockets, with a store and a queue that note what they are asked for.

mod directory;
mod login;
mod sessions;

use crate::{
    auth::{Auth, Credentials},
    control::Control,
    hasher::Hasher,
    limits::MAX_PASSWORD,
    scram::tests::client_final,
    verifier::{ScramKeys, tests::cheap_phc},
};
use data_encoding::BASE64;
use pure_addr::{AccountId, Address, Domain, Text};
use pure_config::Config;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::{
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::sync::Notify;
use wire::{
    Client, Conn, Edge, Error, List, Reply, Service,
    edge::{
        auth_control::{self, AuthControl, Password, Refusal},
        auth_directory::{self, AuthDirectory, Target},
        auth_login::{AuthForImap, AuthForSubmission, Failure, Mechanism, Request, Response},
        mail::{Owner, SessionId},
        queue_grant::{self, QueueGrant},
        store_grant::{self, StoreGrant},
    },
    serve,
};
const CONFIG: &str = r#"
    hostname = "mail.mta.test"
    postmaster = "alice@mta.test"
    [domains."mta.test"]
    [accounts."alice@mta.test"]
    aliases = ["a.liddell@mta.test"]
    quota = "1 GiB"
    [accounts."bob@mta.test"]
    [accounts."locked@mta.test"]
    [aliases]
    "info@mta.test" = ["alice@mta.test", "bob@mta.test"]
    [limits]
    login_failures = 3
    quota = "2 GiB"
"#;
const PASSWORD: &str = "correct horse";
const PEER: &str = "192.0.2.1";
const OTHER_PEER: &str = "198.51.100.7";

/// A store or queue that grants a socket and keeps its other end, until the end of the account's sessions.
#[derive(Default)]
struct Granter {
    granted: Mutex<Vec<(Owner, OwnedFd)>>,
    is_busy: AtomicBool,
    /// Does not end sessions.
    is_deaf: AtomicBool,
    /// A session is asked for; it is granted when this lock is free.
    asked: Notify,
    turn: tokio::sync::Mutex<()>,
}

impl Granter {
    async fn grant(&self, owner: Owner) -> Option<OwnedFd> {
        self.asked.notify_one();
        let _turn = self.turn.lock().await;
        if self.is_busy.load(Ordering::Relaxed) {
            return None;
        }
        let (ours, theirs) = Conn::pair().unwrap();
        self.granted.lock().unwrap().push((owner, ours));
        Some(theirs)
    }

    fn end(&self, account: AccountId) -> Result<(), Error> {
        if self.is_deaf.load(Ordering::Relaxed) {
            return Err(Error::Refused);
        }
        self.granted.lock().unwrap().retain(|(owner, _)| owner.account != account);
        Ok(())
    }
}

impl Service<StoreGrant> for Granter {
    async fn call(&self, request: store_grant::Request, _fds: Vec<OwnedFd>) -> Result<Reply<StoreGrant>, Error> {
        let owner = match request {
            store_grant::Request::Session { owner, .. } => owner,
            store_grant::Request::End(account) => {
                self.end(account)?;
                return Ok(Reply::new(store_grant::Response::Ended));
            }
        };
        Ok(match self.grant(owner).await {
            Some(fd) => Reply::with_fd(store_grant::Response::Granted, fd),
            None => Reply::new(store_grant::Response::Busy),
        })
    }
}

impl Service<QueueGrant> for Granter {
    async fn call(&self, request: queue_grant::Request, _fds: Vec<OwnedFd>) -> Result<Reply<QueueGrant>, Error> {
        let owner = match request {
            queue_grant::Request::Session { owner, .. } => owner,
            queue_grant::Request::End(account) => {
                self.end(account)?;
                return Ok(Reply::new(queue_grant::Response::Ended));
            }
        };
        Ok(match self.grant(owner).await {
            Some(fd) => Reply::with_fd(queue_grant::Response::Granted, fd),
            None => Reply::new(queue_grant::Response::Busy),
        })
    }
}

/// A running auth.
struct World {
    auth: Arc<Auth>,
    login: Client<AuthForImap>,
    submission: Client<AuthForSubmission>,
    directory: Client<AuthDirectory>,
    control: Client<AuthControl>,
    store: Arc<Granter>,
    queue: Arc<Granter>,
    /// Seconds that have passed since the start.
    clock: Arc<AtomicU64>,
    files: TempDir,
}

fn listener(path: &Path) -> OwnedFd {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&fd, 64).unwrap();
    fd
}

fn start<E: Edge, S: Service<E>>(files: &TempDir, service: Arc<S>) -> PathBuf {
    let path = files.path().join(E::NAME);
    tokio::spawn(serve::<E, S>(listener(&path), service));
    path
}

fn secrets(credentials: &[(&str, String)]) -> Credentials {
    credentials.iter().map(|(address, text)| ((*address).to_owned(), text.clone().into_bytes().into())).collect()
}

fn credentials() -> Credentials {
    let scram = ScramKeys::make(PASSWORD.as_bytes(), vec![7; 16], 4096);
    let both = format!("{}\n{}", cheap_phc(PASSWORD), *scram.to_text());
    secrets(&[("alice@mta.test", both), ("bob@mta.test", cheap_phc("bob's own"))])
}

impl World {
    async fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let (store, queue) = (Arc::new(Granter::default()), Arc::new(Granter::default()));
        let grants =
            (Client::new(start::<StoreGrant, _>(&files, store.clone())), Client::new(start::<QueueGrant, _>(&files, queue.clone())));
        let (clock, epoch) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let now = clock.clone();
        let auth = Auth::open(
            &files.path().join("auth.db"),
            &Config::parse(CONFIG).unwrap(),
            &credentials(),
            grants,
            Hasher::new(2),
            Arc::new(move || epoch + Duration::from_secs(now.load(Ordering::Relaxed))),
        );
        let auth = Arc::new(auth.unwrap());
        Self {
            login: Client::new(start::<AuthForImap, _>(&files, auth.clone())),
            submission: Client::new(start::<AuthForSubmission, _>(&files, auth.clone())),
            directory: Client::new(start::<AuthDirectory, _>(&files, auth.clone())),
            control: Client::new(start::<AuthControl, _>(&files, Arc::new(Control(auth.clone())))),
            auth,
            store,
            queue,
            clock,
            files,
        }
    }

    async fn start(&self, peer: &str, mechanism: Mechanism, initial: &[u8], bound: Option<[u8; 32]>) -> Reply<AuthForImap> {
        let request = Request::Start {
            session: SessionId(7),
            peer: peer.parse::<IpAddr>().unwrap(),
            mechanism,
            initial: initial.to_vec().into(),
            channel_binding: bound.map(|value| value.to_vec().into()),
        };
        self.login.call(&request, &[]).await.unwrap()
    }

    async fn plain(&self, peer: &str, name: &str, password: &str) -> Response {
        self.start(peer, Mechanism::Plain, format!("\0{name}\0{password}").as_bytes(), None).await.body
    }

    /// Both halves of a SCRAM exchange as a well-behaved client.
    async fn scram(&self, peer: &str, name: &str, password: &str, bound: Option<[u8; 32]>) -> Response {
        let (mechanism, gs2) = match bound {
            Some(_) => (Mechanism::ScramSha256Plus, "p=tls-exporter,,"),
            None => (Mechanism::ScramSha256, "n,,"),
        };
        let bare = format!("n={name},r=nonce");
        let begun = self.start(peer, mechanism, format!("{gs2}{bare}").as_bytes(), bound).await.body;
        let Response::Challenge { exchange, data } = begun else { return begun };
        let challenge = String::from_utf8(data.into_vec()).unwrap();
        let last = client_final(password, gs2, &bare, bound.as_ref().map_or(&[], |b| b.as_slice()), &challenge);
        self.proceed(exchange, last.as_bytes()).await
    }

    async fn proceed(&self, exchange: u64, response: &[u8]) -> Response {
        self.login.call(&Request::Continue { exchange, response: response.to_vec().into() }, &[]).await.unwrap().body
    }

    async fn change(&self, request: auth_control::Request) -> auth_control::Response {
        self.control.call(&request, &[]).await.unwrap().body
    }

    async fn resolve(&self, text: &str) -> auth_directory::Response {
        self.directory.call(&auth_directory::Request::Resolve(address(text)), &[]).await.unwrap().body
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn failure(response: &Response) -> Option<Failure> {
    match response {
        Response::Failure(failure) => Some(*failure),
        _ => None,
    }
}

fn is_success(response: &Response) -> bool {
    matches!(response, Response::Success { .. })
}
