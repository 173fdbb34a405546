//! Real sockets, and a queue that does as it is told.

use crate::{
    backend::Backend,
    message::{Budget, Message},
    service::{Backends, Entry, LINGERING, Service},
    session,
};
use exposed_tls::{Accepted, Gate, Tls};
use pure_addr::{AccountId, Address, Domain, ReversePath, Text};
use pure_sasl::Secret;
use pure_smtp::{AuthVerdict, Limits, Mechanism, RecipientVerdict, Role, SenderVerdict, Settings};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::{
    net::IpAddr,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use wire::{
    Client, Conn, Error, List, Reply, SealedMessage, Served,
    edge::{
        auth_login::{self, AuthForSubmission},
        mail::{self, Envelope, Owner, QueueId, Reason, SessionId, Submitted},
        queue_inbound::{QueueInbound, Request, Response},
        queue_submit::{self, QueueSubmit},
    },
};

/// The queue's behaviour, and what it has taken.
#[derive(Default)]
struct Queue {
    /// Answers to come; `None` breaks the connection. Without any, the message is accepted.
    answers: Mutex<Vec<Option<Submitted>>>,
    /// How many recipient checks break the connection before one is answered.
    breaks: Mutex<u32>,
    asked: Mutex<u32>,
    taken: Mutex<Vec<(Envelope, Vec<u8>)>>,
}

impl wire::Service<QueueInbound> for Queue {
    async fn call(&self, request: Request, mut fds: Vec<OwnedFd>) -> Result<Reply<QueueInbound>, Error> {
        *self.asked.lock().unwrap() += 1;
        let body = match request {
            Request::Recipient { recipient, .. } => {
                let mut breaks = self.breaks.lock().unwrap();
                if *breaks > 0 {
                    *breaks -= 1;
                    return Err(Error::Malformed("as told"));
                }
                Response::Recipient(match (recipient.domain.as_str(), recipient.local.as_str()) {
                    ("mta.test", "alice" | "bob") => mail::RecipientVerdict::Accept,
                    ("mta.test", _) => mail::RecipientVerdict::Unknown,
                    _ => mail::RecipientVerdict::NoRelay,
                })
            }
            Request::Submit(envelope) => {
                match self.answers.lock().unwrap().pop() {
                    Some(Some(answer)) => return Ok(Reply::new(Response::Submitted(answer))),
                    Some(None) => return Err(Error::Malformed("as told")),
                    None => {}
                }
                let message = SealedMessage::from_fd(fds.pop().unwrap(), 1 << 30).unwrap();
                self.taken.lock().unwrap().push((*envelope, message.read_all().unwrap()));
                Response::Submitted(Submitted::Accepted(QueueId(0x2a)))
            }
        };
        Ok(Reply::new(body))
    }
}

fn listener(path: &Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&socket, 16).unwrap();
    socket
}

struct World {
    service: Arc<Service>,
    queue: Arc<Queue>,
    stop: watch::Sender<bool>,
    listener: TcpListener,
    gate: Arc<Gate>,
    _dir: TempDir,
}

impl World {
    async fn new(with_queue: bool, change: impl FnOnce(&mut Limits), budget: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let queue = Arc::new(Queue::default());
        let path = dir.path().join("queue");
        if with_queue {
            tokio::spawn(wire::serve::<QueueInbound, Queue>(listener(&path), queue.clone()));
        }
        let mut limits = Limits::DEFAULT;
        change(&mut limits);
        let (stop, stopping) = watch::channel(false);
        let service = Service {
            settings: Arc::new(Settings { role: Role::Mx, hostname: Domain::parse("mx.mta.test").unwrap(), postmaster: None, limits }),
            tls: Tls::start::<wire::edge::keys_tls::KeysForMx>(dir.path().join("keys"), &["smtp"]).unwrap(),
            budget: Budget::new(budget, budget),
            lingering: Semaphore::new(LINGERING),
            stopping,
            backends: Backends::new(Entry::Inbound(Client::new(path))),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { service: Arc::new(service), queue, stop, listener, gate: Gate::new(10, 10), _dir: dir }
    }

    async fn usual() -> Self {
        Self::new(true, |_| {}, 1 << 30).await
    }

    /// A client that has sent `first` before the server accepts.
    async fn connect(&self, first: &[u8]) -> Peer {
        let mut client = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        client.write_all(first).await.unwrap();
        let (stream, peer) = self.listener.accept().await.unwrap();
        let slot = self.gate.enter(peer.ip()).unwrap();
        tokio::spawn(session::serve(self.service.clone(), Accepted { stream, peer, session: SessionId(7), slot }, false));
        Peer { stream: BufReader::new(client) }
    }

    /// With a transaction that has a recipient.
    async fn ready(&self) -> Peer {
        let mut peer = self.connect(b"").await;
        peer.expect("220 mx.mta.test").await;
        peer.say("EHLO mx.evil.test\r\n", "250").await;
        peer.say("MAIL FROM:<x@evil.test> BODY=8BITMIME RET=HDRS ENVID=e\r\n", "250").await;
        peer.say("RCPT TO:<alice@mta.test> NOTIFY=NEVER ORCPT=rfc822;a@b.test\r\n", "250").await;
        peer
    }

    fn taken(&self) -> Vec<(Envelope, Vec<u8>)> {
        std::mem::take(&mut *self.queue.taken.lock().unwrap())
    }
}

struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    async fn say(&mut self, text: &str, reply: &str) -> String {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.expect(reply).await
    }

    /// Reads one whole reply.
    async fn expect(&mut self, start: &str) -> String {
        let mut reply = String::new();
        loop {
            let from = reply.len();
            let n = self.stream.read_line(&mut reply).await.unwrap();
            assert!(n > 0, "closed instead of {start:?}, after {reply:?}");
            if reply.as_bytes().get(from + 3) != Some(&b'-') {
                break;
            }
        }
        assert!(reply.starts_with(start), "{reply:?} instead of {start:?}");
        reply
    }

    async fn closed(mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_reaches_the_queue_sealed_with_its_envelope() {
    let world = World::usual().await;
    let mut peer = world.ready().await;
    peer.say("DATA\r\n", "354").await;
    let body = "Subject: t\r\n\r\n..dot\r\n".to_owned() + &"0123456789abcdef\r\n".repeat(60_000);
    peer.say(&(body.clone() + ".\r\n"), "250 2.0.0 Accepted as 000000000000002a").await;
    peer.say("QUIT\r\n", "221").await;
    peer.closed().await;
    let (envelope, content) = world.taken().remove(0);
    assert_eq!(content, body.replace("..dot", ".dot").as_bytes());
    assert_eq!((envelope.session, envelope.helo.as_str(), envelope.extended), (SessionId(7), "mx.evil.test", true));
    assert_eq!((envelope.body, envelope.ret, envelope.tls), (mail::Body::EightBitMime, Some(mail::Ret::Headers), None));
    assert!(envelope.peer.is_loopback());
    let recipient = &envelope.recipients[0];
    assert_eq!(recipient.notify, Some(mail::Notify { success: false, failure: false, delay: false }));
    assert_eq!(recipient.orcpt.as_ref().unwrap().1.as_str(), "a@b.test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_brings_many_messages() {
    let world = World::usual().await;
    let mut peer = world.connect(b"").await;
    peer.expect("220").await;
    peer.say("EHLO a\r\n", "250").await;
    for n in 0..50 {
        peer.say("MAIL FROM:<>\r\nRCPT TO:<alice@mta.test>\r\nBDAT 3 LAST\r\na\r\n", "250").await;
        peer.expect("250").await;
        peer.expect("250 2.0.0 Accepted").await;
        assert_eq!(world.queue.taken.lock().unwrap().len(), n + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_queue_nothing_is_accepted() {
    let world = World::new(false, |_| {}, 1 << 20).await;
    let mut peer = world.connect(b"").await;
    peer.expect("220").await;
    peer.say("EHLO a\r\n", "250").await;
    peer.say("MAIL FROM:<>\r\n", "250").await;
    peer.say("RCPT TO:<alice@mta.test>\r\n", "451 4.3.0").await;
    peer.say("DATA\r\n", "554").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_is_asked_for_once_more_after_a_restart() {
    let world = World::usual().await;
    *world.queue.breaks.lock().unwrap() = 1;
    world.ready().await;
    assert_eq!(*world.queue.asked.lock().unwrap(), 2);
    *world.queue.breaks.lock().unwrap() = 2;
    let mut peer = world.connect(b"").await;
    peer.expect("220").await;
    peer.say("EHLO a\r\n", "250").await;
    peer.say("MAIL FROM:<>\r\n", "250").await;
    peer.say("RCPT TO:<alice@mta.test>\r\n", "451").await;
    peer.say("RCPT TO:<alice@mta.test>\r\n", "250").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_may_have_been_heard_is_not_handed_over_twice() {
    let world = World::usual().await;
    let mut peer = world.ready().await;
    let asked = *world.queue.asked.lock().unwrap();
    world.queue.answers.lock().unwrap().push(None);
    peer.say("DATA\r\n", "354").await;
    peer.say("x\r\n.\r\n", "451 4.3.0").await;
    assert_eq!(*world.queue.asked.lock().unwrap(), asked + 1);
    // The next transaction finds the queue again.
    peer.say("MAIL FROM:<>\r\n", "250").await;
    peer.say("RCPT TO:<bob@mta.test>\r\n", "250").await;
    peer.say("BDAT 0 LAST\r\n", "250").await;
    assert_eq!(world.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_can_refuse_and_defer() {
    let world = World::usual().await;
    for (answer, reply) in [(Submitted::Deferred, "451 4.3.0"), (Submitted::Rejected(Reason::Loop), "554 5.4.6")] {
        let mut peer = world.ready().await;
        world.queue.answers.lock().unwrap().push(Some(answer));
        peer.say("BDAT 0 LAST\r\n", reply).await;
    }
    assert!(world.taken().is_empty());
}

/// A client that comes again at once is not one too many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_is_free_when_the_last_reply_is_there() {
    let mut world = World::usual().await;
    world.gate = Gate::new(10, 1);
    for _ in 0..20 {
        let mut peer = world.connect(b"").await;
        peer.expect("220").await;
        assert!(world.gate.enter(IpAddr::from([127, 0, 0, 1])).is_none());
        peer.say("QUIT\r\n", "221").await;
        drop(world.gate.enter(IpAddr::from([127, 0, 0, 1])).unwrap());
    }
}

/// Attack case SMUG-11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_first_is_refused() {
    let world = World::usual().await;
    let mut peer = world.connect(b"EHLO mx.evil.test\r\nMAIL FROM:<x@evil.test>\r\n").await;
    peer.expect("554 5.5.0").await;
    peer.closed().await;
}

/// Attack case SMUG-01 on the wire: one reply, then the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smuggled_commands_get_no_reply() {
    let world = World::usual().await;
    let mut peer = world.ready().await;
    peer.say("DATA\r\n", "354").await;
    let smuggled = "MAIL FROM:<admin@mta.test>\r\nRCPT TO:<bob@mta.test>\r\nDATA\r\nFrom: admin@mta.test\r\n\r\nsmuggled\r\n.\r\n";
    peer.say(&format!("Subject: t\r\n\r\nvisible\n.\r\n{smuggled}"), "554 5.6.0").await;
    peer.closed().await;
    assert!(world.taken().is_empty());
}

/// STARTTLS injection: what follows in clear text is forgotten, and without a handshake there is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaintext_behind_starttls_is_not_executed() {
    let world = World::usual().await;
    let mut peer = world.ready().await;
    peer.say("STARTTLS\r\nNOOP\r\n", "220 2.0.0").await;
    // `keys` is not there, so the handshake cannot even begin.
    peer.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_says_good_bye_between_transactions() {
    let world = World::usual().await;
    let mut peer = world.connect(b"").await;
    peer.expect("220").await;
    world.stop.send_replace(true);
    peer.expect("421 4.3.2").await;
    peer.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_lets_a_transaction_end() {
    let world = World::usual().await;
    let mut peer = world.ready().await;
    peer.say("DATA\r\n", "354").await;
    world.stop.send_replace(true);
    peer.say("x\r\n.\r\n", "250 2.0.0 Accepted").await;
    peer.expect("421 4.3.2").await;
    assert_eq!(world.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_told_so() {
    let world = World::new(true, |limits| limits.command_time = Duration::from_millis(50), 1 << 20).await;
    let mut peer = world.connect(b"").await;
    peer.expect("220").await;
    peer.expect("421 4.4.2").await;
    peer.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_content_it_is_deferred() {
    let world = World::new(true, |_| {}, 1000).await;
    for content in ["x\r\n".repeat(20_000), "x\r\n".repeat(334)] {
        let mut peer = world.ready().await;
        peer.say("DATA\r\n", "354").await;
        peer.say(&(content + ".\r\n"), "451 4.3.0").await;
        peer.say("NOOP\r\n", "250").await;
    }
    // What was taken has been given back.
    let mut peer = world.ready().await;
    peer.say(&format!("BDAT 1000 LAST\r\n{}", "12345678\r\n".repeat(100)), "250").await;
    assert_eq!(world.taken().len(), 1);
}

/// The class of Exim CVE-2026-45185: the end of the connection inside a chunk or a message is the end of nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_in_content_leaves_nothing() {
    let world = World::new(true, |_| {}, 10_000).await;
    for begin in ["BDAT 5000 LAST\r\nabc\r\n", "BDAT 3\r\na\r\n"] {
        let mut peer = world.ready().await;
        peer.stream.write_all(begin.as_bytes()).await.unwrap();
        peer.stream.get_mut().shutdown().await.unwrap();
        let mut rest = Vec::new();
        peer.stream.read_to_end(&mut rest).await.unwrap();
    }
    assert!(world.taken().is_empty());
    // All of the budget is there again.
    let mut whole = Message::new(&world.service.budget, std::net::IpAddr::from([127, 0, 0, 1]), 10_000).unwrap();
    whole.append(&[0; 10_000]).unwrap();
}

/// A login service with one account, and the queue behind it.
struct Auth {
    queue: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl wire::Service<AuthForSubmission> for Auth {
    async fn call(&self, request: auth_login::Request, _fds: Vec<OwnedFd>) -> Result<Reply<AuthForSubmission>, Error> {
        let owner = Owner { account: AccountId::new(1).unwrap(), address: alice(), quota: None };
        Ok(match request {
            auth_login::Request::Start { initial, .. } if initial.as_slice() == b"\0alice@mta.test\0secret" => {
                let (ours, theirs) = Conn::pair().unwrap();
                *self.queue.lock().unwrap() = Some(tokio::spawn(submit(ours)));
                Reply::with_fd(auth_login::Response::Success { owner, data: None }, theirs)
            }
            auth_login::Request::Start { .. } => {
                Reply::new(auth_login::Response::Challenge { exchange: 5, data: serde_bytes::ByteBuf::from(b"more".as_slice()) })
            }
            auth_login::Request::Continue { exchange: 5, .. } => {
                Reply::new(auth_login::Response::Failure(auth_login::Failure::Credentials))
            }
            auth_login::Request::Continue { .. } => Reply::new(auth_login::Response::Failure(auth_login::Failure::Malformed)),
            auth_login::Request::Abort { .. } => Reply::new(auth_login::Response::Aborted),
        })
    }
}

async fn submit(fd: OwnedFd) {
    let served = Served::<QueueSubmit>::new(fd, Duration::from_secs(10)).await.unwrap();
    while let Ok((id, request, _fds)) = served.request().await {
        let body = match request {
            queue_submit::Request::Sender(path) => queue_submit::Response::Sender(Some(path.address() == Some(&alice()))),
            queue_submit::Request::Recipient(_) => queue_submit::Response::Recipient(mail::RecipientVerdict::Accept),
            queue_submit::Request::Submit(_) => queue_submit::Response::Submitted(Submitted::Accepted(QueueId(9))),
        };
        served.answer(id, &Reply::new(body)).await.unwrap();
    }
}

fn alice() -> Address {
    Address::parse("alice@mta.test").unwrap()
}

fn envelope() -> Envelope {
    Envelope {
        session: SessionId(1),
        peer: IpAddr::from([127, 0, 0, 1]),
        helo: Text::lossy(b"a"),
        extended: true,
        smtputf8: false,
        require_tls: false,
        tls: None,
        reverse_path: ReversePath::Address(alice()),
        body: mail::Body::SevenBit,
        ret: None,
        envid: None,
        recipients: List::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_opens_the_queue_and_its_loss_ends_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth");
    let auth = Arc::new(Auth { queue: Mutex::new(None) });
    tokio::spawn(wire::serve::<AuthForSubmission, Auth>(listener(&path), auth.clone()));
    let backends = Backends::new(Entry::Login(Client::new(&path)));
    let mut backend = Backend::new(&backends, SessionId(1), IpAddr::from([127, 0, 0, 1]));

    assert!(backend.sender(ReversePath::Null).await.is_err(), "nothing before a login");
    let secret = |bytes: &[u8]| Secret::new(bytes.to_vec());
    assert_eq!(backend.log_in(Mechanism::ScramSha256, &secret(b"n,,"), None).await, AuthVerdict::Challenge(b"more".to_vec()));
    assert_eq!(backend.go_on(&secret(b"c=")).await, AuthVerdict::Refused);
    assert_eq!(backend.go_on(&secret(b"c=")).await, AuthVerdict::Malformed);
    assert_eq!(backend.log_in(Mechanism::Plain, &secret(b"\0alice@mta.test\0secret"), None).await, AuthVerdict::Success(None));
    assert_eq!(backend.owner().unwrap().address, alice());

    assert_eq!(backend.sender(ReversePath::Address(alice())).await.unwrap(), SenderVerdict::Accept);
    assert_eq!(backend.sender(ReversePath::Null).await.unwrap(), SenderVerdict::NotYours);
    assert_eq!(backend.recipient(ReversePath::Null, alice()).await.unwrap(), RecipientVerdict::Accept);
    let message = wire::MessageWriter::sealed(b"x\r\n").unwrap();
    assert_eq!(backend.commit(envelope(), &message).await.unwrap(), Submitted::Accepted(QueueId(9)));

    // The queue is killed: this command is deferred, the next one finds nobody.
    let task = auth.queue.lock().unwrap().take().unwrap();
    task.abort();
    let _ = task.await;
    assert_eq!(backend.commit(envelope(), &message).await.unwrap(), Submitted::Deferred);
    assert!(backend.sender(ReversePath::Null).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_auth_nobody_logs_in() {
    let backends = Backends::new(Entry::Login(Client::new("/nonexistent/auth")));
    let mut backend = Backend::new(&backends, SessionId(1), IpAddr::from([127, 0, 0, 1]));
    let verdict = backend.log_in(Mechanism::Plain, &Secret::new(b"\0a\0b".to_vec()), None).await;
    assert_eq!(verdict, AuthVerdict::Unavailable);
    backend.abort().await;
}
