//! Character sets, by encoding_rs: everything the Encoding Standard knows, and nothing that it left out for good reason (UTF-7).

use encoding_rs::{CoderResult, Encoding, UTF_8, WINDOWS_1252};

/// Decodes text piece by piece into UTF-8; what is malformed becomes U+FFFD.
#[derive(Debug)]
pub struct Decoder {
    inner: Option<encoding_rs::Decoder>,
}

impl Decoder {
    /// For a `charset` parameter. Without one, with `us-ascii` and with names that nobody knows, the text itself decides: UTF-8 if
    /// its first piece can be that, else windows-1252.
    pub fn new(label: Option<&[u8]>) -> Self {
        Self { inner: label.and_then(known).map(Encoding::new_decoder_without_bom_handling) }
    }

    /// Appends what `input` means. `last` flushes an incomplete character.
    pub fn push(&mut self, mut input: &[u8], last: bool, out: &mut String) {
        if input.is_empty() && !last {
            return;
        }
        let decoder = self.inner.get_or_insert_with(|| guess(input, last).new_decoder_without_bom_handling());
        loop {
            let room = decoder.max_utf8_buffer_length(input.len()).unwrap_or(input.len());
            out.reserve(room.max(16));
            let (result, read, _) = decoder.decode_to_string(input, out, last);
            input = input.get(read..).unwrap_or_default();
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }
}

/// Decodes a whole text at once.
pub fn decode(label: Option<&[u8]>, input: &[u8]) -> String {
    let mut out = String::new();
    Decoder::new(label).push(input, true, &mut out);
    out
}

fn known(label: &[u8]) -> Option<&'static Encoding> {
    if ["us-ascii", "ascii", "ansi_x3.4-1968"].iter().any(|l| label.eq_ignore_ascii_case(l.as_bytes())) {
        return None;
    }
    // RFC 2046 4.1.2 names; `unicode-1-1-utf-7` and the like are unknown on purpose.
    Encoding::for_label_no_replacement(label)
}

fn guess(input: &[u8], last: bool) -> &'static Encoding {
    match std::str::from_utf8(input) {
        Ok(_) => UTF_8,
        // A character cut off by the end of the piece.
        Err(e) if e.error_len().is_none() && !last => UTF_8,
        Err(_) => WINDOWS_1252,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_guesses() {
        for (label, input, expected) in [
            (Some(&b"ISO-8859-1"[..]), &b"\xe4"[..], "\u{e4}"),
            (Some(b"koi8-r"), b"\xd0", "\u{43f}"),
            (Some(b"iso-2022-jp"), b"\x1b$B$\"\x1b(B", "\u{3042}"),
            (Some(b"utf-8"), b"a\xff", "a\u{fffd}"),
            (Some(b"us-ascii"), "\u{e4}".as_bytes(), "\u{e4}"),
            (Some(b"x-unknown"), b"\xe4", "\u{e4}"),
            (None, b"\xe4", "\u{e4}"),
            (None, b"", ""),
        ] {
            assert_eq!(decode(label, input), expected, "{label:?}");
        }
    }

    /// Attack case MIME-08: UTF-7 means nothing.
    #[test]
    fn utf_7_is_not_decoded() {
        assert_eq!(decode(Some(b"utf-7"), b"+ADw-script+AD4-"), "+ADw-script+AD4-");
    }

    #[test]
    fn characters_may_be_cut() {
        let text = "\u{4f60}\u{597d}";
        let mut decoder = Decoder::new(Some(b"utf-8"));
        let mut out = String::new();
        for byte in text.as_bytes() {
            decoder.push(&[*byte], false, &mut out);
        }
        decoder.push(&[], true, &mut out);
        assert_eq!(out, text);
    }
}
