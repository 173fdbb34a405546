//! `cargo xtask test`.

use crate::{Failure, build, cargo, executables, note, packages, target};
use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// What the tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    /// `#[ignore]`, which nothing of ours should use.
    ignored: u64,
}

pub(crate) fn run(root: &Path, only: &[String]) -> Result<(), Failure> {
    packages::install();
    let mut failures = Vec::new();
    let mut stages = Count::default();
    let mut stage = |name: &str, result: Result<(), Failure>| match result {
        Ok(()) => stages.passed += 1,
        Err(e) => {
            note(&format!("xtask: {e}"));
            stages.failed += 1;
            failures.push(name.to_owned());
        }
    };
    if only.is_empty() {
        note("xtask: format");
        stage("format", run_cargo(root, "format", &["fmt", "--all", "--check"]));
        note("xtask: lints");
        let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--ignore-rust-version", "--", "-D", "warnings"];
        stage("lints", run_cargo(root, "lints", &clippy));
    }
    stage("release build", build::release(root));
    if only.is_empty() {
        note("xtask: documentation tests");
        let doc = ["test", "--quiet", "--workspace", "--doc", "--ignore-rust-version"];
        stage("documentation tests", run_cargo(root, "documentation tests", &doc));
    }

    note("xtask: tests");
    let skips = target(root).join("skipped-tests");
    // Left over from an earlier run, or not there.
    let _ = fs::remove_file(&skips);
    let (count, complete) = tests(root, only, &skips)?;
    if !complete {
        failures.push("tests (one ended without a result)".to_owned());
        stages.failed += 1;
    }
    let skipped = read_skips(&skips);
    summary(&stages, &count, &failures, &skipped)
}

fn run_cargo(root: &Path, what: &str, arguments: &[&str]) -> Result<(), Failure> {
    crate::run(what, cargo(root).args(arguments))
}

/// Runs the tests; what they print is shown and counted.
fn tests(root: &Path, only: &[String], skips: &Path) -> Result<(Count, bool), Failure> {
    let packages: Vec<&str> = match only {
        [] => vec!["--workspace"],
        only => only.iter().flat_map(|package| ["--package", package]).collect(),
    };
    let all = executables::build(root, &packages)?;
    let (mut count, mut complete) = (Count::default(), true);
    let released = target(root).join("release");
    let environment = [("POSTERN_SKIPS", skips), ("POSTERN_BIN", &*released)];
    executables::run(&all, &environment, &target(root).join("test-output"), |executable, ended| {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "\n{}:\n{}", executable.name, ended.output);
        let before = count.failed;
        ended.output.lines().for_each(|line| count.add(line));
        if !ended.success && count.failed == before {
            complete = false;
            let _ = writeln!(out, "{} ended without a result", executable.name);
        }
    })?;
    Ok((count, complete))
}

impl Count {
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`
    fn add(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        let Some((_, numbers)) = result.split_once(". ") else { return };
        for part in numbers.split(';') {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// `TEST<tab>REASON`, one a line.
fn read_skips(file: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut all: Vec<(String, String)> =
        text.lines().filter_map(|line| line.split_once('\t')).map(|(test, reason)| (test.to_owned(), reason.to_owned())).collect();
    all.sort();
    all.dedup();
    all
}

fn summary(stages: &Count, tests: &Count, failures: &[String], skipped: &[(String, String)]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut say = |line: String| {
        let _ = writeln!(out, "{line}");
    };
    say(String::new());
    for failure in failures {
        say(format!("FAILED   {failure}"));
    }
    for (test, reason) in skipped {
        say(format!("SKIPPED  {test}: {reason}"));
    }
    if tests.ignored > 0 {
        say(format!("SKIPPED  {} tests: marked #[ignore]", tests.ignored));
    }
    // A test that was skipped ended well, so it was counted as passed.
    let skips = u64::try_from(skipped.len()).unwrap_or(u64::MAX);
    let passed = tests.passed.saturating_sub(skips).saturating_add(stages.passed);
    let failed = tests.failed.saturating_add(stages.failed);
    let skips = skips.saturating_add(tests.ignored);
    say(format!("{passed} passed, {failed} failed, {skips} skipped"));
    if failed == 0 && failures.is_empty() { Ok(()) } else { Err("not everything passed".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut count = Count::default();
        count.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        count.add("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        count.add("test result: nonsense");
        count.add("running 5 tests");
        assert_eq!(count, Count { passed: 5, failed: 1, ignored: 1 });
    }

    #[test]
    fn any_failure_fails_the_whole() {
        let good = Count { passed: 1, ..Count::default() };
        let bad = Count { failed: 1, ..Count::default() };
        assert!(summary(&good, &good, &[], &[]).is_ok());
        assert!(summary(&good, &bad, &[], &[]).is_err());
        assert!(summary(&bad, &good, &["format".into()], &[]).is_err());
    }
}
