//! postern-keys
fn main() {}
