//! Everything that can be in a frame, valid and nearly valid.

use lying_peers::{Source, mutate, shapes};
use std::collections::BTreeSet;

/// Values of each type, and changed frames of each value.
const VALUES: u64 = 300;
const MUTANTS: usize = 60;

/// Every edge that the code has is in the table.
#[test]
fn the_table_is_complete() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/wire/src/edge");
    let mut declared = BTreeSet::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let edges = text.matches("\nimpl Edge for ").count() + text.matches("    impl Edge for ").count();
        let names: Vec<&str> = text.split("const NAME: &'static str = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(names.len(), edges, "an edge without a name that this test can read");
        declared.extend(names.into_iter().map(str::to_owned));
    }
    let known: BTreeSet<String> = shapes().iter().map(|shape| shape.edge.to_owned()).collect();
    assert_eq!(known, declared);
}

#[test]
fn what_is_encoded_is_decoded_to_the_same() {
    let mut source = Source::new(1);
    for shape in shapes() {
        for _ in 0..10 * VALUES {
            let Some(body) = (shape.make)(&mut source) else {
                assert_eq!(shape.what, "event", "no value of {shape:?}");
                break;
            };
            assert_eq!((shape.read)(&body), Some(body), "{shape:?}");
        }
    }
    // Every variant of every enum was part of some value; Never has none.
    assert_eq!(source.unseen(), []);
}

/// A frame that was changed is refused, or it is another value that is encoded in one way only. It never makes a decoder panic.
#[test]
fn what_was_changed_is_refused_or_is_another_value() {
    let mut accepted = 0;
    let mut refused = 0;
    for shape in shapes() {
        for seed in 0..VALUES {
            let mut source = Source::new(seed);
            let (Some(body), Some(other)) = ((shape.make)(&mut source), (shape.make)(&mut source)) else { break };
            for _ in 0..MUTANTS {
                let mutant = mutate(&mut source, &body, &other);
                match (shape.read)(&mutant) {
                    None => refused += 1,
                    Some(again) => {
                        accepted += 1;
                        assert_eq!((shape.read)(&again), Some(again), "{shape:?}, seed {seed}: {mutant:?}");
                    }
                }
            }
        }
    }
    assert!(accepted > 10_000 && refused > 10_000, "{accepted} accepted, {refused} refused");
}
