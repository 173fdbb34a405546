//! Every limit of this crate. Sizes are bytes.

/// Longest name of a field that is signed: with its colon it fits a line (RFC 5322 2.1.1 recommends 78).
pub const MAX_NAME: usize = 77;
/// Entries of `h=`.
pub const MAX_FIELDS: usize = 128;
/// Canonical values of all fields together.
pub const MAX_VALUES: usize = 512 * 1024;
/// Canonical values of all ARC sets together that stand before one.
pub const MAX_CHAIN: usize = 256 * 1024;
/// Header of a message that is to be signed, with what stands in front of it.
pub const MAX_HEADER: usize = 1024 * 1024;
/// Columns of a line of the signature field; a domain or a name that is longer stands alone in its line.
pub const COLUMNS: usize = 77;
/// Longest selector: what RFC 1035 2.3.4 allows a label.
pub const MAX_SELECTOR: usize = 63;
