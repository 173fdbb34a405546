//! Who the store and the queue ask: a scan that believes everything, and a directory of three accounts.

use pure_addr::{AccountId, Address, Domain};
use pure_index::{
    Identity, MessageIndex, Part, Span, Structure,
    judgement::{Alignment, Dmarc, Judgement},
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use serde_bytes::ByteBuf;
use std::{fs, os::fd::OwnedFd, path::Path, sync::Arc};
use wire::{
    Error, List, Reply, SealedMessage, Service,
    edge::{
        auth_directory::{self, AuthDirectory, Target},
        mail::Owner,
        scan_index::{self, ScanForQueue, ScanForStore},
    },
    serve,
};

/// The local parts of the accounts; the number of an account is its place, from 1.
pub const NAMES: [&str; 3] = ["alice", "bob", "carol"];

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

/// Serves them all, for ever.
pub fn start(sockets: &Path) {
    tokio::spawn(serve::<ScanForQueue, _>(listener(&sockets.join("scan-queue")), Arc::new(Scan)));
    tokio::spawn(serve::<ScanForStore, _>(listener(&sockets.join("scan-store")), Arc::new(Scan)));
    tokio::spawn(serve::<AuthDirectory, _>(listener(&sockets.join("directory")), Arc::new(Directory)));
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
                None => auth_directory::Response::Unknown,
            },
            auth_directory::Request::Changed(_) => std::future::pending().await,
            auth_directory::Request::MaySend { .. } => auth_directory::Response::MaySend(true),
        }))
    }
}
