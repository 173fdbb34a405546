//! send -> dns: what the DNS says of a destination, and how surely.
//!
//! It is send that listens and dns that is connected to it, by who starts dns: so neither needs a local socket of its own making
//! ([`crate::Client::listening`]). Whoever connects here answers send's questions; its path is for PID 1 alone.
//!
//! The client names a question by its kind and a domain; which name is looked up, dns decides. An answer is secure, insecure or there
//! is none: bogus data never becomes an answer (RFC 4033 5).

use crate::{Edge, List};
use pure_addr::{Domain, Text};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::{net::IpAddr, time::Duration};

/// See the module.
#[derive(Debug)]
pub struct SendNames;

/// Records of one answer; more are left out, the least preferred first.
pub const MAX_RECORDS: usize = 64;

impl Edge for SendNames {
    const NAME: &'static str = "send-names";
    const MAX_BODY: usize = 64 * 1024;
    const MAX_FDS: usize = 0;
    const PATIENCE: Duration = Duration::from_secs(60);
    const REPEATABLE: bool = true;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// MX of a domain.
    Mx(Domain),
    /// A and AAAA of a host, CNAMEs followed.
    Addresses(Domain),
    /// TLSA of `_PORT._tcp.HOST` (RFC 7672 3.1).
    Tlsa {
        /// TCP port.
        port: u16,
        /// The host.
        host: Domain,
    },
    /// TXT of `_mta-sts.DOMAIN` (RFC 8461 3.1).
    MtaSts(Domain),
    /// TXT of `_smtp._tls.DOMAIN` (RFC 8460 3).
    TlsReporting(Domain),
}

/// What dns may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// There are such records.
    Found {
        /// Whether the whole chain was validated, aliases included.
        secure: bool,
        /// The canonical name when the name asked for was an alias.
        canonical: Option<Domain>,
        /// Which records.
        records: Records,
    },
    /// The name or the type does not exist.
    None {
        /// Whether that was proven (RFC 5155, RFC 4035 5.4).
        secure: bool,
        /// The name itself does not exist: NXDOMAIN.
        no_name: bool,
    },
    /// The answer was there and its signatures do not hold: defer, never fall back.
    Bogus,
    /// No server could be asked, or none answered: defer.
    Unavailable,
}

/// Records of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Records {
    /// Most preferred first. A null MX (RFC 7505) is one record without a host.
    Mx(List<Mx, MAX_RECORDS>),
    /// In no order.
    Addresses(List<IpAddr, MAX_RECORDS>),
    /// Usable or not.
    Tlsa(List<Tlsa, MAX_RECORDS>),
    /// The character-strings of each record joined (RFC 7208 3.3).
    Text(List<Text<2048>, 16>),
}

/// RFC 1035 3.3.9.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mx {
    /// Lower is preferred.
    pub preference: u16,
    /// None: the domain takes no mail (RFC 7505).
    pub host: Option<Domain>,
}

/// RFC 6698 2.1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tlsa {
    /// Certificate usage.
    pub usage: u8,
    /// Selector.
    pub selector: u8,
    /// Matching type.
    pub matching: u8,
    /// Certificate association data.
    pub data: ByteBuf,
}
