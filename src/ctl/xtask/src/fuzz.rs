//! `cargo xtask fuzz`: targets of tests/fuzz for minutes rather than for a number of inputs.
//!
//! Guided by coverage with libFuzzer (`tests/fuzz/guided`), which needs a C++ compiler; without one, or with `--blind`, at random.

use crate::{Failure, cargo, note, run, target};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
    time::Duration,
};

/// What LLVM puts in for libFuzzer.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=16";
/// Stated, so that build scripts and macros are not instrumented.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Seconds that one input may take; what takes longer is a finding.
const SLOW: u32 = 10;
/// How often it is looked how much a target has used.
const GLANCE: Duration = Duration::from_millis(200);
/// Ticks of a second in /proc (USER_HZ; proc_pid_stat(5)).
const TICKS: u64 = 100;
/// Bytes of the longest input.
const MAX_INPUT: usize = 64 * 1024;

/// What was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Targets; all of them when none is named.
    targets: Vec<String>,
    /// Minutes for each target, of a processor when guided, else of the clock.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Targets at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// At random, without guidance.
    #[arg(long)]
    blind: bool,
}

pub(crate) fn fuzz(root: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let findings = target(root).join("fuzz-findings");
    run("fuzz", cargo(root).args(["build", "--quiet", "--ignore-rust-version", "--profile", "fuzz", "--package", "fuzz"]))?;
    let blind = target(root).join("fuzz/fuzz");
    let guided = if arguments.blind { None } else { guided(root) };
    let Some(guided) = guided else {
        let (minutes, jobs) = (arguments.minutes.to_string(), arguments.jobs.to_string());
        let mut command = Command::new(blind);
        command.args(&arguments.targets).args(["--minutes", &minutes, "--jobs", &jobs, "--out"]).arg(findings);
        return run("fuzz", &mut command);
    };
    let names = if arguments.targets.is_empty() { all(&blind)? } else { arguments.targets.clone() };
    let (left, failed) = (Mutex::new(names.into_iter()), Mutex::new(Vec::new()));
    let next = || left.lock().ok().and_then(|mut left| left.next());
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while let Some(name) = next() {
                    if let Err(e) = one(&name, &blind, &guided, &findings, arguments.minutes) {
                        note(&format!("xtask: {e}"));
                        failed.lock().into_iter().for_each(|mut failed| failed.push(name.clone()));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if failed.is_empty() { Ok(()) } else { Err(format!("findings of {}, in {}", failed.join(", "), findings.display())) }
}

/// The names of all targets.
fn all(blind: &Path) -> Result<Vec<String>, Failure> {
    let output = Command::new(blind).arg("--list").output().map_err(|e| format!("fuzz: {e}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// The instrumented executable; none when it cannot be built here.
fn guided(root: &Path) -> Option<PathBuf> {
    let directory = target(root).join("guided");
    let mut command = cargo(root);
    command.args(["build", "--quiet", "--release", "--ignore-rust-version", "--manifest-path", "tests/fuzz/guided/Cargo.toml"]);
    command.args(["--target", TRIPLE, "--target-dir"]).arg(&directory).env("RUSTFLAGS", INSTRUMENTATION);
    match run("guided", &mut command) {
        Ok(()) => Some(directory.join(TRIPLE).join("release/guided")),
        Err(e) => {
            note(&format!("xtask: {e}; going on at random, without guidance"));
            None
        }
    }
}

/// One target. What it learns stays in `findings/TARGET/corpus`, and so does what failed beside it.
fn one(name: &str, blind: &Path, guided: &Path, findings: &Path, minutes: f64) -> Result<(), Failure> {
    let folder = findings.join(name);
    let (seeds, corpus) = (folder.join("seeds"), folder.join("corpus"));
    fs::create_dir_all(&corpus).map_err(|e| format!("{}: {e}", corpus.display()))?;
    run(name, Command::new(blind).arg(name).arg("--seeds").arg(&seeds))?;
    let mut command = Command::new(guided);
    command.env("POSTERN_FUZZ_TARGET", name).arg(&corpus).arg(&seeds);
    command.arg(format!("-dict={}", seeds.with_extension("dict").display()));
    command.arg(format!("-artifact_prefix={}/", folder.display()));
    command.args([format!("-max_len={MAX_INPUT}"), format!("-timeout={SLOW}"), "-rss_limit_mb=2048".into(), "-print_final_stats=1".into()]);
    command.args(["-verbosity=0", "-detect_leaks=0"]);
    note(&format!("xtask: fuzz {name}"));
    until_spent(&mut command, Duration::from_secs_f64((minutes * 60.0).max(1.0))).map_err(|e| format!("{name}: {e}"))
}

/// Runs libFuzzer until it has used so much of a processor, however busy the machine is.
fn until_spent(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    let failed = |e: std::io::Error| e.to_string();
    let mut child = command.spawn().map_err(failed)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if processor_time(child.id()).is_some_and(|spent| spent >= limit) {
            // It tells its figures and ends well.
            Command::new("kill").args(["-USR1", &child.id().to_string()]).status().map_err(failed)?;
            break child.wait().map_err(failed)?;
        }
        thread::sleep(GLANCE);
    };
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

/// What a process has used of the processors; proc_pid_stat(5), fields 14 and 15.
fn processor_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map_while(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks.saturating_mul(1000 / TICKS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_a_processor_is_seen_and_time_asleep_is_not_counted() {
        assert_eq!(processor_time(std::process::id()).map(|spent| spent < Duration::from_secs(600)), Some(true));
        // Spins until it is stopped; without a limit in processor time it would never end.
        let mut spinner = Command::new("sh");
        spinner.args(["-c", "trap 'exit 0' USR1; while :; do :; done"]);
        until_spent(&mut spinner, Duration::from_millis(50)).unwrap();
        assert!(until_spent(Command::new("sh").args(["-c", "exit 3"]), Duration::from_secs(60)).is_err());
    }
}
