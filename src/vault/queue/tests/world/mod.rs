//! The processes around the queue, as fakes behind real sockets.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "shared by several tests")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is the report of a test")]

mod life;
mod names;
mod scan;
mod send;
mod store;

pub use life::{Life, Submission, submit};
pub use names::{Directory, Keys};
pub use scan::{Scan, alices_identity, index};
pub use send::{Send, later, refused, taken, trace, unreachable};
pub use store::{Store, Stored};

use postern_queue::{Clock, Options, limits::Limits, settings::Settings};
use pure_addr::{AccountId, Address, Domain, ReversePath, Text};
use pure_index::judgement::{Alignment, Dmarc, DmarcPolicy, DmarcResult, Judgement};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use wire::{
    List,
    edge::{
        auth_directory::{AuthDirectory, Target},
        keys_dkim::KeysDkim,
        mail::{Body, Envelope, Owner, Recipient, SessionId},
        scan_index::ScanForQueue,
        send_deliver::SendDeliver,
        store_deliver::StoreDeliver,
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

/// What is said of a message whose author is vouched for.
pub fn proven() -> Judgement {
    let author = Some(Domain::parse("remote.test").unwrap());
    let dmarc = Dmarc { result: DmarcResult::Pass, policy: DmarcPolicy::None, alignment: Alignment::Aligned, author };
    Judgement { dmarc, ..Judgement::default() }
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
            judgement: Mutex::new(proven()),
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
