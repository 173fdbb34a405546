//! Where a message came from, as far as that can be proven: SPF, DKIM, DMARC and ARC, the half that verifies.
//!
//! No I/O and no clock: [`Inspection::read`] takes from a message all that counts, which then need not be kept;
//! [`Inspection::judge`] says either what came of it, or which questions about names must be answered first ([`Answers`]). All questions that
//! do not depend on each other come up at once, and it may be called again after each answer; a judgement whose answers are known asks nothing.
//!
//! Invariants:
//!
//! * the message and the answers are hostile: time is linear, memory and questions are bounded by [`limits`], nothing recurses or panics;
//! * a question without an answer is never a failure: it is `TempError`, and [`Alignment::Unknown`](pure_index::judgement::Alignment) where
//!   the answer could have helped the author;
//! * a signature that leaves a part of the body unsigned (`l=`), or whose key or algorithm is weak, vouches for nobody;
//! * what comes out are closed values and names of a closed alphabet.
//!
//! | standard | implemented |
//! |---|---|
//! | RFC 7208 | `check_host()` but for `exp=`, which explains to people, and `%{p}`, which is always "unknown" |
//! | RFC 6376, 8301, 8463 | rsa-sha256 from 1024 bits on, ed25519-sha256 |
//! | RFC 8616 | domains and selectors in their ASCII form |
//! | RFC 9989, 7489 | policies and alignment by the tree walk; no reports, no sampling |
//! | RFC 8617 5.2 | chains of up to 50 sets |
//! | RFC 8601 5 | which fields claim to be ours |

mod answers;
mod arc;
mod authres;
mod dkim;
mod dmarc;
mod header;
mod inspection;
mod key;
pub mod limits;
mod signature;
mod spf;
mod tags;

pub use answers::{Answer, Answers, Question};
pub use arc::older as sets;
pub use inspection::{Connection, Inspection};
