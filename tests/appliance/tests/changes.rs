//! What the administrator changes while `postern up` runs, or between two runs of it, stays changed.

use std::{fs, path::Path, process::Command};
use test_support::{Appliance, Imap};

fn edit(state: &Path, from: &str, to: &str) {
    let file = state.join("postern.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).unwrap();
}

fn accounts(appliance: &Appliance) -> String {
    let listed = appliance.postern(&["account", "list"], "");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout).unwrap()
}

#[test]
fn a_new_password_and_a_renamed_account_outlast_the_run() {
    let mut appliance = Appliance::demonstration();
    let done = appliance.postern(&["account", "passwd", "alice@example.test", "--stdin"], "another word\n");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(appliance.stop());
    edit(&appliance.state(), "bob@", "robert@");
    appliance.restart();
    let listed = accounts(&appliance);
    assert!(listed.contains("robert@") && !listed.contains("bob@"), "{listed}");
    Imap::login_as(&appliance, "alice@example.test", "another word");
    assert_eq!(Imap::login(&appliance, "robert").count("INBOX"), 0);
}

#[test]
fn however_often_it_is_told_to_read_again_everybody_answers() {
    let appliance = Appliance::demonstration();
    for _ in 0..20 {
        let told = Command::new("kill").args(["-HUP", &appliance.up_pid().to_string()]).status().unwrap();
        assert!(told.success());
        // It asks auth, which had been told before.
        assert!(accounts(&appliance).contains("alice@"));
    }
}
