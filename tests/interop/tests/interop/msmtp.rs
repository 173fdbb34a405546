use crate::{file, inbox, message, run};
use std::{
    fs,
    process::{Command, Stdio},
};
use test_support::{Appliance, need};

#[test]
fn msmtp_submits_by_both_ways_of_tls() {
    let Some(msmtp) = need("msmtp") else { return };
    let appliance = Appliance::mta_test();
    let (user, password) = appliance.account("bob");
    // msmtp reads lines ended by LF.
    let sent = String::from_utf8(message("msmtp")).unwrap().replace("carol@remote.test", "bob@mta.test");
    let data = file(&appliance, "message", sent.replace("\r\n", "\n").as_bytes());
    for (port, starttls) in [("submissions", "off"), ("submission", "on")] {
        for mechanism in ["plain", "scram-sha-256"] {
            let config = format!(
                "account default\nhost localhost\nport {}\ntls on\ntls_starttls {starttls}\ntls_trust_file {}\nauth {mechanism}\n\
                 user {user}\npassword {password}\nfrom bob@mta.test\n",
                appliance.port(port),
                appliance.authority().display()
            );
            let config = file(&appliance, &format!("msmtprc-{port}-{mechanism}"), config.as_bytes());
            // msmtp refuses a file with a password that others can read.
            let mut permissions = fs::metadata(&config).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
            fs::set_permissions(&config, permissions).unwrap();
            run(Command::new(&msmtp).arg("--file").arg(&config).arg("alice@mta.test").stdin(Stdio::from(fs::File::open(&data).unwrap())));
        }
    }
    let read = inbox(&appliance, "alice", 4);
    assert_eq!(read.len(), 4);
    for message in read {
        // msmtp may add fields in front; the rest is as it was.
        let text = String::from_utf8(message).unwrap();
        assert!(text.ends_with(sent.as_str()), "{text}");
    }
}
