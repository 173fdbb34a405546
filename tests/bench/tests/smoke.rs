//! The bench itself works: a few messages are sent, every one is found, the figures are written. Counts, not times.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::{fs, process::Command};
use test_support::{binaries, skip};

#[test]
fn a_quick_run_finds_every_message() {
    if !rustix::process::geteuid().is_root() {
        skip("the bench counts CPU time in a cgroup of its own, which needs root");
        return;
    }
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
        .arg("inbound-50")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let runs: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let run = runs.pointer("/0").unwrap();
    assert_eq!(run["case"], "inbound-50");
    assert!(run["delivered_per_second"].as_f64().unwrap() > 0.0 && run["cpu_seconds_per_1000"].as_f64().unwrap() > 0.0);
}
