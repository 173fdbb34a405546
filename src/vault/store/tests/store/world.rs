//! A store in a temporary directory with a scan of its own, and clients of all its edges.

use postern_store::{Deliver, Grant, Options, Store};
use pure_addr::{AccountId, Address, MailboxName, Text};
use pure_index::{Envelope, EnvelopeAddress, MessageIndex, Part, SearchText, Span, Structure, fold};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use serde_bytes::ByteBuf;
use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};
use tempfile::TempDir;
use wire::{
    Client, Edge, Error, List, MessageWriter, Reply, SealedMessage, Service, Session,
    edge::{
        mail::{Owner, QueueId, SessionId},
        scan_index::{self, ScanForStore},
        store_deliver::{self, Delivery, DeliveryId, Life, StoreDeliver},
        store_grant::{self, StoreGrant},
        store_session::{
            Append, Event, Flags, Mailbox, MailboxId, Refusal, Request, Response, Row, SearchKey, StoreSession, SystemFlags, UidRange,
            Uids, Want,
        },
    },
    serve,
};

pub(crate) const ALICE: u64 = 0xa11ce;
/// What [`World::deliver`] makes of every `Delivered`, whichever life of the store it is of.
pub(crate) const DELIVERED: store_deliver::Response = store_deliver::Response::Delivered(Life(0));
/// The first start of the machine.
const FIRST_BOOT: u64 = u64::MAX - 1;
static LIVES: AtomicU64 = AtomicU64::new(1);
pub(crate) const NOW: i64 = 1_790_000_000;

pub(crate) struct World {
    pub(crate) dir: Arc<TempDir>,
    store: Option<Arc<Store>>,
    pub(crate) queue: Client<StoreDeliver>,
    pub(crate) auth: Client<StoreGrant>,
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) quota: Option<u64>,
    boot: Option<u64>,
    pub(crate) life: Life,
}

/// What PID 1 holds for the store.
pub(crate) struct Sockets {
    pub(crate) deliver: OwnedFd,
    pub(crate) grant: OwnedFd,
    pub(crate) edges: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(tempfile::tempdir().unwrap()), 64)
    }

    pub(crate) fn with(dir: Arc<TempDir>, max_open: usize) -> Self {
        Self::booted(dir, max_open, Some(FIRST_BOOT))
    }

    fn booted(dir: Arc<TempDir>, max_open: usize, boot: Option<u64>) -> Self {
        // Sockets of their own for every world, so that two can share a directory's contents.
        let sockets = dir.path().join(format!("sockets-{}", fs::read_dir(dir.path()).unwrap().count()));
        fs::create_dir(&sockets).unwrap();
        let scan = listener(&sockets.join("scan"));
        tokio::spawn(serve::<ScanForStore, _>(scan, Arc::new(Scan)));
        let life = Life(LIVES.fetch_add(1, Ordering::Relaxed));
        let clock = Arc::new(AtomicI64::new(NOW));
        let time = clock.clone();
        let options = Options {
            max_open,
            clock: Arc::new(move || time.load(Ordering::Relaxed)),
            ..Options::new(32 << 20, life, boot, Client::new(sockets.join("scan")))
        };
        let store = Store::open(dir.path(), options).unwrap();
        let deliver = listener(&sockets.join("deliver"));
        tokio::spawn(serve::<StoreDeliver, _>(deliver, Arc::new(Deliver(store.clone()))));
        let grant = listener(&sockets.join("grant"));
        tokio::spawn(serve::<StoreGrant, _>(grant, Arc::new(Grant(store.clone()))));
        let (queue, auth) = (Client::new(sockets.join("deliver")), Client::new(sockets.join("grant")));
        Self { dir, store: Some(store), queue, auth, clock, quota: None, boot, life }
    }

    /// Clients and sockets for a process of its own; its state directory is `state`.
    pub(crate) fn outside() -> (Self, Sockets) {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        fs::create_dir_all(dir.path().join("state")).unwrap();
        fs::create_dir_all(dir.path().join(ScanForStore::NAME)).unwrap();
        let scan = listener(&dir.path().join(ScanForStore::NAME).join("sock"));
        tokio::spawn(serve::<ScanForStore, _>(scan, Arc::new(Scan)));
        let [deliver, grant] = [dir.path().join("deliver"), dir.path().join("grant")];
        let sockets = Sockets { deliver: listener(&deliver), grant: listener(&grant), edges: dir.path().to_owned() };
        let (queue, auth) = (Client::new(deliver), Client::new(grant));
        (Self { dir, store: None, queue, auth, clock: Arc::default(), quota: None, boot: None, life: Life(0) }, sockets)
    }

    pub(crate) async fn housekeep(&self) {
        self.store.as_ref().unwrap().housekeep().await;
    }

    /// What another process would find if this one were killed now.
    pub(crate) fn killed(&self) -> Self {
        self.cut(|_| {})
    }

    /// The same after a new start of the machine.
    pub(crate) fn rebooted(&self) -> Self {
        self.booting(Some(FIRST_BOOT + 1))
    }

    pub(crate) fn booting(&self, boot: Option<u64>) -> Self {
        Self::booted(self.copied(|_| {}), 64, boot)
    }

    /// The same after `damage` was done to alice's directory.
    pub(crate) fn cut(&self, damage: impl FnOnce(&Path)) -> Self {
        Self::booted(self.copied(damage), 64, self.boot)
    }

    fn copied(&self, damage: impl FnOnce(&Path)) -> Arc<TempDir> {
        let copy = Arc::new(tempfile::tempdir().unwrap());
        copy_dir(&self.dir.path().join("accounts"), &copy.path().join("accounts"));
        damage(&copy.path().join(format!("accounts/{ALICE:016x}")));
        copy
    }

    pub(crate) fn files(&self, account: u64) -> PathBuf {
        self.dir.path().join(format!("accounts/{account:016x}"))
    }

    pub(crate) fn owner(&self, account: u64) -> Owner {
        let address = Address::parse("alice@example.test").unwrap();
        Owner { account: AccountId::new(account).unwrap(), address, quota: self.quota }
    }

    pub(crate) async fn session(&self) -> Front {
        self.session_of(ALICE).await
    }

    pub(crate) async fn session_of(&self, account: u64) -> Front {
        let request = store_grant::Request::Session { owner: self.owner(account), session: SessionId(1) };
        let mut reply = self.auth.call(&request, &[]).await.unwrap();
        assert_eq!(reply.body, store_grant::Response::Granted);
        Front(Session::new(reply.fds.remove(0)).await.unwrap())
    }

    pub(crate) async fn deliver(&self, queue_id: u64, mail: &Mail) -> store_deliver::Response {
        self.deliver_to(ALICE, queue_id, mail, "INBOX").await
    }

    /// Which life of the store answered is another question: see [`Self::try_deliver`].
    pub(crate) async fn deliver_to(&self, account: u64, queue_id: u64, mail: &Mail, mailbox: &str) -> store_deliver::Response {
        match self.try_deliver(account, queue_id, mail, mailbox).await {
            store_deliver::Response::Delivered(_) => DELIVERED,
            other => other,
        }
    }

    pub(crate) async fn try_deliver(&self, account: u64, queue_id: u64, mail: &Mail, mailbox: &str) -> store_deliver::Response {
        let prefix = b"Return-Path: <>\r\n".to_vec();
        let text = mail.bytes();
        let delivery = Delivery {
            id: DeliveryId { message: QueueId(queue_id), number: 0 },
            owner: self.owner(account),
            mailbox: name(mailbox),
            received_at: mail.received_at,
            index: mail.index(prefix.len() as u32 + text.len() as u32),
            prefix: ByteBuf::from(prefix),
        };
        let sealed = MessageWriter::sealed(&text).unwrap();
        let request = store_deliver::Request::Deliver(Box::new(delivery));
        self.queue.call(&request, &[sealed.as_fd()]).await.unwrap().body
    }

    pub(crate) async fn sync(&self) {
        self.synced().await;
    }

    /// Which life of the store says that it has synced.
    pub(crate) async fn synced(&self) -> Life {
        match self.queue.call(&store_deliver::Request::Sync, &[]).await.unwrap().body {
            store_deliver::Response::Synced(life) => life,
            other => panic!("{other:?}"),
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn listener(path: &Path) -> OwnedFd {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&fd, 128).unwrap();
    fd
}

/// Indexes what [`Mail::bytes`] writes.
struct Scan;

impl Service<ScanForStore> for Scan {
    async fn call(&self, _: scan_index::Request, mut fds: Vec<OwnedFd>) -> Result<Reply<ScanForStore>, Error> {
        let sealed = SealedMessage::from_fd(fds.remove(0), 1 << 30).unwrap();
        let bytes = sealed.read_all()?;
        let mail = Mail::parse(&String::from_utf8_lossy(&bytes));
        // A message that scan lies about, and one it fails on.
        let index = match mail.subject.as_str() {
            "lie" => mail.index(bytes.len() as u32 + 1),
            "fail" => return Ok(Reply::new(scan_index::Response::Failed)),
            _ => mail.index(bytes.len() as u32),
        };
        Ok(Reply::new(scan_index::Response::Indexed(Box::new(index))))
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Mail {
    pub(crate) id: String,
    pub(crate) references: Vec<String>,
    pub(crate) subject: String,
    pub(crate) from: String,
    pub(crate) text: String,
    pub(crate) sent_at: Option<i64>,
    pub(crate) sent_zone: i32,
    pub(crate) received_at: i64,
}

impl Mail {
    pub(crate) fn new(subject: &str, text: &str) -> Self {
        Self { subject: subject.into(), text: text.into(), from: "bob".into(), received_at: NOW, ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        format!("Subject: {}\r\nFrom: {}@example.test\r\nMessage-ID: <{}>\r\n\r\n{}", self.subject, self.from, self.id, self.text)
            .into_bytes()
    }

    fn parse(text: &str) -> Self {
        let (header, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let field = |name: &str| {
            let line = header.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches([':', ' ', '<']).trim_end_matches('>').to_owned()
        };
        Self { id: field("Message-ID"), from: "bob".into(), ..Self::new(&field("Subject"), body) }
    }

    fn index(&self, len: u32) -> MessageIndex {
        let root = Part {
            header: Span { start: 0, end: 10.min(len) },
            body: Span { start: 10.min(len), end: len },
            lines: 1,
            media_type: ByteBuf::from("text"),
            subtype: ByteBuf::from("plain"),
            ..Part::default()
        };
        let from =
            EnvelopeAddress { name: None, mailbox: Some(ByteBuf::from(self.from.as_str())), host: Some(ByteBuf::from("example.test")) };
        MessageIndex {
            envelope: Envelope { subject: Some(ByteBuf::from(self.subject.as_str())), from: vec![from], ..Envelope::default() },
            structure: Structure::new(vec![root]).unwrap(),
            search: SearchText {
                headers: vec![("subject".into(), fold(&self.subject)), ("from".into(), fold(&format!("{}@example.test", self.from)))],
                body: fold(&self.text),
            },
            message_id: (!self.id.is_empty()).then(|| self.id.clone()),
            references: self.references.clone(),
            base_subject: fold(self.subject.trim_start_matches("Re: ")),
            sent_at: self.sent_at,
            sent_zone: self.sent_zone,
            preview: self.text.chars().take(20).collect(),
            ..MessageIndex::default()
        }
    }
}

/// A front end.
pub(crate) struct Front(pub(crate) Session<StoreSession>);

impl Front {
    /// Every part of the answer.
    pub(crate) async fn parts(&mut self, request: &Request) -> Vec<Reply<StoreSession>> {
        self.0.start(request, &[]).await.unwrap();
        let mut parts = Vec::new();
        while let Some(part) = self.0.next().await.unwrap() {
            parts.push(part);
        }
        parts
    }

    pub(crate) async fn call(&mut self, request: &Request) -> Response {
        self.0.call(request, &[]).await.unwrap().body
    }

    pub(crate) async fn done(&mut self, request: &Request) {
        assert_eq!(self.call(request).await, Response::Done, "{request:?}");
    }

    pub(crate) async fn refused(&mut self, request: &Request, why: Refusal) {
        assert_eq!(self.parts(request).await.pop().unwrap().body, Response::Refused(why), "{request:?}");
    }

    pub(crate) async fn mailbox(&mut self, path: &str) -> Mailbox {
        match self.call(&Request::Mailbox(name(path))).await {
            Response::Mailbox(mailbox) => *mailbox,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn id(&mut self, path: &str) -> MailboxId {
        self.mailbox(path).await.id
    }

    pub(crate) async fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for part in self.parts(&Request::Mailboxes).await {
            if let Response::Mailboxes(list) = part.body {
                names.extend(list.iter().map(|m| m.name.to_string()));
            }
        }
        names
    }

    /// Names that are subscribed to and have no mailbox.
    pub(crate) async fn left(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for part in self.parts(&Request::Mailboxes).await {
            if let Response::Subscriptions(list) = part.body {
                names.extend(list.iter().map(ToString::to_string));
            }
        }
        names
    }

    /// The UIDs, and the mailbox at the end.
    pub(crate) async fn open(&mut self, path: &str) -> (Vec<u32>, Mailbox) {
        let mut parts = self.parts(&Request::Open(name(path))).await;
        let Some(Reply { body: Response::Mailbox(mailbox), .. }) = parts.pop() else { panic!("not opened") };
        let uids = parts.into_iter().flat_map(|part| if let Response::Uids(uids) = part.body { flat(&uids) } else { panic!("{part:?}") });
        (uids.collect(), *mailbox)
    }

    pub(crate) async fn fetch(&mut self, mailbox: MailboxId, ranges: &[(u32, u32)], want: Want) -> Vec<Row> {
        let request = Request::Fetch { mailbox, uids: uids(ranges), changed_since: None, want };
        self.rows(&request).await
    }

    pub(crate) async fn rows(&mut self, request: &Request) -> Vec<Row> {
        let mut rows = Vec::new();
        for part in self.parts(request).await {
            match part.body {
                Response::Rows(list) => rows.extend(list),
                Response::Done => {}
                other => panic!("{other:?}"),
            }
        }
        rows
    }

    /// The messages' bytes.
    pub(crate) async fn bodies(&mut self, mailbox: MailboxId, ranges: &[(u32, u32)]) -> Vec<Vec<u8>> {
        let request = Request::Fetch { mailbox, uids: uids(ranges), changed_since: None, want: Want::BODY.union(Want::SIZE) };
        let mut out = Vec::new();
        for part in self.parts(&request).await {
            let Response::Rows(rows) = part.body else { continue };
            let files: Vec<fs::File> = part.fds.into_iter().map(fs::File::from).collect();
            for row in &rows {
                let body = row.body.unwrap();
                assert_eq!(Some(body.len), row.size);
                let mut bytes = vec![0; body.len as usize];
                files[usize::from(body.fd)].read_exact_at(&mut bytes, body.offset).unwrap();
                out.push(bytes);
            }
        }
        out
    }

    /// Vanished UIDs, changed rows, the mailbox.
    pub(crate) async fn changes(&mut self, mailbox: MailboxId, since: u64) -> (Vec<u32>, Vec<Row>, Mailbox) {
        let request = Request::Changes { mailbox, since: wire::edge::store_session::ModSeq(since) };
        let (mut vanished, mut rows) = (Vec::new(), Vec::new());
        for part in self.parts(&request).await {
            match part.body {
                Response::Vanished(uids) => vanished.extend(flat(&uids)),
                Response::Rows(list) => rows.extend(list),
                Response::Mailbox(mailbox) => return (vanished, rows, *mailbox),
                other => panic!("{other:?}"),
            }
        }
        panic!("no end");
    }

    pub(crate) async fn append(&mut self, path: &str, mails: &[(Mail, Flags)]) -> Response {
        let sealed: Vec<SealedMessage> = mails.iter().map(|(mail, _)| MessageWriter::sealed(&mail.bytes()).unwrap()).collect();
        let fds: Vec<_> = sealed.iter().map(AsFd::as_fd).collect();
        let messages = mails.iter().map(|(_, flags)| Append { flags: flags.clone(), received_at: Some(NOW) }).collect();
        let request = Request::Append { to: name(path), messages: List::new(messages).unwrap() };
        self.0.call(&request, &fds).await.unwrap().body
    }

    pub(crate) async fn search(&mut self, mailbox: MailboxId, program: &[SearchKey]) -> Vec<u32> {
        let request = Request::Search { mailbox, program: List::new(program.to_vec()).unwrap() };
        let mut out = Vec::new();
        for part in self.parts(&request).await {
            match part.body {
                Response::Uids(uids) => out.extend(flat(&uids)),
                Response::Done => {}
                other => panic!("{other:?}"),
            }
        }
        out
    }

    pub(crate) async fn event(&mut self) -> Event {
        self.0.event().await.unwrap()
    }

    /// That nothing was said unasked before the answer to a request.
    pub(crate) async fn silent(&mut self) {
        self.call(&Request::Quota).await;
        assert_eq!(self.0.pending_event(), None);
    }
}

pub(crate) fn name(path: &str) -> MailboxName {
    MailboxName::new(path).unwrap()
}

pub(crate) fn uids(ranges: &[(u32, u32)]) -> Uids {
    Uids::new(ranges.iter().map(|(first, last)| UidRange { first: *first, last: *last }).collect()).unwrap()
}

pub(crate) fn flat(uids: &Uids) -> Vec<u32> {
    uids.iter().flat_map(|r| r.first..=r.last).collect()
}

pub(crate) fn flags(system: &[SystemFlags], keywords: &[&str]) -> Flags {
    Flags {
        system: system.iter().fold(SystemFlags::default(), |a, b| a.union(*b)),
        keywords: List::new(keywords.iter().map(|k| Text::new(*k).unwrap()).collect()).unwrap(),
    }
}

const _: () = assert!(StoreSession::MAX_FDS >= 16);
