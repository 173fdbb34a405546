//! Every limit of the store.

use std::time::Duration;

/// Accounts whose database is open at a time; the least recently used is closed for another.
pub const MAX_OPEN_ACCOUNTS: usize = 1_024;
/// An account nobody has used for this long is closed.
pub const IDLE_ACCOUNT: Duration = Duration::from_secs(20);
/// The same while more than [`CROWD`] are open: each costs about 300 KiB.
pub const IDLE_IN_CROWD: Duration = Duration::from_secs(3);
/// Open accounts that are no crowd yet.
pub const CROWD: usize = 64;
/// Bytes of a write-ahead log that are worth a checkpoint when the account is closed; the next opening reads what is left.
pub const WAL_TIDY: u64 = 256 * 1024;
/// How often the store looks for idle accounts, expired garbage and changes that nobody has asked to sync.
pub const HOUSEKEEPING: Duration = Duration::from_secs(3);
/// KiB of database pages one open account may cache.
pub const PAGE_CACHE_KIB: i64 = 128;
/// Prepared statements one open account keeps.
pub const STATEMENTS: usize = 64;
/// Bytes of a write-ahead log after which it is checkpointed.
pub const WAL_CHECKPOINT: u64 = 4 * 1024 * 1024;
/// Pages of a write-ahead log at which SQLite itself checkpoints within a commit, should ours come too late.
pub const WAL_BACKSTOP_PAGES: i64 = 8_192;

/// Bytes after which a segment gets a successor. One message may be larger and then has a segment of its own.
pub const SEGMENT: u64 = 64 * 1024 * 1024;
/// Messages up to this many bytes are read before the account is locked, larger ones are copied in pieces.
pub const INLINE_MESSAGE: u64 = 256 * 1024;
/// Bytes of one such piece.
pub const COPY_PIECE: usize = 256 * 1024;
/// Descriptors of segments one open account keeps.
pub const MAX_READERS: usize = 64;
/// Seconds between an expunge and the release of the bytes: a session may still be sending them.
pub const GARBAGE_GRACE: i64 = 15 * 60;
/// Bytes of garbage that are released at once, but for those that a session may be sending.
pub const MAX_GARBAGE: u64 = 256 * 1024 * 1024;
/// Bytes of garbage at which sessions that read end, so that appending, reading and expunging in turn cannot fill the disk.
pub const TOO_MUCH_GARBAGE: u64 = 4 * MAX_GARBAGE;

/// Deliveries in one transaction.
pub const MAX_BATCH: usize = 256;
/// Settled delivery ids that may wait in an account before they are deleted.
pub const SETTLED_SLACK: u32 = 256;
/// Dirty accounts above which one `syncfs` is cheaper than a sync of each.
pub const SYNC_EACH: usize = 8;

/// Sessions of one account.
pub const MAX_SESSIONS_PER_ACCOUNT: usize = 8_192;
/// Sessions in all.
pub const MAX_SESSIONS: usize = 32_768;
/// Time a front end has to say hello on a granted socket: it first has to reach it by way of auth.
pub const HELLO_PATIENCE: Duration = Duration::from_secs(60);

/// Messages of one account, over all mailboxes.
pub const MAX_MESSAGES: u64 = 20_000_000;
/// Different keywords of one account.
pub const MAX_ACCOUNT_KEYWORDS: usize = 1_000;
/// Rows about vanished UIDs kept for one mailbox; the older half is forgotten, and who asks about it is told every UID that is not there.
pub const MAX_VANISHED: u32 = 20_000;

/// Bytes of rows in one frame, so that it stays within one datagram.
pub const FRAME_BYTES: usize = 96 * 1024;
/// Bytes kept of an encoded envelope; a larger one is cut down.
pub const MAX_ENVELOPE: usize = 512 * 1024;
/// Addresses of each field and bytes of each string that are left of an envelope that had to be cut down.
pub const CUT_ADDRESSES: usize = 50;
/// See [`CUT_ADDRESSES`].
pub const CUT_STRING: usize = 998;
/// Bytes kept of an encoded structure; a message with a larger one is kept without.
pub const MAX_STRUCTURE: usize = 2 * 1024 * 1024;
/// Bytes of one string among the sort keys.
pub const MAX_SORT_STRING: usize = 1_000;
/// Characters of a preview (RFC 8970 3.1, RFC 8621 4.1.4).
pub const MAX_PREVIEW: usize = 256;

/// Messages that one step of a search looks at while it holds the account.
pub const SEARCH_STEP: usize = 4_096;
/// Likewise, when their text is looked at.
pub const SEARCH_TEXT_STEP: usize = 256;
/// Messages that the text index lags behind before it is fed; fewer are looked at as fast.
pub const MIN_BACKLOG: i64 = 256;
/// Messages added to the text index in one transaction, while the account is locked.
pub const FEED_MESSAGES: usize = 64;
/// How long the index is left alone when somebody else wants the account.
pub const FEED_PAUSE: Duration = Duration::from_millis(5);
/// Bytes of text after which such a transaction ends.
pub const FEED_BYTES: usize = 256 * 1024;
/// Trigrams of one query.
pub const MAX_TRIGRAMS: usize = 12;
/// Candidates for one search; more of them than this are no help.
pub const MAX_CANDIDATES: usize = 2_000_000;
/// Text keys of one search program.
pub const MAX_TEXT_KEYS: usize = 64;
/// Bytes of one text key.
pub const MAX_TEXT_KEY: usize = 4 * 1024;
/// A search that takes longer is refused.
pub const SEARCH_TIME: Duration = Duration::from_secs(60);
/// Messages read into memory at a time by requests that change many.
pub const CHANGE_STEP: usize = 4_096;

/// UIDs and modification sequences that are left out after another start of the machine; more than can be given between two syncs.
pub const NUMBERS_LEFT_OUT: u32 = 65_536;
/// Starts of the machine of which it is known which modification sequences were left out.
pub const MAX_LOST: usize = 32;
