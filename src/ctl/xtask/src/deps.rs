//! What each executable is made of: the names of all crates that are linked into it, one a line, as `cargo metadata` resolves them.

use crate::{Failure, build::PACKAGES, cargo, note};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Where the lists are committed; `tests/trust-graph` compares them with what is so.
const LISTS: &str = "tests/trust-graph/deps";
/// What the lists are for: the same on every machine.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// What cargo knows of all packages.
pub(crate) fn metadata(root: &Path) -> Result<Value, Failure> {
    let output = cargo(root)
        .args(["metadata", "--format-version", "1", "--filter-platform", PLATFORM])
        .output()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))
}

pub(crate) fn write(root: &Path) -> Result<(), Failure> {
    let metadata = metadata(root)?;
    let dir = root.join(LISTS);
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for package in PACKAGES {
        let names = linked(&metadata, package).ok_or_else(|| format!("cargo metadata does not know {package}"))?;
        let file = dir.join(format!("{package}.txt"));
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        note(&format!("xtask: wrote {LISTS}/{package}.txt"));
    }
    Ok(())
}

/// Names only: a new version of a crate that is there already is not news, Cargo.lock shows it.
fn linked<'a>(metadata: &'a Value, package: &str) -> Option<BTreeSet<&'a str>> {
    let names = names(metadata)?;
    Some(linked_ids(metadata, package)?.into_iter().filter_map(|id| names.get(id).copied()).collect())
}

fn names(metadata: &Value) -> Option<BTreeMap<&str, &str>> {
    let packages = metadata.get("packages")?.as_array()?;
    Some(packages.iter().filter_map(|p| Some((text(p, "id")?, text(p, "name")?))).collect())
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// The packages that are linked into one, by their ids, without itself.
pub(crate) fn linked_ids<'a>(metadata: &'a Value, package: &str) -> Option<BTreeSet<&'a str>> {
    let names = names(metadata)?;
    let nodes = metadata.get("resolve")?.get("nodes")?.as_array()?;
    let edges: BTreeMap<&str, Vec<&str>> = nodes
        .iter()
        .filter_map(|node| {
            let deps = node.get("deps")?.as_array()?.iter().filter(|d| is_normal(d)).filter_map(|d| text(d, "pkg")).collect();
            Some((text(node, "id")?, deps))
        })
        .collect();
    let start = names.iter().find(|(_, name)| **name == package).map(|(id, _)| *id)?;
    let (mut open, mut seen) = (vec![start], BTreeSet::new());
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(edges.get(id).into_iter().flatten().copied());
        }
    }
    seen.remove(start);
    Some(seen)
}

/// Neither only for tests nor only for building.
fn is_normal(dependency: &Value) -> bool {
    let kinds = dependency.get("dep_kinds").and_then(Value::as_array);
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind.get("kind").is_none_or(Value::is_null)))
}
