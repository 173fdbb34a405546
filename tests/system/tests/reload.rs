//! `systemctl reload` makes keys and auth read their sources again, and ends nothing.

use system::{ALICE, Appliance, SERVICES};

#[test]
fn a_reload_ends_no_process_and_the_main_job_goes_on() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    for service in SERVICES.iter().filter(|s| s.reloads) {
        let before = appliance.main_pid(service).unwrap();
        appliance.sh(&format!("systemctl reload {}", service.unit())).unwrap();
        assert_eq!(appliance.main_pid(service).unwrap(), before, "{}", service.name);
    }
    appliance.wait_until_active().unwrap();
    appliance.deliver("s@example.net", ALICE, b"From: s@example.net\r\nSubject: after a reload\r\n\r\nx\r\n").unwrap();
    assert_eq!(appliance.fetch(ALICE, "after a reload").unwrap().len(), 1);
}
