//! The types of the edges, read from their source: what is inside a request, however deep.
//!
//! It reads declarations and imports, no expressions. A name that it cannot follow is a panic: nothing is left out in silence.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Crates that hold types of frames.
const CRATES: [(&str, &str); 3] = [("wire", "src/wire/src"), ("pure_addr", "src/pure/addr/src"), ("pure_index", "src/pure/index/src")];
/// Types of other crates that hold nothing but what they are given, or plain values.
const LEAVES: &[&str] = &[
    "Option",
    "Box",
    "Vec",
    "String",
    "ByteBuf",
    "IpAddr",
    "NonZeroU64",
    "Zeroizing",
    "bool",
    "i32",
    "i64",
    "u8",
    "u16",
    "u32",
    "u64",
    "usize",
];

/// One type: where it is declared, and its variants or fields, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Type {
    /// `wire::edge::mail::Envelope`
    pub(crate) path: String,
    /// Each variant of an enum, each field of a struct.
    pub(crate) parts: Vec<String>,
    is_enum: bool,
    generics: Vec<String>,
}

impl Type {
    /// Every value inside: what it is called, variant and field, and its type as written.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        if !self.is_enum {
            return self.parts.iter().map(|part| named("", part)).collect();
        }
        let of = |part: &String| {
            let end = part.find(['{', '(']).unwrap_or(part.len());
            let (name, body) = part.split_at(end);
            if body.is_empty() { Vec::new() } else { parts(inside(body)).iter().map(|field| named(name.trim(), field)).collect() }
        };
        self.parts.iter().flat_map(of).collect()
    }
}

/// A field by its name, or by nothing but the variant that it is in.
fn named(variant: &str, field: &str) -> (String, String) {
    let split = field.split_once(": ").filter(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '#'));
    let (name, kind) = split.unwrap_or(("", field));
    let both: Vec<&str> = [variant, name].into_iter().filter(|word| !word.is_empty()).collect();
    (both.join("."), kind.to_owned())
}

/// A module: what it declares, what it imports, and its text.
#[derive(Debug, Default)]
pub(crate) struct Module {
    types: BTreeMap<String, Type>,
    uses: BTreeMap<String, String>,
    /// Without comments, attributes and needless space.
    pub(crate) code: String,
}

/// All modules of the crates whose types are in frames.
#[derive(Debug)]
pub(crate) struct Source(BTreeMap<String, Module>);

impl Source {
    /// Reads them.
    ///
    /// # Panics
    /// When a file cannot be read or understood.
    pub(crate) fn read() -> Self {
        let mut all = BTreeMap::new();
        for (name, folder) in CRATES {
            read_folder(&system::workspace().join(folder), name, &mut all);
        }
        Self(all)
    }

    /// The modules below a path, with their names.
    pub(crate) fn below(&self, path: &str) -> impl Iterator<Item = (&str, &Module)> {
        let path = format!("{path}::");
        self.0.iter().filter_map(move |(name, module)| Some((name.strip_prefix(&path)?, module)))
    }

    /// What a name stands for, as it is written in a module; none for a type of other crates and for a constant.
    ///
    /// # Panics
    /// When it is none of these.
    pub(crate) fn find(&self, module: &str, name: &str) -> Option<&Type> {
        let (path, last) = name.rsplit_once("::").unwrap_or(("", name));
        let place = self.place(module, path);
        let Some(here) = place.as_ref().and_then(|place| self.0.get(place)) else {
            assert!(LEAVES.contains(&last), "{module}: {name} is of a crate that is not looked into");
            return None;
        };
        if let Some(found) = here.types.get(last) {
            return Some(found);
        }
        if let Some(path) = here.uses.get(last) {
            let is_constant = last.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            return if is_constant { None } else { self.find(place.as_deref().unwrap_or_default(), path) };
        }
        let is_declared = here.code.contains(&format!("const {last}: "));
        assert!(is_declared || LEAVES.contains(&last), "{module}: what is {name}?");
        None
    }

    /// The module that a path leads to; none in other crates.
    fn place(&self, module: &str, path: &str) -> Option<String> {
        let mut at = module.to_owned();
        for (number, word) in path.split("::").filter(|word| !word.is_empty()).enumerate() {
            at = match word {
                "self" => at,
                "crate" => at.split("::").next()?.to_owned(),
                "super" => at.rsplit_once("::")?.0.to_owned(),
                word if number == 0 && CRATES.iter().any(|(name, _)| *name == word) => word.to_owned(),
                word => format!("{at}::{word}"),
            };
        }
        self.0.contains_key(&at).then_some(at)
    }

    /// A type and everything inside, each once, by path.
    ///
    /// # Panics
    /// When a name leads nowhere.
    pub(crate) fn reachable(&self, module: &str, name: &str) -> BTreeMap<String, &Type> {
        let mut found = BTreeMap::new();
        let mut open = vec![(module.to_owned(), name.to_owned())];
        while let Some((module, name)) = open.pop() {
            let Some(one) = self.find(&module, &name) else { continue };
            if found.insert(one.path.clone(), one).is_some() {
                continue;
            }
            let home = one.path.rsplit_once("::").map_or("", |(home, _)| home);
            for (_, kind) in one.fields() {
                let names = names(&kind).into_iter().filter(|name| !one.generics.contains(name));
                open.extend(names.map(|name| (home.to_owned(), name)));
            }
        }
        found
    }
}

/// Every name and path in a type, but for numbers.
pub(crate) fn names(kind: &str) -> BTreeSet<String> {
    let words = kind.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).map(|word| word.trim_matches(':'));
    words.filter(|word| word.starts_with(|c: char| c.is_alphabetic())).map(str::to_owned).collect()
}

fn read_folder(folder: &Path, name: &str, all: &mut BTreeMap<String, Module>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let stem = entry.file_stem().unwrap().to_string_lossy().into_owned();
        let inner = format!("{name}::{stem}");
        if entry.is_dir() {
            read_folder(&entry, &inner, all);
        } else if entry.extension().is_some_and(|end| end == "rs") {
            let path = if ["lib", "mod"].contains(&stem.as_str()) { name.to_owned() } else { inner };
            let module = parse(&path, &fs::read_to_string(&entry).unwrap());
            assert!(all.insert(path, module).is_none(), "{} is a second time there", entry.display());
        }
    }
}

fn parse(path: &str, text: &str) -> Module {
    let mut module = Module { code: bare(text), ..Module::default() };
    let code = module.code.clone();
    for item in items(&code) {
        // Behind `pub`, `pub(crate)` or nothing.
        let item = item
            .strip_prefix("pub")
            .map_or(item, |rest| if rest.starts_with('(') { &rest[rest.find(')').unwrap() + 1..] } else { rest })
            .trim();
        if let Some(rest) = item.strip_prefix("use ") {
            imports("", rest.trim_end_matches(';'), &mut module.uses);
            continue;
        }
        let is_enum = item.starts_with("enum ");
        if let Some(rest) = item.strip_prefix("type ") {
            let (name, kind) = rest.trim_end_matches(';').split_once(" = ").unwrap();
            declare(&mut module, path, name, Vec::new(), vec![kind.to_owned()], false);
        } else if let Some(rest) = item.strip_prefix(if is_enum { "enum " } else { "struct " }) {
            let end = rest.find(['{', '(', ';', '<', ' ']).unwrap();
            let (name, rest) = rest.split_at(end);
            let body = rest.find(['{', '(', ';']).unwrap();
            // `<T, const N: usize>`, `<S = String>`
            let generic = |part: String| part.trim_start_matches("const ").split([':', ' ']).next().unwrap_or_default().to_owned();
            let generics = rest[..body].trim().strip_prefix('<').and_then(|g| g.strip_suffix('>')).map_or(Vec::new(), parts);
            let inner = if rest[body..].starts_with(';') { Vec::new() } else { parts(inside(&rest[body..])) };
            declare(&mut module, path, name, generics.into_iter().map(generic).collect(), inner, is_enum);
        }
    }
    module
}

fn declare(module: &mut Module, home: &str, name: &str, generics: Vec<String>, parts: Vec<String>, is_enum: bool) {
    let declared = Type { path: format!("{home}::{name}"), parts, is_enum, generics };
    assert!(module.types.insert(name.to_owned(), declared).is_none(), "{home}: {name} is declared twice");
}

/// `a::{b, c::D as E}`: each name and its path.
fn imports(before: &str, text: &str, into: &mut BTreeMap<String, String>) {
    for part in parts(text) {
        if let Some(open) = part.find('{') {
            imports(&format!("{before}{}", &part[..open]), inside(&part[open..]), into);
            continue;
        }
        let (path, name) = part.split_once(" as ").unwrap_or_else(|| (part.as_str(), part.rsplit("::").next().unwrap_or_default()));
        let (path, name) = match path.strip_suffix("::self") {
            Some(path) => (path, path.rsplit("::").next().unwrap_or_default()),
            None => (path, name),
        };
        // What a test module takes from above adds no name to a frame.
        if path != "super::*" {
            into.insert(name.to_owned(), format!("{before}{path}"));
        }
    }
}

/// Declarations at the level of the module, each with its body.
fn items(code: &str) -> Vec<&str> {
    let (mut depth, mut from, mut all) = (0_i32, 0, Vec::new());
    for (at, letter) in code.char_indices() {
        depth += step(letter);
        let ends = depth == 0 && (letter == ';' || letter == '}' && !code[at + 1..].starts_with(';'));
        if ends {
            all.push(code[from..=at].trim());
            from = at + 1;
        }
    }
    all
}

fn step(letter: char) -> i32 {
    match letter {
        '{' | '(' | '[' => 1,
        '}' | ')' | ']' => -1,
        _ => 0,
    }
}

/// Without comments, attributes, tests and needless space; brackets in texts are none.
fn bare(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let (mut code, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['/', '"', '\'', '#']) {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        let (kept, end) = if rest.starts_with("//") {
            (String::new(), rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("#[") || rest.starts_with("#![") {
            (String::new(), rest.find('[').map(|open| open + inside(&rest[open..]).len() + 2).unwrap())
        } else if rest.starts_with('"') {
            let end = literal(rest, '"').unwrap();
            (rest[..end].replace(['{', '}', '(', ')', '[', ']', ';'], "_"), end)
        } else if let Some(end) =
            literal(rest, '\'').filter(|end| rest.starts_with("'\\") || *end <= 6 && rest[1..].chars().nth(1) == Some('\''))
        {
            (String::from("_"), end)
        } else {
            (rest[..1].to_owned(), 1)
        };
        code.push_str(&kept);
        rest = &rest[end..];
    }
    (code + rest).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How long a text or a character is, with its marks.
fn literal(text: &str, mark: char) -> Option<usize> {
    let mut escaped = true;
    let end = text.char_indices().find(|(_, letter)| {
        let ends = *letter == mark && !escaped;
        // The first mark is no end.
        escaped = *letter == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| at + 1)
}

/// From an opening bracket to its partner, without both.
fn inside(text: &str) -> &str {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        depth += step(letter);
        if depth == 0 {
            return &text[1..at];
        }
    }
    panic!("brackets: {text}");
}

/// At the commas that are in no bracket.
fn parts(text: &str) -> Vec<String> {
    let (mut depth, mut all) = (0, vec![String::new()]);
    for letter in text.chars() {
        depth += match letter {
            '<' => 1,
            '>' => -1,
            other => step(other),
        };
        if letter == ',' && depth == 0 { all.push(String::new()) } else { all.last_mut().unwrap().push(letter) }
    }
    let plain = |part: &String| part.trim().replace(", }", " }").replace("pub ", "").replace(", >", ">");
    all.iter().map(plain).filter(|part| !part.is_empty()).collect()
}
