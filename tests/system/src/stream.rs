//! Load: messages that keep coming, and what became of each.

use crate::{Failure, command::eventually};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Child,
    time::Duration,
};

/// How long it takes at most until the next message is taken, whatever happens.
const NEXT: Duration = Duration::from_secs(60);

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

impl Drop for Stream {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
