//! A kernel without Landlock: no process starts, and each says why; only `allow_weak_sandbox` starts it, which is logged at each start.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::time::Duration;
use system::{Appliance, SERVICES, Service, eventually};

/// To the program that is a kernel without Landlock: what the filter of PID 1 does not list fails with EPERM.
const WITHOUT: &str = "[Service]\nSystemCallFilter=~landlock_create_ruleset\n";
/// How long a start, or one that fails, may take.
const START: Duration = Duration::from_secs(60);

/// Whether its journal has a line of this unit with that text.
fn says(appliance: &Appliance, service: &Service, text: &str) -> bool {
    let entries = appliance.journal(&[&format!("_SYSTEMD_UNIT={}", service.unit())]).unwrap();
    entries.iter().any(|entry| entry["MESSAGE"].as_str().is_some_and(|message| message.contains(text)))
}

#[test]
fn without_landlock_nothing_starts_but_by_the_word_of_the_administrator() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    for service in SERVICES {
        appliance.put(&format!("/etc/systemd/system/{}.d/without.conf", service.unit()), WITHOUT.as_bytes(), 0o644).unwrap();
    }
    appliance.sh("systemctl daemon-reload").unwrap();
    for service in SERVICES {
        // Its first start fails, and systemd tries again for ever.
        appliance.run(&["systemctl", "restart", &service.unit()]).unwrap();
        let refused = || {
            let active = appliance.run(&["systemctl", "is-active", &service.unit()]).ok()?.success();
            assert!(!active, "{} runs without Landlock", service.name);
            says(&appliance, service, "allow_weak_sandbox = true would start without it").then_some(())
        };
        eventually(service.name, START, refused).unwrap();
        assert!(!says(&appliance, service, "starting with a weak sandbox"), "{}", service.name);
    }
    let config = appliance.sh("cat /etc/postern/postern.toml").unwrap();
    appliance.put("/etc/postern/postern.toml", format!("allow_weak_sandbox = true\n{config}").as_bytes(), 0o644).unwrap();
    let units: Vec<String> = SERVICES.iter().map(Service::unit).collect();
    appliance.sh(&format!("systemctl restart {}", units.join(" "))).unwrap();
    appliance.wait_until_active().unwrap();
    for service in SERVICES {
        assert!(says(&appliance, service, "starting with a weak sandbox"), "{}", service.name);
    }
}
