//! Sessions against a store of the test.

mod logins;
mod sessions;
mod updates;
mod world;
