//! A taken-over server on every edge: whatever it answers, its real clients lose that connection, say so once, and serve everybody else.
//!
//! Scan has tests of its own, in `scan.rs` and `signing.rs`, and so have who comes to send in the place of dns, in `peers.rs`, and those whom
//! the operator asks, in `operator.rs`; here are all the others, by what is seen from outside.

use lying_peers::{Asked, EVENT, HELLO, Middle, PARTIAL, Packet, REQUEST, RESPONSE, Say, Shape, Source, answers, frame, hello, shapes};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    sync::atomic::{AtomicUsize, Ordering},
};
use test_support::{Appliance, Connection, Imap, Smtp, World, eventually, peak};
use wire::{
    BUILD_ID, Edge, List, decode,
    edge::{
        auth_directory::AuthDirectory,
        auth_login::{AuthForImap, AuthForSubmission},
        dns_scan::DnsForScan,
        keys_dkim::KeysDkim,
        keys_tls::{KeysForImap, KeysForMx, KeysForSubmission},
        queue_grant::QueueGrant,
        queue_inbound::QueueInbound,
        queue_submit::QueueSubmit,
        send_deliver::SendDeliver,
        store_deliver::StoreDeliver,
        store_grant::StoreGrant,
        store_session::{Event, MailboxId, ModSeq, Request, Response, StoreSession, UidRange},
    },
    encode,
};

/// What lies may add to the most that a daemon ever used, in KiB.
const MOST_KIB: u64 = 256 * 1024;
/// An answer within an edge that has events too, and an event.
const ANSWER: &[u8] = &[0];
const UNASKED: &[u8] = &[1];
/// Messages are told apart by it.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

fn next() -> usize {
    NUMBER.fetch_add(1, Ordering::SeqCst)
}

/// Mail that leaves is offered to send at once, and there is no name server.
fn world() -> World {
    let world = World::mta_test();
    World { config: world.config.replace("paused = true", "paused = false"), ..world }
}

/// Connects, logs in, opens a mailbox and reads what is in it. Whether all of it was served.
fn read_mail(appliance: &Appliance) -> bool {
    let read = || -> io::Result<bool> {
        let mut connection = Connection::plain(appliance, "imaps");
        connection.start_tls()?;
        for command in [
            "",
            "a LOGIN alice@mta.test secret-alice",
            "b SELECT INBOX",
            "c FETCH 1:* (UID BODY.PEEK[])",
            "d LIST \"\" *",
            "e SEARCH BODY x",
            // Nothing is changed: everything is younger.
            "f UID STORE 1:* (UNCHANGEDSINCE 1) FLAGS (\\Seen)",
        ] {
            let tag = command.split(' ').next().unwrap_or_default();
            if !tag.is_empty() {
                connection.send(format!("{command}\r\n").as_bytes())?;
            }
            loop {
                let line = connection.line()?;
                match line.as_slice() {
                    [] | [b'*', b' ', b'B', b'Y', b'E', ..] => return Ok(false),
                    line if tag.is_empty() && line.starts_with(b"* OK") => break,
                    line if !tag.is_empty() && line.starts_with(format!("{tag} ").as_bytes()) => {
                        if !line.starts_with(format!("{tag} OK").as_bytes()) {
                            return Ok(false);
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
        Ok(true)
    };
    read().unwrap_or(false)
}

fn submit(appliance: &Appliance, to: &str) -> io::Result<bool> {
    let mut connection = Connection::plain(appliance, "submissions");
    connection.start_tls()?;
    let mut smtp = Smtp { connection };
    let good = smtp.reply()?.code == 220 && smtp.try_command("EHLO client.remote.test")?.code == 250;
    let plain = "AUTH PLAIN AGFsaWNlQG10YS50ZXN0AHNlY3JldC1hbGljZQ==";
    if !good || smtp.try_command(plain)?.code != 235 {
        return Ok(false);
    }
    let text = format!("From: alice@mta.test\r\nSubject: number {}\r\n\r\nx\r\n", next());
    Ok(smtp.try_send("alice@mta.test", &[to], text.as_bytes())?.code == 250)
}

fn send_here(appliance: &Appliance) -> bool {
    submit(appliance, "bob@mta.test").unwrap_or(false)
}

/// To a destination of its own: nothing that was known of another one holds it up.
fn send_away(appliance: &Appliance) -> bool {
    submit(appliance, &format!("far@far-{}.test", next())).unwrap_or(false)
}

/// From outside, within TLS.
fn arrive(appliance: &Appliance) -> bool {
    let arrive = || -> io::Result<bool> {
        let mut smtp = Smtp::try_connect(appliance, "mx")?;
        if smtp.try_command("STARTTLS")?.code != 220 {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        smtp.connection.start_tls()?;
        let text = format!("From: s@example.net\r\nSubject: number {}\r\n\r\nx\r\n", next());
        Ok(smtp.try_command("EHLO client.remote.test")?.code == 250
            && smtp.try_send("s@example.net", &["bob@mta.test"], text.as_bytes())?.code == 250)
    };
    arrive().unwrap_or(false)
}

/// From a domain that nobody has asked for yet.
fn arrive_from_elsewhere(appliance: &Appliance) -> bool {
    let from = format!("s@example-{}.net", next());
    let text = format!("From: {from}\r\nSubject: x\r\n\r\nx\r\n");
    let arrive =
        || -> io::Result<bool> { Ok(Smtp::try_connect(appliance, "mx")?.try_send(&from, &["bob@mta.test"], text.as_bytes())?.code == 250) };
    arrive().unwrap_or(false)
}

/// Nobody lives there, which only the directory knows.
fn ask_for_nobody(appliance: &Appliance) -> bool {
    let ask = || -> io::Result<bool> {
        let mut smtp = Smtp::try_connect(appliance, "mx")?;
        let known = smtp.try_command("MAIL FROM:<s@example.net>")?.code == 250;
        Ok(known && smtp.try_command(&format!("RCPT TO:<nobody-{}@mta.test>", next()))?.code == 550)
    };
    ask().unwrap_or(false)
}

/// An edge, whose server lies.
struct Case {
    /// What is answered on it.
    edge: &'static str,
    /// Which edge brings its sockets, where they have no name.
    granted_by: Option<&'static str>,
    /// The client.
    daemon: &'static str,
    /// Makes the client ask; whether it was served.
    asks: fn(&Appliance) -> bool,
    /// Whether a lie shows in that.
    shows: bool,
}

impl Case {
    fn before(&self) -> &'static [u8] {
        if self.granted_by.is_some() { ANSWER } else { &[] }
    }

    /// Lines of the log that say that a connection of this edge has ended by what the other end said.
    fn complaints(&self, appliance: &Appliance) -> usize {
        let log = appliance.log(self.daemon);
        let of_edge = format!("edge=\"{}\"", self.edge);
        let says = |line: &&str| match self.granted_by {
            None => line.contains("connection to server ended") && line.contains(&of_edge),
            Some(_) => line.contains("malformed frame"),
        };
        log.lines().filter(says).count()
    }

    fn shape(&self) -> Shape {
        shapes().into_iter().find(|shape| shape.edge == self.edge && shape.what == "response").unwrap()
    }

    fn answers(&self, id: u32) -> Vec<(&'static str, Vec<Packet>)> {
        answers(&self.shape(), &shapes(), self.before(), id, &mut Source::new(17))
    }

    /// What is wrong with a greeting.
    fn greetings(&self) -> Vec<(&'static str, Vec<Packet>)> {
        let first = |kind| frame(kind, 0, 0, &encode(&(self.edge, BUILD_ID)).unwrap());
        vec![
            ("another edge", vec![hello("nobody-nothing", BUILD_ID)]),
            ("an answer for a greeting", vec![first(RESPONSE)]),
            ("a request for a greeting", vec![first(REQUEST)]),
            ("garbage", vec![Packet { bytes: vec![0xff; 100], fds: Vec::new() }]),
            ("a line of text", vec![Packet { bytes: b"220 mail ESMTP\r\n".to_vec(), fds: Vec::new() }]),
            ("half a greeting", vec![Packet { bytes: vec![HELLO, 0, 0], fds: Vec::new() }]),
            // Last: who finds that the others are newer may end, to be started anew.
            ("another build", vec![hello(self.edge, "x")]),
        ]
    }

    fn run(&self) {
        let appliance = Appliance::start(&world());
        assert!(Imap::login(&appliance, "alice").append("INBOX", b"Subject: first\r\n\r\nx\r\n").ok());
        let middle = match self.granted_by {
            Some(grant) => Middle::of_sessions(&appliance, grant),
            None => Middle::start(&appliance, self.edge),
        };
        let served = |after: &str| eventually(&format!("{}: served after {after}", self.edge), || (self.asks)(&appliance).then_some(()));
        let quiet = || eventually("the end of each lie", || (middle.told().0 == middle.told().1).then_some(()));
        served("the beginning");
        let mut other = Imap::login(&appliance, "bob");
        let (pid, logged) = (appliance.pid(self.daemon), self.complaints(&appliance));
        let least = peak(pid);
        let count = self.answers(1).len();
        assert!(count > 20, "{}", self.edge);
        for number in 0..count {
            let what = self.answers(1).swap_remove(number).0;
            let before = middle.told().0;
            let case = Self { ..*self };
            middle.says(Say::Answer(Box::new(move |asked: &Asked| Some(case.answers(asked.id).swap_remove(number).1))));
            let was_served = (self.asks)(&appliance);
            assert!(!was_served || !self.shows, "{}: {what} was taken for an answer", self.edge);
            eventually(&format!("{}: {what}: nobody asks", self.edge), || (middle.told().0 > before).then_some(()));
            middle.says(Say::Truth);
            other.count("INBOX");
            served(what);
            // Who has found its connection dead keeps no end of it once it has another.
            quiet();
        }
        eventually("one line in the log for each lie", || (self.complaints(&appliance) - logged >= middle.told().0).then_some(()));
        assert_eq!(self.complaints(&appliance) - logged, middle.told().0, "{}: one line for each lie", self.edge);
        assert_eq!(appliance.pid(self.daemon), pid, "{} was started again", self.daemon);
        let grown = peak(pid).saturating_sub(least);
        assert!(grown < MOST_KIB, "{}: {grown} KiB more than before", self.daemon);
        let complaints = || {
            let log = appliance.log(self.daemon);
            ["another edge", "no hello", "malformed frame", "another build"].map(|words| log.matches(words).count()).iter().sum::<usize>()
        };
        let said = complaints();
        for (number, (what, _)) in self.greetings().into_iter().enumerate() {
            middle.says(Say::Greeting(self.greetings().swap_remove(number).1));
            let before = middle.told().0;
            // The first question may only find out that who was greeted before is gone.
            eventually(&format!("{}: {what}: nobody comes", self.edge), || {
                let was_served = (self.asks)(&appliance);
                assert!(!was_served || !self.shows, "{}: greeted by {what}", self.edge);
                (middle.told().0 > before).then_some(())
            });
            middle.says(Say::Truth);
            served(what);
            if what != "another build" {
                assert_eq!(appliance.pid(self.daemon), pid, "{} was started again", self.daemon);
                other.count("INBOX");
            }
        }
        // Before a login there is no session that could be named.
        assert!(complaints() > said || self.edge == StoreSession::NAME, "{}: nobody says why", self.edge);
        assert!(read_mail(&appliance) && send_here(&appliance));
    }
}

macro_rules! liars {
    ($($name:ident: $edge:ty $(, by $grant:ty)?; $daemon:literal, $asks:ident, $shows:literal)*) => {
        /// The edges that are lied on here.
        const LIED_ON: &[&str] = &[$(<$edge>::NAME),*];
        $(
        #[test]
        fn $name() {
            #[allow(unused_mut, unused_assignments, reason = "for most edges it stays none")]
            let mut granted_by = None;
            $(granted_by = Some(<$grant>::NAME);)?
            Case { edge: <$edge>::NAME, granted_by, daemon: $daemon, asks: $asks, shows: $shows }.run();
        }
        )*
    };
}

liars! {
    keys_lies_to_imap: KeysForImap; "imap", read_mail, true
    keys_lies_to_submission: KeysForSubmission; "submission", send_here, true
    keys_lies_to_mx: KeysForMx; "mx", arrive, true
    keys_lies_to_queue: KeysDkim; "queue", send_away, false
    auth_lies_to_imap: AuthForImap; "imap", read_mail, true
    auth_lies_to_submission: AuthForSubmission; "submission", send_here, true
    auth_lies_to_queue: AuthDirectory; "queue", ask_for_nobody, true
    queue_lies_to_mx: QueueInbound; "mx", arrive, true
    queue_lies_to_auth: QueueGrant; "auth", send_here, true
    queue_lies_to_a_session: QueueSubmit, by QueueGrant; "submission", send_here, true
    store_lies_to_auth: StoreGrant; "auth", read_mail, true
    store_lies_to_queue: StoreDeliver; "queue", send_here, false
    store_lies_to_a_session: StoreSession, by StoreGrant; "imap", read_mail, true
    send_lies_to_queue: SendDeliver; "queue", send_away, false
    dns_lies_to_scan: DnsForScan; "scan", arrive_from_elsewhere, false
}

/// Every edge with a server has its liar: here, or where it is said.
#[test]
fn every_server_is_lied_for() {
    const ELSEWHERE: [&str; 6] = ["scan-queue", "scan-store", "send-names", "auth-control", "keys-control", "queue-control"];
    let known = shapes().into_iter().map(|shape| shape.edge).filter(|edge| !ELSEWHERE.contains(edge));
    assert_eq!(LIED_ON.iter().copied().collect::<BTreeSet<&str>>(), known.collect());
}

/// Nothing that was accepted while send, keys or the store lied is lost, and what is for here arrives once.
#[test]
fn what_was_accepted_while_servers_lied_arrives_once() {
    let appliance = Appliance::start(&world());
    let middle = Middle::start(&appliance, StoreDeliver::NAME);
    let shape = shapes().into_iter().find(|shape| shape.edge == StoreDeliver::NAME && shape.what == "response").unwrap();
    let count = answers(&shape, &shapes(), &[], 1, &mut Source::new(17)).len();
    for number in 0..count {
        let before = middle.told().0;
        middle.says(Say::Answer(Box::new(move |asked: &Asked| {
            Some(answers(&shape, &shapes(), &[], asked.id, &mut Source::new(17)).swap_remove(number).1)
        })));
        assert!(send_here(&appliance));
        eventually("a delivery", || (middle.told().0 > before).then_some(()));
    }
    middle.says(Say::Truth);
    let mut bob = Imap::login(&appliance, "bob");
    eventually("each of them", || (bob.count("INBOX") >= count).then_some(()));
    eventually("an empty queue", || (appliance.postern(&["queue", "list", "--json"], "").stdout.trim_ascii() == b"[]").then_some(()));
    assert_eq!(bob.count("INBOX"), count);
}

/// What it is, to which questions, and the frame that comes over and over.
type Flood = (&'static str, fn(&Request) -> bool, u8, Vec<u8>);

/// An answer, and events, that do not end: whoever listens has a limit.
#[test]
fn an_answer_without_an_end_takes_no_more_than_its_session() {
    let appliance = Appliance::start(&world());
    assert!(Imap::login(&appliance, "alice").append("INBOX", b"Subject: first\r\n\r\nx\r\n").ok());
    let middle = Middle::of_sessions(&appliance, StoreGrant::NAME);
    eventually("served", || read_mail(&appliance).then_some(()));
    let uids = |first: u32| List::new((0..2_000).map(|at| UidRange { first: first + 3 * at, last: first + 3 * at }).collect()).unwrap();
    let body = |response: &Response| [ANSWER, &encode(response).unwrap()].concat();
    let floods: Vec<Flood> = vec![
        ("uids", |_| true, PARTIAL, body(&Response::Uids(uids(1)))),
        ("uids that match", |asked| matches!(asked, Request::Search { .. }), PARTIAL, body(&Response::Uids(uids(1)))),
        ("mailboxes of a list", |asked| matches!(asked, Request::Mailboxes), PARTIAL, body(&Response::Mailboxes(List::default()))),
        ("rows of a message", |asked| matches!(asked, Request::Fetch { .. }), PARTIAL, body(&Response::Rows(List::default()))),
        ("uids that are gone", |_| true, PARTIAL, body(&Response::Vanished(uids(1)))),
        ("rows", |_| true, PARTIAL, body(&Response::Rows(List::default()))),
        ("what was modified", |asked| matches!(asked, Request::SetFlags { .. }), PARTIAL, body(&Response::Modified(uids(1)))),
        ("rows of a change", |asked| matches!(asked, Request::SetFlags { .. }), PARTIAL, body(&Response::Rows(List::default()))),
        ("mailboxes", |_| true, PARTIAL, body(&Response::Mailboxes(List::default()))),
        ("ends", |_| true, PARTIAL, body(&Response::Done)),
        ("events", |_| true, EVENT, [UNASKED, &encode(&Event::Changed(MailboxId(1), ModSeq(7))).unwrap()].concat()),
    ];
    for (what, of, kind, body) in floods {
        // Each with a process of its own: the most that it ever had is what shows.
        let last = appliance.pid("imap");
        appliance.kill("imap");
        let pid = eventually("another imap", || {
            Some(appliance.pid("imap")).filter(|pid| *pid != last && fs::exists(format!("/proc/{pid}")).unwrap())
        });
        eventually("served", || read_mail(&appliance).then_some(()));
        let mut other = Imap::login(&appliance, "bob");
        let (told, least) = (middle.told().0, peak(pid));
        middle.says(Say::Flood(Box::new(move |asked| of(&decode(&asked.body).unwrap()).then(|| frame(kind, 0, asked.id, &body)))));
        assert!(!read_mail(&appliance), "{what} was taken for an answer");
        assert!(middle.told().0 > told);
        middle.says(Say::Truth);
        other.count("INBOX");
        assert!(read_mail(&appliance), "{what}");
        eventually("the end of each lie", || (middle.told().0 == middle.told().1).then_some(()));
        assert_eq!(appliance.pid("imap"), pid, "{what}");
        let grown = peak(pid).saturating_sub(least);
        assert!(grown < MOST_KIB, "{what}: {grown} KiB more than before");
    }
}
