//! The edges from outside, over real sockets, with a store and a queue that note what they are asked for.

use crate::{
    auth::{Auth, Credentials},
    control::Control,
    hasher::Hasher,
    limits::MAX_PASSWORD,
    scram::tests::client_final,
    verifier::{ScramKeys, tests::cheap_phc},
};
use data_encoding::BASE64;
use pure_addr::{Address, Domain, Text};
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

/// A store or queue that grants a socket and keeps its other end.
#[derive(Default)]
struct Granter {
    granted: Mutex<Vec<(Owner, OwnedFd)>>,
    is_busy: AtomicBool,
}

impl Granter {
    fn grant(&self, owner: Owner) -> Option<OwnedFd> {
        if self.is_busy.load(Ordering::Relaxed) {
            return None;
        }
        let (ours, theirs) = Conn::pair().unwrap();
        self.granted.lock().unwrap().push((owner, ours));
        Some(theirs)
    }
}

impl Service<StoreGrant> for Granter {
    async fn call(&self, request: store_grant::Request, _fds: Vec<OwnedFd>) -> Result<Reply<StoreGrant>, Error> {
        Ok(match self.grant(request.owner) {
            Some(fd) => Reply::with_fd(store_grant::Response::Granted, fd),
            None => Reply::new(store_grant::Response::Busy),
        })
    }
}

impl Service<QueueGrant> for Granter {
    async fn call(&self, request: queue_grant::Request, _fds: Vec<OwnedFd>) -> Result<Reply<QueueGrant>, Error> {
        Ok(match self.grant(request.owner) {
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

#[tokio::test]
async fn a_right_password_brings_the_account_s_own_socket() {
    let world = World::new().await;
    let reply = world.start(PEER, Mechanism::Plain, format!("\0Alice@MTA.test\0{PASSWORD}").as_bytes(), None).await;
    let Response::Success { owner, data } = reply.body else { panic!("{:?}", reply.body) };
    assert_eq!((owner.address.clone(), owner.quota, data), (address("alice@mta.test"), Some(1 << 30), None));
    // What came is the other end of the very socket that the store keeps for this owner.
    let granted = world.store.granted.lock().unwrap();
    let [(granted_to, ours)] = granted.as_slice() else { panic!() };
    assert_eq!(*granted_to, owner);
    rustix::net::send(ours.as_fd(), b"x", rustix::net::SendFlags::empty()).unwrap();
    let mut byte = [0];
    rustix::net::recv(reply.fds[0].as_fd(), &mut byte, rustix::net::RecvFlags::empty()).unwrap();
    assert_eq!((byte, reply.fds.len(), world.queue.granted.lock().unwrap().len()), (*b"x", 1, 0));
}

#[tokio::test]
async fn submission_gets_a_socket_of_the_queue() {
    let world = World::new().await;
    let request = Request::Start {
        session: SessionId(1),
        peer: PEER.parse().unwrap(),
        mechanism: Mechanism::Plain,
        initial: b"\0bob@mta.test\0bob's own".to_vec().into(),
        channel_binding: None,
    };
    let reply = world.submission.call(&request, &[]).await.unwrap();
    let Response::Success { owner, .. } = &reply.body else { panic!("{:?}", reply.body) };
    assert_eq!((owner.quota, reply.fds.len()), (Some(2 << 30), 1));
    assert_eq!((world.queue.granted.lock().unwrap().len(), world.store.granted.lock().unwrap().len()), (1, 0));
}

#[tokio::test]
async fn an_exchange_cannot_be_taken_to_the_edge_of_another_service() {
    let world = World::new().await;
    let begun = world.start(PEER, Mechanism::ScramSha256, b"n,,n=alice@mta.test,r=abcdefgh", None).await;
    let Response::Challenge { exchange, .. } = begun.body else { panic!("{:?}", begun.body) };
    let request = Request::Continue { exchange, response: b"c=biws,r=abcdefgh,p=AAAA".to_vec().into() };
    let answer = world.submission.call(&request, &[]).await.unwrap().body;
    assert_eq!(failure(&answer), Some(Failure::Malformed));
    assert_eq!((world.queue.granted.lock().unwrap().len(), world.store.granted.lock().unwrap().len()), (0, 0));
}

/// Attack case AUTH-01: the same answer, and the same work, for whoever cannot log in.
#[tokio::test]
async fn names_are_not_told_apart() {
    let world = World::new().await;
    for (at, name) in [
        "alice@mta.test",
        "nosuch@mta.test",
        "locked@mta.test",
        "info@mta.test",
        "a.liddell@mta.test",
        "x@elsewhere.test",
        "alice",
        "\u{1}",
    ]
    .iter()
    .enumerate()
    {
        let peer = format!("192.0.2.{at}");
        assert_eq!(failure(&world.plain(&peer, name, "wrong").await), Some(Failure::Credentials), "{name}");
        assert_eq!(failure(&world.scram(&peer, name, "wrong", None).await), Some(Failure::Credentials), "{name}");
    }
    // Nobody's verifier costs what somebody's does: all that exist are cheap here.
    let directory = world.auth.directory();
    let real = directory.by_login(&address("alice@mta.test")).unwrap().verifiers.argon2.as_ref().unwrap().cost();
    assert!((0..100).all(|number| directory.decoy_cost(number) == real));
}

#[tokio::test]
async fn a_name_that_does_not_exist_always_has_the_same_scram_salt() {
    let world = World::new().await;
    let challenge = async |name: &str| {
        let begun = world.start(PEER, Mechanism::ScramSha256, format!("n,,n={name},r=x").as_bytes(), None).await.body;
        let Response::Challenge { data, .. } = begun else { panic!("{begun:?}") };
        let text = String::from_utf8(data.into_vec()).unwrap();
        let (_, salt) = text.split_once(",s=").unwrap();
        salt.to_owned()
    };
    let nobody = challenge("nosuch@mta.test").await;
    assert_eq!(challenge("NoSuch@mta.test").await, nobody);
    assert_ne!(challenge("nosuch2@mta.test").await, nobody);
    // Without SCRAM keys of its own, an account looks like all others.
    let real = challenge("alice@mta.test").await;
    assert_eq!((real.len(), real.split_once(",i=").unwrap().1), (nobody.len(), nobody.split_once(",i=").unwrap().1));
    assert_eq!(real.len(), challenge("bob@mta.test").await.len());
}

#[tokio::test]
async fn scram_logs_in_and_proves_the_server() {
    let world = World::new().await;
    let Response::Success { owner, data } = world.scram(PEER, "alice@mta.test", PASSWORD, None).await else { panic!() };
    assert_eq!(owner.address, address("alice@mta.test"));
    assert!(data.unwrap().starts_with(b"v="));
    assert!(is_success(&world.scram(PEER, "alice@mta.test", PASSWORD, Some([9; 32])).await));
    assert_eq!(failure(&world.scram(PEER, "alice@mta.test", "wrong", Some([9; 32])).await), Some(Failure::Credentials));
}

/// Attack case AUTH-09, through the edge.
#[tokio::test]
async fn scram_fails_closed() {
    let world = World::new().await;
    let bound = Some([9; 32]);
    let downgrade = world.start("192.0.2.1", Mechanism::ScramSha256, b"y,,n=alice@mta.test,r=x", bound).await.body;
    assert_eq!(failure(&downgrade), Some(Failure::Credentials));
    let extension = world.start("192.0.2.2", Mechanism::ScramSha256, b"n,,m=x,n=alice@mta.test,r=x", None).await.body;
    assert_eq!(failure(&extension), Some(Failure::Credentials));
    let unbound = world.start("192.0.2.3", Mechanism::ScramSha256Plus, b"p=tls-exporter,,n=alice@mta.test,r=x", None).await.body;
    assert_eq!(failure(&unbound), Some(Failure::Credentials));
    let foreign = world.start("192.0.2.4", Mechanism::ScramSha256, b"n,a=bob@mta.test,n=alice@mta.test,r=x", None).await.body;
    assert_eq!(failure(&foreign), Some(Failure::Credentials));
    // A proof for bob does not open alice.
    let begun = world.start("192.0.2.5", Mechanism::ScramSha256, b"n,,n=alice@mta.test,r=x", None).await.body;
    let Response::Challenge { exchange, data } = begun else { panic!() };
    let challenge = String::from_utf8(data.into_vec()).unwrap();
    let proof = client_final(PASSWORD, "n,,", "n=bob@mta.test,r=x", b"", &challenge);
    assert_eq!(failure(&world.proceed(exchange, proof.as_bytes()).await), Some(Failure::Credentials));
}

/// Attack case AUTH-08: an exchange is consumed by its next step, whatever that was.
#[tokio::test]
async fn an_exchange_serves_one_answer() {
    let world = World::new().await;
    let begin = async || {
        let begun = world.start(PEER, Mechanism::ScramSha256, b"n,,n=alice@mta.test,r=nonce", None).await.body;
        let Response::Challenge { exchange, data } = begun else { panic!() };
        let last = client_final(PASSWORD, "n,,", "n=alice@mta.test,r=nonce", b"", std::str::from_utf8(&data).unwrap());
        (exchange, last)
    };
    let (exchange, last) = begin().await;
    assert_eq!(failure(&world.proceed(exchange, b"AGFsaWNlAHg=").await), Some(Failure::Malformed));
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Malformed));
    let (exchange, last) = begin().await;
    assert!(is_success(&world.proceed(exchange, last.as_bytes()).await));
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Malformed));
    let (exchange, last) = begin().await;
    assert_eq!(world.login.call(&Request::Abort { exchange }, &[]).await.unwrap().body, Response::Aborted);
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Malformed));
    let (exchange, last) = begin().await;
    world.pass(120);
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Malformed));
    // A removed account does not come back through an exchange that was begun before; nor does a changed world confuse it.
    let (exchange, last) = begin().await;
    let id = world.auth.directory().by_login(&address("alice@mta.test")).unwrap().id;
    world.auth.directory_mut().remove_account(id);
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Credentials));
}

#[tokio::test]
async fn plain_messages_are_read_strictly() {
    let world = World::new().await;
    for bad in [&b""[..], b"alice", b"\0alice@mta.test", b"\0\0x", b"\0alice@mta.test\0", b"\0a\0b\0c", b"\0\xff\0x"] {
        let reply = world.start(PEER, Mechanism::Plain, bad, None).await;
        assert_eq!(failure(&reply.body), Some(Failure::Malformed), "{bad:?}");
    }
    let same = format!("Alice@mta.test\0alice@mta.test\0{PASSWORD}");
    assert!(is_success(&world.start(PEER, Mechanism::Plain, same.as_bytes(), None).await.body));
    let other = format!("bob@mta.test\0alice@mta.test\0{PASSWORD}");
    assert_eq!(failure(&world.start(PEER, Mechanism::Plain, other.as_bytes(), None).await.body), Some(Failure::Credentials));
}

/// Attack case AUTH-03: one past the limit is refused before any work.
#[tokio::test]
async fn long_passwords_are_not_hashed() {
    let world = World::new().await;
    let turns = [world.auth.hasher.turn(None, 1).await.unwrap(), world.auth.hasher.turn(None, 1).await.unwrap()];
    // No core is free, so an answer means that none was needed.
    let long = "x".repeat(MAX_PASSWORD + 1);
    assert_eq!(failure(&world.plain(PEER, "alice@mta.test", &long).await), Some(Failure::Credentials));
    drop(turns);
    assert_eq!(failure(&world.plain(PEER, "alice@mta.test", &"x".repeat(MAX_PASSWORD)).await), Some(Failure::Credentials));
}

/// Many connections of one mail program cost one check; a changed password ends that at once.
#[tokio::test]
async fn a_right_password_is_remembered_until_it_changes() {
    let world = World::new().await;
    let set = async |password: &str| {
        let request = auth_control::Request::SetPassword { address: address("locked@mta.test"), password: Password(password.into()) };
        assert_eq!(world.change(request).await, auth_control::Response::Done);
    };
    set("first").await;
    assert!(is_success(&world.plain(PEER, "locked@mta.test", "first").await));
    {
        // No core is free, so an answer means that none was needed.
        let _turns = [world.auth.hasher.turn(None, 1).await.unwrap(), world.auth.hasher.turn(None, 1).await.unwrap()];
        assert!(is_success(&world.plain(OTHER_PEER, "locked@mta.test", "first").await));
    }
    set("second").await;
    assert_eq!(failure(&world.plain(PEER, "locked@mta.test", "first").await), Some(Failure::Credentials));
    assert!(is_success(&world.plain(PEER, "locked@mta.test", "second").await));
}

#[tokio::test]
async fn who_fails_too_often_waits_and_others_do_not() {
    let world = World::new().await;
    for _ in 0..4 {
        assert_eq!(failure(&world.plain(PEER, "bob@mta.test", "wrong").await), Some(Failure::Credentials));
    }
    assert_eq!(failure(&world.plain(PEER, "bob@mta.test", "bob's own").await), Some(Failure::TooMany));
    assert_eq!(failure(&world.scram(PEER, "alice@mta.test", PASSWORD, None).await), Some(Failure::TooMany));
    assert_eq!(failure(&world.plain(PEER, "nosuch@mta.test", "x").await), Some(Failure::TooMany));
    assert!(is_success(&world.plain(OTHER_PEER, "bob@mta.test", "bob's own").await));
    assert!(is_success(&world.scram(OTHER_PEER, "alice@mta.test", PASSWORD, None).await));
    world.pass(10);
    assert!(is_success(&world.plain(PEER, "bob@mta.test", "bob's own").await));
}

/// A hundred guesses sent at once are counted like a hundred guesses sent one by one.
#[tokio::test]
async fn parallel_guesses_are_counted() {
    let world = Arc::new(World::new().await);
    let guesses: Vec<_> = (0..100)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { failure(&world.plain(PEER, "alice@mta.test", "wrong").await) })
        })
        .collect();
    let mut tried = 0;
    for guess in guesses {
        match guess.await.unwrap() {
            Some(Failure::Credentials) => tried += 1,
            other => assert_eq!(other, Some(Failure::TooMany)),
        }
    }
    // Three are free, the fourth shuts the door, and the second core may have begun another.
    assert!((4..=6).contains(&tried), "{tried}");
}

#[tokio::test]
async fn no_socket_is_a_temporary_failure() {
    let world = World::new().await;
    world.store.is_busy.store(true, Ordering::Relaxed);
    assert_eq!(failure(&world.plain(PEER, "alice@mta.test", PASSWORD).await), Some(Failure::Unavailable));
    world.store.is_busy.store(false, Ordering::Relaxed);
    assert!(is_success(&world.plain(PEER, "alice@mta.test", PASSWORD).await));
}

#[tokio::test]
async fn impossible_requests_end_the_connection_and_the_next_one_works() {
    let world = World::new().await;
    let request = Request::Start {
        session: SessionId(1),
        peer: PEER.parse().unwrap(),
        mechanism: Mechanism::ScramSha256Plus,
        initial: b"p=tls-exporter,,n=a,r=x".to_vec().into(),
        channel_binding: Some(vec![0; 31].into()),
    };
    assert!(world.login.call(&request, &[]).await.is_err());
    assert!(is_success(&world.plain(PEER, "alice@mta.test", PASSWORD).await));
}

#[tokio::test]
async fn the_operator_adds_and_removes() {
    use auth_control::{Request::*, Response::*};
    let world = World::new().await;
    let refused = |refusal| Refused(refusal);
    let add = |text: &str| AddAccount { address: address(text), password: Some(Password("s3cret".into())), quota: Some(5000) };
    assert_eq!(world.change(add("carol@new.test")).await, refused(Refusal::DomainNotHosted));
    assert_eq!(world.change(AddDomain(Domain::parse("new.test").unwrap())).await, Done);
    assert_eq!(world.change(AddDomain(Domain::parse("new.test").unwrap())).await, refused(Refusal::Taken));
    assert_eq!(world.change(add("carol@new.test")).await, Done);
    assert_eq!(world.change(add("Carol@new.test")).await, refused(Refusal::Taken));
    assert_eq!(world.change(add("a.liddell@mta.test")).await, refused(Refusal::Taken));
    assert!(is_success(&world.plain(PEER, "carol@new.test", "s3cret").await));
    assert!(is_success(&world.scram(PEER, "carol@new.test", "s3cret", None).await));

    let set = |text: &str, password: &str| SetPassword { address: address(text), password: Password(password.into()) };
    assert_eq!(world.change(set("carol@new.test", "other")).await, Done);
    assert_eq!(failure(&world.plain(PEER, "carol@new.test", "s3cret").await), Some(Failure::Credentials));
    assert!(is_success(&world.plain(PEER, "carol@new.test", "other").await));
    assert_eq!(world.change(set("carol@new.test", "")).await, refused(Refusal::Password));
    assert_eq!(world.change(set("carol@new.test", &"x".repeat(1025))).await, refused(Refusal::Password));
    assert_eq!(world.change(set("carol@new.test", "a\nb")).await, refused(Refusal::Password));
    assert_eq!(world.change(set("nosuch@new.test", "x")).await, refused(Refusal::NotFound));
    // A declared account may have its password set here, one with a declared verifier may not.
    assert_eq!(world.change(set("locked@mta.test", "opened")).await, Done);
    assert!(is_success(&world.plain(PEER, "locked@mta.test", "opened").await));
    assert_eq!(world.change(set("alice@mta.test", "mine")).await, refused(Refusal::Declared));

    let alias = |text: &str, target: &str| AddAlias { address: address(text), targets: List::new(vec![address(target)]).unwrap() };
    assert_eq!(world.change(alias("team@new.test", "carol@new.test")).await, Done);
    assert_eq!(world.change(alias("team@new.test", "bob@mta.test")).await, refused(Refusal::Taken));
    assert_eq!(world.change(alias("x@elsewhere.test", "bob@mta.test")).await, refused(Refusal::DomainNotHosted));
    assert_eq!(world.change(alias("loop@new.test", "loop@new.test")).await, refused(Refusal::AliasLoop));
    assert_eq!(world.change(alias("loop@new.test", "loop+x@new.test")).await, refused(Refusal::AliasLoop));
    assert_eq!(world.change(alias("one@new.test", "two@new.test")).await, Done);
    assert_eq!(world.change(alias("two@new.test", "one@new.test")).await, refused(Refusal::AliasLoop));
    assert!(matches!(world.resolve("team@new.test").await, auth_directory::Response::Targets(_)));

    assert_eq!(world.change(RemoveDomain(Domain::parse("new.test").unwrap())).await, refused(Refusal::InUse));
    assert_eq!(world.change(RemoveDomain(Domain::parse("mta.test").unwrap())).await, refused(Refusal::Declared));
    assert_eq!(world.change(RemoveDomain(Domain::parse("no.test").unwrap())).await, refused(Refusal::NotFound));
    assert_eq!(world.change(RemoveAccount(address("alice@mta.test"))).await, refused(Refusal::Declared));
    assert_eq!(world.change(RemoveAccount(address("info@mta.test"))).await, refused(Refusal::NotFound));
    assert_eq!(world.change(RemoveAlias(address("info@mta.test"))).await, refused(Refusal::Declared));
    for change in [RemoveAlias(address("team@new.test")), RemoveAlias(address("one@new.test")), RemoveAccount(address("carol@new.test"))] {
        assert_eq!(world.change(change).await, Done);
    }
    assert_eq!(failure(&world.plain(PEER, "carol@new.test", "other").await), Some(Failure::Credentials));
    assert_eq!(world.change(RemoveDomain(Domain::parse("new.test").unwrap())).await, Done);
    assert_eq!(world.resolve("carol@new.test").await, auth_directory::Response::NotLocal);
}

#[tokio::test]
async fn lists_tell_what_is_declared() {
    use auth_control::{Request, Response};
    let world = World::new().await;
    let added = address("carol@mta.test");
    assert_eq!(world.change(Request::AddAccount { address: added, password: None, quota: Some(5000) }).await, Response::Done);
    let Response::Accounts(accounts) = world.change(Request::Accounts).await else { panic!() };
    let shown: Vec<_> = accounts.iter().map(|a| (a.address.to_string(), a.declared, a.can_log_in, a.quota)).collect();
    let row = |name: &str, declared, can_log_in, quota| (format!("{name}@mta.test"), declared, can_log_in, quota);
    assert_eq!(
        shown,
        [
            row("alice", true, true, Some(1 << 30)),
            row("bob", true, true, None),
            row("carol", false, false, Some(5000)),
            row("locked", true, false, None)
        ]
    );
    let Response::Aliases(aliases) = world.change(Request::Aliases).await else { panic!() };
    assert_eq!((aliases.len(), aliases[0].declared, aliases[0].targets.len()), (1, true, 2));
    assert_eq!(
        world.change(Request::Domains).await,
        Response::Domains(List::new(vec![(Domain::parse("mta.test").unwrap(), true)]).unwrap())
    );
}

#[tokio::test]
async fn a_change_is_on_disk_when_it_is_done() {
    let world = World::new().await;
    let request =
        auth_control::Request::AddAccount { address: address("carol@mta.test"), password: Some(Password("x".into())), quota: None };
    assert_eq!(world.change(request).await, auth_control::Response::Done);
    let id = world.auth.directory().by_login(&address("carol@mta.test")).unwrap().id;
    world.auth.reload(&Config::parse(CONFIG).unwrap(), &credentials()).unwrap();
    let directory = world.auth.directory();
    let carol = directory.by_login(&address("carol@mta.test")).unwrap();
    assert!(carol.id == id && carol.verifiers.can_log_in());
    assert!(world.files.path().join("auth.db").exists());
}

#[tokio::test]
async fn the_directory_answers_the_queue() {
    let world = World::new().await;
    let auth_directory::Response::Targets(targets) = world.resolve("Alice+news@mta.test").await else { panic!() };
    let [Target::Account { owner, detail }] = &*targets else { panic!() };
    assert_eq!((owner.address.clone(), detail.as_ref().map(Text::as_str)), (address("alice@mta.test"), Some("news")));
    assert_eq!(world.resolve("nosuch@mta.test").await, auth_directory::Response::Unknown);
    assert_eq!(world.resolve("alice@elsewhere.test").await, auth_directory::Response::NotLocal);
    let account = owner.account;
    let may = async |addresses: &[&str]| {
        let addresses = List::new(addresses.iter().map(|a| Text::new(*a).unwrap()).collect()).unwrap();
        let request = auth_directory::Request::MaySend { account, addresses };
        world.directory.call(&request, &[]).await.unwrap().body == auth_directory::Response::MaySend(true)
    };
    assert!(may(&["alice@mta.test", "A.Liddell@mta.test", "alice+x@mta.test"]).await);
    for foreign in ["bob@mta.test", "info@mta.test", "nosuch@mta.test", "alice@elsewhere.test", "not an address", ""] {
        assert!(!may(&["alice@mta.test", foreign]).await, "{foreign}");
    }
    assert!(!may(&[]).await);
}

#[tokio::test]
async fn a_reload_takes_over_accounts_and_verifiers() {
    let world = World::new().await;
    let id = world.auth.directory().by_login(&address("alice@mta.test")).unwrap().id;
    let config = Config::parse(&CONFIG.replace("locked@mta.test", "dave@mta.test")).unwrap();
    let changed = secrets(&[
        ("alice@mta.test", cheap_phc("new")),
        ("bob@mta.test", "hunter2".into()),
        ("dave@mta.test", cheap_phc("dave")),
        ("nobody@mta.test", cheap_phc("x")),
    ]);
    world.auth.reload(&config, &changed).unwrap();
    assert!(is_success(&world.plain(PEER, "alice@mta.test", "new").await));
    assert!(is_success(&world.plain(PEER, "dave@mta.test", "dave").await));
    assert_eq!(failure(&world.plain(PEER, "alice@mta.test", PASSWORD).await), Some(Failure::Credentials));
    // A credential that cannot be read shuts its account.
    assert_eq!(failure(&world.plain(PEER, "bob@mta.test", "bob's own").await), Some(Failure::Credentials));
    let directory = world.auth.directory();
    assert_eq!(directory.by_login(&address("alice@mta.test")).unwrap().id, id);
    assert!(directory.by_login(&address("locked@mta.test")).is_none());
}

#[test]
fn a_debug_print_of_a_login_holds_no_password() {
    let request = Request::Continue { exchange: 1, response: PASSWORD.as_bytes().to_vec().into() };
    assert!(!format!("{request:?}").contains(PASSWORD) && !format!("{request:?}").contains(&BASE64.encode(PASSWORD.as_bytes())));
}
