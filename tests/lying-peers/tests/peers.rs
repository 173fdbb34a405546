//! A taken-over process on every edge of the real daemons: whatever it sends, it loses its own connection, and nobody else notices.

use lying_peers::{CANCEL, EVENT, HELLO, IN_MEMFD, Packet, Peer, REQUEST, RESPONSE, Shape, Source, frame, hello, memfd, shapes, with_fds};
use rustix::{
    fs::SealFlags,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
    process::{Pid, Signal, kill_process},
};
use std::{collections::BTreeMap, fs::File, os::fd::OwnedFd};
use test_support::{Appliance, World, eventually, peak};
use wire::{
    BUILD_ID, Edge,
    edge::{
        mail::{Owner, SessionId},
        queue_grant::QueueGrant,
        queue_submit::QueueSubmit,
        send_names::SendNames,
        store_grant::{self, StoreGrant},
        store_session::StoreSession,
    },
    encode,
    frame::{MAX_FDS, MAX_INLINE},
};

/// What lies may add to the most that a daemon ever used, in KiB.
const MOST_KIB: u64 = 256 * 1024;
/// More than the connections that one edge serves at a time.
const CROWD: usize = 300;

type Lie = (&'static str, Vec<Packet>);

/// What no edge takes, after a good greeting or instead of one: of who asks, or of who answers where it is the one that asks that listens.
fn lies(shape: &Shape, all: &[Shape], source: &mut Source) -> Vec<Lie> {
    let edge = shape.edge;
    let valid = (shape.make)(source).unwrap();
    let good = || hello(edge, BUILD_ID);
    let (own, others, another) = if shape.what == "response" { (RESPONSE, REQUEST, "a request") } else { (REQUEST, RESPONSE, "an answer") };
    let request = |flags, body: &[u8]| frame(own, flags, 1, body);
    let sealed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    let in_memfd = |fd| vec![good(), with_fds(request(IN_MEMFD, &[]), vec![fd])];
    let mut lies: Vec<Lie> = vec![
        ("garbage", vec![Packet { bytes: (0..400).map(|_| source.draw() as u8 | 8).collect(), fds: Vec::new() }]),
        ("a line of text", vec![Packet { bytes: b"EHLO x\r\n".to_vec(), fds: Vec::new() }]),
        ("half a header", vec![Packet { bytes: vec![1, 0, 0], fds: Vec::new() }]),
        ("no greeting", vec![request(0, &valid)]),
        ("another build", vec![hello(edge, "x")]),
        ("another edge", vec![hello("nobody-nothing", BUILD_ID)]),
        ("greeting with a descriptor", vec![with_fds(good(), vec![null()])]),
        ("greeting twice", vec![good(), good()]),
        ("a datagram beyond the limit", vec![good(), request(0, &vec![0; MAX_INLINE + 1_000])]),
        ("an unknown kind", vec![good(), frame(9, 0, 1, &valid)]),
        ("an unknown flag", vec![good(), request(4, &valid)]),
        (another, vec![good(), frame(others, 0, 1, &valid)]),
        ("an event", vec![good(), frame(EVENT, 0, 1, &valid)]),
        ("a cancel with a body", vec![good(), frame(CANCEL, 0, 1, &[1])]),
        ("a byte too many", vec![good(), request(0, &[&valid[..], &[0]].concat())]),
        ("a body of nothing but ends of numbers", vec![good(), request(0, &[0xff; 64])]),
        ("a body in a memfd that is not there", vec![good(), request(IN_MEMFD, &[])]),
        ("a body in two places", vec![good(), with_fds(request(IN_MEMFD, &valid), vec![memfd(8, sealed)])]),
        ("a body that can be written", in_memfd(memfd(8, SealFlags::GROW | SealFlags::SHRINK))),
        ("a body that can shrink", in_memfd(memfd(8, SealFlags::WRITE | SealFlags::GROW))),
        ("a body that can grow", in_memfd(memfd(8, SealFlags::WRITE | SealFlags::SHRINK))),
        ("a sparse body of a tebibyte", in_memfd(memfd(1 << 40, sealed))),
        ("a body one byte beyond the limit", in_memfd(memfd(shape.max_body as u64 + 1, sealed))),
        ("a body of zeros as large as may be", in_memfd(memfd(shape.max_body as u64, sealed))),
        ("a body in a device", in_memfd(null())),
        ("more descriptors than a frame has", vec![good(), with_fds(request(0, &valid), (0..=MAX_FDS).map(|_| null()).collect())]),
    ];
    if !valid.is_empty() && (shape.read)(&valid[..valid.len() - 1]).is_none() {
        lies.push(("half a body", vec![good(), request(0, &valid[..valid.len() - 1])]));
    }
    for other in all.iter().filter(|other| other.edge != edge) {
        let foreign = (other.make)(source).unwrap();
        if (shape.read)(&foreign).is_none() {
            lies.push(("a request of another edge", vec![good(), request(0, &foreign)]));
        }
    }
    lies
}

/// Says all of it, and waits until the server has had enough. Nothing but a greeting comes back.
fn tell(peer: &Peer, edge: &str, (what, packets): &Lie) {
    for packet in packets {
        if !peer.send(packet) {
            break;
        }
    }
    while let Some(packet) = peer.recv() {
        assert_eq!(packet.bytes.first(), Some(&HELLO), "{edge}: {what}: answered");
    }
}

/// The daemon that serves an edge is the first word of its name.
fn daemon(edge: &str) -> &str {
    edge.split('-').next().unwrap_or(edge)
}

fn requests() -> Vec<Shape> {
    shapes().into_iter().filter(|shape| shape.what == "request").collect()
}

/// Whether it is the one that asks that listens: who connects there answers.
fn is_answered(edge: &str) -> bool {
    edge == SendNames::NAME
}

/// Edges whose connections a grant brings: no socket of theirs has a name.
fn is_session(edge: &str) -> bool {
    [StoreSession::NAME, QueueSubmit::NAME].contains(&edge)
}

fn ended(appliance: &Appliance, edge: &str) -> usize {
    let log = appliance.log(daemon(edge));
    let what = if is_answered(edge) { "connection to server ended" } else { "connection of client ended" };
    log.lines().filter(|line| line.contains(what) && line.contains(&format!("edge=\"{edge}\""))).count()
}

#[test]
fn a_lying_client_loses_its_connection_and_nobody_else_notices() {
    let appliance = Appliance::start(&World::mta_test());
    let all = requests();
    let edges: Vec<&Shape> = all.iter().filter(|shape| !is_session(shape.edge) && !is_answered(shape.edge)).collect();
    let before: BTreeMap<&str, (u32, u64)> = edges
        .iter()
        .map(|shape| daemon(shape.edge))
        .map(|name| (name, appliance.pid(name)))
        .map(|(name, pid)| (name, (pid, peak(pid))))
        .collect();
    for shape in edges {
        let edge = shape.edge;
        let logged = ended(&appliance, edge);
        let honest = Peer::connect(&appliance, edge);
        assert!(honest.is_greeted(edge), "{edge}");
        let lies = lies(shape, &all, &mut Source::new(11));
        assert!(lies.len() > 26, "{edge}: no request of another edge was among the lies");
        for lie in &lies {
            tell(&Peer::connect(&appliance, edge), edge, lie);
            assert!(Peer::connect(&appliance, edge).is_greeted(edge), "{edge}: nobody is served after {}", lie.0);
        }
        // Who was connected all the time still is: a cancel is no lie, and a byte of one ends it.
        assert!(honest.send(&frame(CANCEL, 0, 7, &[])), "{edge}: an honest connection was ended");
        eventually("one line in the log for each lie", || (ended(&appliance, edge) - logged >= lies.len()).then_some(()));
        assert_eq!(ended(&appliance, edge) - logged, lies.len(), "{edge}");
    }
    for (name, (pid, least)) in before {
        assert_eq!(appliance.pid(name), pid, "{name} was started again");
        let grown = peak(pid).saturating_sub(least);
        assert!(grown < MOST_KIB, "{name}: {grown} KiB more than before");
    }
}

/// Who comes to send in the place of dns has to be dns: whatever else it says, it loses its connection, and dns has its place again.
#[test]
fn a_lying_dns_loses_its_connection_and_the_next_is_asked() {
    let appliance = Appliance::start(&World::mta_test());
    let edge = SendNames::NAME;
    let shape = shapes().into_iter().find(|shape| shape.edge == edge && shape.what == "response").unwrap();
    let (send, dns) = (appliance.pid("send"), appliance.pid("dns"));
    let least = peak(send);
    // It would come back at once, and take the liar's place before the lie.
    let signal = |signal| kill_process(Pid::from_raw(dns.try_into().unwrap()).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    let lies = lies(&shape, &requests(), &mut Source::new(13));
    assert!(lies.len() > 26, "no request of another edge was among the lies");
    for lie in &lies {
        tell(&Peer::connect(&appliance, edge), edge, lie);
    }
    eventually("one line in the log for each lie", || (ended(&appliance, edge) >= lies.len()).then_some(()));
    assert_eq!(ended(&appliance, edge), lies.len());
    signal(Signal::CONT);
    // Another dns takes the place of who has it now.
    let last = Peer::connect(&appliance, edge);
    assert!(last.is_greeted(edge) && last.recv().is_none());
    // Its number is written down when it already runs.
    eventually("another dns", || (appliance.pid("dns") != dns).then_some(()));
    assert_eq!(appliance.pid("send"), send, "send was started again");
    let grown = peak(send).saturating_sub(least);
    assert!(grown < MOST_KIB, "{grown} KiB more than before");
}

/// The socket that a login brings, as `auth` asks for it.
fn granted<G: Edge>(appliance: &Appliance, number: u64) -> Peer {
    let peer = Peer::connect(appliance, G::NAME);
    assert!(peer.is_greeted(G::NAME));
    let address = pure_addr::Address::parse("alice@mta.test").unwrap();
    let owner = Owner { account: pure_addr::AccountId::new(number).unwrap(), address, quota: None };
    // Both grants have the same request.
    let request = store_grant::Request::Session { owner, session: SessionId(1) };
    assert!(peer.send(&frame(REQUEST, 0, 1, &encode(&request).unwrap())));
    let mut answer = peer.recv().unwrap();
    assert_eq!(answer.bytes.first(), Some(&RESPONSE), "{}", G::NAME);
    Peer::of(answer.fds.remove(0))
}

#[test]
fn a_lying_session_is_ended_and_others_go_on() {
    let appliance = Appliance::start(&World::mta_test());
    let all = requests();
    let before = ["store", "queue"].map(|name| (name, appliance.pid(name))).map(|(name, pid)| (name, pid, peak(pid)));
    for shape in all.iter().filter(|shape| is_session(shape.edge)) {
        let edge = shape.edge;
        let open = |number| {
            if edge == StoreSession::NAME { granted::<StoreGrant>(&appliance, number) } else { granted::<QueueGrant>(&appliance, number) }
        };
        let ended = || appliance.log(daemon(edge)).lines().filter(|line| line.contains("WARN") && line.contains("session ended")).count();
        let honest = open(1);
        assert!(honest.is_greeted(edge), "{edge}");
        let lies = lies(shape, &all, &mut Source::new(12));
        assert!(lies.len() > 26, "{edge}: no request of another edge was among the lies");
        for lie in &lies {
            tell(&open(1), edge, lie);
        }
        eventually("one line in the log for each lie", || (ended() >= lies.len()).then_some(()));
        assert_eq!(ended(), lies.len(), "{edge}");
        assert!(honest.send(&frame(CANCEL, 0, 7, &[])), "{edge}: an honest session was ended");
        assert!(open(2).is_greeted(edge), "{edge}");
    }
    for (name, pid, least) in before {
        assert_eq!(appliance.pid(name), pid, "{name} was started again");
        let grown = peak(pid).saturating_sub(least);
        assert!(grown < MOST_KIB, "{name}: {grown} KiB more than before");
    }
}

/// One edge that is full keeps nobody from another edge of the same daemon, and is served again when the crowd goes.
#[test]
fn a_crowd_on_one_edge_keeps_nobody_from_the_others() {
    let appliance = Appliance::start(&World::mta_test());
    let all = requests();
    let edges: Vec<&str> = all.iter().map(|shape| shape.edge).filter(|edge| !is_session(edge)).collect();
    for edge in &edges {
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            // Beyond the backlog connecting fails, instead of waiting.
            let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
            let path = appliance.state().join("run").join(edge).join("sock");
            if connect(&fd, &SocketAddrUnix::new(path).unwrap()).is_ok() {
                crowd.push(fd);
            }
        }
        for other in edges.iter().filter(|other| *other != edge && daemon(other) == daemon(edge)) {
            assert!(Peer::connect(&appliance, other).is_greeted(other), "{other} while {edge} is full");
        }
        drop(crowd);
        assert!(Peer::connect(&appliance, edge).is_greeted(edge), "{edge} after the crowd");
    }
}
