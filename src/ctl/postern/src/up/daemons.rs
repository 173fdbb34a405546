//! What `up` starts: the table that the units of `systemd/` say at greater length.

use wire::edge::{
    Edge,
    auth_control::AuthControl,
    auth_directory::AuthDirectory,
    auth_login::AuthForImap,
    auth_login::AuthForSubmission,
    dns_scan::DnsForScan,
    keys_control::KeysControl,
    keys_dkim::KeysDkim,
    keys_tls::{KeysForImap, KeysForMx, KeysForSubmission},
    queue_control::QueueControl,
    queue_grant::QueueGrant,
    queue_inbound::QueueInbound,
    scan_index::ScanForQueue,
    scan_index::ScanForStore,
    send_deliver::SendDeliver,
    send_names::SendNames,
    store_deliver::StoreDeliver,
    store_grant::StoreGrant,
};

/// The first of the numbers that daemons run under when `up` is root: outside what distributions give to people and services, and
/// below systemd's dynamic users.
const FIRST_ID: u32 = 61_000;

const MX: u32 = FIRST_ID + 1;
const SUBMISSION: u32 = FIRST_ID + 2;
const IMAP: u32 = FIRST_ID + 3;
const SCAN: u32 = FIRST_ID + 4;
const QUEUE: u32 = FIRST_ID + 5;
const STORE: u32 = FIRST_ID + 6;
const AUTH: u32 = FIRST_ID + 7;
const KEYS: u32 = FIRST_ID + 8;
const DNS: u32 = FIRST_ID + 9;
const SEND: u32 = FIRST_ID + 11;
const ROOT: u32 = 0;

/// One daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    /// As in the log, and the name of its directories.
    pub(super) name: &'static str,
    /// The executable.
    pub(super) binary: &'static str,
    /// Its role, where one executable has several.
    pub(super) argument: Option<&'static str>,
    /// TCP listeners it serves.
    pub(super) ports: &'static [&'static str],
    /// Edges it listens on.
    pub(super) edges: &'static [EdgeSocket],
    /// Edges that it is connected to at its start, since it can connect to none by itself.
    pub(super) dials: &'static [&'static str],
    /// Whether it keeps state.
    pub(super) state: bool,
    /// Whether it gets the TLS key.
    pub(super) tls_key: bool,
    /// When `up` is root.
    pub(super) uid: u32,
    /// When `up` is root.
    pub(super) gid: u32,
}

/// The socket of an edge, and who may connect to it when `up` is root: its owner and its group, nobody else.
#[derive(Debug)]
pub(super) struct EdgeSocket {
    pub(super) name: &'static str,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

const fn edge<E: Edge>(uid: u32, gid: u32) -> EdgeSocket {
    EdgeSocket { name: E::NAME, uid, gid }
}

/// Every daemon, those that others call first.
pub(super) const DAEMONS: &[Daemon] = &[
    Daemon {
        name: "keys",
        binary: "postern-keys",
        argument: None,
        ports: &[],
        edges: &[
            edge::<KeysForMx>(MX, MX),
            edge::<KeysForSubmission>(SUBMISSION, SUBMISSION),
            edge::<KeysForImap>(IMAP, IMAP),
            edge::<KeysDkim>(QUEUE, QUEUE),
            edge::<KeysControl>(ROOT, ROOT),
        ],
        dials: &[],
        state: true,
        tls_key: true,
        uid: KEYS,
        gid: KEYS,
    },
    Daemon {
        name: "scan",
        binary: "postern-scan",
        argument: None,
        ports: &[],
        edges: &[edge::<ScanForQueue>(QUEUE, QUEUE), edge::<ScanForStore>(STORE, STORE)],
        dials: &[],
        state: false,
        tls_key: false,
        uid: SCAN,
        gid: SCAN,
    },
    Daemon {
        name: "store",
        binary: "postern-store",
        argument: None,
        ports: &[],
        edges: &[edge::<StoreDeliver>(QUEUE, QUEUE), edge::<StoreGrant>(AUTH, AUTH)],
        dials: &[],
        state: true,
        tls_key: false,
        uid: STORE,
        gid: STORE,
    },
    Daemon {
        name: "auth",
        binary: "postern-auth",
        argument: None,
        ports: &[],
        edges: &[
            edge::<AuthForImap>(IMAP, IMAP),
            edge::<AuthForSubmission>(SUBMISSION, SUBMISSION),
            edge::<AuthDirectory>(QUEUE, QUEUE),
            edge::<AuthControl>(ROOT, ROOT),
        ],
        dials: &[],
        state: true,
        tls_key: false,
        uid: AUTH,
        gid: AUTH,
    },
    Daemon {
        name: "dns",
        binary: "postern-dns",
        argument: None,
        ports: &[],
        edges: &[edge::<DnsForScan>(SCAN, SCAN)],
        dials: &[SendNames::NAME],
        state: false,
        tls_key: false,
        uid: DNS,
        gid: DNS,
    },
    Daemon {
        name: "send",
        binary: "postern-send",
        argument: None,
        ports: &[],
        // To the second the supervisor connects dns.
        edges: &[edge::<SendDeliver>(QUEUE, QUEUE), edge::<SendNames>(ROOT, ROOT)],
        dials: &[],
        state: false,
        tls_key: false,
        uid: SEND,
        gid: SEND,
    },
    Daemon {
        name: "queue",
        binary: "postern-queue",
        argument: None,
        ports: &[],
        edges: &[edge::<QueueInbound>(MX, MX), edge::<QueueGrant>(AUTH, AUTH), edge::<QueueControl>(ROOT, ROOT)],
        dials: &[],
        state: true,
        tls_key: false,
        uid: QUEUE,
        gid: QUEUE,
    },
    Daemon {
        name: "mx",
        binary: "postern-smtp",
        argument: Some("mx"),
        ports: &["mx"],
        edges: &[],
        dials: &[],
        state: false,
        tls_key: false,
        uid: MX,
        gid: MX,
    },
    Daemon {
        name: "submission",
        binary: "postern-smtp",
        argument: Some("submission"),
        ports: &["submission", "submissions"],
        edges: &[],
        dials: &[],
        state: false,
        tls_key: false,
        uid: SUBMISSION,
        gid: SUBMISSION,
    },
    Daemon {
        name: "imap",
        binary: "postern-imap",
        argument: None,
        ports: &["imaps"],
        edges: &[],
        dials: &[],
        state: false,
        tls_key: false,
        uid: IMAP,
        gid: IMAP,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_daemon_has_a_user_of_its_own_that_is_not_root() {
        let users: BTreeSet<u32> = DAEMONS.iter().map(|d| d.uid).collect();
        assert_eq!(users.len(), DAEMONS.len());
        assert!(DAEMONS.iter().all(|d| d.uid != 0 && d.gid != 0));
    }

    #[test]
    fn every_edge_with_a_path_is_served_once() {
        let mut names: Vec<&str> = DAEMONS.iter().flat_map(|d| d.edges).map(|e| e.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), all), (19, 19));
    }

    #[test]
    fn only_keys_gets_the_key() {
        let with_key: Vec<&str> = DAEMONS.iter().filter(|d| d.tls_key).map(|d| d.name).collect();
        assert_eq!(with_key, ["keys"]);
    }
}
