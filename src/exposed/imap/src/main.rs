//! postern-imap
fn main() {}
