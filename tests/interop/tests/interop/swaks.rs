use crate::{assert_same, file, inbox, message, run};
use std::{path::PathBuf, process::Command};
use test_support::{Appliance, need, skip};

/// swaks ends what it is given with an empty line of its own: its file stops before the last one.
fn write(appliance: &Appliance, message: &[u8]) -> PathBuf {
    file(appliance, "message", message.strip_suffix(b"\r\n").unwrap())
}

#[test]
fn swaks_sends_to_mx_and_what_is_read_is_what_was_sent() {
    let Some(swaks) = need("swaks") else { return };
    let appliance = Appliance::mta_test();
    let sent = message("swaks-mx");
    let data = write(&appliance, &sent);
    run(Command::new(swaks)
        .args(["--server", "127.0.0.1", "--port", &appliance.port("mx").to_string(), "--ehlo", "client.remote.test"])
        .args(["--from", "carol@remote.test", "--to", "alice@mta.test", "--data"])
        .arg(format!("@{}", data.display())));
    let read = inbox(&appliance, "alice", 1);
    assert_eq!(read.len(), 1);
    assert_same(&sent, &read[0]);
}

#[test]
fn swaks_submits_with_starttls_and_login() {
    let Some(swaks) = need("swaks") else { return };
    if !Command::new("perl").args(["-MNet::SSLeay", "-e", "1"]).status().is_ok_and(|s| s.success()) {
        return skip("swaks has no TLS here: libnet-ssleay-perl is not installed");
    }
    let appliance = Appliance::mta_test();
    let sent = String::from_utf8(message("swaks-submission")).unwrap().replace("carol@remote.test", "bob@mta.test").into_bytes();
    let data = write(&appliance, &sent);
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
