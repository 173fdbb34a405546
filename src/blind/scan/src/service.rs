//! scan-queue and scan-store: one request, one message, one answer.

use crate::{
    limits::{AT_A_TIME, INLINE, PREFIX, SEVEN_BIT_GROWTH, WAITING, WRITE_BUFFER},
    origin::Origin,
};
use pure_addr::Text;
use pure_dkim::fields::Unsignable;
use pure_index::MessageIndex;
use pure_mime::seven_bit::{NotConvertible, seven_bit};
use serde_bytes::ByteBuf;
use std::{
    io::BufWriter,
    os::fd::{AsFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};
use tokio::{sync::Semaphore, task};
use wire::{
    Edge, Error, List, MessageWriter, Reply, SealedMessage, Service,
    edge::{
        keys_dkim::{KeysDkim, MAX_SIGNED_FIELDS, SealedSet, SignedField, SigningInput},
        scan_index::{Connection, QueueRequest, QueueResponse, Request, Response, ScanForQueue, ScanForStore},
    },
};

/// Reads messages, [`AT_A_TIME`], each in a thread of its own.
#[derive(Debug)]
pub(crate) struct Scanner {
    max_message: u64,
    read: fn(&[u8]) -> MessageIndex,
    origin: Arc<Origin>,
    places: Semaphore,
    turns: Arc<Semaphore>,
}

impl Scanner {
    /// `max_message` is the size in bytes that the configuration allows, `read` is `pure_mime::index` but in tests.
    pub(crate) fn new(max_message: u64, read: fn(&[u8]) -> MessageIndex, origin: Origin) -> Self {
        let (places, turns) = (Semaphore::new(WAITING), Arc::new(Semaphore::new(AT_A_TIME)));
        Self { max_message: max_message.saturating_add(PREFIX), read, origin: Arc::new(origin), places, turns }
    }

    async fn answer(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Response, Error> {
        let Request::Index = request;
        let index = self.work(fds, self.read).await?;
        Ok(index.map_or(Response::Failed, |index| Response::Indexed(Box::new(index))))
    }

    /// What is in a message that came over this connection, and where it is from. Its bytes are not kept while names are asked for.
    async fn judge(&self, connection: Connection, fds: Vec<OwnedFd>) -> Result<QueueResponse, Error> {
        let (read, origin, peer) = (self.read, self.origin.clone(), connection.peer);
        let inspect = move |message: &[u8]| {
            let index = read(message);
            let inspection = origin.inspect(message, &index, &connection);
            (index, inspection)
        };
        let Some((index, inspection)) = self.work(fds, inspect).await? else { return Ok(QueueResponse::Failed) };
        let Some(judgement) = self.origin.judge(inspection, peer).await else { return Ok(QueueResponse::Failed) };
        Ok(QueueResponse::Judged(Box::new(index), Box::new(judgement)))
    }

    /// What a signature is to cover (RFC 6376 5.4).
    async fn to_sign(&self, prefix: ByteBuf, fds: Vec<OwnedFd>) -> Result<QueueResponse, Error> {
        let input = self.work(fds, move |message| signing_input(&prefix, message)).await?;
        Ok(match input {
            Some(Ok(input)) => QueueResponse::ToSign(Box::new(input)),
            Some(Err(error)) => {
                tracing::info!(%error, "message cannot be signed");
                QueueResponse::Failed
            }
            None => QueueResponse::Failed,
        })
    }

    /// The same for an ARC set, and the sets before it.
    async fn to_seal(&self, prefix: ByteBuf, fds: Vec<OwnedFd>) -> Result<QueueResponse, Error> {
        let read = self.read;
        let input = self.work(fds, move |message| {
            let sets = pure_mailauth::sets(message, &read(message)).into_iter();
            let sets =
                sets.map(|[results, message, seal]| SealedSet { results: results.into(), message: message.into(), seal: seal.into() });
            Some((signing_input(&prefix, message).ok()?, List::new(sets.collect())?))
        });
        Ok(match input.await? {
            Some(Some((input, sets))) => QueueResponse::ToSeal(Box::new(input), sets),
            _ => QueueResponse::Failed,
        })
    }

    async fn seven_bit(&self, fds: Vec<OwnedFd>) -> Result<Reply<ScanForQueue>, Error> {
        let limit = self.max_message.saturating_mul(SEVEN_BIT_GROWTH);
        match self.work(fds, move |message| convert(message, limit)).await? {
            Some(Ok(converted)) => {
                let fd = converted.as_fd().try_clone_to_owned()?;
                Ok(Reply::with_fd(QueueResponse::SevenBit, fd))
            }
            Some(Err(error)) => {
                tracing::info!(?error, "message cannot be converted to seven bits");
                Ok(Reply::new(QueueResponse::Failed))
            }
            None => Ok(Reply::new(QueueResponse::Failed)),
        }
    }

    /// Does something with the message that came along; none when that fails.
    async fn work<T: Send + 'static>(&self, fds: Vec<OwnedFd>, work: impl FnOnce(&[u8]) -> T + Send + 'static) -> Result<Option<T>, Error> {
        let message = self.message(fds)?;
        let _place = self.places.try_acquire().map_err(|_| Error::Refused)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Error::Refused)?;
        let length = message.len();
        let start = Instant::now();
        let work = move || message.read_all().map(|bytes| work(&bytes));
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
            Ok(Ok(done)) => {
                tracing::debug!(bytes = length, microseconds = start.elapsed().as_micros(), "read");
                Ok(Some(done))
            }
            Ok(Err(error)) => {
                tracing::warn!(bytes = length, %error, "message not readable");
                Ok(None)
            }
            // It panicked: this message is lost to us, the next one is not.
            Err(error) => {
                tracing::error!(bytes = length, %error, "a message made the scan fail");
                Ok(None)
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
        match request {
            QueueRequest::Index(request) => Ok(Reply::new(QueueResponse::Index(self.answer(request, fds).await?))),
            QueueRequest::Judge(connection) => Ok(Reply::new(self.judge(*connection, fds).await?)),
            QueueRequest::ToSign(prefix) => Ok(Reply::new(self.to_sign(prefix, fds).await?)),
            QueueRequest::ToSeal(prefix) => Ok(Reply::new(self.to_seal(prefix, fds).await?)),
            QueueRequest::SevenBit => self.seven_bit(fds).await,
        }
    }
}

impl Service<ScanForStore> for Scanner {
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply<ScanForStore>, Error> {
        Ok(Reply::new(self.answer(request, fds).await?))
    }
}

fn signing_input(prefix: &[u8], message: &[u8]) -> Result<SigningInput, Unsignable> {
    let (header, body) = pure_dkim::fields::split(message);
    let fields = pure_dkim::fields::to_sign(prefix, header)?.into_iter();
    let fields = fields.map(|field| Some(SignedField { name: Text::new(field.name).ok()?, value: field.value.map(ByteBuf::from) }));
    let fields = fields.collect::<Option<Vec<_>>>().and_then(List::new).ok_or(Unsignable::TooLarge)?;
    Ok(SigningInput { body_hash: pure_dkim::body_hash(body), fields })
}

fn convert(message: &[u8], limit: u64) -> Result<SealedMessage, NotConvertible> {
    let mut out = BufWriter::with_capacity(WRITE_BUFFER, MessageWriter::new(limit)?);
    seven_bit(message, &mut out)?;
    let writer = out.into_inner().map_err(|error| NotConvertible::Io(error.into_error()))?;
    Ok(writer.seal()?)
}

/// Both edges carry the same.
const _: () = assert!(ScanForQueue::MAX_BODY == ScanForStore::MAX_BODY);
/// What is chosen fits what is asked of keys.
const _: () = assert!(pure_dkim::limits::MAX_FIELDS == MAX_SIGNED_FIELDS && pure_dkim::limits::MAX_VALUES <= KeysDkim::MAX_BODY / 2);
const _: () =
    assert!(pure_dkim::limits::MAX_CHAIN <= KeysDkim::MAX_BODY / 4 && pure_mailauth::limits::MAX_CHAIN <= pure_dkim::limits::MAX_CHAIN);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::{Names, Times},
        testing::{Dns, domain},
    };
    use pure_addr::ReversePath;
    use pure_index::judgement::SpfResult;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    use std::sync::{Condvar, Mutex};
    use tempfile::TempDir;
    use wire::{Client, encode, serve};

    /// One that knows nobody.
    fn scanner(max_message: u64, read: fn(&[u8]) -> MessageIndex) -> Scanner {
        let names = Names::new("/nowhere/dns".as_ref(), Times::default());
        Scanner::new(max_message, read, Origin::new(domain("mx.us.test"), names, || 0))
    }

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
        let (_dir, client) = start(scanner(1 << 20, pure_mime::index));
        let message = b"From: a@x.test\r\nSubject: Hello\r\n\r\nWorld\r\n";
        let Response::Indexed(index) = ask(&client, message).await.unwrap() else { panic!() };
        assert_eq!(*index, pure_mime::index(message));
        assert_eq!((index.base_subject.as_str(), index.search.body.as_str()), ("hello", "world"));
        let Response::Indexed(index) = ask(&client, b"").await.unwrap() else { panic!() };
        assert_eq!(index.structure.parts().len(), 1);
    }

    #[tokio::test]
    async fn many_at_once_are_all_answered() {
        let (_dir, client) = start(scanner(1 << 20, pure_mime::index));
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
            start(scanner(1 << 20, |bytes| if bytes.starts_with(b"bad") { panic!("on purpose") } else { pure_mime::index(bytes) }));
        assert_eq!(ask(&client, b"bad").await.unwrap(), Response::Failed);
        assert_eq!(ask(&client, &b"bad".repeat(20_000)).await.unwrap(), Response::Failed);
        assert!(matches!(ask(&client, b"good").await.unwrap(), Response::Indexed(_)));
    }

    #[tokio::test]
    async fn what_is_no_sealed_message_ends_the_connection() {
        let (_dir, client) = start(scanner(10, pure_mime::index));
        assert!(client.call(&QueueRequest::Index(Request::Index), &[]).await.is_err());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(client.call(&QueueRequest::Index(Request::Index), &[null.as_fd()]).await.is_err());
        assert!(ask(&client, &vec![b'x'; usize::try_from(PREFIX).unwrap() + 11]).await.is_err());
        assert!(matches!(ask(&client, &vec![b'x'; usize::try_from(PREFIX).unwrap() + 10]).await, Ok(Response::Indexed(_))));
    }

    #[tokio::test]
    async fn what_a_signature_covers_is_told() {
        let (_dir, client) = start(scanner(1 << 20, pure_mime::index));
        let to_sign = async |prefix: &[u8], message: &[u8]| {
            let message = MessageWriter::sealed(message).unwrap();
            client.call(&QueueRequest::ToSign(ByteBuf::from(prefix)), &[message.as_fd()]).await.unwrap().body
        };
        let QueueResponse::ToSign(input) = to_sign(b"Date: now\r\n", b"From: a@x.test\r\nSubject:  Hi \r\n\r\n \r\n").await else {
            panic!()
        };
        assert_eq!(input.body_hash, pure_dkim::body_hash(b""));
        let value = |name: &str| input.fields.iter().find(|f| f.name.as_str() == name).and_then(|f| f.value.clone());
        assert_eq!(value("subject"), Some(ByteBuf::from(*b"Hi")));
        assert_eq!(value("date"), Some(ByteBuf::from(*b"now")));
        assert_eq!(input.fields.iter().filter(|f| f.name.as_str() == "from").count(), 2);
        for (prefix, message) in [(&b""[..], &b"To: a\r\n\r\n"[..]), (b"x", b"From: a\r\n\r\n"), (b"From: b\r\n", b"From: a\r\n\r\n")] {
            assert_eq!(to_sign(prefix, message).await, QueueResponse::Failed);
        }
        let many = format!("From: a\r\n{}\r\n", "List-X: y\r\n".repeat(MAX_SIGNED_FIELDS));
        assert_eq!(to_sign(b"", many.as_bytes()).await, QueueResponse::Failed);
    }

    #[tokio::test]
    async fn messages_are_converted_to_seven_bits() {
        let (_dir, client) = start(scanner(1 << 20, pure_mime::index));
        let convert = async |message: &[u8]| {
            let message = MessageWriter::sealed(message).unwrap();
            let reply = client.call(&QueueRequest::SevenBit, &[message.as_fd()]).await.unwrap();
            let fd = reply.fds.into_iter().next();
            (reply.body, fd.map(|fd| SealedMessage::from_fd(fd, 1 << 30).unwrap().read_all().unwrap()))
        };
        let message = format!("MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n{}", "\u{e4}\r\n".repeat(100_000));
        let (QueueResponse::SevenBit, Some(converted)) = convert(message.as_bytes()).await else { panic!() };
        assert!(converted.is_ascii() && converted.ends_with(b"=C3=A4\r\n"));
        assert_eq!(convert("Subject: \u{e4}\r\n\r\n".as_bytes()).await, (QueueResponse::Failed, None));
    }

    #[tokio::test]
    async fn messages_are_judged() {
        let dns = Dns::start();
        dns.say("c.test", "v=spf1 ip4:192.0.2.1 -all");
        let origin = Origin::new(domain("mx.us.test"), Names::new(&dns.edge, Times::default()), || 0);
        let (_dir, client) = start(Scanner::new(1 << 20, pure_mime::index, origin));
        let message = b"Authentication-Results: mx.us.test; none\r\nFrom: a@x.test\r\n\r\nWorld\r\n";
        let connection =
            Connection { peer: "192.0.2.1".parse().unwrap(), helo: Text::new("c.test").unwrap(), reverse_path: ReversePath::Null };
        let sealed = MessageWriter::sealed(message).unwrap();
        let answer = client.call(&QueueRequest::Judge(Box::new(connection)), &[sealed.as_fd()]).await.unwrap().body;
        let QueueResponse::Judged(index, judgement) = answer else { panic!("{answer:?}") };
        assert_eq!(*index, pure_mime::index(message));
        assert_eq!(judgement.spf.iter().map(|s| s.result).collect::<Vec<_>>(), [SpfResult::Pass]);
        assert_eq!((judgement.forged.len(), judgement.forged[0].start), (1, 0));
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
        let (_dir, client) = start(scanner(1 << 20, gated));
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
            // Nor does a limit of the reader turn it down.
            assert!(matches!(wire::decode(&encoded).unwrap(), Response::Indexed(_)));
        }
    }
}
