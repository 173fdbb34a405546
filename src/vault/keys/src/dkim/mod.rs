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
//! Those that the queue asks for: which domains are hosted only auth knows, since some are added at run time, and the queue asks it each
//! time. A domain that is not declared gets keys only while fewer than [`crate::limits::MAX_DKIM_DOMAINS`] have some: a queue that was
//! taken over must not fill the disk. What it could have signed for other domains is worth nothing without a record in their DNS.

mod files;
mod key;
mod ring;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use service::{Clock, Dkim};
