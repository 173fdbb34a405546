//! DKIM (RFC 6376, RFC 8463) and ARC (RFC 8617), the half that signs: canonical forms, which fields are covered, and the text of the signature field.
//!
//! Two processes share the work, and this crate is what they agree on:
//!
//! * `scan` reads the hostile message: [`fields::to_sign`] and [`BodyHash`] make the canonical form of what is to be covered;
//! * `keys` trusts none of it: [`SignedHeader::check`] accepts fields in canonical form alone, and [`Unsigned::build`] writes the
//!   `DKIM-Signature` field around them, or the fields of an ARC set. There is no other way to an [`Unsigned`], and a key signs nothing else.
//!
//! Invariants:
//!
//! * canonicalisation is relaxed/relaxed; `l=` does not exist here (attack case DKIM-01);
//! * nothing a message or a caller says can end a tag or a field: names are of a closed alphabet, values are covered and never written;
//! * time is linear, memory bounded by [`limits`]; nothing recurses, nothing panics.
//!
//! | standard | implemented |
//! |---|---|
//! | RFC 6376 3.4.2, 3.4.4 | relaxed header and body; the simple body (3.4.3) for who verifies |
//! | RFC 6376 3.5, 3.7, 5.4 | v, a, b, bh, c, d, h, s, t; no i, l, q, x, z |
//! | RFC 8463 3 | ed25519-sha256 |
//! | RFC 8617 4.1, 5.1 | the three fields of a set |

pub mod arc;
mod body;
pub mod fields;
pub mod limits;
mod relaxed;
mod signature;

pub use body::{BodyHash, Form, body_hash};
pub use relaxed::{is_canonical, relax};
pub use signature::{Algorithm, NotCanonical, SignedHeader, Signer, Unsigned, is_selector};

/// One entry of `h=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Lower-case.
    pub name: String,
    /// In relaxed form (RFC 6376 3.4.2), without CRLF; none: the name is signed as absent (RFC 6376 5.4, oversigning).
    pub value: Option<Vec<u8>>,
}

/// Whether a field of this (lower-case) name can stand in `h=`: of the characters that RFC 5322 3.6.8 allows only those that no tag-list
/// (RFC 6376 3.2) could take for its own, and not the signature itself (RFC 6376 5.4).
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    !name.is_empty() && name.len() <= limits::MAX_NAME && name.bytes().all(plain) && name != "dkim-signature"
}
