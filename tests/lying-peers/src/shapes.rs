//! What can be in a frame: the request, the response and the event of every edge.

use crate::Source;
use serde::{Serialize, de::DeserializeOwned};
use wire::{
    Edge, decode,
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
    encode, frame,
};

/// One type, without its name.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The edge.
    pub edge: &'static str,
    /// `request`, `response`, `event` or `hello`.
    pub what: &'static str,
    /// Bytes of the largest body.
    pub max_body: usize,
    /// Descriptors beside it, at most.
    pub max_fds: usize,
    /// A valid body; none when the source found no value.
    pub make: fn(&mut Source) -> Option<Vec<u8>>,
    /// Decodes a body and encodes what it is; none when it is refused.
    pub read: fn(&[u8]) -> Option<Vec<u8>>,
}

fn make<T: Serialize + DeserializeOwned>(source: &mut Source) -> Option<Vec<u8>> {
    encode(&source.value::<T>()?).ok()
}

fn read<T: Serialize + DeserializeOwned>(body: &[u8]) -> Option<Vec<u8>> {
    encode(&decode::<T>(body).ok()?).ok()
}

fn shape<E: Edge, T: Serialize + DeserializeOwned>(what: &'static str) -> Shape {
    Shape { edge: E::NAME, what, max_body: E::MAX_BODY, max_fds: E::MAX_FDS, make: make::<T>, read: read::<T> }
}

fn of<E: Edge>() -> [Shape; 4] {
    [
        shape::<E, E::Request>("request"),
        shape::<E, E::Response>("response"),
        shape::<E, E::Event>("event"),
        shape::<E, frame::Hello>("hello"),
    ]
}

/// Every edge.
pub fn shapes() -> Vec<Shape> {
    [
        of::<AuthControl>(),
        of::<AuthDirectory>(),
        of::<AuthForImap>(),
        of::<AuthForSubmission>(),
        of::<DnsForScan>(),
        of::<SendNames>(),
        of::<KeysControl>(),
        of::<KeysDkim>(),
        of::<KeysForImap>(),
        of::<KeysForMx>(),
        of::<KeysForSubmission>(),
        of::<QueueControl>(),
        of::<QueueGrant>(),
        of::<QueueInbound>(),
        of::<QueueSubmit>(),
        of::<ScanForQueue>(),
        of::<ScanForStore>(),
        of::<SendDeliver>(),
        of::<StoreDeliver>(),
        of::<StoreGrant>(),
        of::<StoreSession>(),
    ]
    .concat()
}
