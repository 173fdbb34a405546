//! The Nix files are well-formed, and agree with the rest of the project where that can be seen without evaluating them.

use nix_files::{files, workspace};
use std::fs;

#[test]
fn every_file_parses() {
    let files = files().unwrap();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let parsed = rnix::Root::parse(&fs::read_to_string(&file).unwrap());
        assert!(parsed.errors().is_empty(), "{}: {:?}", file.display(), parsed.errors());
    }
}

#[test]
fn a_file_with_a_mistake_does_not_parse() {
    assert!(!rnix::Root::parse("{ a = 1 }").errors().is_empty());
}

#[test]
fn the_module_names_every_service_and_no_other() {
    let module = fs::read_to_string(workspace().join("nix/module.nix")).unwrap();
    let list = module.split("  services = [").nth(1).unwrap().split(']').next().unwrap();
    let mut named: Vec<String> = list.split_whitespace().map(|n| format!("postern-{}.service", n.trim_matches('"'))).collect();
    let units = fs::read_dir(workspace().join("systemd")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut units: Vec<String> = units.filter(|n| n.ends_with(".service")).collect();
    named.sort();
    units.sort();
    assert_eq!(named, units);
}

#[test]
fn the_package_installs_every_program_that_a_unit_starts() {
    let package = fs::read_to_string(workspace().join("nix/package.nix")).unwrap();
    for entry in fs::read_dir(workspace().join("systemd")).unwrap() {
        let unit = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in unit.lines().filter_map(|l| l.strip_prefix("ExecStart=/usr/lib/postern/")) {
            let program = line.split(' ').next().unwrap();
            assert!(package.contains(&format!("\"{program}\"")), "{program}");
        }
    }
}

#[test]
fn what_the_module_writes_is_a_valid_configuration() {
    // As pkgs.formats.toml renders the settings of the full example in nix/tests/eval.nix.
    let text = "hostname = \"mail.example.org\"\n\n[accounts.\"alice@example.org\"]\naliases = [\"postmaster@example.org\"]\n\
        quota = \"5 GiB\"\n\n[aliases]\n\"info@example.org\" = [\"alice@example.org\"]\n\n[domains.\"example.org\"]\n\n[limits]\n\
        message_size = \"100 MiB\"\n";
    pure_config::Config::parse(text).unwrap();
}

#[test]
fn the_lock_file_pins_every_input_by_hash() {
    let lock: serde_json::Value = serde_json::from_str(&fs::read_to_string(workspace().join("flake.lock")).unwrap()).unwrap();
    let nodes = lock["nodes"].as_object().unwrap();
    for (name, node) in nodes.iter().filter(|(name, _)| *name != "root") {
        assert!(node["locked"]["narHash"].as_str().is_some_and(|h| h.starts_with("sha256-")), "{name}");
        assert_eq!(node["locked"]["rev"].as_str().map(str::len), Some(40), "{name}");
    }
}
