//! What the configuration says about mail that comes and mail that leaves, in the form that the queue uses.

use pure_addr::{Address, Domain, LocalPart};
use pure_config::{Config, MxConfig, SendConfig, SendingLimits};
use std::collections::BTreeMap;
use wire::edge::send_deliver::Route;

/// See the module.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[send]`.
    pub send: SendConfig,
    /// `[mx]`.
    pub mx: MxConfig,
    /// `[limits.sending]`.
    pub sending: SendingLimits,
    /// Whom reports are from, and who hears of trouble.
    pub postmaster: Address,
    /// `accounts.X.hide_client`, by the account's [`Address::key`].
    pub hide_client: BTreeMap<String, bool>,
}

impl Settings {
    /// What a whole configuration says. None when there is no domain that a postmaster could have.
    pub fn from_config(config: &Config) -> Option<Self> {
        let hide_client = config.accounts.iter().filter_map(|a| Some((a.address.key(), a.hide_client?))).collect();
        Some(Self {
            send: config.send.clone(),
            mx: config.mx.clone(),
            sending: config.limits.sending,
            // RFC 5321 4.5.1: every hosted domain has one.
            postmaster: match &config.postmaster {
                Some(address) => address.clone(),
                None => {
                    let domain = config.domains.keys().next().unwrap_or(&config.hostname).clone();
                    Address { local: LocalPart::new("postmaster").ok()?, domain }
                }
            },
            hide_client,
        })
    }

    /// Which way mail from `sender` to `domain` goes.
    pub(crate) fn route(&self, sender: Option<&Address>, domain: &Domain) -> Route {
        match self.send.smarthost(sender, domain).and_then(|name| pure_addr::Text::new(name).ok()) {
            Some(name) => Route::Smarthost(name),
            None => Route::Direct(domain.clone()),
        }
    }

    /// Whether what an account submits shall not tell from where.
    pub(crate) fn hides(&self, account: &Address) -> bool {
        self.hide_client.get(&account.key()).copied().unwrap_or(self.send.hide_client)
    }
}

/// A route as it stands in the database.
pub(crate) fn key(route: &Route) -> String {
    match route {
        Route::Direct(domain) => domain.as_str().to_owned(),
        // No domain has a colon in front.
        Route::Smarthost(name) => format!(":{name}"),
    }
}

/// Back from [`key`].
pub(crate) fn route(key: &str) -> Option<Route> {
    match key.strip_prefix(':') {
        Some(name) => pure_addr::Text::new(name).ok().map(Route::Smarthost),
        None => Domain::parse(key).ok().map(Route::Direct),
    }
}
