//! The accept loop.

use crate::{Gate, Slot};
use jail::Shutdown;
use std::{
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use wire::edge::mail::SessionId;

/// Pause after an accept that failed for want of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A connection that was let in.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The peer's real address.
    pub peer: SocketAddr,
    /// Ties its log lines together.
    pub session: SessionId,
    /// Its place; drop it when the connection ends.
    pub slot: Slot,
}

/// Serves what it was handed: a listening socket, or one connected socket of an `Accept=yes` unit. A peer that the gate refuses gets
/// `farewell` and is closed. Ends when asked to and all sessions have ended; the sessions watch for that themselves.
pub async fn serve<H, F>(socket: OwnedFd, gate: Arc<Gate>, mut shutdown: Shutdown, farewell: &'static [u8], handle: H) -> io::Result<()>
where
    H: Fn(Accepted) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut sessions = JoinSet::new();
    if !rustix::net::sockopt::socket_acceptconn(socket.as_fd())? {
        let stream = std::net::TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream)?;
        let peer = stream.peer_addr()?;
        start(&mut sessions, &gate, stream, peer, farewell, &handle);
        while sessions.join_next().await.is_some() {}
        return Ok(());
    }
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => log_panic(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => start(&mut sessions, &gate, stream, peer, farewell, &handle),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(BACK_OFF).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = sessions.join_next().await {
        log_panic(ended);
    }
    Ok(())
}

fn start<H, F>(sessions: &mut JoinSet<()>, gate: &Arc<Gate>, stream: TcpStream, peer: SocketAddr, farewell: &'static [u8], handle: &H)
where
    H: Fn(Accepted) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let Some(slot) = gate.enter(peer.ip()) else {
        // Whatever fits into the socket's buffer; a peer with too many connections is not waited for.
        let _ = stream.try_write(farewell);
        tracing::info!(peer = %peer.ip(), "refused: too many connections");
        return;
    };
    // Replies are written whole; waiting to fill a segment would only delay them. A socket that is gone shows at the first read.
    let _ = stream.set_nodelay(true);
    let mut id = [0; 8];
    if getrandom::fill(&mut id).is_err() {
        return;
    }
    let number = slot.number();
    let accepted = Accepted { stream, peer, session: SessionId(u64::from_le_bytes(id)), slot };
    let task = sessions.spawn(handle(accepted));
    gate.runs_as(number, task);
}

/// A panic loses the session it happened in and nothing else; it must still be seen.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a session panicked");
    }
}
