//! The load, and what is expected of it.

use crate::{
    Random, child,
    disk::Disk,
    fault::{self, Fault, Role},
    model::{APPENDED, COPIES, Change, INBOX, Key, MAILBOXES, Model, Task},
    number,
    peers::{self, ELSEWHERE, Elsewhere, NAMES, address, owner},
};
use pure_addr::{MailboxName, ReversePath, Text};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::{fd::AsFd, unix::fs::FileExt},
    process::Child,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet};
use wire::{
    Client, List, MessageWriter, Session,
    edge::{
        mail::{Body, Envelope, QueueId, Recipient, SessionId, Submitted},
        queue_control::{self, QueueControl},
        queue_inbound::{self, QueueInbound},
        store_grant::{self, StoreGrant},
        store_session::{Append, FlagChange, Flags, Mailbox, Request, Response, StoreSession, SystemFlags, UidRange, Uids, Want},
    },
};

/// How long anything may take before the schedule has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// The same for what is asked of the spool then.
const ASKING: Duration = Duration::from_secs(5);
/// How often what comes by itself is looked for.
const POLL: Duration = Duration::from_millis(10);
/// Bytes that a full disk has left.
const LEFT: u64 = 300 * 1024;
/// How often those that ended are started again, and asked whether they do their work.
const AGAIN: Duration = Duration::from_millis(100);
/// Changes of messages that are there between two faults, at most.
const CHANGES: usize = 12;

/// One message.
#[derive(Debug, Clone)]
struct Sent {
    /// The mailboxes it goes to.
    to: Vec<(&'static str, &'static str)>,
    /// It was taken, as far as its sender knows.
    answered: bool,
}

struct Clients {
    inbound: Client<QueueInbound>,
    control: Client<QueueControl>,
    grant: Client<StoreGrant>,
    sent: Mutex<BTreeMap<usize, Sent>>,
    model: Mutex<Model>,
    answers: AtomicUsize,
    answered: Notify,
}

pub struct World {
    seed: u64,
    disk: Disk,
    sockets: tempfile::TempDir,
    store: Option<Child>,
    queue: Option<Child>,
    clients: Arc<Clients>,
    elsewhere: Arc<Elsewhere>,
    /// Processes started so far.
    started: u64,
    boot: u64,
    /// Something happened over which a process may end, until all have done their work again: an error of a disk is told to whoever syncs
    /// next.
    hurt: bool,
    /// Which message was seen under which account, mailbox, UIDVALIDITY and UID.
    seen: BTreeMap<(&'static str, &'static str, u32, u32), usize>,
}

/// The whole of a message; every seventh is so large that the spool keeps it in a file.
fn message(tag: usize) -> Vec<u8> {
    let len = if tag.is_multiple_of(7) { 200_000 } else { 200 + tag * 37 % 3_000 };
    let mut text = format!("From: x@remote.test\r\nMessage-ID: <{tag}>\r\n\r\n").into_bytes();
    text.extend((0..len).map(|n| b'a' + u8::try_from((n * 31 + tag) % 26).unwrap()));
    text
}

fn tag_of(text: &[u8]) -> usize {
    let head = String::from_utf8_lossy(&text[..text.len().min(2_000)]).into_owned();
    head.split_once("Message-ID: <").and_then(|(_, rest)| rest.split_once('>')).expect("a torn message").0.parse().unwrap()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_or(what, future, async { String::new() }).await
}

/// The same, with what is to be said when it did not happen.
async fn within_or<T>(what: &str, future: impl Future<Output = T>, why: impl Future<Output = String>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("did not happen: {what}\n{}", why.await),
    }
}

impl World {
    pub async fn new(seed: u64) -> Self {
        let (disk, sockets) = (Disk::new(), tempfile::tempdir().unwrap());
        let elsewhere = peers::start(sockets.path());
        let clients = Arc::new(Clients {
            inbound: Client::new(sockets.path().join("inbound")),
            control: Client::new(sockets.path().join("control")),
            grant: Client::new(sockets.path().join("store-grant")),
            sent: Mutex::default(),
            model: Mutex::default(),
            answers: AtomicUsize::new(0),
            answered: Notify::new(),
        });
        let seen = BTreeMap::new();
        let (started, boot) = (seed << 16, 1);
        let mut world = Self { seed, disk, sockets, store: None, queue: None, clients, elsewhere, started, boot, hurt: false, seen };
        world.start().await;
        world
    }

    /// Starts what does not run.
    async fn start(&mut self) {
        self.spawn();
        let ready = async {
            loop {
                let list = queue_control::Request::List { after: QueueId(0), filter: queue_control::Filter::default() };
                let request = store_grant::Request::Session { owner: owner("alice"), session: SessionId(1) };
                if self.clients.control.call(&list, &[]).await.is_ok() && self.clients.grant.call(&request, &[]).await.is_ok() {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        within("a start", ready).await;
    }

    fn spawn(&mut self) {
        let (state, sockets) = (self.disk.path(), self.sockets.path());
        for (role, slot) in [("store", &mut self.store), ("queue", &mut self.queue)] {
            if slot.is_none() {
                self.started += 1;
                *slot = Some(child::start(role, &state, sockets, self.started, self.boot));
            }
        }
    }

    /// Starts those that ended, and asks everybody for their work until it is done: whatever is still to be told of an earlier error
    /// comes out.
    async fn recover(&mut self) {
        let (clients, last) = (self.clients.clone(), Mutex::new(Vec::new()));
        let why = async { clients.why_it_waits().await + &format!("not taken: {:?}", last.lock().unwrap()) };
        let work = async {
            let mut todo: Vec<(&str, &str)> = NAMES.iter().flat_map(|name| [(*name, APPENDED), (*name, INBOX)]).collect();
            loop {
                for slot in [&mut self.store, &mut self.queue] {
                    slot.take_if(|child| child.try_wait().unwrap().is_some());
                }
                self.spawn();
                let mut rest = Vec::new();
                for (name, mailbox) in todo {
                    if !self.clients.hand_in(&[(name, mailbox)]).await {
                        rest.push((name, mailbox));
                    }
                }
                if rest.is_empty() && self.clients.spool_is_empty().await {
                    return;
                }
                last.lock().unwrap().clone_from(&rest);
                todo = rest;
                tokio::time::sleep(AGAIN).await;
            }
        };
        within_or("recovery", work, why).await;
    }

    fn process(&self, role: Role) -> &Child {
        let slot = if role == Role::Store { &self.store } else { &self.queue };
        slot.as_ref().expect("it runs")
    }

    fn kill(&mut self, store: bool, queue: bool) {
        for (slot, dies) in [(&mut self.store, store), (&mut self.queue, queue)] {
            if let Some(mut child) = slot.take_if(|_| dies) {
                assert!(child.try_wait().unwrap().is_none() || self.hurt, "seed {}: a process ended by itself", self.seed);
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }

    /// Hands in messages; when `after` of them were answered, it happens.
    pub async fn load(&mut self, random: &mut Random, messages: usize, after: usize, fault: Fault) {
        eprintln!("  {messages} messages, {fault:?} after {after}");
        self.hurt = fault.may_end_a_process();
        match fault {
            Fault::FullDisk => self.disk.fill(LEFT),
            Fault::BadBlocks(but) => self.disk.break_new_blocks(but),
            Fault::Descriptors(role, more) => fault::limit_descriptors(self.process(role), more),
            Fault::Memory(role, more) => fault::limit_memory(self.process(role), more),
            _ => {}
        }
        self.clients.answers.store(0, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for _ in 0..messages {
            let clients = self.clients.clone();
            let (first, second) = (NAMES[random.below(3)], NAMES[random.below(3)]);
            let append = random.below(4) == 0;
            let mut to: Vec<_> = [first, second].into_iter().map(|n| (n, if append { APPENDED } else { INBOX })).collect();
            to.dedup();
            to.truncate(if append { 1 } else { 2 });
            if !append && random.below(3) == 0 {
                to.push((ELSEWHERE, INBOX));
            }
            tasks.spawn(async move {
                if clients.hand_in(&to).await {
                    clients.answers.fetch_add(1, Ordering::Relaxed);
                    clients.answered.notify_one();
                }
            });
        }
        let mut taken: BTreeSet<Key> = BTreeSet::new();
        // Numbers of their own: what is there to be changed depends on time too, and the seed decides the order of the faults.
        let mut own = Random::new(random.below(1 << 30) as u64);
        for _ in 0..own.below(CHANGES + 1) {
            let Some(task) = self.clients.model.lock().unwrap().any(&mut own, &taken) else { continue };
            taken.insert(task.key);
            let clients = self.clients.clone();
            tasks.spawn(async move { clients.change(task).await });
        }
        let reached = async {
            while self.clients.answers.load(Ordering::Relaxed) < after {
                self.clients.answered.notified().await;
            }
        };
        let ended = async { while tasks.join_next().await.is_some() {} };
        within("the load", async {
            tokio::select! {
                () = reached => {}
                () = ended => {}
            }
        })
        .await;
        match fault {
            Fault::KillStore | Fault::KillStoreThenCut => self.kill(true, false),
            Fault::KillQueue => self.kill(false, true),
            Fault::KillBoth | Fault::PowerCut => self.kill(true, true),
            Fault::DiskFails => self.disk.fail(),
            Fault::Stop(role) => self.stop(role).await,
            Fault::Clock(wrong) => child::turn_clock(self.sockets.path(), wrong),
            Fault::FullDisk | Fault::BadBlocks(_) | Fault::Descriptors(..) | Fault::Memory(..) => {}
        }
        within("the end of the load", async { while tasks.join_next().await.is_some() {} }).await;
        if matches!(fault, Fault::KillStoreThenCut) {
            self.start().await;
            self.rest().await;
            self.kill(true, true);
        }
        match fault {
            Fault::PowerCut | Fault::KillStoreThenCut => {
                self.disk.cut();
                self.power_was_lost();
            }
            Fault::FullDisk => self.disk.make_room(),
            Fault::DiskFails => {
                self.kill(true, true);
                self.disk.mount_again();
                self.power_was_lost();
            }
            Fault::BadBlocks(_) => {
                self.disk.mend_blocks();
                // A process that was told of it believes the disk and not what the page cache had.
                self.clients.model.lock().unwrap().power_was_lost();
                if !self.disk.is_sound() {
                    self.kill(true, true);
                    self.disk.mount_again();
                    self.power_was_lost();
                }
            }
            Fault::Descriptors(role, _) | Fault::Memory(role, _) => fault::unlimit(self.process(role)),
            _ => {}
        }
        if self.hurt {
            self.recover().await;
            self.hurt = false;
        }
        self.start().await;
        self.look(false).await;
    }

    fn power_was_lost(&mut self) {
        self.boot += 1;
        self.clients.model.lock().unwrap().power_was_lost();
    }

    /// One of them stands still, the other does its work all the same, and what was asked of the first is done when it goes on.
    async fn stop(&mut self, role: Role) {
        fault::stop(self.process(role), true);
        let mailbox = if role == Role::Store { INBOX } else { APPENDED };
        let answered = within("work while another stands still", self.clients.hand_in(&[(NAMES[0], mailbox)])).await;
        assert!(answered, "seed {}: refused since another stands still", self.seed);
        tokio::time::sleep(Duration::from_secs(number("POSTERN_FAULTS_STOPPED", 0))).await;
        fault::stop(self.process(role), false);
    }

    /// What is in all mailboxes now: how often each message is in each of them.
    async fn look(&mut self, end: bool) -> BTreeMap<(usize, &'static str, &'static str), usize> {
        let (mut found, mut there) = (BTreeMap::new(), BTreeMap::<Key, Vec<_>>::new());
        for account in NAMES {
            for mailbox in MAILBOXES {
                let (row, messages) = within("a look", self.clients.read(account, mailbox)).await;
                let sum: usize = messages.iter().map(|(_, text, _)| text.len()).sum();
                assert_eq!((row.messages as usize, row.size), (messages.len(), sum as u64), "seed {}: counters", self.seed);
                for (uid, text, flags) in messages {
                    let tag = tag_of(&text);
                    assert!(text.ends_with(&message(tag)), "seed {}: message {tag} is torn", self.seed);
                    assert!(uid < row.uid_next, "seed {}: UIDNEXT", self.seed);
                    let before = *self.seen.entry((account, mailbox, row.uid_validity, uid)).or_insert(tag);
                    assert_eq!(before, tag, "seed {}: UID {uid} was another message's", self.seed);
                    *found.entry((tag, account, mailbox)).or_insert(0) += 1;
                    there.entry((account, tag, mailbox == COPIES)).or_default().push((mailbox, uid, flags));
                }
            }
        }
        let judged = self.clients.model.lock().unwrap().look(&there, end);
        assert_eq!(judged, Ok(()), "seed {}", self.seed);
        found
    }

    /// Waits until the spool is empty. Nobody may have ended.
    async fn rest(&self) {
        let empty = async {
            while !self.clients.spool_is_empty().await {
                tokio::time::sleep(POLL).await;
            }
        };
        within_or("an empty spool", empty, self.clients.why_it_waits()).await;
    }

    /// When everything has come to rest.
    pub async fn check(mut self) {
        self.rest().await;
        let mut found = self.look(true).await;
        for text in self.elsewhere.delivered.lock().unwrap().values() {
            let tag = tag_of(text);
            assert!(text.ends_with(&message(tag)), "seed {}: message {tag} went elsewhere torn", self.seed);
            *found.entry((tag, ELSEWHERE, INBOX)).or_insert(0) += 1;
        }
        let sent = self.clients.sent.lock().unwrap().clone();
        let mut expected = BTreeSet::new();
        for (tag, Sent { to, answered }) in sent {
            let known = |account| self.clients.model.lock().unwrap().knows(account, tag);
            let count = |(account, mailbox): &(&'static str, &'static str)| {
                if known(*account) { 1 } else { found.get(&(tag, *account, *mailbox)).copied().unwrap_or(0) }
            };
            let counts: Vec<usize> = to.iter().map(count).collect();
            let whole = counts.iter().all(|n| *n == counts[0]);
            assert!(whole && counts[0] <= 1 && (counts[0] == 1 || !answered), "seed {}: message {tag} to {to:?}: {counts:?}", self.seed);
            expected.extend(to.into_iter().map(|(account, _)| (tag, account)));
        }
        assert!(
            found.keys().all(|(tag, account, _)| expected.contains(&(*tag, *account))),
            "seed {}: a message is where nobody sent it",
            self.seed
        );
        self.kill(true, true);
        for database in databases(&self.disk.path()) {
            let db = rusqlite::Connection::open(&database).unwrap();
            let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(verdict, "ok", "seed {}: {}", self.seed, database.display());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in [&mut self.store, &mut self.queue].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks for a change of one message; whether it was there to be changed, once it is done.
async fn done(session: &mut Session<StoreSession>, request: &Request) -> Option<bool> {
    session.start(request, &[]).await.ok()?;
    let (mut told, mut last) = (false, None);
    while let Some(part) = session.next().await.ok()? {
        told |= match &part.body {
            Response::Rows(rows) => !rows.is_empty(),
            Response::Vanished(uids) | Response::Copied { from: uids, .. } => !uids.is_empty(),
            _ => false,
        };
        last = Some(part.body);
    }
    matches!(last?, Response::Done | Response::Copied { .. }).then_some(told)
}

fn databases(state: &std::path::Path) -> Vec<std::path::PathBuf> {
    let accounts = std::fs::read_dir(state.join("store/accounts")).unwrap();
    let accounts = accounts.map(|entry| entry.unwrap().path().join("index.db"));
    accounts.chain([state.join("queue/queue.db")]).collect()
}

impl Clients {
    /// Hands in a message for these mailboxes: by APPEND if it is the one for that. Whether it was taken.
    async fn hand_in(&self, to: &[(&'static str, &'static str)]) -> bool {
        let tag = {
            let mut sent = self.sent.lock().unwrap();
            let tag = sent.len() + 1;
            sent.insert(tag, Sent { to: to.to_vec(), answered: false });
            tag
        };
        let taken = match to {
            [(account, APPENDED)] => {
                let begun = self.model.lock().unwrap().tick();
                let appended = self.append(tag, account).await;
                if appended {
                    self.model.lock().unwrap().on_disk(account, begun);
                }
                appended
            }
            _ => self.submit(tag, to).await,
        };
        if taken {
            self.sent.lock().unwrap().get_mut(&tag).unwrap().answered = true;
        }
        taken
    }

    async fn submit(&self, tag: usize, to: &[(&str, &str)]) -> bool {
        let recipients = to.iter().map(|(name, _)| Recipient { address: address(name), notify: None, orcpt: None }).collect();
        let envelope = Box::new(Envelope {
            session: SessionId(1),
            peer: "192.0.2.7".parse().unwrap(),
            helo: Text::new("client.remote.test").unwrap(),
            extended: true,
            smtputf8: false,
            tls: None,
            reverse_path: ReversePath::Null,
            body: Body::EightBitMime,
            ret: None,
            envid: None,
            require_tls: false,
            recipients: List::new(recipients).unwrap(),
        });
        let sealed = MessageWriter::sealed(&message(tag)).unwrap();
        let answer = self.inbound.call(&queue_inbound::Request::Submit(envelope), &[sealed.as_fd()]).await;
        matches!(answer.map(|reply| reply.body), Ok(queue_inbound::Response::Submitted(Submitted::Accepted(_))))
    }

    async fn session(&self, account: &str) -> Option<Session<StoreSession>> {
        let request = store_grant::Request::Session { owner: owner(account), session: SessionId(1) };
        let fd = self.grant.call(&request, &[]).await.ok()?.fds.pop()?;
        Session::new(fd).await.ok()
    }

    async fn append(&self, tag: usize, account: &str) -> bool {
        let Some(mut session) = self.session(account).await else { return false };
        let sealed = MessageWriter::sealed(&message(tag)).unwrap();
        let messages = List::new(vec![Append { flags: Flags::default(), received_at: None }]).unwrap();
        let request = Request::Append { to: MailboxName::new(APPENDED).unwrap(), messages };
        matches!(session.call(&request, &[sealed.as_fd()]).await.map(|reply| reply.body), Ok(Response::Appended { .. }))
    }

    /// Changes a message that is there.
    async fn change(&self, task: Task) {
        let begun = self.model.lock().unwrap().tick();
        if self.try_change(&task).await == Some(true) {
            self.model.lock().unwrap().answered(&task, begun);
        }
    }

    /// Whether it was done, as far as that was answered.
    async fn try_change(&self, task: &Task) -> Option<bool> {
        let mut session = self.session(task.key.0).await?;
        let name = MailboxName::new(task.mailbox).unwrap();
        let Response::Mailbox(row) = session.call(&Request::Mailbox(name), &[]).await.ok()?.body else { return None };
        let uids = Uids::new(vec![UidRange { first: task.uid, last: task.uid }]).unwrap();
        let copy = |to: &str, r#move| Request::Copy { mailbox: row.id, uids: uids.clone(), to: MailboxName::new(to).unwrap(), r#move };
        let set = |on, system| {
            let (change, flags) = (if on { FlagChange::Add } else { FlagChange::Remove }, Flags { system, ..Flags::default() });
            Request::SetFlags { mailbox: row.id, uids: uids.clone(), change, flags, unchanged_since: None }
        };
        let request = match task.change {
            Change::Flag(place, on) => set(on, Change::flag(place)),
            Change::Expunge => {
                done(&mut session, &set(true, SystemFlags::DELETED)).await?;
                Request::Expunge { mailbox: row.id, uids: Some(uids.clone()) }
            }
            Change::Move(to) => copy(to, true),
            Change::Copy => copy(COPIES, false),
        };
        done(&mut session, &request).await
    }

    /// A mailbox and its messages, as they are at one moment.
    async fn read(&self, account: &str, mailbox: &str) -> (Mailbox, Vec<(u32, Vec<u8>, SystemFlags)>) {
        let name = MailboxName::new(mailbox).unwrap();
        loop {
            let mut session = self.session(account).await.unwrap();
            let row =
                async |session: &mut Session<StoreSession>| match session.call(&Request::Mailbox(name.clone()), &[]).await.unwrap().body {
                    Response::Mailbox(row) => *row,
                    other => panic!("{other:?}"),
                };
            let before = row(&mut session).await;
            let uids = Uids::new(vec![UidRange { first: 1, last: u32::MAX }]).unwrap();
            let want = Want::BODY.union(Want::SIZE).union(Want::FLAGS);
            session.start(&Request::Fetch { mailbox: before.id, uids, changed_since: None, want }, &[]).await.unwrap();
            let mut messages = Vec::new();
            while let Some(part) = session.next().await.unwrap() {
                let Response::Rows(rows) = part.body else { continue };
                let files: Vec<std::fs::File> = part.fds.into_iter().map(std::fs::File::from).collect();
                for row in &rows {
                    let body = row.body.unwrap();
                    let mut bytes = vec![0; usize::try_from(body.len).unwrap()];
                    files[usize::from(body.fd)].read_exact_at(&mut bytes, body.offset).unwrap();
                    messages.push((row.uid, bytes, row.flags.as_ref().unwrap().system));
                }
            }
            // Deliveries go on meanwhile.
            if row(&mut session).await.highest_modseq == before.highest_modseq {
                return (before, messages);
            }
        }
    }

    async fn spool(&self) -> Result<Vec<queue_control::Message>, wire::Error> {
        let request = queue_control::Request::List { after: QueueId(0), filter: queue_control::Filter::default() };
        match self.control.call(&request, &[]).await?.body {
            queue_control::Response::Messages(list) => Ok(list.into_vec()),
            other => panic!("{other:?}"),
        }
    }

    async fn spool_is_empty(&self) -> bool {
        self.spool().await.is_ok_and(|list| list.is_empty())
    }

    /// What is in the spool and why, for a failure.
    async fn why_it_waits(&self) -> String {
        let list = match tokio::time::timeout(ASKING, self.spool()).await {
            Ok(Ok(list)) => list,
            other => return format!("the spool cannot be listed: {other:?}"),
        };
        let mut all = String::new();
        for message in list {
            let shown = tokio::time::timeout(ASKING, self.control.call(&queue_control::Request::Show(message.id), &[])).await;
            all += &format!("{message:?}: {:?}\n", shown.map(|shown| shown.map(|reply| reply.body)));
        }
        all
    }
}
