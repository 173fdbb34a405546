//! Mail from a world with policies: judged by them, refused in our name, and sealed when an alias passes it on.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use system::{ALICE, Appliance, World};

fn message(from: &str, subject: &str) -> Vec<u8> {
    format!(
        "Authentication-Results: mail.example.test; dmarc=pass\r\nFrom: <{from}>\r\nTo: {ALICE}\r\nSubject: {subject}\r\n\r\nHello.\r\n"
    )
    .into_bytes()
}

#[test]
fn mail_is_judged_by_what_its_domain_publishes() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    let deliver = |sender: &str, from: &str, subject: &str| {
        appliance.deliver(sender, ALICE, &message(from, subject)).map_err(|failure| failure.to_string())
    };
    let read = |subject: &str| appliance.fetch(ALICE, subject).unwrap().concat();

    // The world sends from where good.test says.
    deliver("x@good.test", "x@good.test", "one").unwrap();
    let one = read("one");
    for result in ["spf=pass smtp.mailfrom=good.test", "dkim=none", "dmarc=pass (p=reject) header.from=good.test", "arc=none"] {
        assert!(one.contains(result), "{result}: {one}");
    }
    // What claimed to be ours is gone, and ours is there once.
    assert_eq!(one.matches("Authentication-Results").count(), 1, "{one}");
    // RFC 9989 7.4: as its domain asks.
    let refused = deliver("x@sts.test", "x@good.test", "two").unwrap_err();
    assert!(refused.contains("5.7.26"), "{refused}");
    // A policy that leads to itself is none that lets anybody in.
    let refused = deliver("x@plain.test", "x@plain.test", "three").unwrap_err();
    assert!(refused.contains("5.7.26"), "{refused}");
    // Attack case RLY-04: nothing is published for example.test here.
    let refused = deliver(ALICE, ALICE, "four").unwrap_err();
    assert!(refused.contains("5.7.1"), "{refused}");
    // Suspicion: it is kept apart.
    deliver("x@old.test", "x@old.test", "five").unwrap();
    // RFC 8617: what an alias passes on is sealed, and dkimpy agrees; what is changed behind it is found out.
    appliance.sh("postern alias add team@example.test bob@good.test").unwrap();
    appliance.deliver("x@good.test", "team@example.test", &message("x@good.test", "seven")).unwrap();
    let sealed = world.receives("bob").unwrap();
    assert!(sealed.contains("ARC-Authentication-Results: i=1; mail.example.test;"), "{sealed}");
    assert!(sealed.contains("spf=pass smtp.mailfrom=good.test"), "{sealed}");
    let from_seal = sealed.find("ARC-Seal:").map(|at| &sealed[at..]).unwrap();
    assert_eq!(world.chain(from_seal).unwrap(), "pass 1");
    assert!(world.chain(&from_seal.replace("Hello.", "Hallo.")).unwrap().starts_with("fail"));

    // Without a DNS nothing is refused for that.
    world.dns(false).unwrap();
    deliver("x@forged.test", "x@forged.test", "six").unwrap();
    assert!(read("six").contains("dmarc=temperror header.from=forged.test"));
    // It came before "six", and is in Junk.
    assert!(!appliance.fetch(ALICE, "").unwrap().concat().contains("Subject: five"));
}
