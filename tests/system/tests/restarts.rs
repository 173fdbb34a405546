//! Every unit is restarted, and all of it is replaced by another build, while mail keeps coming: nobody is refused a connection, and what
//! was taken is there once.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use system::{ALICE, Appliance, SERVICES};
use wire::BUILD_ID;

fn restart_each(appliance: &Appliance) {
    for service in SERVICES {
        let before = appliance.main_pid(service).unwrap();
        appliance.sh(&format!("systemctl restart {}", service.unit())).unwrap();
        assert_ne!(appliance.main_pid(service).unwrap(), before, "{}", service.name);
    }
}

#[test]
fn every_unit_is_restarted_under_load() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let stream = appliance.stream(ALICE, "restarts").unwrap();
    for _ in 0..2 {
        stream.goes_on().unwrap();
        restart_each(&appliance);
    }
    stream.goes_on().unwrap();
    appliance.accounts_for(&stream.end().unwrap(), ALICE, "restarts").unwrap();
}

#[test]
fn another_build_takes_over_under_load() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let stream = appliance.stream(ALICE, "upgrade").unwrap();
    stream.goes_on().unwrap();
    // The build id is a text in each program.
    let another: String = BUILD_ID.chars().rev().collect();
    assert_ne!(another, BUILD_ID);
    appliance
        .upgrade(|mut program| {
            let at = program.windows(BUILD_ID.len()).position(|w| w == BUILD_ID.as_bytes()).expect("it was built with this tree");
            program[at..at + BUILD_ID.len()].copy_from_slice(another.as_bytes());
            program
        })
        .unwrap();
    // One after the other: for a while some are of one build, and some of the other.
    restart_each(&appliance);
    stream.goes_on().unwrap();
    appliance.accounts_for(&stream.end().unwrap(), ALICE, "upgrade").unwrap();
    // The operator's command is of the new build too.
    assert_eq!(appliance.sh("postern queue list --json").unwrap().trim(), "[]");
}
