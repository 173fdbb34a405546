//! The bench itself works: every case runs with the smallest numbers, checks its answers, and writes its figures. Counts, not times.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::{collections::BTreeSet, fs, process::Command};
use test_support::{binaries, need, skip};

/// Needs a program that not every machine has.
const WITH_MBSYNC: &str = "mbsync";

#[test]
fn every_case_finds_what_it_must_find() {
    if !rustix::process::geteuid().is_root() {
        skip("the bench counts CPU time in a cgroup of its own, which needs root");
        return;
    }
    let with_mbsync = need(WITH_MBSYNC).is_some();
    let list = Command::new(env!("CARGO_BIN_EXE_bench")).arg("--list").output().unwrap();
    let names = String::from_utf8(list.stdout).unwrap();
    let cases: BTreeSet<&str> = names.lines().filter(|c| with_mbsync || !c.starts_with(WITH_MBSYNC)).collect();
    assert!(cases.len() > 40, "{names}");
    let state = tempfile::tempdir().unwrap();
    let json = state.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .arg("--quick")
        .arg("--bin")
        .arg(binaries())
        .arg("--state")
        .arg(state.path().join("state"))
        .arg("--json")
        .arg(&json)
        .args(&cases)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let runs: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let ran: BTreeSet<&str> = runs.iter().map(|run| run["case"].as_str().unwrap()).collect();
    assert_eq!(ran, cases);
    for run in &runs {
        let first = run.pointer("/figures/0/value").and_then(serde_json::Value::as_f64);
        // What a session or a moment costs may be nothing; a rate or a time may not.
        let may_be_nothing = run["case"].as_str().unwrap().starts_with("idle-");
        assert!(first.is_some_and(|value| value > 0.0 || may_be_nothing && value >= 0.0), "{run}");
    }
}
