//! What a client can ask, as data.

use crate::{Date, DateTime, Flag, Section, SequenceSet};
use pure_addr::MailboxName;
use pure_sasl::Secret;
use std::fmt;

/// A tag (RFC 9051 2.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub(crate) String);

impl Tag {
    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mailbox as the client named it. A name that no mailbox can have is kept apart, because the answer depends on the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mailbox {
    /// A possible name.
    Named(MailboxName),
    /// Not a possible name; also malformed modified UTF-7.
    Impossible,
}

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// RFC 9051 6.1.1.
    Capability,
    /// RFC 9051 6.1.2.
    Noop,
    /// RFC 9051 6.1.3.
    Logout,
    /// RFC 9051 6.2.1.
    StartTls,
    /// RFC 9051 6.2.2.
    Authenticate {
        /// In capitals.
        mechanism: String,
        /// RFC 4959: the initial response as it was written, in base64 or `=`.
        initial: Option<Secret>,
    },
    /// RFC 9051 6.2.3.
    Login {
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// RFC 2971.
    Id(Vec<(String, Option<String>)>),
    /// RFC 5161; names in capitals.
    Enable(Vec<String>),
    /// RFC 9051 6.3.10.
    Namespace,
    /// RFC 9051 6.3.9.
    List(List),
    /// RFC 3501 6.3.9.
    Lsub {
        /// Comes in front of the pattern.
        reference: String,
        /// With wildcards.
        pattern: String,
    },
    /// RFC 9051 6.3.4, RFC 6154 3.
    Create {
        /// Without a trailing separator.
        mailbox: Mailbox,
        /// `USE` attributes in capitals with their backslash.
        special_use: Vec<String>,
    },
    /// RFC 9051 6.3.5.
    Delete(Mailbox),
    /// RFC 9051 6.3.6.
    Rename {
        /// The name now.
        from: Mailbox,
        /// The name wished.
        to: Mailbox,
    },
    /// RFC 9051 6.3.7.
    Subscribe(Mailbox),
    /// RFC 9051 6.3.8.
    Unsubscribe(Mailbox),
    /// RFC 9051 6.3.11.
    Status {
        /// Which.
        mailbox: Mailbox,
        /// What about it.
        items: Vec<StatusItem>,
    },
    /// RFC 9051 6.3.2 and 6.3.3.
    Select(Select),
    /// RFC 3501 6.4.1.
    Check,
    /// RFC 9051 6.4.1.
    Close,
    /// RFC 9051 6.4.2.
    Unselect,
    /// RFC 9051 6.4.3.
    Expunge,
    /// RFC 4315 2.1.
    UidExpunge(SequenceSet),
    /// RFC 9051 6.4.4.
    Search(Search),
    /// RFC 5256 BASE.6.4.SORT.
    Sort {
        /// Most significant first.
        keys: Vec<SortKey>,
        /// Which messages; its `returns` are always none.
        search: Search,
    },
    /// RFC 5256 BASE.6.4.THREAD.
    Thread {
        /// How.
        algorithm: ThreadAlgorithm,
        /// Which messages; its `returns` are always none.
        search: Search,
    },
    /// RFC 9051 6.4.5.
    Fetch(Fetch),
    /// RFC 9051 6.4.6.
    Store(Store),
    /// RFC 9051 6.4.7.
    Copy(Transfer),
    /// RFC 9051 6.4.8.
    Move(Transfer),
    /// RFC 9051 6.3.13.
    Idle,
    /// RFC 9208 4.1.2.
    GetQuota(String),
    /// RFC 9208 4.1.3.
    GetQuotaRoot(Mailbox),
}

/// The command line of APPEND up to its first message (RFC 9051 6.3.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub mailbox: Mailbox,
    /// The first message.
    pub message: AppendMessage,
}

/// What is said about one message of APPEND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendMessage {
    /// Flags to set.
    pub flags: Vec<Flag>,
    /// INTERNALDATE to set.
    pub date: Option<DateTime>,
    /// Inside `UTF8 (...)` (RFC 6855 4): a closing parenthesis follows the literal.
    pub utf8: bool,
}

/// LIST with the options of RFC 5258, RFC 5819, RFC 6154 and RFC 8440.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Whether options, several patterns or RETURN were written: then the answer is an extended one.
    pub extended: bool,
    /// Select: subscribed mailboxes.
    pub select_subscribed: bool,
    /// Select: those with a special use.
    pub select_special_use: bool,
    /// Select: parents of what matches too.
    pub recursive_match: bool,
    /// Return: whether subscribed.
    pub return_subscribed: bool,
    /// Return: whether there are children.
    pub return_children: bool,
    /// Return: the special use.
    pub return_special_use: bool,
    /// Return: status items; empty for none.
    pub return_status: Vec<StatusItem>,
    /// In front of each pattern.
    pub reference: String,
    /// Patterns.
    pub patterns: Vec<String>,
}

/// `status-att` (RFC 9051 9; RFC 7162, RFC 8438, RFC 8474, RFC 7889).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusItem {
    /// Messages.
    Messages,
    /// RFC 3501: always 0 here.
    Recent,
    /// Next UID.
    UidNext,
    /// UIDVALIDITY.
    UidValidity,
    /// Messages without `\Seen`.
    Unseen,
    /// Messages with `\Deleted`.
    Deleted,
    /// Bytes of all messages.
    Size,
    /// RFC 7162 3.1.7.
    HighestModSeq,
    /// RFC 8474 4.2.
    MailboxId,
    /// RFC 7889 2.
    AppendLimit,
}

/// SELECT or EXAMINE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// Which.
    pub mailbox: Mailbox,
    /// EXAMINE.
    pub read_only: bool,
    /// RFC 7162 3.1.8.
    pub condstore: bool,
    /// RFC 7162 3.2.5.
    pub qresync: Option<QResync>,
}

/// What the client remembers of a mailbox (RFC 7162 3.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QResync {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// Last known modseq.
    pub modseq: u64,
    /// UIDs it knows.
    pub known_uids: Option<SequenceSet>,
    /// Sequence numbers and the UIDs they had.
    pub match_data: Option<(SequenceSet, SequenceSet)>,
}

/// SEARCH, and the selection of SORT and THREAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// UID form.
    pub uid: bool,
    /// RFC 4731: none for the old answer.
    pub returns: Option<SearchReturn>,
    /// In reverse Polish notation; never empty, and leaves exactly one value.
    pub program: Vec<SearchKey>,
}

/// `RETURN (...)` (RFC 9051 6.4.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchReturn {
    /// Smallest.
    pub min: bool,
    /// Largest.
    pub max: bool,
    /// All as a set.
    pub all: bool,
    /// How many.
    pub count: bool,
    /// Remember as `$`.
    pub save: bool,
}

/// One node of a search program. Operators take their operands from what was computed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// The two values before.
    And,
    /// Either of the two values before.
    Or,
    /// Not the value before.
    Not,
    /// Every message.
    All,
    /// No message: RECENT and NEW, since `\Recent` is never set here.
    Nothing,
    /// Has the flag.
    Flag(Flag),
    /// Sequence numbers.
    Sequence(SequenceSet),
    /// UIDs.
    Uid(SequenceSet),
    /// INTERNALDATE before the day.
    Before(Date),
    /// INTERNALDATE on the day.
    On(Date),
    /// INTERNALDATE on the day or later.
    Since(Date),
    /// `Date` before the day.
    SentBefore(Date),
    /// `Date` on the day.
    SentOn(Date),
    /// `Date` on the day or later.
    SentSince(Date),
    /// More bytes.
    Larger(u64),
    /// Fewer bytes.
    Smaller(u64),
    /// Substring of From.
    From(String),
    /// Substring of To.
    To(String),
    /// Substring of Cc.
    Cc(String),
    /// Substring of Bcc.
    Bcc(String),
    /// Substring of Subject.
    Subject(String),
    /// Field name and substring; the empty substring is any value.
    Header(String, String),
    /// Substring of the body.
    Body(String),
    /// Substring of header or body.
    Text(String),
    /// Changed at this modseq or later (RFC 7162 3.1.5).
    ModSeq(u64),
    /// INTERNALDATE at least so many seconds ago (RFC 5032).
    Older(u32),
    /// INTERNALDATE at most so many seconds ago (RFC 5032).
    Younger(u32),
    /// RFC 8474 5.3.
    EmailId(String),
    /// RFC 8474 5.3.
    ThreadId(String),
}

/// One sort key (RFC 5256 BASE.6.4.SORT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// Largest first.
    pub reverse: bool,
    /// By what.
    pub by: SortBy,
}

/// What to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// INTERNALDATE.
    Arrival,
    /// First Cc mailbox.
    Cc,
    /// `Date`, INTERNALDATE when there is none.
    Date,
    /// First From mailbox.
    From,
    /// Bytes.
    Size,
    /// Base subject.
    Subject,
    /// First To mailbox.
    To,
}

/// RFC 5256 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    /// By base subject.
    OrderedSubject,
    /// By message identifiers.
    References,
}

/// FETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// UID form.
    pub uid: bool,
    /// Which.
    pub set: SequenceSet,
    /// What; macros expanded.
    pub items: Vec<FetchItem>,
    /// RFC 7162 3.1.4.1.
    pub changed_since: Option<u64>,
    /// RFC 7162 3.2.6.
    pub vanished: bool,
}

/// A part of what a FETCH asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    /// ENVELOPE.
    Envelope,
    /// FLAGS.
    Flags,
    /// INTERNALDATE.
    InternalDate,
    /// RFC822.SIZE.
    Size,
    /// UID.
    Uid,
    /// BODY without a section.
    Body,
    /// BODYSTRUCTURE.
    BodyStructure,
    /// MODSEQ (RFC 7162 3.1.4.2).
    ModSeq,
    /// EMAILID (RFC 8474 5.1).
    EmailId,
    /// THREADID (RFC 8474 5.2).
    ThreadId,
    /// RFC822 (RFC 3501 6.4.5).
    Rfc822,
    /// RFC822.HEADER (RFC 3501 6.4.5); sets no flag.
    Rfc822Header,
    /// RFC822.TEXT (RFC 3501 6.4.5).
    Rfc822Text,
    /// BODY[...] and BODY.PEEK[...].
    Section {
        /// Which bytes.
        section: Section,
        /// Which of them.
        partial: Option<Partial>,
        /// Without setting `\Seen`.
        peek: bool,
    },
    /// BINARY[...] and BINARY.PEEK[...] (RFC 9051 6.4.5.1).
    Binary {
        /// Which part.
        path: Vec<u32>,
        /// Which of its decoded bytes.
        partial: Option<Partial>,
        /// Without setting `\Seen`.
        peek: bool,
    },
    /// BINARY.SIZE[...].
    BinarySize(Vec<u32>),
}

/// `<start.len>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// First byte.
    pub start: u32,
    /// At most so many; never zero.
    pub len: u32,
}

/// STORE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// UID form.
    pub uid: bool,
    /// Which.
    pub set: SequenceSet,
    /// RFC 7162 3.1.3.
    pub unchanged_since: Option<u64>,
    /// Replace, add or remove.
    pub action: StoreAction,
    /// Without untagged answers.
    pub silent: bool,
    /// Which flags.
    pub flags: Vec<Flag>,
}

/// What STORE does with its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAction {
    /// `FLAGS`.
    Replace,
    /// `+FLAGS`.
    Add,
    /// `-FLAGS`.
    Remove,
}

/// COPY or MOVE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// UID form.
    pub uid: bool,
    /// Which.
    pub set: SequenceSet,
    /// Where to.
    pub mailbox: Mailbox,
}
