//! `cargo xtask advisories FOLDER`: takes over what a checkout of the RustSec advisory database says, so that the check needs no network.
//!
//! Only facts are taken, one line each: id, kind, package, the versions that are not affected. `tests/trust-graph` compares them with Cargo.lock.

use crate::{Failure, note};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const SNAPSHOT: &str = "tests/trust-graph/advisories.txt";

pub(crate) fn take(root: &Path, folder: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let crates = folder.join("crates");
    let mut lines = BTreeSet::new();
    let mut newest = String::new();
    for package in fs::read_dir(&crates).map_err(|e| failed(&crates, &e))?.flatten() {
        for file in fs::read_dir(package.path()).map_err(|e| failed(&package.path(), &e))?.flatten() {
            let path: PathBuf = file.path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(|e| failed(&path, &e))?;
            let front = text.split("```").nth(1).ok_or_else(|| failed(&path, &"no front matter"))?;
            if value(front, "withdrawn").is_some() {
                continue;
            }
            let need = |key: &str| value(front, key).ok_or_else(|| failed(&path, &format_args!("no {key}")));
            newest = newest.max(need("date")?);
            let kind = value(front, "informational").unwrap_or_else(|| "vulnerability".to_owned());
            let fine = [list(front, "patched"), list(front, "unaffected")].concat().join(" | ");
            lines.insert(format!("{}\t{kind}\t{}\t{fine}", need("id")?, need("package")?));
        }
    }
    let count = lines.len();
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    let header = format!(
        "# {count} advisories of https://github.com/rustsec/advisory-db, the newest of {newest}: id, kind, package, versions that are not affected.\n"
    );
    let file = root.join(SNAPSHOT);
    fs::write(&file, header + &text).map_err(|e| failed(&file, &e))?;
    note(&format!("xtask: wrote {SNAPSHOT}: {count} advisories, the newest of {newest}"));
    Ok(())
}

/// `key = "value"` of TOML, as the database writes it.
fn value(front: &str, key: &str) -> Option<String> {
    let line = front.lines().find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='))?;
    Some(line.trim().trim_matches('"').to_owned())
}

/// `key = ["a", "b"]`, over several lines or not.
fn list(front: &str, key: &str) -> Vec<String> {
    let found = front.lines().position(|line| line.trim().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')));
    let text: Vec<&str> = front.lines().skip(found.unwrap_or(usize::MAX)).collect();
    let text = text.join(" ");
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(inside, _)| inside);
    inside.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_is_read() {
        let front = "id = \"RUSTSEC-1\"\n[versions]\npatched = [\n  \">= 1.0, < 2\",\n  \"^3\",\n]\nunaffected = []\n";
        assert_eq!(value(front, "id").as_deref(), Some("RUSTSEC-1"));
        assert_eq!(list(front, "patched"), [">= 1.0, < 2", "^3"]);
        assert!(list(front, "unaffected").is_empty() && list(front, "absent").is_empty());
    }
}
