//! Bounded newtypes for every name that crosses a boundary: domains, addresses, accounts, mailboxes, capped text.
//!
//! This is the only address parser in the project. Invariants, guaranteed by construction and re-checked whenever
//! a value is deserialised from another process:
//!
//! * no value holds CR, LF, NUL or any other control character;
//! * every value has a maximum length in bytes, named in this crate;
//! * a [`Domain`] is in one canonical form (lower-case A-labels, RFC 5890 2.3.2.1), so equality is byte equality;
//! * a [`LocalPart`] is stored unquoted, so `"alice"@x` and `alice@x` are the same value (RFC 5321 4.1.2).

mod account;
mod address;
mod domain;
mod mailbox;
mod query;
mod text;

pub use account::AccountId;
pub use address::{Address, LocalPart, MAX_LOCAL_PART, MAX_PATH, ReversePath};
pub use domain::{Domain, MAX_DOMAIN, MAX_LABEL};
pub use mailbox::{MAX_MAILBOX_DEPTH, MAX_MAILBOX_NAME, MailboxName, SEPARATOR};
pub use query::QueryName;
pub use text::Text;

/// Why a name was refused. The text is for a person; programs match on the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nothing where something must be.
    #[error("is empty")]
    Empty,
    /// Longer than the limit, in bytes.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// A control character, or a character the grammar does not have at this place.
    #[error("has a character that is not allowed here")]
    Character,
    /// A domain that is not in the form of RFC 5321 4.1.2 or IDNA2008.
    #[error("is not a valid domain name")]
    Domain,
    /// An address literal that is not one of RFC 5321 4.1.3.
    #[error("is not a valid address literal")]
    Literal,
    /// A local part outside Dot-string and Quoted-string of RFC 5321 4.1.2.
    #[error("is not a valid local part")]
    LocalPart,
    /// The `@`, a bracket or the end is not where it must be.
    #[error("is not of the form local-part@domain")]
    Form,
}
