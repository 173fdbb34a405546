use crate::{
    Conn, Edge, Error,
    client::{IN_FLIGHT, borrow},
    conn::Listener,
    frame::Kind,
};
use std::{
    collections::HashMap,
    future::Future,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    task::AbortHandle,
};

/// Time a new connection has to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// Connections one edge serves at a time. Clients are our own processes: one or two each.
const MAX_CONNECTIONS: usize = 32;
/// KiB of encoded requests that one edge works on at a time, over all its connections; more wait, unread but for one each.
const MAX_UNDER_WAY: u32 = 64 * 1024;

/// An answer and the descriptors that travel with it.
#[derive(Debug)]
pub struct Reply<E: Edge> {
    /// The answer.
    pub body: E::Response,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
}

impl<E: Edge> Reply<E> {
    /// An answer without descriptors.
    pub fn new(body: E::Response) -> Self {
        Self { body, fds: Vec::new() }
    }

    /// An answer with one descriptor.
    pub fn with_fd(body: E::Response, fd: OwnedFd) -> Self {
        Self { body, fds: vec![fd] }
    }
}

/// What a server does with the requests of one edge.
pub trait Service<E: Edge>: Send + Sync + 'static {
    /// Answers one request. `Err(Error::Malformed)` ends the connection, any other error refuses the request alone.
    /// Dropped at an await point when the client cancels.
    fn call(&self, request: E::Request, fds: Vec<OwnedFd>) -> impl Future<Output = Result<Reply<E>, Error>> + Send;
}

tokio::task_local! {
    static CALLER: Caller;
}

/// The connection that a request came by.
#[derive(Debug, Clone)]
pub struct Caller(Weak<Connection>);

impl Caller {
    /// Of the request that is being answered; none outside of [`Service::call`].
    pub fn current() -> Option<Self> {
        CALLER.try_with(Clone::clone).ok()
    }

    /// Whether its client has closed it, by what the kernel knows now: the task that reads it may not have heard yet.
    pub fn is_gone(&self) -> bool {
        self.0.upgrade().is_none_or(|connection| connection.conn.is_hung_up())
    }
}

/// Accepts connections on an edge's listening socket for ever, one task each.
pub async fn serve<E: Edge, S: Service<E>>(listener: OwnedFd, service: Arc<S>) -> io::Result<()> {
    let listener = Listener::new(listener)?;
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let room = room();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(()) };
        let fd = listener.accept::<E>().await?;
        let (service, room) = (service.clone(), room.clone());
        tokio::spawn(async move {
            let result = match Conn::new(fd) {
                Ok(conn) => serve_dialled::<E, S>(conn, service, room).await,
                Err(e) => Err(e.into()),
            };
            match result {
                Ok(()) | Err(Error::Closed) => {}
                Err(e) => tracing::warn!(edge = E::NAME, error = %e, "connection of client ended"),
            }
            drop(slot);
        });
    }
}

fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_UNDER_WAY as usize))
}

/// Serves one connection until its peer closes it or breaks the protocol.
pub async fn serve_connection<E: Edge, S: Service<E>>(conn: Conn, service: Arc<S>) -> Result<(), Error> {
    serve_dialled(conn, service, room()).await
}

async fn serve_dialled<E: Edge, S: Service<E>>(conn: Conn, service: Arc<S>, room: Arc<Semaphore>) -> Result<(), Error> {
    tokio::time::timeout(HELLO_PATIENCE, conn.greet::<E>()).await.unwrap_or(Err(Error::Timeout))?;
    serve_greeted(conn, service, room).await
}

/// As [`serve_connection`], for a client that listens ([`crate::Client::listening`]), on a socket that was connected to it for this process.
/// The client may have still to be started, which takes what it takes.
pub async fn serve_given<E: Edge, S: Service<E>>(socket: OwnedFd, service: Arc<S>) -> Result<(), Error> {
    let conn = Conn::new(socket)?;
    conn.greet::<E>().await?;
    serve_greeted(conn, service, room()).await
}

async fn serve_greeted<E: Edge, S: Service<E>>(conn: Conn, service: Arc<S>, room: Arc<Semaphore>) -> Result<(), Error> {
    let shared = Arc::new(Connection { conn, running: Mutex::new(HashMap::new()), broken: Notify::new() });
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let result = tokio::select! {
        biased;
        () = shared.broken.notified() => Err(Error::Closed),
        result = read_requests(&shared, &slots, &room, &service) => result,
    };
    // Answers of a broken connection have nowhere to go.
    for (_, task) in shared.running().drain() {
        task.abort();
    }
    result
}

#[derive(Debug)]
struct Connection {
    conn: Conn,
    running: Mutex<HashMap<u32, AbortHandle>>,
    /// No more is read, and no other answer given. Not shutdown(2), which the filter allows for sending alone.
    broken: Notify,
}

impl Connection {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<u32, AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_requests<E: Edge, S: Service<E>>(
    shared: &Arc<Connection>,
    slots: &Arc<Semaphore>,
    room: &Arc<Semaphore>,
    service: &Arc<S>,
) -> Result<(), Error> {
    loop {
        // Not reading is the back-pressure: the client's send blocks when its socket is full.
        let slot = slots.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let received = shared.conn.recv::<E, E::Request>().await?;
        let id = received.header.id;
        let request = match (received.header.kind, received.body) {
            (Kind::Request, Some(request)) => request,
            (Kind::Cancel, None) => {
                if let Some(task) = shared.running().remove(&id) {
                    task.abort();
                }
                continue;
            }
            _ => return Err(Error::Malformed("not a request")),
        };
        let kib = received.size.div_ceil(1024).clamp(1, MAX_UNDER_WAY);
        let share = room.clone().acquire_many_owned(kib).await.map_err(|_| Error::Closed)?;
        let (own, service) = (shared.clone(), service.clone());
        let mut running = shared.running();
        if running.contains_key(&id) {
            return Err(Error::Malformed("a request id that is in use"));
        }
        let task = tokio::spawn(CALLER.scope(Caller(Arc::downgrade(shared)), async move {
            answer::<E>(&own, id, service.call(request, received.fds).await).await;
            own.running().remove(&id);
            drop((slot, share));
        }));
        running.insert(id, task.abort_handle());
    }
}

async fn answer<E: Edge>(shared: &Connection, id: u32, result: Result<Reply<E>, Error>) {
    let sent = match result {
        Ok(reply) => shared.conn.send::<E, _>(Kind::Response, id, &reply.body, &borrow(&reply.fds)).await,
        Err(e) => {
            tracing::warn!(edge = E::NAME, error = %e, "request refused");
            if matches!(e, Error::Malformed(_)) {
                shared.broken.notify_one();
                return;
            }
            shared.conn.send::<E, ()>(Kind::Refused, id, &(), &[]).await
        }
    };
    if let Err(e) = sent {
        if matches!(e, Error::TooLarge) {
            tracing::error!(edge = E::NAME, "an answer did not fit the edge");
        }
        shared.broken.notify_one();
    }
}
