//! From the first byte to the login, with an auth that knows alice.

use super::world::{Client, World};
use crate::{
    connection::Connection,
    login::{self, Peer},
    plaintext,
    server::Server,
    session::{self, Stop},
};
use exposed_tls::{Room, Stream, Tls};
use pure_addr::{AccountId, Address};
use serde_bytes::ByteBuf;
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use wire::{
    Error, Reply, Service,
    edge::{
        auth_login::{AuthForImap, Failure, Mechanism, Request, Response},
        mail::{Owner, SessionId},
    },
};

/// Knows alice, and counts how often it was asked.
#[derive(Default)]
struct Auth {
    world: World,
    calls: AtomicU32,
}

impl Auth {
    fn success(&self, data: Option<&[u8]>) -> Reply<AuthForImap> {
        let owner = Owner { account: AccountId::new(1).unwrap(), address: Address::parse("alice@mta.test").unwrap(), quota: None };
        Reply::with_fd(Response::Success { owner, data: data.map(|d| ByteBuf::from(d.to_vec())) }, self.world.socket())
    }
}

impl Service<AuthForImap> for Auth {
    async fn call(&self, request: Request, _fds: Vec<OwnedFd>) -> Result<Reply<AuthForImap>, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(match request {
            Request::Start { mechanism: Mechanism::Plain, initial, .. } if initial.as_slice() == b"\0alice\0secret-alice" => {
                self.success(None)
            }
            Request::Start { mechanism: Mechanism::Plain, .. } => Reply::new(Response::Failure(Failure::Credentials)),
            Request::Start { initial, .. } if initial.as_slice() == b"client-first" => {
                Reply::new(Response::Challenge { exchange: 5, data: ByteBuf::from(b"server-first".to_vec()) })
            }
            Request::Continue { exchange: 5, response } if response.as_slice() == b"client-final" => self.success(Some(b"server-final")),
            Request::Abort { .. } => Reply::new(Response::Aborted),
            _ => Reply::new(Response::Failure(Failure::Malformed)),
        })
    }
}

pub(super) struct House {
    server: Arc<Server>,
    auth: Arc<Auth>,
    _directory: tempfile::TempDir,
}

pub(super) async fn house() -> House {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    let auth = Arc::new(Auth { world: World::with_messages(2), calls: AtomicU32::new(0) });
    tokio::spawn(wire::serve::<AuthForImap, Auth>(socket, auth.clone()));
    let server = Arc::new(Server {
        tls: Tls::start::<wire::edge::keys_tls::KeysForImap>(directory.path().join("none"), &["imap"]).unwrap(),
        auth: wire::Client::new(path),
        stop: Stop(None),
        message_limit: super::world::MESSAGE_LIMIT,
        uploads: Room::new(super::world::UPLOADS, super::world::UPLOADS),
    });
    House { server, auth, _directory: directory }
}

impl House {
    /// A connection as if it had come through TLS.
    pub(super) async fn client(&self) -> Client {
        let (ours, theirs) = sockets().await;
        let server = self.server.clone();
        let peer = Peer { address: ours.local_addr().unwrap(), session: SessionId(1) };
        let ended = tokio::spawn(async move {
            let mut conn = Connection::new(Stream::Plain(theirs));
            let deadline = Instant::now() + crate::limits::PRE_AUTH;
            match login::until_login(&mut conn, &server, peer, true, deadline).await? {
                Some(account) => session::after_login(conn, account, server.message_limit, server.uploads.clone(), Stop(None)).await,
                None => Ok(()),
            }
        });
        let mut client = Client::new(ours, ended);
        assert!(client.line().await.starts_with("* OK [CAPABILITY IMAP4rev1 IMAP4rev2 "));
        client
    }

    /// A connection to the port with STARTTLS; the task returns whether TLS would begin.
    async fn plaintext(&self) -> (Client, tokio::task::JoinHandle<bool>) {
        let (ours, theirs) = sockets().await;
        let task = tokio::spawn(async move { plaintext::until_starttls(theirs).await.unwrap().is_some() });
        (Client::new(ours, tokio::spawn(async { Ok(()) })), task)
    }

    fn calls(&self) -> u32 {
        self.auth.calls.load(Ordering::SeqCst)
    }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (theirs, _) = listener.accept().await.unwrap();
    (ours, theirs)
}

#[tokio::test(flavor = "multi_thread")]
async fn login_and_authenticate() {
    let house = house().await;
    for login in ["LOGIN alice secret-alice", "LOGIN \"alice\" {12+}\r\nsecret-alice", "AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldC1hbGljZQ=="] {
        let mut client = house.client().await;
        let answers = client.ok(login).await;
        assert!(answers[0].starts_with("OK [CAPABILITY IMAP4rev1 IMAP4rev2") && answers[0].contains(" MOVE "), "{answers:?}");
        assert!(client.ok("SELECT INBOX").await.contains(&"* 2 EXISTS".to_owned()));
    }
    let mut client = house.client().await;
    client.send("a AUTHENTICATE PLAIN\r\n").await;
    assert_eq!(client.line().await, "+ ");
    client.send("AGFsaWNlAHNlY3JldC1hbGljZQ==\r\n").await;
    assert!(client.answers("a").await[0].starts_with("OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_shows_the_servers_last_message() {
    let house = house().await;
    let mut client = house.client().await;
    let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    client.send(format!("a AUTHENTICATE SCRAM-SHA-256 {}\r\n", base64("client-first"))).await;
    assert_eq!(client.line().await, format!("+ {}", base64("server-first")));
    client.send(format!("{}\r\n", base64("client-final"))).await;
    assert_eq!(client.line().await, format!("+ {}", base64("server-final")));
    client.send("\r\n").await;
    assert!(client.answers("a").await[0].starts_with("OK"));

    let mut client = house.client().await;
    client.send(format!("a AUTHENTICATE SCRAM-SHA-256 {}\r\n", base64("client-first"))).await;
    client.line().await;
    client.send("*\r\n").await;
    assert_eq!(client.answers("a").await, ["BAD AUTHENTICATE cancelled"]);
    // Without TLS 1.3 there is nothing to bind to.
    assert_eq!(client.ask("AUTHENTICATE SCRAM-SHA-256-PLUS").await, ["NO [CANNOT] No such mechanism"]);
    assert_eq!(client.ask("AUTHENTICATE EXTERNAL =").await, ["NO [CANNOT] No such mechanism"]);
}

/// Attack class AUTH: what is not exactly base64 is no message, and no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn base64_is_strict() {
    let house = house().await;
    let mut client = house.client().await;
    for odd in ["AGFsaWNlAHNlY3JldC1hbGljZQ==AA==", "AA==AA==", "AA", "AB==", "AGFsaWNlAHNlY3JldC1hbGljZQ"] {
        assert_eq!(client.ask(&format!("AUTHENTICATE PLAIN {odd}")).await, ["BAD Not base64"], "{odd}");
    }
    assert_eq!(house.calls(), 0);
}

/// Attack cases AUTH-01 and AUTH-03: one text for every failure; three, and the connection ends; long passwords are not verified.
#[tokio::test(flavor = "multi_thread")]
async fn failures_look_alike_and_are_few() {
    let house = house().await;
    let mut client = house.client().await;
    assert!(client.ask(&format!("LOGIN alice {}", "x".repeat(1025))).await[0].starts_with("NO [LIMIT]"));
    assert_eq!(house.calls(), 0);
    for login in ["LOGIN alice wrong", "LOGIN nosuch wrong"] {
        assert_eq!(client.ask(login).await, ["NO [AUTHENTICATIONFAILED] Wrong name or password"]);
    }
    assert_eq!(client.ask("AUTHENTICATE PLAIN AHgAeA==").await, ["NO [AUTHENTICATIONFAILED] Wrong name or password"]);
    assert_eq!(client.line().await, "* BYE Too many errors");
}

/// Attack case IMAP-01.
#[tokio::test(flavor = "multi_thread")]
async fn literals_before_login() {
    let house = house().await;
    for literal in ["{4294967295}", "{18446744073709551616}", "{-1}", "{1", "{1}}", "~{10}"] {
        let mut client = house.client().await;
        let answers = client.ask(&format!("LOGIN {literal}")).await;
        assert!(answers[0].starts_with("BAD"), "{literal}: {answers:?}");
        client.ok("NOOP").await;
    }
    let mut client = house.client().await;
    client.send("a LOGIN {99999999+}\r\n").await;
    assert_eq!(client.line().await, "* BYE literal too long");
    assert_eq!(house.calls(), 0);
}

/// Attack cases IMAP-03 and IMAP-05.
#[tokio::test(flavor = "multi_thread")]
async fn endless_lines_before_login() {
    let house = house().await;
    for (start, unit) in [("", "A"), ("a LOGIN ", "("), ("a2 LOGIN \"", "\\\\"), ("a2 LOGIN \"", " ")] {
        let mut client = house.client().await;
        client.send(format!("{start}{}", unit.repeat(9_000))).await;
        assert_eq!(client.line().await, "* BYE command line too long");
    }
    let mut client = house.client().await;
    client.send("a2 AUTHENTICATE PLAIN\r\n").await;
    client.line().await;
    client.send("A".repeat(9_000)).await;
    assert_eq!(client.line().await, "* BYE command line too long");
}

/// Attack case LOG-01: the name is one value for auth, whatever is in it.
#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_only_wrong() {
    let house = house().await;
    for name in [
        "{39+}\r\nx\r\nlogin ok user=admin rip=198.51.100.9",
        "\"\u{1b}]0;pwn\u{7}\"",
        "\"a\u{2028}b\"",
        "\"x\\\"} {\\\"user\\\":\\\"admin\"",
    ] {
        let mut client = house.client().await;
        let answers = client.ask(&format!("LOGIN {name} x")).await;
        assert_eq!(answers, ["NO [AUTHENTICATIONFAILED] Wrong name or password"], "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_before_login() {
    let house = house().await;
    let mut client = house.client().await;
    for command in ["SELECT INBOX", "LIST \"\" *", "IDLE", "ENABLE QRESYNC", "STARTTLS", "APPEND INBOX {3+}\r\nabc", "FETCH 1 BODY[]"] {
        assert!(client.ask(command).await[0].starts_with("BAD"), "{command}");
    }
    assert!(client.ok("CAPABILITY").await[0].contains("AUTH=SCRAM-SHA-256"));
    assert_eq!(client.ok("LOGOUT").await[0], "* BYE Good-bye");
}

/// Attack case STLS-02: what came with STARTTLS is forgotten, and nobody logs in without TLS.
#[tokio::test(flavor = "multi_thread")]
async fn plaintext_leads_only_to_tls() {
    let house = house().await;
    let (mut client, task) = house.plaintext().await;
    assert!(client.line().await.contains("STARTTLS LOGINDISABLED"));
    assert_eq!(client.ask("LOGIN alice secret-alice").await, ["NO [PRIVACYREQUIRED] Use STARTTLS first"]);
    assert_eq!(client.ask("AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldC1hbGljZQ==").await, ["NO [PRIVACYREQUIRED] Use STARTTLS first"]);
    assert!(client.ask("SELECT INBOX").await[0].starts_with("BAD"));
    client.send("a STARTTLS\r\nb LOGIN alice secret-alice\r\n").await;
    assert_eq!(client.line().await, "a OK Begin TLS");
    assert_eq!(client.line().await, "(closed)");
    assert!(task.await.unwrap());
    assert_eq!(house.calls(), 0);
}

/// Attack case STLS-09: an HTTP request ends the connection with one word, before TLS and in it; after login it is an error like others.
#[tokio::test(flavor = "multi_thread")]
async fn http_ends_the_connection() {
    let house = house().await;
    let request = "POST / HTTP/1.1\r\nHost: mta.test\r\n\r\na LOGIN alice secret-alice\r\n";
    let (mut client, task) = house.plaintext().await;
    client.line().await;
    let mut within_tls = house.client().await;
    for client in [&mut client, &mut within_tls] {
        client.send(request).await;
        assert_eq!(client.line().await, "* BYE This is a mail server");
        assert_eq!(client.line().await, "(closed)");
    }
    assert!(!task.await.unwrap());
    assert_eq!(house.calls(), 0);
    let mut client = house.client().await;
    client.ok("LOGIN alice secret-alice").await;
    client.send("x / HTTP/1.1\r\n").await;
    assert_eq!(client.answers("x").await, ["BAD Unknown command"]);
}

/// Attack case IMAP-14: the deadline is absolute; bytes do not move it.
#[tokio::test(start_paused = true)]
async fn a_slow_client_is_sent_away_after_a_minute() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server {
        tls: Tls::start::<wire::edge::keys_tls::KeysForImap>(directory.path().join("none"), &["imap"]).unwrap(),
        auth: wire::Client::new(directory.path().join("sock")),
        stop: Stop(None),
        message_limit: 1,
        uploads: Room::new(0, 0),
    };
    let (mut ours, theirs) = sockets().await;
    let peer = Peer { address: ours.local_addr().unwrap(), session: SessionId(1) };
    let started = Instant::now();
    let dripping = tokio::spawn(async move {
        while tokio::io::AsyncWriteExt::write_all(&mut ours, b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    });
    let mut conn = Connection::new(Stream::Plain(theirs));
    let deadline = started + crate::limits::PRE_AUTH;
    assert!(login::until_login(&mut conn, &server, peer, true, deadline).await.unwrap().is_none());
    assert!(started.elapsed() <= Duration::from_secs(63), "{:?}", started.elapsed());
    dripping.abort();
}

/// Attack class BOMB, before login: short questions with long answers, and nobody reads them.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_a_stranger_does_not_read_do_not_pile_up() {
    let house = house().await;
    let (ours, theirs) = sockets().await;
    let peer = Peer { address: ours.local_addr().unwrap(), session: SessionId(1) };
    let mut conn = Connection::new(Stream::Plain(theirs));
    let mut client = Client::new(ours, tokio::spawn(async { Ok(()) }));
    client.send(format!("{}x LOGOUT\r\n", "a CAPABILITY\r\n".repeat(4_000))).await;
    let reading = tokio::spawn(async move { client.answers("x").await.len() });
    let deadline = Instant::now() + crate::limits::PRE_AUTH;
    assert!(login::until_login(&mut conn, &house.server, peer, true, deadline).await.unwrap().is_none());
    assert_eq!(reading.await.unwrap(), 8_003);
    assert!(conn.out.capacity() <= 2 * crate::limits::OUTPUT, "{}", conn.out.capacity());
}
