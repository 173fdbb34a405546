//! What the tables say, in the words of SECURITY.md.

use crate::{Cell, Table, Verdict};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Acts that are no attack: they show that the machinery works, and every program needs them.
const GIVEN: &[&str] = &["clone: a thread", "getpid (given)", "memfd (given)", "prctl: another name (given)", "unix: stream pair"];
/// Connecting to these is one word in a list.
const EDGE: &str = "edge ";

/// The section between the markers in SECURITY.md.
pub fn summary(both: &Table, units: &Table, jail: &Table) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    };
    say(&format!("| of {} acts | killed | refused | allowed beside {} that every program needs |", both.acts.len(), GIVEN.len()));
    say("|---|---|---|---|");
    for (column, process) in both.processes.iter().enumerate() {
        let cells: Vec<&Cell> = both.acts.iter().filter_map(|(_, cells)| cells.get(column)).collect();
        let count = |verdict| cells.iter().filter(|cell| cell.verdict() == verdict).count();
        let allowed = list(both.allowed(process).into_iter());
        let allowed = if allowed.is_empty() { "nothing" } else { &allowed };
        say(&format!("| `{process}` | {} | {} | {allowed} |", count(Verdict::Killed), count(Verdict::Refused)));
    }
    say("");
    let only = |alone: &Table| -> Vec<String> {
        let more = |process: &String| {
            let stopped: BTreeSet<&str> = both.allowed(process).into_iter().collect();
            alone.allowed(process).into_iter().filter(|act| !stopped.contains(act)).map(str::to_owned).collect::<Vec<_>>()
        };
        let found: BTreeSet<String> = both.processes.iter().flat_map(more).collect();
        alone.acts.iter().map(|(act, _)| act.clone()).filter(|act| found.contains(act)).collect()
    };
    let by_units = only(jail);
    let edges = |acts: &[String]| acts.iter().filter(|act| act.starts_with(EDGE)).count();
    let others = list(by_units.iter().map(String::as_str).filter(|act| !act.starts_with(EDGE)));
    say(&format!(
        "**Only the units stop** (it was allowed to some process in its jail alone, as under `up` by one user): {} edges that are not its own{}{}.",
        edges(&by_units),
        if others.is_empty() { "" } else { ", " },
        others
    ));
    say("");
    let by_jail = only(units);
    say(&format!(
        "**Only the jail stops** (it was allowed to some program that does not shut itself in, under the unit alone), {} acts: {}.",
        by_jail.len(),
        list(by_jail.iter().map(String::as_str))
    ));
    text
}

fn list<'a>(acts: impl Iterator<Item = &'a str>) -> String {
    acts.filter(|act| !GIVEN.contains(act)).collect::<Vec<_>>().join(", ")
}
