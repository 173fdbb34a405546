//! The log: structured fields to the journal, or plain lines on stderr where there is no journal.

use crate::journal::Journal;
use std::os::fd::OwnedFd;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// What is logged when `POSTERN_LOG` does not say otherwise. hickory writes whole DNS messages of strangers into the log when they are wrong;
/// dns says in a line what was wrong with which name.
const DEFAULT: &str = "info,hickory_net=off,hickory_proto=off,hickory_resolver=off";

/// `journal` is a socket that is connected to it.
pub(crate) fn start(name: &str, journal: Option<OwnedFd>) {
    let filter = EnvFilter::try_from_env("POSTERN_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let registry = tracing_subscriber::registry().with(filter);
    // A second start within one process (tests) keeps the first.
    let _ = match journal {
        Some(socket) => registry.with(Journal::new(socket, format!("postern-{name}"))).try_init(),
        None => {
            let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false).without_time();
            registry.with(layer).try_init()
        }
    };
}
