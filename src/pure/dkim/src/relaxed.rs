//! The relaxed form of a header field (RFC 6376 3.4.2).

/// A value, what follows the colon, in relaxed form: unfolded, every run of white space one blank, none at the ends.
pub fn relax(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut blank = false;
    let mut bytes = value.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' => blank = true,
            b'\r' if bytes.peek() == Some(&b'\n') => {
                bytes.next();
            }
            _ => {
                if std::mem::take(&mut blank) && !out.is_empty() {
                    out.push(b' ');
                }
                out.push(byte);
            }
        }
    }
    out
}

/// Whether a value can be the outcome of [`relax`] for a field of a message, and cannot end the field it stands in.
pub fn is_canonical(value: &[u8]) -> bool {
    let control = value.iter().any(|b| matches!(b, b'\r' | b'\n' | b'\t' | 0));
    let ends = value.first() == Some(&b' ') || value.last() == Some(&b' ');
    !control && !ends && !value.windows(2).any(|two| two == b"  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6376 3.4.5 and what surrounds it.
    #[test]
    fn values() {
        for (value, expected) in [
            (&b" X\r\n"[..], &b"X"[..]),
            (b" Y\t\r\n\tZ  \r\n", b"Y Z"),
            (b"\r\n", b""),
            (b"", b""),
            (b"  \r\n \r\n\t\r\n", b""),
            (b"a\r\n  b\r\n c", b"a b c"),
            (b"\xc3\xa4  \xff\r\n", b"\xc3\xa4 \xff"),
        ] {
            assert_eq!(relax(value), expected);
            assert!(is_canonical(expected));
        }
    }

    #[test]
    fn what_is_not_canonical() {
        for value in [&b" x"[..], b"x ", b"x  y", b"x\ty", b"x\r\ny", b"x\ny", b"x\ry", b"\0", b" "] {
            assert!(!is_canonical(value));
        }
    }
}
