//! SPF: may this client use this domain (RFC 7208)?

mod check;
mod macros;
mod record;

pub(crate) use check::{Check, Sender};
