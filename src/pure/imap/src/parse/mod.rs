//! The one parser of commands: total, iterative, every list capped.

mod append;
mod fetch;
mod list;
mod search;

pub use append::{AppendEnd, append, append_end, append_next};

use crate::{
    command::{Command, Mailbox, QResync, Select, StatusItem, Store, StoreAction, Tag, Transfer},
    cursor::{Cursor, is_astring_char, is_atom_char, utf8},
    flag::{Backslash, Flag, Keyword},
    limits,
    sequence::SequenceSet,
    utf7,
};
use pure_addr::{MailboxName, SEPARATOR};
use pure_sasl::Secret;

/// Why a command is not carried out before anything looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Answer BAD.
    #[error("{0}")]
    Bad(Bad),
    /// Answer NO [LIMIT] (RFC 5530 3).
    #[error("{0}")]
    Limit(&'static str),
    /// Answer NO [BADCHARSET (US-ASCII UTF-8)] (RFC 9051 7.1).
    #[error("unknown charset")]
    BadCharset,
}

/// What is wrong with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// No usable tag.
    #[error("no tag")]
    Tag,
    /// Not a command of this server.
    #[error("unknown command")]
    Command,
    /// An HTTP request: another protocol is being smuggled here by somebody's browser (attack case STLS-09).
    #[error("HTTP")]
    Http,
    /// Not the grammar of the command.
    #[error("syntax error")]
    Syntax,
    /// A number that is missing, zero where it may not be, or too large.
    #[error("invalid number")]
    Number,
    /// A date that does not exist.
    #[error("invalid date")]
    Date,
    /// A flag that no client can set.
    #[error("invalid flag")]
    Flag,
    /// A string that is not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
}

impl From<Bad> for Refused {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

/// What the client has switched on that changes the grammar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mode {
    /// Names of mailboxes are UTF-8 (IMAP4rev2 or UTF8=ACCEPT enabled), not modified UTF-7.
    pub utf8_names: bool,
}

type Parsed<T> = Result<T, Refused>;

/// Parses one whole command as [`crate::Framer`] found it. The tag is returned even when the rest is refused, if there is one.
pub fn command(bytes: &[u8], mode: Mode) -> (Option<Tag>, Parsed<Command>) {
    let mut cursor = Cursor::new(bytes);
    let tag = match tag(&mut cursor) {
        Ok(tag) => tag,
        Err(refused) => return (None, Err(refused)),
    };
    let command = match (Parser { cursor, mode }).command() {
        Err(Refused::Bad(Bad::Command)) if is_http(bytes) => Err(Bad::Http.into()),
        parsed => parsed,
    };
    (Some(tag), command)
}

/// `request-line` (RFC 9112 3): a method, a target and a version.
fn is_http(line: &[u8]) -> bool {
    let mut words = line.split(|b| *b == b' ');
    let version = words.nth(2).is_some_and(|version| version.starts_with(b"HTTP/"));
    version && words.next().is_none()
}

/// The tag of a command that cannot be parsed as a whole, such as one with a refused literal.
pub fn tag_of(bytes: &[u8]) -> Option<Tag> {
    tag(&mut Cursor::new(bytes)).ok()
}

/// `tag` and the space after it (RFC 9051 9: any ASTRING-CHAR except `+`).
fn tag(cursor: &mut Cursor<'_>) -> Parsed<Tag> {
    let tag = cursor.take_while(|b| is_astring_char(b) && b != b'+');
    if tag.is_empty() || tag.len() > limits::TAG || !cursor.eat(b' ') {
        return Err(Bad::Tag.into());
    }
    String::from_utf8(tag.to_vec()).map(Tag).map_err(|_| Bad::Tag.into())
}

pub(crate) struct Parser<'a> {
    cursor: Cursor<'a>,
    mode: Mode,
}

impl Parser<'_> {
    fn command(mut self) -> Parsed<Command> {
        let name = self.cursor.name(limits::NAME).map_err(|_| Bad::Command)?;
        let command = match name.as_str() {
            "CAPABILITY" => Command::Capability,
            "NOOP" => Command::Noop,
            "LOGOUT" => Command::Logout,
            "STARTTLS" => Command::StartTls,
            "NAMESPACE" => Command::Namespace,
            "CHECK" => Command::Check,
            "CLOSE" => Command::Close,
            "UNSELECT" => Command::Unselect,
            "EXPUNGE" => Command::Expunge,
            "IDLE" => Command::Idle,
            _ => {
                if !self.takes_arguments(&name) {
                    return Err(Bad::Command.into());
                }
                self.cursor.space()?;
                self.with_arguments(&name)?
            }
        };
        self.cursor.end()?;
        Ok(command)
    }

    fn takes_arguments(&self, name: &str) -> bool {
        matches!(
            name,
            "AUTHENTICATE"
                | "LOGIN"
                | "ID"
                | "ENABLE"
                | "LIST"
                | "LSUB"
                | "CREATE"
                | "DELETE"
                | "RENAME"
                | "SUBSCRIBE"
                | "UNSUBSCRIBE"
                | "STATUS"
                | "SELECT"
                | "EXAMINE"
                | "SEARCH"
                | "SORT"
                | "THREAD"
                | "FETCH"
                | "STORE"
                | "COPY"
                | "MOVE"
                | "UID"
                | "GETQUOTA"
                | "GETQUOTAROOT"
        )
    }

    fn with_arguments(&mut self, name: &str) -> Parsed<Command> {
        Ok(match name {
            "AUTHENTICATE" => self.authenticate()?,
            "LOGIN" => self.login()?,
            "ID" => Command::Id(self.id()?),
            "ENABLE" => self.enable()?,
            "LIST" => Command::List(self.list()?),
            "LSUB" => {
                let reference = self.pattern_text()?;
                self.cursor.space()?;
                Command::Lsub { pattern: self.pattern_text()?, reference }
            }
            "CREATE" => self.create()?,
            "DELETE" => Command::Delete(self.mailbox()?),
            "RENAME" => {
                let from = self.mailbox()?;
                self.cursor.space()?;
                Command::Rename { from, to: self.mailbox()? }
            }
            "SUBSCRIBE" => Command::Subscribe(self.mailbox()?),
            "UNSUBSCRIBE" => Command::Unsubscribe(self.mailbox()?),
            "STATUS" => {
                let mailbox = self.mailbox()?;
                self.cursor.space()?;
                let items = self.cursor.list(limits::FETCH_ITEMS, status_item)?;
                if items.is_empty() {
                    return Err(Bad::Syntax.into());
                }
                Command::Status { mailbox, items }
            }
            "SELECT" => Command::Select(self.select(false)?),
            "EXAMINE" => Command::Select(self.select(true)?),
            "GETQUOTA" => Command::GetQuota(utf8(&self.cursor.astring()?, pure_addr::MAX_MAILBOX_NAME)?),
            "GETQUOTAROOT" => Command::GetQuotaRoot(self.mailbox()?),
            "UID" => {
                let name = self.cursor.name(limits::NAME)?;
                self.cursor.space()?;
                if name == "EXPUNGE" { Command::UidExpunge(self.sequence_set()?) } else { self.on_messages(&name, true)? }
            }
            name => self.on_messages(name, false)?,
        })
    }

    /// The commands that exist with and without UID.
    fn on_messages(&mut self, name: &str, uid: bool) -> Parsed<Command> {
        Ok(match name {
            "SEARCH" => Command::Search(self.search(uid)?),
            "SORT" => self.sort(uid)?,
            "THREAD" => self.thread(uid)?,
            "FETCH" => Command::Fetch(self.fetch(uid)?),
            "STORE" => Command::Store(self.store(uid)?),
            "COPY" => Command::Copy(self.transfer(uid)?),
            "MOVE" => Command::Move(self.transfer(uid)?),
            _ => return Err(Bad::Command.into()),
        })
    }

    fn authenticate(&mut self) -> Parsed<Command> {
        let mechanism = self.cursor.name(limits::NAME)?;
        let initial = if self.cursor.eat(b' ') {
            let text = self.cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
            match text {
                b"" => return Err(Bad::Syntax.into()),
                text => Some(Secret::new(text.to_vec())),
            }
        } else {
            None
        };
        Ok(Command::Authenticate { mechanism, initial })
    }

    fn login(&mut self) -> Parsed<Command> {
        let user = self.cursor.astring()?;
        self.cursor.space()?;
        let password = Secret::new(self.cursor.astring()?.into_owned());
        if password.as_bytes().len() > limits::CREDENTIAL {
            return Err(Refused::Limit("password too long"));
        }
        Ok(Command::Login { user: utf8(&user, limits::CREDENTIAL)?, password })
    }

    fn id(&mut self) -> Parsed<Vec<(String, Option<String>)>> {
        if self.cursor.nil() {
            return Ok(vec![]);
        }
        self.cursor.list(limits::ID_PAIRS, |cursor| {
            let key = utf8(&cursor.string()?, limits::ID_KEY)?;
            cursor.space()?;
            let value = if cursor.nil() { None } else { Some(String::from_utf8_lossy(&cursor.string()?).into_owned()) };
            if value.as_ref().is_some_and(|value| value.len() > limits::ID_VALUE) {
                return Err(Refused::Limit("string too long"));
            }
            Ok((key, value))
        })
    }

    fn enable(&mut self) -> Parsed<Command> {
        let mut names = vec![self.enable_name()?];
        while self.cursor.eat(b' ') {
            if names.len() >= limits::ENABLE_NAMES {
                return Err(Refused::Limit("too many names"));
            }
            names.push(self.enable_name()?);
        }
        Ok(Command::Enable(names))
    }

    /// A capability; longer ones than ours are unknown and no error (RFC 5161 3.1).
    fn enable_name(&mut self) -> Parsed<String> {
        self.cursor.name(limits::KEYWORD)
    }

    fn create(&mut self) -> Parsed<Command> {
        let text = self.cursor.astring()?;
        // RFC 9051 6.3.4: a trailing separator announces names below; it is not part of the name.
        let trimmed = u8::try_from(SEPARATOR).ok().and_then(|s| text.strip_suffix(&[s])).unwrap_or(&text);
        let mailbox = self.named(trimmed);
        let mut special_use = vec![];
        if self.cursor.eat(b' ') {
            self.cursor.expect(b'(')?;
            if !self.cursor.eat_word("USE") {
                return Err(Bad::Syntax.into());
            }
            self.cursor.space()?;
            special_use = self.cursor.list(limits::FLAGS, |cursor| {
                cursor.expect(b'\\')?;
                Ok(format!("\\{}", cursor.name(limits::NAME)?))
            })?;
            self.cursor.expect(b')')?;
        }
        Ok(Command::Create { mailbox, special_use })
    }

    fn select(&mut self, read_only: bool) -> Parsed<Select> {
        let mut select = Select { mailbox: self.mailbox()?, read_only, condstore: false, qresync: None };
        if self.cursor.eat(b' ') {
            self.cursor.expect(b'(')?;
            loop {
                if self.cursor.eat_word("CONDSTORE") {
                    select.condstore = true;
                } else if select.qresync.is_none() && self.cursor.eat_word("QRESYNC") {
                    self.cursor.space()?;
                    select.qresync = Some(self.qresync()?);
                } else {
                    return Err(Bad::Syntax.into());
                }
                if self.cursor.eat(b')') {
                    break;
                }
                self.cursor.space()?;
            }
        }
        Ok(select)
    }

    /// RFC 7162 7 select-param.
    fn qresync(&mut self) -> Parsed<QResync> {
        self.cursor.expect(b'(')?;
        let uid_validity = self.cursor.nz_number()?;
        self.cursor.space()?;
        let modseq = self.cursor.number64()?;
        let mut out = QResync { uid_validity, modseq, known_uids: None, match_data: None };
        if self.cursor.eat(b' ') {
            if self.cursor.peek() != Some(b'(') {
                out.known_uids = Some(self.plain_set()?);
            }
            if out.known_uids.is_none() || self.cursor.eat(b' ') {
                self.cursor.expect(b'(')?;
                let seqs = self.plain_set()?;
                self.cursor.space()?;
                out.match_data = Some((seqs, self.plain_set()?));
                self.cursor.expect(b')')?;
            }
        }
        self.cursor.expect(b')')?;
        Ok(out)
    }

    /// RFC 7162 7: known-uids and its kin hold neither `*` nor `$`.
    fn plain_set(&mut self) -> Parsed<SequenceSet> {
        let set = self.sequence_set()?;
        if set == SequenceSet::Saved || set.has_largest() { Err(Bad::Syntax.into()) } else { Ok(set) }
    }

    fn store(&mut self, uid: bool) -> Parsed<Store> {
        let set = self.sequence_set()?;
        self.cursor.space()?;
        let mut unchanged_since = None;
        if self.cursor.eat(b'(') {
            if !self.cursor.eat_word("UNCHANGEDSINCE") {
                return Err(Bad::Syntax.into());
            }
            self.cursor.space()?;
            unchanged_since = Some(self.cursor.number64()?);
            self.cursor.expect(b')')?;
            self.cursor.space()?;
        }
        let action = match self.cursor.peek() {
            Some(b'+') => StoreAction::Add,
            Some(b'-') => StoreAction::Remove,
            _ => StoreAction::Replace,
        };
        let sign = match action {
            StoreAction::Replace => None,
            StoreAction::Add => Some(b'+'),
            StoreAction::Remove => Some(b'-'),
        };
        sign.map_or(Ok(()), |sign| self.cursor.expect(sign))?;
        let silent = match self.cursor.name(limits::NAME)?.as_str() {
            "FLAGS" => false,
            "FLAGS.SILENT" => true,
            _ => return Err(Bad::Syntax.into()),
        };
        self.cursor.space()?;
        let flags = if self.cursor.peek() == Some(b'(') { self.flag_list()? } else { self.bare_flags()? };
        Ok(Store { uid, set, unchanged_since, action, silent, flags })
    }

    fn transfer(&mut self, uid: bool) -> Parsed<Transfer> {
        let set = self.sequence_set()?;
        self.cursor.space()?;
        Ok(Transfer { uid, set, mailbox: self.mailbox()? })
    }

    pub(crate) fn sequence_set(&mut self) -> Parsed<SequenceSet> {
        let text = self.cursor.take_while(|b| b.is_ascii_digit() || matches!(b, b':' | b',' | b'*' | b'$'));
        SequenceSet::parse(text).ok_or(Refused::Bad(Bad::Number))
    }

    /// `flag-list`.
    pub(crate) fn flag_list(&mut self) -> Parsed<Vec<Flag>> {
        Ok(unique(self.cursor.list(limits::FLAGS, flag)?))
    }

    /// `flag *(SP flag)`: STORE without parentheses.
    fn bare_flags(&mut self) -> Parsed<Vec<Flag>> {
        let mut flags = vec![flag(&mut self.cursor)?];
        while self.cursor.eat(b' ') {
            if flags.len() >= limits::FLAGS {
                return Err(Refused::Limit("too many flags"));
            }
            flags.push(flag(&mut self.cursor)?);
        }
        Ok(unique(flags))
    }

    /// `mailbox` (RFC 9051 5.1).
    pub(crate) fn mailbox(&mut self) -> Parsed<Mailbox> {
        let text = self.cursor.astring()?;
        Ok(self.named(&text))
    }

    fn named(&self, text: &[u8]) -> Mailbox {
        let name = self.name_text(text).and_then(|name| MailboxName::new(&name).ok());
        name.map_or(Mailbox::Impossible, Mailbox::Named)
    }

    fn name_text(&self, text: &[u8]) -> Option<String> {
        if self.mode.utf8_names { std::str::from_utf8(text).ok().map(str::to_owned) } else { utf7::decode(text) }
    }

    /// A reference or a pattern of LIST. What cannot be decoded can match nothing, which a control character stands for.
    pub(crate) fn pattern_text(&mut self) -> Parsed<String> {
        let text = self.cursor.list_mailbox()?;
        if text.len() > limits::PATTERN {
            return Err(Refused::Limit("pattern too long"));
        }
        Ok(self.name_text(&text).unwrap_or_else(|| "\u{1}".to_owned()))
    }
}

/// One flag as a client may set it; none for `\Recent`.
fn flag(cursor: &mut Cursor<'_>) -> Parsed<Option<Flag>> {
    if cursor.eat(b'\\') {
        return match Flag::from_backslash(cursor.atom()?) {
            Backslash::Flag(flag) => Ok(Some(flag)),
            Backslash::Recent => Ok(None),
            Backslash::Unknown => Err(Bad::Flag.into()),
        };
    }
    let atom = cursor.take_while(is_atom_char);
    let keyword = std::str::from_utf8(atom).ok().and_then(Keyword::new);
    keyword.map(|keyword| Some(Flag::Keyword(keyword))).ok_or(Refused::Bad(Bad::Flag))
}

fn unique(flags: Vec<Option<Flag>>) -> Vec<Flag> {
    let mut out: Vec<Flag> = flags.into_iter().flatten().collect();
    out.sort();
    out.dedup();
    out
}

pub(crate) fn status_item(cursor: &mut Cursor<'_>) -> Parsed<StatusItem> {
    Ok(match cursor.name(limits::NAME)?.as_str() {
        "MESSAGES" => StatusItem::Messages,
        "RECENT" => StatusItem::Recent,
        "UIDNEXT" => StatusItem::UidNext,
        "UIDVALIDITY" => StatusItem::UidValidity,
        "UNSEEN" => StatusItem::Unseen,
        "DELETED" => StatusItem::Deleted,
        "SIZE" => StatusItem::Size,
        "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
        "MAILBOXID" => StatusItem::MailboxId,
        "APPENDLIMIT" => StatusItem::AppendLimit,
        _ => return Err(Bad::Syntax.into()),
    })
}

#[cfg(test)]
mod tests;
