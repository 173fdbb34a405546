//! `postern.toml`: the one declaration of what this installation is. Text in, [`Config`] or every mistake out.
//!
//! Invariants:
//!
//! * strict: an unknown key, a wrong type or a value out of range is an error, never a default;
//! * complete: all mistakes are reported together, each with its key, its line and what to do about it;
//! * no secret has a place here: passwords live in auth's database or in credentials;
//! * what [`Config::parse`] returns is consistent: every address is in a declared domain and given once, no alias
//!   leads back to itself.
//!
//! `postern.example.toml` beside this crate documents every key; a test parses it.

mod check;
mod error;
mod network;
mod outbound;
mod read;
mod size;
mod span;
#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use network::{InvalidNetwork, Network};
pub use outbound::*;
pub use pure_addr::{Address, Domain};
pub use size::{InvalidSize, Size};
pub use span::{InvalidSpan, Span};

use std::{collections::BTreeMap, path::PathBuf};

/// Bytes of a configuration; far above any real one.
pub const MAX_CONFIG: usize = 16 * 1024 * 1024;
/// Targets of one alias.
pub const MAX_ALIAS_TARGETS: usize = 256;
/// The smallest message size that may be declared (RFC 5321 4.5.3.1.7).
pub const MIN_MESSAGE_SIZE: Size = Size::from_bytes(64 * 1024);
/// The largest message size that may be declared.
pub const MAX_MESSAGE_SIZE: Size = Size::from_bytes(1024 * 1024 * 1024);
/// The message size when none is declared.
pub const DEFAULT_MESSAGE_SIZE: Size = Size::from_bytes(50 * 1024 * 1024);
/// The fewest recipients of a transaction that may be declared (RFC 5321 4.5.3.1.8).
pub const MIN_RECIPIENTS: u32 = 100;
/// The most recipients of a transaction that may be declared.
pub const MAX_RECIPIENTS: u32 = 1000;
/// Recipients of a transaction when nothing is declared.
pub const DEFAULT_RECIPIENTS: u32 = 1000;
/// The most connections of one peer that may be declared.
pub const MAX_CONNECTIONS_PER_PEER: u32 = 10_000;
/// Connections of one peer (an IPv4 address or an IPv6 /64) to one listener when nothing is declared.
pub const DEFAULT_CONNECTIONS_PER_PEER: u32 = 50;
/// Failed logins of one network that cost it nothing, when nothing is declared.
pub const DEFAULT_LOGIN_FAILURES: u32 = 10;
/// The most that may be declared.
pub const MAX_LOGIN_FAILURES: u32 = 1000;
/// The smallest quota that may be declared: room for one message of the default size would be too much to ask.
pub const MIN_QUOTA: Size = Size::from_bytes(1024 * 1024);
/// The most trusted sealers that may be declared.
pub const MAX_TRUSTED_SEALERS: usize = 1_000;
/// What separates user and detail of a local part when nothing is declared (RFC 5233).
pub const DEFAULT_SUBADDRESS_SEPARATOR: char = '+';

/// A whole, consistent declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `hostname`: what the servers call themselves (RFC 5321 4.1.1.1); a domain name with at least two labels.
    pub hostname: Domain,
    /// `allow_weak_sandbox`: start on kernels that cannot enforce the whole confinement.
    pub allow_weak_sandbox: bool,
    /// `postmaster`: receives mail for `postmaster@` and `abuse@` every hosted domain that has no such address of its
    /// own (RFC 5321 4.5.1, RFC 2142).
    pub postmaster: Option<Address>,
    /// `[domains."example.org"]`: the domains that mail is accepted for.
    pub domains: BTreeMap<Domain, DomainConfig>,
    /// `[accounts."alice@example.org"]`, in the order of their names.
    pub accounts: Vec<AccountConfig>,
    /// `[aliases]`, in the order of their names.
    pub aliases: Vec<AliasConfig>,
    /// `[tls]` and `[[tls.certificates]]`; the first is shown to clients that ask for no name we know. Empty when the
    /// certificate comes as the credentials `tls.crt` and `tls.key`.
    pub tls: Vec<CertificateFiles>,
    /// `[mx]`.
    pub mx: MxConfig,
    /// `[dns]`.
    pub dns: DnsConfig,
    /// `[send]`.
    pub send: SendConfig,
    /// `[dkim]`.
    pub dkim: DkimConfig,
    /// `[limits]`.
    pub limits: Limits,
}

/// `[domains."example.org"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainConfig {
    /// `catch_all`: receives mail for every address of the domain that does not exist.
    pub catch_all: Option<Address>,
    /// `subaddress_separator`: `alice+news@` is `alice@`; none when the feature is off.
    pub subaddress_separator: Option<char>,
    /// `alias_of`: every address of this domain is the same address of that one.
    pub alias_of: Option<Domain>,
}

impl Default for DomainConfig {
    fn default() -> Self {
        Self { catch_all: None, subaddress_separator: Some(DEFAULT_SUBADDRESS_SEPARATOR), alias_of: None }
    }
}

/// `[accounts."alice@example.org"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountConfig {
    /// The name to log in with, and the account's first address.
    pub address: Address,
    /// `aliases`: further addresses that the account receives for and may send as.
    pub aliases: Vec<Address>,
    /// `quota`: bytes of mail the account may keep; `limits.quota` when not declared.
    pub quota: Option<Size>,
    /// `hide_client`: `send.hide_client` when not declared.
    pub hide_client: Option<bool>,
}

/// One line of `[aliases]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasConfig {
    /// The address that is not an account.
    pub address: Address,
    /// Who receives its mail; at least one, at most [`MAX_ALIAS_TARGETS`].
    pub targets: Vec<Address>,
}

/// A certificate chain and its key, both PEM, by absolute path. Read by `keys` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `certificate`: the chain, leaf first.
    pub certificate: PathBuf,
    /// `private_key`: PKCS #8, SEC1 or PKCS #1.
    pub private_key: PathBuf,
}

/// `[mx]`: mail that comes from other servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MxConfig {
    /// `accept_own_unauthenticated`: take mail that says that it is from a domain of ours also when neither SPF nor DKIM proves it.
    pub accept_own_unauthenticated: bool,
    /// `trusted_sealers`: domains whose ARC seals (RFC 8617) are believed about what they passed on.
    pub trusted_sealers: Vec<Domain>,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `message_size`: bytes of a whole message, in and out.
    pub message_size: Size,
    /// `recipients`: of one SMTP transaction.
    pub recipients: u32,
    /// `connections_per_peer`: connections that one IPv4 address or IPv6 /64 may hold to one listener.
    pub connections_per_peer: u32,
    /// `login_failures`: failed logins after which a network has to wait; none when that is turned off (0).
    pub login_failures: Option<u32>,
    /// `quota`: bytes of mail of an account that declares none; unlimited when not declared.
    pub quota: Option<Size>,
    /// `[limits.sending]`.
    pub sending: SendingLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: DEFAULT_MESSAGE_SIZE,
            recipients: DEFAULT_RECIPIENTS,
            connections_per_peer: DEFAULT_CONNECTIONS_PER_PEER,
            login_failures: Some(DEFAULT_LOGIN_FAILURES),
            quota: None,
            sending: SendingLimits::default(),
        }
    }
}

impl Config {
    /// Reads the text of a `postern.toml`. On failure, every mistake in the order of its line, at least one.
    pub fn parse(text: &str) -> Result<Self, Vec<ConfigError>> {
        read::read(text)
    }
}
