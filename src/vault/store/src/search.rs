//! Search programs: checked, then run message by message, cheap keys first.
//!
//! A message is first judged by what stands in its membership row. Only when that does not decide is its text read, and then the keys
//! are tried in an order that leaves out as many as possible.

use crate::{
    account::{Account, unpack},
    error::Result,
    limits::{MAX_TEXT_KEY, MAX_TEXT_KEYS, SEARCH_STEP, SEARCH_TEXT_STEP},
    trigram::{self, Candidates},
    uids,
};
use memchr::memmem::Finder;
use pure_index::fold;
use rusqlite::params;
use wire::edge::store_session::{Refusal, SearchKey, SystemFlags, UidRange};

/// A program that is well-formed.
#[derive(Debug)]
pub(crate) struct Program {
    /// In postfix order, as it came.
    nodes: Vec<Node>,
    /// The same with jumps, for one message after the other.
    code: Vec<Op>,
    /// UIDs beyond these cannot match.
    pub(crate) within: Vec<UidRange>,
    pub(crate) needs_text: bool,
    needs_body: bool,
    needs_thread: bool,
    /// What every match contains, as a query of the text index.
    pub(crate) contains: Option<String>,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf(Leaf),
    Not,
    And,
    Or,
}

#[derive(Debug, Clone)]
enum Leaf {
    All,
    Uid(Vec<UidRange>),
    Flags(SystemFlags),
    /// Its number; none when no message can have it.
    Keyword(Option<u16>),
    ReceivedSince(i64),
    ReceivedBefore(i64),
    SentSince(i64),
    SentBefore(i64),
    Larger(u64),
    Smaller(u64),
    ModSeq(u64),
    Email(u64),
    Thread(u64),
    Header(String, Box<Finder<'static>>),
    Body(Box<Finder<'static>>),
    Text(Box<Finder<'static>>),
}

impl Leaf {
    fn is_text(&self) -> bool {
        matches!(self, Self::Header(..) | Self::Body(_) | Self::Text(_) | Self::Thread(_))
    }

    /// The text that a match contains; its finder looks for UTF-8.
    fn contains(&self) -> Option<String> {
        match self {
            Self::Header(_, finder) | Self::Body(finder) | Self::Text(finder) => String::from_utf8(finder.needle().to_vec()).ok(),
            _ => None,
        }
    }
}

/// One step of the code; the result so far is in one register.
#[derive(Debug, Clone)]
enum Op {
    Test(Leaf),
    Not,
    /// Skips that many steps when the register is so.
    Skip(bool, usize),
}

/// A piece of code that leaves its result in the register.
#[derive(Debug)]
struct Piece {
    code: Vec<Op>,
    text: bool,
    /// Within `And`s alone from the root: what it restricts UIDs to.
    within: Option<Vec<UidRange>>,
    /// Likewise: a text that every match contains, folded.
    contains: Option<String>,
}

impl Program {
    /// Checks a program (every operator finds its operands, exactly one result is left) and prepares it for one account.
    pub(crate) fn compile(keys: &[SearchKey], account: &Account) -> std::result::Result<Self, Refusal> {
        let mut nodes = Vec::new();
        let mut stack: Vec<Piece> = Vec::new();
        let mut texts = 0usize;
        for key in keys {
            let node = Node::new(key, account)?;
            let piece = match &node {
                Node::Leaf(leaf) => {
                    texts = texts.saturating_add(usize::from(leaf.is_text()));
                    let within = if let Leaf::Uid(ranges) = leaf { Some(ranges.clone()) } else { None };
                    Piece { text: leaf.is_text(), code: vec![Op::Test(leaf.clone())], within, contains: leaf.contains() }
                }
                Node::Not => {
                    let mut piece = stack.pop().ok_or(Refusal::Malformed)?;
                    piece.code.push(Op::Not);
                    Piece { within: None, contains: None, ..piece }
                }
                Node::And | Node::Or => {
                    let (b, a) = (stack.pop().ok_or(Refusal::Malformed)?, stack.pop().ok_or(Refusal::Malformed)?);
                    join(a, b, matches!(node, Node::And))
                }
            };
            stack.push(piece);
            nodes.push(node);
        }
        let whole = stack.pop().filter(|_| stack.is_empty()).ok_or(Refusal::Malformed)?;
        if texts > MAX_TEXT_KEYS {
            return Err(Refusal::Limit);
        }
        let leaves = || nodes.iter().filter_map(|n| if let Node::Leaf(leaf) = n { Some(leaf) } else { None });
        Ok(Self {
            needs_body: leaves().any(|l| matches!(l, Leaf::Body(_) | Leaf::Text(_))),
            needs_thread: leaves().any(|l| matches!(l, Leaf::Thread(_))),
            contains: whole.contains.as_deref().and_then(trigram::query),
            needs_text: whole.text,
            within: whole.within.unwrap_or_else(|| vec![UidRange { first: 1, last: u32::MAX }]),
            code: whole.code,
            nodes,
        })
    }

    /// What the row alone decides, if it does: three-valued logic over the program as it came.
    fn judge(&self, row: &Facts<'_>, stack: &mut Vec<Option<bool>>) -> Option<bool> {
        stack.clear();
        for node in &self.nodes {
            let value = match node {
                Node::Leaf(leaf) => row.test(leaf),
                Node::Not => stack.pop().flatten().map(|v| !v),
                Node::And | Node::Or => {
                    let (b, a) = (stack.pop().flatten(), stack.pop().flatten());
                    // The value that decides whatever the other is.
                    let deciding = matches!(node, Node::Or);
                    match (a, b) {
                        (Some(x), _) | (_, Some(x)) if x == deciding => Some(deciding),
                        (Some(_), Some(_)) => Some(!deciding),
                        _ => None,
                    }
                }
            };
            stack.push(value);
        }
        stack.pop().flatten()
    }

    /// The whole judgement, with the text.
    fn run(&self, row: &Facts<'_>, text: &Text<'_>) -> bool {
        let mut register = false;
        let mut at = 0usize;
        while let Some(op) = self.code.get(at) {
            at = at.saturating_add(1);
            match op {
                Op::Test(leaf) => register = row.test(leaf).unwrap_or_else(|| text.test(leaf)),
                Op::Not => register = !register,
                Op::Skip(when, steps) => {
                    if register == *when {
                        at = at.saturating_add(*steps);
                    }
                }
            }
        }
        register
    }
}

fn join(a: Piece, b: Piece, and: bool) -> Piece {
    // Whoever needs no text goes first.
    let (mut a, b) = if a.text && !b.text { (b, a) } else { (a, b) };
    let contains = match (a.contains, b.contains) {
        // The longer one rules out more.
        (Some(x), Some(y)) if and => Some(if x.len() < y.len() { y } else { x }),
        (x, y) if and => x.or(y),
        _ => None,
    };
    let within = match (a.within, b.within) {
        (Some(x), Some(y)) if and => Some(uids::intersect(&x, &y)),
        (Some(x), None) | (None, Some(x)) if and => Some(x),
        (Some(mut x), Some(y)) => {
            x.extend(y);
            Some(uids::normalise(x))
        }
        _ => None,
    };
    a.code.push(Op::Skip(!and, b.code.len()));
    a.code.extend(b.code);
    Piece { code: a.code, text: a.text || b.text, within, contains }
}

impl Node {
    fn new(key: &SearchKey, account: &Account) -> std::result::Result<Self, Refusal> {
        let finder = |text: &str| {
            if text.len() > MAX_TEXT_KEY { Err(Refusal::Limit) } else { Ok(Box::new(Finder::new(fold(text).as_bytes()).into_owned())) }
        };
        Ok(Self::Leaf(match key {
            SearchKey::Not => return Ok(Self::Not),
            SearchKey::And => return Ok(Self::And),
            SearchKey::Or => return Ok(Self::Or),
            SearchKey::All => Leaf::All,
            SearchKey::Uid(ranges) => {
                uids::check(ranges)?;
                Leaf::Uid(ranges.to_vec())
            }
            SearchKey::Flags(flags) => Leaf::Flags(*flags),
            SearchKey::Keyword(name) => Leaf::Keyword(account.keyword_number(name.as_str())),
            SearchKey::ReceivedSince(at) => Leaf::ReceivedSince(*at),
            SearchKey::ReceivedBefore(at) => Leaf::ReceivedBefore(*at),
            SearchKey::SentSince(at) => Leaf::SentSince(*at),
            SearchKey::SentBefore(at) => Leaf::SentBefore(*at),
            SearchKey::Larger(size) => Leaf::Larger(*size),
            SearchKey::Smaller(size) => Leaf::Smaller(*size),
            SearchKey::ModSeq(modseq) => Leaf::ModSeq(modseq.0),
            SearchKey::Email(id) => Leaf::Email(*id),
            SearchKey::Thread(id) => Leaf::Thread(*id),
            SearchKey::Header(name, text) => {
                if name.len() > MAX_TEXT_KEY {
                    return Err(Refusal::Limit);
                }
                Leaf::Header(fold(name), finder(text)?)
            }
            SearchKey::Body(text) => Leaf::Body(finder(text)?),
            SearchKey::Text(text) => Leaf::Text(finder(text)?),
        }))
    }
}

/// The membership row of one message.
struct Facts<'a> {
    uid: u32,
    email: u64,
    system: u8,
    keywords: Option<&'a [u8]>,
    modseq: u64,
    received_at: i64,
    /// By the clock of whoever wrote it: its day counts, wherever that was (RFC 9051 6.4.4).
    sent_at: Option<i64>,
    size: u64,
}

impl Facts<'_> {
    /// None when it takes more than the row.
    fn test(&self, leaf: &Leaf) -> Option<bool> {
        Some(match leaf {
            Leaf::All => true,
            Leaf::Uid(ranges) => uids::contains(ranges, self.uid),
            Leaf::Flags(flags) => SystemFlags(self.system).contains(*flags),
            Leaf::Keyword(number) => number.is_some_and(|number| unpack(self.keywords).any(|k| k == number)),
            Leaf::ReceivedSince(at) => self.received_at >= *at,
            Leaf::ReceivedBefore(at) => self.received_at < *at,
            Leaf::SentSince(at) => self.sent_at.is_some_and(|sent| sent >= *at),
            Leaf::SentBefore(at) => self.sent_at.is_some_and(|sent| sent < *at),
            Leaf::Larger(size) => self.size > *size,
            Leaf::Smaller(size) => self.size < *size,
            Leaf::ModSeq(modseq) => self.modseq >= *modseq,
            Leaf::Email(id) => self.email == *id,
            Leaf::Thread(_) | Leaf::Header(..) | Leaf::Body(_) | Leaf::Text(_) => return None,
        })
    }
}

/// What is read of a message when its row does not decide.
#[derive(Default)]
struct Text<'a> {
    headers: &'a str,
    body: &'a str,
    thread: u64,
}

impl Text<'_> {
    fn test(&self, leaf: &Leaf) -> bool {
        let holds = |finder: &Finder<'_>, text: &str| finder.find(text.as_bytes()).is_some();
        match leaf {
            Leaf::Header(name, finder) => {
                self.headers.lines().filter_map(|line| line.split_once(": ")).any(|(n, value)| n == name && holds(finder, value))
            }
            Leaf::Body(finder) => holds(finder, self.body),
            Leaf::Text(finder) => holds(finder, self.headers) || holds(finder, self.body),
            Leaf::Thread(id) => self.thread == *id,
            _ => false,
        }
    }
}

impl Account {
    /// Searches on from `first`; adds what matches to `found`. Returns the UID to go on from, none at the end.
    pub(crate) fn search(
        &mut self,
        mailbox: u32,
        program: &Program,
        candidates: &Candidates,
        first: u32,
        found: &mut Vec<UidRange>,
    ) -> Result<Option<u32>> {
        self.boxes.get(mailbox)?;
        let at = program.within.partition_point(|r| r.last < first);
        let Some(range) = program.within.get(at).copied() else { return Ok(None) };
        let mut statement = self.db.prepare_cached(
            "SELECT uid, email, system, keywords, modseq, received_at, sent_at, sent_zone, size FROM message
             WHERE mailbox = ? AND uid BETWEEN ? AND ? ORDER BY uid LIMIT ?",
        )?;
        let limit = i64::try_from(SEARCH_STEP).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![mailbox, range.first.max(first), range.last, limit])?;
        let (mut stack, mut seen, mut read, mut last) = (Vec::new(), 0usize, 0usize, None);
        while read < SEARCH_TEXT_STEP
            && let Some(row) = rows.next()?
        {
            let uid = row.get(0)?;
            (seen, last) = (seen.saturating_add(1), Some(uid));
            if candidates.rule_out(row.get(1)?) {
                continue;
            }
            // Neither is bounded: scan says what they are.
            let (sent_at, zone): (Option<i64>, i64) = (row.get(6)?, row.get(7)?);
            let facts = Facts {
                uid,
                email: row.get(1)?,
                system: row.get(2)?,
                keywords: row.get_ref(3)?.as_blob_or_null().unwrap_or_default(),
                modseq: row.get(4)?,
                received_at: row.get(5)?,
                sent_at: sent_at.map(|at| at.saturating_add(zone)),
                size: row.get(8)?,
            };
            let matches = match program.judge(&facts, &mut stack) {
                Some(known) => known,
                None => {
                    read = read.saturating_add(1);
                    self.judge_text(program, &facts)?
                }
            };
            if matches {
                uids::push(found, uid);
            }
        }
        Ok(match last {
            Some(last) if seen >= SEARCH_STEP || read >= SEARCH_TEXT_STEP => last.checked_add(1),
            // This range is done.
            _ => range.last.checked_add(1).filter(|_| program.within.get(at.saturating_add(1)).is_some()),
        })
    }

    fn judge_text(&self, program: &Program, facts: &Facts<'_>) -> Result<bool> {
        let email = i64::try_from(facts.email).unwrap_or(0);
        let thread = if program.needs_thread {
            self.db.prepare_cached("SELECT thread FROM email WHERE id = ?")?.query_row([email], |r| r.get(0))?
        } else {
            0
        };
        let sql = if program.needs_body {
            "SELECT headers, body FROM search WHERE email = ?"
        } else {
            "SELECT headers, '' FROM search WHERE email = ?"
        };
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([email])?;
        match rows.next()? {
            Some(row) => {
                let text = Text {
                    headers: row.get_ref(0)?.as_str().unwrap_or_default(),
                    body: row.get_ref(1)?.as_str().unwrap_or_default(),
                    thread,
                };
                Ok(program.run(facts, &text))
            }
            None => Ok(program.run(facts, &Text { thread, ..Text::default() })),
        }
    }
}
