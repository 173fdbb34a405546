use crate::{Conn, Edge, Error, frame::Kind, server::Reply};
use std::{
    collections::HashMap,
    io,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, oneshot};

/// Requests that one connection may have under way.
pub(crate) const IN_FLIGHT: usize = 256;

/// A connection that many tasks share, made on first use and again after the server was restarted.
#[derive(Debug)]
pub struct Client<E: Edge> {
    path: PathBuf,
    current: tokio::sync::Mutex<Option<Arc<Mux<E>>>>,
    slots: Semaphore,
}

impl<E: Edge> Client<E> {
    /// Where the edge's listening socket is; nothing is connected yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), current: tokio::sync::Mutex::new(None), slots: Semaphore::new(IN_FLIGHT) }
    }

    /// Sends a request and waits for its one answer, at most [`Edge::PATIENCE`].
    ///
    /// A connection found dead before the request was sent is replaced once; a request that may have been received is not repeated.
    pub async fn call(&self, request: &E::Request, fds: &[BorrowedFd<'_>]) -> Result<Reply<E>, Error> {
        self.call_within(E::PATIENCE, request, fds).await
    }

    /// As [`Self::call`], with a time limit of its own.
    pub async fn call_within(&self, limit: Duration, request: &E::Request, fds: &[BorrowedFd<'_>]) -> Result<Reply<E>, Error> {
        tokio::time::timeout(limit, self.attempt(request, fds)).await.unwrap_or(Err(Error::Timeout))
    }

    async fn attempt(&self, request: &E::Request, fds: &[BorrowedFd<'_>]) -> Result<Reply<E>, Error> {
        let _slot = self.slots.acquire().await.map_err(|_| Error::Closed)?;
        for last in [false, true] {
            let mux = self.mux().await?;
            let (id, answer) = mux.register();
            let pending = Pending { mux: &mux, id };
            match mux.conn.send::<E, _>(Kind::Request, id, request, fds).await {
                Ok(()) => return answer.await.unwrap_or(Err(Error::Closed)),
                Err(Error::Io(_)) if !last => {
                    drop(pending);
                    self.forget(&mux).await;
                }
                Err(e) => return Err(e),
            }
        }
        Err(Error::Closed)
    }

    async fn mux(&self) -> Result<Arc<Mux<E>>, Error> {
        let mut current = self.current.lock().await;
        if let Some(mux) = current.as_ref().filter(|m| !m.is_dead()) {
            return Ok(mux.clone());
        }
        let conn = Conn::connect(&self.path)?;
        conn.greet::<E>().await?;
        let mux = Arc::new(Mux { conn, next: AtomicU32::new(1), pending: Mutex::new(Some(HashMap::new())), edge: PhantomData });
        // The reader holds the connection only as long as somebody else does.
        let reader = Arc::downgrade(&mux);
        tokio::spawn(async move {
            let mut reset = false;
            while let Some(mux) = reader.upgrade() {
                let result = mux.read_one().await;
                if let Err(e) = result {
                    // The server died and left requests of ours unread, which is told once and before the answers that it did give.
                    if matches!(&e, Error::Io(e) if e.kind() == io::ErrorKind::ConnectionReset) && !std::mem::replace(&mut reset, true) {
                        continue;
                    }
                    if !matches!(e, Error::Closed) {
                        tracing::warn!(edge = E::NAME, error = %e, "connection to server ended");
                    }
                    mux.die();
                    return;
                }
            }
        });
        *current = Some(mux.clone());
        Ok(mux)
    }

    /// Nothing can be sent on this one any more. What was answered is still read by its reader, who sees the end.
    async fn forget(&self, dead: &Arc<Mux<E>>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|m| Arc::ptr_eq(m, dead)) {
            *current = None;
        }
    }
}

type Answer<E> = oneshot::Sender<Result<Reply<E>, Error>>;

#[derive(Debug)]
struct Mux<E: Edge> {
    conn: Conn,
    next: AtomicU32,
    /// None once the connection is dead.
    pending: Mutex<Option<HashMap<u32, Answer<E>>>>,
    edge: PhantomData<fn() -> E>,
}

impl<E: Edge> Mux<E> {
    fn pending(&self) -> MutexGuard<'_, Option<HashMap<u32, Answer<E>>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self) -> (u32, oneshot::Receiver<Result<Reply<E>, Error>>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        if let Some(pending) = self.pending().as_mut() {
            pending.insert(id, sender);
        }
        (id, receiver)
    }

    async fn read_one(&self) -> Result<(), Error> {
        let received = self.conn.recv::<E, E::Response>().await?;
        let answer = match (received.header.kind, received.body) {
            (Kind::Response, Some(body)) => Ok(Reply { body, fds: received.fds }),
            (Kind::Refused, None) => Err(Error::Refused),
            _ => return Err(Error::Malformed("not an answer")),
        };
        let waiting = self.pending().as_mut().and_then(|p| p.remove(&received.header.id));
        // An answer nobody waits for any more crossed our cancellation.
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
        Ok(())
    }

    fn is_dead(&self) -> bool {
        self.pending().is_none()
    }

    fn die(&self) {
        *self.pending() = None;
    }
}

/// Takes a request back when its caller stops waiting.
struct Pending<'a, E: Edge> {
    mux: &'a Mux<E>,
    id: u32,
}

impl<E: Edge> Drop for Pending<'_, E> {
    fn drop(&mut self) {
        let unanswered = self.mux.pending().as_mut().is_some_and(|p| p.remove(&self.id).is_some());
        if unanswered {
            // Best effort: a server that is too busy to hear it will finish the work in vain.
            let _ = self.mux.conn.try_send_bare::<E>(Kind::Cancel, self.id);
        }
    }
}

impl Conn {
    pub(crate) fn try_send_bare<E: Edge>(&self, kind: Kind, id: u32) -> Result<bool, Error> {
        self.try_send::<E, ()>(kind, id, &())
    }
}

/// The descriptors of owned values, for a call.
pub(crate) fn borrow<F: AsFd>(fds: &[F]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}
