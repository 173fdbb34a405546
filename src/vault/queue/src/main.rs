//! postern-queue
fn main() {}
