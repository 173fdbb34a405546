//! `cargo xtask fuzz`: targets of tests/fuzz for minutes rather than for a number of inputs.
//!
//! Guided by coverage with libFuzzer (`tests/fuzz/guided`), which needs a C++ compiler; without one, or with `--blind`, at random.

use crate::{Failure, cargo, note, run, target};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// What LLVM puts in for libFuzzer.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=16";
/// Stated, so that build scripts and macros are not instrumented.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Seconds that one input may take; what takes longer is a finding.
const SLOW: u32 = 10;
/// Bytes of the longest input.
const MAX_INPUT: usize = 64 * 1024;

/// What was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Targets; all of them when none is named.
    targets: Vec<String>,
    /// Minutes for each target.
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
    std::thread::scope(|scope| {
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
    command.arg(format!("-max_total_time={:.0}", (minutes * 60.0).max(1.0)));
    command.args([format!("-max_len={MAX_INPUT}"), format!("-timeout={SLOW}"), "-rss_limit_mb=2048".into(), "-print_final_stats=1".into()]);
    command.args(["-verbosity=0", "-detect_leaks=0"]);
    note(&format!("xtask: fuzz {name}"));
    run(name, &mut command)
}
