use crate::{Conn, Edge, Error, client::borrow, frame::Kind, server::Reply};
use std::{
    collections::VecDeque,
    marker::PhantomData,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

/// Events kept for a client that is busy with a request; the server coalesces, so more means it misbehaves.
const MAX_EVENTS: usize = 1024;

/// The client's end of a connection that belongs to one task: one request at a time, answers in parts, events in between.
#[derive(Debug)]
pub struct Session<E: Edge> {
    conn: Conn,
    next: u32,
    /// The request whose answer is not complete.
    open: Option<u32>,
    events: VecDeque<E::Event>,
}

impl<E: Edge> Session<E> {
    /// Takes over a connected socket (as a login returns it) and greets the server.
    pub async fn new(fd: OwnedFd) -> Result<Self, Error> {
        let conn = Conn::new(fd)?;
        tokio::time::timeout(E::PATIENCE, conn.greet::<E>()).await.unwrap_or(Err(Error::Timeout))?;
        Ok(Self { conn, next: 1, open: None, events: VecDeque::new() })
    }

    /// Sends a request and returns its answer when that is a single frame.
    pub async fn call(&mut self, request: &E::Request, fds: &[BorrowedFd<'_>]) -> Result<Reply<E>, Error> {
        self.start(request, fds).await?;
        let answer = self.next().await?.ok_or(Error::Malformed("no answer"))?;
        if self.open.is_some() {
            return Err(Error::Malformed("an answer in parts where one was expected"));
        }
        Ok(answer)
    }

    /// Sends a request whose answer comes in parts; read them with [`Self::next`]. What is left of an earlier answer is read and dropped.
    pub async fn start(&mut self, request: &E::Request, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        while self.open.is_some() {
            self.next().await?;
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        self.conn.send::<E, _>(Kind::Request, id, request, fds).await?;
        self.open = Some(id);
        Ok(())
    }

    /// The next part of the answer; none when it is complete.
    pub async fn next(&mut self) -> Result<Option<Reply<E>>, Error> {
        self.next_within(E::PATIENCE).await
    }

    async fn next_within(&mut self, limit: Duration) -> Result<Option<Reply<E>>, Error> {
        let Some(open) = self.open else { return Ok(None) };
        tokio::time::timeout(limit, async {
            loop {
                if let Some((kind, id, reply)) = self.receive().await? {
                    if id != open {
                        return Err(Error::Malformed("an answer to another request"));
                    }
                    if kind != Kind::Partial {
                        self.open = None;
                    }
                    return reply.map(Some).ok_or(Error::Refused);
                }
            }
        })
        .await
        .unwrap_or(Err(Error::Timeout))
    }

    /// One frame: an event is put aside, anything else returned.
    async fn receive(&mut self) -> Result<Option<(Kind, u32, Option<Reply<E>>)>, Error> {
        let received = self.conn.recv::<E, FromServer<E>>().await?;
        let id = received.header.id;
        match (received.header.kind, received.body) {
            (Kind::Event, Some(FromServer::Event(event))) => {
                if self.events.len() >= MAX_EVENTS {
                    return Err(Error::Malformed("too many events"));
                }
                self.events.push_back(event);
                Ok(None)
            }
            (kind @ (Kind::Response | Kind::Partial), Some(FromServer::Response(body))) => {
                Ok(Some((kind, id, Some(Reply { body, fds: received.fds }))))
            }
            (Kind::Refused, None) => Ok(Some((Kind::Refused, id, None))),
            _ => Err(Error::Malformed("not an answer")),
        }
    }

    /// An event that has arrived while requests were under way.
    pub fn pending_event(&mut self) -> Option<E::Event> {
        self.events.pop_front()
    }

    /// Waits for an event; only between requests. Safe to drop before it completes.
    pub async fn event(&mut self) -> Result<E::Event, Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if let Some((_, id, _)) = self.receive().await? {
                if self.open != Some(id) {
                    return Err(Error::Malformed("an answer to no request"));
                }
                self.open = None;
            }
        }
    }
}

/// What a server may send unasked or asked; the frame's kind says which, and must agree.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
pub(crate) enum FromServer<E: Edge> {
    Response(E::Response),
    Event(E::Event),
}

#[derive(serde::Serialize)]
#[serde(bound(serialize = ""))]
enum FromServerRef<'a, E: Edge> {
    Response(&'a E::Response),
    Event(&'a E::Event),
}

/// The server's end of such a connection.
#[derive(Debug)]
pub struct Served<E: Edge> {
    conn: Conn,
    edge: PhantomData<fn() -> E>,
}

impl<E: Edge> Served<E> {
    /// Takes over one end of [`Conn::pair`] and waits for the client's hello, `patience` at most.
    pub async fn new(fd: OwnedFd, patience: Duration) -> Result<Self, Error> {
        let conn = Conn::new(fd)?;
        tokio::time::timeout(patience, conn.greet::<E>()).await.unwrap_or(Err(Error::Timeout))?;
        Ok(Self { conn, edge: PhantomData })
    }

    /// The next request, with its id. Safe to drop before it completes.
    pub async fn request(&self) -> Result<(u32, E::Request, Vec<OwnedFd>), Error> {
        loop {
            let received = self.conn.recv::<E, E::Request>().await?;
            match (received.header.kind, received.body) {
                (Kind::Request, Some(request)) => return Ok((received.header.id, request, received.fds)),
                // One request at a time: when it is read here, the work is already done.
                (Kind::Cancel, None) => {}
                _ => return Err(Error::Malformed("not a request")),
            }
        }
    }

    /// Sends one part of an answer; waits while the client is slow.
    pub async fn part(&self, id: u32, reply: &Reply<E>) -> Result<(), Error> {
        let body = FromServerRef::<E>::Response(&reply.body);
        self.conn.send::<E, _>(Kind::Partial, id, &body, &borrow(&reply.fds)).await
    }

    /// Sends the last or only part of an answer.
    pub async fn answer(&self, id: u32, reply: &Reply<E>) -> Result<(), Error> {
        let body = FromServerRef::<E>::Response(&reply.body);
        self.conn.send::<E, _>(Kind::Response, id, &body, &borrow(&reply.fds)).await
    }

    /// Says that the request could not be served.
    pub async fn refuse(&self, id: u32) -> Result<(), Error> {
        self.conn.send::<E, ()>(Kind::Refused, id, &(), &[]).await
    }

    /// Sends an event; waits while the client is slow.
    pub async fn event(&self, event: &E::Event) -> Result<(), Error> {
        self.conn.send::<E, _>(Kind::Event, 0, &FromServerRef::<E>::Event(event), &[]).await
    }
}
