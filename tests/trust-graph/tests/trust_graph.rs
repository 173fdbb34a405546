//! Who may be linked into whom. `cargo metadata` says what is so; this says what may be.
//!
//! * exposed and blind processes never hold code of a vault, nor a database;
//! * a vault never holds a TLS, HTTP, SMTP or MIME crate, except where it is named here;
//! * the pure crates do no input or output;
//! * what every executable is made of is committed in `deps/`, so that a new crate in an exposed process is a visible change;
//! * the released executables have no symbol of SQLite where none may be, whatever cargo believes.

use object::{Object, ObjectSymbol};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The executables, and where their packages are.
const EXECUTABLES: [(&str, &str); 10] = [
    ("postern-smtp", "src/exposed/smtp"),
    ("postern-imap", "src/exposed/imap"),
    ("postern-dns", "src/exposed/dns"),
    ("postern-send", "src/exposed/send"),
    ("postern-scan", "src/blind/scan"),
    ("postern-queue", "src/vault/queue"),
    ("postern-store", "src/vault/store"),
    ("postern-auth", "src/vault/auth"),
    ("postern-keys", "src/vault/keys"),
    ("postern", "src/ctl/postern"),
];
/// The only ones with a database.
const WITH_DATABASE: [&str; 3] = ["postern-queue", "postern-store", "postern-auth"];
const DATABASES: [&str; 2] = ["rusqlite", "libsqlite3-sys"];
/// No vault speaks a protocol of the Internet. `aws-lc-rs` is the signer of keys and is not among them.
const PROTOCOLS: [&str; 14] = [
    "rustls",
    "tokio-rustls",
    "native-tls",
    "openssl",
    "exposed-tls",
    "hyper",
    "reqwest",
    "axum",
    "h2",
    "mail-parser",
    "mail-auth",
    "smtp-proto",
    "pure-smtp",
    "pure-mime",
];
/// What the pure crates must not reach.
const NOT_PURE: [&str; 10] = ["tokio", "rustix", "libc", "nix", "socket2", "mio", "rusqlite", "rustls", "jail", "wire"];

/// The packages of the workspace and what is linked into each, as cargo resolved it for Linux.
struct Graph {
    /// By id: name.
    names: BTreeMap<String, String>,
    /// By name: folder, for packages of ours.
    ours: BTreeMap<String, String>,
    /// By id: ids, without dev- and build-dependencies.
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu", "--offline"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (mut names, mut ours) = (BTreeMap::new(), BTreeMap::new());
        for package in all["packages"].as_array().unwrap() {
            let name = text(&package["name"]);
            names.insert(text(&package["id"]), name.clone());
            if package["source"].is_null() {
                let manifest = PathBuf::from(text(&package["manifest_path"]));
                let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                ours.insert(name, folder);
            }
        }
        let mut edges = BTreeMap::new();
        for node in all["resolve"]["nodes"].as_array().unwrap() {
            let normal = |dep: &&Value| dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            let list = node["deps"].as_array().unwrap().iter().filter(normal).map(|dep| text(&dep["pkg"])).collect();
            edges.insert(text(&node["id"]), list);
        }
        Self { names, ours, edges }
    }

    fn id(&self, name: &str) -> &str {
        let found = self.names.iter().find(|(_, n)| n.as_str() == name).map(|(id, _)| id.as_str());
        found.unwrap_or_else(|| panic!("there is no package {name}"))
    }

    /// What a package names itself.
    fn direct(&self, name: &str) -> BTreeSet<&str> {
        self.edges[self.id(name)].iter().map(|id| self.names[id].as_str()).collect()
    }

    /// Everything that is linked into a package.
    fn all(&self, name: &str) -> BTreeSet<&str> {
        let (mut open, mut seen) = (vec![self.id(name)], BTreeSet::new());
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(self.edges[id].iter().map(String::as_str));
            }
        }
        seen.into_iter().map(|id| self.names[id].as_str()).filter(|n| *n != name).collect()
    }

    fn folder(&self, name: &str) -> Option<&str> {
        self.ours.get(name).map(String::as_str)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Whether a package of the first folder may name one of the second.
fn may(from: &str, to: &str) -> bool {
    let kind = |folder: &str| folder.split('/').nth(1).unwrap_or_default().to_owned();
    let (from_kind, to_kind) = (kind(from), kind(to));
    match (from_kind.as_str(), to_kind.as_str()) {
        ("pure", "pure") => true,
        ("pure", _) => false,
        ("wire", "pure") => matches!(to, "src/pure/addr" | "src/pure/index"),
        ("wire", _) => false,
        // The configuration is handed over by jail; nothing else of a message or a protocol is its business.
        ("jail", "pure") => to == "src/pure/config",
        ("jail", _) => false,
        ("exposed", "exposed") => to == "src/exposed/tls",
        ("exposed" | "blind", "wire" | "pure" | "jail") => true,
        ("vault", "wire" | "jail") => true,
        // Addresses, the index that scan made, the configuration; and of the grammars only IMAP's search tree, for the store, and the
        // canonical form of what is signed, for keys.
        ("vault", "pure") => {
            matches!(to, "src/pure/addr" | "src/pure/index" | "src/pure/config")
                || matches!((from, to), ("src/vault/store", "src/pure/imap") | ("src/vault/keys", "src/pure/dkim"))
        }
        ("ctl", "wire" | "jail") => from == "src/ctl/postern",
        ("ctl", "pure") => from == "src/ctl/postern" && matches!(to, "src/pure/addr" | "src/pure/config"),
        _ => false,
    }
}

#[test]
fn every_arrow_between_our_packages_is_allowed() {
    let graph = Graph::read();
    let mut forbidden = Vec::new();
    for (name, folder) in graph.ours.iter().filter(|(_, folder)| folder.starts_with("src/")) {
        for to in graph.direct(name) {
            if let Some(to_folder) = graph.folder(to)
                && !may(folder, to_folder)
            {
                forbidden.push(format!("{folder} -> {to_folder}"));
            }
        }
    }
    assert!(forbidden.is_empty(), "forbidden: {forbidden:#?}");
}

#[test]
fn the_rule_itself_refuses_what_it_must() {
    for (from, to) in [
        ("src/exposed/imap", "src/vault/store"),
        ("src/blind/scan", "src/vault/queue"),
        ("src/blind/scan", "src/exposed/tls"),
        ("src/vault/queue", "src/pure/mime"),
        ("src/vault/queue", "src/pure/imap"),
        ("src/vault/store", "src/vault/queue"),
        ("src/wire", "src/jail"),
        ("src/pure/addr", "src/wire"),
        ("src/ctl/xtask", "src/wire"),
    ] {
        assert!(!may(from, to), "{from} -> {to}");
    }
    assert!(may("src/exposed/imap", "src/pure/imap") && may("src/vault/store", "src/pure/index"));
}

#[test]
fn only_three_executables_hold_a_database() {
    let graph = Graph::read();
    for (name, _) in EXECUTABLES {
        let linked: Vec<&str> = DATABASES.into_iter().filter(|d| graph.all(name).contains(d)).collect();
        assert_eq!(linked.is_empty(), !WITH_DATABASE.contains(&name), "{name}: {linked:?}");
    }
}

#[test]
fn no_vault_holds_a_protocol_of_the_internet() {
    let graph = Graph::read();
    for (name, folder) in EXECUTABLES.into_iter().filter(|(_, folder)| folder.starts_with("src/vault/")) {
        let all = graph.all(name);
        let found: Vec<&str> = PROTOCOLS.into_iter().filter(|p| all.contains(p)).collect();
        assert!(found.is_empty(), "{folder}: {found:?}");
    }
}

#[test]
fn the_pure_crates_reach_nothing_outside() {
    let graph = Graph::read();
    for (name, folder) in graph.ours.iter().filter(|(_, folder)| folder.starts_with("src/pure/")) {
        let all = graph.all(name);
        let found: Vec<&str> = NOT_PURE.into_iter().filter(|p| all.contains(p)).collect();
        assert!(found.is_empty(), "{folder}: {found:?}");
    }
}

#[test]
fn unsafe_code_stands_in_jail_alone() {
    let graph = Graph::read();
    for (name, folder) in graph.ours.iter().filter(|(name, _)| name.as_str() != "jail") {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let denied = manifest.contains("[lints]\nworkspace = true") || manifest.contains("unsafe_code = \"deny\"");
        assert!(denied, "{name} does not deny unsafe code");
    }
}

#[test]
fn the_committed_lists_say_what_the_executables_are_made_of() {
    let graph = Graph::read();
    for (name, _) in EXECUTABLES {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deps").join(format!("{name}.txt"));
        let committed = fs::read_to_string(&file).unwrap_or_default();
        let committed: BTreeSet<&str> = committed.lines().collect();
        let all = graph.all(name);
        let added: Vec<_> = all.difference(&committed).collect();
        let gone: Vec<_> = committed.difference(&all).collect();
        assert!(
            added.is_empty() && gone.is_empty(),
            "{name}: new {added:?}, gone {gone:?}. If that is meant, run `cargo xtask deps` and commit the list."
        );
    }
}

#[test]
fn the_executables_have_symbols_of_sqlite_only_where_they_may() {
    for (name, _) in EXECUTABLES {
        let path = test_support::binaries().join(name);
        let bytes = fs::read(&path).unwrap();
        let file = object::File::parse(bytes.as_slice()).unwrap();
        let names: Vec<&str> = file.symbols().filter_map(|s| s.name().ok()).collect();
        if names.is_empty() {
            test_support::skip(&format!("{name} has no symbols: it was stripped"));
            return;
        }
        let found = names.iter().any(|symbol| symbol.starts_with("sqlite3_"));
        assert_eq!(found, WITH_DATABASE.contains(&name), "{name}");
    }
}
