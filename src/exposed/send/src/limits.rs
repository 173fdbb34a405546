//! Every limit of this process.

use pure_smtp::client::Timeouts;
use std::time::Duration;

/// Leases at a time; more wait.
pub(crate) const MAX_LEASES: usize = 250;
/// How long a lease waits for its turn before it is given back.
pub(crate) const TURN: Duration = Duration::from_secs(15 * 60);
/// How long a process that is to end waits for leases that are under way.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// And then for their reports to be written.
pub(crate) const LAST_REPORTS: Duration = Duration::from_millis(100);
/// Hosts tried for one lease.
pub(crate) const MAX_HOSTS: usize = 5;
/// Connections tried for one lease.
pub(crate) const MAX_ADDRESSES: usize = 10;
/// Sessions of one lease that came as far as a transaction; RFC 5321 5.1 wants at least two addresses to be tried.
pub(crate) const MAX_SESSIONS: usize = 2;
/// Transactions of one lease in one session, for servers that take few recipients at a time.
pub(crate) const MAX_TRANSACTIONS: usize = 20;
/// Messages of one connection.
pub(crate) const MAX_MESSAGES: u32 = 100;
/// Idle connections at a time.
pub(crate) const MAX_IDLE: usize = 64;
/// Bytes of content handed to a connection at a time.
pub(crate) const BLOCK: usize = 16 * 1024;
/// Bytes of a reply read at a time.
pub(crate) const READ: usize = 4 * 1024;
/// Destinations whose MTA-STS policy, or its absence, is remembered.
pub(crate) const MAX_POLICIES: usize = 10_000;
/// Policies fetched at a time.
pub(crate) const MAX_FETCHES: usize = 16;
/// Hosts whose TLS level is remembered.
pub(crate) const MAX_LEVELS: usize = 10_000;
/// Deliveries that are remembered, so that a queue that did not hear of them is told again: no fewer than a queue has under way at a
/// time, which is 192 messages of 100 recipients.
pub(crate) const MAX_RECENT: usize = 20_000;
/// How long a policy that could not be fetched is not asked for again.
pub(crate) const FETCH_AGAIN: Duration = Duration::from_secs(5 * 60);
/// Bytes of header that a message may get beside the size that is configured.
pub(crate) const PREFIX: u64 = 1024 * 1024;

/// The limits of time, which tests shorten.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Within a session.
    pub smtp: Timeouts,
    /// A TCP connection.
    pub connect: Duration,
    /// A lease as a whole; below the queue's patience.
    pub lease: Duration,
    /// How long a connection without work is kept.
    pub idle: Duration,
    /// Fetching an MTA-STS policy (RFC 8461 3.3: one minute).
    pub fetch: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            smtp: Timeouts::DEFAULT,
            connect: Duration::from_secs(30),
            lease: Duration::from_secs(90 * 60),
            idle: Duration::from_secs(5),
            fetch: Duration::from_secs(60),
        }
    }
}
