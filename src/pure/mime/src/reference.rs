//! Message identifiers (RFC 5322 3.6.4).

use crate::limits::MAX_MESSAGE_ID;
use pure_index::MAX_REFERENCES;
use std::collections::HashSet;

/// Every identifier of an unfolded field, in order, brackets removed. What stands between them (obs-in-reply-to) is skipped.
pub fn identifiers(value: &[u8]) -> impl Iterator<Item = String> {
    value.split(|b| *b == b'<').skip(1).filter_map(|piece| {
        let end = memchr::memchr(b'>', piece)?;
        let id = std::str::from_utf8(piece.get(..end)?).ok()?;
        let fits = !id.is_empty() && id.len() <= MAX_MESSAGE_ID && !id.chars().any(|c| c.is_whitespace() || c.is_control());
        fits.then(|| id.to_owned())
    })
}

/// `References`, none twice; without any, the first of `In-Reply-To` (RFC 5256 3). Of too many, the first (the root of the thread) and the
/// last remain.
pub(crate) fn references(references: &[u8], in_reply_to: &[u8]) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut all: Vec<String> = identifiers(references).filter(|id| seen.insert(id.clone())).collect();
    if all.is_empty() {
        all.extend(identifiers(in_reply_to).next());
    }
    let excess = all.len().saturating_sub(MAX_REFERENCES);
    all.drain(1.min(all.len())..(1 + excess).min(all.len()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_once() {
        assert_eq!(references(b"<a@x> <b@x>\t<a@x> junk <", b"<c@x>"), ["a@x", "b@x"]);
        assert_eq!(references(b"<> < a@x> <b@x", b"\"Joe\" message of <c@x> <b@x>"), ["c@x"]);
        assert_eq!(references(b"<> < a@x> <b@x", b""), Vec::<String>::new());
        assert_eq!(identifiers(b"<<a@x>>").collect::<Vec<_>>(), ["a@x"]);
    }

    #[test]
    fn of_too_many_the_root_and_the_latest_remain() {
        let field: String = (0..500).map(|i| format!("<{i}@x>")).collect();
        let kept = references((field + "<last@x>").as_bytes(), b"");
        assert_eq!(kept.len(), MAX_REFERENCES);
        assert_eq!((kept[0].as_str(), kept[1].as_str(), kept[199].as_str()), ("0@x", "302@x", "last@x"));
        assert_eq!(references(format!("<{}>", "a".repeat(999)).as_bytes(), b"<b@x>"), ["b@x"]);
    }
}
