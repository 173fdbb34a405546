//! Every limit of this crate. Sizes are bytes. Those of signatures and sets are in [`pure_index::judgement`].

/// Questions about names that one message may lead to; what is asked beyond them counts as not answered.
pub const MAX_QUESTIONS: usize = 128;
/// Rounds of questions: the terms of SPF come one after the other, nothing else needs more than three.
pub const MAX_ROUNDS: usize = 24;
/// Terms of SPF that lead to questions (RFC 7208 4.6.4).
pub const MAX_SPF_LOOKUPS: usize = 10;
/// Of those, that may find nothing (RFC 7208 4.6.4).
pub const MAX_SPF_VOID: usize = 2;
/// Hosts of one `mx`, names of one `ptr` (RFC 7208 4.6.4).
pub const MAX_SPF_NAMES: usize = 10;
/// Terms of one SPF record; real ones have some 30.
pub const MAX_SPF_TERMS: usize = 256;
/// Names of one tree walk (RFC 9989 4.10).
pub const MAX_WALK: usize = 8;
/// Tags of one list (RFC 6376 3.2); real ones have some 15.
pub const MAX_TAGS: usize = 64;
/// One signature field or one record that is looked at.
pub const MAX_TAG_LIST: usize = 64 * 1024;
/// One `Authentication-Results`, of the message itself or sealed; a longer one says nothing, and is taken out.
pub const MAX_RESULTS: usize = 64 * 1024;
/// A From; of a longer one the index has not everything.
pub const MAX_FROM: usize = 128 * 1024;
/// Keys of one ARC chain; real ones have some three sealers. What more would say is not known.
pub const MAX_ARC_KEYS: usize = 10;
/// Entries of `h=`.
pub const MAX_SIGNED_FIELDS: usize = 1_000;
/// What one signature may cover of the header, in canonical form.
pub const MAX_SIGNED_BYTES: usize = 1024 * 1024;
/// Records of one key that are tried (RFC 6376 3.6.2.2: more than one is undefined).
pub const MAX_KEYS: usize = 2;
/// Canonical values of the ARC sets of one message that is to get another.
pub const MAX_CHAIN: usize = 256 * 1024;
/// One signature or one key; RSA of 8192 bits has 1024.
pub const MAX_SIGNATURE: usize = 2 * 1024;
/// Labels that two different domains must share at their ends before it is asked whether they belong together: nobody's organisation is a
/// top-level domain.
pub const MIN_SHARED_LABELS: usize = 2;
