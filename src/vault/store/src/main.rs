//! postern-store
fn main() {}
