//! Mail leaves: to a real Postfix, by a signed DNS, over TLS as DANE wants it, signed, and accounted for.

use std::{collections::BTreeSet, path::Path};
use system::{ALICE, Appliance, World, eventually, run};
use test_support::{need, skip};

/// Debian's own python3 sees Debian's dkimpy.
const PYTHON: &str = "/usr/bin/python3";

/// Whether the programs of the world are there.
fn programs() -> bool {
    let able = run(&[PYTHON, "-c", "import dkim, nacl"], b"").is_ok_and(|outcome| outcome.success());
    if !able {
        skip("no python3 with dkimpy and pynacl");
    }
    // No shortcut: every missing program is named.
    ["knotd", "kdig", "postfix", "openssl"].iter().filter(|program| need(program).is_none()).count() == 0 && able
}

fn message(to: &str, subject: &str) -> String {
    format!("From: Alice <{ALICE}>\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nGr\u{fc}\u{df}e\r\n.\r\n \t \r\n\r\n")
}

#[test]
fn mail_leaves_signed_and_only_to_whom_the_dns_vouches_for() {
    if !programs() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();

    appliance.submit(ALICE, "bob@good.test", message("bob@good.test", "leaves").as_bytes()).unwrap();
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
    appliance.submit(ALICE, "bob@plain.test", message("bob@plain.test", "opportunistic").as_bytes()).unwrap();
    assert!(world.receives("plain").unwrap().contains("with ESMTPS"));

    // RFC 7672 2.2: a certificate that the TLSA record does not vouch for gets nothing.
    appliance.submit(ALICE, "bob@bad.test", message("bob@bad.test", "must not leave").as_bytes()).unwrap();
    let waiting = eventually("the deferral", std::time::Duration::from_secs(60), || {
        let list = appliance.sh("postern queue list --json").ok()?;
        let list: serde_json::Value = serde_json::from_str(&list).ok()?;
        let id = list.as_array()?.iter().find_map(|m| m["id"].as_str())?.to_owned();
        let shown = appliance.sh(&format!("postern queue show {id}")).ok()?;
        shown.contains("deferred").then_some(shown)
    });
    let waiting = waiting.unwrap_or_else(|e| panic!("{e}\n{}", world.told()));
    assert!(waiting.contains("bob@bad.test"), "{waiting}");
    assert_eq!(world.received("bad").unwrap(), Vec::<String>::new());

    // Whom the other side does not know, the sender hears of.
    appliance.submit(ALICE, "nobody@good.test", message("nobody@good.test", "to nobody").as_bytes()).unwrap();
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
