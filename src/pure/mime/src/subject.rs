//! The base subject (RFC 5256 2.1), by which messages are sorted and threaded.

use crate::{limits::MAX_BASE_SUBJECT, word};

/// The base of an unfolded subject, folded by [`pure_index::fold`]. Linear: a run of blobs is looked at once.
pub fn base(subject: &[u8]) -> String {
    // (1) decoded, blanks collapsed.
    let subject = subject.get(..MAX_BASE_SUBJECT).unwrap_or(subject);
    let folded = pure_index::fold(&word::decode(subject));
    let text = folded.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = text.as_str();
    loop {
        // (2) subj-trailer.
        rest = rest.trim();
        while let Some(shorter) = rest.strip_suffix("(fwd)") {
            rest = shorter.trim_end();
        }
        // (3), (4), (5)
        rest = without_leaders(rest);
        // (6) subj-fwd-hdr and its end.
        match rest.strip_prefix("[fwd:").and_then(|r| r.strip_suffix(']')) {
            Some(inner) => rest = inner,
            None => return rest.to_owned(),
        }
    }
}

/// Removes subj-leader and subj-blob from the front as long as something is left.
fn without_leaders(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let mut after_blobs = text;
        while let Some(rest) = blob(after_blobs) {
            after_blobs = rest;
        }
        if let Some(rest) = refwd(after_blobs) {
            text = rest;
            continue;
        }
        // No leader follows these blobs, so none follows fewer of them: only (4) is left.
        while let Some(rest) = blob(text).filter(|r| !r.is_empty()) {
            text = rest;
        }
        return text;
    }
}

/// `[...] `: what follows it.
fn blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    Some(inner.get(end..)?.strip_prefix(']')?.trim_start())
}

/// `re:`, `fw:`, `fwd:`, possibly with a blob before the colon: what follows it.
fn refwd(text: &str) -> Option<&str> {
    let rest = ["re", "fwd", "fw"].iter().find_map(|word| text.strip_prefix(word))?.trim_start();
    blob(rest).unwrap_or(rest).strip_prefix(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_subjects() {
        for (given, expected) in [
            ("Hello", "hello"),
            ("Re: Hello", "hello"),
            ("RE : re[2]: Fwd: Hello (fwd)  (FWD)", "hello"),
            ("[list] Re: [list]  Hello   World", "hello world"),
            ("[a][b] Re: x", "x"),
            ("[a] [b] x", "x"),
            ("[only]", "[only]"),
            ("[a] [b]", "[b]"),
            ("[Fwd: Re: Hello]", "hello"),
            ("[fwd: [fwd: a] (fwd)]", "a"),
            ("Re:", ""),
            ("Regarding: x", "regarding: x"),
            ("=?utf-8?q?Re=3A_=C3=84?=", "\u{e4}"),
            ("", ""),
            ("[open", "[open"),
        ] {
            assert_eq!(base(given.as_bytes()), expected, "{given}");
        }
    }
}
