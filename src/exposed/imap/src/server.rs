use crate::{
    limits,
    session::{self, Stop},
};
use exposed_tls::{Gate, Room, Tls};
use jail::Process;
use pure_addr::AccountId;
use std::{error::Error, future::Future, os::fd::OwnedFd, sync::Arc};
use tokio::task::JoinSet;
use wire::{
    Client, Edge,
    edge::{auth_login::AuthForImap, keys_tls::KeysForImap},
};

type BoxError = Box<dyn Error + Send + Sync>;

/// What all sessions share.
pub(crate) struct Server {
    pub(crate) tls: Arc<Tls>,
    pub(crate) auth: Client<AuthForImap>,
    pub(crate) stop: Stop,
    /// Bytes of the largest message.
    pub(crate) message_limit: u32,
    /// For the messages of APPEND, all connections together.
    pub(crate) uploads: Arc<Room<AccountId>>,
}

/// Takes what was handed over: the listener `imaps` (RFC 8314 3.2) and, only where it was declared, `imap` with STARTTLS; or the one
/// `connection` of an `Accept=yes` unit (sd_listen_fds(3)), which is of `imaps`.
pub(crate) fn start(mut process: Process) -> Result<impl Future<Output = Result<(), BoxError>>, BoxError> {
    let message_limit = u32::try_from(process.config.limits.message_size.bytes()).unwrap_or(u32::MAX);
    let server = Arc::new(Server {
        tls: Tls::start::<KeysForImap>(process.edge(KeysForImap::NAME), &["imap"])?,
        auth: Client::new(process.edge(AuthForImap::NAME)),
        stop: Stop(Some(process.shutdown())),
        message_limit,
        uploads: Room::new(limits::UPLOADS, limits::UPLOADS_PER_ACCOUNT.max(u64::from(message_limit))),
    });
    let per_peer = usize::try_from(process.config.limits.connections_per_peer).unwrap_or(usize::MAX);
    let listeners: Vec<(OwnedFd, bool)> = [("imaps", true), ("imap", false), ("connection", true)]
        .into_iter()
        .filter_map(|(name, tls)| Some((process.descriptor(name)?, tls)))
        .collect();
    if listeners.is_empty() {
        return Err("no listener named imaps or imap was handed over".into());
    }
    Ok(async move {
        let mut serving = JoinSet::new();
        for (socket, implicit_tls) in listeners {
            let gate = Gate::new(limits::CONNECTIONS, per_peer);
            let server = server.clone();
            let shutdown = process.shutdown();
            // Before TLS nothing can be said on the TLS port.
            let farewell: &'static [u8] = if implicit_tls { b"" } else { b"* BYE [UNAVAILABLE] Too many connections\r\n" };
            serving.spawn(exposed_tls::serve(socket, gate, shutdown, farewell, move |accepted| {
                session::serve(server.clone(), accepted, implicit_tls)
            }));
        }
        while let Some(ended) = serving.join_next().await {
            ended??;
        }
        Ok(())
    })
}
