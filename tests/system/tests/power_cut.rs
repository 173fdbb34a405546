//! What was answered with 250 is there after everything died at once.

use system::{ALICE, Appliance};

#[test]
fn accepted_messages_outlive_a_power_cut_of_all_processes() {
    let Some(mut appliance) = Appliance::start().unwrap() else { return };
    const COUNT: usize = 20;
    for number in 0..COUNT {
        let text =
            format!("From: s@example.net\r\nSubject: kept through the dark\r\nMessage-ID: <{number}@example.net>\r\n\r\n{number}\r\n");
        appliance.deliver("s@example.net", ALICE, text.as_bytes()).unwrap();
    }
    appliance.power_cut().unwrap();
    let all = || appliance.fetch(ALICE, "kept through the dark").ok().filter(|m| m.len() >= COUNT);
    let messages = system::eventually("all messages", std::time::Duration::from_secs(60), all).unwrap();
    assert_eq!(messages.len(), COUNT, "none twice");
}
