//! What is handed over for a message and is none, on every edge that carries messages, to the real daemons.
//!
//! A message is a file that nobody can change any more. Whoever takes one looks at seals, kind and size; what is not so is refused, and
//! nothing of it is read, kept or passed on.

use lying_peers::{HELLO, IN_MEMFD, Packet, Peer, REQUEST, RESPONSE, frame, memfd, with_fds};
use pure_addr::{Address, MailboxName, ReversePath, Text};
use rustix::fs::{Mode, OFlags, SealFlags, open};
use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use test_support::{Appliance, Imap, Smtp, eventually, peak};
use wire::{
    Edge, List, MessageWriter, decode,
    edge::{
        auth_directory::{self, AuthDirectory, Target},
        mail::{Body, Envelope, Owner, QueueId, Recipient, SessionId, Submitted},
        queue_grant::QueueGrant,
        queue_inbound::{self, QueueInbound},
        queue_submit::{self, QueueSubmit},
        scan_index::{self, ScanForQueue, ScanForStore},
        send_deliver::{self, Lease, LeaseRecipient, Route, SendDeliver},
        store_deliver::{self, Delivery, DeliveryId, StoreDeliver},
        store_grant::{self, StoreGrant},
        store_session::{self, Flags, StoreSession},
    },
    encode,
    frame::MAX_INLINE,
};

/// What files may add to the most that a daemon ever used, in KiB.
const MOST_KIB: u64 = 256 * 1024;
const STRANGERS: &[u8] = b"From: s@example.net\r\nSubject: handed over\r\n\r\nx\r\n";
const OURS: &[u8] = b"From: alice@mta.test\r\nSubject: handed over\r\nDate: Sun, 22 Nov 2026 00:00:00 +0000\r\n\r\nx\r\n";

fn good(text: &[u8]) -> OwnedFd {
    MessageWriter::sealed(text).unwrap().as_fd().try_clone_to_owned().unwrap()
}

/// A file that grows as long as this lives.
struct Growing(Arc<AtomicBool>);

impl Growing {
    fn start(text: &'static [u8]) -> (Self, OwnedFd) {
        let (running, file) = (Arc::new(AtomicBool::new(true)), memfd(0, SealFlags::empty()));
        let (own, written) = (running.clone(), File::from(file.try_clone().unwrap()));
        thread::spawn(move || {
            let mut at = 0;
            // It begins again, smaller, before it is too large for the machine.
            while own.load(Ordering::Relaxed) {
                written.write_all_at(text, at).unwrap();
                at += text.len() as u64;
                if at > 1 << 24 {
                    written.set_len(0).unwrap();
                    at = 0;
                }
            }
        });
        (Self(running), file)
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What is no message; whatever must live as long comes along.
fn files(text: &'static [u8]) -> Vec<(&'static str, Vec<OwnedFd>, Option<Growing>)> {
    let sealed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
    let file = |path: &str| OwnedFd::from(File::open(path).unwrap());
    let again = |flags| {
        let message = good(text);
        open(format!("/proc/self/fd/{}", message.as_raw_fd()), flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
    };
    let filled = |seals| {
        let fd = memfd(0, SealFlags::empty());
        File::from(fd.try_clone().unwrap()).write_all_at(text, 0).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    };
    let (growing, grows) = Growing::start(text);
    let mut all: Vec<(&str, Vec<OwnedFd>)> = vec![
        ("nothing", Vec::new()),
        ("without any seal", vec![filled(SealFlags::empty())]),
        ("what can be written", vec![filled(SealFlags::GROW | SealFlags::SHRINK)]),
        ("what can grow", vec![filled(SealFlags::WRITE | SealFlags::SHRINK)]),
        ("what can shrink", vec![filled(SealFlags::WRITE | SealFlags::GROW)]),
        ("a tebibyte that is not there", vec![memfd(1 << 40, sealed)]),
        ("what can only be written", vec![again(OFlags::WRONLY)]),
        ("a name of a file", vec![again(OFlags::PATH)]),
        ("a device", vec![file("/dev/zero")]),
        ("another device", vec![file("/dev/null")]),
        ("a directory", vec![file("/")]),
        ("a file of a disk", vec![file("/proc/self/exe")]),
        ("a file that is none", vec![file("/proc/self/status")]),
        ("a pipe", vec![rustix::pipe::pipe().unwrap().0]),
        ("a socket", vec![std::os::unix::net::UnixStream::pair().unwrap().0.into()]),
    ];
    let mut all: Vec<_> = all.drain(..).map(|(what, fds)| (what, fds, None)).collect();
    all.push(("what grows", vec![grows], Some(growing)));
    all
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn envelope() -> Envelope {
    Envelope {
        session: SessionId(1),
        peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        helo: Text::new("liar.example.net").unwrap(),
        extended: true,
        smtputf8: false,
        require_tls: false,
        tls: None,
        reverse_path: ReversePath::Address(address("alice@mta.test")),
        body: Body::SevenBit,
        ret: None,
        envid: None,
        recipients: List::new(vec![Recipient { address: address("bob@mta.test"), notify: None, orcpt: None }]).unwrap(),
    }
}

fn delivery(owner: Owner, number: u64) -> Delivery {
    Delivery {
        id: DeliveryId { message: QueueId(1 << 40 | number), number: 0 },
        owner,
        mailbox: MailboxName::inbox(),
        received_at: 0,
        prefix: b"Received: x\r\n".to_vec().into(),
        index: pure_mime::index(&[b"Received: x\r\n", OURS].concat()),
    }
}

fn lease() -> Lease {
    Lease {
        id: QueueId(1 << 41),
        // Of a smarthost that nobody has declared: what becomes of it is known at once.
        route: Route::Smarthost(Text::new("nobody").unwrap()),
        reverse_path: ReversePath::Null,
        smtputf8: false,
        body: Body::SevenBit,
        ret: None,
        envid: None,
        require_tls: false,
        tls_optional: false,
        recipients: List::new(vec![LeaseRecipient { number: 0, address: address("far@far.test"), notify: None, orcpt: None }]).unwrap(),
        prefix: b"Received: x\r\n".to_vec().into(),
    }
}

fn request(body: &[u8], fds: Vec<OwnedFd>) -> Packet {
    if body.len() <= MAX_INLINE {
        return with_fds(frame(REQUEST, 0, 1, body), fds);
    }
    let sealed = MessageWriter::sealed(body).unwrap().as_fd().try_clone_to_owned().unwrap();
    with_fds(frame(REQUEST, IN_MEMFD, 1, &[]), std::iter::once(sealed).chain(fds).collect())
}

/// As the directory knows her.
fn alice(appliance: &Appliance) -> Owner {
    let peer = Peer::connect(appliance, AuthDirectory::NAME);
    assert!(peer.is_greeted(AuthDirectory::NAME));
    let resolve = auth_directory::Request::Resolve(address("alice@mta.test"));
    assert!(peer.send(&frame(REQUEST, 0, 1, &encode(&resolve).unwrap())));
    let answer = decode(&peer.recv().unwrap().bytes[6..]).unwrap();
    let auth_directory::Response::Targets(targets) = answer else { panic!("{answer:?}") };
    let Some(Target::Account { owner, .. }) = targets.first().cloned() else { panic!("{targets:?}") };
    owner
}

/// The socket that a login brings, as `auth` asks for it.
fn granted<G: Edge>(appliance: &Appliance) -> Peer {
    let peer = Peer::connect(appliance, G::NAME);
    assert!(peer.is_greeted(G::NAME));
    let owner = alice(appliance);
    // Both grants have the same request.
    let request = store_grant::Request::Session { owner, session: SessionId(1) };
    assert!(peer.send(&frame(REQUEST, 0, 1, &encode(&request).unwrap())));
    Peer::of(peer.recv().unwrap().fds.remove(0))
}

/// Whether an answer says that the message was taken.
type IsTaken = fn(&[u8]) -> bool;

/// Hands over a good message, which is taken, and everything that is none, which is not.
fn check(
    appliance: &Appliance,
    (edge, daemon): (&str, &str),
    text: &'static [u8],
    open: &dyn Fn() -> Peer,
    ask: &dyn Fn() -> Vec<u8>,
    is_taken: IsTaken,
) {
    let taken = |fds: Vec<OwnedFd>| {
        let peer = open();
        assert!(peer.is_greeted(edge), "{edge}");
        assert!(peer.send(&request(&ask(), fds)), "{edge}");
        // A refusal, an answer, or the end.
        let answer = peer.recv()?;
        assert_ne!(answer.bytes.first(), Some(&HELLO));
        let body = match answer.fds.first() {
            Some(fd) if answer.bytes[1] == IN_MEMFD => {
                let file = File::from(fd.try_clone().unwrap());
                let mut body = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
                file.read_exact_at(&mut body, 0).unwrap();
                body
            }
            _ => answer.bytes[6..].to_vec(),
        };
        (answer.bytes[0] == RESPONSE).then(|| is_taken(&body))
    };
    let pid = appliance.pid(daemon);
    let honest = open();
    assert!(honest.is_greeted(edge), "{edge}");
    assert_eq!(taken(vec![good(text)]), Some(true), "{edge}: a message");
    let least = peak(pid);
    for (what, fds, _growing) in files(text) {
        assert_ne!(taken(fds), Some(true), "{edge}: {what} was taken for a message");
        assert_eq!(taken(vec![good(text)]), Some(true), "{edge}: a message after {what}");
    }
    assert_ne!(taken(vec![good(text), good(text)]), Some(true), "{edge}: two messages for one");
    assert!(honest.send(&frame(lying_peers::CANCEL, 0, 7, &[])), "{edge}: an honest connection was ended");
    assert_eq!(appliance.pid(daemon), pid, "{daemon} was started again");
    let grown = peak(pid).saturating_sub(least);
    assert!(grown < MOST_KIB, "{daemon}: {grown} KiB more than before");
}

#[test]
fn what_is_no_message_is_taken_by_nobody() {
    let appliance = Appliance::mta_test();
    let edge = |name: &'static str| {
        let appliance = &appliance;
        move || Peer::connect(appliance, name)
    };
    // From a stranger: what says that it is from alice would be refused for that.
    let accepted = |body: &[u8]| matches!(decode(body), Ok(queue_inbound::Response::Submitted(Submitted::Accepted(_))));
    let arrive = || encode(&queue_inbound::Request::Submit(Box::new(envelope()))).unwrap();
    check(&appliance, (QueueInbound::NAME, "queue"), STRANGERS, &edge(QueueInbound::NAME), &arrive, accepted);

    // On a session an answer is one of two kinds.
    let submitted = |body: &[u8]| matches!(decode(&body[1..]), Ok(queue_submit::Response::Submitted(Submitted::Accepted(_))));
    let submit = || encode(&queue_submit::Request::Submit(Box::new(envelope()))).unwrap();
    check(&appliance, (QueueSubmit::NAME, "queue"), OURS, &|| granted::<QueueGrant>(&appliance), &submit, submitted);
    let appended = |body: &[u8]| matches!(decode(&body[1..]), Ok(store_session::Response::Appended { .. }));
    let append = || {
        let messages = List::new(vec![store_session::Append { flags: Flags::default(), received_at: None }]).unwrap();
        encode(&store_session::Request::Append { to: MailboxName::inbox(), messages }).unwrap()
    };
    check(&appliance, (StoreSession::NAME, "store"), OURS, &|| granted::<StoreGrant>(&appliance), &append, appended);

    let number = std::cell::Cell::new(0);
    let deliver = || {
        number.set(number.get() + 1);
        encode(&store_deliver::Request::Deliver(Box::new(delivery(alice(&appliance), number.get())))).unwrap()
    };
    let delivered = |body: &[u8]| matches!(decode(body), Ok(store_deliver::Response::Delivered(_)));
    check(&appliance, (StoreDeliver::NAME, "store"), OURS, &edge(StoreDeliver::NAME), &deliver, delivered);
    let reported = |body: &[u8]| matches!(decode(body), Ok(send_deliver::Response::Report(_)));
    let offer = || encode(&send_deliver::Request::Deliver(Box::new(lease()))).unwrap();
    check(&appliance, (SendDeliver::NAME, "send"), OURS, &edge(SendDeliver::NAME), &offer, reported);

    let indexed = |body: &[u8]| matches!(decode(body), Ok(scan_index::Response::Indexed(_)));
    let index = || encode(&scan_index::Request::Index).unwrap();
    check(&appliance, (ScanForStore::NAME, "scan"), OURS, &edge(ScanForStore::NAME), &index, indexed);
    let connection = || scan_index::Connection {
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        helo: Text::new("liar.example.net").unwrap(),
        reverse_path: ReversePath::Null,
    };
    let questions: [(IsTaken, Vec<u8>); 5] = [
        (
            |body| matches!(decode(body), Ok(scan_index::QueueResponse::Index(scan_index::Response::Indexed(_)))),
            encode(&scan_index::QueueRequest::Index(scan_index::Request::Index)).unwrap(),
        ),
        (
            |body| matches!(decode(body), Ok(scan_index::QueueResponse::Judged(..))),
            encode(&scan_index::QueueRequest::Judge(Box::new(connection()))).unwrap(),
        ),
        (
            |body| matches!(decode(body), Ok(scan_index::QueueResponse::ToSign(_))),
            encode(&scan_index::QueueRequest::ToSign(b"Received: x\r\n".to_vec().into())).unwrap(),
        ),
        (
            |body| matches!(decode(body), Ok(scan_index::QueueResponse::ToSeal(..))),
            encode(&scan_index::QueueRequest::ToSeal(b"Received: x\r\n".to_vec().into())).unwrap(),
        ),
        (|body| matches!(decode(body), Ok(scan_index::QueueResponse::SevenBit)), encode(&scan_index::QueueRequest::SevenBit).unwrap()),
    ];
    for (is_taken, question) in questions {
        check(&appliance, (ScanForQueue::NAME, "scan"), OURS, &edge(ScanForQueue::NAME), &|| question.clone(), is_taken);
    }

    // And everybody is served.
    let mut imap = Imap::login(&appliance, "bob");
    let before = imap.count("INBOX");
    let text = b"From: s@example.net\r\nSubject: x\r\n\r\nx\r\n";
    assert_eq!(Smtp::connect(&appliance, "mx").send("s@example.net", &["bob@mta.test"], text).code, 250);
    eventually("the message", || (imap.count("INBOX") > before).then_some(()));
}
