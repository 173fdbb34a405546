//! Fuzzing: every parser that bytes from outside reach, and whole sessions, as functions of bytes.
//!
//! A target takes any bytes and returns, or it panics: then the code is wrong, or what is said here of it. Targets know neither time
//! nor chance, so an input that fails once fails always. The same targets run
//!
//! * in `cargo xtask test`, with a fixed number of inputs from a fixed seed ([`smoke`]);
//! * by `cargo xtask fuzz`, for as long as one likes: guided by coverage where `guided/` can be built, blind where not.
//!
//! Seeds are the dialogues of tests/dialogues, the messages of tests/fixtures and `corpus/TARGET`, which also keeps what was found.

pub mod corpus;
pub mod mutate;
pub mod targets;

pub use targets::{TARGETS, Target, target};

use mutate::Mutator;

/// Runs a target with all its seeds as they are, then with `count` mutations of them.
pub fn smoke(target: &Target, seed: u64, count: usize) {
    let seeds = corpus::seeds(target);
    for (_, input) in &seeds {
        (target.run)(input);
    }
    let inputs: Vec<Vec<u8>> = seeds.into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(seed, target.words);
    for _ in 0..count {
        (target.run)(&mutator.next(&inputs));
    }
}
