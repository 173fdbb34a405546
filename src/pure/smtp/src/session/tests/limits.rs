//! One past every limit.

use super::*;

#[test]
fn errors_end_the_session() {
    let mut peer = Peer::mx();
    for _ in 0..Limits::DEFAULT.errors {
        peer.expect("MAIL FROM:<", "501");
    }
    peer.expect("MAIL FROM:<", "421 4.7.0");
    assert!(peer.closed);
}

#[test]
fn an_accepted_message_forgives_errors() {
    let mut peer = Peer::mx();
    for _ in 0..3 {
        for _ in 0..Limits::DEFAULT.errors {
            peer.expect("MAIL FROM:<", "501");
        }
        peer.send(b"MAIL FROM:<>\r\nRCPT TO:<bob@mta.test>\r\n");
        peer.expect("BDAT 0 LAST", "250");
    }
}

#[test]
fn unknown_commands_end_the_session() {
    let mut peer = Peer::mx();
    for _ in 0..Limits::DEFAULT.unknown_commands {
        peer.expect("XYZZY", "500 5.5.1");
    }
    peer.expect("XYZZY", "421");
    assert!(peer.closed);
}

#[test]
fn idle_commands_end_the_session() {
    let mut peer = Peer::with(settings(Role::Mx), None);
    for _ in 0..Limits::DEFAULT.idle_commands {
        peer.expect("NOOP", "250");
    }
    peer.expect("NOOP", "421");
    assert!(peer.closed);
}

#[test]
fn guessing_recipients_ends_the_session() {
    let mut peer = Peer::mx();
    peer.expect("MAIL FROM:<>", "250");
    for n in 0..Limits::DEFAULT.refused_recipients {
        peer.expect(&format!("RCPT TO:<u{n}@mta.test>"), "550");
    }
    peer.expect("RCPT TO:<u@mta.test>", "421");
    assert!(peer.closed);
}

#[test]
fn recipients_of_one_transaction() {
    let mut peer = Peer::mx();
    peer.expect("MAIL FROM:<>", "250");
    for n in 0..100 {
        peer.expect(&format!("RCPT TO:<alice+{n}@mta.test>"), "250");
    }
    peer.expect("RCPT TO:<bob@mta.test>", "452 4.5.3");
    peer.expect("RCPT TO:<alice+1@mta.test>", "250");
    peer.expect("DATA", "354");
    peer.expect_bytes(b"x\r\n.\r\n", "250");
    assert_eq!(peer.stored[0].1.len(), 100);
}

#[test]
fn message_size_is_exact() {
    for (lines, reply) in [(10_000, "250"), (10_001, "552 5.3.4")] {
        let mut peer = Peer::in_data();
        let data = [&b"12345678\r\n".repeat(lines)[..], b".\r\n"].concat();
        peer.expect_bytes(&data, reply);
        assert!(!peer.closed);
    }
    let mut peer = Peer::ready();
    let data = [&b"BDAT 100000 LAST\r\n"[..], &b"12345678\r\n".repeat(10_000)].concat();
    peer.expect_bytes(&data, "250");
}

#[test]
fn command_line_is_exact() {
    let line = |n: usize| format!("NOOP {}\r\n", "x".repeat(n - 7));
    let mut peer = Peer::mx();
    peer.expect_bytes(line(2048).as_bytes(), "250");
    peer.expect_bytes(line(2049).as_bytes(), "500 5.5.2");
    let replies: String = line(10_000).as_bytes().chunks(100).map(|piece| peer.send(piece)).collect();
    assert_eq!(codes(&replies), ["500"]);
    peer.expect("NOOP", "250");
    assert!(!peer.closed);
}

#[test]
fn auth_line_is_longer() {
    let mut peer = Peer::submission(true);
    let line = |n: usize| format!("AUTH PLAIN {}\r\n", "A".repeat(n - 13));
    peer.expect_bytes(line(12_288).as_bytes(), "501 5.5.2");
    peer.expect_bytes(line(12_289).as_bytes(), "500 5.5.2");
    peer.expect("AUTH PLAIN", "334 ");
    peer.expect_bytes(format!("{}\r\n", "A".repeat(12_287)).as_bytes(), "500 5.5.6");
    peer.expect("NOOP", "250");
    assert!(peer.log.is_empty());
}

#[test]
fn chunks_for_nothing_are_read_up_to_one_message() {
    let mut peer = Peer::mx();
    let chunk = [&b"BDAT 50000\r\n"[..], &[b'x'; 50_000]].concat();
    peer.expect_bytes(&chunk, "503");
    peer.expect_bytes(&chunk, "503");
    peer.expect_bytes(&chunk, "503");
    assert!(peer.closed);
}
