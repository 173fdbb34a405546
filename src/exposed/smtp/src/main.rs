//! postern-smtp
fn main() {}
