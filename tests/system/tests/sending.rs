//! Mail leaves: to a real Postfix, by a signed DNS, over TLS as DANE wants it, signed, and accounted for.

use std::{collections::BTreeSet, path::Path};
use system::{ALICE, Appliance, PYTHON, World, eventually, run};

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
    assert!(received.contains("with ESMTPS"), "{received}");
    // RFC 6409 8: what the client left out.
    assert!(received.contains("\nDate: ") && received.contains("\nMessage-ID: <"), "{received}");

    let records = appliance.run(&["postern", "dns", "--json", "example.test"]).unwrap().ok("postern dns").unwrap();
    let (records, file) =
        (world.file("records.json", records.as_bytes()).unwrap(), world.file("message.eml", received.as_bytes()).unwrap());
    let script = world.file("verify.py", include_bytes!("../src/verify.py")).unwrap();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let verified = run(&[PYTHON, &text(&script), &text(&records), &text(&file)], b"").unwrap();
    let algorithms: BTreeSet<String> = verified.clone().ok("dkimpy").unwrap().lines().map(str::to_owned).collect();
    assert_eq!(algorithms, ["ed25519-sha256", "rsa-sha256"].map(str::to_owned).into(), "{verified:?}");

    // Without TLSA records there is nothing to hold the host to.
    world.submit("bob@plain.test", "opportunistic").unwrap();
    assert!(world.receives("plain").unwrap().contains("with ESMTPS"));

    // RFC 7672 2.2: a certificate that the TLSA record does not vouch for gets nothing.
    world.submit("bob@bad.test", "must not leave").unwrap();
    let waiting = world.deferred().unwrap();
    assert!(waiting.contains("bob@bad.test"), "{waiting}");
    assert_eq!(world.received("bad").unwrap(), Vec::<String>::new());

    // Whom the other side does not know, the sender hears of.
    world.submit("nobody@good.test", "to nobody").unwrap();
    let returned = eventually("the report", std::time::Duration::from_secs(60), || {
        let found = appliance.fetch(ALICE, "").ok()?;
        found.into_iter().find(|m| m.contains("message/delivery-status"))
    });
    let returned = returned.unwrap_or_else(|e| panic!("{e}\n{}", world.told()));
    for part in
        ["Return-Path: <>", "Final-Recipient: rfc822; nobody@good.test", "Action: failed", "Status: 5.1.1", "Remote-MTA: dns; mx.good.test"]
    {
        assert!(returned.contains(part), "{part} in {returned}");
    }
}
