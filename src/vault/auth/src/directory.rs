//! Who lives here: declared and run-time accounts, domains and aliases as one map in memory.
//!
//! * What the configuration declares wins over what was added at run time.
//! * Resolution is iterative, visits an address once, and never returns a part of what it should: too many targets are
//!   an error, which the queue turns into "try later".
//! * Addresses of hosted domains ignore case.
//! * An address in an alias domain is the same address in the domain that it stands for; nothing is kept under it.

use crate::{
    database::{Stored, Targets},
    limits::{MAX_EXPANSIONS, MAX_SENDER_ALIAS_DEPTH},
    verifier::{Cost, Verifiers},
};
use pure_addr::{AccountId, Address, Domain, Text};
use pure_config::{Config, DomainConfig};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};
use wire::{
    List,
    edge::{
        auth_directory::{MAX_TARGETS, Target},
        mail::Owner,
    },
};

/// An account with all that logging in needs.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) address: Address,
    /// Bytes; none: the configured default.
    pub(crate) quota: Option<u64>,
    pub(crate) declared: bool,
    /// The verifiers came as a credential, so `passwd` may not change them.
    pub(crate) verifiers_declared: bool,
    pub(crate) verifiers: Verifiers,
}

/// An alias.
#[derive(Debug, Clone)]
pub(crate) struct Alias {
    pub(crate) address: Address,
    pub(crate) targets: Targets,
    pub(crate) declared: bool,
}

/// A hosted domain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosted {
    settings: DomainConfig,
    pub(crate) declared: bool,
}

/// What is at an address.
#[derive(Debug, Clone)]
enum Entry {
    Account(AccountId),
    Alias(Alias),
}

/// Where mail for an address goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    NotLocal,
    Unknown,
    Targets(List<Target, MAX_TARGETS>),
}

/// An address leads to more targets, or through more aliases, than the limits allow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address leads to too many targets")]
pub(crate) struct TooManyTargets;

/// The map.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    accounts: HashMap<AccountId, Account>,
    entries: HashMap<String, Entry>,
    domains: BTreeMap<Domain, Hosted>,
    hostname: Option<Domain>,
    postmaster: Option<Address>,
    default_quota: Option<u64>,
    /// The costs of all verifiers, so that the work for nobody looks like the work for somebody.
    costs: Vec<Cost>,
    /// Salt length and rounds of all SCRAM keys, for the same reason.
    scram_shapes: Vec<(usize, u32)>,
}

impl Directory {
    /// `stored` must hold a row for every declared account. `credentials` are declared verifiers by address key.
    pub(crate) fn build(config: &Config, stored: Stored, mut credentials: HashMap<String, Verifiers>) -> Self {
        let mut directory = Self {
            hostname: Some(config.hostname.clone()),
            postmaster: config.postmaster.clone(),
            default_quota: config.limits.quota.map(|size| size.bytes()),
            ..Self::default()
        };
        for domain in stored.domains {
            directory.domains.insert(domain, Hosted::default());
        }
        for (domain, settings) in &config.domains {
            directory.domains.insert(domain.clone(), Hosted { settings: settings.clone(), declared: true });
        }
        let mut rows: HashMap<String, _> = stored.accounts.into_iter().map(|row| (row.address.key(), row)).collect();
        for declared in &config.accounts {
            let key = declared.address.key();
            let Some(row) = rows.remove(&key) else { continue };
            let credential = credentials.remove(&key);
            let account = Account {
                id: row.id,
                address: declared.address.clone(),
                quota: declared.quota.map(|size| size.bytes()),
                declared: true,
                verifiers_declared: credential.is_some(),
                verifiers: credential.unwrap_or(row.verifiers),
            };
            for alias in &declared.aliases {
                directory.entries.insert(alias.key(), Entry::Account(row.id));
            }
            directory.insert_account(account);
        }
        for alias in &config.aliases {
            let targets = Targets::new(alias.targets.clone()).unwrap_or_default();
            directory.insert_alias(Alias { address: alias.address.clone(), targets, declared: true });
        }
        for row in rows.into_values().filter(|row| row.run_time) {
            if directory.is_taken(&row.address) {
                tracing::warn!(account = %row.address, "an account added at run time is hidden by a declared address");
                continue;
            }
            directory.insert_account(Account {
                id: row.id,
                address: row.address,
                quota: row.quota,
                declared: false,
                verifiers_declared: false,
                verifiers: row.verifiers,
            });
        }
        for (address, targets) in stored.aliases {
            if directory.is_taken(&address) {
                tracing::warn!(alias = %address, "an alias added at run time is hidden by a declared address");
                continue;
            }
            directory.insert_alias(Alias { address, targets, declared: false });
        }
        directory.note_verifiers();
        for (named_by, address) in directory.led().filter(|(_, address)| directory.is_ours(address) && directory.find(address).is_none()) {
            tracing::warn!(%named_by, %address, "leads to an address of ours at which there is nobody");
        }
        directory
    }

    /// Where mail for `address` goes.
    pub(crate) fn resolve(&self, address: &Address) -> Result<Resolution, TooManyTargets> {
        if !self.is_ours(address) {
            return Ok(Resolution::NotLocal);
        }
        let mut found: List<Target, MAX_TARGETS> = List::default();
        let mut seen: HashSet<String> = HashSet::new();
        let mut waiting = vec![address.clone()];
        while let Some(address) = waiting.pop() {
            let address = self.canonical(&address).into_owned();
            if !seen.insert(address.key()) {
                continue;
            }
            if seen.len() > MAX_EXPANSIONS {
                return Err(TooManyTargets);
            }
            if !self.is_ours(&address) {
                found.push(Target::Remote(address)).map_err(|_| TooManyTargets)?;
                continue;
            }
            match self.find(&address) {
                Some((Entry::Account(id), detail)) => {
                    let Some(account) = self.accounts.get(id) else { continue };
                    // Two ways to one account are one delivery.
                    if !found.iter().any(|t| matches!(t, Target::Account { owner, .. } if owner.account == *id)) {
                        found.push(Target::Account { owner: self.owner(account), detail }).map_err(|_| TooManyTargets)?;
                    }
                }
                // In reverse, so that the first target is followed first.
                Some((Entry::Alias(alias), _)) => waiting.extend(alias.targets.iter().rev().cloned()),
                None => waiting.extend(self.fallback(&address).cloned()),
            }
        }
        Ok(if found.is_empty() { Resolution::Unknown } else { Resolution::Targets(found) })
    }

    /// Whether an account may write as `address`: its own, with any subaddress, or an alias that leads to it alone.
    pub(crate) fn may_send(&self, account: AccountId, address: &Address) -> bool {
        let mut address = address;
        for _ in 0..MAX_SENDER_ALIAS_DEPTH {
            match self.find(address) {
                Some((Entry::Account(id), _)) => return *id == account,
                Some((Entry::Alias(alias), _)) => match &*alias.targets {
                    [only] => address = only,
                    _ => return false,
                },
                None => return false,
            }
        }
        false
    }

    /// The address itself, or what an address in an alias domain stands for.
    fn canonical<'a>(&self, address: &'a Address) -> Cow<'a, Address> {
        match self.domains.get(&address.domain).and_then(|hosted| hosted.settings.alias_of.as_ref()) {
            Some(domain) => Cow::Owned(Address { local: address.local.clone(), domain: domain.clone() }),
            None => Cow::Borrowed(address),
        }
    }

    /// What is at an address, or at what stands before its subaddress separator (RFC 5233).
    fn find(&self, address: &Address) -> Option<(&Entry, Option<Text<64>>)> {
        let address = &*self.canonical(address);
        if let Some(entry) = self.entries.get(&address.key()) {
            return Some((entry, None));
        }
        let separator = self.domains.get(&address.domain)?.settings.subaddress_separator?;
        let (user, detail) = address.local.subaddress(separator)?;
        let base = Address { local: user, domain: address.domain.clone() };
        Some((self.entries.get(&base.key())?, Text::new(detail).ok()))
    }

    /// Where aliases, catch-alls and the postmaster lead to, each with what names it.
    fn led(&self) -> impl Iterator<Item = (String, &Address)> {
        let aliases = self.aliases().flat_map(|alias| alias.targets.iter().map(|target| (format!("alias {}", alias.address), target)));
        let catch_alls =
            self.domains.iter().filter_map(|(name, hosted)| Some((format!("catch_all of {name}"), hosted.settings.catch_all.as_ref()?)));
        let postmaster = self.postmaster.iter().map(|address| ("postmaster".to_owned(), address));
        aliases.chain(catch_alls).chain(postmaster)
    }

    /// Whether anything but its own addresses leads to an account.
    pub(crate) fn is_led_to(&self, account: AccountId) -> bool {
        self.led().any(|(_, address)| matches!(self.find(address), Some((Entry::Account(id), _)) if *id == account))
    }

    /// Where mail goes for an address of ours at which nobody is.
    fn fallback(&self, address: &Address) -> Option<&Address> {
        let role = if is_role(address) { self.postmaster.as_ref() } else { None };
        role.or_else(|| self.domains.get(&address.domain)?.settings.catch_all.as_ref())
    }

    /// Hosted, or the postmaster of this very host (RFC 5321 4.5.1).
    fn is_ours(&self, address: &Address) -> bool {
        let of_host = || self.postmaster.is_some() && self.hostname.as_ref() == Some(&address.domain) && is_role(address);
        self.domains.contains_key(&address.domain) || of_host()
    }

    /// The account as other processes see it.
    pub(crate) fn owner(&self, account: &Account) -> Owner {
        Owner { account: account.id, address: account.address.clone(), quota: account.quota.or(self.default_quota) }
    }

    /// The account whose first address this is: the name to log in with.
    pub(crate) fn by_login(&self, address: &Address) -> Option<&Account> {
        let key = address.key();
        match self.entries.get(&key)? {
            Entry::Account(id) => self.accounts.get(id).filter(|account| account.address.key() == key),
            Entry::Alias(_) => None,
        }
    }

    pub(crate) fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// The cost of the verifier of some account, always the same one for the same number.
    pub(crate) fn decoy_cost(&self, number: u64) -> Cost {
        pick(&self.costs, number).unwrap_or_default()
    }

    /// Salt length and rounds of the SCRAM keys of some account.
    pub(crate) fn decoy_scram_shape(&self, number: u64) -> Option<(usize, u32)> {
        pick(&self.scram_shapes, number)
    }
}

/// `postmaster` and `abuse` (RFC 5321 4.5.1, RFC 2142 2).
fn is_role(address: &Address) -> bool {
    ["postmaster", "abuse"].iter().any(|role| address.local.as_str().eq_ignore_ascii_case(role))
}

fn pick<T: Copy>(list: &[T], number: u64) -> Option<T> {
    let at = number.checked_rem(u64::try_from(list.len()).ok()?)?;
    list.get(usize::try_from(at).ok()?).copied()
}

/// What the control edge sees and changes, after the database has.
impl Directory {
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    pub(crate) fn domains(&self) -> impl Iterator<Item = (&Domain, &Hosted)> {
        self.domains.iter()
    }

    pub(crate) fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Alias(alias) => Some(alias),
            Entry::Account(_) => None,
        })
    }

    pub(crate) fn domain(&self, domain: &Domain) -> Option<&Hosted> {
        self.domains.get(domain)
    }

    pub(crate) fn alias(&self, address: &Address) -> Option<&Alias> {
        match self.entries.get(&address.key())? {
            Entry::Alias(alias) => Some(alias),
            Entry::Account(_) => None,
        }
    }

    pub(crate) fn is_taken(&self, address: &Address) -> bool {
        self.is_alias_domain(&address.domain) || self.entries.contains_key(&address.key())
    }

    /// Whether the domain is declared to be another one by a second name, so that nothing can be at its own addresses.
    pub(crate) fn is_alias_domain(&self, domain: &Domain) -> bool {
        self.domains.get(domain).is_some_and(|hosted| hosted.settings.alias_of.is_some())
    }

    /// Whether an account or alias is in the domain.
    pub(crate) fn is_used(&self, domain: &Domain) -> bool {
        let aliases = self.aliases().map(|alias| &alias.address.domain);
        self.accounts.values().map(|account| &account.address.domain).chain(aliases).any(|used| used == domain)
    }

    /// Whether mail for `targets` could come back to `address`.
    pub(crate) fn would_loop(&self, address: &Address, targets: &[Address]) -> bool {
        let key = address.key();
        let mut seen = HashSet::new();
        let mut waiting: Vec<&Address> = targets.iter().collect();
        while let Some(target) = waiting.pop() {
            let target = &*self.canonical(target);
            let base = self.base(target);
            if target.key() == key || base.is_some_and(|base| base.key() == key) {
                return true;
            }
            if !seen.insert(target.key()) {
                continue;
            }
            if let Some((Entry::Alias(alias), _)) = self.find(target) {
                waiting.extend(alias.targets.iter());
            }
        }
        false
    }

    /// The address without its subaddress.
    fn base(&self, address: &Address) -> Option<Address> {
        let separator = self.domains.get(&address.domain)?.settings.subaddress_separator?;
        let (local, _) = address.local.subaddress(separator)?;
        Some(Address { local, domain: address.domain.clone() })
    }

    pub(crate) fn add_account(&mut self, account: Account) {
        self.insert_account(account);
        self.note_verifiers();
    }

    pub(crate) fn set_verifiers(&mut self, id: AccountId, verifiers: Verifiers) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.verifiers = verifiers;
        }
        self.note_verifiers();
    }

    pub(crate) fn remove_account(&mut self, id: AccountId) {
        self.accounts.remove(&id);
        self.entries.retain(|_, entry| !matches!(entry, Entry::Account(of) if *of == id));
        self.note_verifiers();
    }

    pub(crate) fn add_domain(&mut self, domain: Domain) {
        self.domains.insert(domain, Hosted::default());
    }

    pub(crate) fn remove_domain(&mut self, domain: &Domain) {
        self.domains.remove(domain);
    }

    pub(crate) fn insert_alias(&mut self, alias: Alias) {
        self.entries.insert(alias.address.key(), Entry::Alias(alias));
    }

    pub(crate) fn remove_alias(&mut self, address: &Address) {
        self.entries.remove(&address.key());
    }

    fn insert_account(&mut self, account: Account) {
        self.entries.insert(account.address.key(), Entry::Account(account.id));
        self.accounts.insert(account.id, account);
    }

    /// Sorted by number, so that the same decoy is picked while the accounts stay the same.
    fn note_verifiers(&mut self) {
        let mut accounts: Vec<&Account> = self.accounts.values().collect();
        accounts.sort_by_key(|account| account.id);
        self.costs = accounts.iter().filter_map(|account| Some(account.verifiers.argon2.as_ref()?.cost())).collect();
        let shape = |account: &&Account| account.verifiers.scram.as_ref().map(|keys| (keys.salt.len(), keys.iterations));
        self.scram_shapes = accounts.iter().filter_map(shape).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::StoredAccount;

    const CONFIG: &str = r#"
        hostname = "mail.mta.test"
        postmaster = "alice@mta.test"
        [domains."mta.test"]
        [domains."catch.test"]
        catch_all = "everything@mta.test"
        subaddress_separator = "-"
        [domains."plain.test"]
        subaddress_separator = ""
        [domains."circle.test"]
        catch_all = "nobody@circle.test"
        [domains."second.test"]
        alias_of = "mta.test"
        [domains."second-catch.test"]
        alias_of = "catch.test"
        [accounts."alice@mta.test"]
        aliases = ["alice@plain.test"]
        [accounts."bob@mta.test"]
        [accounts."abuse@catch.test"]
        [aliases]
        "all@mta.test" = ["alice@mta.test", "team@mta.test", "friend@elsewhere.test", "alice+list@mta.test"]
        "team@mta.test" = ["bob@mta.test", "friend@elsewhere.test", "nobody@plain.test"]
        "everything@mta.test" = ["bob@mta.test"]
        "al@mta.test" = ["alice@mta.test"]
        "dead@mta.test" = ["nobody@plain.test"]
    "#;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn row(id: u64, text: &str, run_time: bool) -> StoredAccount {
        let id = AccountId::new(id).unwrap();
        StoredAccount { id, address: address(text), run_time, quota: None, verifiers: Verifiers::default() }
    }

    fn directory() -> Directory {
        let stored = Stored {
            accounts: vec![
                row(1, "alice@mta.test", false),
                row(2, "bob@mta.test", false),
                row(3, "abuse@catch.test", false),
                row(4, "carol@run.test", true),
                row(5, "team@mta.test", true),
                row(6, "once-declared@mta.test", false),
            ],
            domains: vec![Domain::parse("run.test").unwrap()],
            aliases: vec![
                (address("c@run.test"), Targets::new(vec![address("carol@run.test")]).unwrap()),
                (address("x@mta.test"), Targets::new(vec![address("x+y@mta.test")]).unwrap()),
                (address("y@mta.test"), Targets::new(vec![address("y@second.test")]).unwrap()),
                (address("bob@second.test"), Targets::new(vec![address("mallory@elsewhere.test")]).unwrap()),
                (address("bob@mta.test"), Targets::new(vec![address("mallory@elsewhere.test")]).unwrap()),
            ],
        };
        Directory::build(&Config::parse(CONFIG).unwrap(), stored, HashMap::new())
    }

    /// Targets in short: accounts by number with their detail, others by address.
    fn resolve(text: &str) -> String {
        match directory().resolve(&address(text)) {
            Err(TooManyTargets) => "too many".into(),
            Ok(Resolution::NotLocal) => "not local".into(),
            Ok(Resolution::Unknown) => "unknown".into(),
            Ok(Resolution::Targets(targets)) => {
                let short = |target: &Target| match target {
                    Target::Account { owner, detail: None } => owner.account.get().to_string(),
                    Target::Account { owner, detail: Some(detail) } => format!("{}+{detail}", owner.account.get()),
                    Target::Remote(address) => address.to_string(),
                };
                targets.iter().map(short).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn addresses_lead_to_accounts() {
        for (given, expected) in [
            ("alice@mta.test", "1"),
            ("ALICE@MTA.test", "1"),
            ("\"alice\"@mta.test", "1"),
            ("alice@plain.test", "1"),
            ("alice+news@mta.test", "1+news"),
            ("alice+a+b@mta.test", "1+a+b"),
            ("alice+@mta.test", "1+"),
            ("alice+x@plain.test", "unknown"),
            ("abuse-x@catch.test", "3+x"),
            ("carol@run.test", "4"),
            ("c+x@run.test", "4"),
            ("nosuch@mta.test", "unknown"),
            ("+alice@mta.test", "unknown"),
            ("alice@elsewhere.test", "not local"),
            ("alice@[192.0.2.1]", "not local"),
            ("once-declared@mta.test", "unknown"),
        ] {
            assert_eq!(resolve(given), expected, "{given}");
        }
    }

    #[test]
    fn aliases_fan_out_and_deliver_once() {
        assert_eq!(resolve("all@mta.test"), "1 2 friend@elsewhere.test");
        assert_eq!(resolve("dead@mta.test"), "unknown");
    }

    /// What is declared wins over what was added at run time.
    #[test]
    fn declared_addresses_cannot_be_taken_over() {
        assert_eq!(resolve("team@mta.test"), "2 friend@elsewhere.test");
        assert_eq!(resolve("bob@mta.test"), "2");
    }

    #[test]
    fn catch_all_and_role_addresses() {
        for (given, expected) in [
            ("whoever@catch.test", "2"),
            ("postmaster@catch.test", "1"),
            ("abuse@catch.test", "3"),
            ("abuse@mta.test", "1"),
            ("Postmaster@mail.mta.test", "1"),
            ("alice@mail.mta.test", "not local"),
        ] {
            assert_eq!(resolve(given), expected, "{given}");
        }
    }

    #[test]
    fn an_alias_domain_is_another_domain_by_a_second_name() {
        for (given, expected) in [
            ("alice@second.test", "1"),
            ("Alice+news@SECOND.test", "1+news"),
            ("team@second.test", "2 friend@elsewhere.test"),
            ("all@second.test", "1 2 friend@elsewhere.test"),
            ("nosuch@second.test", "unknown"),
            ("postmaster@second.test", "1"),
            ("whoever@second-catch.test", "2"),
            ("abuse-x@second-catch.test", "3+x"),
            // What was added there before it became an alias is hidden.
            ("bob@second.test", "2"),
        ] {
            assert_eq!(resolve(given), expected, "{given}");
        }
        let mut directory = directory();
        let may = |id, text| directory.may_send(AccountId::new(id).unwrap(), &address(text));
        for own in ["alice@second.test", "alice+x@second.test", "al@second.test"] {
            assert!(may(1, own) && !may(2, own), "{own}");
        }
        assert!(!may(1, "team@second.test") && !may(1, "alice@second-catch.test"));
        assert!(directory.would_loop(&address("new@mta.test"), &[address("new+x@second.test")]));
        assert!(directory.is_taken(&address("free@second.test")) && !directory.is_taken(&address("free@mta.test")));
        // Two spellings of one address are one delivery.
        let both = vec![address("alice@second.test"), address("alice@mta.test")];
        directory.insert_alias(Alias { address: address("both@mta.test"), targets: Targets::new(both).unwrap(), declared: false });
        assert!(matches!(directory.resolve(&address("both@mta.test")), Ok(Resolution::Targets(all)) if all.len() == 1));
        assert!(directory.by_login(&address("alice@second.test")).is_none());
    }

    #[test]
    fn loops_end() {
        assert_eq!(resolve("y@mta.test"), "unknown");
        assert_eq!(resolve("x@mta.test"), "unknown");
        assert_eq!(resolve("any@circle.test"), "unknown");
    }

    /// One past the limits, and no part of the targets in silence.
    #[test]
    fn too_many_targets_are_an_error() {
        let mut directory = directory();
        let alias =
            |name: &str, targets: Vec<Address>| Alias { address: address(name), targets: Targets::new(targets).unwrap(), declared: false };
        let others = |prefix: &str, count: usize| (0..count).map(|n| address(&format!("{prefix}{n}@elsewhere.test"))).collect::<Vec<_>>();
        directory.insert_alias(alias("full@mta.test", others("a", MAX_TARGETS)));
        assert!(matches!(directory.resolve(&address("full@mta.test")), Ok(Resolution::Targets(all)) if all.len() == MAX_TARGETS));
        directory.insert_alias(alias("fuller@mta.test", vec![address("full@mta.test"), address("bob@mta.test")]));
        assert_eq!(directory.resolve(&address("fuller@mta.test")), Err(TooManyTargets));
        for n in 0..=MAX_EXPANSIONS {
            directory.insert_alias(alias(&format!("deep{n}@mta.test"), vec![address(&format!("deep{}@mta.test", n + 1))]));
        }
        assert_eq!(directory.resolve(&address("deep0@mta.test")), Err(TooManyTargets));
        assert!(!directory.may_send(AccountId::new(1).unwrap(), &address("deep0@mta.test")));
    }

    #[test]
    fn senders() {
        let directory = directory();
        let may = |id, text| directory.may_send(AccountId::new(id).unwrap(), &address(text));
        for own in ["alice@mta.test", "Alice+x@mta.test", "alice@plain.test", "al@mta.test"] {
            assert!(may(1, own) && !may(2, own), "{own}");
        }
        for nobodys in [
            "all@mta.test",
            "team@mta.test",
            "x@mta.test",
            "whoever@catch.test",
            "postmaster@mta.test",
            "alice@elsewhere.test",
            "+alice@mta.test",
        ] {
            assert!((1..7).all(|id| !may(id, nobodys)), "{nobodys}");
        }
    }

    #[test]
    fn only_the_first_address_logs_in() {
        let directory = directory();
        let id = |text| directory.by_login(&address(text)).map(|account| account.id.get());
        assert_eq!((id("Alice@mta.test"), id("carol@run.test")), (Some(1), Some(4)));
        assert_eq!([id("alice@plain.test"), id("al@mta.test"), id("alice+x@mta.test"), id("once-declared@mta.test")], [None; 4]);
    }
}
