//! `[domains]`, `[accounts]`, `[aliases]`: who receives mail.

use super::{
    DeclaredDomain, Reader,
    tree::{Item, Placed, Section},
};
use crate::{AccountConfig, AliasConfig, Domain, DomainConfig, MAX_ALIAS_TARGETS, MIN_QUOTA, Size};
use std::collections::BTreeMap;

impl Reader {
    pub(super) fn domains(&mut self, section: &Section<'_>) -> BTreeMap<Domain, DomainConfig> {
        let mut domains = BTreeMap::new();
        for (name, item) in section.items() {
            let domain = self.domain_name(&item, name, "write a domain name such as [domains.\"example.org\"]");
            let Some(table) = self.table(&item, "write [domains.\"example.org\"]") else { continue };
            self.known(&table, &["catch_all", "subaddress_separator", "alias_of"]);
            let mut settings = DomainConfig {
                catch_all: table.get("catch_all").and_then(|item| self.address(&item)).map(|c| c.value),
                ..DomainConfig::default()
            };
            self.set(&table, "subaddress_separator", &mut settings.subaddress_separator, Self::separator);
            let alias_of = table.get("alias_of").and_then(|item| self.alias_of(&table, &item));
            settings.alias_of = alias_of.as_ref().map(|target| target.value.clone());
            let Some(domain) = domain else { continue };
            let separator = settings.subaddress_separator;
            self.declared.domains.push(DeclaredDomain { domain: item.place(domain.clone()), separator, alias_of });
            domains.insert(domain, settings);
        }
        domains
    }

    /// The other domain; what is declared for this one's own addresses has no meaning beside it.
    fn alias_of(&mut self, table: &Section<'_>, item: &Item<'_>) -> Option<Placed<Domain>> {
        for own in ["catch_all", "subaddress_separator"] {
            if let Some(own) = table.get(own) {
                self.fail::<()>(&own, "has no meaning beside alias_of", "declare it for the other domain");
            }
        }
        let text = self.string(item)?;
        self.domain_name(item, text, "write the name of another declared domain").map(|domain| item.place(domain))
    }

    /// One character that may stand in a dot-string without quotes and is neither letter, digit nor dot.
    fn separator(&mut self, item: &Item<'_>) -> Option<Option<char>> {
        let text = self.string(item)?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (None, _) => Some(None),
            (Some(c), None) if "!#$%&'*+-/=?^_`{|}~".contains(c) => Some(Some(c)),
            _ => self.fail(item, "is not one separator character", "write one of + - = _ # or \"\" to turn subaddressing off"),
        }
    }

    pub(super) fn accounts(&mut self, section: &Section<'_>) -> Vec<AccountConfig> {
        let mut accounts = Vec::new();
        for (name, item) in section.items() {
            let address = self.parse_address(&item, name);
            let Some(table) = self.table(&item, "write [accounts.\"alice@example.org\"]") else { continue };
            self.no_secrets(&table, || format!("set it with \"postern account passwd {name}\" or give the credential \"account.{name}\""));
            self.known(&table, &["aliases", "quota", "hide_client"]);
            let aliases = table.get("aliases").map(|item| self.addresses(&item)).unwrap_or_default();
            let quota = table.get("quota").and_then(|item| self.size(&item, MIN_QUOTA..=Size::from_bytes(i64::MAX as u64)));
            let hide_client = table.get("hide_client").and_then(|item| self.boolean(&item));
            let Some(address) = address else { continue };
            accounts.push(AccountConfig {
                address: address.value.clone(),
                aliases: aliases.iter().map(|a| a.value.clone()).collect(),
                quota,
                hide_client,
            });
            self.declared.accounts.push((address, aliases));
        }
        accounts
    }

    pub(super) fn aliases(&mut self, section: &Section<'_>) -> Vec<AliasConfig> {
        let mut aliases = Vec::new();
        for (name, item) in section.items() {
            let address = self.parse_address(&item, name);
            let before = self.errors.len();
            let targets = self.addresses(&item);
            if targets.is_empty() && self.errors.len() == before {
                self.fail::<()>(&item, "has no target", "name at least one address, or remove the alias");
            }
            if targets.len() > MAX_ALIAS_TARGETS {
                self.fail::<()>(&item, format!("has more than {MAX_ALIAS_TARGETS} targets"), "split it into several aliases");
            }
            let Some(address) = address else { continue };
            aliases.push(AliasConfig { address: address.value.clone(), targets: targets.iter().map(|t| t.value.clone()).collect() });
            self.declared.aliases.push((address, targets));
        }
        aliases
    }
}
