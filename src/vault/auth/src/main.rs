//! postern-auth
fn main() {}
