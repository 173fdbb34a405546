//! Sends mail to other servers: a lease of the queue is carried out as RFC 5321 5 and the policies of its destination ask, and every
//! recipient of it gets exactly one outcome.
//!
//! SECURITY. Talks to whatever hosts the DNS names for a destination: their replies, their certificates, and MTA-STS policies over
//! HTTPS are hostile input. Holds one message for each lease while it lasts, and the passwords of smarthosts; no key, no mailbox, no
//! state. Can ask `dns`, which is connected to it, and nobody else: it makes no local socket. Connects by TCP to ports 25 and 443 and those
//! of declared smarthosts, and accepts no TCP connection. A corrupted peer can at most own this process: it then sees and changes the mail
//! that leaves meanwhile, learns the smarthosts' passwords, and can say of mail that it was delivered. It reads no stored mail, and signs
//! nothing.
//!
//! Invariants:
//!
//! * the protocol is [`pure_smtp::client`], the policy is [`pure_tlspolicy`]; this crate moves bytes, asks and connects;
//! * nothing is sent in clear text where the policy wants TLS: what cannot be established defers;
//! * a bogus answer of the DNS defers and never falls back;
//! * a name from the DNS never leads to ourselves, whatever it says ([`Reach`]);
//! * delivered is only what the remote has said 2yz to after the end of the message; when the connection is lost before that answer,
//!   the message may have been delivered and is tried again all the same (RFC 1047);
//! * no message is completed for a queue that is gone. What was delivered is remembered, and who waits for the remote's last answer
//!   goes on waiting when the queue dies: the next queue, which offers the same again, gets the answer instead of a second delivery;
//! * who was delivered is reported before anything else is tried for the rest of a lease;
//! * a connection is used again only for the same route, host and requirement; TLS sessions are never resumed.
//!
//! | Standard | Subject | |
//! |---|---|---|
//! | RFC 5321 5.1, 7505 | MX, null MX | yes |
//! | RFC 7672 | DANE | yes |
//! | RFC 8461 | MTA-STS | yes; policies are remembered in memory |
//! | RFC 8689 | REQUIRETLS | yes; for `TLS-Required: No` only what is declared for the destination counts |
//! | RFC 8460 | TLS-RPT | results and addresses; the queue makes the reports |

mod asker;
mod attempt;
mod bounded;
mod connect;
mod dns;
mod hosts;
#[doc(hidden)] // For tests/fuzz.
pub mod http;
mod levels;
mod limits;
mod message;
mod outcome;
mod pool;
mod recent;
mod route;
mod service;
mod session;
mod settings;
mod stream;
mod sts;
mod tls;

pub use limits::Limits;
pub use service::Sender;
pub use settings::{Random, Reach, Settings, SettingsError, Smarthost, files, ports};
