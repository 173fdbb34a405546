//! `dns` is connected to `send` when it starts, by PID 1, and ends with it: whichever of the two ends, and however, mail leaves again, and
//! what was stopped stays stopped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

use std::time::Duration;
use system::{ALICE, Appliance, SERVICES, Service, World, eventually};

/// A process is started again within this.
const AGAIN: Duration = Duration::from_secs(30);

fn service(name: &str) -> &'static Service {
    SERVICES.iter().find(|service| service.name == name).unwrap()
}

fn another(appliance: &Appliance, name: &str, before: u32) -> u32 {
    let pid = || appliance.main_pid(service(name)).ok().filter(|pid| *pid != 0 && *pid != before);
    eventually(name, AGAIN, pid).unwrap_or_else(|e| panic!("{e}\n{}", appliance.journal_text()))
}

/// Messages that have left, each of which must have, once.
struct Left<'a> {
    world: &'a World<'a>,
    subjects: Vec<String>,
}

impl Left<'_> {
    fn another(&mut self, subject: &str) {
        self.world.submit("bob@plain.test", subject).unwrap();
        self.subjects.push(subject.to_owned());
        let arrived = self.world.receives_all("plain", self.subjects.len()).unwrap();
        for subject in &self.subjects {
            let copies = arrived.iter().filter(|message| message.contains(&format!("Subject: {subject}\n"))).count();
            assert_eq!(copies, 1, "{subject}: {arrived:#?}");
        }
    }
}

#[test]
fn mail_leaves_after_dns_or_send_has_ended_in_any_way() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    let mut left = Left { world: &world, subjects: Vec::new() };
    left.another("at first");
    let pids = || ["dns", "send"].map(|name| appliance.main_pid(service(name)).unwrap());

    for way in ["kill --kill-whom=main --signal=KILL", "restart", "kill --kill-whom=main --signal=ABRT"] {
        let [dns, send] = pids();
        appliance.sh(&format!("systemctl {way} postern-dns.service")).unwrap();
        another(&appliance, "dns", dns);
        left.another(&format!("after {way} of dns"));
        assert_eq!(pids()[1], send, "{way}: send goes on");
    }
    for way in ["kill --kill-whom=main --signal=KILL", "restart", "kill --kill-whom=main --signal=ABRT"] {
        let [dns, send] = pids();
        appliance.sh(&format!("systemctl {way} postern-send.service")).unwrap();
        another(&appliance, "send", send);
        another(&appliance, "dns", dns);
        left.another(&format!("after {way} of send"));
    }
    // Ended often, dns still comes back soon.
    for round in 0..4 {
        let [dns, send] = pids();
        appliance.sh("systemctl kill --kill-whom=main --signal=KILL postern-dns.service postern-send.service").unwrap();
        another(&appliance, "send", send);
        another(&appliance, "dns", dns);
        if round == 3 {
            left.another("after both were killed");
        }
    }
    // It ends well where send has gone.
    let own = |line: &&str| line.contains("Failed with result") && !line.contains("'signal'") && !line.contains("'core-dump'");
    let journal = appliance.sh("journalctl --unit=postern-dns --output=cat").unwrap();
    assert_eq!(journal.lines().filter(own).collect::<Vec<_>>(), Vec::<&str>::new());
    world.queue_is_empty().unwrap();
}

#[test]
fn who_stops_send_is_obeyed_and_dns_is_there_with_the_next() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    let mut left = Left { world: &world, subjects: Vec::new() };
    let state = |unit: &str| appliance.sh(&format!("systemctl show --property=SubState --value {unit}")).unwrap().trim().to_owned();

    // Not to be started again after a while, either.
    appliance.sh("systemctl stop postern-send.service").unwrap();
    assert_eq!([state("postern-send.service"), state("postern-dns.service")], ["dead", "dead"]);
    assert_eq!(appliance.sh("systemctl list-jobs --no-legend").unwrap().trim(), "");
    appliance.sh("systemctl start postern-send.service").unwrap();
    assert_eq!([state("postern-send.service"), state("postern-dns.service")], ["running", "running"]);
    left.another("after a stop of send");

    // With its sockets it is not even started by who has mail for it, and mail is judged by a dns without it.
    appliance.sh("systemctl stop postern-send.service postern-send-deliver.socket postern-send-names.socket").unwrap();
    let message = b"From: s@example.net\r\nTo: alice@example.test\r\nSubject: without send\r\n\r\nx\r\n";
    appliance.deliver("s@example.net", ALICE, message).unwrap();
    assert_eq!(appliance.fetch(ALICE, "without send").unwrap().len(), 1);
    appliance.sh("systemctl start postern-dns.service").unwrap();
    let dns = appliance.main_pid(service("dns")).unwrap();
    assert_eq!(state("postern-send.service"), "dead");
    // The dns that is there has no connection to the send that comes; the next has.
    appliance.sh("systemctl start postern.target").unwrap();
    another(&appliance, "dns", dns);
    left.another("after a stop of everything about send");
    world.queue_is_empty().unwrap();
}
