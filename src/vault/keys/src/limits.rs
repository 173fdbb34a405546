//! Every limit of this process, in one place.

use std::time::Duration;

/// Bytes of a PEM file.
pub(crate) const MAX_PEM: u64 = 256 * 1024;
/// Certificates, each with its key.
pub(crate) const MAX_CERTIFICATES: usize = 64;
/// Certificates in a chain.
pub(crate) const MAX_CHAIN: usize = 10;
/// DNS names in a certificate.
pub(crate) const MAX_NAMES: usize = 256;
/// Bits of an RSA modulus; fewer are too weak, more take too long.
pub(crate) const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Time that replaced keys still finish the handshakes begun with them.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// DKIM keys of one domain, of all stages; what keys-control can list.
pub(crate) const MAX_DKIM_KEYS: usize = 32;
/// Domains with DKIM keys beside those that the configuration declares.
pub(crate) const MAX_DKIM_DOMAINS: usize = 10_000;
/// Bytes of the file of a DKIM key: RSA of 4096 bits takes 2.4 KB.
pub(crate) const MAX_DKIM_FILE: u64 = 16 * 1024;
/// Seconds that a DKIM key is published before it signs: the operator's time to put the record into the DNS, and the caches'.
pub(crate) const DKIM_AHEAD: i64 = 7 * 86_400;
/// Seconds that a DKIM key stays published after its last signature: until mail that it signed has been delivered everywhere and read.
pub(crate) const DKIM_KEPT: i64 = 30 * 86_400;
/// Seconds that `t=` of a signature may be away from the clock (attack case IPC-04).
pub(crate) const DKIM_CLOCK: i64 = 300;
/// Signatures that are made at a time.
pub(crate) const DKIM_AT_A_TIME: usize = 4;
/// Seconds by which a clock that is set may be wrong before, without the calendar of keys waiting for it.
pub(crate) const DKIM_SET_BY: i64 = 86_400;
/// Seconds after a start, and after the clock was set by more than that, for which no key is made or removed by the calendar.
pub(crate) const DKIM_STEADY: i64 = 3_600;
