//! Mail leaves: to a real Postfix, by a signed DNS, over TLS as DANE wants it, signed, and accounted for.

use system::{ALICE, Appliance, World};

#[test]
fn mail_leaves_signed_and_only_to_whom_the_dns_vouches_for() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();

    world.submit("bob@good.test", "leaves").unwrap();
    let received = world.receives("bob").unwrap();
    assert!(received.contains("Return-Path: <alice@example.test>"), "{received}");
    assert!(received.contains("(Postfix) with ESMTPS"), "{received}");
    // RFC 6409 8: what the client left out.
    assert!(received.contains("\nDate: ") && received.contains("\nMessage-ID: <"), "{received}");

    // Without TLSA records there is nothing to hold the host to.
    world.submit("bob@plain.test", "opportunistic").unwrap();
    assert!(world.receives("plain").unwrap().contains("(Postfix) with ESMTPS"));

    // RFC 7672 2.2: a certificate that the TLSA record does not vouch for gets nothing.
    world.submit("bob@bad.test", "must not leave").unwrap();
    world.deferred("bob@bad.test", "").unwrap();
    assert_eq!(world.received("bad").unwrap(), Vec::<String>::new());

    // Whom the other side does not know, the sender hears of.
    world.submit("nobody@good.test", "to nobody").unwrap();
    let returned = world.wait("the report", || {
        let found = appliance.fetch(ALICE, "").ok()?;
        found.into_iter().find(|m| m.contains("message/delivery-status"))
    });
    let returned = returned.unwrap();
    for part in
        ["Return-Path: <>", "Final-Recipient: rfc822; nobody@good.test", "Action: failed", "Status: 5.1.1", "Remote-MTA: dns; mx.good.test"]
    {
        assert!(returned.contains(part), "{part} in {returned}");
    }
    assert_eq!(world.verify().unwrap(), 2);
}
