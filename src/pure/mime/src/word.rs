//! Encoded-words in header fields (RFC 2047).
//!
//! They are decoded wherever they stand, also inside quoted-strings, where RFC 2047 5 forbids them and mailers put them. The result is
//! for searching, sorting and display names; nothing that names an identity is ever read from it.

use crate::{charset, cursor::is_blank, transfer};
use memchr::memmem;

/// Longest charset label. RFC 2978 2.3 allows 40.
const MAX_LABEL: usize = 64;

/// Decodes an unfolded value. Bytes outside encoded-words are UTF-8 (RFC 6532) or, failing that, windows-1252. Control characters
/// become blanks.
pub fn decode(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    // Decoded bytes of encoded-words next to each other, by charset: a character may be cut between two of them.
    let mut open: Option<Run<'_>> = None;
    while let Some(at) = memmem::find(rest, b"=?") {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        let Some((word, after)) = encoded_word(from) else {
            flush(&mut open, &mut out);
            let (text, after) = rest.split_at_checked(at + 2).unwrap_or((rest, &[]));
            raw(text, &mut out);
            rest = after;
            continue;
        };
        // RFC 2047 6.2: white space between two encoded-words is not shown.
        if open.is_none() || !before.iter().all(|b| is_blank(*b)) {
            flush(&mut open, &mut out);
            raw(before, &mut out);
        }
        match &mut open {
            Some(run) if run.charset.eq_ignore_ascii_case(word.charset) => run.bytes.extend_from_slice(&word.bytes),
            _ => {
                flush(&mut open, &mut out);
                open = Some(word);
            }
        }
        rest = after;
    }
    flush(&mut open, &mut out);
    raw(rest, &mut out);
    out
}

struct Run<'a> {
    charset: &'a [u8],
    bytes: Vec<u8>,
}

fn flush(open: &mut Option<Run<'_>>, out: &mut String) {
    if let Some(run) = open.take() {
        clean(&charset::decode(Some(run.charset), &run.bytes), out);
    }
}

fn raw(bytes: &[u8], out: &mut String) {
    match std::str::from_utf8(bytes) {
        Ok(text) => clean(text, out),
        Err(_) => clean(&charset::decode(None, bytes), out),
    }
}

fn clean(text: &str, out: &mut String) {
    out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
}

/// How long the encoded-word is that starts here, if one does.
pub(crate) fn length(from: &[u8]) -> Option<usize> {
    Some(from.len() - split(from)?.after.len())
}

/// `=?charset?encoding?text?=` and what follows it.
struct Word<'a> {
    charset: &'a [u8],
    encoding: u8,
    text: &'a [u8],
    after: &'a [u8],
}

/// The text has no `?`, so a try that fails ends at the third one, and all tries together are linear.
fn split(from: &[u8]) -> Option<Word<'_>> {
    let rest = from.strip_prefix(b"=?")?;
    let end = rest.iter().take(MAX_LABEL + 1).position(|b| *b == b'?')?;
    let label = rest.get(..end).filter(|l| !l.is_empty() && l.iter().all(u8::is_ascii_graphic))?;
    let (&encoding, rest) = rest.get(end + 1..)?.split_first()?;
    let rest = rest.strip_prefix(b"?")?;
    let end = memchr::memchr(b'?', rest)?;
    let after = rest.get(end + 1..)?.strip_prefix(b"=")?;
    // RFC 2231 5 puts a language behind the charset.
    let charset = label.split(|b| *b == b'*').next()?;
    Some(Word { charset, encoding, text: rest.get(..end)?, after })
}

fn encoded_word(from: &[u8]) -> Option<(Run<'_>, &[u8])> {
    let word = split(from)?;
    let bytes = match word.encoding {
        b'B' | b'b' => transfer::decode(&pure_index::Encoding::Base64, word.text)?,
        b'Q' | b'q' => q_decode(word.text),
        _ => return None,
    };
    Some((Run { charset: word.charset, bytes }, word.after))
}

/// RFC 2047 4.2.
fn q_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'_', _) => out.push(b' '),
            (b'=', [high, low, after @ ..]) => match (transfer::hex(*high), transfer::hex(*low)) {
                (Some(h), Some(l)) => {
                    out.push(h * 16 + l);
                    rest = after;
                }
                _ => out.push(b'='),
            },
            _ => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_standard() {
        for (given, expected) in [
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=   =?ISO-8859-1?Q?_b?= ", "a b "),
            ("=?US-ASCII*EN?Q?Keith_Moore?= <moore@example.test>", "Keith Moore <moore@example.test>"),
            ("=?iso-8859-1?q?Andr=E9?=", "Andr\u{e9}"),
            ("=?utf-8?B?w6TDtg==?=", "\u{e4}\u{f6}"),
        ] {
            assert_eq!(decode(given.as_bytes()), expected);
        }
    }

    #[test]
    fn a_character_may_be_cut_between_two_words() {
        assert_eq!(decode(b"=?utf-8?B?4g==?= =?UTF-8?Q?=82=AC?= x"), "\u{20ac} x");
    }

    #[test]
    fn what_is_none_stays() {
        for given in ["=?", "=?utf-8?", "=?utf-8?x?abc?=", "=?utf-8?q?abc", "a =?= b", "=??q?x?=", "=?=?=?=?=?", "50 =?: x"] {
            assert_eq!(decode(given.as_bytes()), given);
        }
        assert_eq!(decode(b"\xe4 =?utf-8?q?=G1?="), "\u{e4} =G1");
    }

    /// Attack case FROM-05: a name cannot bring a line break along.
    #[test]
    fn controls_become_blanks() {
        assert_eq!(decode(b"=?utf-8?b?YWRtaW5AYmFuay50ZXN0Cg==?= <x@evil.test>"), "admin@bank.test  <x@evil.test>");
    }

    #[test]
    fn length_of_a_word() {
        assert_eq!(length(b"=?utf-8?q?a(b?= x"), Some(15));
        assert_eq!(length(b"=?utf-8?q?a"), None);
    }
}
