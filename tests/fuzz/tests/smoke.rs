//! Every target with its seeds and a fixed number of mutations: the same ones on every run.

use fuzz::{TARGETS, smoke};

/// So many that all targets together take seconds.
const COUNT: usize = 1500;

#[test]
fn targets_hold() {
    // Two at a time, as the machines of CI have processors.
    let (first, second) = TARGETS.split_at(TARGETS.len() / 2);
    std::thread::scope(|scope| {
        for half in [first, second] {
            scope.spawn(move || {
                for target in half {
                    smoke(target, 20_261_121, COUNT);
                }
            });
        }
    });
}

#[test]
fn names_are_unique() {
    for target in &TARGETS {
        assert_eq!(fuzz::target(target.name).map(|found| found.name), Some(target.name));
        assert_eq!(TARGETS.iter().filter(|other| other.name == target.name).count(), 1);
    }
}
