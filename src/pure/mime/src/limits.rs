//! What this crate bounds, besides the limits of `pure_index`. Sizes are bytes.

/// Longest boundary honoured. RFC 2046 5.1.1 allows 70; a line of RFC 5322 2.1.1 cannot hold more than this.
pub const MAX_BOUNDARY: usize = 998;
/// Parameters kept of one Content-Type or Content-Disposition.
pub const MAX_PARAMETERS: usize = pure_index::MAX_PARAMETERS;
/// Tags kept of one Content-Language.
pub const MAX_LANGUAGES: usize = pure_index::MAX_LANGUAGES;
/// Longest field value that is read; what follows is as if it were not there.
pub const MAX_VALUE: usize = 128 * 1024;
/// Header fields indexed in one message, all its parts together.
pub const MAX_TOTAL_FIELDS: usize = 20_000;
/// Bytes of envelopes and parameters kept of one message, all its parts together. With the text for searching this keeps an
/// index well under the frame limit of the edges it travels on.
pub const MAX_TOTAL_STRINGS: usize = 1024 * 1024;
/// What a list element costs of [`MAX_TOTAL_STRINGS`] besides its bytes, so that empty ones are not free.
pub const ELEMENT_COST: usize = 32;
/// Longest message identifier that is kept (RFC 5322 2.1.1).
pub const MAX_MESSAGE_ID: usize = 998;
/// `Delivered-To` values kept.
pub const MAX_DELIVERED_TO: usize = pure_index::MAX_DELIVERED_TO;
/// Bytes of encoded text that are read for searching, all parts together.
pub const MAX_TEXT_INPUT: usize = 16 * 1024 * 1024;
/// Bytes of attachment names and embedded subjects kept for searching.
pub const MAX_SEARCH_NAMES: usize = 64 * 1024;
/// Bytes kept for searching of one header field.
pub const MAX_SEARCH_VALUE: usize = 16 * 1024;
/// Bytes of a subject that are looked at for its base.
pub const MAX_BASE_SUBJECT: usize = 2 * 1024;
/// Characters of a preview (RFC 8621 4.1.4).
pub const MAX_PREVIEW: usize = 256;
