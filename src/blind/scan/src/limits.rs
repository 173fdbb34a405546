//! What scan bounds. What it says about a message is bounded in `pure_index`, `pure_mime` and `pure_mailauth`.

use std::time::Duration;

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
/// The judgement of one message, from its first question on; what is not answered by then counts as not answered at all.
pub(crate) const JUDGEMENT_TIME: Duration = Duration::from_secs(10);
/// One question, for one message; the answer may still come and be there for the next.
pub(crate) const QUESTION_PATIENCE: Duration = Duration::from_secs(5);
/// The same when nothing is answered any more.
pub(crate) const OUTAGE_PATIENCE: Duration = Duration::from_secs(1);
/// Questions in a row without an answer that make an outage.
pub(crate) const OUTAGE_AFTER: u32 = 16;
/// How long an answer is remembered here; dns remembers it for as long as it holds.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long it is remembered that there was none, before it is asked for again.
pub(crate) const OUTAGE_TIME: Duration = Duration::from_secs(5);
/// Answers that are remembered, and their bytes, about.
pub(crate) const KNOWN: usize = 8_192;
pub(crate) const KNOWN_BYTES: usize = 16 * 1024 * 1024;
/// Questions under way: as many as dns works on at a time for us, so that none waits there.
pub(crate) const ASKING: usize = 128;
/// Those of them that messages of one peer (an IPv4 address or an IPv6 /64) led to; more wait until one of the peer's own is over.
pub(crate) const ASKING_PER_PEER: usize = 32;
/// Messages that wait for answers at a time, and those that one peer brought; the others are judged by what
/// is known. A host whose names are never answered so holds up its own mail.
pub(crate) const JUDGING: usize = 160;
pub(crate) const JUDGING_PER_PEER: usize = 16;
