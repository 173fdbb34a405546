//! Messages of every shape leave, to a Postfix that takes everything and to one that takes seven bits: dkimpy verifies each on arrival.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use system::{ALICE, Appliance, World};

/// A name, what stands in the header beside From, and the body.
fn shapes() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let long = "x".repeat(960);
    let references: String = (0..60).map(|number| format!("\r\n <{number}.{}@example.test>", "y".repeat(60))).collect();
    vec![
        ("white lines at the end", text("Subject: x\r\n"), text("text\r\n \r\n\t\r\n \t \r\n\r\n\r\n")),
        ("white lines alone", text("Subject: x\r\n"), text(" \r\n\t \t\r\n\r\n")),
        ("an empty body", text("Subject: x\r\n"), text("")),
        ("white space everywhere", text("Subject:  a \t b \r\n\t c\t \r\nTo:\r\n  friends:;\r\n"), text("a  b\t\tc \r\n\r\n\r\n d\t\r\n")),
        ("dots", text("Subject: x\r\n"), text(".\r\n..\r\n.a\r\n...\r\n.\r\n")),
        ("long header lines", text(&format!("Subject: {long}\r\nReferences:{references}\r\nX-Long: {long}\r\n")), text("x\r\n")),
        ("long lines", text("Subject: x\r\n"), text(&format!("{0}\r\n{0} \r\n", "z".repeat(997)))),
        ("fields that are there twice", text("Subject: x\r\nComments: a\r\nComments: b\r\nList-Id: <a.b>\r\n"), text("x\r\n")),
        (
            "Latin-1",
            text("Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n"),
            b"Gr\xfc\xdfe \r\n\xa0\r\n".to_vec(),
        ),
        (
            "parts",
            text("Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"-- a\"\r\n"),
            text(
                "preamble\r\n---- a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u{fc}\u{df}e\t\r\n\
                 ---- a\r\n\r\nplain\r\n---- a--\r\nepilogue \r\n\r\n",
            ),
        ),
    ]
}

#[test]
fn every_message_that_leaves_is_signed_so_that_others_can_verify_it() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    let message = |header: &[u8], body: &[u8]| [format!("From: Alice <{ALICE}>\r\n").as_bytes(), header, b"\r\n", body].concat();
    let shapes = shapes();
    for (_, header, body) in &shapes {
        appliance.submit_to(ALICE, &["bob@good.test", "bob@old.test"], &message(header, body)).unwrap();
    }
    let arrived = world.receives_all("bob", shapes.len()).unwrap();
    assert!(arrived.iter().any(|m| m.contains("Gr\u{fffd}\u{fffd}e")) && arrived.iter().any(|m| m.contains("Gr\u{fc}\u{df}e")));
    let converted = world.receives_all("old", shapes.len()).unwrap();
    assert!(converted.iter().all(|m| m.is_ascii()));
    assert!(converted.iter().any(|m| m.contains("Gr=FC=DFe")) && converted.iter().any(|m| m.contains("Gr=C3=BC=C3=9Fe")), "{converted:?}");

    // RFC 6531: an address and a header beyond ASCII arrive as they are, or their sender hears why not.
    let header = "To: b\u{fc}ro@good.test\r\nSubject: Gr\u{fc}\u{df}e \u{2713}\r\n";
    appliance.submit(ALICE, "b\u{fc}ro@good.test", &message(header.as_bytes(), "Gr\u{fc}\u{df}e\r\n".as_bytes())).unwrap();
    let received = world.receives("utf8").unwrap();
    assert!(received.contains("with UTF8SMTPS") && received.contains(header.trim_end().replace('\r', "").as_str()), "{received}");
    appliance.submit(ALICE, "bob@old.test", &message(header.as_bytes(), b"x\r\n")).unwrap();
    let report = world.wait("the report", || appliance.fetch(ALICE, "").ok()?.pop()).unwrap();
    assert!(report.contains("Status: 5.6.7") && report.contains("bob@old.test"), "{report}");

    world.queue_is_empty().unwrap();
    assert_eq!(world.verify().unwrap(), 2 * shapes.len() + 1);

    // And it would have said so.
    for (changed, why) in [
        (received.replace("Gr\u{fc}\u{df}e\n", "Gru\u{df}\n"), "body hash mismatch"),
        (received.replace("\nSubject: ", "\nSubject: no "), "does not hold"),
        (received.replace("DKIM-Signature", "X-Signature"), "signed for"),
    ] {
        world.put("changed", &changed).unwrap();
        let failure = world.verify().unwrap_err().to_string();
        assert!(failure.contains("/changed/") && failure.contains(why), "{failure}");
    }
}
