//! Handshakes that must fail, or must be whole ones. Cases STLS-09, STLS-10 and STLS-11.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};
use test_support::{Appliance, Connection, Imap, PATIENCE};

/// TLS record types (RFC 8446 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
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
    client_hello_with(version, ciphers, &[])
}

/// RFC 8446 4.1.2: the same, for TLS 1.3, with a share of x25519 (its u-coordinate 9).
fn client_hello_13() -> Vec<u8> {
    let share = [&[9][..], &[0; 31]].concat();
    client_hello_with(TLS_1_2, &[0x1301, 0x1302, 0x1303], &[(43, vec![2, 3, 4]), (51, [&[0, 36, 0, 29, 0, 32][..], &share].concat())])
}

fn client_hello_with(version: u16, ciphers: &[u16], more: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let list = |bytes: Vec<u8>| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
    let numbers = |numbers: &[u16]| list(numbers.iter().flat_map(|n| n.to_be_bytes()).collect());
    let extension = |kind: u16, content: Vec<u8>| [&kind.to_be_bytes()[..], &list(content)].concat();
    // supported_groups: x25519, secp256r1; signature_algorithms: ECDSA and RSA with SHA-256; ec_point_formats: uncompressed.
    let mut extensions =
        [extension(10, numbers(&[29, 23])), extension(13, numbers(&[0x0403, 0x0804, 0x0401])), extension(11, vec![1, 0])].concat();
    extensions.extend(more.iter().flat_map(|(kind, content)| extension(*kind, content.clone())));
    let body = [&version.to_be_bytes()[..], &[7; 32], &[0], &numbers(ciphers), &[1, 0], &list(extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

/// The types of the records that came, and the first byte of the first handshake message, until the server ended it.
fn answer(appliance: &Appliance, port: &str, bytes: &[u8]) -> (Vec<u8>, Option<u8>) {
    answer_to(appliance, port, bytes, true)
}

/// The same from a client that may keep its half open.
fn answer_to(appliance: &Appliance, port: &str, bytes: &[u8], shuts: bool) -> (Vec<u8>, Option<u8>) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, appliance.port(port))).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have ended it before everything was sent.
    let _ = stream.write_all(bytes);
    if shuts {
        let _ = stream.shutdown(Shutdown::Write);
    }
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
        ("close_notify alone", record(ALERT, &[1, 0])),
        ("64 KiB of empty records", record(HANDSHAKE, &[]).repeat(13_108)),
        ("64 KiB of warnings", record(ALERT, &[1, 90]).repeat(9_363)),
        ("a message longer than said", record(HANDSHAKE, &[1, 0xff, 0xff, 0xff, 3, 3])),
        ("SSL 2", vec![0x80, 0x1c, 1, 3, 0, 0, 3, 0, 0, 0, 16, 1, 0, 0x80]),
        ("application data", record(APPLICATION_DATA, b"a LOGIN alice secret\r\n")),
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

/// RUSTSEC-2024-0336: a hello that is answered, and the end of the connection in the same packet.
#[test]
fn a_farewell_behind_the_hello_ends_the_handshake() {
    let appliance = Appliance::mta_test();
    let pids = || ["mx", "submission", "imap", "keys"].map(|daemon| appliance.pid(daemon));
    let before = pids();
    let hellos = [("TLS 1.2", client_hello(TLS_1_2, &[0xc02b, 0xc02f])), ("TLS 1.3", client_hello_13())];
    for port in ["imaps", "submissions"] {
        for (version, hello) in &hellos {
            let hello = record(HANDSHAKE, hello);
            // Alone it is answered.
            assert_eq!(answer(&appliance, port, &hello).1, Some(SERVER_HELLO), "{version} at {port}");
            for level in [1, 2] {
                let both = [hello.clone(), record(ALERT, &[level, 0])].concat();
                for shuts in [true, false] {
                    let (kinds, _) = answer_to(&appliance, port, &both, shuts);
                    assert!(kinds.len() < 12, "{version} at {port}: {kinds:?}");
                }
                // One for each thread that could be lost to it, and more.
                for _ in 0..16 {
                    drop(answer(&appliance, port, &both));
                }
            }
        }
    }
    assert_eq!(pids(), before);
    assert_eq!(Imap::login(&appliance, "alice").count("INBOX"), 0);
}

/// The handshake of a client that offers these protocols, and the first bytes of the server within it.
fn offer(
    appliance: &Appliance,
    port: &str,
    version: &'static SupportedProtocolVersion,
    offered: &[&str],
) -> Result<(Option<String>, String), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(appliance.authority()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, appliance.port(port))).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(client, stream);
    let mut greeting = [0; 4];
    // Of a failure the library's own words are looked at; anything else fails here.
    let spoken = stream.read_exact(&mut greeting).map_err(|error| error.downcast::<rustls::Error>().unwrap());
    spoken.map(|()| {
        (
            stream.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            String::from_utf8_lossy(&greeting).into_owned(),
        )
    })
}

/// ALPACA (2021), RFC 7301 3.2: what was meant for another service is refused by the handshake, before a byte of any protocol. Case STLS-09.
#[test]
fn a_client_of_another_protocol_is_refused_by_the_handshake() {
    let appliance = Appliance::mta_test();
    for (port, own, other, greets) in [("imaps", "imap", "smtp", "* OK"), ("submissions", "smtp", "imap", "220 ")] {
        for version in [&TLS12, &TLS13] {
            for foreign in [&["h2"][..], &["http/1.1"], &["h2", "http/1.1"], &[other], &["pop3"], &["IMAP"], &["imap2", "smtps"]] {
                let refused = offer(&appliance, port, version, foreign);
                let expected = Err(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol));
                assert_eq!(refused, expected, "{foreign:?} at {port} with {version:?}");
            }
            for (offered, chosen) in [(&[][..], None), (&[own], Some(own)), (&["h2", own], Some(own))] {
                let served = offer(&appliance, port, version, offered);
                assert_eq!(served, Ok((chosen.map(str::to_owned), greets.to_owned())), "{offered:?} at {port} with {version:?}");
            }
        }
    }
}

/// CVE-2009-3555: what an attacker says in front of a client's own session is never part of it. Case STLS-09.
#[test]
fn a_session_is_not_negotiated_again() {
    let appliance = Appliance::mta_test();
    // A hello in the clear is no part of a session.
    for port in ["imaps", "submissions"] {
        let mut session = Connection::tls(&appliance, port);
        assert!(!session.line().unwrap().is_empty());
        session.send_raw(&record(HANDSHAKE, &client_hello(TLS_1_2, &[0xc02b, 0xc02f]))).unwrap();
        assert!(session.send(b"a NOOP\r\n").is_err() || session.closed(), "{port}");
    }
    if test_support::need("openssl").is_none() {
        return;
    }
    // Within it, `R` of s_client asks for another handshake (RFC 5246 7.4.1.2). Records are looked at on their way.
    for port in ["imaps", "submissions"] {
        let relay = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = relay.local_addr().unwrap().to_string();
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-tls1_2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let from = relay.accept().unwrap().0;
        let to = TcpStream::connect((Ipv4Addr::LOCALHOST, appliance.port(port))).unwrap();
        let (said, answered) = thread::scope(|scope| {
            let answered = scope.spawn(|| records(&to, &from, |_| false));
            let said = scope.spawn(|| {
                let mut protected = Vec::new();
                // The second hello is the last thing that the server hears: it answers what it will answer, and ends. Before it came the
                // change to what was agreed on and the Finished (RFC 5246 7.3).
                let said = records(&from, &to, |kind| {
                    if kind == CHANGE_CIPHER_SPEC || !protected.is_empty() {
                        protected.push(kind);
                    }
                    protected == [CHANGE_CIPHER_SPEC, HANDSHAKE, HANDSHAKE]
                });
                to.shutdown(Shutdown::Write).unwrap();
                said
            });
            let (mut output, mut told) = (client.stdout.take().unwrap(), Vec::new());
            while !told.windows(4).any(|part| part == b"* OK" || part == b"220 ") {
                let mut part = [0; 1024];
                let count = output.read(&mut part).unwrap();
                assert!(count > 0, "{}", String::from_utf8_lossy(&told));
                told.extend(part.iter().take(count));
            }
            let mut input = client.stdin.take().unwrap();
            input.write_all(b"R\n").unwrap();
            let said = said.join().unwrap();
            drop(input);
            (said, answered.join().unwrap())
        });
        client.wait().unwrap();
        assert_eq!(said[said.len() - 3..], [CHANGE_CIPHER_SPEC, HANDSHAKE, HANDSHAKE], "{port}: {said:?}");
        // What it is answered is no handshake: an alert (RFC 5246 7.2.2, no_renegotiation), or nothing.
        let behind = answered.iter().position(|kind| *kind == APPLICATION_DATA).unwrap();
        assert!(answered[behind..].iter().all(|kind| [APPLICATION_DATA, ALERT].contains(kind)), "{port}: {answered:?}");
    }
}

/// Passes records on, until one of them is the last or there are no more. Their types.
fn records(mut from: &TcpStream, mut to: &TcpStream, mut is_last: impl FnMut(u8) -> bool) -> Vec<u8> {
    let mut kinds = Vec::new();
    loop {
        let mut head = [0; 5];
        if from.read_exact(&mut head).is_err() {
            // One end tells the other.
            let _ = to.shutdown(Shutdown::Write);
            return kinds;
        }
        let mut content = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        from.read_exact(&mut content).unwrap();
        kinds.push(head[0]);
        // Who has gone needs no more.
        let _ = to.write_all(&[&head[..], &content].concat());
        if is_last(head[0]) {
            return kinds;
        }
    }
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
