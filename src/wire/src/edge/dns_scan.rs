//! scan -> dns: what the DNS says of those whom a message names.
//!
//! The client names a question by its kind and a name, which a message can choose: a taken-over scan can put what it has read into the names
//! that it asks for. An answer is there or not, or could not be had; bogus data (RFC 4033 5) never becomes an answer, nor does it deny one.

use super::send_names::MAX_RECORDS;
use crate::{Edge, List};
use pure_addr::{Domain, QueryName, Text};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, time::Duration};

/// See the module.
#[derive(Debug)]
pub struct DnsForScan;

/// Texts of one answer: at the apex of a domain policies stand among many others.
pub const MAX_TEXTS: usize = 64;

/// Bytes of one text.
pub const MAX_TEXT: usize = 4096;

impl Edge for DnsForScan {
    const NAME: &'static str = "dns-scan";
    const MAX_BODY: usize = 64 * 1024;
    const MAX_FDS: usize = 0;
    const PATIENCE: Duration = Duration::from_secs(10);
    const REPEATABLE: bool = true;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What may be asked; aliases are followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// TXT: policies and keys.
    Texts(QueryName),
    /// A.
    Ipv4(QueryName),
    /// AAAA.
    Ipv6(QueryName),
    /// MX.
    Exchanges(QueryName),
    /// PTR of an address.
    Names(IpAddr),
}

/// What dns may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The character-strings of each record joined (RFC 7208 3.3); those that begin as a version does come first.
    Texts(List<Text<MAX_TEXT>, MAX_TEXTS>),
    /// Of the family that was asked for, in no order.
    Addresses(List<IpAddr, MAX_RECORDS>),
    /// Most preferred first; a null MX (RFC 7505) is left out.
    Exchanges(List<Domain, MAX_RECORDS>),
    /// In no order.
    Names(List<Domain, MAX_RECORDS>),
    /// The name or the type does not exist.
    Nothing,
    /// No server could be asked, none answered, or the signatures of the answer do not hold.
    Unavailable,
}
