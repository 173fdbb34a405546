//! Every bound of the protocol code, in one table.
//!
//! What the index bounds (parts, depth, fields) is named in `pure_index`, names of mailboxes in `pure_addr`.

/// Bytes of one command outside its literals, before login.
pub const PRE_AUTH_LINE: usize = 8 * 1024;
/// Bytes of all literals of one command, before login.
pub const PRE_AUTH_LITERALS: usize = 1024;
/// Bytes of one command outside its literals, after login.
pub const LINE: usize = 64 * 1024;
/// Bytes of all literals of one command that are not messages, after login.
pub const LITERALS: usize = 64 * 1024;
/// Bytes of capacity a framer keeps between two commands.
pub const KEPT_BUFFER: usize = 1024;
/// Bytes of a tag.
pub const TAG: usize = 64;
/// Bytes of a command or mechanism name.
pub const NAME: usize = 32;
/// Bytes of a user name or a password; longer ones are refused before anything is computed.
pub const CREDENTIAL: usize = 1024;
/// Pairs of one ID command (RFC 2971 3.3).
pub const ID_PAIRS: usize = 30;
/// Bytes of a key of ID (RFC 2971 3.3).
pub const ID_KEY: usize = 30;
/// Bytes of a value of ID (RFC 2971 3.3).
pub const ID_VALUE: usize = 1024;
/// Names in one ENABLE.
pub const ENABLE_NAMES: usize = 16;
/// Items (numbers and ranges) of one sequence set.
pub const SET_ITEMS: usize = 32_768;
/// Bytes of one keyword.
pub const KEYWORD: usize = 64;
/// Flags of one command.
pub const FLAGS: usize = 64;
/// Bytes of one LIST pattern, reference included.
pub const PATTERN: usize = 1024;
/// Bytes of all patterns of one LIST.
pub const PATTERNS_TOTAL: usize = 2 * 1024;
/// Patterns of one LIST.
pub const PATTERNS: usize = 16;
/// Items of one FETCH.
pub const FETCH_ITEMS: usize = 64;
/// Numbers in one section path; no deeper part exists.
pub const SECTION_PATH: usize = pure_index::MAX_DEPTH + 1;
/// Names of one HEADER.FIELDS.
pub const HEADER_NAMES: usize = 128;
/// Bytes of one header field name.
pub const HEADER_NAME: usize = 256;
/// Nodes of one SEARCH program.
pub const SEARCH_NODES: usize = 1000;
/// Nesting of one SEARCH program: parentheses, NOT and OR alike.
pub const SEARCH_DEPTH: usize = 200;
/// Bytes of one SEARCH string.
pub const SEARCH_STRING: usize = 4 * 1024;
/// Sort keys of one SORT.
pub const SORT_KEYS: usize = 16;
/// Messages that SORT by numbers alone looks at; beyond it the answer is NO [LIMIT].
pub const SORT_ROWS: usize = 1_000_000;
/// Messages that THREAD, and SORT by texts, look at.
pub const SORT_TEXT_ROWS: usize = 100_000;
/// Bytes of the texts, with what holds them, of all messages of one SORT or THREAD.
pub const SORT_BYTES: usize = 64 * 1024 * 1024;
/// References of all messages of one THREAD; from there on only the last of each message counts.
pub const THREAD_REFERENCES: usize = 1_000_000;
