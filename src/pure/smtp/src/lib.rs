//! pure-smtp
