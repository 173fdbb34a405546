//! AUTH, and what submission does without it.

use super::*;

#[test]
fn submission_without_login_accepts_nothing() {
    let mut peer = Peer::submission(false);
    peer.expect("MAIL FROM:<alice@mta.test>", "530 5.7.0 Must issue a STARTTLS");
    peer.expect("RCPT TO:<bob@mta.test>", "503");
    peer.expect("AUTH PLAIN AGFsaWNlAHg=", "538 5.7.11");
    peer.expect("STARTTLS", "220");
    peer.expect("AUTH PLAIN AGFsaWNlAHg=", "503");
    peer.expect("EHLO a", "250");
    peer.expect("MAIL FROM:<alice@mta.test>", "530 5.7.0 Authentication required");
    peer.expect("DATA", "503");
    peer.expect_bytes(b"BDAT 3 LAST\r\na\r\n", "503");
    assert_eq!(peer.log, ["tls"]);
}

#[test]
fn mx_has_no_login() {
    let mut peer = Peer::with(settings(Role::Mx), Some(Tls { channel_binding: true }));
    assert!(!peer.expect("EHLO a", "250").contains("AUTH"));
    peer.expect("AUTH PLAIN AGFsaWNlAHg=", "502");
}

#[test]
fn plain_with_and_without_initial_response() {
    let mut peer = Peer::logged_in();
    peer.expect("AUTH PLAIN AGFsaWNlAHg=", "503 5.5.1");
    peer.expect("MAIL FROM:<bob@mta.test>", "553 5.7.1");
    peer.expect("MAIL FROM:<alice@mta.test> AUTH=<>", "250");
    peer.expect("AUTH PLAIN AGFsaWNlAHg=", "503");
    peer.expect("RCPT TO:<v@remote.test>", "250");
    peer.expect("DATA", "354");
    peer.expect_bytes(b"x\r\n.\r\n", "250");
    assert_eq!(peer.stored.len(), 1);

    let mut peer = Peer::submission(true);
    peer.expect("AUTH PLAIN", "334 \r\n");
    peer.auth.push_back(AuthVerdict::Success(None));
    peer.expect("AGFsaWNlAHg=", "235 2.7.0");
}

#[test]
fn login_is_plain_in_two_lines() {
    let mut peer = Peer::submission(true);
    peer.expect("AUTH LOGIN", "334 VXNlcm5hbWU6\r\n");
    peer.expect("YWxpY2U=", "334 UGFzc3dvcmQ6\r\n");
    peer.auth.push_back(AuthVerdict::Refused);
    peer.expect("eA==", "535 5.7.8");
    peer.expect("AUTH LOGIN YWxpY2U=", "334 UGFzc3dvcmQ6\r\n");
    peer.auth.push_back(AuthVerdict::Success(None));
    peer.expect("eA==", "235");
    assert_eq!(peer.log, ["auth", "auth"]);
}

#[test]
fn scram_shows_the_servers_last_message_before_success() {
    let mut peer = Peer::submission(true);
    peer.auth.extend([AuthVerdict::Challenge(b"r=x".to_vec()), AuthVerdict::Success(Some(b"v=y".to_vec()))]);
    peer.expect("AUTH SCRAM-SHA-256-PLUS cD10bHMtZXhwb3J0ZXI=", "334 cj14\r\n");
    peer.expect("Yz0=", "334 dj15\r\n");
    peer.expect("MAIL FROM:<alice@mta.test>", "501");
    assert_eq!(peer.log, ["auth", "continue", "abort"]);
    peer.expect("MAIL FROM:<alice@mta.test>", "530");

    let mut peer = Peer::submission(true);
    peer.auth.extend([AuthVerdict::Challenge(b"r=x".to_vec()), AuthVerdict::Success(Some(b"v=y".to_vec()))]);
    peer.expect("AUTH SCRAM-SHA-256 biws", "334 cj14\r\n");
    peer.expect("Yz0=", "334 dj15\r\n");
    peer.expect("", "235");
    assert_eq!(peer.log, ["auth", "continue"]);
}

/// Attack case AUTH-08: an exchange is consumed by whatever ends it.
#[test]
fn switching_mechanism_in_an_exchange() {
    let mut peer = Peer::submission(true);
    peer.auth.push_back(AuthVerdict::Challenge(b"r=x".to_vec()));
    peer.expect("AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiYw==", "334 ");
    peer.expect("AUTH PLAIN AGFsaWNlAHg=", "501 5.5.2");
    peer.expect("*", "500");
    peer.expect("MAIL FROM:<alice@mta.test> AUTH=<>", "530");
    assert_eq!(peer.log, ["auth", "abort"]);
}

#[test]
fn an_exchange_can_be_cancelled() {
    let mut peer = Peer::submission(true);
    peer.expect("AUTH PLAIN", "334");
    peer.expect("*", "501 5.7.0");
    peer.auth.push_back(AuthVerdict::Challenge(Vec::new()));
    peer.expect("AUTH SCRAM-SHA-256 biws", "334");
    peer.expect("*", "501");
    assert_eq!(peer.log, ["auth", "abort"]);
    peer.expect("NOOP", "250");
}

#[test]
fn mechanisms_that_are_not_offered() {
    let mut peer = Peer::with(settings(Role::Submission), Some(Tls { channel_binding: false }));
    peer.expect("AUTH PLAIN AA==", "503");
    peer.expect("HELO a", "250");
    peer.expect("AUTH PLAIN AA==", "503");
    peer.expect("EHLO a", "250");
    for mechanism in ["SCRAM-SHA-256-PLUS", "CRAM-MD5", "SCRAM-SHA-1", "NTLM", "EXTERNAL", "ANONYMOUS"] {
        peer.expect(&format!("AUTH {mechanism}"), "504 5.5.4");
    }
}

#[test]
fn failures_have_their_replies_and_an_end() {
    for (verdict, reply) in
        [(AuthVerdict::Refused, "535 5.7.8"), (AuthVerdict::Malformed, "501 5.5.2"), (AuthVerdict::Unavailable, "454 4.7.0")]
    {
        let mut peer = Peer::submission(true);
        for _ in 0..Limits::DEFAULT.failed_logins {
            peer.auth.push_back(verdict.clone());
            peer.expect("AUTH PLAIN AGFsaWNlAHg=", reply);
        }
        peer.auth.push_back(verdict);
        peer.expect("AUTH PLAIN AGFsaWNlAHg=", "421 4.7.0");
        assert!(peer.closed);
    }
}

/// Attack case RLY-03, the envelope's part.
#[test]
fn the_sender_must_be_the_accounts_own() {
    let mut peer = Peer::logged_in();
    peer.expect("MAIL FROM:<bob@mta.test>", "553 5.7.1");
    peer.expect("RCPT TO:<v@remote.test>", "503");
    peer.expect("DATA", "503");
}
