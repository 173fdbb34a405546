//! postern-scan
fn main() {}
