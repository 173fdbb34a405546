//! One module per edge: who may ask whom for what. A request that an edge does not have cannot be written down.

use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Debug, time::Duration};

pub mod auth_control;
pub mod auth_directory;
pub mod auth_login;
pub mod dns_scan;
pub mod keys_control;
pub mod keys_dkim;
pub mod keys_tls;
pub mod mail;
pub mod queue_control;
pub mod queue_grant;
pub mod queue_inbound;
pub mod queue_submit;
pub mod scan_index;
pub mod send_deliver;
pub mod send_names;
pub mod store_deliver;
pub mod store_grant;
pub mod store_session;

/// One direction of trust: a kind of client, a kind of server, and everything the one may ask the other.
pub trait Edge: Sized + Send + Sync + Debug + 'static {
    /// Names the listening socket, its directory and its descriptor.
    const NAME: &'static str;
    /// Bytes of the largest body, in either direction.
    const MAX_BODY: usize;
    /// Descriptors beside the body, in either direction; at most [`crate::frame::MAX_FDS`] - 1.
    const MAX_FDS: usize;
    /// Whether its frames hold passwords or keys, and are overwritten after use.
    const SECRET: bool = false;
    /// How long a client waits for an answer, or for the next part of one.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// Whether a request changes nothing: one whose connection ended before its answer came is sent once more, on the next.
    const REPEATABLE: bool = false;
    /// What the client may ask.
    type Request: Serialize + DeserializeOwned + Send + Sync + Debug + 'static;
    /// What the server may answer.
    type Response: Serialize + DeserializeOwned + Send + Sync + Debug + 'static;
    /// What the server may say unasked; on most edges nothing.
    type Event: Serialize + DeserializeOwned + Send + Sync + Debug + 'static;
}

/// No value: the event type of an edge that has no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Never {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that carry passwords or keys are marked, or nothing would be overwritten. In a session nobody logs in.
    #[test]
    fn edges_that_carry_secrets_are_those() {
        fn marked<E: Edge>() -> Option<&'static str> {
            E::SECRET.then_some(E::NAME)
        }
        let all = [
            marked::<auth_control::AuthControl>(),
            marked::<auth_directory::AuthDirectory>(),
            marked::<auth_login::AuthForImap>(),
            marked::<auth_login::AuthForSubmission>(),
            marked::<dns_scan::DnsForScan>(),
            marked::<keys_control::KeysControl>(),
            marked::<keys_dkim::KeysDkim>(),
            marked::<keys_tls::KeysForImap>(),
            marked::<keys_tls::KeysForMx>(),
            marked::<keys_tls::KeysForSubmission>(),
            marked::<queue_control::QueueControl>(),
            marked::<queue_grant::QueueGrant>(),
            marked::<queue_inbound::QueueInbound>(),
            marked::<queue_submit::QueueSubmit>(),
            marked::<scan_index::ScanForQueue>(),
            marked::<scan_index::ScanForStore>(),
            marked::<send_deliver::SendDeliver>(),
            marked::<send_names::SendNames>(),
            marked::<store_deliver::StoreDeliver>(),
            marked::<store_grant::StoreGrant>(),
            marked::<store_session::StoreSession>(),
        ];
        assert_eq!(all.into_iter().flatten().collect::<Vec<_>>(), ["auth-control", "auth-imap", "auth-submission", "keys-control"]);
    }
}
