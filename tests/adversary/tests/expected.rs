//! The committed tables hold: nothing that an owned process tries has become possible. See `expected/`. Case SBX-01.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use adversary::{Act, Cell, Fence, Stage, Table, acts, is_error, summary};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

/// Set to 1 to write what was found in the place of what is committed; look at the difference before you commit it.
const WRITE: &str = "POSTERN_WRITE_EXPECTED";

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("expected").join(name)
}

fn check(fence: Fence, name: &str, title: &str) {
    let Some(stage) = Stage::start(fence).unwrap() else { return };
    let found = stage.attack(&acts()).unwrap();
    let path = file(name);
    if env::var_os(WRITE).is_some_and(|value| value == "1") {
        fs::write(&path, format!("# {title}\n{found}")).unwrap();
        return;
    }
    let expected = Table::parse(&fs::read_to_string(&path).unwrap()).unwrap();
    let differences = expected.differences(&found);
    assert!(differences.is_empty(), "{name}:\n{}\n\n{found}", differences.join("\n"));
}

#[test]
fn under_its_unit_and_in_its_jail_a_process_can_do_what_is_committed() {
    check(Fence::Both, "both.txt", "What each process could do, taken over: under its unit and in its own jail, as it is meant to run.");
}

#[test]
fn under_its_unit_alone_a_process_can_do_what_is_committed() {
    check(Fence::Units, "units.txt", "The same under the unit alone: a program that does not shut itself in, in the place of the daemon.");
}

#[test]
fn in_its_jail_alone_a_process_can_do_what_is_committed() {
    check(Fence::Jail, "jail.txt", "The same in the program's jail alone: `postern up`, all daemons as one ordinary user, no unit.");
}

/// How an act may come out where nothing stands in its way, if not allowed.
fn exceptions(text: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let errors: Vec<String> = columns[2].split_whitespace().map(str::to_owned).collect();
        assert!(columns.len() == 4 && !columns[3].is_empty(), "{line}: no reason");
        assert!(errors.iter().all(|error| is_error(error)), "{line}");
        assert_eq!(errors.is_empty(), columns[1] == "untried", "{line}");
        assert!(["untried", "never", "maybe"].contains(&columns[1]), "{line}");
        assert!(all.insert(columns[0].to_owned(), (columns[1].to_owned(), errors)).is_none(), "{line} stands twice");
    }
    all
}

#[test]
fn without_a_fence_every_act_is_allowed_or_listed_with_its_reason() {
    let exceptions = exceptions(include_str!("../expected/unfenced.txt"));
    let (untried, tried): (Vec<Act>, Vec<Act>) =
        acts().into_iter().partition(|act| exceptions.get(&act.name).is_some_and(|(kind, _)| kind == "untried"));
    let all: BTreeSet<&String> = untried.iter().chain(&tried).map(|act| &act.name).collect();
    assert_eq!(exceptions.keys().filter(|name| !all.contains(name)).collect::<Vec<_>>(), Vec::<&String>::new(), "there is no such act");
    let Some(stage) = Stage::start(Fence::Nothing).unwrap() else { return };
    let found = stage.attack(&tried).unwrap();
    let wrong: Vec<String> = found
        .acts
        .iter()
        .filter_map(|(act, cells)| match (exceptions.get(act), &cells[0]) {
            (None, Cell::Allowed) => None,
            (Some((kind, _)), Cell::Allowed) if kind == "maybe" => None,
            (Some((_, errors)), Cell::Refused(error)) if errors.contains(error) => None,
            (listed, cell) => Some(format!("{act}: {cell}, and listed is {listed:?}")),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of which it may hold one, but need not at every moment.
const MAYBE: &str = "maybe ";

#[test]
fn a_process_holds_the_descriptors_that_are_listed_and_no_other() {
    let Some(stage) = Stage::start(Fence::Both).unwrap() else { return };
    let found = stage.descriptors().unwrap();
    let path = file("descriptors.txt");
    let text = fs::read_to_string(&path).unwrap();
    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, one) = line.split_once(" | ").unwrap();
        assert!(listed.entry(name).or_default().insert(one), "{line} stands twice");
    }
    if env::var_os(WRITE).is_some_and(|value| value == "1") {
        let mut lines = BTreeSet::new();
        for (name, found) in &found {
            let maybe: BTreeSet<&str> = listed.get(name).into_iter().flatten().filter_map(|one| one.strip_prefix(MAYBE)).collect();
            lines.extend(maybe.iter().map(|one| format!("{name} | {MAYBE}{one}\n")));
            lines.extend(found.iter().filter(|one| !maybe.contains(one.as_str())).map(|one| format!("{name} | {one}\n")));
        }
        let title = text.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n"));
        fs::write(&path, title.chain(lines).collect::<String>()).unwrap();
        return;
    }
    let mut wrong = Vec::new();
    for (name, found) in &found {
        let listed = listed.remove(name).unwrap_or_default();
        let may = |one: &str| listed.contains(one) || listed.contains(format!("{MAYBE}{one}").as_str());
        wrong.extend(found.iter().filter(|one| !may(one)).map(|one| format!("{name} holds {one}")));
        let gone = listed.iter().filter(|one| !one.starts_with(MAYBE) && !found.contains(**one));
        wrong.extend(gone.map(|one| format!("{name} does not hold {one}")));
    }
    assert!(wrong.is_empty() && listed.is_empty(), "{}\n{listed:?}", wrong.join("\n"));
}

/// The text between these lines of SECURITY.md is made from the tables.
const MARKERS: [&str; 2] = ["<!-- from tests/adversary/expected -->\n", "<!-- end -->"];

#[test]
fn security_md_says_what_the_tables_say() {
    let table = |name: &str| Table::parse(&fs::read_to_string(file(name)).unwrap()).unwrap();
    let summary = summary(&table("both.txt"), &table("units.txt"), &table("jail.txt"));
    let path = system::workspace().join("SECURITY.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(MARKERS[0]).unwrap();
    let (told, after) = rest.split_once(MARKERS[1]).unwrap();
    if env::var_os(WRITE).is_some_and(|value| value == "1") {
        fs::write(&path, [before, MARKERS[0], &summary, MARKERS[1], after].concat()).unwrap();
        return;
    }
    assert_eq!(told, summary);
}

#[test]
fn a_weaker_cell_is_named_and_a_new_word_for_no_is_not() {
    let table = |cells: &str| Table::parse(&format!("# x\n | mx imap\nfork | {cells}\n")).unwrap();
    let committed = table("killed EPERM");
    assert_eq!(committed.differences(&table("killed EACCES")), Vec::<String>::new());
    assert_eq!(committed.differences(&table("killed ALLOWED")), ["imap: fork: WEAKER: EPERM became ALLOWED"]);
    assert_eq!(committed.differences(&table("ENOSYS EPERM")), ["mx: fork: WEAKER: killed became ENOSYS"]);
    assert_eq!(committed.differences(&table("killed killed")).len(), 1);
    assert_eq!(committed.differences(&Table::default()).len(), 2);
}

#[test]
fn an_error_that_is_no_fences_word_is_named_and_what_is_no_error_is_not_read() {
    let table = |cells: &str| Table::parse(&format!("# x\n | mx imap\nfork | {cells}\n"));
    let committed = table("ENOENT EPERM").unwrap();
    for error in ["EFAULT", "EINVAL", "ENOENT", "EBADF", "ENOTTY", "EIO", "ESRCH", "ENOSYS", "ECONNREFUSED"] {
        assert_eq!(committed.differences(&table(&format!("ENOENT {error}")).unwrap()).len(), 1, "{error}");
    }
    for error in ["ENOENT", "EACCES", "EPERM", "EROFS"] {
        assert_eq!(committed.differences(&table(&format!("{error} EACCES")).unwrap()), Vec::<String>::new(), "{error}");
    }
    for word in ["allowed", "Killed", "EWHAT", "EPERMS", "refused", "0", "UnknownErrno"] {
        assert_eq!(table(&format!("killed {word}")), None, "{word}");
    }
    assert_eq!(table("killed"), None);
}
