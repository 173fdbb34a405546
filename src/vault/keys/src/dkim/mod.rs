//! DKIM keys: one pair of algorithms per domain, made on first use, rotated by the calendar.
//!
//! # On disk
//!
//! `dkim/DOMAIN/SELECTOR.key` below the state directory, mode 0600, one file per key, written once and never changed: under another name,
//! synced, renamed, the directory synced. A file says when its key was made and when it begins to sign; its stage follows from that and
//! the clock (see [`ring`]), so no crash finds a rotation half done. What a crash leaves under the other name is removed.
//!
//! # Which domains
//!
//! Those that the configuration declares, and those that have a directory here: the operator's `postern dns` and `postern dkim` make it
//! for domains that were added at run time, which only auth knows. keys does not learn when such a domain is removed; it then still signs
//! for whom the queue asks, and the queue asks for hosted domains alone.

mod files;
mod key;
mod ring;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use service::{Clock, Dkim};
