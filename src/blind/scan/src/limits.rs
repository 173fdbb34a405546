//! What scan bounds. What it says about a message is bounded in `pure_index` and `pure_mime`.

/// Messages that are read at a time; each costs its own size in memory and a small multiple of the bounds of an index.
pub(crate) const AT_A_TIME: usize = 2;
/// Requests that may wait for their turn. Two clients with all that one connection may have under way come to this; more is refused.
pub(crate) const WAITING: usize = 512;
/// Bytes that a message may have beyond the configured size: what a queue put in front of it.
pub(crate) const PREFIX: u64 = 64 * 1024;
/// Bytes of a message that is read in the thread that serves, rather than in one of its own.
pub(crate) const INLINE: u64 = 32 * 1024;
/// How much a message may grow in seven bits: quoted-printable takes three bytes for one, and soft line breaks.
pub(crate) const SEVEN_BIT_GROWTH: u64 = 4;
/// Bytes that are written to a memfd at once.
pub(crate) const WRITE_BUFFER: usize = 64 * 1024;
