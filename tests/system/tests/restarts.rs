//! Every unit is restarted, and all of it is replaced by another build, while mail keeps coming: nobody is refused a connection, and what
//! was taken is there once.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::BTreeMap;
use system::{ALICE, Appliance, SERVICES, eventually};
use wire::BUILD_ID;

/// What was taken is there once, and nothing else more than once.
fn check(appliance: &Appliance, outcomes: &BTreeMap<u32, String>, subject: &str) {
    let refused: Vec<_> = outcomes.iter().filter(|(_, outcome)| *outcome == "refused").collect();
    assert!(refused.is_empty(), "{refused:?}\n{}", appliance.journal_text());
    let permanent = |outcome: &str| ["(5", "not OSError('5", "b'5"].iter().any(|sign| outcome.contains(sign));
    let rejected: Vec<_> = outcomes.values().filter(|outcome| permanent(outcome)).collect();
    assert!(rejected.is_empty(), "{rejected:?}");
    // What was accepted and not yet delivered comes, now that everybody is there.
    let taken = outcomes.values().filter(|outcome| *outcome == "taken").count();
    let all = || appliance.fetch(ALICE, subject).ok().filter(|found| found.len() >= taken);
    let found = eventually("all messages", std::time::Duration::from_secs(60), all).unwrap();
    let mut copies: BTreeMap<u32, usize> = BTreeMap::new();
    for message in found {
        let (_, rest) = message.split_once("Message-ID: <").unwrap();
        *copies.entry(rest.split_once('@').unwrap().0.parse().unwrap()).or_default() += 1;
    }
    for (number, outcome) in outcomes {
        let copies = copies.get(number).copied().unwrap_or(0);
        assert!(copies <= 1 && (copies == 1 || outcome != "taken"), "message {number}, {outcome}: {copies} copies");
    }
    assert!(copies.values().all(|copies| *copies == 1), "{copies:?}");
}

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
    check(&appliance, &stream.end().unwrap(), "restarts");
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
    check(&appliance, &stream.end().unwrap(), "upgrade");
    // The operator's command is of the new build too.
    assert_eq!(appliance.sh("postern queue list --json").unwrap().trim(), "[]");
}
