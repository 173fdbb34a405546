//! postern-store: all mail. A vault.
//!
//! # Security
//!
//! * Talks to: the queue (store/deliver), auth (store/grant), front ends on sockets that auth had granted (store/session), and asks scan
//!   what is in appended messages (scan/store). It has no network.
//! * Parses: frames. Never a message: what is known of one comes from scan, is checked to be inside the message, and is stored as data.
//! * Holds: every message of every account, in clear. Who takes it over can read all mail; nothing else.
//! * A taken-over front end reaches the accounts whose sockets it was granted, and reads their segments; it cannot write a file. It can
//!   delete what its user can delete. Text it sends is data: never SQL, never a path.
//! * A taken-over queue can fill accounts up to their quotas, and nothing more. A taken-over scan can give appended messages a wrong index.
//!
//! # Invariants
//!
//! * A socket says whose mail it is about; no request names an account.
//! * A delivery id takes effect at most once. After `Synced`, everything delivered before survives a power cut.
//! * An answer to APPEND, COPY, MOVE, CREATE, DELETE and RENAME means that it is on disk.
//! * The sizes of an account's messages, copies counted, never exceed its quota, by any path.
//! * UIDs and modification sequences only grow; a UIDVALIDITY is never used twice in an account.
//! * Bytes of a message are released only when no email refers to them and that is on disk.
//!
//! # On disk
//!
//! `accounts/<16 hexadecimal digits>/`, one for each account: `index.db` (SQLite, WAL; see `schema`) and `seg-N`, the bodies one
//! after the other (see `segment`). Everything else in there is SQLite's.

mod account;
mod boxes;
mod cell;
mod deliver;
mod error;
mod fetch;
mod garbage;
mod grant;
pub mod limits;
mod messages;
mod prepare;
mod schema;
mod search;
mod segment;
mod session;
mod store;
mod trigram;
mod uids;

pub use deliver::Deliver;
pub use error::StoreError;
pub use grant::Grant;
pub use store::{Clock, Options, Store};
