//! SEARCH, SORT and THREAD over a mailbox of 10,000 messages; every answer is compared with what the corpus has.

use super::fetch;
use crate::{
    Failure,
    case::{Case, Figure, MS, Outcome, Scale},
    corpus,
    imap::Answer,
    stack::{Security, Stack},
};
use std::time::{Duration, Instant};

/// Whose mailbox is searched before there is an index, in the first round; later rounds take the users after it.
const FIRST_USER: u32 = 500;

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("search-body-new", new).note("the first SEARCH of a mailbox, before there is an index"),
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

fn new(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    let round = stack.prepared.entry("new").or_default();
    let user = FIRST_USER.min(stack.mailboxes - 1) + u32::try_from(*round)?;
    *round += 1;
    let count = fetch::count(scale);
    let mut imap = stack.imap(user)?;
    imap.fill("New", (0..count).map(|n| corpus::message(n, count)))?;
    stack.meter.settle(scale.pick(fetch::SETTLE, Duration::ZERO))?;
    imap.command("EXAMINE New")?;
    let (cpu, start) = (stack.meter.cpu_seconds()?, Instant::now());
    let answer = imap.command("SEARCH BODY xylophonic")?;
    let time = start.elapsed().as_secs_f64() * MS;
    let cpu_seconds = stack.meter.cpu_seconds()? - cpu;
    same(&answer.words("SEARCH"), (0..count).filter(|n| corpus::is_rare(*n)).map(|n| n + 1))?;
    imap.logout()?;
    stack.work_off(user, scale.pick(fetch::SETTLE, Duration::ZERO))?;
    Ok(Outcome { figures: vec![Figure::less("time", time, "ms")], operations: 1.0, cpu_seconds })
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
