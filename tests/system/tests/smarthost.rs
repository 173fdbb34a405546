//! Ways for senders and for destinations, in one configuration: smarthosts that are a real Postfix with SASL, and none. A wrong password waits.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use system::{ALICE, Appliance, PASSWORD, World};

const CAROL: &str = "carol@second.test";
const TABLES: &str = r#"
[domains."second.test"]
[accounts."carol@second.test"]

[send.smarthosts.relay]
host = "smtp.relay.test"
tls = "starttls"
user = "postern"

[send.smarthosts.other]
host = "smtp.relay.test"
user = "second"

# Its certificate is for another name.
[send.smarthosts.wrong]
host = "mx.plain.test"
user = "postern"

[send.senders]
"example.test" = "relay"

[send.domains."far.test"]
smarthost = "other"

[send.domains."plain.test"]
smarthost = "wrong"
"#;

#[test]
fn each_sender_and_destination_has_its_way() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let password = |name: &str, password: &str| {
        appliance.put(&format!("/etc/credstore/smarthost.{name}"), format!("{password}\n").as_bytes(), 0o600).unwrap();
    };
    password("relay", "not the password of postern");
    password("wrong", "the password of postern");
    password("other", "the password of second");
    let world = World::around_with(&appliance, TABLES).unwrap();
    appliance
        .run_with(&["postern", "account", "passwd", "--stdin", CAROL], format!("{PASSWORD}\n").as_bytes())
        .unwrap()
        .ok("passwd")
        .unwrap();
    let submit = |from: &str, to: &str| {
        let text = format!("From: <{from}>\r\nTo: {to}\r\nSubject: by way of\r\n\r\nx\r\n");
        appliance.submit(from, to, text.as_bytes()).unwrap();
    };

    // By its sender, although the destination has another way; far.test is in no DNS.
    submit(ALICE, "bob@far.test");
    world.deferred("bob@far.test", "refused the login").unwrap();
    assert_eq!(world.received("far").unwrap(), Vec::<String>::new());
    // By its destination.
    submit(CAROL, "bob@far.test");
    let received = world.receives("far").unwrap();
    assert!(received.contains("with ESMTPSA") && received.contains("(Authenticated sender: second@relay.test)"), "{received}");
    assert!(received.contains("Return-Path: <carol@second.test>"), "{received}");
    // By nobody.
    submit(CAROL, "bob@good.test");
    let received = world.receives("bob").unwrap();
    assert!(received.contains("(Postfix) with ESMTPS") && !received.contains("Authenticated"), "{received}");
    // To one who cannot show who it is, no password is said.
    submit(CAROL, "bob@plain.test");
    world.deferred("bob@plain.test", "certificate").unwrap();
    assert_eq!(world.received("plain").unwrap(), Vec::<String>::new());

    password("relay", "the password of postern");
    appliance.sh("systemctl restart postern-send").unwrap();
    appliance.wait_until_active().unwrap();
    world.retry(":relay").unwrap();
    let found = world.receives_all("far", 2).unwrap();
    assert!(found.iter().any(|message| message.contains("(Authenticated sender: postern@relay.test)")), "{found:?}");
    // The better of what each offers.
    let log = world.postfix_log();
    for (method, user) in [("SCRAM-SHA-256", "postern"), ("LOGIN", "second")] {
        assert!(log.contains(&format!("sasl_method={method}, sasl_username={user}@relay.test")), "{method}: {log}");
    }
    assert_eq!(log.matches("authentication failed").count(), 1, "{log}");
    assert_eq!(world.verify().unwrap(), 3);
}
