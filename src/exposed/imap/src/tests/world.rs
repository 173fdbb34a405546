//! A store with one account in memory, and a client that reads line by line.

use crate::{
    account::Account,
    connection::Connection,
    session::{self, Stop},
};
use exposed_tls::{Room, Stream};
use pure_addr::{AccountId, Address, MailboxName};
use pure_index::{Encoding, Envelope, Field, Part, Span, Structure};
use serde_bytes::ByteBuf;
use std::{
    collections::BTreeMap,
    os::fd::AsFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use wire::{
    List, MessageWriter, Reply, SealedMessage, Served, Session,
    edge::{
        mail::Owner,
        store_session::{
            BodyRef, Event, FlagChange, Flags, Mailbox, MailboxId, ModSeq, Refusal, Request, Response, Row, SearchKey, SortKeys,
            StoreSession, UidRange, Uids, Want,
        },
    },
};

pub(crate) const MESSAGE_LIMIT: u32 = 1024 * 1024;
/// Bytes of all messages that are being uploaded.
pub(crate) const UPLOADS: u64 = 1024 * 1024;
const QUOTA: u64 = 4 * 1024 * 1024;

/// A message of the account.
#[derive(Clone)]
pub(crate) struct Stored {
    uid: u32,
    modseq: u64,
    flags: Flags,
    received_at: i64,
    bytes: Arc<Vec<u8>>,
}

#[derive(Default)]
struct Box_ {
    id: u32,
    subscribed: bool,
    next: u32,
    messages: Vec<Stored>,
    gone: Vec<(u64, u32)>,
}

#[derive(Default)]
struct State {
    modseq: u64,
    last_id: u32,
    boxes: BTreeMap<MailboxName, Box_>,
    listeners: Vec<(u32, mpsc::UnboundedSender<Event>)>,
}

/// The account.
#[derive(Clone)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
    /// For uploads.
    pub(crate) room: Arc<Room<AccountId>>,
    /// How many FETCHes the store was asked.
    pub(crate) fetches: Arc<AtomicUsize>,
}

impl Default for World {
    fn default() -> Self {
        Self { state: Arc::default(), room: Room::new(UPLOADS, UPLOADS), fetches: Arc::default() }
    }
}

impl World {
    /// INBOX with `n` messages.
    pub(crate) fn with_messages(n: u32) -> Self {
        let world = Self::default();
        world.make("INBOX");
        for i in 1..=n {
            world.deliver("INBOX", format!("From: a@mta.test\r\nSubject: message {i}\r\n\r\nbody {i}\r\n").as_bytes());
        }
        world
    }

    pub(crate) fn make(&self, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.last_id += 1;
        let id = state.last_id;
        state.boxes.insert(MailboxName::new(name).unwrap(), Box_ { id, next: 1, subscribed: true, ..Box_::default() });
    }

    /// As the queue would, behind the back of every session.
    pub(crate) fn deliver(&self, mailbox: &str, bytes: &[u8]) {
        self.state.lock().unwrap().add(&MailboxName::new(mailbox).unwrap(), bytes, Flags::default(), 0);
    }

    /// As another session would.
    pub(crate) fn remove(&self, mailbox: &str, uid: u32) {
        let mut state = self.state.lock().unwrap();
        let name = MailboxName::new(mailbox).unwrap();
        state.vanish(&name, |m| m.uid == uid);
    }

    /// A session of the store, as a login brings it.
    pub(crate) fn socket(&self) -> std::os::fd::OwnedFd {
        let (ours, theirs) = wire::Conn::pair().unwrap();
        let served = self.clone();
        tokio::spawn(async move { served.serve(theirs).await });
        ours
    }

    /// A client of this account.
    pub(crate) async fn client(&self) -> Client {
        let ours = self.socket();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let owner = Owner { account: AccountId::new(1).unwrap(), address: Address::parse("alice@mta.test").unwrap(), quota: Some(QUOTA) };
        let account = Box::new(Account::new(Session::<StoreSession>::new(ours).await.unwrap(), owner));
        let mut conn = Connection::new(Stream::Plain(accepted));
        conn.framer.authenticated(MESSAGE_LIMIT);
        let ended = tokio::spawn(session::after_login(conn, account, MESSAGE_LIMIT, self.room.clone(), Stop(None)));
        Client::new(socket, ended)
    }

    async fn serve(self, fd: std::os::fd::OwnedFd) {
        let served = Served::<StoreSession>::new(fd, Duration::from_secs(5)).await.unwrap();
        let (sender, mut events) = mpsc::unbounded_channel();
        loop {
            tokio::select! {
                event = events.recv() => {
                    // The session may be gone.
                    let Ok(()) = served.event(&event.unwrap()).await else { return };
                }
                request = served.request() => {
                    let Ok((id, request, fds)) = request else { return };
                    let mut replies = self.answer(request, fds, &sender);
                    let last = replies.pop().unwrap();
                    for reply in replies {
                        served.part(id, &reply).await.unwrap();
                    }
                    served.answer(id, &last).await.unwrap();
                }
            }
        }
    }

    fn answer(&self, request: Request, fds: Vec<std::os::fd::OwnedFd>, events: &mpsc::UnboundedSender<Event>) -> Vec<Reply<StoreSession>> {
        self.fetches.fetch_add(usize::from(matches!(request, Request::Fetch { .. })), Ordering::Relaxed);
        let mut state = self.state.lock().unwrap();
        let refuse = |why| vec![Reply::new(Response::Refused(why))];
        if let Request::Changes { mailbox, .. }
        | Request::Fetch { mailbox, .. }
        | Request::SetFlags { mailbox, .. }
        | Request::Copy { mailbox, .. }
        | Request::Expunge { mailbox, .. }
        | Request::Search { mailbox, .. } = &request
            && !state.boxes.values().any(|b| b.id == mailbox.0)
        {
            return refuse(Refusal::NoSuchMailbox);
        }
        match request {
            Request::Mailboxes => {
                let list = state.boxes.iter().map(|(name, b)| b.info(name, state.modseq)).collect();
                vec![Reply::new(Response::Mailboxes(List::new(list).unwrap()))]
            }
            Request::Mailbox(name) => match state.boxes.get(&name) {
                Some(b) => vec![Reply::new(Response::Mailbox(Box::new(b.info(&name, state.modseq))))],
                None => refuse(Refusal::NoSuchMailbox),
            },
            Request::Create { name, .. } => {
                if state.boxes.contains_key(&name) {
                    return refuse(Refusal::AlreadyExists);
                }
                drop(state);
                self.make(name.as_str());
                self.answer(Request::Mailbox(name), vec![], events)
            }
            Request::Delete(name) => match state.boxes.remove(&name) {
                Some(gone) => {
                    state.tell(gone.id, Event::Gone(MailboxId(gone.id)));
                    vec![Reply::new(Response::Done)]
                }
                None => refuse(Refusal::NoSuchMailbox),
            },
            Request::Rename { from, to } => match state.boxes.remove(&from) {
                Some(b) => {
                    state.boxes.insert(to, b);
                    vec![Reply::new(Response::Done)]
                }
                None => refuse(Refusal::NoSuchMailbox),
            },
            Request::Subscribe { name, on } => match state.boxes.get_mut(&name) {
                Some(b) => {
                    b.subscribed = on;
                    vec![Reply::new(Response::Done)]
                }
                None => refuse(Refusal::NoSuchMailbox),
            },
            Request::Open(name) => {
                let modseq = state.modseq;
                let Some(b) = state.boxes.get(&name) else { return refuse(Refusal::NoSuchMailbox) };
                let replies = vec![
                    Reply::new(Response::Uids(uids(b.messages.iter().map(|m| m.uid)))),
                    Reply::new(Response::Mailbox(Box::new(b.info(&name, modseq)))),
                ];
                let id = b.id;
                state.listeners.retain(|(_, sender)| !sender.same_channel(events));
                state.listeners.push((id, events.clone()));
                replies
            }
            Request::Close => {
                state.listeners.retain(|(_, sender)| !sender.same_channel(events));
                vec![Reply::new(Response::Done)]
            }
            Request::Changes { mailbox, since } => {
                let modseq = state.modseq;
                let (name, b) = state.by_id(mailbox);
                let gone = uids(b.gone.iter().filter(|(m, _)| *m > since.0).map(|(_, uid)| *uid));
                let rows = b.messages.iter().filter(|m| m.modseq > since.0).map(|m| m.row(Want::FLAGS)).collect();
                vec![
                    Reply::new(Response::Vanished(gone)),
                    Reply::new(Response::Rows(List::new(rows).unwrap())),
                    Reply::new(Response::Mailbox(Box::new(b.info(&name, modseq)))),
                ]
            }
            Request::Fetch { mailbox, uids, changed_since, want } => {
                let (_, b) = state.by_id(mailbox);
                let mut replies = vec![];
                let chosen = b.messages.iter().filter(|m| inside(&uids, m.uid) && changed_since.is_none_or(|since| m.modseq > since.0));
                for message in chosen {
                    let mut reply = Reply::new(Response::Rows(List::new(vec![message.row(want)]).unwrap()));
                    if want.contains(Want::BODY) {
                        // A neighbour in front, so that an offset that is ignored shows.
                        let file = MessageWriter::sealed(&[b"XXX", message.bytes.as_slice(), b"YYY"].concat()).unwrap();
                        reply.fds.push(file.as_fd().try_clone_to_owned().unwrap());
                    }
                    replies.push(reply);
                }
                replies.push(Reply::new(Response::Done));
                replies
            }
            Request::SetFlags { mailbox, uids: set, change, flags, unchanged_since } => {
                state.modseq += 1;
                let modseq = state.modseq;
                let (name, _) = state.by_id(mailbox);
                let b = state.boxes.get_mut(&name).unwrap();
                let (mut rows, mut kept) = (vec![], vec![]);
                for message in b.messages.iter_mut().filter(|m| inside(&set, m.uid)) {
                    if unchanged_since.is_some_and(|since| message.modseq > since.0) {
                        kept.push(message.uid);
                        continue;
                    }
                    let (before, flags_before) = (Some(ModSeq(message.modseq)), message.flags.clone());
                    message.change(change, &flags);
                    let changed = message.flags != flags_before;
                    if changed {
                        message.modseq = modseq;
                    }
                    if changed || unchanged_since.is_some() {
                        rows.push(Row { before, ..message.row(Want::FLAGS) });
                    }
                }
                let id = b.id;
                state.tell_others(id, events);
                vec![
                    Reply::new(Response::Rows(List::new(rows).unwrap())),
                    Reply::new(Response::Modified(uids(kept.into_iter()))),
                    Reply::new(Response::Done),
                ]
            }
            Request::Copy { mailbox, uids: set, to, r#move } => {
                let (from_name, b) = state.by_id(mailbox);
                let chosen: Vec<Stored> = b.messages.iter().filter(|m| inside(&set, m.uid)).cloned().collect();
                if !state.boxes.contains_key(&to) {
                    return refuse(Refusal::NoSuchMailbox);
                }
                let copies: Vec<u32> = chosen.iter().map(|m| state.add(&to, &m.bytes, m.flags.clone(), m.received_at)).collect();
                let from = uids(chosen.iter().map(|m| m.uid));
                if r#move {
                    state.vanish(&from_name, |m| chosen.iter().any(|c| c.uid == m.uid));
                }
                vec![Reply::new(Response::Copied { uid_validity: 7, from, to: uids(copies.into_iter()) })]
            }
            Request::Expunge { mailbox, uids: set } => {
                let (name, _) = state.by_id(mailbox);
                let deleted = wire::edge::store_session::SystemFlags::DELETED;
                let gone = state.vanish(&name, |m| m.flags.system.contains(deleted) && set.as_ref().is_none_or(|set| inside(set, m.uid)));
                vec![Reply::new(Response::Vanished(uids(gone.into_iter()))), Reply::new(Response::Done)]
            }
            Request::Append { to, messages } => {
                if !state.boxes.contains_key(&to) {
                    return refuse(Refusal::NoSuchMailbox);
                }
                assert_eq!(messages.len(), fds.len());
                let mut added = vec![];
                for (about, fd) in messages.into_iter().zip(fds) {
                    let message = SealedMessage::from_fd(fd, u64::from(MESSAGE_LIMIT)).unwrap();
                    added.push(state.add(&to, &message.read_all().unwrap(), about.flags, about.received_at.unwrap_or(0)));
                }
                let range = UidRange { first: added[0], last: *added.last().unwrap() };
                vec![Reply::new(Response::Appended { uid_validity: 7, uids: range })]
            }
            Request::Search { mailbox, program } => {
                let (_, b) = state.by_id(mailbox);
                let found = uids(b.messages.iter().filter(|m| m.matches(&program)).map(|m| m.uid));
                vec![Reply::new(Response::Uids(found)), Reply::new(Response::Done)]
            }
            Request::Quota => {
                let used = state.boxes.values().flat_map(|b| &b.messages).map(|m| m.bytes.len() as u64).sum();
                vec![Reply::new(Response::Quota { used, limit: Some(QUOTA), messages: 0 })]
            }
        }
    }
}

impl State {
    fn by_id(&self, id: MailboxId) -> (MailboxName, &Box_) {
        let (name, found) = self.boxes.iter().find(|(_, b)| b.id == id.0).unwrap();
        (name.clone(), found)
    }

    fn add(&mut self, name: &MailboxName, bytes: &[u8], flags: Flags, received_at: i64) -> u32 {
        self.modseq += 1;
        let modseq = self.modseq;
        let b = self.boxes.get_mut(name).unwrap();
        let uid = b.next;
        b.next += 1;
        b.messages.push(Stored { uid, modseq, flags, received_at, bytes: Arc::new(bytes.to_vec()) });
        let id = b.id;
        self.tell(id, Event::Changed(MailboxId(id), ModSeq(modseq)));
        uid
    }

    fn vanish(&mut self, name: &MailboxName, which: impl Fn(&Stored) -> bool) -> Vec<u32> {
        self.modseq += 1;
        let modseq = self.modseq;
        let b = self.boxes.get_mut(name).unwrap();
        let gone: Vec<u32> = b.messages.iter().filter(|m| which(m)).map(|m| m.uid).collect();
        b.messages.retain(|m| !gone.contains(&m.uid));
        b.gone.extend(gone.iter().map(|uid| (modseq, *uid)));
        let id = b.id;
        self.tell(id, Event::Changed(MailboxId(id), ModSeq(modseq)));
        gone
    }

    fn tell(&self, mailbox: u32, event: Event) {
        for (_, sender) in self.listeners.iter().filter(|(id, _)| *id == mailbox) {
            let _ = sender.send(event);
        }
    }

    fn tell_others(&self, mailbox: u32, own: &mpsc::UnboundedSender<Event>) {
        for (_, sender) in self.listeners.iter().filter(|(id, sender)| *id == mailbox && !sender.same_channel(own)) {
            let _ = sender.send(Event::Changed(MailboxId(mailbox), ModSeq(self.modseq)));
        }
    }
}

impl Box_ {
    fn info(&self, name: &MailboxName, modseq: u64) -> Mailbox {
        Mailbox {
            id: MailboxId(self.id),
            name: name.clone(),
            role: name.as_str().starts_with("Sent").then_some(wire::edge::store_session::Role::Sent),
            subscribed: self.subscribed,
            selectable: true,
            uid_validity: 7,
            uid_next: self.next,
            messages: self.messages.len() as u32,
            unseen: 0,
            deleted: 0,
            size: 0,
            highest_modseq: ModSeq(modseq),
        }
    }
}

impl Stored {
    fn change(&mut self, change: FlagChange, flags: &Flags) {
        let mut keywords: Vec<_> = self.flags.keywords.clone().into_vec();
        match change {
            FlagChange::Add => {
                self.flags.system = self.flags.system.union(flags.system);
                keywords.extend(flags.keywords.iter().filter(|k| !self.flags.keywords.contains(k)).cloned());
            }
            FlagChange::Remove => {
                self.flags.system = self.flags.system.without(flags.system);
                keywords.retain(|k| !flags.keywords.contains(k));
            }
            FlagChange::Replace => {
                self.flags.system = flags.system;
                keywords = flags.keywords.clone().into_vec();
            }
        }
        self.flags.keywords = List::new(keywords).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).to_lowercase()
    }

    fn matches(&self, program: &[SearchKey]) -> bool {
        let mut stack: Vec<bool> = vec![];
        for key in program {
            let value = match key {
                SearchKey::Not => !stack.pop().unwrap(),
                SearchKey::And => stack.pop().unwrap() & stack.pop().unwrap(),
                SearchKey::Or => stack.pop().unwrap() | stack.pop().unwrap(),
                SearchKey::Uid(set) => inside(set, self.uid),
                SearchKey::Flags(flags) => self.flags.system.contains(*flags),
                SearchKey::ModSeq(modseq) => self.modseq >= modseq.0,
                SearchKey::Header(name, text) => {
                    self.text().lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.contains(text)))
                }
                SearchKey::Body(text) | SearchKey::Text(text) => self.text().contains(text),
                _ => true,
            };
            stack.push(value);
        }
        stack.pop().unwrap()
    }

    fn subject(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
    }

    fn row(&self, want: Want) -> Row {
        let len = u32::try_from(self.bytes.len()).unwrap();
        let envelope = Envelope { subject: Some(ByteBuf::from(self.subject().into_bytes())), ..Envelope::default() };
        Row {
            uid: self.uid,
            modseq: ModSeq(self.modseq),
            before: None,
            flags: want.contains(Want::FLAGS).then(|| self.flags.clone()),
            received_at: want.contains(Want::DATE).then_some(self.received_at),
            size: want.contains(Want::SIZE).then_some(len),
            envelope: want.contains(Want::ENVELOPE).then(|| ByteBuf::from(wire::encode(&envelope).unwrap())),
            structure: want.contains(Want::STRUCTURE).then(|| ByteBuf::from(wire::encode(&self.structure()).unwrap())),
            body: want.contains(Want::BODY).then_some(BodyRef { fd: 0, offset: 3, len }),
            email: want.contains(Want::IDS).then_some(u64::from(self.uid)),
            thread: None,
            sent_at: want.contains(Want::SENT).then_some(0),
            sort: want.contains(Want::SORT).then(|| {
                let keys = SortKeys { subject: self.subject(), ..SortKeys::default() };
                wire::encode(&keys).unwrap().into()
            }),
            preview: None,
        }
    }

    /// One leaf; base64 when the header says so.
    fn structure(&self) -> Structure {
        let len = u32::try_from(self.bytes.len()).unwrap();
        let header = self.bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(len, |at| at as u32 + 4);
        let mut fields = vec![];
        let mut at = 0u32;
        for line in self.bytes[..header as usize].split_inclusive(|b| *b == b'\n') {
            let end = at + line.len() as u32;
            if let Some(colon) = line.iter().position(|b| *b == b':') {
                fields.push(Field { span: Span { start: at, end }, name_len: colon as u16 });
            }
            at = end;
        }
        let part = Part {
            header: Span { start: 0, end: header },
            body: Span { start: header, end: len },
            lines: 1,
            media_type: ByteBuf::from(b"text".to_vec()),
            subtype: ByteBuf::from(b"plain".to_vec()),
            encoding: match self.text() {
                text if text.contains("encoding: base64") => Encoding::Base64,
                text if text.contains("encoding: x-") => Encoding::Other(ByteBuf::from(b"x-unknown".to_vec())),
                _ => Encoding::SevenBit,
            },
            fields,
            ..Part::default()
        };
        Structure::new(vec![part]).unwrap()
    }
}

fn inside(set: &[UidRange], uid: u32) -> bool {
    set.iter().any(|range| range.first <= uid && uid <= range.last)
}

fn uids(numbers: impl Iterator<Item = u32>) -> Uids {
    crate::convert::one_set(&pure_imap::Ranges::from_numbers(numbers)).unwrap()
}

/// The other end of a session.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    pub(crate) ended: tokio::task::JoinHandle<Result<(), crate::connection::Fault>>,
}

impl Client {
    pub(crate) fn new(socket: TcpStream, ended: tokio::task::JoinHandle<Result<(), crate::connection::Fault>>) -> Self {
        Self { stream: BufReader::new(socket), ended }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).await.unwrap();
    }

    /// Says this, whatever comes back, and hangs up; how the session's task ended.
    pub(crate) async fn say_and_leave(self, bytes: &[u8]) -> Result<(), tokio::task::JoinError> {
        let (mut from, mut to) = self.stream.into_inner().into_split();
        let said = async {
            // The session may end before it has heard everything.
            let _ = to.write_all(bytes).await;
            let _ = to.shutdown().await;
        };
        let mut heard = Vec::new();
        let (_, _) = tokio::join!(said, from.read_to_end(&mut heard));
        self.ended.await.map(|_| ())
    }

    /// One line without its end; literals are read as part of it.
    pub(crate) async fn line(&mut self) -> String {
        let mut out = Vec::new();
        loop {
            let mut line = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(20), self.stream.read_until(b'\n', &mut line)).await;
            if read.expect("no answer").unwrap() == 0 {
                return "(closed)".into();
            }
            out.extend_from_slice(line.strip_suffix(b"\r\n").expect("a line ends with CRLF"));
            let literal = out.strip_suffix(b"}").and_then(|rest| {
                let open = rest.iter().rposition(|b| *b == b'{')?;
                std::str::from_utf8(&rest[open + 1..]).ok()?.parse::<usize>().ok()
            });
            match literal {
                Some(len) => {
                    let mut content = vec![0; len];
                    self.stream.read_exact(&mut content).await.unwrap();
                    out.extend_from_slice(b"|");
                    out.extend_from_slice(&content);
                    out.extend_from_slice(b"|");
                }
                None => return String::from_utf8_lossy(&out).into_owned(),
            }
        }
    }

    /// Sends a command and returns its answers, the tagged one last without its tag.
    pub(crate) async fn ask(&mut self, command: &str) -> Vec<String> {
        self.send(format!("x {command}\r\n")).await;
        self.answers("x").await
    }

    /// Everything up to the tagged answer.
    pub(crate) async fn answers(&mut self, tag: &str) -> Vec<String> {
        let mut out = vec![];
        loop {
            let line = self.line().await;
            if let Some(last) = line.strip_prefix(tag).and_then(|l| l.strip_prefix(' ')) {
                out.push(last.to_owned());
                return out;
            }
            let closed = line == "(closed)";
            out.push(line);
            if closed {
                return out;
            }
        }
    }

    /// As [`Self::ask`], for what must be answered OK.
    pub(crate) async fn ok(&mut self, command: &str) -> Vec<String> {
        let answers = self.ask(command).await;
        assert!(answers.last().unwrap().starts_with("OK"), "{command}: {answers:?}");
        answers
    }
}
