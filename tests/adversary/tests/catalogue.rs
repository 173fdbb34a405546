//! The catalogue of attacks: what `cases.txt` claims is there, and SECURITY.md's table claims what it claims.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};
use system::workspace;

/// Cases of the catalogue; one that is left out is not listed as what it is.
const CASES: usize = 106;
/// Ways beside the cases in which each class is tried, at least.
const WAYS: usize = 2;
/// Ordinary mail, which must get through.
const CONTROLS: &str = "CTRL-";

/// By id: what is claimed of it, and where or why.
fn cases() -> BTreeMap<String, (String, String)> {
    let text = include_str!("../cases.txt");
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (id, claim) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let before = all.insert(id.clone(), (claim, words.collect::<Vec<_>>().join(" ")));
        assert!(before.is_none(), "{id} stands twice");
    }
    all
}

#[test]
fn every_case_that_is_claimed_is_in_its_files() {
    let cases = cases();
    assert_eq!(cases.len(), CASES);
    for (id, (claim, rest)) in &cases {
        match claim.as_str() {
            "tested" => {
                assert!(!rest.is_empty(), "{id}");
                for file in rest.split(' ') {
                    let text = fs::read_to_string(workspace().join(file)).unwrap_or_else(|e| panic!("{id}: {file}: {e}"));
                    // A dialogue, in which something is expected, is a test as a whole; elsewhere a test must name it, or all of the file's.
                    let is_tried = if file.ends_with(".txt") {
                        text.contains(id.as_str()) && text.lines().any(|line| line.starts_with("S:"))
                    } else {
                        is_named_by_a_test(&text, id)
                    };
                    assert!(is_tried, "{file}: no test names {id}");
                }
            }
            "absent" | "open" => assert!(rest.split(' ').count() > 1, "{id}: no reason"),
            other => panic!("{id}: {other}"),
        }
    }
}

/// Above a test, within one, or in the words about a file that has tests.
fn is_named_by_a_test(text: &str, id: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_fn = |line: &str| ["fn ", "async fn ", "pub fn ", "pub(crate) fn "].iter().any(|start| line.starts_with(start));
    let is_test = |line: &&str| *line == "#[test]" || line.starts_with("#[tokio::test");
    // What stands directly above a function, by its line.
    let above = |at: usize| lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//")).any(is_test);
    let named = lines.iter().enumerate().filter(|(_, line)| line.contains(id));
    let by_test = named.filter(|(at, line)| {
        let within = lines[..*at].iter().rposition(|line| is_fn(line)).is_some_and(above);
        let over = line.starts_with("//")
            && lines[*at..].iter().position(|line| is_fn(line)).is_some_and(|next| lines[*at..at + next].iter().any(is_test));
        within || over || line.starts_with("//!") && lines.iter().any(is_test)
    });
    by_test.count() > 0
}

/// The rows of SECURITY.md's table.
fn rows() -> Vec<String> {
    let text = fs::read_to_string(workspace().join("SECURITY.md")).unwrap();
    let section = text.split("## Attacks on others").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    section.lines().filter(|line| line.starts_with("| ") && line.contains('`')).map(str::to_owned).collect()
}

#[test]
fn every_class_is_tried_in_other_ways_too() {
    let mut ways: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in include_str!("../ways.txt").lines().filter(|line| !line.starts_with('#')) {
        let (id, way) = line.split_once(' ').unwrap();
        assert!(ways.entry(id).or_default().insert(way.trim()), "{line} stands twice");
        let (file, test) = way.trim().split_once(' ').unwrap_or((way.trim(), ""));
        let text = fs::read_to_string(workspace().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let is_test = if test.is_empty() { file.ends_with(".txt") } else { text.contains(&format!("fn {test}()")) };
        assert!(is_test, "{line}: there is no such test");
    }
    let rows = rows();
    let classes: BTreeSet<&str> = rows.iter().map(|row| row.split('|').nth(2).unwrap().trim().split(", ").next().unwrap()).collect();
    assert_eq!(ways.keys().copied().collect::<BTreeSet<_>>(), classes);
    for (id, ways) in ways {
        assert!(ways.len() >= WAYS, "{id} is tried in no more than {} other ways", ways.len());
    }
}

#[test]
fn security_md_claims_what_is_tested() {
    let mut claimed = BTreeSet::new();
    for row in rows() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for id in cells[2].split(", ") {
            assert!(claimed.insert(id.to_owned()), "{id} stands in two rows");
        }
        assert!(!cells[3].is_empty() && !cells[4].is_empty(), "{row}");
        let file = workspace().join(cells[5].trim_matches('`'));
        assert!(file.is_file(), "{}", file.display());
    }
    let tested = cases().into_iter().filter(|(id, (claim, _))| claim == "tested" && !id.starts_with(CONTROLS)).map(|(id, _)| id);
    assert_eq!(claimed, tested.collect());
}

#[test]
fn a_name_in_no_test_is_no_test() {
    let tried = "//! Words.\n/// Case XX-01.\n#[test]\nfn a() {\n    let x = \"XX-02\";\n}\n";
    assert!(is_named_by_a_test(tried, "XX-01") && is_named_by_a_test(tried, "XX-02") && !is_named_by_a_test(tried, "XX-03"));
    assert!(is_named_by_a_test("//! Case XX-01.\n#[tokio::test]\nasync fn a() {}\n", "XX-01"));
    for untried in
        ["//! Case XX-01.\nfn a() {}\n", "// XX-01\nfn a() {}\n#[test]\nfn b() {}\n", "#[test]\nfn b() {}\n\nfn a() {\n    // XX-01\n}\n"]
    {
        assert!(!is_named_by_a_test(untried, "XX-01"), "{untried}");
    }
}
