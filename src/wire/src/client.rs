use crate::{Conn, Edge, Error, conn::Listener, frame::Kind, server::Reply};
use std::{
    collections::HashMap,
    future::{Future, pending},
    io,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    task::AbortHandle,
};

/// Requests that one connection may have under way.
pub(crate) const IN_FLIGHT: usize = 256;

/// A connection that many tasks share.
#[derive(Debug)]
pub struct Client<E: Edge> {
    way: Way<E>,
    slots: Semaphore,
}

#[derive(Debug)]
enum Way<E: Edge> {
    /// Connected on first use, and again after the server was restarted.
    Dials { path: PathBuf, current: tokio::sync::Mutex<Option<Arc<Mux<E>>>> },
    /// Each server that starts is connected to us: the last one that has greeted counts.
    Listens { current: watch::Receiver<Option<Arc<Mux<E>>>>, _task: EndsWithOwner },
}

#[derive(Debug)]
struct EndsWithOwner(AbortHandle);

impl Drop for EndsWithOwner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<E: Edge> Client<E> {
    /// Where the edge's listening socket is; nothing is connected yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let way = Way::Dials { path: path.as_ref().to_owned(), current: tokio::sync::Mutex::new(None) };
        Self { way, slots: Semaphore::new(IN_FLIGHT) }
    }

    /// For a process that can connect to nobody: the server is connected to this listening socket at each of its starts, by who starts it
    /// ([`crate::serve_given`]). Whoever comes later takes the place of who was there before, once it has greeted. While nobody is there a
    /// call waits, as it does for a server that is being started.
    pub fn listening(listener: OwnedFd) -> io::Result<Self> {
        let listener = Listener::new(listener)?;
        let (sender, current) = watch::channel(None);
        let task = tokio::spawn(take_in::<E>(listener, sender));
        Ok(Self { way: Way::Listens { current, _task: EndsWithOwner(task.abort_handle()) }, slots: Semaphore::new(IN_FLIGHT) })
    }

    /// Sends a request and waits for its one answer, at most [`Edge::PATIENCE`].
    ///
    /// A connection found dead before the request was sent is replaced once; a request that may have been received is not repeated, unless
    /// it is [`Edge::REPEATABLE`].
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
                Ok(()) => match answer.await {
                    Ok(answer) => return answer,
                    Err(_ended) if E::REPEATABLE && !last => {}
                    Err(_ended) => return Err(Error::Closed),
                },
                Err(Error::Io(error)) if !last => {
                    drop(pending);
                    self.forget(&mux, &error).await;
                }
                Err(e) => return Err(e),
            }
        }
        Err(Error::Closed)
    }

    async fn mux(&self) -> Result<Arc<Mux<E>>, Error> {
        let (path, current) = match &self.way {
            Way::Dials { path, current } => (path, current),
            Way::Listens { current, .. } => {
                let mut current = current.clone();
                let alive = current.wait_for(|current| current.as_ref().is_some_and(|mux| !mux.is_dead())).await;
                return alive.ok().and_then(|mux| mux.clone()).ok_or(Error::Closed);
            }
        };
        let mut current = current.lock().await;
        if let Some(mux) = current.as_ref().filter(|m| !m.is_dead()) {
            return Ok(mux.clone());
        }
        let conn = Conn::connect(path)?;
        conn.greet::<E>().await?;
        let mux = Arc::new(Mux::new(conn));
        // The reader holds the connection only as long as somebody else does.
        tokio::spawn(read_to_the_end(Arc::downgrade(&mux)));
        *current = Some(mux.clone());
        Ok(mux)
    }

    /// Nothing can be sent on this one any more. What was answered is still read by its reader, who sees the end.
    async fn forget(&self, dead: &Arc<Mux<E>>, error: &io::Error) {
        let is_dead = |current: &Option<Arc<Mux<E>>>| current.as_ref().is_some_and(|mux| Arc::ptr_eq(mux, dead));
        match &self.way {
            Way::Dials { current, .. } => {
                let mut current = current.lock().await;
                if is_dead(&current) {
                    *current = None;
                }
            }
            // Its reader will say so too; who asks again at once must not find it.
            Way::Listens { current, .. } if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                _ = current.clone().wait_for(|current| !is_dead(current)).await;
            }
            Way::Listens { .. } => {}
        }
    }
}

/// Accepts servers for as long as the client lives, and reads what the last one says. Who has not greeted yet may take its time, since it
/// keeps nobody away: the next one takes its place.
async fn take_in<E: Edge>(listener: Listener, current: watch::Sender<Option<Arc<Mux<E>>>>) {
    type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;
    let mut greeting: Task<Result<Conn, Error>> = Box::pin(pending());
    let mut reading: Task<()> = Box::pin(pending());
    loop {
        let next = tokio::select! {
            accepted = listener.accept::<E>() => {
                let Ok(socket) = accepted else { return };
                greeting = Box::pin(async move {
                    let conn = Conn::new(socket)?;
                    conn.greet::<E>().await.map(|()| conn)
                });
                continue;
            }
            greeted = &mut greeting => {
                greeting = Box::pin(pending());
                match greeted {
                    Ok(conn) => Some(Arc::new(Mux::new(conn))),
                    Err(error) => {
                        ended::<E>(&error);
                        continue;
                    }
                }
            }
            () = &mut reading => None,
        };
        reading = match &next {
            Some(mux) => Box::pin(read_to_the_end(Arc::downgrade(mux))),
            None => Box::pin(pending()),
        };
        if let Some(previous) = current.send_replace(next) {
            previous.die();
            // Its server hears of it even where it is not the one that has ended it.
            let _ = previous.conn.finish();
        }
    }
}

async fn read_to_the_end<E: Edge>(reader: Weak<Mux<E>>) {
    let mut reset = false;
    while let Some(mux) = reader.upgrade() {
        let result = mux.read_one().await;
        if let Err(e) = result {
            // The server died and left requests of ours unread, which is told once and before the answers that it did give.
            if matches!(&e, Error::Io(e) if e.kind() == io::ErrorKind::ConnectionReset) && !std::mem::replace(&mut reset, true) {
                continue;
            }
            ended::<E>(&e);
            mux.die();
            return;
        }
    }
}

fn ended<E: Edge>(error: &Error) {
    if !matches!(error, Error::Closed) {
        tracing::warn!(edge = E::NAME, %error, "connection to server ended");
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
    fn new(conn: Conn) -> Self {
        Self { conn, next: AtomicU32::new(1), pending: Mutex::new(Some(HashMap::new())), edge: PhantomData }
    }

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
