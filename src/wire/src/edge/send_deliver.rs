//! queue -> send: take this message to these recipients of one destination, now.
//!
//! A lease is answered once with what became of each recipient; one that dies with its process is simply offered again, and no message
//! is completed for a queue whose connection has ended. The message comes as it is to be sent, signed: its header is `prefix` followed
//! by the sealed message.

use super::mail::{Body, MAX_RECIPIENTS, Notify, QueueId, Ret, Tls};
use crate::{Edge, List};
use pure_addr::{Address, Domain, ReversePath, Text};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::{fmt, net::IpAddr, time::Duration};

/// See the module.
#[derive(Debug)]
pub struct SendDeliver;

/// Results of TLS negotiations in one report: one for each host tried.
pub const MAX_TLS_RESULTS: usize = 32;

impl Edge for SendDeliver {
    const NAME: &'static str = "send-deliver";
    const MAX_BODY: usize = 4 * 1024 * 1024;
    const MAX_FDS: usize = 1;
    /// All time limits of RFC 5321 4.5.3.2 one after the other for several hosts; a send that died is noticed at once.
    const PATIENCE: Duration = Duration::from_secs(2 * 3600);
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// What the queue may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Deliver the message in the sealed memfd: [`Response::Report`].
    Deliver(Box<Lease>),
    /// What is known of deliveries that were asked for by a queue that ended before it heard: [`Response::Report`], with nothing of those
    /// that are not known to be delivered.
    Known {
        /// The message.
        id: QueueId,
        /// Which of its deliveries.
        numbers: List<u32, MAX_RECIPIENTS>,
    },
    /// Where reports on TLS go for a domain (RFC 8460 3): [`Response::ReportTo`].
    ReportTo(Domain),
}

/// Where a message goes next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Route {
    /// To the hosts that receive for this domain.
    Direct(Domain),
    /// To the smarthost of this name in the configuration.
    Smarthost(Text<64>),
}

/// One message for one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The message.
    pub id: QueueId,
    /// Where to.
    pub route: Route,
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// It needs SMTPUTF8 (RFC 6531): an address or a header field is not ASCII.
    pub smtputf8: bool,
    /// What its content needs.
    pub body: Body,
    /// RET= (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID= (RFC 3461 4.4), decoded.
    pub envid: Option<Text<100>>,
    /// REQUIRETLS (RFC 8689): every hop must authenticate its server by TLS and offer the same.
    pub require_tls: bool,
    /// `TLS-Required: No` (RFC 8689 3): better in clear text than not at all, whatever the destination's policy says.
    pub tls_optional: bool,
    /// RCPT TO, all within the destination.
    pub recipients: List<LeaseRecipient, MAX_RECIPIENTS>,
    /// Header fields in front of the message, each ended by CRLF.
    pub prefix: ByteBuf,
}

/// One recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecipient {
    /// Which of the message's deliveries.
    pub number: u32,
    /// The forward-path.
    pub address: Address,
    /// NOTIFY=, if given.
    pub notify: Option<Notify>,
    /// ORCPT=, decoded.
    pub orcpt: Option<(Text<64>, Text<500>)>,
}

/// What send may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Deliver`] and [`Request::Known`].
    Report(Box<Report>),
    /// To [`Request::ReportTo`]: mail addresses; empty when the domain wants no reports, none when it cannot be known now.
    ReportTo(Option<List<Address, 8>>),
}

/// What became of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Every recipient of the lease, once.
    pub results: List<(u32, Outcome), MAX_RECIPIENTS>,
    /// Each negotiation of TLS, for RFC 8460.
    pub tls: List<TlsResult, MAX_TLS_RESULTS>,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The remote has taken responsibility.
    Delivered {
        /// It also took over the DSN parameters (RFC 3461 6): a report of success is its duty. Otherwise ours ("relayed").
        dsn: bool,
        /// What it said.
        trace: Trace,
    },
    /// For good.
    Failed(Trace),
    /// Try again later.
    Deferred(Trace),
    /// No host takes 8-bit content (RFC 6152 3): offer the message again in seven bits.
    NeedsSevenBit,
    /// Not tried to the end, since others of the lease were delivered, which is to be noted first: offer it again at once.
    Again,
}

/// What was said by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// RFC 3463; ours when the remote gave none.
    pub status: Status,
    /// The remote's reply, code and text on one line; none when the failure was noticed here.
    pub reply: Option<Text<1000>>,
    /// What happened, for a person.
    pub text: Text<500>,
    /// The host that it was about.
    pub remote: Option<Remote>,
}

/// RFC 3463 2: class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status(pub u8, pub u16, pub u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A host that was spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its name, from MX or configuration.
    pub host: Domain,
    /// Its address, if a connection was tried.
    pub address: Option<IpAddr>,
    /// The connection's encryption, if any.
    pub tls: Option<Tls>,
}

/// One negotiation of TLS with one host (RFC 8460 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsResult {
    /// The domain that the mail was for.
    pub domain: Domain,
    /// By which policy.
    pub policy: TlsPolicy,
    /// The policy's own lines: TLSA records or the MTA-STS policy, for the report.
    pub policy_text: List<Text<500>, 32>,
    /// The host.
    pub mx: Domain,
    /// Its address.
    pub address: Option<IpAddr>,
    /// None: TLS was established as the policy wants.
    pub failure: Option<TlsFailure>,
}

/// RFC 8460 4.2 policy-type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TlsPolicy {
    /// `tlsa`
    Dane,
    /// `sts`
    MtaSts,
    /// `no-policy-found`
    None,
}

/// RFC 8460 4.3 result-type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TlsFailure {
    /// `starttls-not-supported`
    StartTlsNotSupported,
    /// `certificate-host-mismatch`
    CertificateHostMismatch,
    /// `certificate-not-trusted`
    CertificateNotTrusted,
    /// `certificate-expired`
    CertificateExpired,
    /// `validation-failure`
    ValidationFailure,
    /// `tlsa-invalid`
    TlsaInvalid,
    /// `dnssec-invalid`
    DnssecInvalid,
    /// `dane-required`
    DaneRequired,
    /// `sts-policy-fetch-error`
    StsPolicyFetchError,
    /// `sts-policy-invalid`
    StsPolicyInvalid,
    /// `sts-webpki-invalid`
    StsWebpkiInvalid,
}
