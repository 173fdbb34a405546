use crate::{assert_same, file, inbox, message, run};
use std::process::Command;
use test_support::{Appliance, need};

/// swaks adds nothing to data that it is given whole, but ends it with an empty line of its own.
fn sent(subject: &str) -> Vec<u8> {
    message(subject)
}

#[test]
fn swaks_sends_to_mx_and_what_is_read_is_what_was_sent() {
    let Some(swaks) = need("swaks") else { return };
    let appliance = Appliance::mta_test();
    let sent = sent("swaks-mx");
    let data = file(&appliance, "message", &sent);
    run(Command::new(swaks)
        .args(["--server", "127.0.0.1", "--port", &appliance.port("mx").to_string(), "--ehlo", "client.example.org"])
        .args(["--from", "carol@remote.test", "--to", "alice@mta.test", "--data"])
        .arg(format!("@{}", data.display())));
    let read = inbox(&appliance, "alice", 1);
    assert_eq!(read.len(), 1);
    assert_same(&sent, &read[0]);
}

#[test]
fn swaks_submits_with_starttls_and_login() {
    let Some(swaks) = need("swaks") else { return };
    let appliance = Appliance::mta_test();
    let sent = String::from_utf8(sent("swaks-submission")).unwrap().replace("carol@remote.test", "bob@mta.test").into_bytes();
    let data = file(&appliance, "message", &sent);
    let (user, password) = appliance.account("bob");
    for mechanism in ["PLAIN", "LOGIN"] {
        run(Command::new(&swaks)
            .args(["--server", "127.0.0.1", "--port", &appliance.port("submission").to_string(), "--tls"])
            .args(["--auth", mechanism, "--auth-user", user, "--auth-password", password])
            .args(["--from", "bob@mta.test", "--to", "alice@mta.test", "--data"])
            .arg(format!("@{}", data.display())));
    }
    let read = inbox(&appliance, "alice", 2);
    assert_eq!(read.len(), 2);
    assert_same(&sent, &read[0]);
    assert_same(&sent, &read[1]);
}
