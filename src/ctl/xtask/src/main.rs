//! `cargo xtask`: what a developer and the CI run.
//!
//! * `build`: the release executables, one package at a time, so that no feature of one reaches another;
//! * `up`: `build`, then the whole appliance on loopback (`postern up`);
//! * `test`: everything that must hold, and a summary of it;
//! * `bench`: `build`, then the figures of tests/bench;
//! * `fuzz`: targets of tests/fuzz for as long as one likes;
//! * `deps`: writes the committed lists of what each executable is made of;
//! * `advisories`: takes over known weaknesses of crates from a checkout of the RustSec database;
//! * `sbom`: the same as a CycloneDX document for each executable;
//! * `reproducible`: builds what is committed twice, at different places, and compares.
//!
//! Nothing heavy is linked here: it is the first thing that is compiled on a new machine.

mod advisories;
mod build;
mod deps;
mod executables;
mod fuzz;
mod packages;
mod reproducible;
mod sbom;
mod test;

use clap::{Parser, Subcommand};
use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Build, run and test Postern.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build and run the whole appliance on loopback; arguments go to `postern up` (see `cargo xtask up --help`).
    #[command(disable_help_flag = true)]
    Up {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Build the release executables, each by itself.
    Build,
    /// Run everything that CI runs: format, lints, release build, all tests; ends with a summary.
    Test {
        /// Only the tests of these packages, without format and lints.
        #[arg(value_name = "PACKAGE")]
        packages: Vec<String>,
    },
    /// Measure speed beside Postfix and Dovecot, as root; arguments go to the bench (see `cargo xtask bench --help`).
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Look for inputs on which parsers and sessions fail; `test` does so for seconds. What is found is kept in target/fuzz-findings.
    Fuzz(fuzz::Arguments),
    /// Write tests/trust-graph/deps anew: the crates that each executable is made of.
    Deps,
    /// Take over known weaknesses of crates from a checkout of <https://github.com/rustsec/advisory-db>.
    Advisories {
        /// The checkout.
        folder: PathBuf,
    },
    /// Write a bill of materials (CycloneDX 1.5, JSON) for each executable to target/sbom.
    Sbom,
    /// Build what is committed twice, at different places, and compare the executables.
    Reproducible {
        /// Only these packages.
        #[arg(value_name = "PACKAGE")]
        packages: Vec<String>,
    },
}

/// One line for the person who ran it.
type Failure = String;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = root().and_then(|root| match arguments.command {
        Task::Up { arguments } => build::up(&root, &arguments),
        Task::Build => build::release(&root),
        Task::Test { packages } => test::run(&root, &packages),
        Task::Bench { arguments } => build::bench(&root, &arguments),
        Task::Fuzz(arguments) => fuzz::fuzz(&root, &arguments),
        Task::Deps => deps::write(&root),
        Task::Advisories { folder } => advisories::take(&root, &folder),
        Task::Sbom => sbom::write(&root),
        Task::Reproducible { packages } => reproducible::check(&root, &packages),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace that this was started in.
fn root() -> Result<PathBuf, Failure> {
    let start = env::var_os("CARGO_MANIFEST_DIR").map_or_else(env::current_dir, |dir| Ok(PathBuf::from(dir)));
    let start = start.map_err(|e| format!("current directory: {e}"))?;
    let root = start.ancestors().find(|dir| dir.join("Cargo.lock").is_file() && dir.join("src/wire").is_dir());
    root.map(Path::to_owned).ok_or_else(|| "this is not a working tree of Postern".to_owned())
}

/// Where cargo puts what it builds.
fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // Set by the cargo that runs us; a build that sees them would build some crates again for nothing.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end; a failure is named.
fn run(what: &str, command: &mut Command) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what}: {status}")),
        Err(e) => Err(format!("{what}: {e}")),
    }
}

/// Progress goes to standard error: standard output belongs to what is run.
fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
