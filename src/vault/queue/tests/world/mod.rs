//! The processes around the queue, as fakes behind real sockets.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "shared by several tests")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is the report of a test")]

use postern_queue::{Clock, Options, Queue, limits::Limits, settings::Settings};
use pure_addr::{AccountId, Address, Domain, ReversePath, Text};
use pure_index::{Field, Identity, MessageIndex, Part, Span, Structure, judgement::Judgement};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::AbortHandle};
use wire::{
    Client, Error, List, MessageWriter, Reply, SealedMessage, Service, Session,
    edge::{
        auth_directory::{self, AuthDirectory, Target},
        keys_dkim::{self, KeysDkim, SignedField, SigningInput},
        mail::{Body, Envelope, Owner, QueueId, Recipient, SessionId, Submitted},
        queue_control::{self, Action, Filter, QueueControl},
        queue_grant::{self, QueueGrant},
        queue_inbound::{self, QueueInbound},
        queue_submit::{self, QueueSubmit},
        scan_index::{self, ScanForQueue},
        send_deliver::{self, Lease, Outcome, Report, SendDeliver, Status, TlsResult, Trace},
        store_deliver::{self, DeliveryId, Life as StoreLife, StoreDeliver},
    },
    serve,
};

pub const MESSAGE: &[u8] = b"From: x@remote.test\r\nSubject: hello\r\n\r\nHello.\r\n";
/// A limit on how long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub fn owner(id: u64, name: &str) -> Owner {
    Owner { account: AccountId::new(id).unwrap(), address: address(name), quota: None }
}

pub fn envelope(from: &str, to: &[&str]) -> Box<Envelope> {
    let recipients = to.iter().map(|t| Recipient { address: address(t), notify: None, orcpt: None }).collect();
    Box::new(Envelope {
        session: SessionId(0x11),
        peer: "192.0.2.7".parse().unwrap(),
        helo: Text::new("client.remote.test").unwrap(),
        extended: true,
        smtputf8: false,
        require_tls: false,
        tls: None,
        reverse_path: if from.is_empty() { ReversePath::Null } else { ReversePath::Address(address(from)) },
        body: Body::EightBitMime,
        ret: None,
        envid: None,
        recipients: List::new(recipients).unwrap(),
    })
}

/// The index of a message without parts.
pub fn index(message: &[u8], identity: Identity) -> MessageIndex {
    let header = message.windows(4).position(|w| w == b"\r\n\r\n").map_or(message.len(), |p| p + 4) as u32;
    let mut fields = Vec::new();
    let mut at = 0;
    for line in message[..header as usize].split_inclusive(|b| *b == b'\n') {
        let end = at + line.len() as u32;
        if let Some(colon) = line.iter().position(|b| *b == b':') {
            fields.push(Field { span: Span { start: at, end }, name_len: colon as u16 });
        }
        at = end;
    }
    let part = Part {
        header: Span { start: 0, end: header },
        body: Span { start: header, end: message.len() as u32 },
        lines: 1,
        media_type: "text".as_bytes().to_vec().into(),
        subtype: "plain".as_bytes().to_vec().into(),
        fields,
        ..Part::default()
    };
    MessageIndex { structure: Structure::new(vec![part]).unwrap(), identity, ..MessageIndex::default() }
}

pub fn alices_identity() -> Identity {
    Identity { from_fields: 1, authors: vec!["alice@mta.test".into()], ..Identity::default() }
}

/// Lets calls through, or holds them.
pub struct Gate(watch::Sender<bool>);

impl Gate {
    fn new() -> Self {
        Self(watch::Sender::new(true))
    }
    pub fn close(&self) {
        self.0.send_replace(false);
    }
    pub fn open(&self) {
        self.0.send_replace(true);
    }
    async fn pass(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

pub struct Scan {
    pub identity: Mutex<Identity>,
    /// `From` as it is to be signed.
    pub from: Mutex<Vec<u8>>,
    pub failing: Mutex<bool>,
    pub lying: Mutex<bool>,
    /// What is said of messages of strangers, and the connections that brought them.
    pub judgement: Mutex<Judgement>,
    pub connections: Mutex<Vec<scan_index::Connection>>,
    /// The ARC sets that messages have.
    pub sets: Mutex<Vec<keys_dkim::SealedSet>>,
    pub gate: Gate,
    pub calls: watch::Sender<u64>,
}

impl Service<ScanForQueue> for Scan {
    async fn call(&self, request: scan_index::QueueRequest, fds: Vec<OwnedFd>) -> Result<Reply<ScanForQueue>, Error> {
        let fd = fds.into_iter().next().ok_or(Error::Malformed("no message"))?;
        let message = SealedMessage::from_fd(fd, 1 << 30).unwrap();
        self.calls.send_modify(|n| *n += 1);
        self.gate.pass().await;
        if *self.failing.lock().unwrap() {
            return Ok(Reply::new(scan_index::QueueResponse::Failed));
        }
        let mut bytes = message.read_all()?;
        match request {
            scan_index::QueueRequest::Index(_) => {}
            scan_index::QueueRequest::Judge(connection) => {
                if *self.lying.lock().unwrap() {
                    bytes.push(b'x');
                }
                self.connections.lock().unwrap().push(*connection);
                let found = Box::new(index(&bytes, self.identity.lock().unwrap().clone()));
                let judgement = self.judgement.lock().unwrap().clone();
                return Ok(Reply::new(scan_index::QueueResponse::Judged(found, Box::new(judgement))));
            }
            scan_index::QueueRequest::ToSeal(prefix) => {
                let from = SignedField { name: Text::new("from").unwrap(), value: Some(self.from.lock().unwrap().clone().into()) };
                let mut hash = [0; 32];
                hash[0] = prefix.len() as u8;
                let input = SigningInput { body_hash: hash, fields: List::new(vec![from]).unwrap() };
                let sets = self.sets.lock().unwrap().clone();
                return Ok(Reply::new(scan_index::QueueResponse::ToSeal(Box::new(input), List::new(sets).unwrap())));
            }
            scan_index::QueueRequest::ToSign(prefix) => {
                let mut hash = [0; 32];
                hash[0] = prefix.len() as u8;
                let from = SignedField { name: Text::new("from").unwrap(), value: Some(self.from.lock().unwrap().clone().into()) };
                let input = SigningInput { body_hash: hash, fields: List::new(vec![from]).unwrap() };
                return Ok(Reply::new(scan_index::QueueResponse::ToSign(Box::new(input))));
            }
            scan_index::QueueRequest::SevenBit => {
                bytes.extend(b"(seven bits)\r\n");
                let fd = MessageWriter::sealed(&bytes)?.as_fd().try_clone_to_owned()?;
                return Ok(Reply::with_fd(scan_index::QueueResponse::SevenBit, fd));
            }
        }
        if *self.lying.lock().unwrap() {
            bytes.push(b'x');
        }
        let found = Box::new(index(&bytes, self.identity.lock().unwrap().clone()));
        Ok(Reply::new(scan_index::QueueResponse::Index(scan_index::Response::Indexed(found))))
    }
}

pub struct Directory {
    pub entries: Mutex<HashMap<String, Vec<Target>>>,
    /// Addresses that account 1 may send as.
    pub own: Mutex<Vec<String>>,
    pub failing: Mutex<bool>,
    pub calls: AtomicU64,
}

impl Service<AuthDirectory> for Directory {
    async fn call(&self, request: auth_directory::Request, _: Vec<OwnedFd>) -> Result<Reply<AuthDirectory>, Error> {
        if let auth_directory::Request::Changed(_) = request {
            // Nothing may be kept: tests change the entries.
            std::future::pending::<()>().await;
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        if *self.failing.lock().unwrap() {
            return Err(Error::Refused);
        }
        Ok(Reply::new(match request {
            auth_directory::Request::Resolve(address) => match self.entries.lock().unwrap().get(&address.key()) {
                Some(targets) => auth_directory::Response::Targets(List::new(targets.clone()).unwrap()),
                None if address.domain.as_str() == "mta.test" => auth_directory::Response::Unknown,
                None => auth_directory::Response::NotLocal,
            },
            auth_directory::Request::Changed(_) => auth_directory::Response::Generation(1),
            auth_directory::Request::MaySend { account, addresses } => {
                let own = self.own.lock().unwrap();
                auth_directory::Response::MaySend(account.get() == 1 && addresses.iter().all(|a| own.iter().any(|o| o == a.as_str())))
            }
        }))
    }
}

/// One message in an account.
#[derive(Debug, Clone)]
pub struct Stored {
    pub account: u64,
    pub quota: Option<u64>,
    pub text: Vec<u8>,
    pub index: MessageIndex,
    pub mailbox: String,
    pub received_at: i64,
}

pub struct Store {
    pub stored: Mutex<BTreeMap<(u64, u32), Stored>>,
    /// How many times each delivery was asked for.
    pub asked: Mutex<HashMap<DeliveryId, u32>>,
    pub refuse: Mutex<HashMap<u64, store_deliver::Response>>,
    pub deliver_gate: Gate,
    pub sync_gate: Gate,
    pub syncs: watch::Sender<u64>,
    pub settled: watch::Sender<u64>,
    pub changed: watch::Sender<usize>,
    /// Deliveries that were asked for, counted before the gate.
    pub arrived: watch::Sender<u64>,
    /// Counts the starts of the store.
    pub life: AtomicU64,
    pub fast: bool,
}

impl Service<StoreDeliver> for Store {
    async fn call(&self, request: store_deliver::Request, fds: Vec<OwnedFd>) -> Result<Reply<StoreDeliver>, Error> {
        Ok(Reply::new(match request {
            store_deliver::Request::Deliver(delivery) => {
                if !self.fast {
                    *self.asked.lock().unwrap().entry(delivery.id).or_insert(0) += 1;
                }
                self.arrived.send_modify(|n| *n += 1);
                self.deliver_gate.pass().await;
                let life = StoreLife(self.life.load(Ordering::Relaxed));
                let account = delivery.owner.account.get();
                if let Some(refusal) = self.refuse.lock().unwrap().get(&account) {
                    return Ok(Reply::new(*refusal));
                }
                let message = SealedMessage::from_fd(fds.into_iter().next().unwrap(), 1 << 30).unwrap();
                if self.fast {
                    self.changed.send_modify(|n| *n += 1);
                    return Ok(Reply::new(store_deliver::Response::Delivered(life)));
                }
                let mut text = delivery.prefix.to_vec();
                text.extend(message.read_all()?);
                let mut stored = self.stored.lock().unwrap();
                let quota = delivery.owner.quota;
                stored.entry((delivery.id.message.0, delivery.id.number)).or_insert(Stored {
                    account,
                    quota,
                    text,
                    index: delivery.index,
                    mailbox: delivery.mailbox.as_str().to_owned(),
                    received_at: delivery.received_at,
                });
                self.changed.send_replace(stored.len());
                store_deliver::Response::Delivered(life)
            }
            store_deliver::Request::Sync => {
                self.syncs.send_modify(|n| *n += 1);
                self.sync_gate.pass().await;
                store_deliver::Response::Synced(StoreLife(self.life.load(Ordering::Relaxed)))
            }
            store_deliver::Request::Settled(id) => {
                self.settled.send_replace(id.0);
                store_deliver::Response::Settled
            }
        }))
    }
}

impl Store {
    /// Waits until so many messages are in accounts.
    pub async fn holds(&self, n: usize) {
        soon("deliveries", self.changed.subscribe().wait_for(|have| *have >= n)).await.unwrap();
    }

    pub fn all(&self) -> Vec<Stored> {
        self.stored.lock().unwrap().values().cloned().collect()
    }
}

/// Says what a script says, and remembers what it was given.
pub struct Send {
    /// What becomes of mail for an address, the next first; the last one stays. Without any it is delivered.
    pub script: Mutex<HashMap<String, Vec<Outcome>>>,
    /// What becomes of mail for a domain that has no script for the address.
    pub domains: Mutex<HashMap<String, Outcome>>,
    /// Leases with the whole text of their messages.
    pub leases: Mutex<Vec<(Lease, String)>>,
    /// Recipients that were delivered to.
    pub delivered: Mutex<Vec<(QueueId, u32, Address)>>,
    /// A recipient that was delivered to is not again: a remote that knows the message's number.
    pub remembers: Mutex<bool>,
    pub tls: Mutex<Vec<TlsResult>>,
    pub report_to: Mutex<Option<Vec<Address>>>,
    /// The connection ends instead of an answer.
    pub dying: Mutex<bool>,
    /// What every lease is answered with, whatever it was about.
    pub lies: Mutex<Option<Vec<(u32, Outcome)>>>,
    pub gate: Gate,
    pub asked: watch::Sender<u64>,
    pub answered: watch::Sender<u64>,
}

pub fn trace(status: Status, reply: Option<&str>) -> Trace {
    Trace { status, reply: reply.map(|r| Text::new(r).unwrap()), text: Text::new("said the script").unwrap(), remote: None }
}

pub fn refused() -> Outcome {
    Outcome::Failed(trace(Status(5, 1, 1), Some("550 5.1.1 no such user")))
}

pub fn later() -> Outcome {
    Outcome::Deferred(trace(Status(4, 2, 1), Some("451 4.2.1 later")))
}

pub fn unreachable() -> Outcome {
    Outcome::Deferred(trace(Status(4, 4, 1), None))
}

pub fn taken(dsn: bool) -> Outcome {
    Outcome::Delivered { dsn, trace: trace(Status(2, 0, 0), Some("250 2.0.0 OK")) }
}

impl Send {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::default(),
            domains: Mutex::default(),
            leases: Mutex::default(),
            delivered: Mutex::default(),
            remembers: Mutex::new(false),
            tls: Mutex::default(),
            report_to: Mutex::new(Some(Vec::new())),
            dying: Mutex::new(false),
            lies: Mutex::new(None),
            gate: Gate::new(),
            asked: watch::Sender::new(0),
            answered: watch::Sender::new(0),
        })
    }

    pub fn says(&self, to: &str, outcomes: &[Outcome]) {
        self.script.lock().unwrap().insert(to.into(), outcomes.to_vec());
    }

    pub fn domain(&self, domain: &str, outcome: Option<Outcome>) {
        match outcome {
            Some(outcome) => self.domains.lock().unwrap().insert(domain.into(), outcome),
            None => self.domains.lock().unwrap().remove(domain),
        };
    }

    fn outcome(&self, address: &Address) -> Outcome {
        let mut script = self.script.lock().unwrap();
        match script.get_mut(&address.key()) {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None => self.domains.lock().unwrap().get(address.domain.as_str()).cloned().unwrap_or_else(|| taken(false)),
        }
    }

    /// Waits until so many leases were answered.
    pub async fn has_answered(&self, n: u64) {
        soon("leases", self.answered.subscribe().wait_for(|have| *have >= n)).await.unwrap();
    }

    pub fn lease(&self, n: usize) -> (Lease, String) {
        self.leases.lock().unwrap()[n].clone()
    }

    pub fn copies(&self, to: &str) -> usize {
        self.delivered.lock().unwrap().iter().filter(|(_, _, a)| a.key() == to).count()
    }
}

impl Service<SendDeliver> for Send {
    async fn call(&self, request: send_deliver::Request, fds: Vec<OwnedFd>) -> Result<Reply<SendDeliver>, Error> {
        let lease = match request {
            send_deliver::Request::ReportTo(_) => {
                let to = self.report_to.lock().unwrap().clone();
                return Ok(Reply::new(send_deliver::Response::ReportTo(to.map(|to| List::new(to).unwrap()))));
            }
            send_deliver::Request::Known { id, numbers } => {
                let remembers = *self.remembers.lock().unwrap();
                let delivered = self.delivered.lock().unwrap();
                let known = |number: &&u32| remembers && delivered.iter().any(|(i, n, _)| (i, n) == (&id, *number));
                let results = numbers.iter().filter(known).map(|number| (*number, taken(false))).collect();
                let report = Report { results: List::new(results).unwrap(), tls: List::default() };
                return Ok(Reply::new(send_deliver::Response::Report(Box::new(report))));
            }
            send_deliver::Request::Deliver(lease) => *lease,
        };
        let message = SealedMessage::from_fd(fds.into_iter().next().unwrap(), 1 << 30).unwrap();
        let mut text = lease.prefix.to_vec();
        text.extend(message.read_all()?);
        self.leases.lock().unwrap().push((lease.clone(), String::from_utf8_lossy(&text).into_owned()));
        self.asked.send_modify(|n| *n += 1);
        self.gate.pass().await;
        if *self.dying.lock().unwrap() {
            return Err(Error::Malformed("the script ends it"));
        }
        let mut results = self.lies.lock().unwrap().clone().unwrap_or_default();
        let honest = results.is_empty();
        for recipient in lease.recipients.iter().filter(|_| honest) {
            let id = (lease.id, recipient.number, recipient.address.clone());
            let known = *self.remembers.lock().unwrap() && self.delivered.lock().unwrap().contains(&id);
            let outcome = if known { taken(false) } else { self.outcome(&recipient.address) };
            if matches!(outcome, Outcome::Delivered { .. }) && !known {
                self.delivered.lock().unwrap().push(id);
            }
            results.push((recipient.number, outcome));
        }
        self.answered.send_modify(|n| *n += 1);
        let tls = List::new(self.tls.lock().unwrap().clone()).unwrap();
        Ok(Reply::new(send_deliver::Response::Report(Box::new(Report { results: List::new(results).unwrap(), tls }))))
    }
}

/// Signs for mta.test.
pub struct Keys {
    pub unavailable: Mutex<bool>,
}

impl Service<KeysDkim> for Keys {
    async fn call(&self, request: keys_dkim::Request, _: Vec<OwnedFd>) -> Result<Reply<KeysDkim>, Error> {
        let (domain, time, input) = match request {
            keys_dkim::Request::Sign { domain, time, input } => (domain, time, input),
            keys_dkim::Request::Seal(seal) => {
                let field = format!("ARC-Seal: i={}; d={}; h={}\r\n", seal.sets.len() + 1, seal.domain, seal.host).into_bytes().into();
                let sealed = List::new(vec![field]).unwrap();
                let unavailable = *self.unavailable.lock().unwrap();
                return Ok(Reply::new(if unavailable {
                    keys_dkim::Response::Unavailable
                } else {
                    keys_dkim::Response::Signatures(sealed)
                }));
            }
        };
        Ok(Reply::new(if *self.unavailable.lock().unwrap() {
            keys_dkim::Response::Unavailable
        } else if domain.as_str() == "mta.test" {
            let field = |a: &str| format!("DKIM-Signature: a={a}; d={domain}; t={time}; bh={}\r\n", input.body_hash[0]).into_bytes().into();
            keys_dkim::Response::Signatures(List::new(vec![field("ed25519-sha256"), field("rsa-sha256")]).unwrap())
        } else {
            keys_dkim::Response::NotOurs
        }))
    }
}

pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as i64, Ordering::Relaxed);
    }
    pub fn set_back(&self, by: Duration) {
        self.0.fetch_sub(by.as_millis() as i64, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything but the queue.
pub struct World {
    pub dir: tempfile::TempDir,
    pub scan: Arc<Scan>,
    pub directory: Arc<Directory>,
    pub store: Arc<Store>,
    pub send: Arc<Send>,
    pub keys: Arc<Keys>,
    pub clock: Arc<TestClock>,
}

pub fn listener(path: &Path) -> OwnedFd {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&fd, 64).unwrap();
    fd
}

impl World {
    pub fn new() -> Self {
        Self::with(false)
    }

    /// `fast` keeps nothing, for measuring.
    pub fn with(fast: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scan = Arc::new(Scan {
            identity: Mutex::new(alices_identity()),
            from: Mutex::new(b"Alice <alice@mta.test>".to_vec()),
            failing: Mutex::new(false),
            lying: Mutex::new(false),
            judgement: Mutex::default(),
            connections: Mutex::default(),
            sets: Mutex::default(),
            gate: Gate::new(),
            calls: watch::Sender::new(0),
        });
        let target = |id, name: &str| Target::Account { owner: owner(id, name), detail: None };
        let (alice, bob) = (target(1, "alice@mta.test"), target(2, "bob@mta.test"));
        let entries = HashMap::from([
            ("alice@mta.test".into(), vec![alice.clone()]),
            ("alice+list@mta.test".into(), vec![alice.clone()]),
            ("bob@mta.test".into(), vec![bob.clone()]),
            ("postmaster@mta.test".into(), vec![target(9, "postmaster@mta.test")]),
            ("team@mta.test".into(), vec![alice.clone(), bob, Target::Remote(address("carol@remote.test"))]),
        ]);
        let directory = Arc::new(Directory {
            entries: Mutex::new(entries),
            own: Mutex::new(vec!["alice@mta.test".into(), "al@mta.test".into()]),
            failing: Mutex::new(false),
            calls: AtomicU64::new(0),
        });
        let store = Arc::new(Store {
            stored: Mutex::default(),
            asked: Mutex::default(),
            refuse: Mutex::default(),
            deliver_gate: Gate::new(),
            sync_gate: Gate::new(),
            syncs: watch::Sender::new(0),
            settled: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            arrived: watch::Sender::new(0),
            life: AtomicU64::new(1),
            fast,
        });
        tokio::spawn(serve::<ScanForQueue, _>(listener(&dir.path().join("scan")), scan.clone()));
        tokio::spawn(serve::<AuthDirectory, _>(listener(&dir.path().join("directory")), directory.clone()));
        tokio::spawn(serve::<StoreDeliver, _>(listener(&dir.path().join("store")), store.clone()));
        let (send, keys) = (Send::new(), Arc::new(Keys { unavailable: Mutex::new(false) }));
        tokio::spawn(serve::<SendDeliver, _>(listener(&dir.path().join("send")), send.clone()));
        tokio::spawn(serve::<KeysDkim, _>(listener(&dir.path().join("keys")), keys.clone()));
        let clock = Arc::new(TestClock(AtomicI64::new(1_763_695_887_000)));
        Self { dir, scan, directory, store, send, keys, clock }
    }

    /// An empty state directory.
    pub fn state(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// What a `kill -9` now would leave behind: the files as other processes see them.
    pub fn killed(&self, state: &Path, name: &str) -> PathBuf {
        let copy = self.state(name);
        copy_dir(state, &copy);
        copy
    }

    pub fn options(&self, state: &Path) -> Options {
        Options {
            state: state.to_owned(),
            hostname: Domain::parse("mail.mta.test").unwrap(),
            message_size: 32 << 20,
            scan: self.dir.path().join("scan"),
            directory: self.dir.path().join("directory"),
            store: self.dir.path().join("store"),
            keys: self.dir.path().join("keys"),
            send: self.dir.path().join("send"),
            settings: Settings {
                send: pure_config::SendConfig::default(),
                mx: pure_config::MxConfig::default(),
                sending: pure_config::SendingLimits::default(),
                postmaster: address("postmaster@mta.test"),
                hide_client: BTreeMap::new(),
            },
            clock: self.clock.clone(),
            random: Arc::new(|| 0),
            limits: Limits {
                free_disk: 0,
                sync_delay: Duration::from_millis(1),
                lazy_delay: Duration::from_millis(1),
                settle_idle: Duration::from_millis(1),
                ..Limits::default()
            },
        }
    }

    pub fn start(&self, state: &Path) -> Life {
        Life::start(self.options(state))
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A queue that runs, and connections to it.
pub struct Life {
    pub queue: Option<Queue>,
    pub inbound: Arc<Client<QueueInbound>>,
    pub grant: Client<QueueGrant>,
    pub control: Client<QueueControl>,
    pub sockets: tempfile::TempDir,
    serving: Vec<AbortHandle>,
}

impl Life {
    pub fn start(options: Options) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let queue = Queue::open(options).unwrap();
        let path = |name: &str| sockets.path().join(name);
        let serving = vec![
            tokio::spawn(serve::<QueueInbound, _>(listener(&path("inbound")), queue.inbound())).abort_handle(),
            tokio::spawn(serve::<QueueGrant, _>(listener(&path("grant")), queue.grant())).abort_handle(),
            tokio::spawn(serve::<QueueControl, _>(listener(&path("control")), queue.control())).abort_handle(),
        ];
        Self {
            queue: Some(queue),
            inbound: Arc::new(Client::new(path("inbound"))),
            grant: Client::new(path("grant")),
            control: Client::new(path("control")),
            sockets,
            serving,
        }
    }

    pub fn queue(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    /// Stops without finishing anything.
    pub fn stop(mut self) {
        for task in &self.serving {
            task.abort();
        }
        self.queue.take().unwrap().stop();
    }

    pub async fn submit(&self, envelope: Box<Envelope>, message: &[u8]) -> Submitted {
        submit(&self.inbound, envelope, message).await
    }

    pub async fn accepted(&self, to: &[&str]) -> QueueId {
        match self.submit(envelope("x@remote.test", to), MESSAGE).await {
            Submitted::Accepted(id) => id,
            other => panic!("{other:?}"),
        }
    }

    pub async fn verdict(&self, to: &str) -> wire::edge::mail::RecipientVerdict {
        let request = queue_inbound::Request::Recipient { reverse_path: ReversePath::Null, recipient: address(to) };
        match self.inbound.call(&request, &[]).await.unwrap().body {
            queue_inbound::Response::Recipient(verdict) => verdict,
            other => panic!("{other:?}"),
        }
    }

    pub async fn ask(&self, request: queue_control::Request) -> queue_control::Response {
        self.control.call(&request, &[]).await.unwrap().body
    }

    pub async fn change(&self, action: Action, filter: Filter) -> u64 {
        match self.ask(queue_control::Request::Change { action, filter }).await {
            queue_control::Response::Done(n) => n,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until a recipient of a message was tried so often, or until the message has come so far that it is not there any more.
    pub async fn tried(&self, id: QueueId, attempts: u32) -> queue_control::Recipient {
        soon("an attempt", async {
            loop {
                if let Some(found) = self.recipients(id).await.into_iter().find(|r| r.attempts >= attempts && r.next_attempt.is_some()) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    pub async fn list(&self) -> Vec<queue_control::Message> {
        match self.ask(queue_control::Request::List { after: QueueId(0), filter: queue_control::Filter::default() }).await {
            queue_control::Response::Messages(list) => list.into_vec(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn recipients(&self, id: QueueId) -> Vec<queue_control::Recipient> {
        match self.ask(queue_control::Request::Show(id)).await {
            queue_control::Response::Message(shown) => shown.1.into_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the spool holds so many messages.
    pub async fn keeps(&self, n: usize) {
        soon("messages in the spool", async {
            while self.list().await.len() != n {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until a recipient's status is this.
    pub async fn status(&self, id: QueueId, status: &str) -> queue_control::Recipient {
        soon(status, async {
            loop {
                if let Some(found) = self.recipients(id).await.into_iter().find(|r| r.status.as_str() == status) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// A session as auth gets it for a login.
    pub async fn login(&self, owner: Owner) -> Option<Submission> {
        let request = queue_grant::Request::Session { owner, session: SessionId(7) };
        let mut reply = self.grant.call(&request, &[]).await.unwrap();
        match reply.body {
            queue_grant::Response::Granted => Some(Submission(Session::new(reply.fds.remove(0)).await.unwrap())),
            queue_grant::Response::Busy | queue_grant::Response::Ended => None,
        }
    }
}

pub async fn submit(client: &Client<QueueInbound>, envelope: Box<Envelope>, message: &[u8]) -> Submitted {
    let message = MessageWriter::sealed(message).unwrap();
    match client.call(&queue_inbound::Request::Submit(envelope), &[message.as_fd()]).await.unwrap().body {
        queue_inbound::Response::Submitted(submitted) => submitted,
        other => panic!("{other:?}"),
    }
}

/// The client's end of queue/submit, as submission has it.
pub struct Submission(Session<QueueSubmit>);

impl Submission {
    pub async fn call(&mut self, request: &queue_submit::Request, message: Option<&[u8]>) -> Result<queue_submit::Response, Error> {
        let sealed = message.map(|m| MessageWriter::sealed(m).unwrap());
        let fds: Vec<_> = sealed.iter().map(|s| s.as_fd()).collect();
        Ok(self.0.call(request, &fds).await?.body)
    }

    pub async fn submit(&mut self, from: &str, to: &[&str]) -> Submitted {
        self.submit_whole(envelope(from, to), MESSAGE).await
    }

    pub async fn accepted(&mut self, to: &[&str]) -> QueueId {
        match self.submit("alice@mta.test", to).await {
            Submitted::Accepted(id) => id,
            other => panic!("{other:?}"),
        }
    }

    pub async fn submit_whole(&mut self, envelope: Box<Envelope>, message: &[u8]) -> Submitted {
        match self.call(&queue_submit::Request::Submit(envelope), Some(message)).await.unwrap() {
            queue_submit::Response::Submitted(submitted) => submitted,
            other => panic!("{other:?}"),
        }
    }
}
