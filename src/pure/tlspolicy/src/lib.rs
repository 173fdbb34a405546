//! How the connection to a mail host must be protected: DANE, MTA-STS, and what is left to chance. Nothing here asks or connects.
//!
//! Invariants:
//!
//! * a policy only ever makes the connection stricter, and DANE comes before MTA-STS (RFC 8461 2);
//! * records and policies are hostile input: bounded, linear, read by one strict parser each;
//! * nothing here decides by the clock: whoever asks says what time it is.
//!
//! | Standard | Subject | |
//! |---|---|---|
//! | RFC 6698, 7671, 7672 | DANE for SMTP | usages DANE-TA and DANE-EE; full certificates and keys; SHA-256 and SHA-512 |
//! | RFC 8461 | MTA-STS | record, policy, hosts |
//! | RFC 8460 | TLS-RPT | record; `mailto:` alone |

pub mod dane;
mod decide;
mod der;
pub mod sts;
pub mod tlsrpt;

pub use decide::{Basis, Decision, Evidence, Override, Requirement, decide};
