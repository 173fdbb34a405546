//! Sessions against a store of the test.

mod fuzz;
mod logins;
mod sessions;
mod updates;
mod world;
