//! A taken-over scan lies to the real queue and the real store, in every way that its answers leave it. Case IPC-06.
//!
//! What it can do is misjudge: its lies are taken as what it found in a message, or the message waits. Whatever it says, the queue, the
//! store and imap go on, nobody sees another line or another message than there is, and the message itself is as it was sent.

use lying_peers::{EVENT, IN_MEMFD, Packet, Peer, REQUEST, RESPONSE, frame, hello, memfd, with_fds};
use pure_addr::Domain;
use pure_index::{
    Disposition, Encoding, Envelope, EnvelopeAddress, Field, Identity, MAX_DEPTH, MAX_PARTS, Part, PartKind, SearchText, Span, Structure,
    judgement::{Alignment, Dmarc, Judgement},
};
use rustix::{
    fs::SealFlags,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, socket_with},
};
use serde::Serialize;
use serde_bytes::ByteBuf;
use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex},
    thread,
};
use test_support::{Answer, Appliance, Imap, Smtp, eventually};
use wire::{
    BUILD_ID, Edge, MessageWriter, SealedMessage,
    edge::scan_index::{QueueResponse, ScanForQueue, ScanForStore},
    encode,
    frame::MAX_INLINE,
};

/// In every text of a lie: what a reader would take for the server's word if it began a line.
const INJECTED: &[u8] = b"x\"\\ {3}\r\n* BYE owned\r\nt1 OK owned\r\n\0\xff)";

/// A `MessageIndex` whose parts need not be a tree. It is encoded as one.
#[derive(Debug, Clone, Default, Serialize)]
struct Index {
    envelope: Envelope,
    structure: Vec<Part>,
    search: SearchText,
    message_id: Option<String>,
    references: Vec<String>,
    base_subject: String,
    sent_at: Option<i64>,
    sent_zone: i32,
    has_attachment: bool,
    preview: String,
    identity: Identity,
}

/// As `scan_index::Response`.
#[derive(Serialize)]
enum StoreAnswer {
    Indexed(Box<Index>),
}

/// As `scan_index::QueueResponse`.
#[derive(Serialize)]
enum QueueAnswer {
    #[expect(dead_code, reason = "has the first number, and is for submitted mail")]
    Index(StoreAnswer),
    Judged(Box<Index>, Judgement),
}

impl Index {
    fn honest(message: &[u8]) -> Self {
        let found = pure_mime::index(message);
        Self {
            envelope: found.envelope,
            structure: found.structure.into(),
            search: found.search,
            message_id: found.message_id,
            references: found.references,
            base_subject: found.base_subject,
            sent_at: found.sent_at,
            sent_zone: found.sent_zone,
            has_attachment: found.has_attachment,
            preview: found.preview,
            identity: found.identity,
        }
    }

    fn encoded(self, for_queue: bool) -> Vec<u8> {
        let index = Box::new(self);
        if for_queue {
            // It is from whom it says it is from; lies about that are tried in the queue's own tests.
            let dmarc = Dmarc { author: Domain::parse("remote.test").ok(), alignment: Alignment::Aligned, ..Dmarc::default() };
            return encode(&QueueAnswer::Judged(index, Judgement { dmarc, ..Judgement::default() })).unwrap();
        }
        encode(&StoreAnswer::Indexed(index)).unwrap()
    }
}

/// A request, as the liar sees it.
struct Asked {
    id: u32,
    for_queue: bool,
    message: Vec<u8>,
}

impl Asked {
    fn honest(&self) -> Vec<u8> {
        Index::honest(&self.message).encoded(self.for_queue)
    }

    fn answer(&self, body: &[u8]) -> Packet {
        if body.len() <= MAX_INLINE {
            return frame(RESPONSE, 0, self.id, body);
        }
        let sealed = MessageWriter::sealed(body).unwrap();
        with_fds(frame(RESPONSE, IN_MEMFD, self.id, &[]), vec![sealed.as_fd().try_clone_to_owned().unwrap()])
    }
}

/// What is said to a request; nothing ends the connection.
type Say = Box<dyn Fn(&Asked) -> Vec<Packet> + Send>;

/// In the place of scan.
struct Liar(Arc<Mutex<Say>>);

fn truth() -> Say {
    Box::new(|asked| vec![asked.answer(&asked.honest())])
}

impl Liar {
    /// Takes scan's place on both of its edges: who connects from now on comes here, and scan's own end sends everybody here.
    fn start(appliance: &Appliance) -> Self {
        let say = Arc::new(Mutex::new(truth()));
        for (edge, for_queue) in [(ScanForQueue::NAME, true), (ScanForStore::NAME, false)] {
            let path = appliance.state().join("run").join(edge).join("sock");
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
            let mine = path.with_extension("lie");
            bind(&socket, &SocketAddrUnix::new(&mine).unwrap()).unwrap();
            listen(&socket, 128).unwrap();
            open_to_all(&mine);
            fs::rename(&mine, &path).unwrap();
            let say = say.clone();
            thread::spawn(move || {
                while let Ok(connection) = accept(&socket) {
                    let say = say.clone();
                    thread::spawn(move || serve(&Peer::of(connection), edge, for_queue, &say));
                }
            });
        }
        appliance.kill("scan");
        Self(say)
    }

    fn says(&self, say: Say) {
        *self.0.lock().unwrap() = say;
    }
}

/// Whose the daemons are depends on who runs the test.
fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

fn serve(peer: &Peer, edge: &str, for_queue: bool, say: &Mutex<Say>) {
    if peer.recv().is_none() || !peer.send(&hello(edge, BUILD_ID)) {
        return;
    }
    while let Some(packet) = peer.recv() {
        let (head, _) = packet.bytes.split_first_chunk::<6>().unwrap();
        let Some(fd) = packet.fds.into_iter().next_back().filter(|_| head[0] == REQUEST) else { continue };
        let message = SealedMessage::from_fd(fd, 1 << 30).unwrap().read_all().unwrap();
        let asked = Asked { id: u32::from_le_bytes([head[2], head[3], head[4], head[5]]), for_queue, message };
        let packets = say.lock().unwrap()(&asked);
        if packets.is_empty() || !packets.iter().all(|packet| peer.send(packet)) {
            return;
        }
    }
}

/// What becomes of mail that is lied about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It is believed, and the message is there.
    Believed,
    /// It is not believed, and the message waits at its sender.
    Waits,
    /// As the queue is told, the message goes round: it is refused for good.
    Refused,
}

type Lie = (&'static str, Then, fn(&mut Index, u32));

fn text() -> ByteBuf {
    ByteBuf::from(INJECTED)
}

fn string() -> String {
    String::from_utf8_lossy(INJECTED).into_owned()
}

fn addresses() -> Vec<EnvelopeAddress> {
    let address = |name, mailbox, host| EnvelopeAddress { name, mailbox, host };
    vec![address(Some(text()), Some(text()), Some(text())), address(None, None, None), address(None, Some(text()), None)]
}

fn leaf(parent: Option<u16>, kind: PartKind, start: u32, end: u32) -> Part {
    Part { parent, kind, header: Span { start, end: start }, body: Span { start, end }, ..Part::default() }
}

/// What can be said in an index: every field, with what it should not hold.
const LIES: &[Lie] = &[
    ("an envelope of lines that the server might say", Then::Believed, |index, _| {
        let all = || Some(text());
        index.envelope = Envelope {
            date: all(),
            subject: all(),
            from: addresses(),
            sender: addresses(),
            reply_to: addresses(),
            to: addresses(),
            cc: addresses(),
            bcc: addresses(),
            in_reply_to: all(),
            message_id: all(),
        };
    }),
    ("a structure of such lines", Then::Believed, |index, _| {
        let part = &mut index.structure[0];
        let both = || vec![(text(), text()), (text(), ByteBuf::new())];
        (part.media_type, part.subtype, part.params) = (text(), text(), both());
        (part.id, part.description, part.md5, part.location) = (Some(text()), Some(text()), Some(text()), Some(text()));
        part.encoding = Encoding::Other(text());
        part.disposition = Some(Disposition { kind: text(), params: both() });
        part.language = vec![text(), text()];
    }),
    ("sort keys, identifiers and words of such lines", Then::Believed, |index, _| {
        index.search = SearchText { headers: vec![(string(), string()); 3], body: string() };
        (index.message_id, index.references) = (Some(string()), vec![string(); 200]);
        (index.base_subject, index.preview) = (string(), string());
    }),
    ("no structure", Then::Believed, |index, _| index.structure.clear()),
    ("an empty envelope", Then::Believed, |index, _| index.envelope = Envelope::default()),
    ("a date before all time", Then::Believed, |index, _| index.sent_at = Some(i64::MIN)),
    ("a date after all time", Then::Believed, |index, _| index.sent_at = Some(i64::MAX)),
    ("a date after all time, and a clock east of it", Then::Believed, |index, _| {
        (index.sent_at, index.sent_zone) = (Some(i64::MAX), i32::MAX);
    }),
    ("more lines than bytes", Then::Believed, |index, _| index.structure[0].lines = u32::MAX),
    ("a preview of a megabyte", Then::Believed, |index, _| index.preview = "\u{fc}\r\n".repeat(1 << 18)),
    ("an identifier and a subject of a megabyte", Then::Believed, |index, _| {
        index.message_id = Some("i".repeat(1 << 20));
        index.base_subject = "s".repeat(1 << 20);
        index.envelope.subject = Some(ByteBuf::from(vec![b'"'; 1 << 20]));
    }),
    ("two hundred references of ten kilobytes", Then::Believed, |index, _| index.references = vec!["r".repeat(10_000); 200]),
    ("a thousand addresses of a kilobyte", Then::Believed, |index, _| {
        let one = EnvelopeAddress { name: Some(ByteBuf::from(vec![b'\\'; 1_000])), mailbox: Some(text()), host: Some(text()) };
        index.envelope.to = vec![one; 1_000];
    }),
    ("three megabytes of words", Then::Believed, |index, _| index.search.body = "word \u{fc} ".repeat(400_000)),
    ("fields of a header that cut into each other", Then::Believed, |index, _| {
        let header = index.structure[0].header;
        let half = Field { span: Span { start: header.start, end: header.end / 2 }, name_len: 3 };
        let whole = Field { span: header, name_len: u16::try_from(header.len()).unwrap() };
        index.structure[0].fields = vec![half, whole, half];
    }),
    ("a thousand parts on top of each other", Then::Believed, |index, len| {
        let inner = |_| leaf(Some(0), PartKind::Multipart, len / 2, len);
        index.structure = std::iter::once(leaf(None, PartKind::Multipart, 0, len)).chain((1..MAX_PARTS).map(inner)).collect();
    }),
    ("as deep as may be", Then::Believed, |index, len| index.structure = chain(MAX_DEPTH + 1, len)),
    ("an embedded message without an envelope, and an envelope where none is embedded", Then::Believed, |index, len| {
        let envelope = || Some(Box::new(Envelope { subject: Some(text()), from: addresses(), ..Envelope::default() }));
        index.structure =
            vec![leaf(None, PartKind::Message, 0, len), leaf(Some(0), PartKind::Message, 0, len), leaf(Some(1), PartKind::Leaf, 0, len)];
        index.structure[2].envelope = envelope();
    }),
    ("a multipart of nothing", Then::Believed, |index, len| index.structure = vec![leaf(None, PartKind::Multipart, 0, len)]),
    ("base64 and quoted-printable that are none", Then::Believed, |index, len| {
        index.structure =
            vec![leaf(None, PartKind::Multipart, 0, len), leaf(Some(0), PartKind::Leaf, 0, len), leaf(Some(0), PartKind::Leaf, 0, len)];
        (index.structure[1].encoding, index.structure[2].encoding) = (Encoding::Base64, Encoding::QuotedPrintable);
    }),
    ("deeper than may be", Then::Waits, |index, len| index.structure = chain(MAX_DEPTH + 2, len)),
    ("more parts than may be", Then::Waits, |index, len| {
        let inner = |_| leaf(Some(0), PartKind::Leaf, len, len);
        index.structure = std::iter::once(leaf(None, PartKind::Multipart, 0, len)).chain((0..MAX_PARTS).map(inner)).collect();
    }),
    ("a byte behind the end", Then::Waits, |index, len| index.structure = vec![leaf(None, PartKind::Leaf, 0, len + 1)]),
    ("all that can be counted", Then::Waits, |index, _| index.structure = vec![leaf(None, PartKind::Leaf, 0, u32::MAX)]),
    ("a part outside of the part around it", Then::Waits, |index, len| {
        index.structure = vec![leaf(None, PartKind::Multipart, 0, len / 2), leaf(Some(0), PartKind::Leaf, 0, len)];
    }),
    ("a part in itself", Then::Waits, |index, len| {
        index.structure = vec![leaf(None, PartKind::Multipart, 0, len), leaf(Some(1), PartKind::Multipart, 0, len)];
    }),
    ("a part in one that has none", Then::Waits, |index, len| {
        index.structure = vec![leaf(None, PartKind::Leaf, 0, len), leaf(Some(0), PartKind::Leaf, 0, len)];
    }),
    ("two messages", Then::Waits, |index, len| {
        index.structure = vec![leaf(None, PartKind::Leaf, 0, len), leaf(None, PartKind::Leaf, 0, len)]
    }),
    ("a part that ends before it begins", Then::Waits, |index, len| {
        index.structure[0].body = Span { start: len, end: 0 };
    }),
    ("a field outside of its header", Then::Waits, |index, len| {
        index.structure[0].fields = vec![Field { span: Span { start: 0, end: len }, name_len: 1 }];
    }),
    ("a name longer than its field", Then::Waits, |index, _| {
        index.structure[0].fields = vec![Field { span: Span { start: 0, end: 2 }, name_len: 3 }];
    }),
    ("more references than may be", Then::Waits, |index, _| index.references = vec![String::new(); 201]),
    ("more addresses than may be", Then::Waits, |index, _| index.envelope.cc = vec![EnvelopeAddress::default(); 1_001]),
    ("more parameters than may be", Then::Waits, |index, _| index.structure[0].params = vec![(text(), text()); 65]),
    ("more hops than anybody counts", Then::Refused, |index, _| index.identity.received_fields = u32::MAX),
];

fn chain(depth: usize, len: u32) -> Vec<Part> {
    let parent = |at: usize| at.checked_sub(1).map(|at| u16::try_from(at).unwrap());
    (0..depth).map(|at| leaf(parent(at), PartKind::Multipart, 0, len)).collect()
}

/// Everything that a client can ask of a message and what was found in it.
const QUESTIONS: &[(&str, &str)] = &[
    ("FETCH {n} (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)", " FETCH ("),
    ("FETCH {n} (BODY UID MODSEQ EMAILID THREADID)", " FETCH ("),
    (
        "FETCH {n} (BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[HEADER.FIELDS (SUBJECT X)] BODY.PEEK[HEADER.FIELDS.NOT (TO)])",
        " FETCH (",
    ),
    ("FETCH {n} (BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[1.HEADER] BODY.PEEK[1.1.1.1] BODY.PEEK[2.TEXT] BODY.PEEK[1]<1.7>)", " FETCH ("),
    ("FETCH {n} (BINARY.PEEK[1] BINARY.SIZE[1])", " FETCH ("),
    ("FETCH {n} (BINARY.PEEK[2])", " FETCH ("),
    ("SEARCH OR SUBJECT owned TEXT word", " SEARCH"),
    ("SEARCH HEADER X owned SENTSINCE 1-Jan-2000", " SEARCH"),
    ("SORT (SUBJECT DATE FROM TO CC SIZE) UTF-8 ALL", " SORT"),
    ("THREAD REFERENCES UTF-8 ALL", " THREAD"),
    ("THREAD ORDEREDSUBJECT UTF-8 ALL", " THREAD"),
];

/// Asks for all of it; nothing but answers to the question comes, and the message is the one that was sent.
fn look(appliance: &Appliance, mailbox: &str, number: usize, message: &[u8], lie: &str) {
    let mut imap = Imap::login(appliance, "alice");
    imap.must(&format!("SELECT {mailbox}"));
    for (question, kind) in QUESTIONS {
        let question = question.replace("{n}", &number.to_string());
        let Answer { untagged, status, .. } = imap.command(&question);
        // RFC 3516 4.3: what cannot be decoded is said to be so.
        assert!(status.starts_with("OK") || status.starts_with("NO [UNKNOWN-CTE]"), "{lie}: {question}: {status}");
        for line in untagged {
            let rest = line.strip_prefix(b"*").unwrap_or_default();
            let digits = rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
            let rest = if digits > 0 { &rest[digits + 1..] } else { rest };
            assert!(rest.starts_with(kind.as_bytes()), "{lie}: {question}: {}", String::from_utf8_lossy(&line));
        }
    }
    let whole = imap.must(&format!("FETCH {number} (BODY.PEEK[])")).literals.pop().unwrap();
    assert!(whole.ends_with(message), "{lie}: {}", String::from_utf8_lossy(&whole));
    imap.must("LOGOUT");
}

fn message(number: usize) -> Vec<u8> {
    format!("From: s@example.net\r\nTo: alice@mta.test\r\nSubject: number {number}\r\nMessage-ID: <{number}@example.net>\r\n\r\nHello {number}\r\n")
        .into_bytes()
}

fn pids(appliance: &Appliance) -> [u32; 3] {
    ["queue", "store", "imap"].map(|name| appliance.pid(name))
}

#[test]
fn what_an_owned_scan_says_of_mail_is_no_more_than_what_it_found() {
    let appliance = Appliance::mta_test();
    let before = pids(&appliance);
    let liar = Liar::start(&appliance);
    let mut imap = Imap::login(&appliance, "alice");
    let mut there = [0, 0];
    for (number, (lie, then, change)) in LIES.iter().enumerate() {
        let message = message(number);
        let change = *change;
        liar.says(Box::new(move |asked| {
            let mut index = Index::honest(&asked.message);
            change(&mut index, u32::try_from(asked.message.len()).unwrap());
            vec![asked.answer(&index.encoded(asked.for_queue))]
        }));
        // To the queue, by mail from outside.
        let reply = Smtp::connect(&appliance, "mx").send("s@example.net", &["alice@mta.test"], &message);
        let said = match reply.code {
            250 => Then::Believed,
            400..500 => Then::Waits,
            _ => Then::Refused,
        };
        assert_eq!(said, *then, "{lie}: {reply:?}");
        // To the store, by APPEND. It counts no hops.
        let answer = imap.append("Sent", &message);
        assert_eq!(answer.ok(), *then != Then::Waits, "{lie}: {answer:?}");
        assert!(answer.ok() || answer.status.starts_with("NO"), "{lie}: {answer:?}");
        liar.says(truth());
        for (at, (mailbox, is_there)) in [("INBOX", said == Then::Believed), ("Sent", answer.ok())].into_iter().enumerate() {
            if is_there {
                there[at] += 1;
                eventually(lie, || (imap.count(mailbox) == there[at]).then_some(()));
                look(&appliance, mailbox, there[at], &message, lie);
            }
        }
    }
    assert_eq!(imap.count("INBOX"), there[0]);
    assert_eq!(pids(&appliance), before, "somebody was started again");
    let left = appliance.postern(&["queue", "list", "--json"], "").stdout;
    assert_eq!(String::from_utf8(left).unwrap().trim(), "[]");
}

/// Answers that are none.
fn no_answers() -> Vec<(&'static str, Say)> {
    let sealed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
    let null = || OwnedFd::from(fs::File::open("/dev/null").unwrap());
    let say = |what, answer: fn(&Asked) -> Vec<Packet>| -> (&'static str, Say) { (what, Box::new(answer)) };
    let in_memfd = move |what, size, seals| -> (&'static str, Say) {
        (what, Box::new(move |asked: &Asked| vec![with_fds(frame(RESPONSE, IN_MEMFD, asked.id, &[]), vec![memfd(size, seals)])]))
    };
    vec![
        say("the end of the connection", |_| Vec::new()),
        say("that it failed", |asked| {
            let body = if asked.for_queue { encode(&QueueResponse::Failed).unwrap() } else { vec![1] };
            vec![asked.answer(&body)]
        }),
        say("a refusal", |asked| vec![frame(6, 0, asked.id, &[])]),
        say("the answer to another question", |asked| {
            let body = if asked.for_queue { encode(&QueueResponse::SevenBit).unwrap() } else { vec![7] };
            vec![asked.answer(&body)]
        }),
        say("an answer to a question that nobody asked, and the end", |asked| {
            vec![frame(RESPONSE, 0, asked.id ^ 1, &asked.honest()), frame(9, 0, 0, &[])]
        }),
        say("a byte too many", |asked| vec![asked.answer(&[asked.honest(), vec![0]].concat())]),
        say("a byte too few", |asked| {
            let mut body = asked.honest();
            body.pop();
            vec![asked.answer(&body)]
        }),
        say("nothing but ends of numbers", |asked| vec![asked.answer(&[0xff; 64])]),
        say("a list of all that can be counted", |asked| {
            vec![asked.answer(&[[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f].as_slice(), &[0; 64]].concat())]
        }),
        say("a part of an answer", |asked| vec![frame(3, 0, asked.id, &asked.honest())]),
        say("an event", |asked| vec![frame(EVENT, 0, asked.id, &asked.honest())]),
        say("a question", |asked| vec![frame(REQUEST, 0, asked.id, &asked.honest())]),
        say("another greeting", |_| vec![hello("scan-queue", BUILD_ID)]),
        ("a descriptor more", Box::new(move |asked: &Asked| vec![with_fds(asked.answer(&asked.honest()), vec![null(), null()])])),
        in_memfd("zeros, as many as an answer may have", 8 * 1024 * 1024, sealed),
        in_memfd("a byte more than an answer may have", 8 * 1024 * 1024 + 1, sealed),
        in_memfd("a tebibyte that is not there", 1 << 40, sealed),
        in_memfd("what can be written", 64, SealFlags::GROW | SealFlags::SHRINK),
        in_memfd("what can shrink", 64, SealFlags::WRITE | SealFlags::GROW),
    ]
}

#[test]
fn what_is_no_answer_makes_mail_wait_and_nobody_fall() {
    let appliance = Appliance::mta_test();
    let before = pids(&appliance);
    let liar = Liar::start(&appliance);
    let mut imap = Imap::login(&appliance, "alice");
    for (lie, say) in no_answers() {
        liar.says(say);
        let reply = Smtp::connect(&appliance, "mx").send("s@example.net", &["alice@mta.test"], &message(0));
        assert!((400..500).contains(&reply.code), "{lie}: {reply:?}");
        let answer = imap.append("Sent", &message(0));
        assert!(answer.status.starts_with("NO"), "{lie}: {answer:?}");
    }
    // Who is honest is believed at once.
    liar.says(truth());
    let reply = Smtp::connect(&appliance, "mx").send("s@example.net", &["alice@mta.test"], &message(1));
    assert_eq!(reply.code, 250, "{reply:?}");
    assert!(imap.append("Sent", &message(1)).ok());
    eventually("the message", || (imap.count("INBOX") == 1).then_some(()));
    assert_eq!(imap.count("Sent"), 1);
    assert_eq!(pids(&appliance), before, "somebody was started again");
}

/// What is encoded here is what the real type decodes.
#[test]
fn an_honest_index_is_one() {
    let message = message(1);
    let wire::edge::scan_index::Response::Indexed(index) = wire::decode(&Index::honest(&message).encoded(false)).unwrap() else { panic!() };
    assert_eq!(*index, pure_mime::index(&message));
    assert!(Structure::new(index.structure.into()).is_ok());
}
