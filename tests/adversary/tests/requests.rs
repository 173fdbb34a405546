//! Everything that one process can ask another, as one committed page: `expected/requests.txt`.
//!
//! What an edge does not have cannot be asked, so most of what must hold when a process is owned holds because of this page. It is made from
//! the definitions themselves; a change of it is a change of what an attacker can reach, and shows as such.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use std::{collections::BTreeMap, env, fmt::Write, fs, path::Path};
use system::{CONTROL_EDGES, SERVICES};

const WRITE: &str = "POSTERN_WRITE_EXPECTED";

/// Without comments, attributes and needless space.
fn bare(text: &str) -> String {
    let code: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//") && !l.trim_start().starts_with("#[")).collect();
    let code: Vec<&str> = code.iter().map(|line| line.split(" // ").next().unwrap_or(line)).collect();
    code.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// From an opening bracket to its partner, without both.
fn inside(text: &str) -> &str {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        depth += match letter {
            '{' | '(' => 1,
            '}' | ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return text[1..at].trim().trim_end_matches(',');
        }
    }
    panic!("brackets: {text}");
}

/// At the commas that are in no bracket.
fn parts(text: &str) -> Vec<String> {
    let (mut depth, mut all) = (0, vec![String::new()]);
    for letter in text.chars() {
        depth += match letter {
            '{' | '(' | '<' | '[' => 1,
            '}' | ')' | '>' | ']' => -1,
            _ => 0,
        };
        if letter == ',' && depth == 0 { all.push(String::new()) } else { all.last_mut().unwrap().push(letter) }
    }
    all.iter().map(|part| part.trim().replace(", }", " }").replace("pub ", "")).filter(|part| !part.is_empty()).collect()
}

/// Every type of a module: its name and what it can be.
fn types(code: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for keyword in ["pub enum ", "pub struct "] {
        for rest in code.split(keyword).skip(1) {
            let end = rest.find(['{', '(', ';', '<', ' ']).unwrap();
            let name = rest[..end].trim();
            // Behind what it is generic over.
            let end = end + rest[end..].find(['{', '(', ';']).unwrap();
            let body = rest[end..].trim_start();
            let body = if body.starts_with(';') { "" } else { inside(body) };
            found.insert(name.to_owned(), parts(body));
        }
    }
    found
}

fn page() -> String {
    let folder = system::workspace().join("src/wire/src/edge");
    let mut modules: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    modules.sort();
    let mut page = String::from("# Everything that one process can ask another. Made from src/wire/src/edge; see tests/requests.rs.\n");
    for module in modules {
        let code = bare(&fs::read_to_string(&module).unwrap());
        let types = types(&code);
        let edges: Vec<&str> = code.split("impl Edge for ").skip(1).collect();
        if edges.is_empty() {
            continue;
        }
        for edge in &edges {
            let constant = |name: &str| edge.split(name).nth(1).and_then(|rest| rest.split(['=', ';']).nth(1)).unwrap().trim().to_owned();
            let name = constant("NAME").trim_matches('"').to_owned();
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
            writeln!(page, "\n{name}: {callers} -> {server}; descriptors: {}", constant("MAX_FDS")).unwrap();
            for (kind, name) in
                [("asks", constant("type Request")), ("answers", constant("type Response")), ("tells", constant("type Event"))]
            {
                for variant in types.get(&name).into_iter().flatten() {
                    writeln!(page, "  {kind:7} {variant}").unwrap();
                }
            }
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
    let new: Vec<&str> = page.lines().filter(|line| !committed.contains(line)).collect();
    assert_eq!(page, committed, "new: {new:#?}");
}

/// Words that no request towards `keys`, and no answer of it, may have.
#[test]
fn keys_has_no_request_that_gives_a_key_away() {
    let page = page();
    let of_keys = page.split("\n\n").filter(|section| section.starts_with("keys-"));
    let lines: Vec<String> = of_keys.flat_map(str::lines).map(str::to_lowercase).collect();
    assert!(lines.iter().filter(|line| line.contains("keys-")).count() >= 3);
    for word in ["export", "private", "decrypt", "secret"] {
        assert!(!lines.iter().any(|line| line.contains(word)), "{word}: {lines:#?}");
    }
    // A key comes in, from the operator, and in no answer.
    let with_pem: Vec<&String> = lines.iter().filter(|line| line.contains("pem")).collect();
    assert!(with_pem.iter().all(|line| line.trim_start().starts_with("asks") && line.contains("import")), "{with_pem:#?}");
}
