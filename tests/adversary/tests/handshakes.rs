//! Handshakes that must fail, or must be whole ones. Cases STLS-10 and STLS-11.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Command, Stdio},
};
use test_support::{Appliance, Imap, PATIENCE};

/// TLS record types (RFC 8446 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// Of a handshake message (RFC 8446 4).
const SERVER_HELLO: u8 = 2;
const SSL_3: u16 = 0x0300;
const TLS_1_0: u16 = 0x0301;
const TLS_1_1: u16 = 0x0302;
const TLS_1_2: u16 = 0x0303;

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&[kind, 3, 1][..], &length.to_be_bytes(), content].concat()
}

/// RFC 5246 7.4.1.2, with the extensions that a server of today wants to see.
fn client_hello(version: u16, ciphers: &[u16]) -> Vec<u8> {
    let list = |bytes: Vec<u8>| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
    let numbers = |numbers: &[u16]| list(numbers.iter().flat_map(|n| n.to_be_bytes()).collect());
    let extension = |kind: u16, content: Vec<u8>| [&kind.to_be_bytes()[..], &list(content)].concat();
    // supported_groups: x25519, secp256r1; signature_algorithms: ECDSA and RSA with SHA-256; ec_point_formats: uncompressed.
    let extensions =
        [extension(10, numbers(&[29, 23])), extension(13, numbers(&[0x0403, 0x0804, 0x0401])), extension(11, vec![1, 0])].concat();
    let body = [&version.to_be_bytes()[..], &[7; 32], &[0], &numbers(ciphers), &[1, 0], &list(extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

/// The types of the records that came, and the first byte of the first handshake message, until the server ended it.
fn answer(appliance: &Appliance, port: &str, bytes: &[u8]) -> (Vec<u8>, Option<u8>) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, appliance.port(port))).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have ended it before everything was sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    let (mut kinds, mut first, mut rest) = (Vec::new(), None, received.as_slice());
    while let [kind, _, _, high, low, more @ ..] = rest {
        let (content, after) = more.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))).unwrap_or((more, &[]));
        kinds.push(*kind);
        if *kind == HANDSHAKE {
            first = first.or(content.first().copied());
        }
        rest = after;
    }
    (kinds, first)
}

#[test]
fn old_versions_weak_ciphers_and_broken_handshakes_end_in_an_alert() {
    const ECDSA_GCM: u16 = 0xc02b;
    const RSA_GCM: u16 = 0xc02f;
    let good = &[ECDSA_GCM, RSA_GCM, 0xcca9, 0xcca8];
    let hello = |version, ciphers: &[u16]| record(HANDSHAKE, &client_hello(version, ciphers));
    let split = |message: &[u8]| message.iter().flat_map(|byte| record(HANDSHAKE, &[*byte])).collect::<Vec<u8>>();
    let refused = [
        ("SSL 3", hello(SSL_3, good)),
        ("TLS 1.0", hello(TLS_1_0, good)),
        ("TLS 1.1", hello(TLS_1_1, good)),
        ("3DES", hello(TLS_1_2, &[0x000a, 0xc012, 0xc008])),
        ("RC4", hello(TLS_1_2, &[0x0004, 0x0005, 0xc011])),
        ("CBC alone", hello(TLS_1_2, &[0x002f, 0x003c, 0xc013, 0xc009, 0xc023])),
        ("no forward secrecy", hello(TLS_1_2, &[0x009c, 0x009d])),
        ("anonymous and NULL", hello(TLS_1_2, &[0x0000, 0x0001, 0x0034, 0xc018])),
        ("records of one byte, TLS 1.0", split(&client_hello(TLS_1_0, good))),
        ("close_notify behind the hello", [hello(TLS_1_0, good), record(ALERT, &[1, 0])].concat()),
        ("close_notify alone", record(ALERT, &[1, 0])),
        ("64 KiB of empty records", record(HANDSHAKE, &[]).repeat(13_108)),
        ("64 KiB of warnings", record(ALERT, &[1, 90]).repeat(9_363)),
        ("a message longer than said", record(HANDSHAKE, &[1, 0xff, 0xff, 0xff, 3, 3])),
        ("SSL 2", vec![0x80, 0x1c, 1, 3, 0, 0, 3, 0, 0, 0, 16, 1, 0, 0x80]),
        ("application data", record(23, b"a LOGIN alice secret\r\n")),
    ];
    let appliance = Appliance::mta_test();
    let pids = || ["imap", "submission", "keys"].map(|daemon| appliance.pid(daemon));
    let before = pids();
    // The same hello in a version that may be is answered: what is refused is what is wrong with the others.
    for (port, whole) in [("imaps", hello(TLS_1_2, good)), ("submissions", split(&client_hello(TLS_1_2, good)))] {
        assert_eq!(answer(&appliance, port, &whole).1, Some(SERVER_HELLO), "{port}");
    }
    for port in ["imaps", "submissions"] {
        for (what, bytes) in &refused {
            let (kinds, first) = answer(&appliance, port, bytes);
            assert!(kinds.iter().all(|kind| *kind == ALERT), "{what} at {port}: {kinds:?}");
            assert_eq!(first, None, "{what} at {port}");
        }
    }
    assert_eq!(pids(), before);
    assert_eq!(Imap::login(&appliance, "alice").count("INBOX"), 0);
}

#[test]
fn a_session_is_resumed_by_the_service_that_it_was_with_and_no_other() {
    if test_support::need("openssl").is_none() {
        return;
    }
    let appliance = Appliance::mta_test();
    let tickets = appliance.scratch().join("ticket");
    let connect = |port: &str, option: &str, file: &Path| {
        let address = format!("127.0.0.1:{}", appliance.port(port));
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-tls1_3", option])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The ticket comes with the first bytes of the server; the end of its input ends the client, the server's end sooner.
        client.stdin.as_mut().unwrap().write_all(if port == "imaps" { b"a LOGOUT\r\n" } else { b"QUIT\r\n" }).unwrap();
        let mut told = String::new();
        client.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        client.wait().unwrap();
        told
    };
    assert!(connect("imaps", "-sess_out", &tickets).contains("New, TLSv1.3"));
    assert!(fs::metadata(&tickets).is_ok_and(|meta| meta.len() > 0), "no ticket came");
    let told = connect("submissions", "-sess_in", &tickets);
    assert!(told.contains("New, TLSv1.3") && !told.contains("Reused, TLSv1.3"), "{told}");
    // It is a ticket that would do, and none that lets data come early.
    assert!(connect("imaps", "-sess_in", &tickets).contains("Reused, TLSv1.3"));
    let ticket = Command::new("openssl").args(["sess_id", "-noout", "-text", "-in"]).arg(&tickets).output().unwrap();
    let ticket = String::from_utf8_lossy(&ticket.stdout).into_owned();
    assert!(ticket.contains("TLSv1.3") && !ticket.contains("Max Early Data") || ticket.contains("Max Early Data: 0"), "{ticket}");
}
