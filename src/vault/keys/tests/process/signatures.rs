//! DKIM keys and signatures of the real process, and what is left of them when it is killed.

use crate::world::Daemon;
use pure_addr::{Domain, Text};
use std::time::{SystemTime, UNIX_EPOCH};
use wire::{
    Client, Error, List,
    edge::{
        keys_control::{self, Key, KeysControl},
        keys_dkim::{KeysDkim, Request, Response, SignedField, SigningInput},
    },
};

pub(crate) fn domain() -> Domain {
    Domain::parse("mta.test").unwrap()
}

/// What scan says of a message.
pub(crate) fn input(message: &[u8]) -> Option<SigningInput> {
    let (header, body) = pure_dkim::fields::split(message);
    let fields = pure_dkim::fields::to_sign(b"", header).ok()?.into_iter();
    let fields = fields.map(|f| SignedField { name: Text::new(f.name).unwrap(), value: f.value.map(Into::into) }).collect();
    Some(SigningInput { body_hash: pure_dkim::body_hash(body), fields: List::new(fields).unwrap() })
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Asks for both signatures, now.
pub(crate) async fn sign(client: &Client<KeysDkim>, input: SigningInput) -> Result<Vec<Vec<u8>>, Error> {
    let request = Request::Sign { domain: domain(), time: now(), input: Box::new(input) };
    match client.call(&request, &[]).await?.body {
        Response::Signatures(all) => Ok(all.into_iter().map(|f| f.into_vec()).collect()),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn keys(daemon: &Daemon) -> Vec<Key> {
    let answer = daemon.client::<KeysControl>().call(&keys_control::Request::Keys(domain()), &[]).await.unwrap().body;
    let keys_control::Response::Keys(keys) = answer else { panic!("{answer:?}") };
    keys.into_vec()
}

const MESSAGE: &[u8] = b"From: a@mta.test\r\nSubject: x\r\n\r\nhello\r\n";

#[tokio::test]
async fn keys_are_made_inside_the_jail_and_outlive_a_kill() {
    let mut daemon = Daemon::start();
    let signed = sign(&daemon.client(), input(MESSAGE).unwrap()).await.unwrap();
    assert_eq!(signed.len(), 2);
    let before = keys(&daemon).await;
    assert_eq!(before.len(), 2);
    daemon.kill_and_restart();
    assert_eq!(keys(&daemon).await, before);
}

/// Killed whenever it may be while it makes the first keys: afterwards there is one pair, and it stays.
#[tokio::test]
async fn a_kill_while_keys_are_made_leaves_whole_keys_or_none() {
    let mut daemon = Daemon::start();
    for _ in 0..8 {
        let client = daemon.client::<KeysDkim>();
        let asked = sign(&client, input(MESSAGE).unwrap());
        // Not waited for: the kill comes while the request is on its way or its keys are made.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(20), asked).await;
        daemon.kill_and_restart();
    }
    let signed = sign(&daemon.client(), input(MESSAGE).unwrap()).await.unwrap();
    let before = keys(&daemon).await;
    assert_eq!((signed.len(), before.len()), (2, 2));
    daemon.kill_and_restart();
    assert_eq!(keys(&daemon).await, before);
}

/// Attack case IPC-04: a client that asks for what is no header loses its connection, and the next one is served.
#[tokio::test]
async fn what_was_not_rebuilt_is_not_signed() {
    let daemon = Daemon::start();
    let client = daemon.client::<KeysDkim>();
    let mut raw = input(MESSAGE).unwrap();
    raw.fields = List::new(vec![SignedField { name: Text::new("from").unwrap(), value: Some(vec![b'\n'; 32].into()) }]).unwrap();
    assert!(sign(&client, raw).await.is_err());
    assert_eq!(sign(&client, input(MESSAGE).unwrap()).await.unwrap().len(), 2);
}
