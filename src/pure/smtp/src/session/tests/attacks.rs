//! Attack cases, by their ids.

use super::*;

const SMUGGLED: &[u8] = b"MAIL FROM:<admin@mta.test>\r\nRCPT TO:<bob@mta.test>\r\nDATA\r\nFrom: admin@mta.test\r\n\r\nsmuggled\r\n.\r\n";

/// SMUG-01: one reply after 354, nothing stored, no reply to the pseudo-commands.
#[test]
fn smuggled_end_of_data() {
    let variants: &[&[u8]] = &[
        b"\n.\n",
        b"\n.\r",
        b"\r.\n",
        b"\r.\r",
        b"\n.\r\n",
        b"\r.\r\n",
        b"\r\n\0.\r\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        // Ours: a proper end behind something forbidden, and the two halves in separate packets.
        b"\r\r\n.\r\n",
        b"\n\r\n.\r\n",
        b"\0\r\n.\r\n",
    ];
    for variant in variants {
        for step in [1, 3, 10_000] {
            let mut peer = Peer::in_data();
            let data = [&b"Subject: t\r\n\r\nvisible"[..], variant, SMUGGLED].concat();
            let mut replies = String::new();
            for piece in data.chunks(step) {
                if !peer.closed {
                    replies += &peer.send(piece);
                }
            }
            assert!(replies.starts_with("554 5.6.0 "), "{variant:?}: {replies:?}");
            assert_eq!(count(&replies), 1, "{variant:?}: {replies:?}");
            assert!(peer.stored.is_empty() && peer.message.is_none());
        }
    }
}

/// SMUG-01 once more, behind a fault of another kind: the connection ends all the same.
#[test]
fn smuggled_end_of_data_behind_another_fault() {
    for start in [b" continuation\r\n".to_vec(), [vec![b'a'; 70_000], b"\r\n".to_vec()].concat()] {
        let mut peer = Peer::in_data();
        let replies = peer.send(&[&start[..], b"x\n.\n", SMUGGLED].concat());
        assert!(replies.starts_with("554 5.6.0 ") && count(&replies) == 1, "{replies:?}");
        assert!(peer.closed && peer.stored.is_empty());
    }
}

/// STLS-09 and SMUG-05 in one: a line that is too long does not make of a bare LF what it is nowhere else, a line end.
#[test]
fn bare_line_feed_behind_a_line_that_is_too_long() {
    for step in [1, 7, 10_000] {
        let mut peer = Peer::mx();
        peer.expect("EHLO mx.evil.test", "250");
        let data = [&vec![b'A'; 4_000][..], b"\nNOOP\r\n"].concat();
        let mut replies = String::new();
        for piece in data.chunks(step) {
            if !peer.closed {
                replies += &peer.send(piece);
            }
        }
        assert!(replies.starts_with("500 5.5.2 Lines must end") && count(&replies) == 1 && peer.closed, "{step} {replies:?}");
    }
    let mut peer = Peer::mx();
    peer.expect("EHLO mx.evil.test", "250");
    for piece in [&vec![b'A'; 4_000][..], b"A\r"] {
        assert_eq!(peer.send(piece), "");
    }
    assert_eq!(codes(&peer.send(b"\nNOOP\r\n")), ["500", "250"]);
}

/// SMUG-04.
#[test]
fn dots_are_unstuffed() {
    let mut peer = Peer::in_data();
    peer.expect_bytes(b"Subject: t\r\n\r\n..\r\n...\r\n..leading\r\n. x\r\nend\r\n.\r\n", "250");
    assert_eq!(peer.stored[0].2, b"Subject: t\r\n\r\n.\r\n..\r\n.leading\r\n x\r\nend\r\n");
}

/// SMUG-05.
#[test]
fn bare_line_feed_in_a_chunk() {
    let mut peer = Peer::ready();
    peer.expect_bytes(b"BDAT 23 LAST\r\nSubject: x\n\nhello\n.\nQ\r\n", "554 5.6.0");
    assert!(peer.stored.is_empty());
    peer.expect("DATA", "503");
    // A fault in the first chunk ends the transaction there, and the other chunks are no commands.
    let mut peer = Peer::ready();
    let replies = peer.send(b"BDAT 3\r\na\nbBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(codes(&replies), ["554", "503", "250"]);
    assert_eq!(peer.log, ["recipient", "begin", "drop"]);
}

/// SMUG-06.
#[test]
fn impossible_chunks() {
    for (input, first, closed) in [
        ("BDAT 99999999999 LAST\r\n", "552 5.3.4", true),
        ("BDAT 999999999999999999999999999 LAST\r\n", "552 5.3.4", true),
        ("BDAT x LAST\r\n", "501", true),
        ("BDAT 4 LAST LAST\r\nabcd", "501", true),
        ("BDAT 100001\r\n", "552", true),
    ] {
        let mut peer = Peer::ready();
        peer.expect_bytes(input.as_bytes(), first);
        assert_eq!(peer.closed, closed, "{input:?}");
        assert!(peer.stored.is_empty());
    }
    let mut peer = Peer::ready();
    let replies = peer.send(b"BDAT 4\r\nabcdDATA\r\n");
    assert_eq!(codes(&replies), ["250", "503"]);
    peer.expect("DATA", "503");
    peer.expect("RCPT TO:<alice@mta.test>", "503");
    assert_eq!(peer.log, ["recipient", "begin", "drop"]);
    // RCPT after BDAT is out of sequence, too; chunks together may not exceed the limit.
    let mut peer = Peer::ready();
    peer.expect_bytes(b"BDAT 2\r\n\r\n", "250");
    peer.expect("RCPT TO:<bob@mta.test>", "503");
    peer.expect("BDAT 99999", "552");
    assert!(peer.closed && peer.message.is_none());
}

/// SMUG-08: what a session holds does not grow with the number of chunks.
#[test]
fn very_many_chunks() {
    let mut peer = Peer::ready();
    for n in 0..50_000 {
        let bytes: &[u8] = if n % 2 == 0 { b"BDAT 1\r\n\r" } else { b"BDAT 1\r\n\n" };
        peer.expect_bytes(bytes, "250");
        assert!(peer.buffer.is_empty() && peer.session.actions.is_empty());
    }
    peer.expect("BDAT 0 LAST", "250");
    assert_eq!(peer.stored[0].2.len(), 50_000);
    // Chunks of no message end the session.
    let mut peer = Peer::mx();
    let mut sent = 0;
    while !peer.closed {
        sent += 1;
        peer.send(b"BDAT 1\r\nx");
    }
    assert_eq!(sent, 21);
}

/// SMUG-11: whoever does not listen is not listened to.
#[test]
fn talking_out_of_turn() {
    let everything =
        b"EHLO mx.evil.test\r\nMAIL FROM:<x@evil.test>\r\nRCPT TO:<alice@mta.test>\r\nDATA\r\nSubject: x\r\n\r\ny\r\n.\r\nQUIT\r\n";
    let mut session = Session::new(Arc::new(settings(Role::Mx)), None, true);
    session.greet(true);
    assert_eq!(session.step(&mut &everything[..], &mut Vec::new()), Step::Close);
    assert!(session.output().starts_with(b"554 5.5.0"));

    let mut peer = Peer::with(settings(Role::Mx), None);
    peer.expect_bytes(everything, "554 5.5.0");
    assert!(peer.closed);

    let mut peer = Peer::ready();
    peer.expect_bytes(b"DATA\r\nSubject: x\r\n", "554 5.5.0");
    assert!(peer.closed && peer.log == ["recipient"]);
}

/// RLY-01: no form of address makes this a relay. What is no path is refused here, what is one is asked for as it stands.
#[test]
fn no_relaying() {
    for to in [
        "<victim@remote.test>",
        "<victim%remote.test@mta.test>",
        "<@mta.test:victim@remote.test>",
        "<@mta.test,@x.test:victim@remote.test>",
        "<remote.test!victim>",
        "<remote.test!victim@mta.test>",
        "<\"victim@remote.test\"@mta.test>",
        "<\"victim@remote.test\">",
        "<victim@remote.test@mta.test>",
        "<victim@mta.test@remote.test>",
        "<victim@[127.0.0.1]>",
        "<victim@[IPv6:::1]>",
        "<victim@localhost>",
        "<victim@mta.test.remote.test>",
        "victim@remote.test",
        "<victim@remote.test\0@mta.test>",
        "<victim@remote.test\t@mta.test>",
        "<victim@mta.test,victim@remote.test>",
        "<\"victim%remote.test\"@mta.test>",
    ] {
        let mut peer = Peer::mx();
        peer.expect("MAIL FROM:<x@evil.test>", "250");
        let reply = peer.expect(&format!("RCPT TO:{to}"), "5");
        assert!(["501", "550", "553", "554"].contains(&&reply[..3]), "{to:?}: {reply}");
        peer.expect("DATA", "554");
    }
}

/// RLY-05.
#[test]
fn unknown_recipients_are_refused_at_once() {
    let mut peer = Peer::mx();
    peer.expect("MAIL FROM:<victim@remote.test>", "250");
    peer.expect("RCPT TO:<nosuch@mta.test>", "550 5.1.1");
}

/// INJ-01.
#[test]
fn shell_in_addresses() {
    for line in [
        "MAIL FROM:<;for i in 0 1 2 3 4 5 6 7 8 9;do read r;done;sh;exit 0;>",
        "MAIL FROM:<;touch /tmp/pwned;>",
        "MAIL FROM:<() { :;};touch /tmp/pwned;@x>",
    ] {
        Peer::mx().expect(line, "501");
    }
    for line in [
        "RCPT TO:<${run{\\x2Fbin\\x2Ftouch\\x20\\x2Ftmp\\x2Fpwned}}@mta.test>",
        "RCPT TO:<\"a$(touch${IFS}/tmp/pwned)\"@mta.test>",
        "RCPT TO:<\"|touch /tmp/pwned\"@mta.test>",
        "RCPT TO:<\"/tmp/pwned\"@mta.test>",
    ] {
        let mut peer = Peer::mx();
        peer.expect("MAIL FROM:<x@evil.test>", "250");
        let reply = peer.expect(line, "5");
        assert!(["501", "550"].contains(&&reply[..3]), "{line:?}: {reply}");
    }
}

/// INJ-02: content is data.
#[test]
fn content_is_not_interpreted() {
    let content = b"From: () { :;}; /bin/touch /tmp/pwned\r\nX-Zip: `touch /tmp/pwned`\r\nSubject: ${run{touch /tmp/pwned}} {{7*7}} %{passwd}\r\n\r\nx\r\n";
    let mut peer = Peer::in_data();
    peer.expect_bytes(&[&content[..], b".\r\n"].concat(), "250");
    assert_eq!(peer.stored[0].2, content);
}

/// INJ-03: decoded control characters, repeated parameters and impossible numbers.
#[test]
fn hostile_parameters() {
    for line in [
        "MAIL FROM:<x@evil.test> ENVID=a+00b",
        "MAIL FROM:<x@evil.test> ENVID=a+0D+0Ab",
        "MAIL FROM:<x@evil.test> AUTH=a+0Aqueue+0A",
        "MAIL FROM:<x@evil.test> BODY=8BITMIME BODY=7BIT",
        "MAIL FROM:<x@evil.test> SIZE=99999999999999999999999",
        "MAIL FROM:<x@evil.test> MT-PRIORITY=-99999999999",
    ] {
        Peer::mx().expect(line, "501 5.5.4");
    }
    for line in ["RCPT TO:<alice@mta.test> ORCPT=rfc822;a+0Auid+200+0A", "RCPT TO:<alice@mta.test> ORCPT=rfc822;+FF+FE"] {
        let mut peer = Peer::mx();
        peer.expect("MAIL FROM:<x@evil.test>", "250");
        peer.expect(line, "501 5.5.4");
    }
    Peer::mx().expect("MAIL FROM:<x@evil.test> X=1", "555 5.5.4");
    Peer::mx().expect("MAIL FROM:<x@evil.test> AUTH=<>", "555 5.5.4");
    Peer::mx().expect("MAIL FROM:<x@evil.test> SIZE=100001", "552 5.3.4");
}

/// ADDR-01 and ADDR-03: what is no address here is never made one.
#[test]
fn malformed_recipients() {
    for to in [
        "<\"\"@mta.test>",
        "<\"@mta.test>",
        "<@mta.test>",
        "<>",
        "<alice@>",
        "<alice>",
        "<.alice@mta.test>",
        "<alice(c)@mta.test>",
        "<=?utf-8?q?alice=40remote.test=3e?=@mta.test>",
        "<=?x?q?alice=40remote.test=3e=00?=foo@mta.test>",
        "<alice@mta.test>garbage",
        "<alice@mta.test",
        "<foo@bar\"aa\\\\\" hello world\".test>",
        "<\"a\\\\\"@mta.test>",
        "<\u{e9}@mta.test>",
        "<alice@\u{217f}ta.test>",
        "<alice\u{ff20}mta.test>",
        "<alice@xn--mta-.test>",
        "<alice@mta\u{3002}test>",
        "<alice@m\u{442}a.test>",
        "<alice@MTA.TEST\u{200b}>",
    ] {
        let mut peer = Peer::mx();
        peer.expect("MAIL FROM:<x@evil.test>", "250");
        let reply = peer.expect(&format!("RCPT TO:{to}"), "5");
        assert!(["501", "550", "553"].contains(&&reply[..3]), "{to:?}: {reply}");
    }
}

/// ADDR-02: malformed UTF-8 is a syntax error; UTF-8 needs SMTPUTF8.
#[test]
fn eight_bit_addresses() {
    let mut peer = Peer::mx();
    peer.expect("MAIL FROM:<x@evil.test>", "250");
    peer.expect_bytes(b"RCPT TO:<\xf0\x9f\x90@mta.test>\r\n", "501 5.1.3");
    peer.expect("RCPT TO:<\u{e9}@mta.test>", "553 5.6.7");
    peer.expect("RSET", "250");
    peer.expect("MAIL FROM:<\u{e9}@evil.test>", "553 5.6.7");
    peer.expect("MAIL FROM:<\u{e9}@evil.test> SMTPUTF8", "250");
    peer.expect("RCPT TO:<\u{e9}@mta.test>", "550 5.1.1");
}

/// ADDR-04: long parts, long lines, endless lines.
#[test]
fn long_lines() {
    let mut peer = Peer::mx();
    peer.expect(&format!("MAIL FROM:<{}@{}.test>", "a".repeat(65), "b".repeat(300)), "501");
    let got: String = format!("MAIL FROM:<x@evil.test> {}\r\n", "X".repeat(70_000)).as_bytes().chunks(4096).map(|c| peer.send(c)).collect();
    assert!(got.starts_with("500 5.5.2") && count(&got) == 1, "{got:?}");
    assert!(peer.closed);
}

/// MIME-05: an endless line in the content.
#[test]
fn endless_content_line() {
    let settings = Settings { limits: Limits::DEFAULT, ..settings(Role::Mx) };
    let mut peer = Peer::with(settings, None);
    peer.send(b"EHLO a\r\n");
    peer.send(b"MAIL FROM:<x@evil.test>\r\nRCPT TO:<alice@mta.test>\r\nDATA\r\n");
    peer.send(b"Subject: ");
    let (mut sent, mut replies) = (0, String::new());
    while !peer.closed {
        sent += 16_384;
        replies += &peer.send(&[b'a'; 16_384]);
    }
    assert!(replies.starts_with("554 5.6.0") && count(&replies) == 1);
    assert!(sent < 200_000, "{sent}");
}

/// STLS-09: HTTP and TLS to a plain port end at once, without an echo.
#[test]
fn other_protocols() {
    let mut peer = Peer::with(settings(Role::Mx), None);
    let request = b"POST / HTTP/1.1\r\nHost: mta.test\r\n\r\nEHLO a\r\nMAIL FROM:<script>alert(1)</script>\r\n";
    let got = peer.expect_bytes(request, "554");
    assert!(peer.closed && !got.contains("POST") && !got.contains("script"));
    let mut peer = Peer::with(settings(Role::Mx), None);
    peer.expect_bytes(b"\x16\x03\x01\x02\x00", "500");
    assert!(peer.closed);
}

/// STARTTLS injection (the SMTP sibling of STLS-02): what was sent in clear text behind STARTTLS is not executed, and nothing
/// that was said before counts.
#[test]
fn nothing_crosses_the_switch_to_tls() {
    let mut peer = Peer::ready();
    peer.expect_bytes(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<x@evil.test>\r\n", "220 2.0.0");
    assert!(peer.buffer.is_empty());
    assert!(peer.session.hello().is_none());
    peer.expect("MAIL FROM:<x@evil.test>", "503");
    peer.expect("DATA", "503");
    let again = peer.expect("EHLO a", "250");
    assert!(!again.contains("STARTTLS"));
    peer.expect("STARTTLS", "503");
    assert_eq!(peer.log, ["recipient", "tls"]);
}

#[test]
fn starttls_needs_its_conditions() {
    let mut session = Session::new(Arc::new(settings(Role::Mx)), None, false);
    assert_eq!(session.step(&mut &b"EHLO a\r\nSTARTTLS\r\n"[8..], &mut Vec::new()), Step::Read);
    assert!(session.output().starts_with(b"454"));
    let mut peer = Peer::with(settings(Role::Mx), None);
    peer.expect("STARTTLS", "503");
    peer.expect("EHLO a", "250");
    peer.expect("STARTTLS now", "501");
}

/// A command that ends with LF alone is none (RFC 5321 2.3.8).
#[test]
fn bare_line_feed_in_commands() {
    for bytes in [&b"EHLO a\n"[..], b"EHLO a\nMAIL FROM:<x@evil.test>\r\n", b"\n"] {
        let mut peer = Peer::with(settings(Role::Mx), None);
        peer.expect_bytes(bytes, "500 5.5.2");
        assert!(peer.closed);
    }
    let mut peer = Peer::mx();
    peer.expect_bytes(b"NOOP\rRSET\r\n", "500");
    peer.expect_bytes(b"MAIL FROM:<x@evil.test>\r RCPT\r\n", "501");
}
