//! The ordinary life of a session.

use super::*;
use crate::transaction::{Body, Notify, Ret};

/// Attack case CTRL-01.
#[test]
fn a_message_is_stored_byte_for_byte() {
    let mut peer = Peer::in_data();
    peer.expect_bytes(b"Subject: t\r\n\r\nhello\r\n.. dot\r\n.\r\n", "250 2.0.0 Accepted as 0001");
    let expected = ("<x@evil.test>".to_owned(), vec!["alice@mta.test".to_owned()], b"Subject: t\r\n\r\nhello\r\n. dot\r\n".to_vec());
    assert_eq!(peer.stored, [expected]);
    peer.expect("QUIT", "221 2.0.0");
    assert!(peer.closed);
}

/// Attack case CTRL-02.
#[test]
fn null_sender_tags_quotes_and_case_are_accepted() {
    let mut peer = Peer::mx();
    peer.expect("MAIL FROM:<> BODY=8BITMIME SIZE=500", "250");
    peer.expect("RCPT TO:<alice+tag@MTA.test>", "250");
    peer.expect("RCPT TO:<\"alice\"@mta.test>", "250");
    peer.expect("DATA", "354");
    peer.expect_bytes("Grüße\r\n.\r\n".as_bytes(), "250");
    assert_eq!(peer.stored[0].0, "<>");
    assert_eq!(peer.stored[0].1, ["alice+tag@mta.test", "alice@mta.test"]);
}

/// Attack case CTRL-03.
#[test]
fn chunks_and_smtputf8() {
    let mut peer = Peer::mx();
    peer.expect("MAIL FROM:<ü@remote.test> SMTPUTF8 BODY=8BITMIME", "250");
    peer.expect("RCPT TO:<alice@mta.test>", "250");
    peer.expect_bytes("BDAT 29\r\nFrom: ü@remote.test\r\nSubject".as_bytes(), "250");
    peer.expect_bytes(b"BDAT 14 LAST\r\n: x\r\n\r\nhello\r\n", "250 2.0.0 Accepted");
    assert_eq!(peer.stored[0].2, "From: ü@remote.test\r\nSubject: x\r\n\r\nhello\r\n".as_bytes());
    assert_eq!(peer.log, ["recipient", "begin", "commit"]);
}

/// Attack case CTRL-04.
#[test]
fn pipelining_works_in_any_pieces() {
    let group = b"MAIL FROM:<x@remote.test>\r\nRCPT TO:<alice@mta.test>\r\nRCPT TO:<bob@mta.test>\r\nDATA\r\n";
    for step in [1, 7, 1000] {
        let mut peer = Peer::mx();
        let replies: String = group.chunks(step).map(|piece| peer.send(piece)).collect();
        assert_eq!(codes(&replies), ["250", "250", "250", "354"]);
        let replies: String = b"x\r\n.\r\nQUIT\r\n".chunks(step).map(|piece| peer.send(piece)).collect();
        assert_eq!(codes(&replies), ["250", "221"]);
        assert_eq!(peer.stored[0].1.len(), 2);
    }
}

#[test]
fn chunks_are_pipelined() {
    let mut peer = Peer::ready();
    let replies = peer.send(b"BDAT 3\r\na\r\nBDAT 0\r\nBDAT 3 LAST\r\nb\r\nMAIL FROM:<y@evil.test>\r\n");
    assert_eq!(codes(&replies), ["250", "250", "250", "250"]);
    assert_eq!(peer.stored[0].2, b"a\r\nb\r\n");
    peer.expect("RCPT TO:<bob@mta.test>", "250");
    peer.expect("BDAT 0 LAST", "250");
    assert_eq!(peer.stored[1].2, b"");
}

#[test]
fn binary_content_needs_bdat() {
    let mut peer = Peer::mx();
    peer.expect("MAIL FROM:<x@evil.test> BODY=BINARYMIME", "250");
    peer.expect("RCPT TO:<alice@mta.test>", "250");
    peer.expect("DATA", "503");
    peer.expect("BDAT 0 LAST", "503");
    peer.expect("MAIL FROM:<x@evil.test> BODY=BINARYMIME", "250");
    peer.expect("RCPT TO:<alice@mta.test>", "250");
    peer.expect_bytes(b"BDAT 8 LAST\r\na\nb\rc\0\r\r", "250");
    assert_eq!(peer.stored[0].2, b"a\nb\rc\0\r\r");
}

#[test]
fn dsn_parameters_are_kept() {
    let mut session = Session::new(Arc::new(settings(Role::Mx)), None, false);
    let mut content = Vec::new();
    let mut step = |session: &mut Session, line: &str| session.step(&mut line.as_bytes(), &mut content);
    assert_eq!(step(&mut session, "EHLO a\r\n"), Step::Read);
    assert_eq!(step(&mut session, "MAIL FROM:<x@evil.test> RET=FULL ENVID=a+2Bb SIZE=9 BODY=8BITMIME SMTPUTF8\r\n"), Step::Read);
    let Step::Do(Action::CheckRecipient { .. }) = step(&mut session, "RCPT TO:<a@b.test> NOTIFY=DELAY ORCPT=rfc822;q@b.test\r\n") else {
        panic!("no check")
    };
    session.resume(Outcome::Recipient(RecipientVerdict::Accept));
    assert_eq!(step(&mut session, "DATA\r\n"), Step::Do(Action::BeginMessage));
    session.resume(Outcome::Began(true));
    let Step::Do(Action::Commit(transaction)) = step(&mut session, ".\r\n") else { panic!("no commit") };
    assert_eq!((transaction.ret, transaction.body, transaction.smtputf8), (Some(Ret::Full), Body::EightBitMime, true));
    assert_eq!((transaction.envid.as_ref().unwrap().as_str(), transaction.size), ("a+b", Some(9)));
    let recipient = &transaction.recipients()[0];
    assert_eq!(recipient.notify, Some(Notify { delay: true, ..Notify::default() }));
    assert_eq!(recipient.original.as_ref().unwrap().address.as_str(), "q@b.test");
}

#[test]
fn extensions_depend_on_role_tls_and_login() {
    let common = ["PIPELINING", "SIZE 100000", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES", "DSN"];
    let offered = |role, tls: Option<Tls>, available| {
        let mut session = Session::new(Arc::new(settings(role)), tls, available);
        assert_eq!(session.step(&mut &b"EHLO a\r\n"[..], &mut Vec::new()), Step::Read);
        let reply = String::from_utf8(std::mem::take(session.output())).unwrap();
        let lines: Vec<String> = reply.lines().map(|l| l[4..].to_owned()).collect();
        assert_eq!(lines[0], "mx.mta.test");
        assert_eq!(lines[1..9], common);
        lines[9..].to_vec()
    };
    let (bound, unbound) = (Some(Tls { channel_binding: true }), Some(Tls { channel_binding: false }));
    assert_eq!(offered(Role::Mx, None, true), ["STARTTLS"]);
    assert!(offered(Role::Mx, None, false).is_empty());
    assert_eq!(offered(Role::Mx, bound, true), ["REQUIRETLS"]);
    assert_eq!(offered(Role::Submission, None, true), ["STARTTLS"]);
    assert_eq!(offered(Role::Submission, unbound, true), ["REQUIRETLS", "AUTH PLAIN LOGIN SCRAM-SHA-256"]);
    assert_eq!(offered(Role::Submission, bound, true), ["REQUIRETLS", "AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS"]);
    let mut peer = Peer::logged_in();
    assert!(!peer.expect("EHLO a", "250").contains("AUTH"));
    peer.expect("MAIL FROM:<alice@mta.test> REQUIRETLS", "250");
    // RFC 8689 2: not where it was not offered.
    let mut stranger = Peer::with(settings(Role::Mx), None);
    stranger.expect("EHLO a", "250");
    stranger.expect("MAIL FROM:<x@evil.test> REQUIRETLS", "555 5.5.4");
    stranger.expect("MAIL FROM:<x@evil.test>", "250");
    let mut stranger = Peer::with(settings(Role::Mx), Some(Tls { channel_binding: true }));
    stranger.expect("HELO a", "250");
    stranger.expect("MAIL FROM:<x@evil.test> REQUIRETLS", "555 5.5.4");
    stranger.expect("EHLO a", "250");
    stranger.expect("MAIL FROM:<x@evil.test> REQUIRETLS", "250");
}

#[test]
fn small_commands() {
    let mut peer = Peer::with(settings(Role::Mx), None);
    peer.expect("NOOP", "250 2.0.0");
    peer.expect("HELP", "214 2.0.0");
    peer.expect("VRFY alice", "252 2.0.0");
    peer.expect("EXPN staff", "502 5.5.1");
    peer.expect("RSET", "250 2.0.0");
    peer.expect("MAIL FROM:<x@evil.test>", "503 5.5.1");
    peer.expect("HELO a", "250 mx.mta.test\r\n");
    peer.expect("MAIL FROM:<x@evil.test> SIZE=1", "555 5.5.4");
    peer.expect("MAIL FROM:<x@evil.test>", "250 2.1.0");
    peer.expect("RCPT TO:<alice@mta.test> NOTIFY=NEVER", "555 5.5.4");
    peer.expect("RCPT TO:<Postmaster>", "250 2.1.5");
    peer.expect("QUIT", "221 2.0.0");
}

#[test]
fn postmaster_may_be_nobody() {
    let mut peer = Peer::with(Settings { postmaster: None, ..settings(Role::Mx) }, None);
    peer.expect("EHLO a", "250");
    peer.expect("MAIL FROM:<>", "250");
    peer.expect("RCPT TO:<postmaster>", "550 5.1.1");
}

#[test]
fn verdicts_on_recipients() {
    let mut peer = Peer::mx();
    peer.expect("MAIL FROM:<x@evil.test>", "250");
    peer.expect("RCPT TO:<nosuch@mta.test>", "550 5.1.1");
    peer.expect("RCPT TO:<victim@remote.test>", "550 5.7.1");
    peer.expect("RCPT TO:<dave@mta.test>", "452 4.2.2");
    peer.expect("RCPT TO:<eve@mta.test>", "451 4.3.0");
    peer.expect("DATA", "554 5.5.1");
    peer.expect("RCPT TO:<alice@mta.test>", "503");
}

#[test]
fn a_recipient_given_twice_is_one() {
    let mut peer = Peer::ready();
    peer.expect("RCPT TO:<alice@MTA.test>", "250");
    peer.expect("DATA", "354");
    peer.expect_bytes(b"x\r\n.\r\n", "250");
    assert_eq!(peer.stored[0].1, ["alice@mta.test"]);
    assert_eq!(peer.log, ["recipient", "begin", "commit"]);
}

#[test]
fn verdicts_on_messages() {
    for (verdict, reply) in [
        (CommitVerdict::Loop, "554 5.4.6"),
        (CommitVerdict::Identity, "550 5.7.1"),
        (CommitVerdict::TooLarge, "552 5.3.4"),
        (CommitVerdict::NoRecipient, "554 5.1.1"),
        (CommitVerdict::Sender, "553 5.7.1"),
        (CommitVerdict::Unauthenticated, "550 5.7.1"),
        (CommitVerdict::Policy, "550 5.7.26"),
        (CommitVerdict::NotPassedOn, "550 5.7.1"),
        (CommitVerdict::Deferred, "451 4.3.0"),
        (CommitVerdict::RateLimited, "450 4.7.1"),
    ] {
        let mut peer = Peer::in_data();
        peer.commit = Some(verdict);
        peer.expect_bytes(b"x\r\n.\r\n", reply);
        peer.expect("DATA", "503");
        assert!(peer.stored.is_empty());
    }
}

#[test]
fn hello_and_reset_end_a_transaction_with_its_chunks() {
    for line in ["EHLO again", "HELO again", "RSET"] {
        let mut peer = Peer::ready();
        peer.expect_bytes(b"BDAT 3\r\na\r\n", "250");
        peer.expect(line, "250");
        assert_eq!(peer.log, ["recipient", "begin", "drop"]);
        peer.expect("BDAT 0 LAST", "503");
    }
}

#[test]
fn lost_storage_is_a_temporary_failure() {
    let mut peer = Peer::in_data();
    peer.storage_works = false;
    assert_eq!(peer.send(b"first\r\n"), "");
    peer.expect_bytes(b"second\r\n.\r\n", "451 4.3.0");
    assert_eq!(peer.log.last(), Some(&"drop"));

    let mut peer = Peer::in_data();
    peer.storage_works = false;
    peer.expect_bytes(b"all\r\n.\r\n", "451 4.3.0");

    let mut peer = Peer::ready();
    peer.storage_works = false;
    peer.expect_bytes(b"BDAT 3\r\na\r\n", "250");
    peer.expect_bytes(b"BDAT 3 LAST\r\nb\r\n", "451 4.3.0");
    assert!(peer.stored.is_empty() && peer.message.is_none());
}

#[test]
fn no_message_can_be_begun() {
    for (line, answer) in [("DATA\r\n", "451"), ("BDAT 3 LAST\r\nx\r\n", "451")] {
        let mut session = Peer::ready().session;
        let mut input = line.as_bytes();
        assert_eq!(session.step(&mut input, &mut Vec::new()), Step::Do(Action::BeginMessage));
        session.resume(Outcome::Began(false));
        let mut content = Vec::new();
        assert_eq!(session.step(&mut input, &mut content), Step::Read);
        assert!(session.output().starts_with(answer.as_bytes()));
        assert!(content.is_empty() && session.is_idle());
    }
}

#[test]
fn an_outcome_that_fits_nothing_accepts_nothing() {
    let mut session = Peer::ready().session;
    session.resume(Outcome::Committed(CommitVerdict::Accepted(Text::new("x").unwrap())));
    assert_eq!(session.step(&mut &b""[..], &mut Vec::new()), Step::Close);
    assert!(session.output().starts_with(b"421 4.3.0"));

    // A forgotten outcome neither.
    let mut session = Peer::ready().session;
    let mut input = &b"RCPT TO:<bob@mta.test>\r\nDATA\r\n"[..];
    assert!(matches!(session.step(&mut input, &mut Vec::new()), Step::Do(Action::CheckRecipient { .. })));
    assert_eq!(session.step(&mut input, &mut Vec::new()), Step::Close);
}

#[test]
fn shutting_down_and_timing_out() {
    let mut peer = Peer::ready();
    peer.expect_bytes(b"BDAT 3\r\na\r\n", "250");
    peer.session.shut_down();
    assert!(peer.send(b"").starts_with("421 4.3.2"));
    assert!(peer.closed && peer.log.last() == Some(&"drop"));
    let mut peer = Peer::mx();
    peer.session.time_out();
    assert!(peer.send(b"NOOP\r\n").starts_with("421 4.4.2"));
    assert!(peer.closed);
}

#[test]
fn patience_follows_the_mode() {
    let limits = Limits::DEFAULT;
    let command = Patience { each: limits.command_time, whole: None };
    let content = Patience { each: limits.block_time, whole: Some(limits.content_time) };
    assert_eq!(Peer::mx().session.patience(), command);
    assert_eq!(Peer::in_data().session.patience(), content);
    let mut peer = Peer::ready();
    assert_eq!(peer.send(b"BDAT 3\r\n"), "");
    assert_eq!(peer.session.patience(), content);
    peer.expect_bytes(b"a\r\n", "250");
    // Not yet at the end of the message.
    assert_eq!(peer.session.patience(), Patience { whole: content.whole, ..command });
}

/// However a session ends, the driver is told what becomes of the message that was begun.
#[test]
fn the_end_of_a_session_drops_its_message() {
    for begin in ["DATA\r\n", "BDAT 30\r\n"] {
        for end in [Session::shut_down, Session::time_out] {
            let mut peer = Peer::ready();
            peer.send(begin.as_bytes());
            peer.send(b"Subject: x\r\n");
            end(&mut peer.session);
            assert!(peer.send(b"").starts_with("421 ") && peer.closed);
            assert_eq!(peer.log.iter().filter(|name| **name == "drop").count(), 1, "{begin}");
        }
    }
}

/// Attack class SLOW: a message in many chunks has no more time than one in a single piece.
#[test]
fn chunks_share_the_time_of_one_message() {
    let mut peer = Peer::ready();
    assert_eq!(peer.session.patience().whole, None);
    for _ in 0..2 {
        peer.expect_bytes(b"BDAT 3\r\nabc", "250");
        assert_eq!(peer.session.patience().whole, Some(Limits::DEFAULT.content_time));
    }
    peer.expect_bytes(b"BDAT 2 LAST\r\n\r\n", "250");
    assert_eq!(peer.session.patience().whole, None);
}
