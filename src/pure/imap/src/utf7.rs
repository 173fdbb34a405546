//! Modified UTF-7, the form of mailbox names for clients that have not asked for UTF-8 (RFC 3501 5.1.3).
//!
//! Strict both ways: every name has exactly one form, so two forms can never name one mailbox.

use data_encoding::{BitOrder, Encoding, Specification};
use std::sync::LazyLock;

/// RFC 3501 5.1.3: base64 with `,` for `/`, without padding; leftover bits must be zero.
static BASE64: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,");
    spec.bit_order = BitOrder::MostSignificantFirst;
    spec.encoding().ok()
});

/// The UTF-8 of a name; none when it is not in the one right form.
pub fn decode(name: &[u8]) -> Option<String> {
    let mut out = String::new();
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'&' => {
                let end = rest.iter().position(|b| *b == b'-')?;
                let (run, after) = rest.split_at_checked(end)?;
                if run.is_empty() {
                    out.push('&');
                } else {
                    decode_run(run, &mut out)?;
                }
                rest = after.get(1..)?;
            }
            0x20..=0x7e => out.push(char::from(*byte)),
            _ => return None,
        }
    }
    // One form only: no ASCII in base64, no two runs where one would do.
    (encode(&out).as_bytes() == name).then_some(out)
}

fn decode_run(run: &[u8], out: &mut String) -> Option<()> {
    let bytes = BASE64.as_ref()?.decode(run).ok()?;
    let (units, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    for c in char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit))) {
        out.push(c.ok()?);
    }
    Some(())
}

/// The modified UTF-7 of a name.
pub fn encode(name: &str) -> String {
    let mut out = String::new();
    let mut run: Vec<u8> = vec![];
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut run, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0u16; 2];
            run.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    flush(&mut run, &mut out);
    out
}

fn flush(run: &mut Vec<u8>, out: &mut String) {
    if let Some(base64) = BASE64.as_ref().filter(|_| !run.is_empty()) {
        out.push('&');
        out.push_str(&base64.encode(run));
        out.push('-');
    }
    run.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack case CTRL-06: real names work.
    #[test]
    fn names_round_trip() {
        for (utf7, utf8) in [
            ("Entw&APw-rfe/2026", "Entwürfe/2026"),
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("A&-B", "A&B"),
            ("&2D3eAA-", "😀"),
            ("INBOX", "INBOX"),
        ] {
            assert_eq!(decode(utf7.as_bytes()).as_deref(), Some(utf8));
            assert_eq!(encode(utf8), utf7);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in ["&", "&APw", "&APx-", "&AGE-", "&APw-&APw-", "&APw=-", "&2D0-", "&AP-", "&!-", "ü", "a\tb", "&AAA-\0", "&Jjo-!&Jjo-&-&"]
        {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }
}
