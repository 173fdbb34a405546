//! A process that stands still: the others go on, and the watchdog has it started again.

use std::{collections::BTreeMap, time::Duration};
use system::{ALICE, Appliance, SERVICES, eventually};

/// WatchdogSec of these units; the shipped one only takes longer.
const WATCHDOG: &str = "3s";

fn message(subject: &str) -> Vec<u8> {
    format!("From: s@example.net\r\nTo: alice@example.test\r\nSubject: {subject}\r\n\r\nStill here?\r\n").into_bytes()
}

#[test]
fn who_stands_still_is_started_again_and_the_others_go_on() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let pid = |name: &str| appliance.sh(&format!("systemctl show --property=MainPID --value {name}")).unwrap();
    // The store has the watchdog of its unit and does not come back for half a minute: mail is taken all the same.
    let store = pid("postern-store");
    appliance.sh("systemctl kill --kill-whom=main --signal=STOP postern-store").unwrap();
    appliance.deliver("s@example.net", ALICE, &message("while the store stands still")).unwrap();
    assert_eq!(pid("postern-store"), store);
    appliance.sh("systemctl kill --kill-whom=main --signal=CONT postern-store").unwrap();
    assert_eq!(appliance.fetch(ALICE, "while the store stands still").unwrap().len(), 1);
    assert_eq!(pid("postern-store"), store, "it was not needed to start it again");

    for service in SERVICES {
        let drop_in = format!("[Service]\nWatchdogSec={WATCHDOG}\n");
        appliance.put(&format!("/etc/systemd/system/{}.d/watchdog.conf", service.unit()), drop_in.as_bytes(), 0o644).unwrap();
    }
    appliance.sh("systemctl daemon-reload; systemctl restart 'postern-*.service'").unwrap();
    appliance.wait_until_active().unwrap();
    let mut pids = BTreeMap::new();
    for service in SERVICES {
        pids.insert(service.name, appliance.main_pid(service).unwrap());
    }
    appliance.sh("systemctl kill --kill-whom=main --signal=STOP 'postern-*.service'").unwrap();
    for service in SERVICES {
        let another = || appliance.main_pid(service).ok().filter(|pid| *pid != 0 && *pid != pids[service.name]);
        eventually(service.name, Duration::from_secs(60), another).unwrap();
    }
    appliance.wait_until_active().unwrap();
    appliance.deliver("s@example.net", ALICE, &message("after the watchdog")).unwrap();
    assert_eq!(appliance.fetch(ALICE, "after the watchdog").unwrap().len(), 1);
}
