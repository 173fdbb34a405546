//! Who the store and the queue ask: a scan that believes everything, a directory of three accounts and of an alias that leads elsewhere,
//! and a `send` that delivers there.

use pure_addr::{AccountId, Address, Domain, Text};
use pure_index::{
    Identity, MessageIndex, Part, Span, Structure,
    judgement::{Alignment, Dmarc, Judgement},
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use serde_bytes::ByteBuf;
use std::{
    collections::BTreeMap,
    fs,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use wire::{
    Error, List, Reply, SealedMessage, Service,
    edge::{
        auth_directory::{self, AuthDirectory, Target},
        mail::{Owner, QueueId},
        scan_index::{self, ScanForQueue, ScanForStore},
        send_deliver::{self, Outcome, Report, SendDeliver, Status, Trace},
    },
    serve,
};

/// The local parts of the accounts; the number of an account is its place, from 1.
pub const NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// The local part of the alias.
pub const ELSEWHERE: &str = "elsewhere";
/// One in so many answers of `send` is lost.
const LOST: usize = 5;

pub fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@mta.test")).unwrap()
}

pub fn owner(name: &str) -> Owner {
    let number = NAMES.iter().position(|n| *n == name).unwrap() as u64 + 1;
    Owner { account: AccountId::new(number).unwrap(), address: address(name), quota: None }
}

/// A listening socket, whoever had it before.
pub fn listener(path: &Path) -> OwnedFd {
    let _ = fs::remove_file(path);
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&fd, 128).unwrap();
    fd
}

/// Serves them all, for ever. Returns what is delivered elsewhere.
pub fn start(sockets: &Path) -> Arc<Elsewhere> {
    let elsewhere = Arc::new(Elsewhere::default());
    tokio::spawn(serve::<SendDeliver, _>(listener(&sockets.join("send")), elsewhere.clone()));
    tokio::spawn(serve::<ScanForQueue, _>(listener(&sockets.join("scan-queue")), Arc::new(Scan)));
    tokio::spawn(serve::<ScanForStore, _>(listener(&sockets.join("scan-store")), Arc::new(Scan)));
    tokio::spawn(serve::<AuthDirectory, _>(listener(&sockets.join("directory")), Arc::new(Directory)));
    elsewhere
}

/// `send`, and the host that it delivers to. It lives through everything, so it knows what it was asked for before, as `send` does.
#[derive(Default)]
pub struct Elsewhere {
    /// Whole messages, header and all, by what `send` tells deliveries apart by.
    pub delivered: Mutex<BTreeMap<(QueueId, u32), Vec<u8>>>,
    answers: AtomicUsize,
}

impl Service<SendDeliver> for Elsewhere {
    async fn call(&self, request: send_deliver::Request, fds: Vec<OwnedFd>) -> Result<Reply<SendDeliver>, Error> {
        let numbers: Vec<u32> = match request {
            send_deliver::Request::Known { id, numbers } => {
                let delivered = self.delivered.lock().unwrap();
                numbers.into_vec().into_iter().filter(|number| delivered.contains_key(&(id, *number))).collect()
            }
            send_deliver::Request::Deliver(lease) => {
                let mut text = lease.prefix.into_vec();
                text.extend(SealedMessage::from_fd(fds.into_iter().next().unwrap(), 1 << 30).unwrap().read_all()?);
                let numbers: Vec<u32> = lease.recipients.iter().map(|recipient| recipient.number).collect();
                let mut delivered = self.delivered.lock().unwrap();
                for number in &numbers {
                    delivered.entry((lease.id, *number)).or_insert_with(|| text.clone());
                }
                numbers
            }
            send_deliver::Request::ReportTo(_) => return Ok(Reply::new(send_deliver::Response::ReportTo(Some(List::default())))),
        };
        if self.answers.fetch_add(1, Ordering::Relaxed) % LOST == LOST - 1 {
            return Err(Error::Malformed("the answer is lost"));
        }
        let trace = Trace { status: Status(2, 0, 0), reply: None, text: Text::new("delivered").unwrap(), remote: None };
        let results = numbers.into_iter().map(|number| (number, Outcome::Delivered { dsn: false, trace: trace.clone() })).collect();
        let report = Report { results: List::new(results).unwrap(), tls: List::default() };
        Ok(Reply::new(send_deliver::Response::Report(Box::new(report))))
    }
}

struct Scan;

fn index(fds: Vec<OwnedFd>) -> scan_index::Response {
    let message = SealedMessage::from_fd(fds.into_iter().next().unwrap(), 1 << 30).unwrap();
    let end = u32::try_from(message.len()).unwrap();
    let root = Part {
        header: Span { start: 0, end: 0 },
        body: Span { start: 0, end },
        lines: 1,
        media_type: ByteBuf::from("text"),
        subtype: ByteBuf::from("plain"),
        ..Part::default()
    };
    let identity = Identity { from_fields: 1, ..Identity::default() };
    scan_index::Response::Indexed(Box::new(MessageIndex {
        structure: Structure::new(vec![root]).unwrap(),
        identity,
        ..MessageIndex::default()
    }))
}

impl Service<ScanForQueue> for Scan {
    async fn call(&self, request: scan_index::QueueRequest, fds: Vec<OwnedFd>) -> Result<Reply<ScanForQueue>, Error> {
        Ok(Reply::new(match (request, index(fds)) {
            (scan_index::QueueRequest::Judge(_), scan_index::Response::Indexed(index)) => {
                let dmarc = Dmarc { author: Domain::parse("remote.test").ok(), alignment: Alignment::Aligned, ..Dmarc::default() };
                scan_index::QueueResponse::Judged(index, Box::new(Judgement { dmarc, ..Judgement::default() }))
            }
            (_, index) => scan_index::QueueResponse::Index(index),
        }))
    }
}

impl Service<ScanForStore> for Scan {
    async fn call(&self, _: scan_index::Request, fds: Vec<OwnedFd>) -> Result<Reply<ScanForStore>, Error> {
        Ok(Reply::new(index(fds)))
    }
}

struct Directory;

impl Service<AuthDirectory> for Directory {
    async fn call(&self, request: auth_directory::Request, _: Vec<OwnedFd>) -> Result<Reply<AuthDirectory>, Error> {
        Ok(Reply::new(match request {
            auth_directory::Request::Resolve(address) => match NAMES.into_iter().find(|n| address.key() == format!("{n}@mta.test")) {
                Some(name) => {
                    let target = Target::Account { owner: owner(name), detail: None };
                    auth_directory::Response::Targets(List::new(vec![target]).unwrap())
                }
                None if address.key() == format!("{ELSEWHERE}@mta.test") => {
                    let target = Target::Remote(Address::parse("x@remote.test").unwrap());
                    auth_directory::Response::Targets(List::new(vec![target]).unwrap())
                }
                None => auth_directory::Response::Unknown,
            },
            auth_directory::Request::Changed(_) => std::future::pending().await,
            auth_directory::Request::MaySend { .. } => auth_directory::Response::MaySend(true),
        }))
    }
}
