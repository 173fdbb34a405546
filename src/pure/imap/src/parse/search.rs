use super::{Bad, Parsed, Parser, Refused};
use crate::{
    command::{Command, Search, SearchKey, SearchReturn, SortBy, SortKey, ThreadAlgorithm},
    cursor::utf8,
    date::Date,
    flag::{Flag, Keyword},
    limits,
};

/// What waits for its operands while a program is read; the explicit stack in place of recursion.
enum Open {
    /// `(` or the whole program: so many values joined by AND so far.
    Group {
        values: usize,
        parenthesis: bool,
    },
    Not,
    /// The first operand is read or not.
    Or {
        first: bool,
    },
}

impl Parser<'_> {
    /// RFC 9051 6.4.4.
    pub(super) fn search(&mut self, uid: bool) -> Parsed<Search> {
        let mut returns = None;
        if self.cursor.eat_word("RETURN") {
            self.cursor.space()?;
            returns = Some(self.search_return()?);
            self.cursor.space()?;
        }
        if self.cursor.eat_word("CHARSET") {
            self.cursor.space()?;
            self.charset()?;
            self.cursor.space()?;
        }
        Ok(Search { uid, returns, program: self.program()? })
    }

    fn search_return(&mut self) -> Parsed<SearchReturn> {
        let mut out = SearchReturn::default();
        let named = self.cursor.list(limits::FLAGS, |cursor| {
            match cursor.name(limits::NAME)?.as_str() {
                "MIN" => out.min = true,
                "MAX" => out.max = true,
                "ALL" => out.all = true,
                "COUNT" => out.count = true,
                "SAVE" => out.save = true,
                _ => return Err(Bad::Syntax.into()),
            }
            Ok(())
        })?;
        // RFC 9051 6.4.4: `RETURN ()` is `RETURN (ALL)`.
        if named.is_empty() {
            out.all = true;
        }
        Ok(out)
    }

    fn charset(&mut self) -> Parsed<()> {
        let name = self.cursor.astring()?;
        let known = name.eq_ignore_ascii_case(b"UTF-8") || name.eq_ignore_ascii_case(b"US-ASCII");
        if known { Ok(()) } else { Err(Refused::BadCharset) }
    }

    /// RFC 5256 BASE.6.4.SORT.
    pub(super) fn sort(&mut self, uid: bool) -> Parsed<Command> {
        let mut reverse = false;
        self.cursor.expect(b'(')?;
        let mut keys = vec![];
        loop {
            if keys.len() >= limits::SORT_KEYS {
                return Err(Refused::Limit("too many sort keys"));
            }
            let by = match self.cursor.name(limits::NAME)?.as_str() {
                "REVERSE" if !reverse => None,
                "ARRIVAL" => Some(SortBy::Arrival),
                "CC" => Some(SortBy::Cc),
                "DATE" => Some(SortBy::Date),
                "FROM" => Some(SortBy::From),
                "SIZE" => Some(SortBy::Size),
                "SUBJECT" => Some(SortBy::Subject),
                "TO" => Some(SortBy::To),
                _ => return Err(Bad::Syntax.into()),
            };
            match by {
                None => reverse = true,
                Some(by) => keys.push(SortKey { reverse: std::mem::take(&mut reverse), by }),
            }
            if !reverse && self.cursor.eat(b')') {
                break;
            }
            self.cursor.space()?;
        }
        self.cursor.space()?;
        let search = self.search_after_charset(uid)?;
        Ok(Command::Sort { keys, search })
    }

    /// RFC 5256 BASE.6.4.THREAD.
    pub(super) fn thread(&mut self, uid: bool) -> Parsed<Command> {
        let algorithm = match self.cursor.name(limits::NAME)?.as_str() {
            "ORDEREDSUBJECT" => ThreadAlgorithm::OrderedSubject,
            "REFERENCES" => ThreadAlgorithm::References,
            _ => return Err(Bad::Syntax.into()),
        };
        self.cursor.space()?;
        let search = self.search_after_charset(uid)?;
        Ok(Command::Thread { algorithm, search })
    }

    fn search_after_charset(&mut self, uid: bool) -> Parsed<Search> {
        self.charset()?;
        self.cursor.space()?;
        Ok(Search { uid, returns: None, program: self.program()? })
    }

    /// `search-key *(SP search-key)` in reverse Polish notation. Attack case IMAP-06: no recursion, nodes and nesting capped.
    fn program(&mut self) -> Parsed<Vec<SearchKey>> {
        let mut out = vec![];
        let mut open = vec![Open::Group { values: 0, parenthesis: false }];
        loop {
            if out.len() >= limits::SEARCH_NODES || open.len() > limits::SEARCH_DEPTH + 1 {
                return Err(Refused::Limit("search too complex"));
            }
            // One operand begins here.
            if self.cursor.eat(b'(') {
                open.push(Open::Group { values: 0, parenthesis: true });
                continue;
            }
            let word = if self.starts_with_set() { String::new() } else { self.cursor.name(limits::NAME)? };
            match word.as_str() {
                "NOT" => {
                    open.push(Open::Not);
                    self.cursor.space()?;
                    continue;
                }
                "OR" => {
                    open.push(Open::Or { first: false });
                    self.cursor.space()?;
                    continue;
                }
                "" => {
                    let set = self.sequence_set()?;
                    out.push(SearchKey::Sequence(set));
                }
                name => self.search_key(name, &mut out)?,
            }
            // A value is complete; so may be what waits for it.
            loop {
                match open.last_mut() {
                    Some(Open::Not) => {
                        out.push(SearchKey::Not);
                        open.pop();
                    }
                    Some(Open::Or { first }) if *first => {
                        out.push(SearchKey::Or);
                        open.pop();
                    }
                    Some(Open::Or { first }) => {
                        *first = true;
                        self.cursor.space()?;
                        break;
                    }
                    Some(Open::Group { values, parenthesis }) => {
                        if *values > 0 {
                            out.push(SearchKey::And);
                        }
                        *values += 1;
                        if self.cursor.eat(b' ') {
                            break;
                        }
                        if !*parenthesis {
                            return if out.len() > limits::SEARCH_NODES { Err(Refused::Limit("search too complex")) } else { Ok(out) };
                        }
                        self.cursor.expect(b')')?;
                        open.pop();
                    }
                    None => return Err(Bad::Syntax.into()),
                }
            }
        }
    }

    fn starts_with_set(&self) -> bool {
        self.cursor.peek().is_some_and(|b| b.is_ascii_digit() || matches!(b, b'*' | b'$'))
    }

    /// One key that holds no other.
    fn search_key(&mut self, name: &str, out: &mut Vec<SearchKey>) -> Parsed<()> {
        let key = match name {
            "ALL" | "OLD" => SearchKey::All,
            "NEW" | "RECENT" => SearchKey::Nothing,
            "ANSWERED" | "UNANSWERED" => SearchKey::Flag(Flag::Answered),
            "DELETED" | "UNDELETED" => SearchKey::Flag(Flag::Deleted),
            "DRAFT" | "UNDRAFT" => SearchKey::Flag(Flag::Draft),
            "FLAGGED" | "UNFLAGGED" => SearchKey::Flag(Flag::Flagged),
            "SEEN" | "UNSEEN" => SearchKey::Flag(Flag::Seen),
            _ => {
                self.cursor.space()?;
                self.search_key_with_argument(name)?
            }
        };
        out.push(key);
        if matches!(name, "UNANSWERED" | "UNDELETED" | "UNDRAFT" | "UNFLAGGED" | "UNSEEN" | "UNKEYWORD") {
            out.push(SearchKey::Not);
        }
        Ok(())
    }

    fn search_key_with_argument(&mut self, name: &str) -> Parsed<SearchKey> {
        Ok(match name {
            "KEYWORD" | "UNKEYWORD" => {
                let atom = self.cursor.atom()?;
                let keyword = std::str::from_utf8(atom).ok().and_then(Keyword::new);
                SearchKey::Flag(Flag::Keyword(keyword.ok_or(Refused::Bad(Bad::Flag))?))
            }
            "UID" => SearchKey::Uid(self.sequence_set()?),
            "BEFORE" => SearchKey::Before(self.date()?),
            "ON" => SearchKey::On(self.date()?),
            "SINCE" => SearchKey::Since(self.date()?),
            "SENTBEFORE" => SearchKey::SentBefore(self.date()?),
            "SENTON" => SearchKey::SentOn(self.date()?),
            "SENTSINCE" => SearchKey::SentSince(self.date()?),
            "LARGER" => SearchKey::Larger(self.cursor.number64()?),
            "SMALLER" => SearchKey::Smaller(self.cursor.number64()?),
            "FROM" => SearchKey::From(self.search_string()?),
            "TO" => SearchKey::To(self.search_string()?),
            "CC" => SearchKey::Cc(self.search_string()?),
            "BCC" => SearchKey::Bcc(self.search_string()?),
            "SUBJECT" => SearchKey::Subject(self.search_string()?),
            "BODY" => SearchKey::Body(self.search_string()?),
            "TEXT" => SearchKey::Text(self.search_string()?),
            "HEADER" => {
                let field = utf8(&self.cursor.astring()?, limits::HEADER_NAME)?;
                self.cursor.space()?;
                SearchKey::Header(field, self.search_string()?)
            }
            "MODSEQ" => self.modseq()?,
            "OLDER" => SearchKey::Older(self.cursor.nz_number()?),
            "YOUNGER" => SearchKey::Younger(self.cursor.nz_number()?),
            "EMAILID" => SearchKey::EmailId(self.object_id()?),
            "THREADID" => SearchKey::ThreadId(self.object_id()?),
            _ => return Err(Bad::Syntax.into()),
        })
    }

    fn search_string(&mut self) -> Parsed<String> {
        utf8(&self.cursor.astring()?, limits::SEARCH_STRING)
    }

    fn date(&mut self) -> Parsed<Date> {
        let quoted = self.cursor.eat(b'"');
        let text = self.cursor.take_while(|b| b.is_ascii_alphanumeric() || b == b'-');
        if quoted {
            self.cursor.expect(b'"')?;
        }
        Date::parse(text).ok_or(Refused::Bad(Bad::Date))
    }

    /// RFC 7162 3.1.5: a metadata entry may be named; all flags share one modseq here.
    fn modseq(&mut self) -> Parsed<SearchKey> {
        if self.cursor.peek() == Some(b'"') {
            self.cursor.string()?;
            self.cursor.space()?;
            if !matches!(self.cursor.name(limits::NAME)?.as_str(), "PRIV" | "SHARED" | "ALL") {
                return Err(Bad::Syntax.into());
            }
            self.cursor.space()?;
        }
        Ok(SearchKey::ModSeq(self.cursor.number64()?))
    }

    /// RFC 8474 7 objectid.
    fn object_id(&mut self) -> Parsed<String> {
        let id = self.cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if id.is_empty() || id.len() > 255 {
            return Err(Bad::Syntax.into());
        }
        utf8(id, 255)
    }
}
