//! What the store alone can do, through its sockets: `cargo run --release -p postern-store --example deliver_bench [MESSAGES] [OPEN ACCOUNTS] [DIRECTORY]`.
//!
//! Client and server share this process and its two threads, so the figures include both sides of the sockets.

use postern_store::{Deliver, Grant, Options, Store};
use pure_addr::{AccountId, Address, MailboxName};
use pure_index::{Envelope, EnvelopeAddress, Field, MessageIndex, Part, SearchText, Span, Structure};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use serde_bytes::ByteBuf;
use std::{
    error::Error,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;
use wire::{
    Client, List, MessageWriter, Session,
    edge::{
        mail::{Owner, QueueId, SessionId},
        store_deliver::{self, Delivery, DeliveryId, Life, StoreDeliver},
        store_grant::{self, StoreGrant},
        store_session::{FlagChange, Flags, Request, Response, SearchKey, StoreSession, SystemFlags, UidRange, Uids, Want},
    },
    serve,
};

type Failure = Box<dyn Error + Send + Sync>;

/// Characters of text in a message, whatever its size.
const MAX_TEXT: usize = 16 * 1024;
const LIFE: Life = Life(1);
/// Deliveries under way at a time.
const IN_FLIGHT: usize = 50;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let messages: u64 = arguments.next().map_or(Ok(20_000), |n| n.parse())?;
    let max_open: usize = arguments.next().map_or(Ok(postern_store::limits::MAX_OPEN_ACCOUNTS), |n| n.parse())?;
    let dir = match arguments.next() {
        Some(path) => tempfile::tempdir_in(path)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(bench(messages, max_open, dir.path()))
}

async fn bench(messages: u64, max_open: usize, dir: &Path) -> Result<(), Failure> {
    let mut out = io::stdout();
    let store = Store::open(dir, Options { max_open, ..Options::new(50 << 20, LIFE, None, Client::new(dir.join("scan"))) })?;
    tokio::spawn(serve::<StoreDeliver, _>(listener(&dir.join("deliver"))?, Arc::new(Deliver(store.clone()))));
    tokio::spawn(serve::<StoreGrant, _>(listener(&dir.join("grant"))?, Arc::new(Grant(store.clone()))));
    tokio::spawn(store.clone().keep_house());
    let queue = Arc::new(Client::<StoreDeliver>::new(dir.join("deliver")));
    let auth = Client::<StoreGrant>::new(dir.join("grant"));
    writeln!(out, "at rest: {} KiB", rss()?)?;

    let before = rss()?;
    let mut idle = Vec::new();
    for _ in 0..2_000 {
        let mut session = open(&auth, 1).await?;
        session.start(&Request::Open(MailboxName::inbox()), &[]).await?;
        while session.next().await?.is_some() {}
        idle.push(session);
    }
    writeln!(out, "2,000 idle sessions, both ends: {:.1} KiB each", (rss()? - before) as f64 / 2_000.0)?;
    drop(idle);

    for (accounts, in_flight, size) in [(1, 1, 4096), (1, IN_FLIGHT, 4096), (1_000, 1, 4096), (1_000, IN_FLIGHT, 4096), (10, 8, 1 << 20)] {
        let n = if size > 4096 { messages.min(1_000) } else { messages };
        let base = u64::from(accounts != 1) * 10_000 + in_flight as u64 * 100_000 + size as u64 * 1_000_000;
        // The accounts are made before the clock starts.
        deliver(&queue, accounts, accounts, in_flight, base, 1 << 40, size).await?;
        let (start, cpu) = (Instant::now(), cpu()?);
        deliver(&queue, accounts, n, in_flight, base, 0, size).await?;
        let (delivered, cpu) = (start.elapsed(), self::cpu()? - cpu);
        let start = Instant::now();
        queue.call(&store_deliver::Request::Sync, &[]).await?;
        writeln!(
            out,
            "{n} x {size} B into {accounts} accounts, {in_flight} at a time: {:.0}/s, {:.3} CPU ms each, then sync {:.1} ms; {} KiB",
            per_second(n, delivered),
            cpu.as_secs_f64() * 1e3 / n as f64,
            start.elapsed().as_secs_f64() * 1e3,
            rss()?
        )?;
    }

    let mut session = open(&auth, IN_FLIGHT as u64 * 100_000 + 4096 * 1_000_000).await?;
    let Response::Mailbox(inbox) = session.call(&Request::Mailbox(MailboxName::inbox()), &[]).await?.body else {
        return Err("no INBOX".into());
    };
    let all = Uids::new(vec![UidRange { first: 1, last: u32::MAX }]).unwrap_or_default();
    let envelope = Want::FLAGS.union(Want::DATE).union(Want::SIZE).union(Want::ENVELOPE);
    for (what, want) in [
        ("flags", Want::FLAGS),
        ("fast", Want::FLAGS.union(Want::DATE).union(Want::SIZE)),
        ("envelopes", envelope),
        ("structures", Want::STRUCTURE),
        ("bodies", Want::BODY.union(Want::SIZE)),
        ("sort keys", Want::SORT),
    ] {
        let fetch = Request::Fetch { mailbox: inbox.id, uids: all.clone(), changed_since: None, want };
        timed(&mut session, &format!("fetch {what}"), &fetch).await?;
    }
    let search = |keys: Vec<SearchKey>| Request::Search { mailbox: inbox.id, program: List::new(keys).unwrap_or_default() };
    timed(&mut session, "search unseen", &search(vec![SearchKey::Flags(SystemFlags::SEEN), SearchKey::Not])).await?;
    timed(&mut session, "search subject", &search(vec![SearchKey::Header("subject".into(), "number 77".into())])).await?;
    timed(&mut session, "search body, rare", &search(vec![SearchKey::Body("nowhere to be found".into())])).await?;
    timed(&mut session, "search body, common", &search(vec![SearchKey::Body("quick".into())])).await?;
    let set = |change| Request::SetFlags {
        mailbox: inbox.id,
        uids: all.clone(),
        change,
        flags: Flags { system: SystemFlags::SEEN, ..Flags::default() },
        unchanged_since: None,
    };
    timed(&mut session, "store +FLAGS", &set(FlagChange::Add)).await?;
    timed(&mut session, "empty resync", &Request::Changes { mailbox: inbox.id, since: wire::edge::store_session::ModSeq(u64::MAX >> 1) })
        .await?;
    timed(&mut session, "open", &Request::Open(MailboxName::inbox())).await?;
    let start = Instant::now();
    for _ in 0..10_000 {
        session.call(&Request::Mailbox(MailboxName::inbox()), &[]).await?;
    }
    writeln!(out, "status: {:.0}/s", per_second(10_000, start.elapsed()))?;

    Ok(())
}

async fn deliver(
    queue: &Arc<Client<StoreDeliver>>,
    accounts: u64,
    n: u64,
    in_flight: usize,
    base: u64,
    id: u64,
    size: usize,
) -> Result<(), Failure> {
    let slots = Arc::new(Semaphore::new(in_flight));
    let mut tasks = Vec::new();
    for number in 0..n {
        let slot = slots.clone().acquire_owned().await?;
        let queue = queue.clone();
        tasks.push(tokio::spawn(async move {
            let _slot = slot;
            let (text, index) = message(number, size)?;
            let delivery = Delivery {
                id: DeliveryId { message: QueueId(id + number), number: 0 },
                owner: owner(base + number % accounts)?,
                mailbox: MailboxName::inbox(),
                received_at: 1_790_000_000,
                prefix: ByteBuf::new(),
                index,
            };
            let sealed = MessageWriter::sealed(&text)?;
            let request = store_deliver::Request::Deliver(Box::new(delivery));
            let reply = queue.call(&request, &[sealed.as_fd()]).await?;
            if reply.body == store_deliver::Response::Delivered(LIFE) {
                Ok::<(), Failure>(())
            } else {
                Err(format!("{:?}", reply.body).into())
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// A message like many: twelve header fields, text of words.
fn message(number: u64, size: usize) -> Result<(Vec<u8>, MessageIndex), Failure> {
    let mut text = String::new();
    let mut fields = Vec::new();
    let mut search = Vec::new();
    let subject = format!("This is message number {number} of many");
    let id = format!("{number}.bench@example.test");
    for (name, value) in [
        ("Received", "from client.example.test by mail.example.test with ESMTPS id 0123456789abcdef"),
        ("From", "Bob Example <bob@example.test>"),
        ("To", "Alice Example <alice@example.test>"),
        ("Subject", &subject),
        ("Message-ID", &id),
        ("Date", "Fri, 20 Nov 2026 10:00:00 +0100"),
        ("MIME-Version", "1.0"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "7bit"),
        ("User-Agent", "bench"),
        ("X-One", "1"),
        ("X-Two", "2"),
    ] {
        let start = u32::try_from(text.len())?;
        text.push_str(&format!("{name}: {value}\r\n"));
        fields.push(Field { span: Span { start, end: u32::try_from(text.len())? }, name_len: u16::try_from(name.len())? });
        search.push((name.to_lowercase(), value.to_lowercase()));
    }
    text.push_str("\r\n");
    let header = u32::try_from(text.len())?;
    while text.len() < size {
        text.push_str("The quick brown fox jumps over the lazy dog and runs away from it.\r\n");
    }
    let body = text.get(header as usize..text.len().min(MAX_TEXT)).unwrap_or_default().replace("\r\n", "\n").to_lowercase();
    let part = Part {
        header: Span { start: 0, end: header },
        body: Span { start: header, end: u32::try_from(text.len())? },
        lines: 60,
        media_type: ByteBuf::from("text"),
        subtype: ByteBuf::from("plain"),
        params: vec![(ByteBuf::from("charset"), ByteBuf::from("utf-8"))],
        fields,
        ..Part::default()
    };
    let address = |name: &str, mailbox: &str| EnvelopeAddress {
        name: Some(ByteBuf::from(name)),
        mailbox: Some(ByteBuf::from(mailbox)),
        host: Some(ByteBuf::from("example.test")),
    };
    let bob = vec![address("Bob Example", "bob")];
    let index = MessageIndex {
        envelope: Envelope {
            date: Some(ByteBuf::from("Fri, 20 Nov 2026 10:00:00 +0100")),
            subject: Some(ByteBuf::from(subject.as_str())),
            from: bob.clone(),
            sender: bob.clone(),
            reply_to: bob,
            to: vec![address("Alice Example", "alice")],
            message_id: Some(ByteBuf::from(id.as_str())),
            ..Envelope::default()
        },
        structure: Structure::new(vec![part])?,
        preview: body.chars().take(256).collect(),
        // What is larger is mostly attachments, which are not searched.
        search: SearchText { headers: search, body: body.chars().take(MAX_TEXT).collect() },
        message_id: Some(id),
        base_subject: subject.to_lowercase(),
        sent_at: Some(1_790_000_000),
        ..MessageIndex::default()
    };
    Ok((text.into_bytes(), index))
}

fn owner(account: u64) -> Result<Owner, Failure> {
    let account = AccountId::new(account.max(1)).ok_or("no account")?;
    Ok(Owner { account, address: Address::parse("alice@example.test")?, quota: Some(1 << 40) })
}

async fn open(auth: &Client<StoreGrant>, account: u64) -> Result<Session<StoreSession>, Failure> {
    let request = store_grant::Request::Session { owner: owner(account)?, session: SessionId(1) };
    let reply = auth.call(&request, &[]).await?;
    let fd = reply.fds.into_iter().next().ok_or("not granted")?;
    Ok(Session::new(fd).await?)
}

async fn timed(session: &mut Session<StoreSession>, what: &str, request: &Request) -> Result<(), Failure> {
    let start = Instant::now();
    session.start(request, &[]).await?;
    let (mut rows, mut frames) = (0u64, 0u64);
    while let Some(part) = session.next().await? {
        frames += 1;
        match part.body {
            Response::Rows(list) => rows += list.len() as u64,
            Response::Uids(uids) => rows += uids.iter().map(|r| u64::from(r.last - r.first) + 1).sum::<u64>(),
            Response::Refused(why) => return Err(format!("{what}: {why:?}").into()),
            _ => {}
        }
    }
    let elapsed = start.elapsed();
    writeln!(io::stdout(), "{what}: {rows} in {frames} frames, {:.2} ms, {:.0}/s", elapsed.as_secs_f64() * 1e3, per_second(rows, elapsed))?;
    Ok(())
}

fn per_second(n: u64, elapsed: Duration) -> f64 {
    n as f64 / elapsed.as_secs_f64()
}

/// CPU time of this process so far.
fn cpu() -> Result<Duration, Failure> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?))
}

/// Resident KiB.
fn rss() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn listener(path: &Path) -> Result<OwnedFd, Failure> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    bind(&fd, &SocketAddrUnix::new(path)?)?;
    listen(&fd, 128)?;
    Ok(fd)
}
