use crate::{message::Budget, session};
use exposed_tls::{Gate, Tls};
use jail::{Process, Shutdown};
use pure_addr::{Address, LocalPart};
use pure_smtp::{Limits, Role, Settings, TOO_MANY_CONNECTIONS};
use std::{error::Error, future::Future, os::fd::OwnedFd, sync::Arc};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinSet,
};
use wire::{
    Client, Edge,
    edge::{
        auth_login::AuthForSubmission,
        keys_tls::{KeysForMx, KeysForSubmission},
        mail::MAX_RECIPIENTS,
        queue_inbound::QueueInbound,
    },
};

type BoxError = Box<dyn Error + Send + Sync>;

/// Connections of one listener at a time; with their buffers and TLS states well below the unit's MemoryMax.
const CONNECTIONS: usize = 2000;
/// Connections that have had our last word and are given a moment to read it.
pub(crate) const LINGERING: usize = 500;
/// Bytes of all messages under way; memfds count towards the unit's MemoryMax.
const CONTENT: u64 = 1024 * 1024 * 1024;
/// Of these, those that one peer may hold, or one message if that may be larger.
const CONTENT_PER_PEER: u64 = CONTENT / 4;

/// The protocol that a client of TLS may ask for.
const ALPN: &[&str] = &["smtp"];

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) settings: Arc<Settings>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) lingering: Semaphore,
    /// True once the service is to stop.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) backends: Backends,
}

/// Other processes.
#[derive(Debug)]
pub(crate) struct Backends {
    pub(crate) entry: Entry,
    /// Notified when one of them is of another build.
    pub(crate) other_build: Notify,
}

/// Whom the role may ask before anybody has logged in.
#[derive(Debug)]
pub(crate) enum Entry {
    /// mx.
    Inbound(Client<QueueInbound>),
    /// submission; the way to the queue comes with a login.
    Login(Client<AuthForSubmission>),
}

impl Backends {
    pub(crate) fn new(entry: Entry) -> Self {
        Self { entry, other_build: Notify::new() }
    }
}

/// Takes the listeners that were handed over: `mx`, or `submissions` (RFC 8314 3.3) and, only where declared, `submission`.
pub(crate) fn start(mut process: Process, role: Role) -> Result<impl Future<Output = Result<(), BoxError>>, BoxError> {
    let settings = settings(&process, role);
    let entry = match role {
        Role::Mx => Entry::Inbound(Client::new(process.edge(QueueInbound::NAME))),
        Role::Submission => Entry::Login(Client::new(process.edge(AuthForSubmission::NAME))),
    };
    let tls = match role {
        Role::Mx => Tls::start::<KeysForMx>(process.edge(KeysForMx::NAME), ALPN)?,
        Role::Submission => Tls::start::<KeysForSubmission>(process.edge(KeysForSubmission::NAME), ALPN)?,
    };
    let shutdown = process.shutdown();
    let content_per_peer = CONTENT_PER_PEER.max(settings.limits.message_size);
    let per_peer = usize::try_from(settings.limits.connections_per_peer).unwrap_or(usize::MAX);
    let service = Arc::new(Service {
        settings: Arc::new(settings),
        tls,
        budget: Budget::new(CONTENT, content_per_peer),
        lingering: Semaphore::new(LINGERING),
        stopping: stopping(shutdown.clone()),
        backends: Backends::new(entry),
    });
    let names: &[(&str, bool)] = match role {
        Role::Mx => &[("mx", false)],
        Role::Submission => &[("submissions", true), ("submission", false)],
    };
    let listeners: Vec<(OwnedFd, bool)> = names.iter().filter_map(|(name, tls)| Some((process.descriptor(name)?, *tls))).collect();
    if listeners.is_empty() {
        return Err("no listener was handed over".into());
    }
    Ok(async move {
        let mut serving = JoinSet::new();
        for (socket, implicit_tls) in listeners {
            let gate = Gate::new(CONNECTIONS, per_peer);
            let service = service.clone();
            let shutdown = shutdown.clone();
            // On a TLS port nothing can be said before the handshake.
            let farewell: &'static [u8] = if implicit_tls { b"" } else { TOO_MANY_CONNECTIONS };
            serving.spawn(exposed_tls::serve(socket, gate, shutdown, farewell, move |accepted| {
                session::serve(service.clone(), accepted, implicit_tls)
            }));
        }
        let other_build = service.backends.other_build.notified();
        tokio::pin!(other_build);
        loop {
            tokio::select! {
                ended = serving.join_next() => match ended {
                    Some(ended) => ended??,
                    None => return Ok(()),
                },
                // Internal protocols are never compatible: start again, as the build that is installed now.
                () = &mut other_build => return Err("a backend is of another build".into()),
            }
        }
    })
}

fn stopping(mut shutdown: Shutdown) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        shutdown.requested().await;
        sender.send_replace(true);
    });
    receiver
}

fn settings(process: &Process, role: Role) -> Settings {
    let config = &process.config;
    let limits = Limits {
        message_size: config.limits.message_size.bytes(),
        recipients: usize::try_from(config.limits.recipients).unwrap_or(MAX_RECIPIENTS).min(MAX_RECIPIENTS),
        connections_per_peer: config.limits.connections_per_peer,
        ..Limits::DEFAULT
    };
    // RFC 5321 4.5.1: the address without a domain is the postmaster of the server itself.
    let postmaster = config.postmaster.clone().or_else(|| {
        let domain = config.domains.keys().next()?.clone();
        Some(Address { local: LocalPart::new("postmaster").ok()?, domain })
    });
    Settings { role, hostname: config.hostname.clone(), postmaster, limits }
}
