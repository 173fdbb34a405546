//! What each unit should be, as a table: the tests compare the unit files and the running processes with it.

use crate::{Failure, workspace};
use std::{fs, path::PathBuf};

/// One process.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// `postern-` and this.
    pub name: &'static str,
    /// Its program below `/usr/lib/postern`.
    pub program: &'static str,
    /// TCP listeners it must be given.
    pub listeners: &'static [&'static str],
    /// Edges it listens on.
    pub serves: &'static [&'static str],
    /// Edges it connects to; it can see no other.
    pub calls: &'static [&'static str],
    /// Edges that PID 1 connects it to at its start; whoever listens there asks, and it answers.
    pub answers: &'static [&'static str],
    /// Whether it keeps state, in a directory of its name.
    pub state: bool,
    /// Whether its user exists only while it runs.
    pub dynamic_user: bool,
    /// Whether SIGHUP makes it read its sources again.
    pub reloads: bool,
    /// Whether it opens connections to other hosts; all others have an empty network namespace.
    pub dials_out: bool,
    /// Files of the host that it sees, if they are there.
    pub reads: &'static [&'static str],
}

impl Service {
    /// The unit's name.
    pub fn unit(&self) -> String {
        format!("postern-{}.service", self.name)
    }
}

const NONE: &[&str] = &[];

/// Every process.
pub const SERVICES: &[Service] = &[
    Service {
        name: "mx",
        program: "postern-smtp",
        listeners: &["mx"],
        serves: NONE,
        calls: &["keys-tls-mx", "queue-inbound"],
        answers: NONE,
        state: false,
        dynamic_user: true,
        reloads: false,
        dials_out: false,
        reads: NONE,
    },
    Service {
        name: "submission",
        program: "postern-smtp",
        listeners: &["submissions"],
        serves: NONE,
        calls: &["keys-tls-submission", "auth-submission"],
        answers: NONE,
        state: false,
        dynamic_user: true,
        reloads: false,
        dials_out: false,
        reads: NONE,
    },
    Service {
        name: "imap",
        program: "postern-imap",
        listeners: &["imaps"],
        serves: NONE,
        calls: &["keys-tls-imap", "auth-imap"],
        answers: NONE,
        state: false,
        dynamic_user: true,
        reloads: false,
        dials_out: false,
        reads: NONE,
    },
    Service {
        name: "scan",
        program: "postern-scan",
        listeners: NONE,
        serves: &["scan-queue", "scan-store"],
        calls: &["dns-scan"],
        answers: NONE,
        state: false,
        dynamic_user: true,
        reloads: false,
        dials_out: false,
        reads: NONE,
    },
    Service {
        name: "dns",
        program: "postern-dns",
        listeners: NONE,
        serves: &["dns-scan"],
        calls: NONE,
        answers: &["send-names"],
        state: false,
        dynamic_user: true,
        reloads: false,
        dials_out: true,
        reads: &["/etc/resolv.conf"],
    },
    Service {
        name: "send",
        program: "postern-send",
        listeners: NONE,
        serves: &["send-deliver", "send-names"],
        calls: NONE,
        answers: NONE,
        state: false,
        dynamic_user: true,
        reloads: false,
        dials_out: true,
        reads: &["/etc/ssl/certs/ca-certificates.crt"],
    },
    Service {
        name: "queue",
        program: "postern-queue",
        listeners: NONE,
        serves: &["queue-inbound", "queue-grant", "queue-control"],
        calls: &["scan-queue", "store-deliver", "auth-directory", "send-deliver", "keys-dkim"],
        answers: NONE,
        state: true,
        dynamic_user: false,
        reloads: false,
        dials_out: false,
        reads: NONE,
    },
    Service {
        name: "store",
        program: "postern-store",
        listeners: NONE,
        serves: &["store-deliver", "store-grant"],
        calls: &["scan-store"],
        answers: NONE,
        state: true,
        dynamic_user: false,
        reloads: false,
        dials_out: false,
        reads: NONE,
    },
    Service {
        name: "auth",
        program: "postern-auth",
        listeners: NONE,
        serves: &["auth-imap", "auth-submission", "auth-directory", "auth-control"],
        calls: &["store-grant", "queue-grant"],
        answers: NONE,
        state: true,
        dynamic_user: false,
        reloads: true,
        dials_out: false,
        reads: NONE,
    },
    Service {
        name: "keys",
        program: "postern-keys",
        listeners: NONE,
        serves: &["keys-tls-mx", "keys-tls-submission", "keys-tls-imap", "keys-dkim", "keys-control"],
        calls: NONE,
        answers: NONE,
        state: true,
        dynamic_user: false,
        reloads: true,
        dials_out: false,
        reads: NONE,
    },
];

/// A TCP port.
#[derive(Debug, Clone, Copy)]
pub struct Listener {
    /// Of the socket unit and the descriptor.
    pub name: &'static str,
    /// TCP.
    pub port: u16,
    /// Who serves it.
    pub service: &'static str,
}

/// Ports that are open.
pub const LISTENERS: &[Listener] = &[
    Listener { name: "mx", port: 25, service: "mx" },
    Listener { name: "submissions", port: 465, service: "submission" },
    Listener { name: "imaps", port: 993, service: "imap" },
];

/// Ports that are open once they are enabled.
pub const OPTIONAL_LISTENERS: &[Listener] =
    &[Listener { name: "submission", port: 587, service: "submission" }, Listener { name: "imap", port: 143, service: "imap" }];

/// Edges for the operator.
pub const CONTROL_EDGES: &[&str] = &["auth-control", "keys-control", "queue-control"];

/// The unit files of the project with this extension, by name.
pub fn unit_files(extension: &str) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(workspace().join("systemd"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension)
            && let Some(name) = path.file_name()
        {
            files.push((name.to_string_lossy().into_owned(), path));
        }
    }
    files.sort();
    Ok(files)
}
