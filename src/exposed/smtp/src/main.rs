//! postern-smtp: receives mail. One binary, two units: `mx` (port 25, from strangers) and `submission` (465 and 587, from users).
//!
//! SECURITY. Talks to anybody on the Internet. Holds no file, no key and no stored mail. As mx it can ask the queue whether a
//! hosted address exists and hand it mail as a stranger, which anybody may do by SMTP; the queue checks every recipient again.
//! As submission it can do nothing until `auth` has verified a login and returned a socket to the queue that is good for that
//! account alone. A corrupted peer can at most own this process: it then sees the sessions it serves, their passwords as they
//! log in, and their messages as they arrive. It can relay nothing, sign nothing and open no connection.
//!
//! Invariants:
//!
//! * the protocol is [`pure_smtp::Session`]; this crate only moves bytes and asks the backends;
//! * 250 for a message is sent only after the queue has said that it is on disk;
//! * whatever backend fails, the answer is 451 or 421, never silence and never acceptance;
//! * a message is in a sealed memfd and nowhere else; all of them together have a limit.

mod backend;
mod convert;
mod message;
mod service;
mod session;
#[cfg(test)]
mod tests;

use jail::{Class, Kind, Profile};
use pure_smtp::Role;
use std::{
    io::{self, Write},
    process::ExitCode,
};

const MX: Profile = Profile {
    name: "mx",
    kind: Kind::Exposed,
    class: Class::Session,
    state: false,
    read: |_| Vec::new(),
    connect: jail::nowhere,
    workers: 4,
};
const SUBMISSION: Profile = Profile { name: "submission", ..MX };

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (role, profile) = match (arguments.next().as_deref(), arguments.next()) {
        (Some("mx"), None) => (Role::Mx, &MX),
        (Some("submission"), None) => (Role::Submission, &SUBMISSION),
        _ => {
            // Nobody is there to read the reason why this could not be written.
            let _ = writeln!(io::stderr(), "usage: postern-smtp mx|submission");
            return ExitCode::FAILURE;
        }
    };
    jail::main(profile, |process| service::start(process, role))
}
