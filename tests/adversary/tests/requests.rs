//! Everything that one process can ask another, as one committed page: `expected/requests.txt`.
//!
//! What an edge does not have cannot be asked, so most of what must hold when a process is owned holds because of this page. It is made from
//! the definitions themselves, down to the last field; a change of it is a change of what an attacker can reach, and shows as such.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

#[path = "requests/types.rs"]
mod types;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write,
    fs,
    path::Path,
};
use system::{CONTROL_EDGES, SERVICES};
use types::{Source, Type};

const WRITE: &str = "POSTERN_WRITE_EXPECTED";

/// One edge.
struct Listed<'a> {
    name: String,
    fds: String,
    /// `asks`, `answers` or `tells`, and the type.
    kinds: Vec<(&'static str, &'a Type)>,
}

impl Listed<'_> {
    /// Everything that can be in a frame of it, as far as this is said.
    fn reachable<'s>(&self, source: &'s Source, kinds: &[&str]) -> BTreeMap<String, &'s Type> {
        let wanted = self.kinds.iter().filter(|(kind, _)| kinds.contains(kind));
        let of = |one: &Type| one.path.rsplit_once("::").map(|(home, name)| source.reachable(home, name)).unwrap();
        wanted.flat_map(|(_, one)| of(one)).collect()
    }
}

const ALL: [&str; 3] = ["asks", "answers", "tells"];

fn edges(source: &Source) -> Vec<Listed<'_>> {
    let mut all = Vec::new();
    for (module, read) in source.below("wire::edge") {
        let module = format!("wire::edge::{module}");
        for edge in read.code.split("impl Edge for ").skip(1) {
            let constant = |name: &str| edge.split(name).nth(1).and_then(|rest| rest.split(['=', ';']).nth(1)).unwrap().trim().to_owned();
            let kinds = [("asks", "type Request"), ("answers", "type Response"), ("tells", "type Event")];
            let kinds = kinds.map(|(kind, name)| (kind, source.find(&module, &constant(name)).unwrap())).into_iter().collect();
            let name = constant("NAME").trim_matches('"').to_owned();
            all.push(Listed { name, fds: constant("MAX_FDS"), kinds });
        }
    }
    all
}

/// As it stands on the page: without what all have in common.
fn short(path: &str) -> &str {
    path.strip_prefix("wire::edge::").unwrap_or(path)
}

fn page() -> String {
    let source = Source::read();
    let mut page = String::from(
        "# Everything that one process can ask another, and what is in it. Made from src/wire/src/edge; see tests/requests.rs.\n",
    );
    let (mut inside, mut whole) = (BTreeMap::new(), BTreeSet::new());
    for edge in edges(&source) {
        let name = &edge.name;
        let listener = SERVICES.iter().find(|s| s.serves.contains(&name.as_str()));
        // Who listens serves those that connect to it, or asks the one that was connected to it.
        let answering = SERVICES.iter().find(|s| s.answers.contains(&name.as_str()));
        let mut callers: Vec<&str> = match answering {
            Some(_) => listener.iter().map(|s| s.name).collect(),
            None => SERVICES.iter().filter(|s| s.calls.contains(&name.as_str())).map(|s| s.name).collect(),
        };
        if CONTROL_EDGES.contains(&name.as_str()) {
            callers.push("the operator");
        }
        let server = answering.or(listener);
        // Those without a name in the file system come from a login.
        let server = server.map_or("whoever granted the session", |s| s.name);
        let callers = if callers.is_empty() { "a session".to_owned() } else { callers.join(", ") };
        writeln!(page, "\n{name}: {callers} -> {server}; descriptors: {}", edge.fds).unwrap();
        let own: BTreeSet<String> = edge.kinds.iter().map(|(_, one)| one.path.clone()).collect();
        for (kind, one) in &edge.kinds {
            for variant in &one.parts {
                writeln!(page, "  {kind:7} {variant}").unwrap();
            }
        }
        let reached = edge.reachable(&source, &ALL);
        let others: Vec<&str> = reached.keys().filter(|path| !own.contains(*path)).map(|path| short(path)).collect();
        writeln!(page, "  within  {}", others.join(", ")).unwrap();
        whole.extend(own);
        inside.extend(reached.into_iter().map(|(path, one)| (path, one.parts.clone())));
    }
    writeln!(page, "\n# What is within.").unwrap();
    for (path, parts) in inside.into_iter().filter(|(path, _)| !whole.contains(path)) {
        writeln!(page, "\n{}", short(&path)).unwrap();
        for part in parts {
            writeln!(page, "  {part}").unwrap();
        }
    }
    page
}

#[test]
fn the_requests_of_every_edge_are_those_that_are_committed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected/requests.txt");
    let page = page();
    if env::var_os(WRITE).is_some_and(|value| value == "1") {
        fs::write(&file, page).unwrap();
        return;
    }
    let committed = fs::read_to_string(file).unwrap();
    let without = |text: &str, other: &str| -> Vec<String> {
        text.lines().filter(|line| !other.lines().any(|before| before == *line)).map(str::to_owned).collect()
    };
    assert!(page == committed, "new: {:#?}, gone: {:#?}", without(&page, &committed), without(&committed, &page));
}

/// `Certificate.chain List<ByteBuf, 10>`: every value of these types, with the name of what it is in.
fn values(types: &BTreeMap<String, &Type>) -> Vec<(String, String)> {
    let of = |(path, one): (&String, &&Type)| {
        let name = path.rsplit("::").next().unwrap().to_owned();
        one.fields().into_iter().map(move |(field, kind)| (if field.is_empty() { name.clone() } else { format!("{name}.{field}") }, kind))
    };
    types.iter().flat_map(of).collect()
}

/// Words that nothing towards `keys`, and no answer of it, may have, however deep.
#[test]
fn keys_has_no_request_that_gives_a_key_away() {
    let source = Source::read();
    let of_keys: Vec<Listed<'_>> = edges(&source).into_iter().filter(|edge| edge.name.starts_with("keys-")).collect();
    assert_eq!(of_keys.len(), 5);
    for edge in &of_keys {
        let name = &edge.name;
        let mut words: Vec<String> =
            edge.reachable(&source, &ALL).into_values().flat_map(|one| [vec![one.path.clone()], one.parts.clone()].concat()).collect();
        words.iter_mut().for_each(|word| word.make_ascii_lowercase());
        for word in ["export", "private", "decrypt", "secret", "scalar", "pkcs", "seed"] {
            assert!(!words.iter().any(|line| line.contains(word)), "{name}: {word}: {words:#?}");
        }
        // A key comes in, from the operator, and in no answer.
        let pem = |kinds: &[&str]| edge.reachable(&source, kinds).into_keys().any(|path| path.to_lowercase().contains("pem"));
        assert_eq!((pem(&["asks"]), pem(&["answers", "tells"])), (name == "keys-control", false), "{name}");
    }
}

/// What is signed is built from these; another value of any bytes would be bytes of the attacker's choice, or a way for a key to get out.
#[test]
fn what_keys_is_given_to_sign_and_what_it_gives_has_a_shape() {
    const HANDSHAKES: [&[&str]; 2] = [
        &["SignInput.Tls12KeyExchange.public: ByteBuf", "SignInput.Tls13ServerVerify.transcript_hash: ByteBuf"],
        &["Certificate.chain: List<ByteBuf, 10>", "Response.Signature: ByteBuf"],
    ];
    const DKIM: [&[&str]; 2] = [
        &["SealedSet.message: ByteBuf", "SealedSet.results: ByteBuf", "SealedSet.seal: ByteBuf", "SignedField.value: Option<ByteBuf>"],
        &["Response.Signatures: List<ByteBuf, 4>"],
    ];
    const CONTROL: [&[&str]; 2] = [&["Pem: String"], &[]];
    /// Which hold a text, and check what is in it.
    const CHECKED: [&str; 5] = ["Domain: String", "LocalPart: String", "Selector: String", "Text: String", "QueryName: String"];
    let source = Source::read();
    for edge in edges(&source).into_iter().filter(|edge| edge.name.starts_with("keys-")) {
        let shape = match edge.name.as_str() {
            "keys-dkim" => DKIM,
            "keys-control" => CONTROL,
            _ => HANDSHAKES,
        };
        for (kinds, expected) in [&["asks"][..], &["answers", "tells"]].into_iter().zip(shape) {
            let types = edge.reachable(&source, kinds);
            let is_free = |kind: &str| {
                ["ByteBuf", "String", "Vec", "Secret"].iter().any(|free| types::names(kind).iter().any(|name| name.ends_with(free)))
            };
            // A list is of what it lists.
            let free = values(&types).into_iter().filter(|(name, kind)| name != "List" && is_free(kind) && !names_a_type(&types, kind));
            let free: BTreeSet<String> =
                free.map(|(name, kind)| format!("{name}: {kind}")).filter(|one| !CHECKED.contains(&one.as_str())).collect();
            assert_eq!(free, expected.iter().map(|one| (*one).to_owned()).collect(), "{}: {kinds:?}", edge.name);
        }
    }
}

/// Whether all that a value holds is declared among these, and is looked at there.
fn names_a_type(types: &BTreeMap<String, &Type>, kind: &str) -> bool {
    const AROUND: [&str; 3] = ["Option", "Box", "Vec"];
    let inner = types::names(kind).into_iter().filter(|name| !AROUND.contains(&name.as_str()) && name.chars().any(char::is_lowercase));
    let found = |name: &str| types.keys().any(|path| path.ends_with(&format!("::{name}")));
    let all: Vec<String> = inner.collect();
    !all.is_empty() && all.iter().all(|name| name == "List" || found(name)) && all.iter().any(|name| name != "List")
}

/// An account's number is the store's secret from nobody, and of no use to who holds a session: there is no request that takes one, and nothing
/// in what mx, scan or send ask that could name one.
#[test]
fn no_request_of_a_session_names_an_account() {
    const WITHOUT: [&str; 10] = [
        "store-session",
        "queue-submit",
        "queue-inbound",
        "keys-tls-mx",
        "keys-tls-submission",
        "keys-tls-imap",
        "dns-scan",
        "send-names",
        "scan-queue",
        "scan-store",
    ];
    let source = Source::read();
    let all = edges(&source);
    for name in WITHOUT {
        let edge = all.iter().find(|edge| edge.name == name).unwrap();
        let types = edge.reachable(&source, &ALL);
        let said = types.iter().flat_map(|(path, one)| [vec![path.clone()], one.parts.clone()].concat()).map(|text| text.to_lowercase());
        let said: Vec<String> = said.collect();
        for word in ["account", "owner", "user"] {
            assert!(!said.iter().any(|text| text.contains(word)), "{name}: {word}: {said:#?}");
        }
    }
    // The search sees what is there.
    let grant = all.iter().find(|edge| edge.name == "store-grant").unwrap();
    assert!(grant.reachable(&source, &["asks"]).keys().any(|path| path == "pure_addr::account::AccountId"));
    let login = all.iter().find(|edge| edge.name == "auth-imap").unwrap();
    assert!(!login.reachable(&source, &["asks"]).keys().any(|path| path.ends_with("Owner") || path.ends_with("AccountId")));
}
