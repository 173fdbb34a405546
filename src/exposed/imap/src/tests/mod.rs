//! Sessions against a store of the test.

mod ahead;
mod fuzz;
mod logins;
mod sessions;
mod updates;
mod world;
