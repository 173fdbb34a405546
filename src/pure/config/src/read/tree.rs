//! The TOML tree with the place of everything in it.

use crate::ConfigError;
use toml::de::{DeTable, DeValue};

/// A value with the place it was read from, for the checks that compare several.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) key: String,
    pub(crate) line: usize,
}

impl<T> Placed<T> {
    pub(crate) fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
        ConfigError { key: self.key.clone(), line: self.line, problem: problem.into(), remedy: remedy.into() }
    }
}

/// Where each line begins.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset).saturating_add(1)
    }
}

/// A table with its place.
#[derive(Clone)]
pub(super) struct Section<'a> {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) table: &'a DeTable<'a>,
    pub(super) lines: &'a Lines,
}

impl<'a> Section<'a> {
    pub(super) fn items(&self) -> impl Iterator<Item = (&'a str, Item<'a>)> + use<'a> {
        let (path, lines) = (self.path.clone(), self.lines);
        self.table.iter().map(move |(key, value)| {
            let name: &str = key.get_ref();
            (name, Item { path: join(&path, name), line: lines.line(key.span().start), value: value.get_ref(), lines })
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<Item<'a>> {
        self.items().find(|(key, _)| *key == name).map(|(_, item)| item)
    }
}

/// A value with its place.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) value: &'a DeValue<'a>,
    pub(super) lines: &'a Lines,
}

impl<'a> Item<'a> {
    pub(super) fn place<T>(&self, value: T) -> Placed<T> {
        Placed { value, key: self.path.clone(), line: self.line }
    }
}

/// `a."b c"`: quoted where TOML wants quotes.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}
