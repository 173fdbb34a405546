//! What one hop between two processes costs: the wire's own client and server, with a service that does nothing.
//!
//! The server is this program again in a process of its own, in the cgroup of the server under test, so that its CPU time is told
//! apart. It is not confined: no message passes through it.

use crate::{
    Failure,
    case::{Case, Figure, Outcome, Scale},
    stack::Stack,
};
use serde_bytes::ByteBuf;
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use wire::{Client, Edge, Error, MessageWriter, Reply, SealedMessage, Service, edge::Never};

/// The option that makes this program the server.
pub(crate) const SERVER: &str = "--serve-hop";
/// Bytes of a small request.
const SMALL: usize = 64;
/// Bytes of a message that travels as a descriptor.
const BODY: usize = 1024 * 1024;

/// An edge that carries bytes and gives back how many they were.
#[derive(Debug)]
struct Hop;

impl Edge for Hop {
    const NAME: &'static str = "bench-hop";
    const MAX_BODY: usize = 4 * 1024 * 1024;
    const MAX_FDS: usize = 1;
    const PATIENCE: Duration = Duration::from_secs(30);
    type Request = ByteBuf;
    type Response = u64;
    type Event = Never;
}

struct Count;

impl Service<Hop> for Count {
    async fn call(&self, request: ByteBuf, fds: Vec<OwnedFd>) -> Result<Reply<Hop>, Error> {
        let mut count = request.len() as u64;
        for fd in fds {
            let message = SealedMessage::from_fd(fd, BODY as u64).map_err(|_| Error::Malformed("not sealed"))?;
            let mut piece = vec![0; 64 * 1024];
            let mut at = 0;
            while at < message.len() {
                let room = piece.len().min(usize::try_from(message.len() - at).unwrap_or(piece.len()));
                message.read_exact_at(piece.get_mut(..room).unwrap_or_default(), at)?;
                at += room as u64;
            }
            count += at;
        }
        Ok(Reply::new(count))
    }
}

/// Serves until it is killed.
pub(crate) fn serve(path: &Path) -> Result<(), Failure> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    bind(&listener, &SocketAddrUnix::new(path)?)?;
    listen(&listener, 16)?;
    runtime()?.block_on(wire::serve::<Hop, Count>(listener, Arc::new(Count)))?;
    Ok(())
}

/// As the daemons have it, with one worker.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// What one request carries.
#[derive(Debug, Clone, Copy)]
enum Load {
    Inline(usize),
    /// A sealed message of this many bytes, made anew each time or once.
    Message {
        bytes: usize,
        anew: bool,
    },
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let case =
        |name, load, in_flight| Case::new(name, move |stack: &mut Stack, scale: Scale| run(stack, scale, load, in_flight)).only_ours();
    let descriptor = Load::Message { bytes: SMALL, anew: false };
    let body = Load::Message { bytes: BODY, anew: true };
    vec![
        case("hop-1", Load::Inline(SMALL), 1),
        case("hop-64", Load::Inline(SMALL), 64),
        case("hop-fd-1", descriptor, 1),
        case("hop-fd-64", descriptor, 64),
        case("hop-frame-64-kib", Load::Inline(64 * 1024), 1),
        case("hop-frame-1-mib", Load::Inline(BODY), 1),
        case("hop-body-1", body, 1),
        case("hop-body-8", body, 8),
    ]
}

/// Ends with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(stack: &Stack, path: &Path) -> Result<Server, Failure> {
    // Left over from an earlier case, or not there.
    let _ = std::fs::remove_file(path);
    let own = std::env::current_exe()?;
    let command = format!("{} && exec {} {SERVER} {}", stack.meter.join_command(), own.display(), path.display());
    let server = Server(Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).spawn()?);
    let end = Instant::now() + Duration::from_secs(30);
    while !path.exists() {
        if Instant::now() > end {
            return Err("the other end of the hop did not start".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(server)
}

fn sealed(bytes: usize) -> Result<SealedMessage, Failure> {
    Ok(MessageWriter::sealed(&vec![b'x'; bytes])?)
}

fn run(stack: &mut Stack, scale: Scale, load: Load, in_flight: usize) -> Result<Outcome, Failure> {
    let path = stack.scratch.join("hop");
    let _server = start(stack, &path)?;
    let time = Duration::from_millis(scale.pick(2_000, 50));
    let runtime = runtime()?;
    let client = Arc::new(Client::<Hop>::new(&path));
    // The greeting is not what is measured.
    connect(&runtime, &client)?;
    let (requests, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (cpu, start) = (stack.meter.cpu_seconds()?, Instant::now());
    let end = start + time;
    let tasks: Vec<_> = (0..in_flight).map(|_| runtime.spawn(ask(client.clone(), load, end, requests.clone(), bytes.clone()))).collect();
    for task in tasks {
        runtime.block_on(task).map_err(|e| format!("hop: {e}"))??;
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = stack.meter.cpu_seconds()? - cpu;
    let requests = requests.load(Ordering::Relaxed) as f64;
    Ok(Outcome {
        figures: vec![
            Figure::more("requests", requests / seconds, "/s"),
            Figure::less("each", seconds * 1e6 * in_flight as f64 / requests, "us"),
            Figure::more("bytes", bytes.load(Ordering::Relaxed) as f64 / 1e6 / seconds, "MB/s"),
        ],
        operations: requests,
        cpu_seconds,
    })
}

/// The socket's file is there a moment before anybody listens.
fn connect(runtime: &tokio::runtime::Runtime, client: &Client<Hop>) -> Result<(), Failure> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match runtime.block_on(client.call(&ByteBuf::new(), &[])) {
            Ok(_) => return Ok(()),
            Err(Error::Io(_)) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            Err(e) => return Err(e.into()),
        }
    }
}

/// One request after the other; every answer must name the bytes that were sent.
async fn ask(client: Arc<Client<Hop>>, load: Load, end: Instant, requests: Arc<AtomicU64>, bytes: Arc<AtomicU64>) -> Result<(), Failure> {
    let (inline, kept) = match load {
        Load::Inline(size) => (ByteBuf::from(vec![b'x'; size]), None),
        Load::Message { bytes, .. } => (ByteBuf::new(), Some(sealed(bytes)?)),
    };
    while Instant::now() < end {
        let fresh = match load {
            Load::Message { bytes, anew: true } => Some(sealed(bytes)?),
            _ => None,
        };
        let message = fresh.as_ref().or(kept.as_ref());
        let fds: Vec<BorrowedFd<'_>> = message.iter().map(|m| m.as_fd()).collect();
        let sent = inline.len() as u64 + message.map_or(0, SealedMessage::len);
        let reply = client.call(&inline, &fds).await?;
        if reply.body != sent {
            return Err(format!("{} of {sent} bytes crossed the hop", reply.body).into());
        }
        requests.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(sent, Ordering::Relaxed);
    }
    Ok(())
}
