//! The primitive readers: each reports its mistake and returns nothing.

use super::{
    Reader,
    tree::{Item, Placed, Section, join},
};
use crate::{Address, ConfigError, Domain, Size, Span};
use std::{
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
};
use toml::de::DeValue;

impl Reader {
    pub(super) fn fail<T>(&mut self, item: &Item<'_>, problem: impl Into<String>, remedy: impl Into<String>) -> Option<T> {
        self.errors.push(item.place(()).error(problem, remedy));
        None
    }

    pub(super) fn known(&mut self, section: &Section<'_>, names: &[&str]) {
        for (name, item) in section.items() {
            // Named better by `no_secrets`.
            let told = ["accounts.", "send.smarthosts."].iter().any(|place| section.path.starts_with(place)) && is_secret(name);
            if names.contains(&name) || told {
                continue;
            }
            let remedy = match names.iter().find(|known| is_near(name, known)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("remove it; known here: {}", names.join(", ")),
            };
            self.fail::<()>(&item, "is not a key", remedy);
        }
    }

    /// A key that must be there and is not.
    pub(super) fn missing<T>(&mut self, section: &Section<'_>, name: &str, remedy: impl Into<String>) -> Option<T> {
        self.absences.push(ConfigError {
            key: join(&section.path, name),
            line: section.line,
            problem: "is missing".into(),
            remedy: remedy.into(),
        });
        None
    }

    /// The file is given to every daemon and, on NixOS, lies in a store that everybody reads.
    pub(super) fn no_secrets(&mut self, table: &Section<'_>, remedy: impl Fn() -> String) {
        for (_, item) in table.items().filter(|(name, _)| is_secret(name)) {
            self.fail::<()>(&item, "a password has no place in this file", remedy());
        }
    }

    /// Overwrites a default where the key is given and can be read.
    pub(super) fn set<T>(&mut self, section: &Section<'_>, name: &str, slot: &mut T, read: impl FnOnce(&mut Self, &Item<'_>) -> Option<T>) {
        if let Some(value) = section.get(name).and_then(|item| read(self, &item)) {
            *slot = value;
        }
    }

    pub(super) fn wrong_type<T>(&mut self, item: &Item<'_>, wanted: &str, remedy: impl Into<String>) -> Option<T> {
        self.fail(item, format!("is of type {}, not {wanted}", item.value.type_str()), remedy)
    }

    pub(super) fn section<'a>(&mut self, parent: &Section<'a>, name: &str) -> Option<Section<'a>> {
        let item = parent.get(name)?;
        self.table(&item, format!("write [{name}]"))
    }

    pub(super) fn table<'a>(&mut self, item: &Item<'a>, remedy: impl Into<String>) -> Option<Section<'a>> {
        match item.value.as_table() {
            Some(table) => Some(Section { path: item.path.clone(), line: item.line, table, lines: item.lines }),
            None => self.wrong_type(item, "a table", remedy),
        }
    }

    pub(super) fn array<'a>(&mut self, item: &Item<'a>, remedy: impl Into<String>) -> Option<Vec<Item<'a>>> {
        let Some(array) = item.value.as_array() else { return self.wrong_type(item, "a list", remedy) };
        let lines = item.lines;
        let place = |(at, value): (usize, &'a toml::Spanned<DeValue<'a>>)| Item {
            path: format!("{}[{at}]", item.path),
            line: lines.line(value.span().start),
            value: value.get_ref(),
            lines,
        };
        Some(array.iter().enumerate().map(place).collect())
    }

    pub(super) fn string<'a>(&mut self, item: &Item<'a>) -> Option<&'a str> {
        match item.value.as_str() {
            Some(text) => Some(text),
            None => self.wrong_type(item, "a string", "write it in quotes"),
        }
    }

    pub(super) fn boolean(&mut self, item: &Item<'_>) -> Option<bool> {
        match item.value.as_bool() {
            Some(value) => Some(value),
            None => self.wrong_type(item, "a boolean", "write true or false without quotes"),
        }
    }

    pub(super) fn integer(&self, item: &Item<'_>) -> Option<u64> {
        let integer = item.value.as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    pub(super) fn count(&mut self, item: &Item<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        if !item.value.is_integer() {
            return self.wrong_type(item, "a number", "write a number without quotes");
        }
        match self.integer(item).and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n)) {
            Some(n) => Some(n),
            None => self.fail(item, "is out of range", format!("write a number from {} to {}", range.start(), range.end())),
        }
    }

    /// A number of times that something may happen; 0 is no limit.
    pub(super) fn rate(&mut self, item: &Item<'_>, most: u32) -> Option<Option<u32>> {
        self.count(item, 0..=most).map(|n| (n > 0).then_some(n))
    }

    pub(super) fn size(&mut self, item: &Item<'_>, range: RangeInclusive<Size>) -> Option<Size> {
        const REMEDY: &str = "write a size with its unit, such as \"5 GiB\", or a number of bytes";
        let size = match item.value {
            DeValue::String(text) => text.parse().ok(),
            DeValue::Integer(_) => self.integer(item).map(Size::from_bytes),
            _ => return self.wrong_type(item, "a size", REMEDY),
        };
        match size {
            None => self.fail(item, "is not a size", REMEDY),
            Some(size) if size < *range.start() => self.fail(item, "is too small", format!("write at least \"{}\"", range.start())),
            Some(size) if size > *range.end() => self.fail(item, "is too large", format!("write at most \"{}\"", range.end())),
            Some(size) => Some(size),
        }
    }

    pub(super) fn span(&mut self, item: &Item<'_>, range: RangeInclusive<Span>) -> Option<Span> {
        const REMEDY: &str = "write a number with its unit s, m, h, d or w, such as \"4h\"";
        let Some(text) = item.value.as_str() else { return self.wrong_type(item, "a length of time", REMEDY) };
        match text.parse::<Span>() {
            Err(_) => self.fail(item, "is not a length of time", REMEDY),
            Ok(span) if span < *range.start() => self.fail(item, "is too short", format!("write at least \"{}\"", range.start())),
            Ok(span) if span > *range.end() => self.fail(item, "is too long", format!("write at most \"{}\"", range.end())),
            Ok(span) => Some(span),
        }
    }

    /// As [`Self::span`], but nothing at all is "off".
    pub(super) fn span_or_off(&mut self, item: &Item<'_>, range: RangeInclusive<Span>) -> Option<Option<Span>> {
        if item.value.as_str().and_then(|text| text.parse::<Span>().ok()) == Some(Span::ZERO) {
            return Some(None);
        }
        self.span(item, range).map(Some)
    }

    pub(super) fn one_of<T: Copy>(&mut self, item: &Item<'_>, values: &[(&str, T)]) -> Option<T> {
        let text = self.string(item)?;
        match values.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => Some(*value),
            None => {
                let names: Vec<String> = values.iter().map(|(name, _)| format!("{name:?}")).collect();
                self.fail(item, format!("{text:?} is not known here"), format!("write one of {}", names.join(", ")))
            }
        }
    }

    /// A domain name, not an address literal.
    pub(super) fn domain_name(&mut self, item: &Item<'_>, text: &str, remedy: &str) -> Option<Domain> {
        match Domain::parse(text) {
            Ok(domain) if domain.is_literal() => self.fail(item, "is an address literal", remedy),
            Ok(domain) => Some(domain),
            Err(why) => self.fail(item, why.to_string(), remedy),
        }
    }

    pub(super) fn path(&mut self, item: &Item<'_>) -> Option<PathBuf> {
        let path = Path::new(self.string(item)?);
        // Units bind the path into the mount namespace as it is written, so it must mean one thing everywhere.
        let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !plain || path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control) {
            return self.fail(item, "is not an absolute path", "write the whole path, beginning with / and without \"..\"");
        }
        Some(path.to_owned())
    }

    pub(super) fn address(&mut self, item: &Item<'_>) -> Option<Placed<Address>> {
        let text = self.string(item)?;
        self.parse_address(item, text)
    }

    pub(super) fn addresses(&mut self, item: &Item<'_>) -> Vec<Placed<Address>> {
        let list = self.array(item, "write a list of addresses in brackets, such as [\"alice@example.org\"]").unwrap_or_default();
        list.iter().filter_map(|item| self.address(item)).collect()
    }

    pub(super) fn parse_address(&mut self, item: &Item<'_>, text: &str) -> Option<Placed<Address>> {
        match Address::parse(text) {
            Ok(address) if address.domain.is_literal() => {
                self.fail(item, format!("{text:?} is at an address literal"), "use an address in a domain")
            }
            Ok(address) => Some(item.place(address)),
            Err(why) => self.fail(item, format!("{text:?} is not an address: it {why}"), "write it as \"alice@example.org\""),
        }
    }
}

pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "hash"].iter().any(|part| name.contains(part))
}

/// Whether two names differ by at most two edits: a typing mistake. Quadratic in the length of a key, which is capped.
fn is_near(given: &str, known: &str) -> bool {
    const MAX_KEY: usize = 64;
    const MAX_EDITS: usize = 2;
    if given.len() > MAX_KEY {
        return false;
    }
    let known: Vec<char> = known.chars().collect();
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (i, g) in given.chars().enumerate() {
        let mut next = vec![i.saturating_add(1)];
        for (pair, k) in row.windows(2).zip(&known) {
            let &[diagonal, above] = pair else { continue };
            let left = next.last().copied().unwrap_or_default();
            let replaced = diagonal.saturating_add(usize::from(g != *k));
            next.push(replaced.min(above.saturating_add(1)).min(left.saturating_add(1)));
        }
        row = next;
    }
    row.last().is_some_and(|edits| *edits <= MAX_EDITS)
}
