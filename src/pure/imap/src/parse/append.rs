use super::{Bad, Mode, Parsed, Parser, Refused, tag};
use crate::{
    command::{Append, AppendMessage, Tag},
    cursor::Cursor,
    date::DateTime,
};

/// Parses the text in front of the first message of APPEND, as [`crate::Framer`] hands it out.
pub fn append(text: &[u8], mode: Mode) -> (Option<Tag>, Parsed<Append>) {
    let mut cursor = Cursor::new(text);
    let tag = match tag(&mut cursor) {
        Ok(tag) => tag,
        Err(refused) => return (None, Err(refused)),
    };
    let mut parser = Parser { cursor, mode };
    (Some(tag), parser.append())
}

/// Parses the text between two messages of one MULTIAPPEND (RFC 3502). `open` says that the message before was inside `UTF8 (`.
pub fn append_next(text: &[u8], open: bool) -> Parsed<AppendMessage> {
    let mut parser = Parser { cursor: Cursor::new(text), mode: Mode::default() };
    if open {
        parser.cursor.expect(b')')?;
    }
    parser.cursor.space()?;
    parser.append_message()
}

/// What the line after the last message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendEnd {
    /// Nothing: carry it out.
    Complete,
    /// Something that does not belong there: answer BAD and keep nothing.
    Malformed,
}

/// Checks the line after the last message.
pub fn append_end(line: &[u8], open: bool) -> AppendEnd {
    let rest = if open { line.strip_prefix(b")") } else { Some(line) };
    if rest == Some(b"\r\n") { AppendEnd::Complete } else { AppendEnd::Malformed }
}

impl Parser<'_> {
    fn append(&mut self) -> Parsed<Append> {
        if !self.cursor.eat_word("APPEND") {
            return Err(Bad::Command.into());
        }
        self.cursor.space()?;
        let mailbox = self.mailbox()?;
        self.cursor.space()?;
        Ok(Append { mailbox, message: self.append_message()? })
    }

    /// `[flag-list SP] [date-time SP] ["UTF8" SP "("]` up to where the literal was.
    fn append_message(&mut self) -> Parsed<AppendMessage> {
        let mut message = AppendMessage { flags: vec![], date: None, utf8: false };
        if self.cursor.peek() == Some(b'(') {
            message.flags = self.flag_list()?;
            self.cursor.space()?;
        }
        if self.cursor.peek() == Some(b'"') {
            let text = self.cursor.string()?;
            message.date = Some(DateTime::parse(&text).ok_or(Refused::Bad(Bad::Date))?);
            self.cursor.space()?;
        }
        // RFC 6855 4.
        if self.cursor.eat_word("UTF8") {
            self.cursor.space()?;
            self.cursor.expect(b'(')?;
            message.utf8 = true;
        }
        if self.cursor.rest().is_empty() { Ok(message) } else { Err(Bad::Syntax.into()) }
    }
}
