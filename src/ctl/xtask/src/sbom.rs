//! `cargo xtask sbom`: what each executable is made of, as CycloneDX 1.5 (ECMA-424 has the later form): one JSON document for each.
//!
//! Everything comes from `cargo metadata`; the same Cargo.lock gives the same bytes. Crates that only build or test are not in it.

use crate::{Failure, build::PACKAGES, deps, note, target};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};

pub(crate) fn write(root: &Path) -> Result<(), Failure> {
    let metadata = deps::metadata(root)?;
    let folder = target(root).join("sbom");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let checksums = checksums(root)?;
    for package in PACKAGES {
        let bill = bill(&metadata, &checksums, package).ok_or_else(|| format!("cargo metadata does not know {package}"))?;
        let file = folder.join(format!("{package}.cdx.json"));
        fs::write(&file, format!("{bill:#}\n")).map_err(|e| format!("{}: {e}", file.display()))?;
        note(&format!("xtask: wrote {}", file.display()));
    }
    Ok(())
}

fn bill(metadata: &Value, checksums: &BTreeMap<(String, String), String>, package: &str) -> Option<Value> {
    let linked = deps::linked_ids(metadata, package)?;
    let packages: BTreeMap<&str, &Value> =
        metadata.get("packages")?.as_array()?.iter().filter_map(|p| Some((p.get("id")?.as_str()?, p))).collect();
    let component = |id: &str, kind: &str| -> Option<Value> {
        let package = packages.get(id)?;
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        let (name, version) = (text("name")?, text("version")?);
        let mut component = json!({ "type": kind, "bom-ref": reference(name, version), "name": name, "version": version });
        let fields = component.as_object_mut()?;
        if let Some(license) = text("license") {
            // The slash is how some still write OR.
            fields.insert("licenses".into(), json!([{ "expression": license.replace('/', " OR ") }]));
        }
        if text("source").is_some() {
            fields.insert("purl".into(), Value::from(reference(name, version)));
        }
        if let Some(checksum) = checksums.get(&(name.to_owned(), version.to_owned())) {
            fields.insert("hashes".into(), json!([{ "alg": "SHA-256", "content": checksum }]));
        }
        Some(component)
    };
    let root = packages.iter().find(|(_, p)| p.get("name").and_then(Value::as_str) == Some(package)).map(|(id, _)| *id)?;
    let components: Vec<Value> = linked.iter().filter_map(|id| component(id, "library")).collect();
    Some(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(root, "application")? },
        "components": components,
    }))
}

/// A package URL (purl-spec, type cargo).
fn reference(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// By name and version, as Cargo.lock has them.
fn checksums(root: &Path) -> Result<BTreeMap<(String, String), String>, Failure> {
    let file = root.join("Cargo.lock");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let value = |block: &str, key: &str| -> Option<String> {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    let of = |block: &str| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?));
    Ok(text.split("[[package]]").filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_names_what_is_linked_and_nothing_else() {
        let metadata = json!({
            "packages": [
                { "id": "a", "name": "postern-x", "version": "1.0.0", "license": "MIT", "source": null },
                { "id": "b", "name": "dep", "version": "2.0.0", "license": "MIT/Apache-2.0", "source": "registry+https://x" },
                { "id": "c", "name": "tester", "version": "3.0.0", "license": "MIT", "source": "registry+https://x" },
            ],
            "resolve": { "nodes": [
                { "id": "a", "deps": [
                    { "pkg": "b", "dep_kinds": [{ "kind": null }] },
                    { "pkg": "c", "dep_kinds": [{ "kind": "dev" }] },
                ] },
                { "id": "b", "deps": [] },
                { "id": "c", "deps": [] },
            ] },
        });
        let checksums = BTreeMap::from([(("dep".to_owned(), "2.0.0".to_owned()), "00".to_owned())]);
        let bill = bill(&metadata, &checksums, "postern-x").unwrap_or_default();
        assert_eq!(bill.pointer("/metadata/component/name"), Some(&json!("postern-x")));
        assert_eq!(bill.get("components").and_then(Value::as_array).map(Vec::len), Some(1));
        assert_eq!(bill.pointer("/components/0/purl"), Some(&json!("pkg:cargo/dep@2.0.0")));
        assert_eq!(bill.pointer("/components/0/licenses/0/expression"), Some(&json!("MIT OR Apache-2.0")));
        assert_eq!(bill.pointer("/components/0/hashes/0/content"), Some(&json!("00")));
    }
}
