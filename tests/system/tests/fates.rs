//! A real Postfix that takes a message for one recipient, refuses the second and greylists the third: each has its own fate, the sender hears
//! once, and whoever is greylisted comes back.

use system::{ALICE, Appliance, World};

#[test]
fn recipients_of_one_message_have_each_their_own_fate() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    let text = format!("From: Alice <{ALICE}>\r\nTo: friends:;\r\nSubject: three fates\r\n\r\nx\r\n");
    appliance.submit_to(ALICE, &["bob@good.test", "refused@good.test", "grey@good.test"], text.as_bytes()).unwrap();
    world.receives("bob").unwrap();
    world.deferred("grey@good.test", "451 4.7.1").unwrap();
    world.deferred("grey@good.test", "greylisted").unwrap();
    assert_eq!(world.received("grey").unwrap(), Vec::<String>::new());

    let reports = || appliance.fetch(ALICE, "").unwrap();
    let report = reports().pop().unwrap_or_default();
    for part in ["Final-Recipient: rfc822; refused@good.test", "Action: failed", "Status: 5.7.1", "550 5.7.1", "not from you"] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert!(!report.contains("grey@good.test") && !report.contains("bob@good.test"), "{report}");

    world.accept().unwrap();
    world.retry("good.test").unwrap();
    world.receives("grey").unwrap();
    world.queue_is_empty().unwrap();
    // Nobody hears or gets anything twice, and who was refused gets nothing later.
    let counts = ["bob", "grey", "refused"].map(|mailbox| world.received(mailbox).unwrap().len());
    assert_eq!((counts, reports().len(), world.verify().unwrap()), ([1, 1, 0], 1, 2), "{}", world.told());
}
