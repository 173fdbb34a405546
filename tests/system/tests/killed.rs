//! No process is needed for ever: each is killed once, and the main job is done again.

use std::collections::BTreeMap;
use system::{ALICE, Appliance, SERVICES, eventually};

fn message(subject: &str) -> Vec<u8> {
    format!("From: stranger@example.net\r\nTo: alice@example.test\r\nSubject: {subject}\r\n\r\nStill here?\r\n").into_bytes()
}

#[test]
fn the_main_job_is_done_after_each_process_was_killed_and_nothing_accepted_is_lost() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let mut pids = BTreeMap::new();
    for service in SERVICES {
        pids.insert(service.name, appliance.main_pid(service).unwrap());
    }
    for service in SERVICES {
        appliance.sh(&format!("systemctl kill --kill-whom=main --signal=KILL {}", service.unit())).unwrap();
        let subject = format!("after the end of {}", service.name);
        appliance.deliver("stranger@example.net", ALICE, &message(&subject)).unwrap();
        assert_eq!(appliance.fetch(ALICE, &subject).unwrap().len(), 1, "{}", service.name);
        let another = || appliance.main_pid(service).ok().filter(|pid| *pid != 0 && *pid != pids[service.name]);
        eventually("another process", std::time::Duration::from_secs(20), another).unwrap();
    }
    appliance.wait_until_active().unwrap();
    for service in SERVICES {
        let subject = format!("after the end of {}", service.name);
        assert_eq!(appliance.fetch(ALICE, &subject).unwrap().len(), 1, "{subject}: once and only once");
    }
}
