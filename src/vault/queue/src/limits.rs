//! Every limit of the queue, in one place.

use std::time::Duration;

/// Bytes of the largest body kept inside the database; larger ones are files. Measured with `examples/spool_bench.rs`: inside is
/// cheaper up to 64 KiB, the two are about even here, and at 256 KiB writing everything twice costs more CPU than the file's own syncs.
pub const MAX_INSIDE: u64 = 128 * 1024;
/// Messages between the first look at them and their commit.
pub const MAX_SUBMITTING: usize = 512;
/// Bytes of those messages.
pub const MAX_SUBMITTING_BYTES: u64 = 256 * 1024 * 1024;
/// Messages held in memory for delivery, a descriptor each; what lies beyond waits on the disk alone.
pub const MAX_ACTIVE: usize = 512;
/// Bytes of those messages.
pub const MAX_ACTIVE_BYTES: u64 = 256 * 1024 * 1024;
/// How long a new message waits for such a place: clients are slowed down to the speed of delivery, since what goes by the disk costs
/// more. While the store stands still nobody waits.
pub const ACTIVE_PATIENCE: Duration = Duration::from_millis(100);
/// How long the store is taken to stand still after somebody waited in vain.
pub const STALLED: Duration = Duration::from_secs(2);
/// What a message of any size costs in memory beside its bytes.
pub const MESSAGE_OVERHEAD: u64 = 8 * 1024;
/// Deliveries that the store works on at a time.
pub const MAX_IN_FLIGHT: usize = 128;
/// Deliveries of one message that are under way at a time.
pub const MAX_LANES: usize = 8;
/// Deliveries of one message in all, after aliases.
pub const MAX_DELIVERIES: usize = 10_000;
/// Large bodies written at a time.
pub const MAX_FILE_WRITERS: usize = 4;
/// Sessions of accounts at a time.
pub const MAX_SESSIONS: usize = 4096;
/// Messages taken back from the disk at a time.
pub const MAX_LEASE: usize = 64;
/// Received fields of a message that is not in a loop (RFC 5321 6.3 wants at least 100 hops allowed "normally"; 50 is common practice).
pub const MAX_RECEIVED: u32 = 50;
/// Different authors of a submitted message; as many as one question to the directory holds, with the reverse-path.
pub const MAX_AUTHORS: usize = 63;
/// Labels of a domain above an author's that may be ours; who hosts longer names than this protects those below them by their own policies.
pub const MAX_PARENT_LABELS: usize = 8;
/// Free bytes that must remain on the spool's disk.
pub const MIN_FREE_DISK: u64 = 64 * 1024 * 1024;
/// How long the free space that was seen is believed.
pub const DISK_CHECK: Duration = Duration::from_secs(1);
/// Deliveries that one sync of the store covers at most.
pub const SYNC_BATCH: usize = 1024;
/// Deliveries that may wait for a sync; the store is not given more.
pub const MAX_UNSYNCED: usize = 4096;
/// How long the first delivery of a batch waits for company before the store is asked to sync.
pub const SYNC_DELAY: Duration = Duration::from_millis(50);
/// How long a change that nobody waits for may wait for a commit it can share.
pub const LAZY_DELAY: Duration = Duration::from_millis(50);
/// Such changes that make a commit of their own worth while.
pub const LAZY_BATCH: usize = 512;
/// Finished deliveries after which the store is told which ids it may forget.
pub const SETTLE_EVERY: usize = 1024;
/// The same after a time without deliveries.
pub const SETTLE_IDLE: Duration = Duration::from_secs(5);
/// How often the schedule is looked at although nothing is known to be due.
pub const MAX_POLL: Duration = Duration::from_secs(30);
/// How long a failing local delivery is repeated (RFC 5321 4.5.4.1: at least 4 to 5 days); then it is held for the administrator.
pub const GIVE_UP: Duration = Duration::from_secs(5 * 24 * 3600);
/// Pages in the write-ahead log before it is written back.
pub const WAL_PAGES: u32 = 8192;
/// KiB of pages that SQLite keeps in memory.
pub const CACHE_KIB: u32 = 8 * 1024;
/// Numbers reserved at a time, so that the next start begins above all that were given.
pub const RESERVE: u64 = 10_000_000;

/// Messages that are being sent elsewhere at a time.
pub const MAX_SENDING: usize = 192;
/// Bytes of those messages.
pub const MAX_SENDING_BYTES: u64 = 256 * 1024 * 1024;
/// Destinations that are worked on at a time.
pub const MAX_DESTINATIONS: usize = 256;
/// How long a process that is to end waits for the reports of what is being sent; a little longer than send itself.
pub const LAST_REPORTS: Duration = Duration::from_secs(6);
/// Recipients of one lease: what any server takes (RFC 5321 4.5.3.1.8).
pub const MAX_LEASE_RECIPIENTS: usize = 100;
/// Attempts that are remembered of a recipient.
pub const MAX_TRIES: usize = 5;
/// Bytes up to which a whole message is returned in a report to its sender.
pub const MAX_RETURNED: u64 = 100 * 1024;
/// Bytes of a header that are returned.
pub const MAX_RETURNED_HEADER: u64 = 64 * 1024;
/// Messages that one alias target gets from us in an hour.
pub const MAX_FORWARDS_PER_HOUR: u32 = 1_000;
/// Alias targets whose forwards are counted at a time.
pub const MAX_FORWARD_COUNTS: usize = 10_000;
/// Senders of forwarded mail that are kept because their addresses are too long for SRS; some 40 MiB. When there are more, such mail is
/// deferred.
pub const MAX_KEPT_SENDERS: u64 = 100_000;
/// How often the outcome of TLS negotiations is looked at for reports.
pub const REPORT_POLL: Duration = Duration::from_secs(15 * 60);

/// The limits that tests turn down. [`Default`] is what runs.
#[derive(Debug, Clone)]
pub struct Limits {
    /// [`MAX_INSIDE`].
    pub inside: u64,
    /// [`MAX_SUBMITTING`].
    pub submitting: usize,
    /// [`MAX_SUBMITTING_BYTES`].
    pub submitting_bytes: u64,
    /// [`MAX_ACTIVE`].
    pub active: usize,
    /// [`MAX_ACTIVE_BYTES`].
    pub active_bytes: u64,
    /// [`ACTIVE_PATIENCE`].
    pub active_patience: Duration,
    /// [`MAX_SESSIONS`].
    pub sessions: usize,
    /// [`MIN_FREE_DISK`].
    pub free_disk: u64,
    /// [`SYNC_DELAY`].
    pub sync_delay: Duration,
    /// [`LAZY_DELAY`].
    pub lazy_delay: Duration,
    /// [`SETTLE_IDLE`].
    pub settle_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inside: MAX_INSIDE,
            submitting: MAX_SUBMITTING,
            submitting_bytes: MAX_SUBMITTING_BYTES,
            active: MAX_ACTIVE,
            active_bytes: MAX_ACTIVE_BYTES,
            active_patience: ACTIVE_PATIENCE,
            sessions: MAX_SESSIONS,
            free_disk: MIN_FREE_DISK,
            sync_delay: SYNC_DELAY,
            lazy_delay: LAZY_DELAY,
            settle_idle: SETTLE_IDLE,
        }
    }
}
