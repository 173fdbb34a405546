//! A destination's MTA-STS policy, fetched from a real HTTPS server, against a real Postfix: the certificate must name the host.

use system::{Appliance, World};

#[test]
fn a_policy_to_enforce_is_enforced() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    world.submit("bob@sts.test", "with the certificate that the policy asks for").unwrap();
    assert!(world.receives("sts").unwrap().contains("(Postfix) with ESMTPS"));

    // The same Postfix under a name that its certificate does not have.
    world.submit("bob@wrong.test", "must not leave").unwrap();
    world.deferred("bob@wrong.test", "certificate").unwrap();
    assert_eq!(world.received("wrong").unwrap(), Vec::<String>::new(), "{}", world.told());
    assert_eq!(world.verify().unwrap(), 1);
}
