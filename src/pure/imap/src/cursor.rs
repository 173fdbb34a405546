use crate::{
    limits,
    literal::Header,
    parse::{Bad, Refused},
    sequence,
};
use std::borrow::Cow;
use zeroize::Zeroizing;

type Parsed<T> = Result<T, Refused>;

/// Reads one command from the left; nothing is read twice, and nothing is skipped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

/// ATOM-CHAR of RFC 9051 9.
pub(crate) fn is_atom_char(b: u8) -> bool {
    matches!(b, 0x21..=0x7e) && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// ASTRING-CHAR of RFC 9051 9: ATOM-CHAR or `]`.
pub(crate) fn is_astring_char(b: u8) -> bool {
    is_atom_char(b) || b == b']'
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes `byte` if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn expect(&mut self, byte: u8) -> Parsed<()> {
        if self.eat(byte) { Ok(()) } else { Err(Refused::Bad(Bad::Syntax)) }
    }

    pub(crate) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ')
    }

    /// The end of the command: CRLF and nothing after it.
    pub(crate) fn end(&self) -> Parsed<()> {
        if self.rest == b"\r\n" { Ok(()) } else { Err(Refused::Bad(Bad::Syntax)) }
    }

    pub(crate) fn take_while(&mut self, ok: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.rest.iter().position(|b| !ok(*b)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// Takes `word`, in any case, if it is next and is not the beginning of a longer atom.
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let Some((head, rest)) = self.rest.split_at_checked(word.len()) else { return false };
        if !head.eq_ignore_ascii_case(word.as_bytes()) || rest.first().is_some_and(|b| is_atom_char(*b)) {
            return false;
        }
        self.rest = rest;
        true
    }

    pub(crate) fn atom(&mut self) -> Parsed<&'a [u8]> {
        let atom = self.take_while(is_atom_char);
        if atom.is_empty() { Err(Refused::Bad(Bad::Syntax)) } else { Ok(atom) }
    }

    /// An atom that is a name: letters in capitals, at most `max` bytes.
    pub(crate) fn name(&mut self, max: usize) -> Parsed<String> {
        let atom = self.atom()?;
        if atom.len() > max {
            return Err(Refused::Bad(Bad::Syntax));
        }
        String::from_utf8(atom.to_ascii_uppercase()).map_err(|_| Refused::Bad(Bad::Syntax))
    }

    pub(crate) fn number(&mut self) -> Parsed<u32> {
        sequence::number(self.take_while(|b| b.is_ascii_digit())).ok_or(Refused::Bad(Bad::Number))
    }

    pub(crate) fn nz_number(&mut self) -> Parsed<u32> {
        self.number().and_then(|n| if n == 0 { Err(Refused::Bad(Bad::Number)) } else { Ok(n) })
    }

    /// `mod-sequence-valzer`: 63 bits (RFC 7162 7).
    pub(crate) fn number64(&mut self) -> Parsed<u64> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        let number = std::str::from_utf8(digits).ok().filter(|d| d.len() <= 19).and_then(|d| d.parse::<u64>().ok());
        number.filter(|n| *n <= u64::MAX / 2).ok_or(Refused::Bad(Bad::Number))
    }

    /// `string`: quoted or literal.
    pub(crate) fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal().map(Cow::Borrowed),
            _ => Err(Refused::Bad(Bad::Syntax)),
        }
    }

    /// `astring`: an atom that may hold `]`, or a string.
    pub(crate) fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or(is_astring_char)
    }

    /// `list-mailbox`: an atom that may hold `]`, `%` and `*`, or a string.
    pub(crate) fn list_mailbox(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or(|b| is_astring_char(b) || matches!(b, b'%' | b'*'))
    }

    fn string_or(&mut self, ok: impl Fn(u8) -> bool) -> Parsed<Cow<'a, [u8]>> {
        if matches!(self.peek(), Some(b'"' | b'{')) {
            return self.string();
        }
        // Names outside ASCII in atoms are not in the grammar; Thunderbird never sends them, so strictness costs nothing.
        let atom = self.take_while(ok);
        if atom.is_empty() { Err(Refused::Bad(Bad::Syntax)) } else { Ok(Cow::Borrowed(atom)) }
    }

    /// `quoted`, after RFC 9051 9 in UTF-8; no CR, LF or NUL.
    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect(b'"')?;
        let plain = self.take_while(|b| !matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.eat(b'"') {
            std::str::from_utf8(plain).map_err(|_| Refused::Bad(Bad::Utf8))?;
            return Ok(Cow::Borrowed(plain));
        }
        // It may be a password: of its full size at once, since a vector that grows leaves what it was, and overwritten where it is refused.
        let mut out = Zeroizing::new(Vec::with_capacity(plain.len().saturating_add(self.rest.len().min(limits::CREDENTIAL))));
        out.extend_from_slice(plain);
        while self.eat(b'\\') {
            match self.peek() {
                Some(escaped @ (b'"' | b'\\')) => {
                    self.eat(escaped);
                    out.push(escaped);
                }
                _ => return Err(Refused::Bad(Bad::Syntax)),
            }
            out.extend_from_slice(self.take_while(|b| !matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0)));
        }
        self.expect(b'"')?;
        std::str::from_utf8(&out).map_err(|_| Refused::Bad(Bad::Utf8))?;
        Ok(Cow::Owned(std::mem::take(&mut *out)))
    }

    fn literal(&mut self) -> Parsed<&'a [u8]> {
        let header = Header::at_start(self.rest).filter(|h| !h.literal8).ok_or(Refused::Bad(Bad::Syntax))?;
        let len = header.len.and_then(|len| usize::try_from(len).ok()).ok_or(Refused::Bad(Bad::Number))?;
        let after = self.rest.get(header.text_len..).and_then(|rest| rest.strip_prefix(b"\r\n"));
        let (content, rest) = after.and_then(|rest| rest.split_at_checked(len)).ok_or(Refused::Bad(Bad::Syntax))?;
        // RFC 9051 9: CHAR8 is any octet but NUL.
        if content.contains(&0) {
            return Err(Refused::Bad(Bad::Syntax));
        }
        self.rest = rest;
        Ok(content)
    }

    /// Takes NIL if it is next.
    pub(crate) fn nil(&mut self) -> bool {
        self.eat_word("NIL")
    }

    /// `( item SP item ...)`, at most `max` items, possibly none.
    pub(crate) fn list<T>(&mut self, max: usize, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect(b'(')?;
        let mut out = vec![];
        if self.eat(b')') {
            return Ok(out);
        }
        loop {
            if out.len() >= max {
                return Err(Refused::Limit("too many items"));
            }
            out.push(item(self)?);
            if self.eat(b')') {
                return Ok(out);
            }
            self.space()?;
        }
    }
}

/// The text of a string that must be UTF-8 and at most `max` bytes.
pub(crate) fn utf8(bytes: &[u8], max: usize) -> Parsed<String> {
    if bytes.len() > max {
        return Err(Refused::Limit("string too long"));
    }
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Refused::Bad(Bad::Utf8))
}
