//! The bodies of the frames of every edge: what is taken is encoded as what it was taken for. Byte 0 chooses edge and direction.

use serde::{Serialize, de::DeserializeOwned};
use wire::{
    Edge,
    edge::{
        auth_control::AuthControl,
        auth_directory::AuthDirectory,
        auth_login::{AuthForImap, AuthForSubmission},
        dns_scan::DnsForScan,
        keys_control::KeysControl,
        keys_dkim::KeysDkim,
        keys_tls::{KeysForImap, KeysForMx, KeysForSubmission},
        queue_control::QueueControl,
        queue_grant::QueueGrant,
        queue_inbound::QueueInbound,
        queue_submit::QueueSubmit,
        scan_index::{ScanForQueue, ScanForStore},
        send_deliver::SendDeliver,
        send_names::SendNames,
        store_deliver::StoreDeliver,
        store_grant::StoreGrant,
        store_session::StoreSession,
    },
    frame,
};

pub(super) const WORDS: &[&str] = &[
    "\u{1}\u{1}",
    "\0\0\0\0\0\0\0\0",
    "alice@mta.test",
    "\u{8}mta.test",
    "\u{5}INBOX",
    "\u{7f}\u{7f}\u{7f}\u{1}",
    "\u{e}alice@mta.test",
    "\u{5}alice\u{8}mta.test",
];

/// Whether the bytes are a value.
type Check = fn(&[u8]) -> bool;

fn check<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> bool {
    let Ok(value) = wire::decode::<T>(bytes) else { return false };
    let encoded = wire::encode(&value).unwrap();
    let again: T = wire::decode(&encoded).unwrap();
    assert_eq!(wire::encode(&again).unwrap(), encoded);
    true
}

fn both<E: Edge>() -> [Check; 2] {
    [check::<E::Request>, check::<E::Response>]
}

fn checks() -> Vec<Check> {
    let mut all = vec![hello as Check, check::<<StoreSession as Edge>::Event>];
    for pair in [
        both::<AuthControl>(),
        both::<AuthDirectory>(),
        both::<AuthForImap>(),
        both::<AuthForSubmission>(),
        both::<DnsForScan>(),
        both::<SendNames>(),
        both::<KeysControl>(),
        both::<KeysDkim>(),
        both::<KeysForMx>(),
        both::<KeysForSubmission>(),
        both::<KeysForImap>(),
        both::<QueueControl>(),
        both::<QueueGrant>(),
        both::<QueueInbound>(),
        both::<QueueSubmit>(),
        both::<ScanForQueue>(),
        both::<ScanForStore>(),
        both::<SendDeliver>(),
        both::<StoreDeliver>(),
        both::<StoreGrant>(),
        both::<StoreSession>(),
    ] {
        all.extend(pair);
    }
    all
}

fn hello(datagram: &[u8]) -> bool {
    let Ok((header, body)) = frame::Header::split(datagram) else { return false };
    assert_eq!(frame::Header::split(&[&header.to_bytes()[..], body].concat()).unwrap().0, header);
    check::<frame::Hello>(body)
}

/// For each edge, direction and variant the shortest run of zeros behind it that is a value, where one is.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (i, check) in checks().iter().enumerate() {
        for variant in 0..24 {
            let found = (0..80).map(|n| [vec![variant], vec![0; n]].concat()).find(|body| check(body));
            out.push([vec![i as u8], found.unwrap_or_else(|| [vec![variant], b"\x05alice\x08mta.test".to_vec()].concat())].concat());
        }
    }
    out
}

pub(super) fn run(input: &[u8]) {
    let Some((edge, body)) = input.split_first() else { return };
    let all = checks();
    all[usize::from(*edge) % all.len()](body);
}
