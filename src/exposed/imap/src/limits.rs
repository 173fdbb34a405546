//! Every bound of the daemon, in one table; those of the grammar are in `pure_imap::limits`.

use std::time::Duration;

/// Connections of one listener.
pub(crate) const CONNECTIONS: usize = 10_000;
/// From accept to the end of the login, absolute.
pub(crate) const PRE_AUTH: Duration = Duration::from_secs(60);
/// Without a command after login (RFC 9051 5.4: at least 30 minutes), also inside IDLE.
pub(crate) const IDLE: Duration = Duration::from_secs(30 * 60);
/// Without a byte inside a command after login.
pub(crate) const STALLED: Duration = Duration::from_secs(5 * 60);
/// For a client to take one batch of output.
pub(crate) const WRITE: Duration = Duration::from_secs(5 * 60);
/// After which a session without work gives its buffers back.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// Bytes read after the last words, within [`GRACE`].
pub(crate) const LINGER: usize = 64 * 1024;
/// Failed logins of one connection.
pub(crate) const LOGIN_FAILURES: u32 = 3;
/// BAD answers before login; a client that only errs is sent away.
pub(crate) const PRE_AUTH_ERRORS: u32 = 10;
/// BAD answers in a row after login.
pub(crate) const ERRORS: u32 = 100;
/// Bytes received and not yet looked at.
pub(crate) const INBOX: usize = 64 * 1024;
/// Bytes of output collected before they are written.
pub(crate) const OUTPUT: usize = 64 * 1024;
/// Bytes read from a message at a time.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Bytes of a header looked at for HEADER.FIELDS.
pub(crate) const HEADER: u32 = 1024 * 1024;
/// Messages marked `\Seen` ahead of being sent.
pub(crate) const SEEN_BATCH: usize = 64;
/// Sets of own flag changes remembered so that they are not told twice.
pub(crate) const TOLD: usize = 64;
/// Ranges of UIDs in each of them.
pub(crate) const TOLD_RANGES: usize = 16 * 1024;
/// Messages asked of the store at a time for a client that fetches one after the other.
pub(crate) const AHEAD: u32 = 16;
/// Sessions for which that is done at a time: each may hold as many descriptors as a frame brings.
pub(crate) const AHEAD_SESSIONS: usize = 64;
/// Bytes of messages that all APPENDs of the process may hold together; memfds count towards the unit's MemoryMax.
pub(crate) const UPLOADS: u64 = 1024 * 1024 * 1024;
/// Those of one account, or the size of a message where that is more.
pub(crate) const UPLOADS_PER_ACCOUNT: u64 = UPLOADS / 4;
/// Ranges of UIDs written at a time, each of at most 22 bytes.
pub(crate) const RANGES_AT_ONCE: usize = 1_024;
/// Bytes, about, that all SORTs and THREADs of the process may hold together.
pub(crate) const ARRANGED: u64 = 768 * 1024 * 1024;
/// Those of one account: one SORT of as many messages as it may look at, and some more.
pub(crate) const ARRANGED_PER_ACCOUNT: u64 = ARRANGED / 3;
/// Ranges of UIDs in all sets of one SEARCH.
pub(crate) const SEARCH_RANGES: usize = 64 * 1024;
/// Keywords announced in FLAGS for one mailbox.
pub(crate) const KEYWORDS: usize = 128;
/// Ranges of UIDs in an answer of the store: as many as an account can have messages.
pub(crate) const LISTED: usize = 20_000_000;
