//! Process by act, what came of it: written for people, read by tests.

use nix::errno::Errno;
use std::{collections::BTreeMap, fmt};

/// What came of one act in one process, from strong to weak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It cost the process its life.
    Killed,
    /// The kernel said no.
    Refused,
    /// It was done.
    Allowed,
}

/// The same with the kernel's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// By the seccomp filter.
    Killed,
    /// With this error.
    Refused(String),
    /// It was done.
    Allowed,
}

impl Cell {
    /// Without the words.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Killed => Verdict::Killed,
            Self::Refused(_) => Verdict::Refused,
            Self::Allowed => Verdict::Allowed,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "killed" => Self::Killed,
            "ALLOWED" => Self::Allowed,
            error => Self::Refused(is_error(error).then(|| error.to_owned())?),
        })
    }

    /// Whether it is the same as before. Fences have several words for no, and one may stand for the other; any other word is of the
    /// kernel behind them, which did not find what was asked for or could not make sense of it, and would have said so without a fence.
    fn is_as(&self, before: &Self) -> bool {
        let by_fence = matches!(self, Self::Refused(error) if FENCE.contains(&error.as_str()));
        self == before || by_fence && before.verdict() == Verdict::Refused
    }
}

/// With these words a fence says no: seccomp, Landlock and rights; what is mounted read-only.
const FENCE: [&str; 3] = ["EPERM", "EACCES", "EROFS"];

/// Whether it is the name of an error (errno(3)).
pub fn is_error(word: &str) -> bool {
    /// errno(3): the last that the kernel has.
    const LAST: i32 = 133;
    (1..=LAST).map(Errno::from_raw).any(|error| error != Errno::UnknownErrno && format!("{error:?}") == word)
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Killed => "killed",
            Self::Refused(error) => error,
            Self::Allowed => "ALLOWED",
        })
    }
}

/// All cells: by act, then in the order of the processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The columns.
    pub processes: Vec<String>,
    /// The rows.
    pub acts: Vec<(String, Vec<Cell>)>,
}

/// Between the name of an act and its cells.
const BAR: char = '|';

impl Table {
    /// Reads what [`Self::to_string`] wrote; lines that begin with `#` are for people.
    pub fn parse(text: &str) -> Option<Self> {
        let mut table = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let (name, cells) = line.split_once(BAR)?;
            let cells = cells.split_whitespace();
            if table.processes.is_empty() {
                table.processes = cells.map(str::to_owned).collect();
            } else {
                table.acts.push((name.trim().to_owned(), cells.map(Cell::parse).collect::<Option<_>>()?));
            }
        }
        let width = table.processes.len();
        table.acts.iter().all(|(_, cells)| cells.len() == width).then_some(table)
    }

    /// What is not as committed: a sentence for each cell.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let flat = |table: &Self| -> BTreeMap<(String, String), Cell> {
            let rows = table.acts.iter().flat_map(|(act, cells)| {
                table.processes.iter().zip(cells).map(|(process, cell)| ((act.clone(), process.clone()), cell.clone()))
            });
            rows.collect()
        };
        let (expected, found) = (flat(self), flat(found));
        let mut all = Vec::new();
        for ((act, process), cell) in &found {
            match expected.get(&(act.clone(), process.clone())) {
                None => all.push(format!("{process}: {act}: {cell}, and nothing is committed")),
                Some(before) if before.verdict() < cell.verdict() => all.push(format!("{process}: {act}: WEAKER: {before} became {cell}")),
                Some(before) if before.verdict() > cell.verdict() => {
                    all.push(format!("{process}: {act}: {before} became {cell}; commit that it is stronger"));
                }
                Some(before) if !cell.is_as(before) => {
                    all.push(format!("{process}: {act}: {before} became {cell}, which is no fence's word: was it tried at all?"));
                }
                Some(_) => {}
            }
        }
        let gone = expected.keys().filter(|key| !found.contains_key(*key));
        all.extend(gone.map(|(act, process)| format!("{process}: {act}: is committed and was not tried")));
        all
    }

    /// The acts that a process was allowed.
    pub fn allowed(&self, process: &str) -> Vec<&str> {
        let Some(column) = self.processes.iter().position(|name| name == process) else { return Vec::new() };
        let done = |cells: &[Cell]| cells.get(column).is_some_and(|cell| *cell == Cell::Allowed);
        self.acts.iter().filter(|(_, cells)| done(cells)).map(|(act, _)| act.as_str()).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.acts.iter().map(|(act, _)| act.chars().count()).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.acts.iter().filter_map(|(_, cells)| cells.get(column)).map(|cell| cell.to_string().len());
            cells.chain(self.processes.get(column).map(String::len)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.processes.len()).map(width).collect();
        let mut line = |first: &str, rest: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> = rest.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let text = format!("{first:name$} {BAR} {}", cells.join(" "));
            writeln!(f, "{}", text.trim_end())
        };
        line("", &mut self.processes.iter().cloned())?;
        for (act, cells) in &self.acts {
            line(act, &mut cells.iter().map(Cell::to_string))?;
        }
        Ok(())
    }
}
