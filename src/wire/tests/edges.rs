//! The behaviour of connections: what a well-behaved and a lying peer see.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;
use wire::{
    Client, Conn, Edge, Error, MessageWriter, Reply, SealedMessage, Service, edge::Never, encode, serve, serve_connection, serve_given,
};

#[derive(Debug)]
struct Echo;

impl Edge for Echo {
    const NAME: &'static str = "echo";
    const MAX_BODY: usize = 1 << 20;
    const MAX_FDS: usize = 1;
    const PATIENCE: Duration = Duration::from_secs(10);
    type Request = (u32, Vec<u8>);
    type Response = (u32, Vec<u8>);
    type Event = Never;
}

/// The same, of questions that may be asked twice.
#[derive(Debug)]
struct Question;

impl Edge for Question {
    const NAME: &'static str = "question";
    const MAX_BODY: usize = Echo::MAX_BODY;
    const MAX_FDS: usize = Echo::MAX_FDS;
    const PATIENCE: Duration = Echo::PATIENCE;
    const REPEATABLE: bool = true;
    type Request = (u32, Vec<u8>);
    type Response = (u32, Vec<u8>);
    type Event = Never;
}

#[derive(Default)]
struct Server {
    parked: Notify,
    dropped: Arc<Notify>,
}

struct Dropped(Arc<Notify>);
impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Service<Echo> for Server {
    async fn call(&self, request: (u32, Vec<u8>), fds: Vec<OwnedFd>) -> Result<Reply<Echo>, Error> {
        match request.0 {
            0 => Err(Error::Refused),
            1 => {
                self.parked.notify_one();
                Err(Error::Malformed("asked for"))
            }
            2 => {
                let _dropped = Dropped(self.dropped.clone());
                self.parked.notify_one();
                std::future::pending().await
            }
            _ => Ok(Reply { body: request, fds }),
        }
    }
}

impl Service<Question> for Server {
    async fn call(&self, request: (u32, Vec<u8>), fds: Vec<OwnedFd>) -> Result<Reply<Question>, Error> {
        let reply = Service::<Echo>::call(self, request, fds).await?;
        Ok(Reply { body: reply.body, fds: reply.fds })
    }
}

fn listen(dir: &tempfile::TempDir) -> (OwnedFd, std::path::PathBuf) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    let path = dir.path().join("sock");
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&fd, 16).unwrap();
    (fd, path)
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, path) = listen(&dir);
    tokio::spawn(serve::<Echo, _>(listener, Arc::new(Server::default())));
    let client = Arc::new(Client::<Echo>::new(path));
    let mut tasks = Vec::new();
    for n in 10..600u32 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let body = vec![n as u8; n as usize];
            let reply = client.call(&(n, body.clone()), &[]).await.unwrap();
            assert_eq!(reply.body, (n, body));
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(matches!(client.call(&(0, vec![]), &[]).await, Err(Error::Refused)));
    // A refusal leaves the connection, a malformed request ends it, and the next call makes a new one.
    assert!(client.call(&(3, vec![]), &[]).await.is_ok());
    assert!(client.call(&(1, vec![]), &[]).await.is_err());
    assert!(client.call(&(3, vec![]), &[]).await.is_ok());
}

#[tokio::test]
async fn large_bodies_and_descriptors_travel() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, path) = listen(&dir);
    tokio::spawn(serve::<Echo, _>(listener, Arc::new(Server::default())));
    let client = Client::<Echo>::new(path);
    let body = vec![7; 900_000];
    let message = MessageWriter::sealed(b"sealed").unwrap();
    let mut reply = client.call(&(3, body.clone()), &[message.as_fd()]).await.unwrap();
    assert_eq!(reply.body.1, body);
    let back = SealedMessage::from_fd(reply.fds.remove(0), 100).unwrap();
    assert_eq!(back.read_all().unwrap(), b"sealed");
    assert!(matches!(client.call(&(3, vec![0; 2 << 20]), &[]).await, Err(Error::TooLarge)));
    assert!(matches!(client.call(&(3, vec![]), &[message.as_fd(), message.as_fd()]).await, Err(Error::TooLarge)));
}

#[tokio::test]
async fn a_caller_that_gives_up_cancels() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, path) = listen(&dir);
    let server = Arc::new(Server::default());
    tokio::spawn(serve::<Echo, _>(listener, server.clone()));
    let client = Client::<Echo>::new(path);
    let request = (2, vec![]);
    tokio::select! {
        _ = client.call(&request, &[]) => panic!("answered"),
        () = server.parked.notified() => {}
    }
    server.dropped.notified().await;
    assert!(client.call(&(3, vec![]), &[]).await.is_ok());
}

/// What a peer may put on the socket, and that it ends that connection with an error and no panic.
#[tokio::test]
async fn a_lying_client_ends_its_own_connection() {
    let hello = |edge: &str, build: &str| {
        let mut frame = vec![0, 0, 0, 0, 0, 0];
        frame.extend(encode(&(edge, build)).unwrap());
        frame
    };
    let good = hello("echo", wire::BUILD_ID);
    let request = |kind: u8, flags: u8, id: u32, body: &[u8]| {
        let mut frame = vec![kind, flags];
        frame.extend(id.to_le_bytes());
        frame.extend(body);
        frame
    };
    let body = encode(&(3u32, vec![1u8, 2])).unwrap();
    let mut trailing = body.clone();
    trailing.push(0);
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("nothing like a frame", vec![b"EHLO x\r\n".to_vec()]),
        ("empty header", vec![vec![1]]),
        ("other edge", vec![hello("keys-tls", wire::BUILD_ID)]),
        ("other build", vec![hello("echo", "x")]),
        ("no hello", vec![request(1, 0, 1, &body)]),
        ("hello twice", vec![good.clone(), good.clone()]),
        ("unknown kind", vec![good.clone(), request(9, 0, 1, &body)]),
        ("unknown flag", vec![good.clone(), request(1, 4, 1, &body)]),
        ("an answer", vec![good.clone(), request(2, 0, 1, &body)]),
        ("trailing byte", vec![good.clone(), request(1, 0, 1, &trailing)]),
        ("truncated", vec![good.clone(), request(1, 0, 1, &body[..1])]),
        ("a length beyond the frame", vec![good.clone(), request(1, 0, 1, &[3, 0xff, 0xff, 0xff, 0xff, 0x0f])]),
        ("a memfd that is not there", vec![good.clone(), request(1, 1, 1, &[])]),
        ("a cancel with a body", vec![good.clone(), request(4, 0, 1, &[1])]),
        (
            "an id in use",
            vec![
                good.clone(),
                request(1, 0, 1, &encode(&(2u32, Vec::<u8>::new())).unwrap()),
                request(1, 0, 1, &encode(&(2u32, Vec::<u8>::new())).unwrap()),
            ],
        ),
    ];
    let service = Arc::new(Server::default());
    for (what, frames) in cases {
        let (ours, theirs) = Conn::pair().unwrap();
        for frame in frames {
            send(&ours, &frame, SendFlags::NOSIGNAL).unwrap();
        }
        let result =
            tokio::time::timeout(Duration::from_secs(10), serve_connection::<Echo, _>(Conn::new(theirs).unwrap(), service.clone())).await;
        let error = result.expect(what).expect_err(what);
        assert!(matches!(error, Error::Malformed(_) | Error::OtherBuild), "{what}: {error}");
    }
    // The service lives on.
    let (ours, theirs) = Conn::pair().unwrap();
    let serving = tokio::spawn(serve_connection::<Echo, _>(Conn::new(theirs).unwrap(), service));
    let mut session = wire::Session::<Echo>::new(ours).await.unwrap();
    drop(serving);
    // (a Session expects the framing of Served, so only the greeting is compared here)
    assert!(session.pending_event().is_none());
}

#[tokio::test]
async fn a_dead_server_is_an_error_and_a_new_one_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, path) = listen(&dir);
    let keep = listener.try_clone().unwrap();
    let first = tokio::spawn(serve::<Echo, _>(listener, Arc::new(Server::default())));
    let client = Client::<Echo>::new(&path);
    assert!(client.call(&(3, vec![]), &[]).await.is_ok());
    first.abort();
    let _ = first.await;
    tokio::spawn(serve::<Echo, _>(keep, Arc::new(Server::default())));
    assert!(client.call(&(3, vec![]), &[]).await.is_ok());
}

/// A server that starts is connected to the client that listens, and takes the place of the one before, which hears of it.
#[tokio::test]
async fn a_listening_client_asks_who_came_last() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, path) = listen(&dir);
    let client = Client::<Echo>::listening(listener).unwrap();
    let nobody = client.call_within(Duration::from_millis(1), &(3, vec![]), &[]).await;
    assert!(matches!(nobody, Err(Error::Timeout)));
    let start = || tokio::spawn(serve_given::<Echo, _>(Conn::dial(&path).unwrap(), Arc::new(Server::default())));
    let first = start();
    assert_eq!(client.call(&(3, vec![1]), &[]).await.unwrap().body, (3, vec![1]));
    // Who does not greet, or lies, or is of another build takes nobody's place.
    let silent = Conn::dial(&path).unwrap();
    let mut other_build = vec![0, 0, 0, 0, 0, 0];
    other_build.extend(encode(&("echo", "x")).unwrap());
    for frame in [b"220 mail ESMTP\r\n".to_vec(), other_build] {
        let liar = Conn::dial(&path).unwrap();
        send(&liar, &frame, SendFlags::NOSIGNAL).unwrap();
    }
    assert!(client.call(&(3, vec![]), &[]).await.is_ok() && !first.is_finished());
    drop(silent);
    let second = start();
    assert!(matches!(first.await.unwrap(), Err(Error::Closed)));
    assert!(client.call(&(3, vec![]), &[]).await.is_ok());
    // One that ends leaves nobody; the next is waited for.
    assert!(client.call(&(1, vec![]), &[]).await.is_err());
    assert!(second.await.unwrap().is_err());
    let request = (3, vec![2]);
    let asking = client.call(&request, &[]);
    let last = start();
    let asked = asking.await;
    assert_eq!(asked.unwrap().body, request);
    // With the client its connections end.
    drop(client);
    assert!(last.await.unwrap().is_err());
}

/// A server that lies is not asked again, and hears of it.
#[tokio::test]
async fn a_lying_server_loses_the_client_that_listens() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, path) = listen(&dir);
    let client = Client::<Echo>::listening(listener).unwrap();
    let answer = |kind: u8, flags: u8, id: u32, body: &[u8]| [&[kind, flags], &id.to_le_bytes()[..], body].concat();
    let valid = encode(&(3u32, vec![1u8])).unwrap();
    let lies = [
        ("garbage", b"220 mail ESMTP\r\n".to_vec()),
        ("a second greeting", answer(0, 0, 0, &encode(&("echo", wire::BUILD_ID)).unwrap())),
        ("a request", answer(1, 0, 1, &valid)),
        ("half an answer", answer(2, 0, 1, &valid[..1])),
        ("a byte too many", answer(2, 0, 1, &[&valid[..], &[0]].concat())),
        ("a body that is not there", answer(2, 1, 1, &[])),
        ("a refusal with a body", answer(3, 0, 1, &[1])),
    ];
    for (what, lie) in lies {
        let socket = Conn::dial(&path).unwrap();
        let liar = Conn::new(socket.try_clone().unwrap()).unwrap();
        liar.greet::<Echo>().await.unwrap();
        drop(liar);
        send(&socket, &lie, SendFlags::NOSIGNAL).unwrap();
        rustix::io::ioctl_fionbio(&socket, false).unwrap();
        let heard = tokio::task::spawn_blocking(move || recv(&socket, &mut [0; 8][..], RecvFlags::empty()).unwrap().0);
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), heard).await.expect(what).unwrap(), 0, "{what}");
    }
    tokio::spawn(serve_given::<Echo, _>(Conn::dial(&path).unwrap(), Arc::new(Server::default())));
    assert!(client.call(&(3, vec![]), &[]).await.is_ok());
}

/// A question whose server has gone before it answered is asked of the next, once; nothing else is asked twice.
#[tokio::test]
async fn a_question_is_repeated_once_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, path) = listen(&dir);
    let client = Client::<Question>::listening(listener).unwrap();
    // It ends the connection of whoever is asked.
    let request = (1, vec![]);
    let asking = client.call(&request, &[]);
    tokio::pin!(asking);
    for _ in 0..2 {
        let server = Arc::new(Server::default());
        tokio::spawn(serve_given::<Question, _>(Conn::dial(&path).unwrap(), server.clone()));
        tokio::select! {
            answer = &mut asking => panic!("{answer:?}"),
            () = server.parked.notified() => {}
        }
    }
    assert!(matches!(asking.await, Err(Error::Closed)));

    let dialled = tempfile::tempdir().unwrap();
    let (listener, path) = listen(&dialled);
    let client = Client::<Echo>::new(path);
    tokio::spawn(serve::<Echo, _>(listener, Arc::new(Server::default())));
    assert!(matches!(client.call(&(1, vec![]), &[]).await, Err(Error::Closed)), "asked once");
}

/// What a server has answered counts, although it dies with other requests unread and a third cannot be sent any more.
#[tokio::test]
async fn the_answers_of_a_dead_server_are_read() {
    use rustix::net::{SocketFlags, accept_with};
    let dir = tempfile::tempdir().unwrap();
    let (listener, path) = listen(&dir);
    let client = Arc::new(Client::<Echo>::new(&path));
    let call = |n: u32| {
        let client = client.clone();
        tokio::spawn(async move { client.call(&(n, vec![]), &[]).await })
    };
    let first = call(10);
    rustix::io::ioctl_fionbio(&listener, true).unwrap();
    let soon = async |what: &mut dyn FnMut() -> bool| {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    let mut server = None;
    soon(&mut || {
        server = accept_with(&listener, SocketFlags::NONBLOCK).ok();
        server.is_some()
    })
    .await;
    let server = server.unwrap();
    let mut buffer = [0; 256];
    let mut length = 0;
    // Its hello, which is ours too.
    soon(&mut || {
        recv(&server, &mut buffer, RecvFlags::empty()).is_ok_and(|(n, _)| {
            length = n;
            n > 0
        })
    })
    .await;
    send(&server, &buffer[..length], SendFlags::empty()).unwrap();
    soon(&mut || {
        recv(&server, &mut buffer, RecvFlags::empty()).is_ok_and(|(n, _)| {
            length = n;
            n > 0
        })
    })
    .await;
    let second = call(11);
    let mut peeked = [0; 256];
    soon(&mut || recv(&server, &mut peeked, RecvFlags::PEEK).is_ok_and(|(n, _)| n > 0)).await;
    // A response has the request's body here.
    buffer[0] = 2;
    send(&server, &buffer[..length], SendFlags::empty()).unwrap();
    drop((server, listener));
    // Sent before anybody has read.
    let third = call(12);
    assert_eq!(first.await.unwrap().unwrap().body.0, 10);
    assert!(second.await.unwrap().is_err() && third.await.unwrap().is_err());
}
