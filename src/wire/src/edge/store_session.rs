//! imap -> store, on the socket that a login returned: the mailboxes of one account. The socket says whose; no request does.
//!
//! Use [`crate::Session`] and [`crate::Served`]: one request at a time, answers in parts, events in between.
//! Messages are named by mailbox number and UID; sequence numbers are the front end's own affair.

use crate::{Edge, List};
use pure_addr::{MailboxName, Text};
use pure_index::{MAX_REFERENCES, bounded};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// See the module.
#[derive(Debug)]
pub struct StoreSession;

/// UID ranges in one frame.
pub const MAX_RANGES: usize = 8_192;
/// Rows in one frame.
pub const MAX_ROWS: usize = 512;
/// Keywords on one message.
pub const MAX_KEYWORDS: usize = 64;
/// Messages in one APPEND command.
pub const MAX_APPEND: usize = 16;
/// Nodes of a search program.
pub const MAX_SEARCH: usize = 1_000;
/// Mailboxes of one account.
pub const MAX_MAILBOXES: usize = 5_000;
/// Names of one account that are subscribed to and have no mailbox any more.
pub const MAX_SUBSCRIPTIONS: usize = 5_000;

impl Edge for StoreSession {
    const NAME: &'static str = "store-session";
    const MAX_BODY: usize = 4 * 1024 * 1024;
    const MAX_FDS: usize = 32;
    // A search may read every message of a large mailbox before its first part.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
    type Request = Request;
    type Response = Response;
    type Event = Event;
}

/// Number of a mailbox within its account, never reused; also its UIDVALIDITY's partner (a re-created mailbox has another number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MailboxId(pub u32);

/// Modification sequence (RFC 7162 3.1); one counter per account, so also JMAP's state. Below 2^63.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModSeq(pub u64);

/// UIDs from `first` to `last`, both included, `first` <= `last`, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UidRange {
    /// Lowest.
    pub first: u32,
    /// Highest.
    pub last: u32,
}

/// Ascending ranges that do not touch.
pub type Uids = List<UidRange, MAX_RANGES>;

/// System flags as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SystemFlags(pub u8);

impl SystemFlags {
    /// `\Seen`.
    pub const SEEN: Self = Self(1);
    /// `\Answered`.
    pub const ANSWERED: Self = Self(2);
    /// `\Flagged`.
    pub const FLAGGED: Self = Self(4);
    /// `\Deleted`.
    pub const DELETED: Self = Self(8);
    /// `\Draft`.
    pub const DRAFT: Self = Self(16);

    /// Whether all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of `self` that are not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// System flags and keywords. Keywords keep their case and are equal without it (RFC 9051 2.3.2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// The five of RFC 9051.
    pub system: SystemFlags,
    /// Atoms such as `$Junk`.
    pub keywords: List<Text<64>, MAX_KEYWORDS>,
}

/// RFC 6154 and RFC 8621 2 roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Where mail arrives.
    Inbox,
    /// `\Archive`.
    Archive,
    /// `\Drafts`.
    Drafts,
    /// `\Flagged`.
    Flagged,
    /// `\Junk`.
    Junk,
    /// `\Sent`.
    Sent,
    /// `\Trash`.
    Trash,
    /// `\Important`.
    Important,
    /// `\All`.
    All,
}

/// A mailbox as LIST and STATUS see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Its number.
    pub id: MailboxId,
    /// Its path.
    pub name: MailboxName,
    /// Its role.
    pub role: Option<Role>,
    /// SUBSCRIBE.
    pub subscribed: bool,
    /// Whether messages may be in it; false for a mere level of the hierarchy.
    pub selectable: bool,
    /// UIDVALIDITY, never 0.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// Messages.
    pub messages: u32,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// Bytes of all messages.
    pub size: u64,
    /// HIGHESTMODSEQ.
    pub highest_modseq: ModSeq,
}

/// What a row of FETCH shall hold; bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want(pub u16);

impl Want {
    /// [`Row::flags`].
    pub const FLAGS: Self = Self(1);
    /// [`Row::received_at`].
    pub const DATE: Self = Self(2);
    /// [`Row::size`].
    pub const SIZE: Self = Self(4);
    /// [`Row::envelope`].
    pub const ENVELOPE: Self = Self(8);
    /// [`Row::structure`].
    pub const STRUCTURE: Self = Self(16);
    /// [`Row::body`].
    pub const BODY: Self = Self(32);
    /// [`Row::email`] and [`Row::thread`].
    pub const IDS: Self = Self(64);
    /// [`Row::sort`].
    pub const SORT: Self = Self(128);
    /// [`Row::preview`].
    pub const PREVIEW: Self = Self(256);
    /// [`Row::sent_at`].
    pub const SENT: Self = Self(512);

    /// Whether all of `other` are wanted.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where the bytes of a message are: in a descriptor of the same frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRef {
    /// Index among the frame's descriptors; several rows may share one.
    pub fd: u8,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
}

/// One message of a FETCH.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// UID.
    pub uid: u32,
    /// MODSEQ.
    pub modseq: ModSeq,
    /// Of SetFlags: the MODSEQ before it, the same as `modseq` when nothing changed.
    pub before: Option<ModSeq>,
    /// FLAGS.
    pub flags: Option<Flags>,
    /// INTERNALDATE, seconds since 1970 UTC.
    pub received_at: Option<i64>,
    /// RFC822.SIZE.
    pub size: Option<u32>,
    /// [`pure_index::Envelope`], encoded with [`crate::encode`]: the store passes it on unread.
    pub envelope: Option<ByteBuf>,
    /// [`pure_index::Structure`], encoded likewise.
    pub structure: Option<ByteBuf>,
    /// The message.
    pub body: Option<BodyRef>,
    /// EMAILID (RFC 8474), a number within the account.
    pub email: Option<u64>,
    /// THREADID.
    pub thread: Option<u64>,
    /// The `Date` field, or INTERNALDATE when it cannot be read (RFC 5256 2.2), seconds since 1970 UTC.
    pub sent_at: Option<i64>,
    /// [`SortKeys`], encoded likewise.
    pub sort: Option<ByteBuf>,
    /// PREVIEW (RFC 8970).
    pub preview: Option<String>,
}

/// What SORT and THREAD compare (RFC 5256), decoded and folded. Whoever only looks takes it as it stands in the frame, `SortKeys<&str>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: Deserialize<'de>"))]
pub struct SortKeys<S = String> {
    /// `Date`, 0 when unreadable; what is sorted by is [`Row::sent_at`].
    pub sent_at: i64,
    /// Base subject (RFC 5256 2.1).
    pub subject: S,
    /// Mailbox of the first From, To and Cc address.
    pub from: S,
    /// See `from`.
    pub to: S,
    /// See `from`.
    pub cc: S,
    /// Message-ID.
    pub message_id: S,
    /// References, oldest first.
    #[serde(deserialize_with = "bounded::<_, _, MAX_REFERENCES>")]
    pub references: Vec<S>,
}

/// How flags change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagChange {
    /// `+FLAGS`.
    Add,
    /// `-FLAGS`.
    Remove,
    /// `FLAGS`.
    Replace,
}

/// One message to append; its bytes are in the descriptor of the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE; now when absent.
    pub received_at: Option<i64>,
}

/// A search in postfix order: operands push one result, [`SearchKey::Not`] replaces the top, the other operators take two and push
/// one. A well-formed program leaves exactly one. Texts are folded by [`pure_index::fold`] and match as substrings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SearchKey {
    /// Every message.
    All,
    /// UID in any of these.
    Uid(Uids),
    /// Every one of these flags is set.
    Flags(SystemFlags),
    /// A keyword is set.
    Keyword(Text<64>),
    /// INTERNALDATE at or after this second.
    ReceivedSince(i64),
    /// INTERNALDATE before this second.
    ReceivedBefore(i64),
    /// `Date` at or after this second of the clock by which it was written, as if that were UTC.
    SentSince(i64),
    /// `Date` before this second, likewise.
    SentBefore(i64),
    /// More bytes than this.
    Larger(u64),
    /// Fewer bytes than this.
    Smaller(u64),
    /// A header field of this name (lower-case) holds the text; an empty text: the field exists.
    Header(String, String),
    /// The decoded text of the body holds it.
    Body(String),
    /// Header or body hold it.
    Text(String),
    /// MODSEQ at least this.
    ModSeq(ModSeq),
    /// EMAILID.
    Email(u64),
    /// THREADID.
    Thread(u64),
    /// Not the top.
    Not,
    /// Both of the top two.
    And,
    /// Either of the top two.
    Or,
}

/// What a session may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Every mailbox: [`Response::Mailboxes`] and [`Response::Subscriptions`] in parts, then `Done`.
    Mailboxes,
    /// One mailbox: [`Response::Mailbox`] or [`Refusal::NoSuchMailbox`].
    Mailbox(MailboxName),
    /// A new mailbox and the levels above it: `Mailbox`.
    Create {
        /// Its path.
        name: MailboxName,
        /// Its role; a role that is taken moves here only if `AlreadyExists` does not apply.
        role: Option<Role>,
    },
    /// Ends a mailbox with its messages; one with children stays as a mere level: `Done`.
    Delete(MailboxName),
    /// Renames it and everything below; INBOX stays and its messages move (RFC 9051 6.3.6): `Done`.
    Rename {
        /// What.
        from: MailboxName,
        /// To which free name.
        to: MailboxName,
    },
    /// The mark of SUBSCRIBE; a name without mailbox is `NoSuchMailbox`: `Done`.
    Subscribe {
        /// Which.
        name: MailboxName,
        /// On or off.
        on: bool,
    },
    /// All UIDs of a mailbox: [`Response::Uids`] in parts; the last part is [`Response::Mailbox`]. Also starts its events and
    /// ends those of the mailbox opened before.
    Open(MailboxName),
    /// Ends the events of the open mailbox: `Done`.
    Close,
    /// What happened in a mailbox after `since`: `Vanished` and `Rows` (flags and modseq; new messages among them) in parts; the last part
    /// is `Mailbox`.
    Changes {
        /// Where.
        mailbox: MailboxId,
        /// The highest modseq the client knows.
        since: ModSeq,
    },
    /// Rows, by ascending UID, in parts: `Rows`; the last part is `Done`. UIDs that do not exist are left out.
    Fetch {
        /// Where.
        mailbox: MailboxId,
        /// Which.
        uids: Uids,
        /// Only those changed after this.
        changed_since: Option<ModSeq>,
        /// What.
        want: Want,
    },
    /// Changes flags, of some thousand messages at a time: `Rows` (flags and modseq of every message that changed; with `unchanged_since`, of
    /// every one that was looked at) in parts, `Modified` for those `unchanged_since` kept back; the last part is `Done`. When it is refused
    /// in the middle, what was told is done.
    SetFlags {
        /// Where.
        mailbox: MailboxId,
        /// Which.
        uids: Uids,
        /// How.
        change: FlagChange,
        /// What.
        flags: Flags,
        /// RFC 7162 3.1.3.
        unchanged_since: Option<ModSeq>,
    },
    /// Copies messages, or moves them: [`Response::Copied`]. All or none.
    Copy {
        /// From where.
        mailbox: MailboxId,
        /// Which.
        uids: Uids,
        /// To where.
        to: MailboxName,
        /// Remove them here in the same transaction (RFC 6851).
        r#move: bool,
    },
    /// Removes messages with `\Deleted`: [`Response::Vanished`] in parts; the last part is `Done`.
    Expunge {
        /// Where.
        mailbox: MailboxId,
        /// Only among these.
        uids: Option<Uids>,
    },
    /// Adds messages, one descriptor each; all or none: [`Response::Appended`].
    Append {
        /// To where.
        to: MailboxName,
        /// What.
        messages: List<Append, MAX_APPEND>,
    },
    /// Which messages match: [`Response::Uids`] in parts; the last part is `Done`.
    Search {
        /// Where.
        mailbox: MailboxId,
        /// What.
        program: List<SearchKey, MAX_SEARCH>,
    },
    /// [`Response::Quota`].
    Quota,
}

/// What the store may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Some of the mailboxes, by name.
    Mailboxes(List<Mailbox, 256>),
    /// One.
    Mailbox(Box<Mailbox>),
    /// UIDs, ascending over all parts.
    Uids(Uids),
    /// Rows, ascending over all parts.
    Rows(List<Row, MAX_ROWS>),
    /// UIDs that are gone.
    Vanished(Uids),
    /// UIDs that were changed by someone else meanwhile.
    Modified(Uids),
    /// COPYUID (RFC 4315): the n-th UID of `from` became the n-th of `to`. `from` are only those that existed.
    Copied {
        /// Of the target.
        uid_validity: u32,
        /// Here.
        from: Uids,
        /// There.
        to: Uids,
    },
    /// APPENDUID (RFC 4315).
    Appended {
        /// Of the target.
        uid_validity: u32,
        /// One UID for each message, in order; consecutive.
        uids: UidRange,
    },
    /// The account's limits.
    Quota {
        /// Bytes stored.
        used: u64,
        /// Bytes allowed.
        limit: Option<u64>,
        /// Messages stored.
        messages: u64,
    },
    /// The end of an answer.
    Done,
    /// It was not done; nothing has changed.
    Refused(Refusal),
    /// Some of the names that are subscribed to and have no mailbox any more (RFC 9051 6.3.7).
    Subscriptions(List<MailboxName, 256>),
}

/// Why a request was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// `[NONEXISTENT]`, or `[TRYCREATE]` for a target.
    NoSuchMailbox,
    /// `[ALREADYEXISTS]`.
    AlreadyExists,
    /// `[CANNOT]`: INBOX cannot be deleted, a mailbox cannot move below itself.
    Cannot,
    /// `[OVERQUOTA]`.
    OverQuota,
    /// `[LIMIT]`: mailboxes, keywords or messages.
    Limit,
    /// `[UNAVAILABLE]` or `[SERVERBUG]`: disk, database or scan.
    Unavailable,
    /// A search program that is not well-formed, or UIDs that are not ascending.
    Malformed,
}

/// What the store says unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The open mailbox has changes up to this; ask for them with [`Request::Changes`]. Not sent for the session's own changes that
    /// were fully told in an answer, though it may be.
    Changed(MailboxId, ModSeq),
    /// The open mailbox was deleted.
    Gone(MailboxId),
}
