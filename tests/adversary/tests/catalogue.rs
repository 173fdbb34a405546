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
                    assert!(text.contains(id.as_str()), "{file} does not name {id}");
                    // A dialogue is a test as a whole; anything else must hold one.
                    let is_test = file.ends_with(".txt") || text.contains("#[test]") || text.contains("#[tokio::test");
                    assert!(is_test, "{file} holds no test");
                }
            }
            "absent" | "open" => assert!(rest.split(' ').count() > 1, "{id}: no reason"),
            other => panic!("{id}: {other}"),
        }
    }
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
