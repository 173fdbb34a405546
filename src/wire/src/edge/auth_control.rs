//! postern -> auth: accounts, domains and aliases that are not declared in the configuration.

use crate::{Edge, List};
use pure_addr::{Address, Domain};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// See the module.
#[derive(Debug)]
pub struct AuthControl;

/// Bytes of a password.
pub const MAX_PASSWORD: usize = 1024;
/// Characters that a password must have to be set (NIST SP 800-63B 5.1.1.1).
pub const MIN_PASSWORD: usize = 8;

impl Edge for AuthControl {
    const NAME: &'static str = "auth-control";
    const MAX_BODY: usize = 8 * 1024 * 1024;
    const MAX_FDS: usize = 0;
    const SECRET: bool = true;
    type Request = Request;
    type Response = Response;
    type Event = super::Never;
}

/// A password on its way to its verifier; overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Password(pub String);

impl Drop for Password {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Every account.
    Accounts,
    /// A new account; without a password it cannot log in.
    AddAccount {
        /// Its primary address, in a hosted domain.
        address: Address,
        /// For PLAIN and SCRAM.
        password: Option<Password>,
        /// Bytes; none: the configured default.
        quota: Option<u64>,
    },
    /// Ends an account. Its mail stays on disk.
    RemoveAccount(Address),
    /// A new password.
    SetPassword {
        /// Whose.
        address: Address,
        /// Which.
        password: Password,
    },
    /// Every hosted domain.
    Domains,
    /// Host a domain.
    AddDomain(Domain),
    /// Stop hosting it; refused while accounts or aliases are in it.
    RemoveDomain(Domain),
    /// Every alias.
    Aliases,
    /// Send mail for `address` to `targets`.
    AddAlias {
        /// Where mail arrives.
        address: Address,
        /// Where it goes.
        targets: List<Address, 256>,
    },
    /// Ends an alias.
    RemoveAlias(Address),
}

/// What `auth` may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `Accounts`.
    Accounts(List<Account, 20_000>),
    /// To `Domains`.
    Domains(List<(Domain, bool), 20_000>),
    /// To `Aliases`.
    Aliases(List<Alias, 20_000>),
    /// It is done and on disk; if it ends the account's logins, their open sessions are ended too.
    Done,
    /// It is done and on disk, but the store or the queue did not say that the account's open sessions have ended.
    SessionsLeft,
    /// It is not done, for this reason.
    Refused(Refusal),
}

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Accounts and aliases live in hosted domains.
    #[error("its domain is not hosted here; add the domain first")]
    DomainNotHosted,
    /// An account, an alias or a domain has this name.
    #[error("it exists already, or something else has its name")]
    Taken,
    /// Nothing has this address or name.
    #[error("there is no such entry")]
    NotFound,
    /// It stands in the configuration file.
    #[error("it is declared in the configuration file; change it there")]
    Declared,
    /// A domain that is not empty.
    #[error("accounts or aliases still use the domain; remove them first")]
    InUse,
    /// An account that others lead to.
    #[error("aliases, a catch_all or the postmaster still lead to the account; change them first")]
    LedTo,
    /// Too short, too long, or with control characters.
    #[error("a password must have at least {} characters, at most {} bytes, and no control characters", MIN_PASSWORD, MAX_PASSWORD)]
    Password,
    /// An alias that leads back to itself.
    #[error("the alias would lead back to itself")]
    AliasLoop,
    /// Of its kind.
    #[error("there are as many as there may be")]
    TooMany,
    /// A disk that is full, for one.
    #[error("it could not be stored, and nothing was changed; the log of auth says why")]
    NotStored,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its primary address.
    pub address: Address,
    /// Its number.
    pub id: pure_addr::AccountId,
    /// Whether the configuration declares it.
    pub declared: bool,
    /// Whether it has a verifier.
    pub can_log_in: bool,
    /// Bytes it may store.
    pub quota: Option<u64>,
}

/// One alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// Where mail arrives.
    pub address: Address,
    /// Where it goes.
    pub targets: List<Address, 256>,
    /// Whether the configuration declares it.
    pub declared: bool,
}
