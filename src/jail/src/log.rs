//! The log: structured fields to the journal, or plain lines on stderr where there is no journal.

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Fields become `POSTERN_SESSION`, `POSTERN_MESSAGE`, `POSTERN_ACCOUNT`, `POSTERN_PEER`, ...
const PREFIX: &str = "POSTERN";

/// What is logged when `POSTERN_LOG` does not say otherwise. hickory writes whole DNS messages of strangers into the log when they are wrong;
/// dns says in a line what was wrong with which name.
const DEFAULT: &str = "info,hickory_net=off,hickory_proto=off,hickory_resolver=off";

pub(crate) fn start(name: &str) {
    let filter = EnvFilter::try_from_env("POSTERN_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let registry = tracing_subscriber::registry().with(filter);
    // Only a service has its stderr connected to the journal; a developer's terminal has not.
    let journal = if std::env::var_os("JOURNAL_STREAM").is_some() { tracing_journald::layer().ok() } else { None };
    // A second start within one process (tests) keeps the first.
    let _ = match journal {
        Some(layer) => {
            let layer = layer.with_field_prefix(Some(PREFIX.into())).with_syslog_identifier(format!("postern-{name}"));
            registry.with(layer).try_init()
        }
        None => {
            let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false).without_time();
            registry.with(layer).try_init()
        }
    };
}
