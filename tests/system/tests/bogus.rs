//! A domain whose DNSSEC signatures do not hold: its mail waits, and never goes to where the unsigned answer points.

use system::{Appliance, World};

#[test]
fn bogus_answers_defer() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    world.submit("bob@bogus.test", "must not leave").unwrap();
    let waiting = world.deferred().unwrap();
    assert!(waiting.contains("bob@bogus.test") && waiting.contains("DNSSEC"), "{waiting}");
    // Postfix, which receives for it, was never asked.
    assert!(!std::fs::read_to_string(world.directory().join("postfix.log")).unwrap_or_default().contains("bogus.test"), "{}", world.told());
}
