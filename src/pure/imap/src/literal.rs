/// The announcement of a literal: `{n}`, `{n+}`, `~{n}` or `~{n+}` (RFC 9051 4.3, RFC 7888, RFC 3516 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes; none when the number does not fit 64 bits.
    pub(crate) len: Option<u64>,
    /// Without `+`.
    pub(crate) synchronising: bool,
    /// With `~`.
    pub(crate) literal8: bool,
    /// Bytes of the announcement itself.
    pub(crate) text_len: usize,
}

impl Header {
    /// At the end of a line whose CRLF is removed.
    pub(crate) fn at_end(line: &[u8]) -> Option<Self> {
        let inner = line.strip_suffix(b"}")?;
        let open = inner.iter().rposition(|b| !matches!(b, b'0'..=b'9' | b'+'))?;
        if inner.get(open) != Some(&b'{') {
            return None;
        }
        let start = if open > 0 && inner.get(open - 1) == Some(&b'~') { open - 1 } else { open };
        Self::at_start(line.get(start..)?).filter(|header| header.text_len == line.len() - start)
    }

    /// At the start of `text`.
    pub(crate) fn at_start(text: &[u8]) -> Option<Self> {
        let (literal8, inner) = match text.strip_prefix(b"~") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let inner = inner.strip_prefix(b"{")?;
        let digits = inner.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = inner.split_at_checked(digits).filter(|(number, _)| !number.is_empty())?;
        let (synchronising, rest) = match rest.strip_prefix(b"+") {
            Some(rest) => (false, rest),
            None => (true, rest),
        };
        let rest = rest.strip_prefix(b"}")?;
        let len = number.iter().try_fold(0u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')));
        Some(Self { len, synchronising, literal8, text_len: text.len() - rest.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_a_literal() {
        let header = Header::at_end(b"a APPEND x ~{12+}").unwrap();
        assert_eq!((header.len, header.synchronising, header.literal8, header.text_len), (Some(12), false, true, 6));
        assert_eq!(Header::at_end(b"{18446744073709551616}").unwrap().len, None);
        for no in ["{}", "{+}", "{1++}", "{+1}", "{1+1}", "{1}}", "{1", "1}", "{-1}", "{ 1}", "", "}", "{1} "] {
            assert_eq!(Header::at_end(no.as_bytes()), None, "{no}");
        }
    }
}
