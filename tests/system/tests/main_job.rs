//! The main job: a stranger's server hands over a message, a user reads it, and the journal tells its whole life.

use std::collections::{BTreeMap, BTreeSet};
use system::{ALICE, Appliance, BOB};

const MESSAGE: &str = "From: Stranger <stranger@example.net>\r\nTo: alice@example.test\r\nSubject: main job of the appliance\r\n\
     Message-ID: <1@example.net>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\r\nA line.\r\n.a line that begins with a dot\r\n\r\nThe end.\r\n";

#[test]
fn a_message_from_outside_is_read_by_its_recipient_and_told_by_the_journal() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    appliance.deliver("stranger@example.net", ALICE, MESSAGE.as_bytes()).unwrap();
    let read = appliance.fetch(ALICE, "main job of the appliance").unwrap();
    assert_eq!(read.len(), 1);
    assert!(read[0].ends_with(MESSAGE), "{}", read[0]);
    let added = read[0].strip_suffix(MESSAGE).unwrap();
    for field in ["Return-Path: <stranger@example.net>\r\n", "Delivered-To: alice@example.test\r\n", "Received: from remote.example.net"] {
        assert!(added.contains(field), "{field} in {added}");
    }
    assert!(added.contains("192.0.2.2"), "the peer's real address: {added}");

    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in appliance.journal(&["_TRANSPORT=journal"]).unwrap() {
        if let (Some(message), Some(unit)) = (entry["POSTERN_MESSAGE"].as_str(), entry["_SYSTEMD_UNIT"].as_str()) {
            told.entry(message.to_owned()).or_default().insert(unit.to_owned());
        }
    }
    let units = ["postern-mx.service", "postern-queue.service", "postern-store.service"];
    let whole = told.values().any(|by| units.iter().all(|unit| by.contains(*unit)));
    assert!(whole, "no message is told by {units:?}: {told:#?}\n{}", appliance.journal_text());
}

#[test]
fn a_user_sends_to_another_and_no_password_or_message_is_in_the_journal() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let message = "From: bob@example.test\r\nTo: alice@example.test\r\nSubject: from a colleague\r\n\r\nwords that nobody logs\r\n";
    appliance.submit(BOB, ALICE, message.as_bytes()).unwrap();
    assert_eq!(appliance.fetch(ALICE, "from a colleague").unwrap().len(), 1);
    let journal = appliance.journal_text();
    for secret in [system::PASSWORD, "words that nobody logs", "from a colleague", "$argon2id$"] {
        assert!(!journal.contains(secret), "{secret}");
    }
}

#[test]
fn only_the_declared_ports_are_open_and_no_relaying_is_done() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let open = appliance.sh("cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6").unwrap();
    let mut ports: BTreeSet<u16> = BTreeSet::new();
    for line in open.lines().filter(|l| l.contains(" 0A ")) {
        let local = line.split_whitespace().nth(1).unwrap();
        ports.insert(u16::from_str_radix(local.rsplit(':').next().unwrap(), 16).unwrap());
    }
    assert_eq!(ports, [25, 465, 993].into());
    let script = "import smtplib\ns = smtplib.SMTP('192.0.2.1', 25, 'remote.example.net')\ns.ehlo()\ns.mail('a@example.net')\n\
        print(s.rcpt('b@example.com')[0] // 100, s.rcpt('nobody@example.test')[0] // 100)\n";
    let outcome = appliance.remote(&["python3", "-c", script], b"").unwrap();
    assert_eq!(outcome.stdout.trim(), "5 5", "{outcome:?}");
}
