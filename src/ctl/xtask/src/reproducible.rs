//! `cargo xtask reproducible`: the same commit, built twice at different places, gives the same bytes.
//!
//! Paths are all that could differ on one machine: those of the sources, of what is built, and of cargo's registry, in debug information, in
//! messages of panics and in what C compilers write. All are mapped to fixed names; whoever publishes executables builds with [`flags`].

use crate::{Failure, build::PACKAGES, cargo, note, run, target};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Of different lengths, so that a path that slips through moves what follows it.
const PLACES: [&str; 2] = ["a", "quite-another-place"];

/// Builds these packages twice, all when none is named, and compares the executables.
pub(crate) fn check(root: &Path, packages: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = packages.iter().find(|package| !PACKAGES.contains(&package.as_str())) {
        return Err(format!("{unknown} is no package with an executable"));
    }
    let packages: Vec<&str> = if packages.is_empty() { PACKAGES.to_vec() } else { packages.iter().map(String::as_str).collect() };
    let mut releases = Vec::new();
    for place in PLACES {
        let place = target(root).join("reproducible").join(place);
        releases.push(build(root, &place, &packages)?);
    }
    let mut different = Vec::new();
    for package in packages {
        let read = |release: &PathBuf| fs::read(release.join(package)).map_err(|e| format!("{}: {e}", release.join(package).display()));
        let all = releases.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let same = all.windows(2).all(|pair| pair.first() == pair.last());
        note(&format!("xtask: {package}: {}", if same { "the same bytes" } else { "DIFFERENT" }));
        if !same {
            different.push(package);
        }
    }
    if different.is_empty() { Ok(()) } else { Err(format!("not reproducible: {}", different.join(", "))) }
}

/// What is committed, at a place of its own.
fn build(root: &Path, place: &Path, packages: &[&str]) -> Result<PathBuf, Failure> {
    let (source, built) = (place.join("source"), place.join("target"));
    // A file that is gone from the commit must not stay.
    if source.exists() {
        fs::remove_dir_all(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    }
    fs::create_dir_all(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    let mut archive = Command::new("git")
        .current_dir(root)
        .args(["archive", "--format=tar", "HEAD"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("git archive: {e}"))?;
    let tar = archive.stdout.take().ok_or("git archive: no output")?;
    run("tar", Command::new("tar").arg("-x").arg("-C").arg(&source).stdin(tar))?;
    let status = archive.wait().map_err(|e| format!("git archive: {e}"))?;
    if !status.success() {
        return Err(format!("git archive: {status}"));
    }
    let (rust, c) = flags(&source, &built);
    for package in packages {
        note(&format!("xtask: building {package} in {}", place.display()));
        let mut command = cargo(root);
        command.current_dir(&source).env("CARGO_TARGET_DIR", &built).env("CARGO_ENCODED_RUSTFLAGS", &rust);
        command.env("CARGO_INCREMENTAL", "0").env("CFLAGS", &c).env("SOURCE_DATE_EPOCH", "0");
        command.args(["build", "--quiet", "--release", "--locked", "--ignore-rust-version", "--package", package]);
        run(&format!("building {package}"), &mut command)?;
    }
    Ok(built.join("release"))
}

/// For rustc, separated as `CARGO_ENCODED_RUSTFLAGS` is, and for C compilers: fixed names in the place of this machine's paths.
fn flags(source: &Path, built: &Path) -> (String, String) {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut names = vec![(source.to_owned(), "/postern"), (built.to_owned(), "/built")];
    names.extend(home.map(|home| (home, "/cargo")));
    let rust: Vec<String> = names.iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())).collect();
    let c: Vec<String> = names.iter().map(|(path, name)| format!("-ffile-prefix-map={}={name}", path.display())).collect();
    (rust.join("\x1f"), c.join(" "))
}
