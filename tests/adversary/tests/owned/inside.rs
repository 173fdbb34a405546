//! Those that no stranger speaks to: in the place of each, on its edges, against a running appliance.

use super::{MARK, address, allowed, assert_refused, assert_shut_in, client, committed, edge, envelope, login, queued, read_mailbox};
use lying_peers::{Middle, Packet, Peer, REQUEST, RESPONSE, Say, Source, frame, shapes};
use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, socket_with},
    process::{Pid, Signal, kill_process},
};
use std::{
    collections::BTreeSet,
    fs,
    os::{fd::AsFd, unix::fs::PermissionsExt},
    process::Command,
};
use system::SERVICES;
use test_support::{Appliance, Imap, Smtp, World, eventually};
use wire::{
    Edge, List, MessageWriter, Session, decode,
    edge::{
        auth_directory::{self, AuthDirectory, Target},
        auth_login::{AuthForImap, AuthForSubmission},
        dns_scan::DnsForScan,
        keys_dkim::KeysDkim,
        keys_tls::{KeysForImap, KeysForSubmission},
        mail::{SessionId, Submitted},
        queue_grant::{self, QueueGrant},
        queue_submit::{self, QueueSubmit},
        scan_index::ScanForStore,
        send_deliver::{self, Outcome, Report, SendDeliver, Status, Trace},
        send_names::{self, SendNames},
        store_deliver::StoreDeliver,
        store_grant::{self, StoreGrant},
        store_session::{MailboxId, StoreSession},
    },
    encode,
};

/// What somebody writes, and what nobody but the two ends of a message and those who carry it may see.
const BODY: &str = "body-of-nobodys-business";
const SUBJECT: &str = "subject-of-nobodys-business";
const PASSWORD: &str = "secret-alice";
/// Requests of an edge that does not have as many are tried up to here.
const NUMBERS: u8 = 60;

/// Mail that leaves is offered to send at once.
fn world() -> World {
    let world = World::mta_test();
    World { config: world.config.replace("paused = true", "paused = false"), ..world }
}

/// A login and a message for somebody elsewhere.
fn send_away(appliance: &Appliance, to: &[&str]) {
    let mut smtp = Smtp::connect(appliance, "submissions");
    assert!(smtp.auth("alice@mta.test", PASSWORD).ok());
    let text = format!("From: alice@mta.test\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n");
    assert!(smtp.send("alice@mta.test", to, text.as_bytes()).ok());
}

/// Everything that there is to see: logins of both kinds, mail from outside, mail for here and for elsewhere, and reading it.
fn live(appliance: &Appliance) {
    let text = format!("From: s@example.net\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n");
    assert!(Smtp::connect(appliance, "mx").send("s@example.net", &["alice@mta.test"], text.as_bytes()).ok());
    send_away(appliance, &["alice@mta.test", "far@far.test"]);
    let mut imap = Imap::login(appliance, "alice");
    eventually("the messages", || (imap.count("INBOX") == 2).then_some(()));
    assert!(imap.messages("INBOX").iter().all(|message| String::from_utf8_lossy(message).contains(BODY)));
}

/// Lives behind ears at these edges; what they heard, edge by edge.
fn overheard(appliance: &Appliance, edges: &[&'static str]) -> Vec<(&'static str, Vec<u8>)> {
    let ears: Vec<(&str, Middle)> = edges.iter().copied().zip(Middle::on_each(appliance, edges)).collect();
    // Whoever was connected to who was there before finds the way here.
    eventually("served", || Smtp::try_submission(appliance, "alice").ok());
    live(appliance);
    let heard = |(edge, middle): &(&'static str, Middle)| {
        let (mut all, mut is_asked) = (Vec::new(), false);
        eventually(&format!("{edge} is used"), || {
            for seen in middle.seen() {
                is_asked |= seen.of_client && seen.bytes.first() == Some(&REQUEST);
                all.extend(seen.bytes);
            }
            is_asked.then_some(())
        });
        (*edge, all)
    };
    ears.iter().map(heard).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The edge has so many requests, and its server ends the connection of who asks another.
fn assert_requests(appliance: &Appliance, edge: &str, count: u8) {
    let shape = shapes().into_iter().find(|shape| shape.edge == edge && shape.what == "request").unwrap();
    let mut source = Source::new(5);
    let made: BTreeSet<u8> = (0..400).map(|_| (shape.make)(&mut source).unwrap()[0]).collect();
    assert_eq!(made, (0..count).collect(), "{edge}");
    for number in count..NUMBERS {
        for body in [vec![number], [&[number][..], &[1; 64]].concat()] {
            let peer = Peer::connect(appliance, edge);
            assert!(peer.is_greeted(edge));
            assert!(peer.send(&frame(REQUEST, 0, 1, &body)));
            assert!(peer.recv().is_none(), "{edge}: request {number} was answered");
        }
    }
}

fn edges_of(process: &str) -> BTreeSet<String> {
    let service = SERVICES.iter().find(|service| service.name == process).unwrap();
    service.calls.iter().map(|edge| format!("edge {edge}")).collect()
}

/// The edges that a process may connect to, and none of these.
fn assert_reaches_none_of(process: &str, edges: &[&str]) {
    let table = committed();
    assert_eq!(allowed(&table, process, &["edge "]), edges_of(process).iter().map(String::as_str).collect(), "{process}");
    let rows: Vec<String> = edges.iter().map(|edge| format!("edge {edge}")).collect();
    assert_refused(process, &rows.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Case IPC-06. It asks dns five things, in names; the rest of its line is what it is told, and what it answers: tests/lying-peers.
#[test]
fn owned_scan_asks_only_dns_and_in_names() {
    let appliance = Appliance::mta_test();
    assert_requests(&appliance, DnsForScan::NAME, 5);
    // What was read does not get past the limit of a name.
    let peer = Peer::connect(&appliance, DnsForScan::NAME);
    assert!(peer.is_greeted(DnsForScan::NAME));
    let name = [&[0][..], &encode(&vec![b'a'; 300]).unwrap()].concat();
    assert!(peer.send(&frame(REQUEST, 0, 1, &name)) && peer.recv().is_none(), "a name of 300 letters");
    assert_shut_in("scan", &[]);
    assert_reaches_none_of(
        "scan",
        &["queue-inbound", "queue-grant", "store-deliver", "store-grant", "send-deliver", "send-names", "keys-dkim"],
    );
    assert_refused("scan", &["list the state of queue", "list the state of store", "write /tmp", "write /dev/shm", "write /var/tmp"]);
}

/// Case IPC-07.
#[test]
fn owned_send_decides_only_what_it_was_given_and_asks_only_dns() {
    let appliance = Appliance::start(&world());
    let middle = Middle::start(&appliance, SendDeliver::NAME);
    let text = format!("From: s@example.net\r\nSubject: x\r\n\r\n{}\r\n", String::from_utf8_lossy(MARK));
    assert!(Smtp::connect(&appliance, "mx").send("s@example.net", &["bob@mta.test"], text.as_bytes()).ok());
    // Of the lease for one destination it says that everything is delivered, and that a stranger's TLS failed.
    middle.says(Say::Instead(Box::new(|asked| {
        let send_deliver::Request::Deliver(lease) = decode(&asked.body).unwrap() else { return None };
        if !format!("{:?}", lease.route).contains("one.test") {
            return None;
        }
        let delivered = || Outcome::Delivered {
            dsn: false,
            trace: Trace { status: Status(2, 0, 0), reply: None, text: pure_addr::Text::new("so it says").unwrap(), remote: None },
        };
        let results = List::new((0..1_000).map(|number| (number, delivered())).collect()).unwrap();
        let report = send_deliver::Response::Report(Box::new(Report { results, tls: List::default() }));
        Some(frame(RESPONSE, 0, asked.id, &encode(&report).unwrap()))
    })));
    send_away(&appliance, &["far@one.test", "far@two.test", "bob@mta.test"]);
    eventually("a lie", || (middle.told().0 > 0).then_some(()));
    // The other recipient is offered all the same, waits, and says why.
    let waits = eventually("what waits", || {
        let list = queued(&appliance);
        let id = list.split("\"id\":\"").nth(1).or_else(|| list.split("\"id\": \"").nth(1))?.split('"').next()?.to_owned();
        let shown = String::from_utf8(appliance.postern(&["queue", "show", "--json", &id], "").stdout).unwrap();
        (shown.contains("deferred") && !shown.contains("one.test")).then_some(shown)
    });
    assert!(waits.contains("far@two.test") && !waits.contains("bob@mta.test"), "{waits}");
    let mut bob = Imap::login(&appliance, "bob");
    eventually("mail for here", || (bob.count("INBOX") == 2).then_some(()));
    // It sees what leaves, and nothing that comes in or stays.
    let seen: Vec<u8> = middle.seen().into_iter().flat_map(|seen| seen.bytes).collect();
    assert!(contains(&seen, BODY) && !seen.windows(MARK.len()).any(|part| part == MARK) && !contains(&seen, PASSWORD));

    // In its place towards dns: whoever starts dns connects it to who listens there.
    let path = edge::<SendNames>(&appliance);
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mine = path.with_extension("mine");
    bind(&socket, &SocketAddrUnix::new(&mine).unwrap()).unwrap();
    listen(&socket, 16).unwrap();
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o777)).unwrap();
    fs::rename(&mine, &path).unwrap();
    let dns = || {
        appliance.kill("dns");
        let peer = Peer::of(accept(&socket).unwrap());
        assert!(peer.is_greeted(SendNames::NAME));
        peer
    };
    for number in [5, 6, 17, NUMBERS] {
        let peer = dns();
        assert!(peer.send(&frame(REQUEST, 0, 1, &[&[number][..], &[1; 64]].concat())));
        assert!(peer.recv().is_none(), "request {number} was answered");
    }
    let peer = dns();
    assert!(peer.send(&frame(REQUEST, 0, 1, &[&[0][..], &encode(&"remote.test").unwrap()].concat())));
    assert_eq!(peer.recv().unwrap().bytes.first(), Some(&RESPONSE), "what it may ask is answered");

    let network = ["TCP to port 25", "TCP to port 443", "TCP to port 25 by IPv6", "TCP to port 25 of this machine", "TCP: bind port 0"];
    assert_shut_in("send", &[&network[..], &["read postern.toml as it was given"]].concat());
    // It can connect to nobody here: dns is connected to it.
    assert_eq!(allowed(&committed(), "send", &["edge ", "unix: a", "unix: n"]), BTreeSet::new());
    assert_refused("send", &["TCP: listen", "unix: bind", "edge dns-scan", "edge keys-dkim", "edge queue-inbound", "edge store-grant"]);
}

#[test]
fn owned_dns_hears_names_and_asks_nobody() {
    let appliance = Appliance::start(&world());
    for (edge, heard) in overheard(&appliance, &[DnsForScan::NAME]) {
        assert!(contains(&heard, "example.net"), "{edge}");
        for secret in [BODY, SUBJECT, PASSWORD, "alice"] {
            assert!(!contains(&heard, secret), "{edge}: {secret}");
        }
    }
    // In its place towards send, while it stands still: it is asked for names, and may ask nothing.
    let dns = eventually("dns", || {
        let pid = appliance.pid("dns");
        fs::exists(format!("/proc/{pid}")).unwrap().then(|| Pid::from_raw(pid.try_into().unwrap()).unwrap())
    });
    kill_process(dns, Signal::STOP).unwrap();
    let peer = Peer::connect(&appliance, SendNames::NAME);
    assert!(peer.is_greeted(SendNames::NAME));
    send_away(&appliance, &["far@named.test"]);
    loop {
        let asked = peer.recv().unwrap().bytes;
        assert_eq!(asked.first(), Some(&REQUEST));
        for secret in [BODY, SUBJECT, PASSWORD, "alice", "far@"] {
            assert!(!contains(&asked, secret), "{secret}");
        }
        if contains(&asked, "named.test") {
            break;
        }
        // Of ours, before it asks for others.
        let none = encode(&send_names::Response::None { secure: false, no_name: false }).unwrap();
        assert!(peer.send(&Packet { bytes: [&[RESPONSE], &asked[1..6], &none].concat(), fds: Vec::new() }));
    }
    assert!(peer.send(&frame(REQUEST, 0, 1, &[&[0][..], &encode(&"remote.test").unwrap()].concat())));
    while let Some(packet) = peer.recv() {
        assert_eq!(packet.bytes.first(), Some(&REQUEST), "send answers dns");
    }
    kill_process(dns, Signal::CONT).unwrap();
    let network = ["TCP to port 53", "UDP to port 53", "UDP to port 9", "UDP: receive on port 5353", "TCP: bind port 0"];
    assert_shut_in("dns", &[&network[..], &["read postern.toml as it was given"]].concat());
    assert_reaches_none_of(
        "dns",
        &["send-names", "scan-queue", "queue-inbound", "store-grant", "auth-directory", "keys-dkim", "auth-imap"],
    );
}

#[tokio::test]
async fn owned_store_sends_nothing_and_hears_no_password() {
    let appliance = Appliance::start(&world());
    assert_requests(&appliance, ScanForStore::NAME, 1);
    for (edge, heard) in overheard(&appliance, &[StoreGrant::NAME, StoreDeliver::NAME]) {
        assert!(!contains(&heard, PASSWORD) && !contains(&heard, "$argon2"), "{edge}");
        // It holds all mail: what comes for it passes here.
        assert_eq!(contains(&heard, BODY), edge == StoreDeliver::NAME, "{edge}");
    }
    // What it may grant is a session of its own, of which nobody takes mail to send.
    let fd = login::<AuthForImap>(&appliance, "alice@mta.test", PASSWORD).await.unwrap();
    assert!(Session::<QueueSubmit>::new(fd).await.is_err());
    assert_shut_in("store", &["read postern.toml as it was given", "list the state of store", "write into the state of store"]);
    let others =
        ["queue-inbound", "queue-grant", "queue-control", "send-deliver", "send-names", "scan-queue", "auth-directory", "auth-control"];
    assert_reaches_none_of("store", &others);
    assert_reaches_none_of("store", &["keys-dkim", "keys-control", "keys-tls-mx", "keys-tls-submission", "keys-tls-imap"]);
    assert_refused(
        "store",
        &["read auth.db", "read the TLS key of keys", "list the state of queue", "list the state of keys", "TCP to port 25"],
    );
}

#[tokio::test]
async fn owned_auth_gets_sessions_and_no_key() {
    let appliance = Appliance::mta_test();
    assert!(Imap::login(&appliance, "bob").append("INBOX", &[b"Subject: x\r\n\r\n", MARK, b"\r\n"].concat()).ok());
    // Two requests at the store and two at the queue: a session for an account, and its end.
    assert_requests(&appliance, StoreGrant::NAME, 2);
    assert_requests(&appliance, QueueGrant::NAME, 2);
    // With them it has everything of everybody, as SECURITY.md says.
    let resolve = auth_directory::Request::Resolve(address("bob@mta.test"));
    let auth_directory::Response::Targets(targets) = client::<AuthDirectory>(&appliance).call(&resolve, &[]).await.unwrap().body else {
        panic!("bob is not known");
    };
    let Some(Target::Account { owner, .. }) = targets.first().cloned() else { panic!("bob has no account") };
    let request = store_grant::Request::Session { owner: owner.clone(), session: SessionId(1) };
    let mut reply = client::<StoreGrant>(&appliance).call(&request, &[]).await.unwrap();
    let mut session = Session::<StoreSession>::new(reply.fds.pop().unwrap()).await.unwrap();
    let mut seen = Vec::new();
    for mailbox in 0..64 {
        read_mailbox(&mut session, MailboxId(mailbox), &mut seen).await;
    }
    assert!(seen.windows(MARK.len()).any(|part| part == MARK));
    let request = queue_grant::Request::Session { owner, session: SessionId(1) };
    let mut reply = client::<QueueGrant>(&appliance).call(&request, &[]).await.unwrap();
    let mut session = Session::<QueueSubmit>::new(reply.fds.pop().unwrap()).await.unwrap();
    let message = MessageWriter::sealed(b"From: bob@mta.test\r\nSubject: x\r\n\r\nx\r\n").unwrap();
    let request = queue_submit::Request::Submit(Box::new(envelope("bob@mta.test", &["admin@mta.test"])));
    let reply = session.call(&request, &[message.as_fd()]).await.unwrap();
    assert!(matches!(reply.body, queue_submit::Response::Submitted(Submitted::Accepted(_))), "{reply:?}");
    // And no key: there is no way to who has them, and no file.
    assert_reaches_none_of("auth", &["keys-dkim", "keys-control", "keys-tls-mx", "keys-tls-submission", "keys-tls-imap"]);
    assert_reaches_none_of(
        "auth",
        &["queue-inbound", "queue-control", "store-deliver", "scan-queue", "scan-store", "dns-scan", "send-deliver"],
    );
    let own = ["list the state of auth", "write into the state of auth", "read auth.db", "read postern.toml as it was given"];
    assert_shut_in("auth", &own);
    assert_refused("auth", &["read the TLS key of keys", "list the state of keys", "list the state of store", "list the state of queue"]);
    assert_refused("auth", &["TCP to port 25", "TCP to port 443", "UDP to port 53"]);
}

#[test]
fn owned_keys_asks_nobody_and_hears_neither_mail_nor_passwords() {
    let appliance = Appliance::start(&world());
    let edges = [KeysForImap::NAME, KeysForSubmission::NAME, KeysDkim::NAME];
    for (edge, heard) in overheard(&appliance, &edges) {
        for secret in [BODY, PASSWORD] {
            assert!(!contains(&heard, secret), "{edge}: {secret}");
        }
        // Of mail that leaves it sees the header fields that it signs.
        assert_eq!(contains(&heard, SUBJECT), edge == KeysDkim::NAME, "{edge}");
    }
    let own = ["list the state of keys", "write into the state of keys", "read the TLS key of keys", "read postern.toml as it was given"];
    assert_shut_in("keys", &own);
    let every: Vec<&str> = SERVICES.iter().flat_map(|service| service.serves).copied().collect();
    assert_reaches_none_of("keys", &every);
    assert_refused(
        "keys",
        &["read auth.db", "list the state of store", "list the state of queue", "TCP to port 25", "TCP to port 443", "UDP to port 53"],
    );
}

/// Of auth the queue learns who lives where, and nothing that opens an account.
#[test]
fn owned_queue_hears_no_password_from_auth() {
    let appliance = Appliance::start(&world());
    assert_requests(&appliance, AuthDirectory::NAME, 3);
    assert_requests(&appliance, KeysDkim::NAME, 2);
    for (edge, heard) in overheard(&appliance, &[AuthDirectory::NAME, QueueGrant::NAME]) {
        assert!(contains(&heard, "alice"), "{edge}");
        for secret in [PASSWORD, "$argon2", "SCRAM"] {
            assert!(!contains(&heard, secret), "{edge}: {secret}");
        }
    }
    // The search sees what is there: at the edges of logins it passes.
    let heard = overheard_of_logins();
    assert!(heard.iter().all(|(_, heard)| contains(heard, PASSWORD)));
}

fn overheard_of_logins() -> Vec<(&'static str, Vec<u8>)> {
    overheard(&Appliance::start(&world()), &[AuthForImap::NAME, AuthForSubmission::NAME])
}

/// As the user of each daemon: under `up` that root has started, the sockets of the edges open to their callers and to nobody else.
#[test]
fn the_user_of_a_process_opens_the_edges_that_it_calls() {
    const TRY: &str = "import socket, sys\nfor path in sys.argv[1:]:\n s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n \
                       try: s.connect(path)\n except OSError: pass\n else: print(path.split('/')[-2])";
    // Debian's own, which every user may start.
    const PYTHON: &str = "/usr/bin/python3";
    if !rustix::process::geteuid().is_root() {
        return test_support::skip("not root: all daemons have one user, and only their mount namespaces keep them apart");
    }
    let appliance = Appliance::mta_test();
    let edges: Vec<&str> = SERVICES.iter().flat_map(|service| service.serves).copied().collect();
    let paths: Vec<_> = edges.iter().map(|edge| appliance.state().join("run").join(edge).join("sock")).collect();
    for service in SERVICES {
        let status = fs::read_to_string(format!("/proc/{}/status", appliance.pid(service.name))).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace().map(str::to_owned);
        let (user, group) = (field("Uid:").next().unwrap(), field("Gid:").next().unwrap());
        assert_ne!(user, "0", "{}", service.name);
        let groups = field("Groups:").collect::<Vec<_>>().join(",");
        let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={groups}") };
        let tried = Command::new("setpriv").args(["--reuid", &user, "--regid", &group, &groups, PYTHON, "-c", TRY]).args(&paths).output();
        let tried = tried.unwrap();
        assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));
        let opened: BTreeSet<String> = String::from_utf8(tried.stdout).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(opened, service.calls.iter().map(|edge| (*edge).to_owned()).collect(), "{}", service.name);
    }
}
