//! If a process is taken over: what must still hold, one test for each line of SECURITY.md.
//!
//! The attacker holds the real edges of that process and writes whatever they can carry, against a running appliance; it takes down what the
//! process is told. That it reaches no other edge, file or network is what `expected/both.txt` says: the tests here look there too, for acts
//! that must be among those that were tried. Those that strangers speak to are here, and the queue; the others are in `owned/inside.rs`.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

#[path = "owned/inside.rs"]
mod inside;

use adversary::{Cell, Table};
use pure_addr::{Address, MailboxName, ReversePath, Text};
use rustix::fs::{OFlags, fcntl_getfl};
use serde_bytes::ByteBuf;
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use system::SERVICES;
use test_support::{Appliance, Connection, Imap, Smtp, peak};
use tokio::task::JoinSet;
use wire::{
    Client, Conn, Edge, Error, List, MessageWriter, Session,
    edge::{
        auth_control::AuthControl,
        auth_directory::{self, AuthDirectory},
        auth_login::{self, AuthForImap, AuthForSubmission, Login, Mechanism},
        dns_scan::DnsForScan,
        keys_control::KeysControl,
        keys_dkim::{self, KeysDkim, SignedField, SigningInput},
        keys_tls::{self, KeysForImap, KeysForMx, KeysForSubmission, SignInput},
        mail::{Body, Envelope, Reason, Recipient, RecipientVerdict, SessionId, Submitted},
        queue_control::QueueControl,
        queue_grant::QueueGrant,
        queue_inbound::{self, QueueInbound},
        queue_submit::{self, QueueSubmit},
        scan_index::{ScanForQueue, ScanForStore},
        send_deliver::SendDeliver,
        send_names::SendNames,
        store_deliver::StoreDeliver,
        store_grant::StoreGrant,
        store_session::{self, MailboxId, StoreSession, UidRange, Want},
    },
};

const MARK: &[u8] = b"marked-as-bobs-own";

fn edge<E: Edge>(appliance: &Appliance) -> PathBuf {
    appliance.state().join("run").join(E::NAME).join("sock")
}

fn client<E: Edge>(appliance: &Appliance) -> Client<E> {
    Client::new(edge::<E>(appliance))
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn path(text: &str) -> ReversePath {
    if text.is_empty() { ReversePath::Null } else { ReversePath::Address(address(text)) }
}

fn envelope(from: &str, to: &[&str]) -> Envelope {
    let recipient = |to: &&str| Recipient { address: address(to), notify: None, orcpt: None };
    Envelope {
        session: SessionId(1),
        peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        helo: Text::new("liar.example.net").unwrap(),
        extended: true,
        smtputf8: false,
        tls: None,
        reverse_path: path(from),
        body: Body::SevenBit,
        ret: None,
        envid: None,
        require_tls: false,
        recipients: List::new(to.iter().map(recipient).collect()).unwrap(),
    }
}

/// As the front end does: the password goes to `auth`, a socket comes back.
async fn login<E: Login>(appliance: &Appliance, account: &str, password: &str) -> Result<OwnedFd, auth_login::Response> {
    let request = auth_login::Request::Start {
        session: SessionId(1),
        peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        mechanism: Mechanism::Plain,
        initial: format!("\0{account}\0{password}").into_bytes().into(),
        channel_binding: None,
    };
    let mut reply = client::<E>(appliance).call(&request, &[]).await.unwrap();
    match (&reply.body, reply.fds.pop()) {
        (auth_login::Response::Success { .. }, Some(fd)) => Ok(fd),
        (_, None) => Err(reply.body),
        other => panic!("a socket without success: {other:?}"),
    }
}

fn queued(appliance: &Appliance) -> String {
    let output = appliance.postern(&["queue", "list", "--json"], "");
    String::from_utf8(output.stdout).unwrap()
}

fn committed() -> Table {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected/both.txt");
    Table::parse(&fs::read_to_string(file).unwrap()).unwrap()
}

/// The acts of these kinds that a process was allowed. Something of each kind was tried.
fn allowed<'a>(table: &'a Table, process: &str, kinds: &[&str]) -> BTreeSet<&'a str> {
    assert!(table.processes.iter().any(|name| name == process), "{process} is not in the table");
    for kind in kinds {
        assert!(table.acts.iter().any(|(act, _)| act.starts_with(kind)), "{kind}: nothing of the kind was tried");
    }
    table.allowed(process).into_iter().filter(|act| kinds.iter().any(|kind| act.starts_with(kind))).collect()
}

/// Files of others, other processes, other code and a network: nothing of it, but what is named.
fn assert_shut_in(process: &str, may: &[&str]) {
    let kinds = ["read ", "list ", "write ", "TCP", "UDP", "MPTCP", "unix: ", "ptrace", "process_vm", "kill", "exec", "mmap", "mprotect"];
    let table = committed();
    let mut found = allowed(&table, process, &kinds);
    // The two ends of a pair are its own.
    found.remove("unix: stream pair");
    assert_eq!(found, may.iter().copied().collect(), "{process}");
}

/// These acts were tried in a process, and it cost it its life or was refused.
fn assert_refused(process: &str, acts: &[&str]) {
    let table = committed();
    let column = table.processes.iter().position(|name| name == process).unwrap();
    for act in acts {
        let (_, cells) = table.acts.iter().find(|(name, _)| name == act).unwrap_or_else(|| panic!("{act} was not tried"));
        assert_ne!(cells[column], Cell::Allowed, "{process}: {act}");
    }
}

/// Case IPC-03.
#[tokio::test]
async fn owned_mx_relays_nothing_and_reads_no_mail() {
    let appliance = Appliance::mta_test();
    let message = [b"From: s@example.net\r\nSubject: x\r\n\r\n", MARK, b"\r\n"].concat();
    Smtp::connect(&appliance, "mx").send("s@example.net", &["bob@mta.test"], &message);
    let queue = client::<QueueInbound>(&appliance);
    for from in ["", "alice@mta.test", "stranger@example.net"] {
        for (to, verdict) in [("bob@mta.test", RecipientVerdict::Accept), ("victim@remote.test", RecipientVerdict::NoRelay)] {
            let request = queue_inbound::Request::Recipient { reverse_path: path(from), recipient: address(to) };
            let reply = queue.call(&request, &[]).await.unwrap();
            assert_eq!(reply.body, queue_inbound::Response::Recipient(verdict), "{from} {to}");
            assert!(reply.fds.is_empty());
        }
        // It did not ask, or did not listen.
        let message = MessageWriter::sealed(b"From: alice@mta.test\r\nSubject: relay\r\n\r\nx\r\n").unwrap();
        for to in [&["victim@remote.test"][..], &["bob@mta.test", "victim@remote.test"], &["victim@remote.test", "nobody@mta.test"]] {
            let reply = queue.call(&queue_inbound::Request::Submit(Box::new(envelope(from, to))), &[message.as_fd()]).await.unwrap();
            assert!(reply.fds.is_empty(), "{reply:?}");
            if !to.contains(&"bob@mta.test") {
                let refused = queue_inbound::Response::Submitted(Submitted::Rejected(Reason::NoRecipient));
                assert_eq!(reply.body, refused, "{from} {to:?}");
            }
            assert!(!queued(&appliance).contains("remote.test"), "{from} {to:?}: {}", queued(&appliance));
        }
    }
    assert_shut_in("mx", &[]);
}

#[tokio::test]
async fn owned_submission_has_nobody_elses_account() {
    let appliance = Appliance::mta_test();
    assert!(login::<AuthForSubmission>(&appliance, "bob@mta.test", "guess").await.is_err());
    let mut session =
        Session::<QueueSubmit>::new(login::<AuthForSubmission>(&appliance, "alice@mta.test", "secret-alice").await.unwrap()).await.unwrap();
    for (from, may) in [("alice@mta.test", true), ("bob@mta.test", false), ("a@example.net", false)] {
        let reply = session.call(&queue_submit::Request::Sender(path(from)), &[]).await.unwrap();
        assert_eq!(reply.body, queue_submit::Response::Sender(Some(may)), "{from}");
    }
    // It did not ask, or did not listen.
    for (from, header, reason) in [
        ("bob@mta.test", "bob@mta.test", Reason::Sender),
        ("bob@mta.test", "alice@mta.test", Reason::Sender),
        ("alice@mta.test", "bob@mta.test", Reason::Identity),
        ("alice@mta.test", "alice@mta.test, bob@mta.test", Reason::Identity),
    ] {
        let message = MessageWriter::sealed(format!("From: {header}\r\nSubject: x\r\n\r\nx\r\n").as_bytes()).unwrap();
        let request = queue_submit::Request::Submit(Box::new(envelope(from, &["admin@mta.test"])));
        let reply = session.call(&request, &[message.as_fd()]).await.unwrap();
        assert_eq!(reply.body, queue_submit::Response::Submitted(Submitted::Rejected(reason)), "{from} {header}");
        assert!(reply.fds.is_empty());
    }
    assert_eq!(Imap::login(&appliance, "admin").count("INBOX"), 0);
    // What a login brings here speaks of no mailbox.
    let fd = login::<AuthForSubmission>(&appliance, "alice@mta.test", "secret-alice").await.unwrap();
    assert!(Session::<StoreSession>::new(fd).await.is_err());
    assert_shut_in("submission", &[]);
}

/// Everything of a mailbox by its number, as an attacker would guess it. How many rows came.
async fn read_mailbox(session: &mut Session<StoreSession>, mailbox: MailboxId, seen: &mut Vec<u8>) -> usize {
    let uids = List::new(vec![UidRange { first: 1, last: u32::MAX }]).unwrap();
    let want = Want::BODY.union(Want::PREVIEW).union(Want::IDS);
    session.start(&store_session::Request::Fetch { mailbox, uids, changed_since: None, want }, &[]).await.unwrap();
    let mut count = 0;
    while let Some(reply) = session.next().await.unwrap() {
        for fd in &reply.fds {
            // All of the file, whatever part of it was said to be the message.
            assert_eq!(fcntl_getfl(fd).unwrap() & OFlags::RWMODE, OFlags::RDONLY);
            seen.extend(fs::read(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap());
        }
        if let store_session::Response::Rows(rows) = reply.body {
            count += rows.iter().inspect(|row| seen.extend(row.preview.iter().flat_map(|text| text.bytes()))).count();
        }
    }
    count
}

#[tokio::test]
async fn owned_imap_reaches_only_accounts_whose_sessions_it_holds() {
    const GUESSES: u32 = 64;
    let appliance = Appliance::mta_test();
    for account in ["alice", "bob", "admin"] {
        let text = if account == "alice" { b"for alice".as_slice() } else { MARK };
        for _ in 0..3 {
            assert!(Imap::login(&appliance, account).append("INBOX", &[b"Subject: x\r\n\r\n", text, b"\r\n"].concat()).ok());
        }
    }
    assert!(login::<AuthForImap>(&appliance, "bob@mta.test", "guess").await.is_err());
    let mut session =
        Session::<StoreSession>::new(login::<AuthForImap>(&appliance, "alice@mta.test", "secret-alice").await.unwrap()).await.unwrap();
    let (mut seen, mut rows) = (Vec::new(), 0);
    for number in 0..GUESSES {
        rows += read_mailbox(&mut session, MailboxId(number), &mut seen).await;
    }
    assert_eq!(rows, 3);
    for name in ["../bob/INBOX", "user/bob@mta.test/INBOX", "bob@mta.test", "#shared/bob"] {
        let Ok(name) = MailboxName::new(name) else { continue };
        let reply = session.call(&store_session::Request::Mailbox(name), &[]).await.unwrap();
        assert_eq!(reply.body, store_session::Response::Refused(store_session::Refusal::NoSuchMailbox));
    }
    assert!(seen.windows(9).any(|part| part == b"for alice"));
    assert!(!seen.windows(MARK.len()).any(|part| part == MARK));
    // What a login brings here sends nothing, and the edge that brought it changes no password.
    let fd = login::<AuthForImap>(&appliance, "alice@mta.test", "secret-alice").await.unwrap();
    assert!(Session::<QueueSubmit>::new(fd).await.is_err());
    assert_shut_in("imap", &[]);
}

/// Case IPC-04.
#[tokio::test]
async fn owned_queue_signs_in_nobodys_published_name_but_ours_and_learns_no_password() {
    let appliance = Appliance::mta_test();
    let field =
        |name: &str, value: &str| SignedField { name: Text::new(name).unwrap(), value: Some(ByteBuf::from(value.as_bytes().to_vec())) };
    let input = || SigningInput { body_hash: [0; 32], fields: List::new(vec![field("from", "ceo@bank.test")]).unwrap() };
    let keys = client::<KeysDkim>(&appliance);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    // In the name of the domain that was asked for and of no other. For one that is not ours that is a key that nobody publishes.
    for domain in ["mta.test", "bank.test", "sub.mta.test", "test"] {
        let request = keys_dkim::Request::Sign { domain: domain.parse().unwrap(), time: now, input: Box::new(input()) };
        let keys_dkim::Response::Signatures(signatures) = keys.call(&request, &[]).await.unwrap().body else { panic!("{domain}") };
        // Ed25519 and RSA.
        assert_eq!(signatures.len(), 2, "{domain}");
        for signature in &signatures {
            assert!(String::from_utf8_lossy(signature).contains(&format!("d={domain};")), "{signature:?}");
        }
    }
    // The directory says who receives, in numbers and addresses.
    let directory = client::<AuthDirectory>(&appliance);
    let reply = directory.call(&auth_directory::Request::Resolve(address("alice@mta.test")), &[]).await.unwrap();
    assert!(matches!(reply.body, auth_directory::Response::Targets(_)) && reply.fds.is_empty());
    assert_shut_in("queue", &["read postern.toml as it was given", "list the state of queue", "write into the state of queue"]);
}

/// Case IPC-04, "10k requests/s": who asks for signatures without end gets them in his turn, keeps nobody's handshake waiting, and does not
/// make `keys` larger.
#[tokio::test(flavor = "multi_thread")]
async fn owned_queue_that_asks_without_end_keeps_no_handshake_waiting() {
    const REQUESTS: usize = 10_000;
    const AT_ONCE: usize = 1_000;
    const HANDSHAKES: usize = 10;
    /// KiB; a quarter of what its unit gives it.
    const MAY_GROW: u64 = 32 << 10;
    let appliance = Arc::new(Appliance::mta_test());
    let (keys, asked, answered) = (Arc::new(client::<KeysDkim>(&appliance)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let sign = async |keys: &Client<KeysDkim>| {
        let from = SignedField { name: Text::new("from").unwrap(), value: Some(ByteBuf::from(b"alice@mta.test".to_vec())) };
        let input = SigningInput { body_hash: [0; 32], fields: List::new(vec![from]).unwrap() };
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let request = keys_dkim::Request::Sign { domain: "mta.test".parse().unwrap(), time: now, input: Box::new(input) };
        matches!(keys.call(&request, &[]).await.unwrap().body, keys_dkim::Response::Signatures(_))
    };
    // The keys are made.
    assert!(sign(&keys).await);
    let pid = appliance.pid("keys");
    let before = peak(pid);
    let mut flood = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (keys, asked, answered) = (keys.clone(), asked.clone(), answered.clone());
        flood.spawn(async move {
            while asked.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                assert!(sign(&keys).await);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let shaken = appliance.clone();
    let handshakes = move || (0..HANDSHAKES).for_each(|_| drop(Connection::tls(&shaken, "imaps")));
    tokio::task::spawn_blocking(handshakes).await.unwrap();
    assert!(answered.load(Ordering::Relaxed) < REQUESTS, "handshakes waited until nobody asked any more");
    while let Some(ended) = flood.join_next().await {
        ended.unwrap();
    }
    assert_eq!(answered.load(Ordering::Relaxed), REQUESTS);
    let grown = peak(pid) - before;
    assert!(appliance.pid("keys") == pid && grown < MAY_GROW, "grew by {grown} KiB");
}

/// Case IPC-04.
#[tokio::test]
async fn owned_imap_gets_no_key_and_no_signature_but_of_handshakes() {
    let appliance = Appliance::mta_test();
    let keys = client::<KeysForImap>(&appliance);
    let keys_tls::Response::Certificates { generation, list } = keys.call(&keys_tls::Request::Certificates, &[]).await.unwrap().body else {
        panic!("no certificates");
    };
    let certificate = list.iter().next().unwrap();
    let scheme = *certificate.schemes.iter().next().unwrap();
    // A hash is of a fixed length: bytes of the attacker's choice in its place are not signed.
    let mut signed_lengths = Vec::new();
    for length in [0, 1, 20, 31, 32, 33, 47, 48, 49, 64, 128, 200] {
        let input = SignInput::Tls13ServerVerify { transcript_hash: ByteBuf::from(vec![b'x'; length]) };
        let answer = keys.call(&keys_tls::Request::Sign { generation, key: certificate.key, scheme, input }, &[]).await;
        if let Ok(wire::Reply { body: keys_tls::Response::Signature(signature), fds }) = answer {
            assert!(!signature.is_empty() && fds.is_empty());
            signed_lengths.push(length);
        }
    }
    // Those of the two that TLS 1.3 knows (RFC 8446 B.4): it is not that nothing is signed here.
    assert_eq!(signed_lengths, [32, 48]);
}

#[test]
fn every_process_reaches_the_edges_that_it_connects_to_and_no_other() {
    let table = committed();
    for service in SERVICES {
        let may: Vec<String> = service.calls.iter().map(|edge| format!("edge {edge}")).collect();
        assert_eq!(allowed(&table, service.name, &["edge "]), may.iter().map(String::as_str).collect(), "{}", service.name);
    }
}

/// On the socket of every edge, the greeting of every other.
#[tokio::test]
async fn a_socket_speaks_the_language_of_its_edge_and_no_other() {
    async fn greets<E: Edge>(appliance: &Appliance, socket: &str) -> (&'static str, bool) {
        let conn = Conn::connect(&appliance.state().join("run").join(socket).join("sock")).unwrap();
        let greeted: Result<(), Error> = conn.greet::<E>().await;
        (E::NAME, greeted.is_ok())
    }
    let appliance = Appliance::mta_test();
    for socket in SERVICES.iter().flat_map(|service| service.serves) {
        let answers = [
            greets::<AuthControl>(&appliance, socket).await,
            greets::<AuthDirectory>(&appliance, socket).await,
            greets::<AuthForImap>(&appliance, socket).await,
            greets::<AuthForSubmission>(&appliance, socket).await,
            greets::<DnsForScan>(&appliance, socket).await,
            greets::<SendNames>(&appliance, socket).await,
            greets::<KeysControl>(&appliance, socket).await,
            greets::<KeysDkim>(&appliance, socket).await,
            greets::<KeysForImap>(&appliance, socket).await,
            greets::<KeysForMx>(&appliance, socket).await,
            greets::<KeysForSubmission>(&appliance, socket).await,
            greets::<QueueControl>(&appliance, socket).await,
            greets::<QueueGrant>(&appliance, socket).await,
            greets::<QueueInbound>(&appliance, socket).await,
            greets::<QueueSubmit>(&appliance, socket).await,
            greets::<ScanForQueue>(&appliance, socket).await,
            greets::<ScanForStore>(&appliance, socket).await,
            greets::<SendDeliver>(&appliance, socket).await,
            greets::<StoreDeliver>(&appliance, socket).await,
            greets::<StoreGrant>(&appliance, socket).await,
            greets::<StoreSession>(&appliance, socket).await,
        ];
        let accepted: Vec<&str> = answers.into_iter().filter(|(_, accepted)| *accepted).map(|(name, _)| name).collect();
        assert_eq!(accepted, [*socket]);
    }
}

/// Every row of the table in SECURITY.md has a test here that names the process.
#[test]
fn every_line_of_the_threat_model_has_a_test() {
    let text = fs::read_to_string(system::workspace().join("SECURITY.md")).unwrap();
    let section = text.split("## If a process is taken over").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows: BTreeSet<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, SERVICES.iter().map(|service| service.name).collect());
    // The name of each process begins the name of a test, and a test it is.
    let lines: Vec<&str> = include_str!("owned.rs").lines().chain(include_str!("owned/inside.rs").lines()).collect();
    let tests: Vec<&str> = lines.windows(2).filter(|two| ["#[test]", "#[tokio::test]"].contains(&two[0])).map(|two| two[1]).collect();
    for row in rows {
        assert!(tests.iter().any(|test| test.trim_start_matches("async ").starts_with(&format!("fn owned_{row}_"))), "{row}");
    }
}

/// An owned mx opens as many connections as it can to the edges it has, greets and asks nothing. What is connected already goes on.
#[tokio::test]
async fn owned_mx_that_floods_its_edges_leaves_the_others_theirs() {
    const MANY: usize = 600;
    async fn flood<E: Edge>(appliance: &Appliance) -> Vec<Conn> {
        let held: Vec<Conn> = (0..MANY).filter_map(|_| Conn::connect(&edge::<E>(appliance)).ok()).collect();
        for conn in &held {
            // Those above the limit wait in the backlog and are not greeted.
            if tokio::time::timeout(Duration::from_millis(500), conn.greet::<E>()).await.is_err() {
                break;
            }
        }
        held
    }
    let appliance = Appliance::mta_test();
    let held = [flood::<QueueInbound>(&appliance).await, flood::<KeysForMx>(&appliance).await];
    assert!(held.iter().all(|held| held.len() > 256));
    let mut submission = Smtp::connect(&appliance, "submissions");
    assert!(submission.auth("alice@mta.test", "secret-alice").ok());
    assert!(submission.send("alice@mta.test", &["bob@mta.test"], b"From: alice@mta.test\r\n\r\nx\r\n").ok());
    let mut imap = Imap::login(&appliance, "bob");
    test_support::eventually("the message", || (imap.count("INBOX") == 1).then_some(()));
}
