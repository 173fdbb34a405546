//! A real Postfix that says "come back later", and accepts when we do.

use system::{Appliance, World};

#[test]
fn who_is_greylisted_comes_back() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    world.submit("grey@good.test", "twice").unwrap();
    let waiting = world.deferred().unwrap();
    assert!(waiting.contains("451 4.7.1") && waiting.contains("greylisted"), "{waiting}");
    assert_eq!(world.received("grey").unwrap(), Vec::<String>::new());
    world.accept().unwrap();
    appliance.sh("postern queue retry --destination good.test").unwrap();
    assert!(world.receives("grey").unwrap().contains("Subject: twice"));
    assert_eq!(world.received("grey").unwrap().len(), 1);
}
