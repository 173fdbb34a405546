//! The committed tables hold: nothing that an owned process tries has become possible. See `expected/`. Case SBX-01.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use adversary::{Fence, Stage, Table, acts, summary};
use std::{env, fs, path::PathBuf};

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
