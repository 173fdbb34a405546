//! The operator's commands against a running appliance.

use serde_json::Value;
use std::{fs, process::Command};
use test_support::{Appliance, Imap, Smtp, binaries, eventually};

fn good(appliance: &Appliance, arguments: &[&str], input: &str) -> String {
    let output = appliance.postern(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// One line on standard error and status 1.
fn bad(appliance: &Appliance, arguments: &[&str], input: &str) -> String {
    let output = appliance.postern(arguments, input);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{arguments:?}: {error}");
    error
}

fn json(appliance: &Appliance, arguments: &[&str]) -> Value {
    serde_json::from_str(&good(appliance, arguments, "")).unwrap()
}

#[test]
fn an_account_is_added_used_changed_and_removed() {
    let appliance = Appliance::mta_test();
    good(&appliance, &["account", "add", "dave@mta.test", "--quota", "5 MiB", "--stdin"], "first password\n");
    assert_eq!(Imap::login_as(&appliance, "dave@mta.test", "first password").count("INBOX"), 0);
    let all = json(&appliance, &["account", "list", "--json"]);
    let dave = all.as_array().unwrap().iter().find(|a| a["address"] == "dave@mta.test").unwrap();
    assert_eq!((&dave["declared"], &dave["can_log_in"], &dave["quota"]), (&Value::from(false), &Value::from(true), &Value::from(5 << 20)));

    let mut idle = Imap::login_as(&appliance, "dave@mta.test", "first password");
    let mut submission = Smtp::connect(&appliance, "submissions");
    assert_eq!(submission.auth("dave@mta.test", "first password").code, 235);
    good(&appliance, &["account", "passwd", "dave@mta.test", "--stdin"], "second password\n");
    // Who logged in with the old one has nothing any more.
    assert!(idle.response().unwrap().0.starts_with(b"* BYE "));
    assert_eq!(submission.command("MAIL FROM:<dave@mta.test>").code, 451);
    Imap::login_as(&appliance, "dave@mta.test", "second password");
    let mut imap = Imap::connect(&appliance);
    assert!(!imap.command("LOGIN dave@mta.test \"first password\"").ok());

    good(&appliance, &["account", "remove", "dave@mta.test"], "");
    let mut imap = Imap::connect(&appliance);
    assert!(!imap.command("LOGIN dave@mta.test \"second password\"").ok());
    let reply = Smtp::connect(&appliance, "mx").send("carol@remote.test", &["dave@mta.test"], b"\r\n");
    assert_eq!(reply.code, 550, "{reply:?}");
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let appliance = Appliance::mta_test();
    assert!(bad(&appliance, &["account", "add", "dave@other.test", "--no-password"], "").contains("not hosted"));
    assert!(bad(&appliance, &["account", "add", "alice@mta.test", "--no-password"], "").contains("exists already"));
    assert!(bad(&appliance, &["account", "remove", "alice@mta.test"], "").contains("configuration file"));
    assert!(bad(&appliance, &["account", "passwd", "nobody@mta.test", "--stdin"], "some password\n").contains("no such entry"));
    assert!(bad(&appliance, &["account", "passwd", "alice@mta.test", "--stdin"], "seven77\n").contains("at least 8 characters"));
    assert!(bad(&appliance, &["account", "passwd", "alice@mta.test"], "").contains("--stdin"));
    assert!(bad(&appliance, &["domain", "remove", "mta.test"], "").contains("configuration file"));
    assert!(bad(&appliance, &["queue", "show", "1"], "").contains("no message"));
    assert!(bad(&appliance, &["queue", "delete", "1"], "").contains("no message"));
    assert!(bad(&appliance, &["--edges", "/nonexistent", "queue", "list"], "").contains("is postern running"));
}

#[test]
fn a_domain_and_an_alias_are_added_used_and_removed() {
    let appliance = Appliance::mta_test();
    good(&appliance, &["domain", "add", "second.test"], "");
    good(&appliance, &["alias", "add", "team@second.test", "alice@mta.test", "bob@mta.test"], "");
    assert!(bad(&appliance, &["domain", "remove", "second.test"], "").contains("still use"));
    let aliases = json(&appliance, &["alias", "list", "--json"]);
    assert!(
        aliases.as_array().unwrap().iter().any(|a| a["address"] == "team@second.test" && a["targets"][1] == "bob@mta.test"),
        "{aliases}"
    );

    let message = b"From: carol@remote.test\r\nSubject: x\r\n\r\n";
    let reply = Smtp::connect(&appliance, "mx").send("carol@remote.test", &["team@second.test"], message);
    assert_eq!(reply.code, 250, "{reply:?}");
    for account in ["alice", "bob"] {
        let mut imap = Imap::login(&appliance, account);
        eventually("the delivery", || (imap.count("INBOX") == 1).then_some(()));
    }
    good(&appliance, &["alias", "remove", "team@second.test"], "");
    good(&appliance, &["domain", "remove", "second.test"], "");
    let domains = json(&appliance, &["domain", "list", "--json"]);
    assert_eq!(domains.as_array().unwrap().len(), 1, "{domains}");
}

#[test]
fn mail_for_elsewhere_waits_in_the_queue_until_it_is_deleted() {
    let appliance = Appliance::mta_test();
    let (address, password) = appliance.account("alice");
    let mut smtp = Smtp::connect(&appliance, "submissions");
    assert_eq!(smtp.auth(address, password).code, 235);
    let message = b"From: alice@mta.test\r\nTo: carol@remote.test\r\nSubject: away\r\n\r\nhello\r\n";
    assert_eq!(smtp.send(address, &["carol@remote.test"], message).code, 250);

    let list = json(&appliance, &["queue", "list", "--json"]);
    assert_eq!((list.as_array().unwrap().len(), &list[0]["waiting"]), (1, &Value::from(1)), "{list}");
    let id = list[0]["id"].as_str().unwrap();
    let shown = json(&appliance, &["queue", "show", id, "--json"]);
    assert_eq!(shown["recipients"][0]["address"], "carol@remote.test");
    assert!(good(&appliance, &["queue", "list"], "").contains(id));
    assert!(good(&appliance, &["queue", "show", id], "").contains("carol@remote.test"));
    good(&appliance, &["queue", "retry", id], "");
    good(&appliance, &["queue", "flush"], "");
    assert_eq!(json(&appliance, &["queue", "list", "--json"]).as_array().unwrap().len(), 1, "it is not lost by a try");
    good(&appliance, &["queue", "delete", id], "");
    assert_eq!(json(&appliance, &["queue", "list", "--json"]), Value::Array(Vec::new()));
}

#[test]
fn check_names_every_mistake_with_key_line_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("postern.toml");
    fs::write(&file, "hostname = \"mail.example.org\"\ncolour = \"blue\"\n[domains.\"example.org\"]\ncatch_all = \"nobody\"\n").unwrap();
    let check = || Command::new(binaries().join("postern")).arg("check").arg(&file).output().unwrap();
    let output = check();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("line 2: colour: ") && error.contains("line 4: "), "{error}");
    fs::write(&file, "hostname = \"mail.example.org\"\n[domains.\"example.org\"]\n").unwrap();
    assert!(check().status.success());
}
