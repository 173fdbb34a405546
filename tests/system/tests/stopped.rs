//! A process that stands still: the others go on, and the watchdog has it started again.
//!
//! `POSTERN_SYSTEM_STOPPED` is for how many seconds each process stands still under load.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::{
    collections::BTreeMap,
    env, thread,
    time::{Duration, Instant},
};
use system::{ALICE, Appliance, SERVICES, Service, Stream, eventually};

/// WatchdogSec of these units; the shipped one only takes longer.
const WATCHDOG: &str = "3s";
/// WatchdogSec where nobody is to be started again.
const NO_WATCHDOG: &str = "infinity";
/// Seconds for which each stands still under load, unless the environment says otherwise.
const STOPPED: u64 = 1;
/// Those without which no mail is taken; the load waits for them.
const TAKING: &[&str] = &["mx", "queue", "scan", "auth", "keys"];
/// Those without which no mail is read.
const READING: &[&str] = &["imap", "store", "auth", "keys"];

fn message(subject: &str) -> Vec<u8> {
    format!("From: s@example.net\r\nTo: alice@example.test\r\nSubject: {subject}\r\n\r\nStill here?\r\n").into_bytes()
}

fn watch(appliance: &Appliance, watchdog: &str) {
    for service in SERVICES {
        let drop_in = format!("[Service]\nWatchdogSec={watchdog}\n");
        appliance.put(&format!("/etc/systemd/system/{}.d/watchdog.conf", service.unit()), drop_in.as_bytes(), 0o644).unwrap();
    }
    appliance.sh("systemctl daemon-reload; systemctl restart 'postern-*.service'").unwrap();
    appliance.wait_until_active().unwrap();
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

    watch(&appliance, WATCHDOG);
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

/// Each stands still under load for as long as the environment says, with nobody to start it again: the others do what they can without it,
/// no port refuses anybody, and when it goes on it goes on with what it had.
#[test]
fn who_stands_still_for_long_holds_up_nobody_else_and_loses_nothing() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let stopped = Duration::from_secs(env::var("POSTERN_SYSTEM_STOPPED").map_or(STOPPED, |text| text.parse().unwrap()));
    watch(&appliance, NO_WATCHDOG);
    let stream = appliance.stream(ALICE, "standing still").unwrap();
    stream.goes_on().unwrap();
    for service in SERVICES {
        let before = (appliance.main_pid(service).unwrap(), stream.taken().len());
        let signal = |name| appliance.sh(&format!("systemctl kill --kill-whom=main --signal={name} {}", service.unit())).unwrap();
        signal("STOP");
        let until = Instant::now() + stopped;
        others_go_on(&appliance, &stream, service);
        thread::sleep(until.saturating_duration_since(Instant::now()));
        let meanwhile = stream.taken().len() - before.1;
        signal("CONT");
        stream.goes_on().unwrap();
        println!("{}: {meanwhile} messages taken while it stood still for {stopped:?}", service.name);
        assert_eq!(appliance.main_pid(service).unwrap(), before.0, "{}: it was not needed to start it again", service.name);
    }
    let outcomes = stream.end().unwrap();
    let taken = appliance.accounts_for(&outcomes, ALICE, "standing still").unwrap();
    println!("{taken} of {} messages taken", outcomes.len());
}

/// What needs nothing of this one is done.
fn others_go_on(appliance: &Appliance, stream: &Stream, stopped: &Service) {
    if !TAKING.contains(&stopped.name) {
        stream.goes_on().unwrap();
    }
    if !READING.contains(&stopped.name) {
        assert!(!appliance.fetch(ALICE, "standing still").unwrap().is_empty(), "{}", stopped.name);
    }
}
