//! postern-imap: IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) for the mail of one account per connection.
//!
//! SECURITY. Talks to anybody on the Internet. Holds no files, no keys and no mail: TLS signatures come from `keys`, a login is
//! decided by `auth`, and what a login returns is a socket to `store` that is good for one account. A corrupted peer can at
//! most own this process, which yields the sessions it serves: their passwords as they log in, and their mail. Before login it
//! can reach nobody's.
//!
//! Invariants:
//! * nothing is executed before TLS but CAPABILITY, NOOP, ID, LOGOUT and STARTTLS; what came before the handshake is forgotten;
//! * one connection serves one account, for its whole life;
//! * a session holds at most one command and one batch of rows; bodies pass through in chunks, as fast as the client reads;
//! * an idle session holds no buffers.

mod account;
mod ahead;
mod append;
mod arrange;
mod body;
mod capability;
mod change;
mod connection;
mod convert;
mod fetch;
mod limits;
mod list;
mod login;
mod mailbox;
mod plaintext;
mod search;
mod select;
mod server;
mod session;
mod sync;
#[cfg(test)]
mod tests;

use jail::{Class, Kind, Profile};
use std::process::ExitCode;

const PROFILE: Profile = Profile {
    name: "imap",
    kind: Kind::Exposed,
    class: Class::Session,
    state: false,
    read: |_| Vec::new(),
    connect: jail::nowhere,
    workers: 4,
};

fn main() -> ExitCode {
    jail::main(&PROFILE, server::start)
}
