//! Every limit of this process, in one place.

use std::time::Duration;

/// Bytes of a password; a longer one is refused before any work is done for it.
pub(crate) const MAX_PASSWORD: usize = wire::edge::auth_control::MAX_PASSWORD;
/// Characters that a password must have to be set here.
pub(crate) const MIN_PASSWORD: usize = wire::edge::auth_control::MIN_PASSWORD;
/// Bytes of a SCRAM nonce, the client's part or the whole.
pub(crate) const MAX_NONCE: usize = 512;
/// Bytes of entropy in the server's part of a SCRAM nonce.
pub(crate) const NONCE_ENTROPY: usize = 24;
/// Bytes of every salt made here.
pub(crate) const SALT: usize = 16;
/// PBKDF2 rounds of SCRAM keys made here; RFC 7677 4 wants at least 4096.
pub(crate) const SCRAM_ITERATIONS: u32 = 10_000;
/// Rounds that a declared SCRAM verifier may have. The work is the client's.
pub(crate) const SCRAM_ITERATIONS_RANGE: std::ops::RangeInclusive<u32> = 4096..=10_000_000;

/// argon2id cost of verifiers made here: 19 MiB, two passes, one lane (the OWASP and RFC 9106 floor for servers).
pub(crate) const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
pub(crate) const ARGON2_PASSES: u32 = 2;
/// Lanes.
pub(crate) const ARGON2_LANES: u32 = 1;
/// KiB of memory that a declared verifier may ask for.
pub(crate) const MAX_ARGON2_MEMORY_KIB: u32 = 256 * 1024;
/// Passes that a declared verifier may ask for.
pub(crate) const MAX_ARGON2_PASSES: u32 = 20;
/// Lanes that a declared verifier may ask for.
pub(crate) const MAX_ARGON2_LANES: u32 = 16;
/// Bytes of a declared verifier's file.
pub(crate) const MAX_VERIFIER: usize = 1024;

/// Password checks that may wait for a free core, over all peers.
pub(crate) const MAX_WAITING: usize = 512;
/// Password checks that one peer may have waiting or running: nobody fills the queue alone.
pub(crate) const MAX_WAITING_PER_PEER: usize = 128;

/// SCRAM exchanges begun and not finished, over all front ends.
pub(crate) const MAX_EXCHANGES: usize = 4096;
/// SCRAM exchanges begun and not finished by one peer.
pub(crate) const MAX_EXCHANGES_PER_PEER: usize = 64;
/// Time a client has for the second half of a SCRAM exchange.
pub(crate) const EXCHANGE_LIFETIME: Duration = Duration::from_secs(120);

/// Aliases followed for one recipient.
pub(crate) const MAX_EXPANSIONS: usize = 1024;
/// Aliases between an alias and the one account that may send as it.
pub(crate) const MAX_SENDER_ALIAS_DEPTH: usize = 8;

/// Accounts, domains and aliases in the directory, each.
pub(crate) const MAX_ENTRIES: usize = 20_000;
/// Memory that one core's share of password checks may use; a verifier that wants more takes the shares of several.
pub(crate) const MEMORY_PER_CHECK_KIB: u32 = 64 * 1024;
/// Time for which a right password is not checked the slow way again.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// Accounts whose last right password is remembered.
pub(crate) const MAX_REMEMBERED: usize = 20_000;
/// How long after sessions could not be ended it is tried again.
pub(crate) const OWED_AGAIN: Duration = Duration::from_secs(10);
