//! Every bound of this process.

use std::time::Duration;

/// For one question, everything it leads to included; below the edge's own patience (60 s), so that the answer is ours.
pub const QUESTION_TIME: Duration = Duration::from_secs(40);
/// For one query to one server, repetitions by UDP and a second attempt by TCP included.
pub const SERVER_TIME: Duration = Duration::from_secs(5);
/// Questions under way; more wait.
pub const QUESTIONS: usize = 256;
/// For one question of scan: below the patience of that edge (10 s), so that no place is held for who has gone.
pub const ORIGIN_TIME: Duration = Duration::from_secs(9);
/// Questions of scan under way, beside those of send; more wait.
pub const ORIGIN_QUESTIONS: usize = 128;
/// Queries that one question may lead to: aliases, keys, delegations. A long chain of signed zones needs about thirty.
pub const QUERIES: usize = 128;
/// Aliases from a name to its records (RFC 1034 3.6.2 sets no limit; loops need one).
pub const ALIASES: usize = 8;
/// Answers that are remembered.
pub const CACHED_ANSWERS: usize = 16_384;
/// Keys and delegations of zones that are remembered, unvalidated, so that each question need not fetch the whole chain again.
pub const CACHED_LINKS: usize = 4_096;
/// Longest that an answer is remembered, whatever its TTL says (RFC 8767 4 advises days at most; mail is not in such a hurry).
pub const MAX_TTL: Duration = Duration::from_secs(86_400);
/// Longest that the absence of an answer is remembered (RFC 2308 5: hours).
pub const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(3 * 3_600);
/// Longest that unvalidated links are remembered: a forged one spoils answers for no longer.
pub const MAX_LINK_TTL: Duration = Duration::from_secs(300);
/// How long a failure is remembered (RFC 9520 3.2: at least a second, at most five minutes).
pub const FAILURE_TTL: Duration = Duration::from_secs(5);
/// UDP payload that is announced: fits every path without fragments (RFC 9715 3.1).
pub const UDP_PAYLOAD: u16 = 1_232;
/// Records of one response that are looked at; a message of 64 KiB could hold thousands, each with signatures to verify.
pub const RESPONSE_RECORDS: usize = 192;
/// Iterations of an NSEC3 hash above which a denial proves nothing (RFC 9276 3.2: insecure).
pub const NSEC3_INSECURE: u16 = 50;
/// Iterations above which it is not even computed (RFC 9276 3.2: SERVFAIL).
pub const NSEC3_BOGUS: u16 = 150;
/// Bytes of the answer that are left for records, within the edge's largest body.
pub const ANSWER_BYTES: usize = 48 * 1024;
/// Bytes of `/etc/resolv.conf` or of the file with trust anchors.
pub const FILE_BYTES: u64 = 64 * 1024;
/// Name servers that are taken from `/etc/resolv.conf`.
pub const SYSTEM_SERVERS: usize = 8;
/// How long keys that a digest in the trust anchors has vouched for are used before the root is asked again.
pub const ANCHOR_TIME: Duration = Duration::from_secs(3_600);
/// A process that was connected to a send that has gone ends no sooner than this after its start, so that scan is served meanwhile however
/// often send ends.
pub const MIN_LIFE: Duration = Duration::from_secs(1);
/// One that has no connection to send, or to one of another build, ends after this, to be started again with another: well below what send
/// waits for an answer (60 s).
pub const WITHOUT_SEND: Duration = Duration::from_secs(10);
