//! SEARCH, SORT and THREAD over a mailbox of 10,000 messages; every answer is compared with what the corpus has.

use super::fetch;
use crate::{
    Failure,
    case::{Case, Outcome, Scale},
    corpus,
    imap::Answer,
    stack::{Security, Stack},
};

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    vec![
        found("search-subject", "SEARCH SUBJECT invoice", corpus::is_invoice),
        found("search-body-rare", "SEARCH BODY xylophonic", corpus::is_rare),
        found("search-body-common", "SEARCH BODY quarter", |_| true),
        found("search-body-part", "SEARCH BODY ylophoni", corpus::is_rare).note("a part of a word: RFC 9051 asks for substrings"),
        found("search-text-rare", "SEARCH TEXT xylophonic", corpus::is_rare),
        found("search-flags", "SEARCH UNDELETED", |_| true),
        case("sort-date", "SORT (DATE) UTF-8 ALL", sorted),
        case("thread-references", "THREAD REFERENCES UTF-8 ALL", threaded),
    ]
}

fn case(name: &'static str, command: &'static str, check: fn(&Answer, u32) -> Result<(), Failure>) -> Case {
    Case::new(name, move |stack: &mut Stack, scale: Scale| run(stack, scale, command, &|answer, count| check(answer, count)))
}

fn found(name: &'static str, command: &'static str, matches: fn(u32) -> bool) -> Case {
    Case::new(name, move |stack: &mut Stack, scale: Scale| {
        run(stack, scale, command, &|answer, count| {
            let expected = (0..count).filter(|n| matches(*n)).map(|n| n + 1);
            same(&answer.words("SEARCH"), expected)
        })
    })
}

fn run(stack: &mut Stack, scale: Scale, command: &str, check: &dyn Fn(&Answer, u32) -> Result<(), Failure>) -> Result<Outcome, Failure> {
    fetch::prepare(stack, scale)?;
    let mut imap = fetch::open(stack, scale, Security::Tls, "EXAMINE")?;
    let count = fetch::count(scale);
    let outcome = fetch::time(stack, scale, &mut imap, &[command], |answer| check(answer, count))?;
    imap.logout()?;
    Ok(outcome)
}

/// Exactly these numbers in this order.
fn same(words: &[&str], expected: impl Iterator<Item = u32>) -> Result<(), Failure> {
    let given: Option<Vec<u32>> = words.iter().map(|w| w.parse().ok()).collect();
    let expected: Vec<u32> = expected.collect();
    match given {
        Some(given) if given == expected => Ok(()),
        Some(given) => Err(format!("{} numbers, not the {} that are right", given.len(), expected.len()).into()),
        None => Err("no list of numbers".into()),
    }
}

fn sorted(answer: &Answer, count: u32) -> Result<(), Failure> {
    let mut expected: Vec<u32> = (0..count).collect();
    expected.sort_by_key(|n| corpus::minute(*n, count));
    same(&answer.words("SORT"), expected.into_iter().map(|n| n + 1))
}

/// As many threads as the corpus has, and every message once.
fn threaded(answer: &Answer, count: u32) -> Result<(), Failure> {
    let line = answer.lines.iter().find_map(|l| l.strip_prefix("* THREAD ")).ok_or("no THREAD response")?;
    let (mut depth, mut threads) = (0u32, 0u32);
    let mut numbers: Vec<u32> = Vec::new();
    for word in line.split_inclusive(['(', ')', ' ']) {
        numbers.extend(word.trim_matches(['(', ')', ' ']).parse::<u32>().ok());
        if word.ends_with('(') {
            threads += u32::from(depth == 0);
            depth += 1;
        } else if word.ends_with(')') {
            depth = depth.saturating_sub(1);
        }
    }
    numbers.sort_unstable();
    if threads != count.div_ceil(corpus::THREAD) || numbers != (1..=count).collect::<Vec<_>>() {
        return Err(format!("{threads} threads of {} messages", numbers.len()).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted() {
        let answer = |line: &str| Answer { lines: vec![line.into()], ..Answer::default() };
        assert!(threaded(&answer("* THREAD (1 2 (3)(4 5))(6)"), 6).is_ok());
        assert!(threaded(&answer("* THREAD (1 2 3 4)(6)"), 6).is_err());
        assert!(threaded(&answer("* THREAD (1 2 3 4 5 6)"), 6).is_err());
    }
}
