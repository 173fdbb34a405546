//! Plays the plain text conversations of `smtp/` and `imap/` against a running appliance. README.md describes the format.

mod play;
mod script;

pub use play::play;
pub use script::{Script, Step, Who};
