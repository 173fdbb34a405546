//! xtext of RFC 3461 4: printable ASCII, the rest as `+` and two upper-case hexadecimal digits.

use pure_addr::Text;

/// Decodes. The result has no control character (attack case INJ-03) and at most `N` bytes of UTF-8.
/// `raw_utf8` also takes characters beyond ASCII as they are (RFC 6533 3, utf-8-addr-unitext).
pub(crate) fn decode<const N: usize>(text: &str, raw_utf8: bool) -> Option<Text<N>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => {
                let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
                out.push(high.checked_mul(16)?.checked_add(low)?);
            }
            b'=' => return None,
            b'!'..=b'~' => out.push(byte),
            0x80.. if raw_utf8 => out.push(byte),
            _ => return None,
        }
    }
    Text::new(String::from_utf8(out).ok()?).ok()
}

/// Encodes; [`decode`] gives the same text back.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => out.push(char::from(byte)),
            _ => out.push_str(&format!("+{byte:02X}")),
        }
    }
    out
}

/// utf-8-addr-unitext or utf-8-addr-xtext of RFC 6533 3, which knows no `+` of its own: what may not stand as it is becomes `\x{HEX}`.
pub(crate) fn encode_utf8_address(text: &str, raw_utf8: bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '!'..='~' if c != '+' && c != '=' => out.push(c),
            _ if raw_utf8 && !c.is_ascii() => out.push(c),
            _ => out.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
        }
    }
    out
}

/// RFC 3461 4: hexchar has upper-case digits only.
fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'A'..=b'F' => byte.checked_sub(b'A')?.checked_add(10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Option<String> {
        decode::<100>(text, false).map(String::from)
    }

    #[test]
    fn decodes_printable_text() {
        assert_eq!(plain("abc+2Bd+3De").unwrap(), "abc+d=e");
        assert_eq!(plain("+C3+A9").unwrap(), "é");
        assert_eq!(plain("a+20b").unwrap(), "a b");
        assert_eq!(decode::<100>("é", true).unwrap().as_str(), "é");
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        for text in ["abc", "a+b=c d", "é+", "", "~!"] {
            assert_eq!(plain(&encode(text)).unwrap(), text);
        }
        assert_eq!(encode("a+b c"), "a+2Bb+20c");
        assert_eq!(encode_utf8_address("é+x@ent.test", true), "é\\x{2B}x@ent.test");
        assert_eq!(encode_utf8_address("é@ent.test", false), "\\x{E9}@ent.test");
    }

    /// Attack case INJ-03.
    #[test]
    fn control_characters_and_broken_forms_are_refused() {
        for bad in ["a+00b", "a+0D+0Ab", "a+0Aqueue+0A", "+7F", "+FF+FE", "+", "+2", "+2b", "+G0", "a=b", "a b", "é", "+C2+85", "+E2+80+A8"]
        {
            assert_eq!(plain(bad), None, "{bad:?}");
        }
        assert!(decode::<3>("abc", false).is_some());
        assert!(decode::<3>("abcd", false).is_none());
    }
}
