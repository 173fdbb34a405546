//! The name servers are gone for a while: mail waits, and leaves when they are back.

use std::time::Duration;
use system::{Appliance, World, eventually};

#[test]
fn mail_waits_for_the_dns() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    world.dns(false).unwrap();
    world.submit("bob@plain.test", "without a name server").unwrap();
    world.deferred("bob@plain.test", "").unwrap();
    assert_eq!(world.received("plain").unwrap(), Vec::<String>::new());
    world.dns(true).unwrap();
    let left = || {
        appliance.sh("postern queue retry --destination plain.test").ok()?;
        world.received("plain").ok().filter(|found| !found.is_empty())
    };
    let found = eventually("the message", Duration::from_secs(60), left).unwrap_or_else(|e| panic!("{e}\n{}", world.told()));
    assert!(found.len() == 1 && found[0].contains("Subject: without a name server"), "{found:?}");
    assert_eq!(appliance.sh("postern queue list --json").unwrap().trim(), "[]");
}
