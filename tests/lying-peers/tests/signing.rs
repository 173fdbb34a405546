//! A taken-over scan says to the real queue what a signature, a seal or the same message in seven bits is. Case IPC-06.
//!
//! What leaves is looked at in the place of send. Scan can have the wrong thing signed, or nothing; it cannot have somebody else signed, put a
//! line into a header, or hand the queue a file that is no message. `scan.rs` has what it can say of mail that comes in. A taken-over keys
//! signs, and writes nothing else.

use lying_peers::{Asked, Middle, Packet, RESPONSE, Say, frame, memfd, with_fds};
use pure_addr::{Domain, Text};
use pure_index::judgement::{Alignment, Dmarc, Judgement};
use rustix::fs::SealFlags;
use serde_bytes::ByteBuf;
use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{Arc, Mutex},
};
use test_support::{Appliance, Smtp, World, eventually};
use wire::{
    Edge, List, MessageWriter, decode,
    edge::{
        keys_dkim::{self, KeysDkim, SealedSet, SignedField, SigningInput},
        scan_index::{QueueRequest, QueueResponse, Response as IndexResponse, ScanForQueue},
        send_deliver::{self, Lease, Outcome, Report, SendDeliver, Status, Trace},
    },
    encode,
};

/// What stands in a message, as it was handed in.
const TEXT: &str = "Gr\u{fc}\u{df}e";
fn world() -> World {
    let world = World::mta_test();
    let config = world.config.replace("paused = true", "paused = false");
    // Aliases that lead elsewhere, each to a destination of its own.
    let aliases: String = (0..SEALS.len()).map(|number| format!("\"list-{number}@mta.test\" = [\"far@listed-{number}.test\"]\n")).collect();
    World { config: format!("{config}[aliases]\n{aliases}"), ..world }
}

/// What was offered to send: the lease, and the message.
type Offered = Arc<Mutex<Vec<(Lease, Vec<u8>)>>>;

/// In send's place: writes down what is offered, and says this of it.
fn sender(appliance: &Appliance, says: fn(&Lease) -> Outcome) -> (Middle, Offered) {
    let offered = Offered::default();
    let middle = Middle::start(appliance, SendDeliver::NAME);
    let own = offered.clone();
    middle.says(Say::Instead(Box::new(move |asked| {
        let send_deliver::Request::Deliver(lease) = decode(&asked.body).unwrap() else { return None };
        let file = File::from(asked.fds.first().unwrap().try_clone().unwrap());
        let mut message = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut message, 0).unwrap();
        let results = lease.recipients.iter().map(|recipient| (recipient.number, says(&lease))).collect();
        let report = Report { results: List::new(results).unwrap(), tls: List::default() };
        own.lock().unwrap().push((*lease, message));
        Some(frame(RESPONSE, 0, asked.id, &encode(&send_deliver::Response::Report(Box::new(report))).unwrap()))
    })));
    (middle, offered)
}

fn delivered(_: &Lease) -> Outcome {
    let trace = Trace { status: Status(2, 0, 0), reply: None, text: Text::new("taken").unwrap(), remote: None };
    Outcome::Delivered { dsn: true, trace }
}

/// Until it is in seven bits.
fn needs_seven_bits(lease: &Lease) -> Outcome {
    if lease.body == wire::edge::mail::Body::SevenBit { delivered(lease) } else { Outcome::NeedsSevenBit }
}

fn submit(appliance: &Appliance, to: &str) {
    let mut smtp = Smtp::connect(appliance, "submissions");
    assert!(smtp.auth("alice@mta.test", "secret-alice").ok());
    let text = format!(
        "From: alice@mta.test\r\nSubject: x\r\nDate: Sun, 22 Nov 2026 00:00:00 +0000\r\nMessage-ID: <x@mta.test>\r\n\r\n{TEXT}\r\n"
    );
    assert!(smtp.send("alice@mta.test", &[to], text.as_bytes()).ok());
}

fn field(name: &str, value: &str) -> SignedField {
    SignedField { name: Text::new(name).unwrap(), value: Some(ByteBuf::from(value.as_bytes())) }
}

fn input(fields: Vec<SignedField>) -> Box<SigningInput> {
    Box::new(SigningInput { body_hash: [7; 32], fields: List::new(fields).unwrap() })
}

/// What becomes of a message that is lied about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It leaves signed, over what scan said.
    Signed,
    /// It leaves without a signature.
    Unsigned,
    /// It waits.
    Waits,
}

type Lie = (&'static str, Then, fn() -> QueueResponse);

const SIGNATURES: &[Lie] = &[
    ("another body", Then::Signed, || QueueResponse::ToSign(input(vec![field("from", "alice@mta.test")]))),
    ("another subject", Then::Signed, || QueueResponse::ToSign(input(vec![field("from", "alice@mta.test"), field("subject", "owned")]))),
    ("somebody else", Then::Unsigned, || QueueResponse::ToSign(input(vec![field("from", "ceo@bank.test")]))),
    ("somebody else behind ours", Then::Unsigned, || {
        QueueResponse::ToSign(input(vec![field("from", "alice@mta.test"), field("from", "ceo@bank.test")]))
    }),
    ("a domain that begins as ours", Then::Unsigned, || QueueResponse::ToSign(input(vec![field("from", "ceo@mta.test.evil")]))),
    ("nobody", Then::Unsigned, || QueueResponse::ToSign(input(Vec::new()))),
    ("an absent author", Then::Unsigned, || {
        QueueResponse::ToSign(input(vec![SignedField { name: Text::new("from").unwrap(), value: None }]))
    }),
    ("a line behind the author", Then::Waits, || QueueResponse::ToSign(input(vec![field("from", "alice@mta.test\r\nowned: x")]))),
    ("an author with blanks that are not canonical", Then::Waits, || {
        QueueResponse::ToSign(input(vec![field("from", "  alice@mta.test  ")]))
    }),
    ("a name that ends the tag", Then::Waits, || {
        QueueResponse::ToSign(input(vec![field("from", "alice@mta.test"), field("x; d=bank.test", "x")]))
    }),
    ("a name with a colon", Then::Waits, || QueueResponse::ToSign(input(vec![field("from", "alice@mta.test"), field("a:b", "x")]))),
    ("no name", Then::Waits, || QueueResponse::ToSign(input(vec![field("from", "alice@mta.test"), field("", "x")]))),
    ("that it failed", Then::Waits, || QueueResponse::Failed),
    ("an index", Then::Waits, || QueueResponse::Index(IndexResponse::Failed)),
    ("seven bits", Then::Waits, || QueueResponse::SevenBit),
    ("a seal", Then::Waits, || QueueResponse::ToSeal(input(vec![field("from", "alice@mta.test")]), List::default())),
];

/// The names of the fields in front of a message; nothing in it is anything else.
fn names(prefix: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(prefix).unwrap();
    assert!(text.ends_with("\r\n") && text.replace("\r\n", "").chars().all(|c| c == '\t' || !c.is_control()), "{text:?}");
    let fields = text.lines().filter(|line| !line.starts_with([' ', '\t']));
    fields.map(|line| line.split_once(':').unwrap_or_else(|| panic!("{text}")).0.to_owned()).collect()
}

#[test]
fn what_an_owned_scan_has_signed_is_in_our_name_or_not_signed() {
    let appliance = Appliance::start(&world());
    let pids = || ["queue", "keys"].map(|name| appliance.pid(name));
    let (_send, offered) = sender(&appliance, delivered);
    let scan = Middle::start(&appliance, ScanForQueue::NAME);
    let before = pids();
    let mut waiting = 0;
    for (number, (lie, then, answer)) in SIGNATURES.iter().enumerate() {
        let (answer, told) = (*answer, scan.told().0);
        scan.says(Say::Instead(Box::new(move |asked: &Asked| match decode(&asked.body).unwrap() {
            QueueRequest::ToSign(_) => Some(frame(RESPONSE, 0, asked.id, &encode(&answer()).unwrap())),
            _ => None,
        })));
        submit(&appliance, &format!("far@number-{number}.test"));
        eventually(lie, || (scan.told().0 > told).then_some(()));
        if *then == Then::Waits {
            waiting += 1;
            eventually(lie, || (queued(&appliance, "deferred") == waiting).then_some(()));
            assert!(offered.lock().unwrap().is_empty(), "{lie}: offered to send");
            continue;
        }
        let (lease, message) = eventually(lie, || offered.lock().unwrap().pop());
        let names = names(&lease.prefix);
        let signatures = names.iter().filter(|name| *name == "DKIM-Signature").count();
        assert_eq!(signatures, if *then == Then::Signed { 2 } else { 0 }, "{lie}: {names:?}");
        assert!(names.iter().all(|name| ["DKIM-Signature", "Received"].contains(&name.as_str())), "{lie}: {names:?}");
        let prefix = String::from_utf8_lossy(&lease.prefix);
        assert!(!prefix.contains("bank.test") && !prefix.contains("owned"), "{lie}: {prefix}");
        // The message itself is what was handed in.
        assert!(message.ends_with(format!("\r\n\r\n{TEXT}\r\n").as_bytes()), "{lie}");
    }
    assert_eq!(pids(), before, "somebody was started again");
}

#[test]
fn what_an_owned_keys_answers_is_a_signature_or_nothing_leaves() {
    let appliance = Appliance::start(&world());
    let (_send, offered) = sender(&appliance, delivered);
    let keys = Middle::start(&appliance, KeysDkim::NAME);
    let lies = [
        "From: ceo@mta.test\r\nSubject: new account\r\n\r\nPlease pay\r\n\r\n",
        "DKIM-Signature: v=1\r\nFrom: ceo@mta.test\r\n",
        "DKIM-Signature: v=1\r\n\r\nPlease pay\r\n",
        "ARC-Seal: i=1\r\n",
        "DKIM-Signature: v=1",
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        keys.says(Say::Instead(Box::new(move |asked: &Asked| {
            let signatures = List::new(vec![ByteBuf::from(lie.as_bytes())]).unwrap();
            Some(frame(RESPONSE, 0, asked.id, &encode(&keys_dkim::Response::Signatures(signatures)).unwrap()))
        })));
        submit(&appliance, &format!("far@number-{number}.test"));
        eventually(lie, || (queued(&appliance, "deferred") == number + 1).then_some(()));
        assert!(offered.lock().unwrap().is_empty(), "{lie}: offered to send");
    }
    keys.says(Say::Truth);
    submit(&appliance, "far@truth.test");
    let (lease, _) = eventually("the truth", || {
        let mut offered = offered.lock().unwrap();
        let at = offered.iter().position(|(lease, _)| lease.recipients[0].address.domain.as_str() == "truth.test")?;
        Some(offered.swap_remove(at))
    });
    assert_eq!(names(&lease.prefix).iter().filter(|name| *name == "DKIM-Signature").count(), 2);
}

/// Messages in the queue that have been tried, and say this.
fn queued(appliance: &Appliance, word: &str) -> usize {
    let json =
        |arguments: &[&str]| -> serde_json::Value { serde_json::from_slice(&appliance.postern(arguments, "").stdout).unwrap_or_default() };
    let list = json(&["queue", "list", "--json"]);
    let ids = list.as_array().into_iter().flatten().filter_map(|message| message["id"].as_str());
    ids.filter(|id| json(&["queue", "show", "--json", id]).to_string().contains(word)).count()
}

/// It is from whom it says it is from: what is lied about comes later.
fn judged(asked: &Asked) -> Packet {
    let file = File::from(asked.fds.first().unwrap().try_clone().unwrap());
    let mut message = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut message, 0).unwrap();
    let dmarc = Dmarc { author: Domain::parse("remote.test").ok(), alignment: Alignment::Aligned, ..Dmarc::default() };
    let answer = QueueResponse::Judged(Box::new(pure_mime::index(&message)), Box::new(Judgement { dmarc, ..Judgement::default() }));
    frame(RESPONSE, 0, asked.id, &encode(&answer).unwrap())
}

const SEALS: &[Lie] = &[
    ("another body", Then::Signed, || QueueResponse::ToSeal(input(vec![field("from", "s@remote.test")]), List::default())),
    ("another author", Then::Signed, || QueueResponse::ToSeal(input(vec![field("from", "ceo@bank.test")]), List::default())),
    ("a set that nobody saw", Then::Unsigned, || {
        let set = SealedSet { results: b"i=1; x".to_vec().into(), message: b"i=1; x".to_vec().into(), seal: b"i=1; x".to_vec().into() };
        QueueResponse::ToSeal(input(vec![field("from", "s@remote.test")]), List::new(vec![set]).unwrap())
    }),
    ("a line behind the author", Then::Waits, || QueueResponse::ToSeal(input(vec![field("from", "x\r\nowned: x")]), List::default())),
    ("a name that ends the tag", Then::Waits, || {
        QueueResponse::ToSeal(input(vec![field("from", "s@remote.test"), field("x; d=bank.test", "x")]), List::default())
    }),
    ("that it failed", Then::Unsigned, || QueueResponse::Failed),
    ("a signature", Then::Unsigned, || QueueResponse::ToSign(input(vec![field("from", "s@remote.test")]))),
    ("seven bits", Then::Unsigned, || QueueResponse::SevenBit),
];

#[test]
fn what_an_owned_scan_has_sealed_puts_no_line_into_a_header() {
    let appliance = Appliance::start(&world());
    let pids = || ["queue", "keys"].map(|name| appliance.pid(name));
    let (_send, offered) = sender(&appliance, delivered);
    let scan = Middle::start(&appliance, ScanForQueue::NAME);
    let before = pids();
    let mut waiting = 0;
    for (number, (lie, then, answer)) in SEALS.iter().enumerate() {
        let answer = *answer;
        scan.says(Say::Instead(Box::new(move |asked: &Asked| match decode(&asked.body).unwrap() {
            QueueRequest::ToSeal(_) => Some(frame(RESPONSE, 0, asked.id, &encode(&answer()).unwrap())),
            QueueRequest::Judge(_) => Some(judged(asked)),
            _ => None,
        })));
        let reply = Smtp::connect(&appliance, "mx").send(
            "s@remote.test",
            &[&format!("list-{number}@mta.test")],
            format!("From: s@remote.test\r\nSubject: {lie}\r\n\r\n{TEXT}\r\n").as_bytes(),
        );
        assert_eq!(reply.code, 250, "{lie}: {reply:?}");
        if *then == Then::Waits {
            waiting += 1;
            eventually(lie, || (queued(&appliance, "deferred") == waiting).then_some(()));
            assert!(offered.lock().unwrap().is_empty(), "{lie}: offered to send");
            continue;
        }
        let (lease, message) = eventually(lie, || offered.lock().unwrap().pop());
        let names = names(&lease.prefix);
        let count = |of: &str| names.iter().filter(|name| *name == of).count();
        let set = ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"].map(count);
        assert_eq!(set, if *then == Then::Signed { [1; 3] } else { [0; 3] }, "{lie}: {names:?}");
        let prefix = String::from_utf8_lossy(&lease.prefix);
        assert!(!prefix.contains("d=bank.test") && !prefix.contains("owned"), "{lie}: {prefix}");
        assert!(message.ends_with(format!("\r\n\r\n{TEXT}\r\n").as_bytes()), "{lie}");
    }
    assert_eq!(pids(), before, "somebody was started again");
}

/// Files that are no message, in place of the same message in seven bits.
fn files() -> Vec<(&'static str, Vec<OwnedFd>)> {
    let sealed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
    let open = |path: &str| OwnedFd::from(File::open(path).unwrap());
    vec![
        ("none", Vec::new()),
        ("what can be written", vec![memfd(64, SealFlags::GROW | SealFlags::SHRINK)]),
        ("what can grow", vec![memfd(64, SealFlags::WRITE | SealFlags::SHRINK)]),
        ("what can shrink", vec![memfd(64, SealFlags::WRITE | SealFlags::GROW)]),
        ("without any seal", vec![memfd(64, SealFlags::empty())]),
        ("a tebibyte that is not there", vec![memfd(1 << 40, sealed)]),
        ("a device", vec![open("/dev/zero")]),
        ("a directory", vec![open("/")]),
        ("a file", vec![open("/proc/self/exe")]),
        ("a pipe", vec![rustix::pipe::pipe().unwrap().0]),
    ]
}

#[test]
fn what_is_no_message_in_seven_bits_is_not_sent() {
    let appliance = Appliance::start(&world());
    let (_send, offered) = sender(&appliance, needs_seven_bits);
    let scan = Middle::start(&appliance, ScanForQueue::NAME);
    let before = appliance.pid("queue");
    for (number, (lie, _)) in files().into_iter().enumerate() {
        scan.says(Say::Instead(Box::new(move |asked: &Asked| match decode(&asked.body).unwrap() {
            QueueRequest::SevenBit => {
                let body = encode(&QueueResponse::SevenBit).unwrap();
                Some(with_fds(frame(RESPONSE, 0, asked.id, &body), files().swap_remove(number).1))
            }
            _ => None,
        })));
        submit(&appliance, &format!("far@number-{number}.test"));
        eventually(lie, || (queued(&appliance, "seven bits now") == number + 1).then_some(()));
        let offers: Vec<_> = offered.lock().unwrap().drain(..).collect();
        // Once, as it was handed in.
        assert_eq!(offers.len(), 1, "{lie}");
        assert!(offers[0].1.ends_with(format!("\r\n\r\n{TEXT}\r\n").as_bytes()), "{lie}");
    }
    // What is one leaves, whatever is in it: scan decides what is sent there, and this is known (SECURITY.md).
    scan.says(Say::Instead(Box::new(|asked: &Asked| match decode(&asked.body).unwrap() {
        QueueRequest::SevenBit => {
            let sealed = MessageWriter::sealed(b"From: alice@mta.test\r\nSubject: so be it\r\n\r\nowned\r\n").unwrap();
            let body = encode(&QueueResponse::SevenBit).unwrap();
            Some(with_fds(frame(RESPONSE, 0, asked.id, &body), vec![sealed.as_fd().try_clone_to_owned().unwrap()]))
        }
        _ => None,
    })));
    submit(&appliance, "far@converted.test");
    let sent = eventually("the message in seven bits", || {
        offered.lock().unwrap().iter().find(|(_, message)| message.ends_with(b"owned\r\n")).cloned()
    });
    assert!(String::from_utf8_lossy(&sent.0.prefix).contains("d=mta.test"));
    assert_eq!(appliance.pid("queue"), before);
}
