//! Mail hosts that die, drip, or never stop talking: their mail waits, everybody else's goes on, `send` neither ends nor grows, and once the
//! hosts behave each message arrives once. Attack case OUT-01 against the installed process.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::fs;
use system::{ALICE, Appliance, SERVICES, World};

/// Hosts, by what they do, and what the queue says of it.
const HOSTILE: [(&str, &str); 5] = [
    ("cut", "lost while the message was sent"),
    ("silent", "may have been delivered"),
    ("line", "an endless line"),
    ("lines", "too many lines"),
    ("endless", "too many lines"),
];
/// More than all buffers on the way to a host hold, in lines.
const LINES: usize = 80_000;
/// KiB of memory that all of it may cost: no more than a single one of their replies has.
const GROWTH: u64 = 1024;

/// A line of `/proc/PID/status`, in KiB.
fn memory(appliance: &Appliance, pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(appliance.path(&format!("/proc/{pid}/status"))).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap()
}

#[test]
fn hosts_that_misbehave_cost_nobody_anything() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    let send = SERVICES.iter().find(|service| service.name == "send").unwrap();
    world.misbehave().unwrap();
    // What a first delivery costs is not theirs.
    world.submit("bob@good.test", "before").unwrap();
    world.receives("bob").unwrap();
    let pid = appliance.main_pid(send).unwrap();
    let before = memory(&appliance, pid, "VmRSS");

    world.submit("bob@stuck.test", "the greeting never ends").unwrap();
    world.wait("a greeting that drips", || world.met("stuck").then_some(())).unwrap();
    for (name, why) in HOSTILE {
        let lines = if name == "cut" { LINES } else { 10 };
        let body = "a line that is neither short nor long, so that there are fewer of them, in a message\r\n".repeat(lines);
        let text = format!("From: Alice <{ALICE}>\r\nTo: bob@{name}.test\r\nSubject: {name}\r\n\r\n{body}");
        appliance.submit(ALICE, &format!("bob@{name}.test"), text.as_bytes()).unwrap();
        world.deferred(&format!("bob@{name}.test"), why).unwrap();
        assert!(world.met(name) && world.received(name).unwrap().is_empty(), "{name}: {}", world.told());
    }
    // Each byte of its answers comes alone, and all of them come.
    world.submit("bob@drip.test", "drip").unwrap();
    world.receives("drip").unwrap();
    assert!(world.met("drip"));
    world.submit("bob@good.test", "after").unwrap();
    world.receives_all("bob", 2).unwrap();

    let most = memory(&appliance, pid, "VmHWM");
    assert!(most < before + GROWTH, "{before} KiB became {most} KiB");

    world.behave().unwrap();
    world.deferred("bob@stuck.test", "before the greeting").unwrap();
    for name in HOSTILE.iter().map(|(name, _)| *name).chain(["stuck"]) {
        world.retry(&format!("{name}.test")).unwrap();
        world.receives(name).unwrap();
    }
    world.queue_is_empty().unwrap();
    assert_eq!(appliance.main_pid(send).unwrap(), pid, "{}", world.told());
    // One each, and for nobody a report.
    assert_eq!(world.verify().unwrap(), 2 + HOSTILE.len() + 2);
    appliance.deliver("s@example.net", ALICE, b"From: s@example.net\r\nSubject: last\r\n\r\nx\r\n").unwrap();
    assert_eq!(appliance.fetch(ALICE, "").unwrap().len(), 1);
}
