//! Domains whose DNSSEC signatures do not hold, all of them or those of TLSA records alone: their mail waits, and never goes to where the
//! unsigned answer points, nor to a host that the forged records vouch for.

use system::{Appliance, World};

#[test]
fn bogus_answers_defer() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    for (domain, why) in [("bogus.test", "DNSSEC"), ("forged.test", "TLSA records cannot be looked up or validated")] {
        let bob = format!("bob@{domain}");
        world.submit(&bob, "must not leave").unwrap();
        world.deferred(&bob, why).unwrap();
        // Postfix, which receives for it, was never asked.
        assert!(!world.postfix_log().contains(domain), "{}", world.told());
    }
}
