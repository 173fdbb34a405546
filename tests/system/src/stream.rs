//! Load: messages that keep coming, and what became of each.

use crate::{Appliance, Failure, command::eventually};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Child,
    time::Duration,
};

/// How long it takes at most until the next message is taken, whatever happens.
const NEXT: Duration = Duration::from_secs(60);
/// How long it takes at most until what was taken is delivered, once everybody is there.
const DELIVERED: Duration = Duration::from_secs(60);

/// Messages that keep coming until this is dropped.
#[derive(Debug)]
pub struct Stream {
    child: Child,
    output: PathBuf,
}

impl Stream {
    pub(crate) fn new(child: Child, output: PathBuf) -> Self {
        Self { child, output }
    }

    /// What became of each message so far, by its number.
    pub fn outcomes(&self) -> BTreeMap<u32, String> {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let lines = whole.filter_map(|line| line.trim_end().split_once(' '));
        lines.filter_map(|(number, outcome)| Some((number.parse().ok()?, outcome.to_owned()))).collect()
    }

    /// The numbers of those that were taken.
    pub fn taken(&self) -> BTreeSet<u32> {
        self.outcomes().into_iter().filter(|(_, outcome)| outcome == "taken").map(|(number, _)| number).collect()
    }

    /// Waits until two more are taken: the second began after this was called.
    pub fn goes_on(&self) -> Result<(), Failure> {
        let before = self.taken().len();
        eventually("the load", NEXT, || (self.taken().len() > before.saturating_add(1)).then_some(()))
            .map_err(|e| Failure::new(format!("{e}: {:?}", self.outcomes().into_values().next_back())))
    }

    /// Ends it. What became of each message; the last may have been under way.
    pub fn end(mut self) -> Result<BTreeMap<u32, String>, Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.outcomes())
    }
}

impl Appliance {
    /// Whether no connection and no message was refused for good, what was taken is there once, and nothing else more than once. How many
    /// were taken.
    pub fn accounts_for(&self, outcomes: &BTreeMap<u32, String>, user: &str, subject: &str) -> Result<usize, Failure> {
        let failed = |what: String| Failure::new(format!("{what}\n{}", self.journal_text()));
        let permanent = |outcome: &str| ["(5", "not OSError('5", "b'5"].iter().any(|sign| outcome.contains(sign));
        if let Some((number, outcome)) = outcomes.iter().find(|(_, outcome)| *outcome == "refused" || permanent(outcome)) {
            return Err(failed(format!("message {number}: {outcome}")));
        }
        let taken = outcomes.values().filter(|outcome| *outcome == "taken").count();
        let all = || self.fetch(user, subject).ok().filter(|found| found.len() >= taken);
        let mut copies: BTreeMap<u32, usize> = BTreeMap::new();
        for message in eventually("all messages", DELIVERED, all)? {
            let number = message.split_once("Message-ID: <").and_then(|(_, rest)| rest.split_once('@')?.0.parse().ok());
            let copies = copies.entry(number.ok_or_else(|| failed(message))?).or_default();
            *copies = copies.saturating_add(1);
        }
        for (number, outcome) in outcomes {
            if outcome == "taken" && !copies.contains_key(number) {
                return Err(failed(format!("message {number} was taken and is not there")));
            }
        }
        match copies.iter().find(|(_, copies)| **copies > 1) {
            Some((number, copies)) => Err(failed(format!("message {number}: {copies} copies"))),
            None => Ok(taken),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
