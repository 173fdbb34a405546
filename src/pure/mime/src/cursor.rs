use std::borrow::Cow;

/// A position in an unfolded field value. Every method moves forward or leaves it where it is, so all reading is linear.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

/// A quoted-string, comment or domain-literal that was opened and not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unclosed;

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) fn bump(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Takes this byte if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.advance(1);
        }
        found
    }

    pub(crate) fn advance(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
    }

    pub(crate) fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let n = self.rest.iter().position(|b| !keep(*b)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(n).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// Skips white space; whether there was any.
    pub(crate) fn skip_blank(&mut self) -> bool {
        !self.take_while(is_blank).is_empty()
    }

    /// Skips CFWS of RFC 5322 3.2.2; an unclosed comment runs to the end.
    pub(crate) fn skip_cfws(&mut self) {
        loop {
            self.skip_blank();
            if self.peek() != Some(b'(') {
                return;
            }
            let _unclosed = self.comment();
        }
    }

    /// Reads a comment at the cursor; comments nest (RFC 5322 3.2.2). Its text has no outer parentheses and no escapes.
    pub(crate) fn comment(&mut self) -> Result<Vec<u8>, Unclosed> {
        let mut text = Vec::new();
        let mut depth = 0u32;
        while let Some(byte) = self.bump() {
            match byte {
                b'(' => {
                    depth = depth.saturating_add(1);
                    if depth > 1 {
                        text.push(byte);
                    }
                }
                b')' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Ok(text);
                    }
                    text.push(byte);
                }
                b'\\' => text.extend(self.bump()),
                _ => text.push(byte),
            }
        }
        Err(Unclosed)
    }

    /// Reads a quoted-string at the cursor without quotes and escapes (RFC 5322 3.2.4); unclosed, it runs to the end.
    pub(crate) fn quoted(&mut self) -> (Cow<'a, [u8]>, Result<(), Unclosed>) {
        self.delimited(b'"')
    }

    /// Reads a domain-literal at the cursor, brackets left out (RFC 5322 3.4.1).
    pub(crate) fn literal(&mut self) -> (Cow<'a, [u8]>, Result<(), Unclosed>) {
        self.delimited(b']')
    }

    fn delimited(&mut self, close: u8) -> (Cow<'a, [u8]>, Result<(), Unclosed>) {
        self.advance(1);
        let plain = self.take_while(|b| b != close && b != b'\\');
        if self.eat(close) {
            return (Cow::Borrowed(plain), Ok(()));
        }
        let mut text = plain.to_vec();
        while let Some(byte) = self.bump() {
            match byte {
                b'\\' => text.extend(self.bump()),
                _ if byte == close => return (Cow::Owned(text), Ok(())),
                _ => text.push(byte),
            }
        }
        (Cow::Owned(text), Err(Unclosed))
    }
}

/// White space of an unfolded value, and the line breaks of one that is not.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Cuts white space off both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let Some((_, rest)) = bytes.split_first().filter(|(b, _)| is_blank(**b)) {
        bytes = rest;
    }
    trim_end(bytes)
}

/// Cuts white space off the end.
pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let Some((_, rest)) = bytes.split_last().filter(|(b, _)| is_blank(**b)) {
        bytes = rest;
    }
    bytes
}
