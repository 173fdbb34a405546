//! An account is removed, and auth is killed before the store has heard of it: what was open ends all the same.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use rustix::process::{Pid, Signal, kill_process};
use std::process::{Command, Stdio};
use test_support::{Appliance, Imap, binaries, eventually};

#[test]
fn sessions_of_an_account_that_is_gone_end_whoever_dies_meanwhile() {
    let appliance = Appliance::mta_test();
    appliance.add_account("gap@mta.test", "a word of its own");
    let mut session = Imap::login_as(&appliance, "gap@mta.test", "a word of its own");
    session.must("CREATE before");
    let store = Pid::from_raw(i32::try_from(appliance.pid("store")).unwrap()).unwrap();
    kill_process(store, Signal::STOP).unwrap();
    // The command waits for the store.
    let mut command = Command::new(binaries().join("postern"));
    command.args(["account", "remove", "gap@mta.test"]).env("POSTERN_EDGES", appliance.state().join("run"));
    let mut remove = command.stderr(Stdio::piped()).spawn().unwrap();
    eventually("the account is gone", || {
        let listed = appliance.postern(&["account", "list"], "");
        (listed.status.success() && !String::from_utf8_lossy(&listed.stdout).contains("gap@mta.test")).then_some(())
    });
    let auth = appliance.pid("auth");
    assert!(appliance.kill("auth"));
    assert!(!remove.wait().unwrap().success(), "it was told that sessions had ended");
    eventually("another auth", || (appliance.pid("auth") != auth).then_some(()));
    kill_process(store, Signal::CONT).unwrap();
    let asks = |session: &mut Imap| session.try_command("STATUS INBOX (MESSAGES)").is_ok_and(|answer| answer.ok());
    eventually("the end of the session", || (!asks(&mut session)).then_some(()));
}
