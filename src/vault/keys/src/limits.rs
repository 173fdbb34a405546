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
