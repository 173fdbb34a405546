//! What is declared about mail that leaves: `[dns]`, `[send]`, `[dkim]`.

use crate::{Address, Domain, Network};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// The most connections to one destination that may be declared.
pub const MAX_DESTINATION_CONNECTIONS: u32 = 100;
/// Connections to one destination when nothing is declared.
pub const DEFAULT_DESTINATION_CONNECTIONS: u32 = 10;
/// How long delivery is tried when nothing is declared (RFC 5321 4.5.4.1: at least 4 to 5 days).
pub const DEFAULT_EXPIRE: Duration = Duration::from_secs(5 * 86_400);
/// When the sender hears of a delay when nothing is declared.
pub const DEFAULT_WARN_AFTER: Duration = Duration::from_secs(4 * 3600);
/// The shortest rotation that may be declared: old mail must be able to age out between two.
pub const MIN_DKIM_ROTATION: Duration = Duration::from_secs(14 * 86_400);
/// The longest: in effect for ever, which is written "0".
pub const MAX_DKIM_ROTATION: Duration = Duration::from_secs(3_650 * 86_400);
/// The shortest time of delivery that may be declared.
pub const MIN_EXPIRE: Duration = Duration::from_secs(3_600);
/// The longest.
pub const MAX_EXPIRE: Duration = Duration::from_secs(30 * 86_400);
/// The earliest warning that may be declared: greylisting alone takes minutes.
pub const MIN_WARN_AFTER: Duration = Duration::from_secs(10 * 60);
/// The most messages to one destination in a minute that may be declared as a limit.
pub const MAX_DESTINATION_RATE: u32 = 100_000;
/// The most messages or recipients of an account in an hour or a day that may be declared as a limit.
pub const MAX_ACCOUNT_RATE: u32 = 10_000_000;
/// The most name servers that may be declared.
pub const MAX_DNS_SERVERS: usize = 8;
/// The most source addresses that may be declared.
pub const MAX_SOURCE_ADDRESSES: usize = 16;
/// The most private networks that may be declared.
pub const MAX_PRIVATE_NETWORKS: usize = 64;
/// The most fingerprints of one destination that may be declared.
pub const MAX_FINGERPRINTS: usize = 16;
/// Bytes of a smarthost's name; it goes into a `Text<64>` on the edge to send.
pub const MAX_SMARTHOST_NAME: usize = 64;
/// Bytes of a smarthost's user (RFC 4616 2 allows 255 and more; servers do not).
pub const MAX_SMARTHOST_USER: usize = 255;
/// Bytes of a smarthost's `spf`.
pub const MAX_SPF_MECHANISM: usize = 200;
/// Where `System` looks for name servers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// `[dns]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// `servers` or `recursive`.
    pub resolver: Resolver,
    /// `trust_anchor`: DS or DNSKEY records of the root in zone-file form, instead of IANA's.
    pub trust_anchor: Option<PathBuf>,
}

/// Who is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Resolver {
    /// The servers that `/etc/resolv.conf` names.
    #[default]
    System,
    /// `servers`: these.
    Servers(Vec<SocketAddr>),
    /// `recursive = true`: nobody but the authoritative servers, from the root on.
    Recursive,
}

/// `[send]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendConfig {
    /// `paused`: mail to other domains is accepted and kept, and nothing is sent.
    pub paused: bool,
    /// `source_addresses`: addresses of this host that connections are made from; of each family the first that can be used.
    pub source_addresses: Vec<IpAddr>,
    /// `private_networks`: that are not public, and where mail hosts are that the DNS names all the same.
    pub private_networks: Vec<Network>,
    /// `smarthost`: for everything that no domain or sender says otherwise.
    pub smarthost: Option<String>,
    /// `[send.smarthosts.NAME]`.
    pub smarthosts: BTreeMap<String, Smarthost>,
    /// `[send.senders]`: smarthosts by the reverse-path's address ([`Address::key`]), before all others.
    pub sender_addresses: BTreeMap<String, String>,
    /// `[send.senders]`: smarthosts by the reverse-path's domain.
    pub sender_domains: BTreeMap<Domain, String>,
    /// `[send.domains."example.net"]`.
    pub destinations: BTreeMap<Domain, Destination>,
    /// `connections_per_destination`.
    pub connections_per_destination: u32,
    /// `messages_per_minute`: to one destination; none is no limit.
    pub messages_per_minute: Option<u32>,
    /// `expire`: how long delivery is tried.
    pub expire: Duration,
    /// `warn_after`: when the sender hears of a delay; none ("0") is never.
    pub warn_after: Option<Duration>,
    /// `hide_client`: Received does not tell from where an account submitted, and its user agent is taken out.
    pub hide_client: bool,
    /// `tls_reports`: send reports on TLS to domains that want them (RFC 8460).
    pub tls_reports: bool,
}

impl Default for SendConfig {
    fn default() -> Self {
        Self {
            paused: false,
            source_addresses: Vec::new(),
            private_networks: Vec::new(),
            smarthost: None,
            smarthosts: BTreeMap::new(),
            sender_addresses: BTreeMap::new(),
            sender_domains: BTreeMap::new(),
            destinations: BTreeMap::new(),
            connections_per_destination: DEFAULT_DESTINATION_CONNECTIONS,
            messages_per_minute: None,
            expire: DEFAULT_EXPIRE,
            warn_after: Some(DEFAULT_WARN_AFTER),
            hide_client: false,
            tls_reports: true,
        }
    }
}

impl SendConfig {
    /// The smarthost for mail from `sender` to `destination`: by the sender's address, its domain, the destination, then the default.
    pub fn smarthost(&self, sender: Option<&Address>, destination: &Domain) -> Option<&str> {
        sender
            .and_then(|sender| self.sender_addresses.get(&sender.key()).or_else(|| self.sender_domains.get(&sender.domain)))
            .or_else(|| self.destinations.get(destination).and_then(|d| d.smarthost.as_ref()))
            .or(self.smarthost.as_ref())
            .map(String::as_str)
    }
}

/// `[send.smarthosts.NAME]`. Its password is the credential `smarthost.NAME` of the process "send".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smarthost {
    /// `host`: a name or an address.
    pub host: SmarthostName,
    /// `port`; 465 with implicit TLS, else 587.
    pub port: u16,
    /// `tls`: `implicit` (the default), `starttls`, `none`.
    pub tls: SmarthostTls,
    /// `user`: to log in as.
    pub user: Option<String>,
    /// `certificate_authority`: a PEM file to trust instead of the public ones.
    pub authority: Option<PathBuf>,
    /// `spf`: the mechanism by which SPF records name what it sends from (RFC 7208 5), such as `include:_spf.example.com`.
    pub spf: Option<String>,
}

/// Where a smarthost is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmarthostName {
    /// Looked up.
    Name(Domain),
    /// Used as it is; its certificate must name the address.
    Address(IpAddr),
}

/// How the connection to a smarthost is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmarthostTls {
    /// TLS from the first byte, certificate verified.
    Implicit,
    /// STARTTLS, certificate verified.
    StartTls,
    /// No TLS; only without `user`.
    None,
}

/// `[send.domains."example.net"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destination {
    /// `smarthost`.
    pub smarthost: Option<String>,
    /// `tls`: instead of what DANE, MTA-STS and chance would give.
    pub tls: Option<TlsLevel>,
    /// `fingerprints`: SHA-256 of the certificates that are accepted, for `tls = "fingerprint"`.
    pub fingerprints: Vec<[u8; 32]>,
}

/// What is required of the connection to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsLevel {
    /// `none`: plain text even where TLS is offered.
    None,
    /// `may`: TLS where offered, any certificate.
    May,
    /// `encrypt`: TLS, any certificate.
    Encrypt,
    /// `verify`: TLS with a certificate for the host from a public authority.
    Verify,
    /// `dane-only`: TLSA records must exist and match.
    DaneOnly,
    /// `fingerprint`: one of these certificates.
    Fingerprint,
}

/// `[dkim]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DkimConfig {
    /// `rotate`: how long a key signs; none ("0", the default) is for ever, since who publishes no new key in time loses every signature.
    pub rotate: Option<Duration>,
}

/// `[limits.sending]`: what one account may send, so that a stolen password does not burn the domain. None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendingLimits {
    /// `messages_per_hour`.
    pub messages_per_hour: Option<u32>,
    /// `messages_per_day`.
    pub messages_per_day: Option<u32>,
    /// `recipients_per_hour`.
    pub recipients_per_hour: Option<u32>,
    /// `recipients_per_day`.
    pub recipients_per_day: Option<u32>,
}

impl Default for SendingLimits {
    /// Far above what a person writes, far below what a thief wants.
    fn default() -> Self {
        Self {
            messages_per_hour: Some(300),
            messages_per_day: Some(2_000),
            recipients_per_hour: Some(1_000),
            recipients_per_day: Some(5_000),
        }
    }
}
