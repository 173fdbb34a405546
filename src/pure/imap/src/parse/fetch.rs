use super::{Bad, Parsed, Parser, Refused};
use crate::{
    command::{Fetch, FetchItem, Partial},
    cursor::{Cursor, utf8},
    limits,
    section::{Section, SectionText},
};

impl Parser<'_> {
    /// RFC 9051 6.4.5 with the modifiers of RFC 7162.
    pub(super) fn fetch(&mut self, uid: bool) -> Parsed<Fetch> {
        let set = self.sequence_set()?;
        self.cursor.space()?;
        let items = self.fetch_items()?;
        let mut fetch = Fetch { uid, set, items, changed_since: None, vanished: false };
        if self.cursor.eat(b' ') {
            self.cursor.expect(b'(')?;
            loop {
                if fetch.changed_since.is_none() && self.cursor.eat_word("CHANGEDSINCE") {
                    self.cursor.space()?;
                    fetch.changed_since = Some(self.cursor.number64()?);
                } else if self.cursor.eat_word("VANISHED") {
                    fetch.vanished = true;
                } else {
                    return Err(Bad::Syntax.into());
                }
                if self.cursor.eat(b')') {
                    break;
                }
                self.cursor.space()?;
            }
            // RFC 7162 3.2.6: only with UID FETCH and CHANGEDSINCE.
            if fetch.vanished && (!uid || fetch.changed_since.is_none()) {
                return Err(Bad::Syntax.into());
            }
        }
        let asks = |item: &FetchItem| fetch.items.contains(item);
        // RFC 9051 6.4.8: UID FETCH always tells the UID; RFC 7162 3.1.4.1: CHANGEDSINCE tells the modseq.
        let (add_uid, add_modseq) = (uid && !asks(&FetchItem::Uid), fetch.changed_since.is_some() && !asks(&FetchItem::ModSeq));
        if add_uid {
            fetch.items.insert(0, FetchItem::Uid);
        }
        if add_modseq {
            fetch.items.push(FetchItem::ModSeq);
        }
        Ok(fetch)
    }

    fn fetch_items(&mut self) -> Parsed<Vec<FetchItem>> {
        use FetchItem::{Body, Envelope, Flags, InternalDate, Size};
        if self.cursor.peek() == Some(b'(') {
            let items = self.cursor.list(limits::FETCH_ITEMS, fetch_item)?;
            // Asked twice is answered once: no message is sent 64 times for one command.
            let mut unique: Vec<FetchItem> = vec![];
            for item in items {
                if !unique.contains(&item) {
                    unique.push(item);
                }
            }
            return if unique.is_empty() { Err(Bad::Syntax.into()) } else { Ok(unique) };
        }
        // RFC 9051 6.4.5: macros stand alone.
        for (name, items) in [
            ("ALL", vec![Flags, InternalDate, Size, Envelope]),
            ("FAST", vec![Flags, InternalDate, Size]),
            ("FULL", vec![Flags, InternalDate, Size, Envelope, Body]),
        ] {
            if self.cursor.eat_word(name) {
                return Ok(items);
            }
        }
        Ok(vec![fetch_item(&mut self.cursor)?])
    }
}

fn fetch_item(cursor: &mut Cursor<'_>) -> Parsed<FetchItem> {
    let name = cursor.take_while(|b| b.is_ascii_alphanumeric() || b == b'.');
    if name.len() > limits::NAME {
        return Err(Bad::Syntax.into());
    }
    let name = name.to_ascii_uppercase();
    let bracket = cursor.peek() == Some(b'[');
    Ok(match (name.as_slice(), bracket) {
        (b"ENVELOPE", false) => FetchItem::Envelope,
        (b"FLAGS", false) => FetchItem::Flags,
        (b"INTERNALDATE", false) => FetchItem::InternalDate,
        (b"RFC822.SIZE", false) => FetchItem::Size,
        (b"UID", false) => FetchItem::Uid,
        (b"BODY", false) => FetchItem::Body,
        (b"BODYSTRUCTURE", false) => FetchItem::BodyStructure,
        (b"MODSEQ", false) => FetchItem::ModSeq,
        (b"EMAILID", false) => FetchItem::EmailId,
        (b"THREADID", false) => FetchItem::ThreadId,
        (b"RFC822", false) => FetchItem::Rfc822,
        (b"RFC822.HEADER", false) => FetchItem::Rfc822Header,
        (b"RFC822.TEXT", false) => FetchItem::Rfc822Text,
        (b"BODY", true) => FetchItem::Section { section: section(cursor)?, partial: partial(cursor)?, peek: false },
        (b"BODY.PEEK", true) => FetchItem::Section { section: section(cursor)?, partial: partial(cursor)?, peek: true },
        (b"BINARY", true) => FetchItem::Binary { path: binary_path(cursor)?, partial: partial(cursor)?, peek: false },
        (b"BINARY.PEEK", true) => FetchItem::Binary { path: binary_path(cursor)?, partial: partial(cursor)?, peek: true },
        (b"BINARY.SIZE", true) => FetchItem::BinarySize(binary_path(cursor)?),
        _ => return Err(Bad::Syntax.into()),
    })
}

/// `section` (RFC 9051 9).
fn section(cursor: &mut Cursor<'_>) -> Parsed<Section> {
    cursor.expect(b'[')?;
    let mut section = Section::default();
    let mut text_may_follow = true;
    while cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
        if section.path.len() >= limits::SECTION_PATH {
            return Err(Refused::Limit("section too deep"));
        }
        section.path.push(cursor.nz_number()?);
        text_may_follow = cursor.eat(b'.');
        if !text_may_follow {
            break;
        }
    }
    if text_may_follow && (cursor.peek() != Some(b']') || !section.path.is_empty()) {
        section.text = Some(section_text(cursor, !section.path.is_empty())?);
    }
    cursor.expect(b']')?;
    Ok(section)
}

fn section_text(cursor: &mut Cursor<'_>, in_part: bool) -> Parsed<SectionText> {
    let word = cursor.take_while(|b| b.is_ascii_alphabetic() || b == b'.').to_ascii_uppercase();
    let not = match word.as_slice() {
        b"HEADER" => return Ok(SectionText::Header),
        b"TEXT" => return Ok(SectionText::Text),
        b"MIME" if in_part => return Ok(SectionText::Mime),
        b"HEADER.FIELDS" => false,
        b"HEADER.FIELDS.NOT" => true,
        _ => return Err(Bad::Syntax.into()),
    };
    cursor.space()?;
    let names = cursor.list(limits::HEADER_NAMES, |cursor| {
        let name = cursor.astring()?;
        // RFC 5322 2.2: a name is printable ASCII without the colon; it is written back in the answer.
        if name.is_empty() || !name.iter().all(|b| matches!(b, 0x21..=0x7e) && *b != b':') {
            return Err(Bad::Syntax.into());
        }
        utf8(&name, limits::HEADER_NAME)
    })?;
    if names.is_empty() {
        return Err(Bad::Syntax.into());
    }
    Ok(SectionText::Fields { not, names })
}

/// `section-binary`: numbers only.
fn binary_path(cursor: &mut Cursor<'_>) -> Parsed<Vec<u32>> {
    let section = section(cursor)?;
    if section.text.is_some() { Err(Bad::Syntax.into()) } else { Ok(section.path) }
}

fn partial(cursor: &mut Cursor<'_>) -> Parsed<Option<Partial>> {
    if !cursor.eat(b'<') {
        return Ok(None);
    }
    let start = cursor.number()?;
    cursor.expect(b'.')?;
    let len = cursor.nz_number()?;
    cursor.expect(b'>')?;
    Ok(Some(Partial { start, len }))
}
