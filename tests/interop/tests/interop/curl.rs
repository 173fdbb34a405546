use crate::{assert_same, await_messages, file, message, run, stripped, url};
use std::process::Command;
use test_support::{Appliance, need};

#[test]
fn curl_submits_with_tls_and_reads_by_imap() {
    let Some(curl) = need("curl") else { return };
    let appliance = Appliance::mta_test();
    let sent = String::from_utf8(message("curl")).unwrap().replace("carol@remote.test", "bob@mta.test").into_bytes();
    let data = file(&appliance, "message", &sent);
    let login = |name| {
        let (user, password) = appliance.account(name);
        format!("{user}:{password}")
    };
    run(Command::new(&curl)
        .args(["-sS", "--cacert"])
        .arg(appliance.authority())
        .args([&url(&appliance, "smtps", "submissions"), "-u", &login("bob")])
        .args(["--mail-from", "bob@mta.test", "--mail-rcpt", "alice@mta.test", "-T"])
        .arg(&data));
    await_messages(&appliance, "alice", 1);
    let output = run(Command::new(&curl).args(["-sS", "--cacert"]).arg(appliance.authority()).args([
        &format!("{}/INBOX;MAILINDEX=1", url(&appliance, "imaps", "imaps")),
        "-u",
        &login("alice"),
    ]));
    assert_same(&sent, &stripped(&output.stdout));
}

/// What `postern up` tells a newcomer to do.
#[test]
fn the_two_commands_that_up_prints_work() {
    let Some(curl) = need("curl") else { return };
    let appliance = Appliance::demonstration();
    let data = file(&appliance, "message", b"From: you@remote.test\nTo: alice@example.test\nSubject: Hello\n\nThe first message.\n");
    run(Command::new(&curl)
        .args(["-sS", "--crlf", &format!("smtp://127.0.0.1:{}/client.remote.test", appliance.port("mx"))])
        .args(["--mail-from", "you@remote.test", "--mail-rcpt", "alice@example.test", "-T"])
        .arg(&data));
    await_messages(&appliance, "alice", 1);
    let (user, password) = appliance.account("alice");
    let output = run(Command::new(&curl).args(["-sS", "--cacert"]).arg(appliance.authority()).args([
        "-u",
        &format!("{user}:{password}"),
        &format!("{}/INBOX;MAILINDEX=1", url(&appliance, "imaps", "imaps")),
    ]));
    let sent = b"From: you@remote.test\r\nTo: alice@example.test\r\nSubject: Hello\r\n\r\nThe first message.\r\n";
    assert_same(sent, &stripped(&output.stdout));
}
