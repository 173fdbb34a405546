//! The fake of scan.

use super::Gate;
use pure_addr::Text;
use pure_index::{Field, Identity, MessageIndex, Part, Span, Structure, judgement::Judgement};
use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Mutex,
};
use tokio::sync::watch;
use wire::{
    Error, List, MessageWriter, Reply, SealedMessage, Service,
    edge::{
        keys_dkim::{self, SignedField, SigningInput},
        scan_index::{self, ScanForQueue},
    },
};

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
