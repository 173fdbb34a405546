//! scan-queue and scan-store: one request, one message, one answer.

use crate::limits::{AT_A_TIME, INLINE, PREFIX, WAITING};
use pure_index::MessageIndex;
use std::{
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};
use tokio::{sync::Semaphore, task};
use wire::{
    Edge, Error, Reply, SealedMessage, Service,
    edge::scan_index::{QueueRequest, QueueResponse, Request, Response, ScanForQueue, ScanForStore},
};

/// Reads messages, [`AT_A_TIME`], each in a thread of its own.
#[derive(Debug)]
pub(crate) struct Scanner {
    max_message: u64,
    read: fn(&[u8]) -> MessageIndex,
    places: Semaphore,
    turns: Arc<Semaphore>,
}

impl Scanner {
    /// `max_message` is the size in bytes that the configuration allows, `read` is `pure_mime::index` but in tests.
    pub(crate) fn new(max_message: u64, read: fn(&[u8]) -> MessageIndex) -> Self {
        let (places, turns) = (Semaphore::new(WAITING), Arc::new(Semaphore::new(AT_A_TIME)));
        Self { max_message: max_message.saturating_add(PREFIX), read, places, turns }
    }

    async fn answer(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Response, Error> {
        let Request::Index = request;
        let message = self.message(fds)?;
        let _place = self.places.try_acquire().map_err(|_| Error::Refused)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Error::Refused)?;
        let read = self.read;
        let length = message.len();
        let start = Instant::now();
        let work = move || message.read_all().map(|bytes| read(&bytes));
        let result = if length <= INLINE {
            // Over sooner than another thread would begin.
            catch_unwind(AssertUnwindSafe(work)).map_err(|_| "panicked".to_owned())
        } else {
            // A client that goes away does not stop the thread, so the thread keeps the turn.
            let done = task::spawn_blocking(move || {
                let _turn = turn;
                work()
            });
            done.await.map_err(|error| error.to_string())
        };
        match result {
            Ok(Ok(index)) => {
                let parts = index.structure.parts().len();
                tracing::debug!(bytes = length, parts, microseconds = start.elapsed().as_micros(), "indexed");
                Ok(Response::Indexed(Box::new(index)))
            }
            Ok(Err(error)) => {
                tracing::warn!(bytes = length, %error, "message not readable");
                Ok(Response::Failed)
            }
            // It panicked: this message is lost to us, the next one is not.
            Err(error) => {
                tracing::error!(bytes = length, %error, "a message made the scan fail");
                Ok(Response::Failed)
            }
        }
    }

    fn message(&self, fds: Vec<OwnedFd>) -> Result<SealedMessage, Error> {
        let mut fds = fds.into_iter();
        let (Some(fd), None) = (fds.next(), fds.next()) else { return Err(Error::Malformed("not one descriptor")) };
        SealedMessage::from_fd(fd, self.max_message).map_err(|error| {
            tracing::warn!(%error, "not a sealed message");
            Error::Malformed("not a sealed message")
        })
    }
}

impl Service<ScanForQueue> for Scanner {
    async fn call(&self, request: QueueRequest, fds: Vec<OwnedFd>) -> Result<Reply<ScanForQueue>, Error> {
        Ok(Reply::new(match request {
            QueueRequest::Index(request) => QueueResponse::Index(self.answer(request, fds).await?),
            QueueRequest::ToSign(_) | QueueRequest::SevenBit => QueueResponse::Failed,
        }))
    }
}

impl Service<ScanForStore> for Scanner {
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply<ScanForStore>, Error> {
        Ok(Reply::new(self.answer(request, fds).await?))
    }
}

/// Both edges carry the same.
const _: () = assert!(ScanForQueue::MAX_BODY == ScanForStore::MAX_BODY);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    use std::{
        os::fd::AsFd,
        sync::{Condvar, Mutex},
    };
    use tempfile::TempDir;
    use wire::{Client, MessageWriter, encode, serve};

    fn start(scanner: Scanner) -> (TempDir, Client<ScanForQueue>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&fd, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&fd, 16).unwrap();
        tokio::spawn(serve::<ScanForQueue, _>(fd, Arc::new(scanner)));
        (dir, Client::new(path))
    }

    async fn ask(client: &Client<ScanForQueue>, message: &[u8]) -> Result<Response, Error> {
        let message = MessageWriter::sealed(message).unwrap();
        match client.call(&QueueRequest::Index(Request::Index), &[message.as_fd()]).await?.body {
            QueueResponse::Index(response) => Ok(response),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn messages_are_indexed() {
        let (_dir, client) = start(Scanner::new(1 << 20, pure_mime::index));
        let message = b"From: a@x.test\r\nSubject: Hello\r\n\r\nWorld\r\n";
        let Response::Indexed(index) = ask(&client, message).await.unwrap() else { panic!() };
        assert_eq!(*index, pure_mime::index(message));
        assert_eq!((index.base_subject.as_str(), index.search.body.as_str()), ("hello", "world"));
        let Response::Indexed(index) = ask(&client, b"").await.unwrap() else { panic!() };
        assert_eq!(index.structure.parts().len(), 1);
    }

    #[tokio::test]
    async fn many_at_once_are_all_answered() {
        let (_dir, client) = start(Scanner::new(1 << 20, pure_mime::index));
        let client = Arc::new(client);
        let tasks: Vec<_> = (0..300)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move {
                    let answer = ask(&client, format!("Message-ID: <{n}@x.test>\r\n\r\n").as_bytes()).await.unwrap();
                    assert!(matches!(answer, Response::Indexed(index) if index.message_id == Some(format!("{n}@x.test"))));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_message_that_makes_it_fail_costs_only_itself() {
        let (_dir, client) =
            start(Scanner::new(1 << 20, |bytes| if bytes.starts_with(b"bad") { panic!("on purpose") } else { pure_mime::index(bytes) }));
        assert_eq!(ask(&client, b"bad").await.unwrap(), Response::Failed);
        assert_eq!(ask(&client, &b"bad".repeat(20_000)).await.unwrap(), Response::Failed);
        assert!(matches!(ask(&client, b"good").await.unwrap(), Response::Indexed(_)));
    }

    #[tokio::test]
    async fn what_is_no_sealed_message_ends_the_connection() {
        let (_dir, client) = start(Scanner::new(10, pure_mime::index));
        assert!(client.call(&QueueRequest::Index(Request::Index), &[]).await.is_err());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(client.call(&QueueRequest::Index(Request::Index), &[null.as_fd()]).await.is_err());
        assert!(ask(&client, &vec![b'x'; usize::try_from(PREFIX).unwrap() + 11]).await.is_err());
        assert!(matches!(ask(&client, &vec![b'x'; usize::try_from(PREFIX).unwrap() + 10]).await, Ok(Response::Indexed(_))));
    }

    static GATE: (Mutex<(usize, bool)>, Condvar) = (Mutex::new((0, false)), Condvar::new());

    /// Counts who is inside, and waits until the gate is open.
    fn gated(bytes: &[u8]) -> MessageIndex {
        let mut state = GATE.0.lock().unwrap();
        state.0 += 1;
        assert!(state.0 <= AT_A_TIME);
        GATE.1.notify_all();
        while !state.1 {
            state = GATE.1.wait(state).unwrap();
        }
        state.0 -= 1;
        drop(state);
        pure_mime::index(bytes)
    }

    #[tokio::test]
    async fn only_so_many_are_read_at_a_time() {
        let (_dir, client) = start(Scanner::new(1 << 20, gated));
        let client = Arc::new(client);
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let client = client.clone();
                // Too large to be read at once.
                tokio::spawn(async move { ask(&client, &[b'x'; 40_000]).await.unwrap() })
            })
            .collect();
        task::spawn_blocking(|| {
            let mut state = GATE.0.lock().unwrap();
            while state.0 < AT_A_TIME {
                state = GATE.1.wait(state).unwrap();
            }
            state.1 = true;
            GATE.1.notify_all();
        })
        .await
        .unwrap();
        for task in tasks {
            assert!(matches!(task.await.unwrap(), Response::Indexed(_)));
        }
    }

    /// Whatever a message is made of, what is said about it fits into an answer, twice over.
    #[test]
    fn an_answer_always_fits() {
        let parts = |head: &str, count: usize| {
            let part = format!("--a\r\n\r\n{head}\r\nx\r\n");
            format!("From: a@x.test\r\nContent-Type: multipart/digest; boundary=a\r\n\r\n{}", part.repeat(count))
        };
        let names = |count: usize| (0..count).map(|n| format!(";n{n}=")).collect::<String>();
        for message in [
            parts(&format!("From: {}\r\n", "<>,".repeat(5_000)), 450),
            parts(&format!("From: {}\r\n", "aaaaaaaaaaaaaaaaaaaaaa@b.test,".repeat(2_000)), 450),
            parts(&"a:\r\n".repeat(1_100), 450),
            parts(&format!("Content-Type: a/b{}\r\nContent-Disposition: c{}\r\n", names(64), names(64)), 450),
            parts(&format!("Content-Description: {}\r\nContent-ID: {0}\r\nSubject: {0}\r\n", "x".repeat(9_000)), 450),
            format!("References: {}\r\n\r\n", (0..300).map(|n| format!("<{n}{}>", "i".repeat(900))).collect::<String>()),
            format!("{}\r\n", "Delivered-To: a@x.test\r\nFrom: b@x.test\r\n".repeat(1_000)),
            format!("From: {}\r\n{}", "\u{130}".repeat(100_000), "\r\n\u{130} x".repeat(700_000)),
        ] {
            let index = pure_mime::index(message.as_bytes());
            let encoded = encode(&Response::Indexed(Box::new(index))).unwrap();
            assert!(encoded.len() < ScanForQueue::MAX_BODY / 2, "{}", encoded.len());
        }
    }
}
