//! Tag lists (RFC 6376 3.2): `name=value;` with white space around, as signatures, keys and policies have them.

use crate::limits::{MAX_TAG_LIST, MAX_TAGS};

/// The tags of one list, none twice.
#[derive(Debug)]
pub(crate) struct Tags<'a>(Vec<(&'a str, &'a str)>);

/// It is no tag list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoTags;

impl<'a> Tags<'a> {
    /// The whole list, or none: what is signed, and keys.
    pub(crate) fn parse(text: &'a str) -> Result<Self, NoTags> {
        if text.len() > MAX_TAG_LIST {
            return Err(NoTags);
        }
        let mut tags: Vec<(&str, &str)> = Vec::new();
        let mut parts = text.split(';').peekable();
        while let Some(part) = parts.next() {
            // RFC 6376 3.2: a semicolon may stand at the end.
            if parts.peek().is_none() && blank(part) {
                break;
            }
            let (name, value) = tag(part).ok_or(NoTags)?;
            // RFC 6376 3.2: a tag that stands twice makes the whole list invalid.
            if tags.len() >= MAX_TAGS || tags.iter().any(|(known, _)| *known == name) {
                return Err(NoTags);
            }
            tags.push((name, value));
        }
        Ok(Self(tags))
    }

    /// What of the list can be understood (RFC 9989 4.8): a part that is no tag is passed over, and of a name that stands twice the first
    /// counts.
    pub(crate) fn lenient(text: &'a str) -> Self {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for (name, value) in text.get(..MAX_TAG_LIST).unwrap_or(text).split(';').filter_map(tag) {
            if tags.len() < MAX_TAGS && !tags.iter().any(|(known, _)| *known == name) {
                tags.push((name, value));
            }
        }
        Self(tags)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Name and value of the first tag.
    pub(crate) fn first(&self) -> Option<(&'a str, &'a str)> {
        self.0.first().copied()
    }

    /// A value without any white space, as base64 and lists are written.
    pub(crate) fn compact(&self, name: &str) -> Option<String> {
        self.get(name).map(compact)
    }
}

/// RFC 6376 3.2 tag-spec.
pub(crate) fn tag(part: &str) -> Option<(&str, &str)> {
    let (name, value) = part.split_once('=')?;
    let (name, value) = (trim(name), trim(value));
    let mut letters = name.bytes();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (letters.next().is_some_and(|b| b.is_ascii_alphabetic()) && letters.all(plain)).then_some((name, value))
}

/// Without any white space.
pub(crate) fn compact(text: &str) -> String {
    text.chars().filter(|c| !is_space(*c)).collect()
}

/// RFC 6376 2.8: FWS.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn blank(text: &str) -> bool {
    trim(text).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let tags = Tags::parse(" v=1; a = rsa-sha256 ;b=ab\r\n\tcd ;x=;").unwrap();
        assert_eq!((tags.first(), tags.get("a"), tags.get("x"), tags.get("y")), (Some(("v", "1")), Some("rsa-sha256"), Some(""), None));
        assert_eq!(tags.compact("b").unwrap(), "abcd");
        assert!(Tags::parse("").unwrap().first().is_none());
        for bad in ["v=1;v=1", "v", "=1", "1=2", "a b=c", "v=1;;a=b", "\u{e4}=1"] {
            assert_eq!(Tags::parse(bad).err(), Some(NoTags), "{bad}");
        }
        let many = (0..=MAX_TAGS).map(|n| format!("t{n}=;")).collect::<String>();
        assert!(Tags::parse(&many).is_err());
        assert_eq!(Tags::lenient(&many).0.len(), MAX_TAGS);
        assert!(Tags::parse(&format!("n={}", "x".repeat(MAX_TAG_LIST))).is_err());
    }

    #[test]
    fn what_can_be_understood() {
        let tags = Tags::lenient("v=1;; a ;1=2; b = c ;\u{e4}=1;b=d; e=f");
        assert_eq!(tags.0, [("v", "1"), ("b", "c"), ("e", "f")]);
    }
}
