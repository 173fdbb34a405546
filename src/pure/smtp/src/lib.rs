//! SMTP and message submission, without I/O: for a server, bytes in, replies and actions out; for a client, see [`client`].
//!
//! [`Session`] is the whole protocol of one connection. Its driver reads bytes, calls [`Session::step`], writes what
//! [`Session::output`] holds, carries out each [`Action`] and tells the session what came of it. Nothing here waits, opens
//! or logs anything.
//!
//! Invariants:
//!
//! * the content of a message ends only at CRLF.CRLF, or at the end of a chunk whose length was declared;
//! * content with a bare CR, a bare LF or NUL is refused, unless it was declared BINARYMIME, which only BDAT can carry;
//! * a [`Transaction`] is a value: whatever ends it, well or badly, consumes it, and no state of it is left behind;
//! * every address is parsed by `pure-addr`, whole; there are no source routes, no rewriting and no trimming;
//! * state is bounded by [`Limits`], whatever is sent and in however many pieces;
//! * no reply repeats anything that the client said.
//!
//! | Standard | Subject | |
//! |---|---|---|
//! | RFC 5321 | SMTP | yes; source routes are refused |
//! | RFC 6409 | Message submission | yes |
//! | RFC 1870 | SIZE | yes |
//! | RFC 2034, 3463 | Enhanced status codes | yes |
//! | RFC 2920 | PIPELINING | yes; talking past EHLO, DATA or the greeting ends the connection |
//! | RFC 3030 | CHUNKING, BINARYMIME | yes |
//! | RFC 3207 | STARTTLS | yes |
//! | RFC 3461 | DSN | parameters are parsed and kept |
//! | RFC 4954 | AUTH | framing; PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-256-PLUS |
//! | RFC 6152 | 8BITMIME | yes |
//! | RFC 6531 | SMTPUTF8 | yes |
//! | RFC 7677 | SCRAM-SHA-256 | as a client of a smarthost |
//! | RFC 8689 | REQUIRETLS | yes |
//! | RFC 9422 | LIMITS | RCPTMAX, as a client |

pub mod client;
mod command;
mod content;
mod limits;
mod mechanism;
mod parameters;
mod path;
mod reply;
mod session;
mod transaction;
mod xtext;

pub use command::{Command, Refusal};
pub use content::{ChunkChecker, DataDecoder, Fault, Progress};
pub use limits::Limits;
pub use mechanism::Mechanism;
pub use parameters::{MailParameters, RcptParameters};
pub use path::ForwardPath;
pub use reply::{Reply, Status, TOO_MANY_CONNECTIONS};
pub use session::{
    Action, AuthVerdict, CommitVerdict, Outcome, Patience, RecipientVerdict, Role, SenderVerdict, Session, Settings, Step, Tls,
};
pub use transaction::{Body, Notify, OriginalRecipient, Recipient, Ret, Transaction};
