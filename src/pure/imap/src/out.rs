use pure_addr::{MailboxName, SEPARATOR};
use std::fmt::Write as _;

/// Writes answers. Every string goes through one of its choosers, so nothing from a message or a peer can end a line early.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
    utf8: bool,
}

/// Longer strings are literals even when quotes could hold them.
const MAX_QUOTED: usize = 1000;

impl Out {
    /// `utf8`: the client has enabled IMAP4rev2 or UTF8=ACCEPT, so quoted strings may hold UTF-8 and names of mailboxes do.
    pub fn new(utf8: bool) -> Self {
        Self { bytes: Vec::new(), utf8 }
    }

    /// The client has enabled it now.
    pub fn set_utf8(&mut self) {
        self.utf8 = true;
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How much was written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that it holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets what was written, keeps the capacity.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Gives the memory back.
    pub fn release(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to_fit();
    }

    /// Text of this program, never of a peer.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// A number or another value whose form cannot hurt.
    pub fn display(&mut self, value: impl std::fmt::Display) -> &mut Self {
        // Writing into memory does not fail.
        let _ = write!(Append(&mut self.bytes), "{value}");
        self
    }

    /// Content of a literal, announced before by [`Out::literal_header`].
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Room for `len` bytes of a literal, to be filled by the caller.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.bytes.len();
        self.bytes.resize(start.saturating_add(len), 0);
        self.bytes.get_mut(start..).unwrap_or_default()
    }

    /// `{n}` and a line end; the content follows.
    pub fn literal_header(&mut self, len: u64) -> &mut Self {
        self.display(format_args!("{{{len}}}\r\n"))
    }

    /// `~{n}` and a line end; for content that may hold NUL (RFC 9051 4.3.1).
    pub fn literal8_header(&mut self, len: u64) -> &mut Self {
        self.display(format_args!("~{{{len}}}\r\n"))
    }

    /// `string`: quotes when they can hold it, a literal otherwise. NUL, which neither may hold, becomes `?`.
    pub fn string(&mut self, string: &[u8]) -> &mut Self {
        if string.len() <= MAX_QUOTED && self.is_quotable(string) {
            return self.quoted(string);
        }
        self.literal_header(u64::try_from(string.len()).unwrap_or(u64::MAX));
        self.bytes.extend(string.iter().map(|b| if *b == 0 { b'?' } else { *b }));
        self
    }

    fn is_quotable(&self, string: &[u8]) -> bool {
        let plain = |b: &u8| matches!(b, 0x20..=0x7e | b'\t');
        string.iter().all(plain) || (self.utf8 && string.iter().all(|b| plain(b) || *b >= 0x80) && std::str::from_utf8(string).is_ok())
    }

    fn quoted(&mut self, string: &[u8]) -> &mut Self {
        self.bytes.push(b'"');
        for byte in string {
            if matches!(byte, b'"' | b'\\') {
                self.bytes.push(b'\\');
            }
            self.bytes.push(*byte);
        }
        self.bytes.push(b'"');
        self
    }

    /// `nstring`.
    pub fn nstring(&mut self, string: Option<&[u8]>) -> &mut Self {
        match string {
            Some(string) => self.string(string),
            None => self.text("NIL"),
        }
    }

    /// `astring`: without quotes when it is an atom that could not be taken for something else.
    pub fn astring(&mut self, string: &[u8]) -> &mut Self {
        let atom = !string.is_empty()
            && string.len() <= MAX_QUOTED
            && string.iter().all(|b| crate::cursor::is_atom_char(*b))
            && !string.eq_ignore_ascii_case(b"NIL");
        if atom { self.raw(string) } else { self.string(string) }
    }

    /// A mailbox in the form the client understands.
    pub fn mailbox(&mut self, name: &MailboxName) -> &mut Self {
        self.mailbox_text(name.as_str())
    }

    /// The same for a name that is no mailbox, such as the parent of one.
    pub fn mailbox_text(&mut self, name: &str) -> &mut Self {
        if self.utf8 {
            return self.astring(name.as_bytes());
        }
        let name = crate::utf7::encode(name);
        self.astring(name.as_bytes())
    }

    /// The separator as a quoted character.
    pub fn separator(&mut self) -> &mut Self {
        self.display(format_args!("\"{SEPARATOR}\""))
    }

    /// The end of an answer.
    pub fn end(&mut self) -> &mut Self {
        self.text("\r\n")
    }
}

struct Append<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Append<'_> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(utf8: bool, text: &str) -> String {
        String::from_utf8(Out::new(utf8).string(text.as_bytes()).bytes().to_vec()).unwrap()
    }

    #[test]
    fn strings_choose_their_form() {
        assert_eq!(string(false, "a \"b\" \\"), "\"a \\\"b\\\" \\\\\"");
        assert_eq!(string(false, "é"), "{2}\r\né");
        assert_eq!(string(true, "é"), "\"é\"");
        assert_eq!(string(true, "a\r\n* BYE"), "{8}\r\na\r\n* BYE");
        assert_eq!(string(true, "a\0b"), "{3}\r\na?b");
        assert_eq!(string(false, ""), "\"\"");
        assert!(string(false, &"a".repeat(1001)).starts_with("{1001}\r\n"));
    }

    #[test]
    fn names_of_mailboxes() {
        let name = MailboxName::new("Entwürfe/2026").unwrap();
        assert_eq!(Out::new(false).mailbox(&name).bytes(), b"Entw&APw-rfe/2026");
        assert_eq!(Out::new(true).mailbox(&name).bytes(), "\"Entwürfe/2026\"".as_bytes());
        assert_eq!(Out::new(true).mailbox_text("a b").bytes(), b"\"a b\"");
        assert_eq!(Out::new(true).astring(b"NIL").bytes(), b"\"NIL\"");
        assert_eq!(Out::new(true).astring(b"a%b").bytes(), b"\"a%b\"");
    }
}
