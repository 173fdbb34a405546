//! pure-imap
