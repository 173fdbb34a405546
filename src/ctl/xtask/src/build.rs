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

/// What is answered without the servers.
const HELP: [&str; 2] = ["--help", "-h"];

pub(crate) fn release(root: &Path) -> Result<(), Failure> {
    PACKAGES.iter().try_for_each(|package| one(root, package))
}

fn one(root: &Path, package: &str) -> Result<(), Failure> {
    note(&format!("xtask: building {package}"));
    let mut command = cargo(root);
    // mail-parser and mail-auth declare a newer rustc than they need.
    command.args(["build", "--quiet", "--release", "--ignore-rust-version", "--package", package]);
    run(&format!("building {package}"), &mut command)
}

/// Whether one of these options is among the arguments, with its value behind it or within it.
fn asks(arguments: &[OsString], options: &[&str]) -> bool {
    arguments.iter().any(|argument| {
        let argument = argument.to_string_lossy();
        options.iter().any(|option| argument.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
    })
}

pub(crate) fn up(root: &Path, arguments: &[OsString]) -> Result<(), Failure> {
    let postern = target(root).join("release/postern");
    let mut command = Command::new(&postern);
    command.arg("up").args(arguments);
    if asks(arguments, &HELP) {
        one(root, "postern")?;
    } else {
        release(root)?;
        if !asks(arguments, &["--state"]) {
            command.arg("--state").arg(target(root).join("up"));
        }
    }
    // Takes this process's place, so that signals reach it. Returns only if it cannot.
    Err(format!("{}: {}", postern.display(), command.exec()))
}

pub(crate) fn bench(root: &Path, arguments: &[OsString]) -> Result<(), Failure> {
    let releases = target(root).join("release");
    let mut command = Command::new(releases.join("bench"));
    command.current_dir(root);
    if asks(arguments, &HELP) || asks(arguments, &["--list"]) {
        one(root, "bench")?;
    } else {
        release(root)?;
        one(root, "bench")?;
        if asks(arguments, &["--against"]) {
            packages::install_peer();
        }
        if !asks(arguments, &["--bin"]) {
            command.arg("--bin").arg(&releases);
        }
        if !asks(arguments, &["--state"]) {
            command.arg("--state").arg(target(root).join("bench"));
        }
    }
    run("bench", command.args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_seen_with_its_value_behind_it_or_within_it() {
        let given = |arguments: &[&str]| asks(&arguments.iter().map(OsString::from).collect::<Vec<_>>(), &["--state"]);
        assert!(given(&["--json", "--state", "x"]) && given(&["--state=x"]));
        assert!(!given(&[]) && !given(&["--stateless"]) && !given(&["state"]));
    }
}
