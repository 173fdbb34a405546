//! What may be built from: licences, sources, and no version that is known to be weak. Needs no network.
//!
//! * a licence that is not in [`LICENCES`] is refused, and so are two of which one must be kept beside the other and is not in it;
//! * every crate is from crates.io, with its checksum in Cargo.lock; no git, no patch, no vendored copy;
//! * `advisories.txt` is what the RustSec database said when it was taken over (`cargo xtask advisories`); its age is in its first line.

use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// Permissive, and known to be compatible with Apache-2.0 OR MIT. No copyleft.
const LICENCES: [&str; 7] = ["Apache-2.0", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0", "Zlib", "MIT-0"];
/// Advisories that do not matter here, each with its reason.
const ACCEPTED: &[(&str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether an SPDX expression can be satisfied: for each AND, one OR that may be.
fn acceptable(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    // Shunting-yard: AND binds closer than OR (SPDX 2.3 annex D); WITH only adds permissions.
    let (mut values, mut operators): (Vec<bool>, Vec<&str>) = (Vec::new(), Vec::new());
    fn apply(values: &mut Vec<bool>, operator: &str) {
        let (right, left) = (values.pop().unwrap(), values.pop().unwrap());
        values.push(if operator == "AND" { left && right } else { left || right });
    }
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word {
            "WITH" => drop(words.next()),
            "(" => operators.push(word),
            ")" => {
                while let Some(operator) = operators.pop().filter(|o| *o != "(") {
                    apply(&mut values, operator);
                }
            }
            "AND" | "OR" => {
                while operators.last().is_some_and(|o| *o == "AND" || (*o == "OR" && word == "OR")) {
                    let operator = operators.pop().unwrap();
                    apply(&mut values, operator);
                }
                operators.push(word);
            }
            licence => values.push(LICENCES.contains(&licence)),
        }
    }
    while let Some(operator) = operators.pop() {
        apply(&mut values, operator);
    }
    values == [true]
}

#[test]
fn every_licence_is_one_that_may_be() {
    let metadata = metadata();
    let used: Vec<&str> = metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    let packages = metadata["packages"].as_array().unwrap().iter().filter(|p| used.contains(&p["id"].as_str().unwrap()));
    let refused: Vec<String> = packages
        .filter(|package| !package["license"].as_str().is_some_and(acceptable))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(used.len() > 100);
}

#[test]
fn expressions_are_understood() {
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-2.0) AND ISC",
        "Apache-2.0 WITH LLVM-exception",
        "ISC AND (AGPL-3.0 OR MIT)",
    ] {
        assert!(acceptable(good), "{good}");
    }
    for bad in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR ISC) AND MPL-2.0",
        "AGPL-3.0 OR LGPL-3.0",
        "",
        "LGPL-2.1 WITH x",
        "MPL-2.0 AND MIT OR EUPL-1.2",
    ] {
        assert!(!acceptable(bad), "{bad}");
    }
}

/// Name, version and the rest of each package of Cargo.lock.
fn locked() -> Vec<(String, String, String)> {
    let text = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|line| line.trim_matches('"').to_owned()).unwrap_or_default()
    };
    text.split("[[package]]").skip(1).map(|block| (value(block, "name"), value(block, "version"), block.to_owned())).collect()
}

#[test]
fn every_crate_is_from_the_registry_and_has_a_checksum() {
    let metadata = metadata();
    let ours: Vec<&str> =
        metadata["packages"].as_array().unwrap().iter().filter(|p| p["source"].is_null()).map(|p| p["name"].as_str().unwrap()).collect();
    for (name, version, block) in locked() {
        let registry =
            block.contains("source = \"registry+https://github.com/rust-lang/crates.io-index\"") && block.contains("checksum = ");
        assert!(registry || (!block.contains("source = ") && ours.contains(&name.as_str())), "{name} {version}");
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("[patch") && !manifest.contains("[replace") && !manifest.contains("git = "));
}

/// Major, minor, patch; a pre-release comes before its release.
type Version = (u64, u64, u64, bool);

fn version(text: &str) -> Version {
    let text = text.trim().split('+').next().unwrap();
    let (numbers, release) = text.split_once('-').map_or((text, true), |(numbers, _)| (numbers, false));
    let mut parts = numbers.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next(), release)
}

/// Whether a version meets every condition of a list.
fn meets(found: Version, conditions: &str) -> bool {
    conditions.split(',').map(str::trim).filter(|condition| !condition.is_empty()).all(|condition| {
        let operator: String = condition.chars().take_while(|letter| !letter.is_ascii_digit() && !letter.is_whitespace()).collect();
        let number = condition[operator.len()..].trim();
        let (wanted, parts) = (version(number), number.split('.').count());
        match operator.as_str() {
            ">=" => found >= wanted,
            ">" => found > wanted,
            "<=" => found <= wanted,
            "<" => found < wanted,
            "=" => found == wanted,
            // The leftmost number that is not 0 stays.
            "^" | "" => {
                let same = match wanted {
                    (0, 0, patch, _) if parts > 2 => (found.0, found.1, found.2) == (0, 0, patch),
                    (0, minor, ..) if parts > 1 => (found.0, found.1) == (0, minor),
                    (major, ..) => found.0 == major,
                };
                same && found >= wanted
            }
            "~" => found >= wanted && found.0 == wanted.0 && (parts < 2 || found.1 == wanted.1),
            other => panic!("{other:?} in {conditions:?}"),
        }
    })
}

#[test]
fn no_version_that_is_used_is_known_to_be_weak() {
    let text = include_str!("../advisories.txt");
    let advisories: Vec<Vec<&str>> = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect()).collect();
    assert!(advisories.len() > 500, "the snapshot is not whole");
    let (mut weak, mut compared) = (Vec::new(), 0);
    for (name, number, _) in locked() {
        for advisory in advisories.iter().filter(|advisory| advisory[2] == name) {
            compared += 1;
            let fine = advisory[3].split('|').filter(|c| !c.trim().is_empty()).any(|conditions| meets(version(&number), conditions));
            if !fine && !ACCEPTED.iter().any(|(id, _)| *id == advisory[0]) {
                weak.push(format!("{name} {number}: {} ({})", advisory[0], advisory[1]));
            }
        }
    }
    assert!(weak.is_empty(), "{weak:#?}");
    assert!(compared > 50, "{compared}");
}

#[test]
fn versions_are_compared_as_cargo_does() {
    for (number, conditions, met) in [
        ("1.0.3", ">= 1.0.0", true),
        ("0.9.9", ">= 1.0.0", false),
        ("1.5.0", ">= 1.2, < 2.0.0", true),
        ("2.0.0", ">= 1.2, < 2.0.0", false),
        ("0.5.3", "^0.5.1", true),
        ("0.6.0", "^0.5.1", false),
        ("1.9.0", "^1", true),
        ("1.2.9", "~1.2.3", true),
        ("1.3.0", "~1.2.3", false),
        ("1.0.0-rc.1", ">= 1.0.0", false),
        ("1.0.0", "= 1.0.0", true),
    ] {
        assert_eq!(meets(version(number), conditions), met, "{number} {conditions}");
    }
}
