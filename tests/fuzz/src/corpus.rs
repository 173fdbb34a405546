//! What fuzzing begins with.

use crate::{Target, targets::Seeds};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder `tests/`.
fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// The committed corpus of a target.
pub fn folder(target: &Target) -> PathBuf {
    tests().join("fuzz/corpus").join(target.name)
}

/// Names and contents, in order of the names; at least one.
pub fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut out = match target.seeds {
        Seeds::Smtp => dialogues("smtp"),
        Seeds::Imap => dialogues("imap"),
        Seeds::Messages => read(&tests().join("fixtures/mail"), "eml"),
        Seeds::Config => read(&tests().join("../src/pure/config"), "toml"),
        Seeds::Made(make) => make().into_iter().enumerate().map(|(i, input)| (format!("made-{i}"), input)).collect(),
    };
    out.extend(read(&folder(target), ""));
    if out.is_empty() {
        out.push(("empty".to_owned(), Vec::new()));
    }
    out
}

fn read(folder: &Path, extension: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.is_file() && (extension.is_empty() || path.extension().is_some_and(|e| e == extension)));
    files.sort();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files.iter().filter_map(|path| Some((name(path), fs::read(path).ok()?))).collect()
}

/// What the clients of the dialogues say, once from each state: the first two bytes of such an input choose it.
fn dialogues(protocol: &str) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for (i, (name, text)) in read(&tests().join("dialogues").join(protocol), "txt").into_iter().enumerate() {
        let said = said(&String::from_utf8_lossy(&text));
        for state in [i as u8, (i as u8).wrapping_mul(5).wrapping_add(3)] {
            out.push((format!("{name}-{state}"), [&[state, (i % 7) as u8][..], &said].concat()));
        }
    }
    out
}

fn said(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.lines() {
        if let Some(text) = line.strip_prefix("C: ") {
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        } else if line == "C:" {
            out.extend_from_slice(b"\r\n");
        } else if let Some(text) = line.strip_prefix("C-: ") {
            out.append(&mut unescape(text));
        }
    }
    out
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else { break };
        rest = &rest[kind.len_utf8()..];
        match kind {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            'x' => {
                let byte = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.extend(byte);
                rest = rest.get(2..).unwrap_or_default();
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}
