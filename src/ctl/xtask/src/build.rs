//! The release executables.

use crate::{Failure, cargo, note, packages, run, target};
use std::{ffi::OsString, os::unix::process::CommandExt, path::Path, process::Command};

/// Every package that has an executable which is installed. One build each: a build of the whole workspace unifies features, and
/// was seen to link storage into a listener.
pub(crate) const PACKAGES: [&str; 10] = [
    "postern-smtp",
    "postern-imap",
    "postern-scan",
    "postern-queue",
    "postern-store",
    "postern-auth",
    "postern-keys",
    "postern-dns",
    "postern-send",
    "postern",
];

pub(crate) fn release(root: &Path) -> Result<(), Failure> {
    for package in PACKAGES {
        note(&format!("xtask: building {package}"));
        let mut command = cargo(root);
        // mail-parser and mail-auth declare a newer rustc than they need.
        command.args(["build", "--quiet", "--release", "--ignore-rust-version", "--package", package]);
        run(&format!("building {package}"), &mut command)?;
    }
    Ok(())
}

pub(crate) fn up(root: &Path, arguments: &[OsString]) -> Result<(), Failure> {
    let asks = |names: &[&str]| arguments.iter().any(|a| names.iter().any(|name| a.to_string_lossy().starts_with(name)));
    release(root)?;
    let postern = target(root).join("release/postern");
    let mut command = Command::new(&postern);
    command.arg("up").args(arguments);
    if !asks(&["--state"]) {
        command.arg("--state").arg(target(root).join("up"));
    }
    // Takes this process's place, so that signals reach it. Returns only if it cannot.
    Err(format!("{}: {}", postern.display(), command.exec()))
}

pub(crate) fn bench(root: &Path, arguments: &[OsString]) -> Result<(), Failure> {
    release(root)?;
    let mut build = cargo(root);
    build.args(["build", "--quiet", "--release", "--ignore-rust-version", "--package", "bench"]);
    run("building bench", &mut build)?;
    if arguments.iter().any(|a| a.to_string_lossy().starts_with("--against")) {
        packages::install_peer();
    }
    let releases = target(root).join("release");
    let mut command = Command::new(releases.join("bench"));
    command.current_dir(root).arg("--bin").arg(&releases).arg("--state").arg(target(root).join("bench")).args(arguments);
    run("bench", &mut command)
}
