//! What only the whole declaration can tell: undeclared domains and smarthosts, addresses given twice, alias loops.

use crate::{
    ConfigError,
    read::{Declared, DeclaredDomain, Placed},
};
use pure_addr::{Address, Domain};
use std::collections::{BTreeSet, HashMap, HashSet, hash_map::Entry};

/// What contradicts itself; goes to `errors`. What names something that is not there goes to `absences`: it may be in a part that could not
/// be read.
pub(crate) fn check(declared: &Declared, errors: &mut Vec<ConfigError>, absences: &mut Vec<ConfigError>) {
    domains_given_once(declared, errors);
    addresses_in_declared_domains(declared, absences);
    alias_domains(declared, errors, absences);
    smarthosts_exist(declared, absences);
    addresses_given_once(declared, errors);
    targets_given_once(declared, errors);
    no_alias_loops(declared, errors);
}

/// Every address that is declared to be here, those of accounts and those of aliases.
fn own_addresses(declared: &Declared) -> impl Iterator<Item = &Placed<Address>> {
    let accounts = declared.accounts.iter().flat_map(|(address, aliases)| std::iter::once(address).chain(aliases));
    accounts.chain(declared.aliases.iter().map(|(address, _)| address))
}

/// Two spellings may mean one domain (`Example.org`, `example.org`), which TOML cannot see.
fn domains_given_once(declared: &Declared, errors: &mut Vec<ConfigError>) {
    let mut seen: HashMap<&Domain, usize> = HashMap::new();
    for DeclaredDomain { domain, .. } in &declared.domains {
        if let Some(first) = seen.insert(&domain.value, domain.line) {
            errors.push(domain.error(format!("is the same domain as on line {first}"), "declare each domain once"));
        }
    }
}

fn addresses_in_declared_domains(declared: &Declared, absences: &mut Vec<ConfigError>) {
    let domains: BTreeSet<&Domain> = declared.domains.iter().map(|d| &d.domain.value).collect();
    for address in own_addresses(declared) {
        let domain = &address.value.domain;
        if !domains.contains(domain) {
            absences.push(address.error(format!("the domain {domain} is not declared"), format!("add [domains.\"{domain}\"]")));
        }
    }
}

/// The domains that are another one by a second name.
fn aliased(declared: &Declared) -> HashMap<&Domain, &Placed<Domain>> {
    declared.domains.iter().filter_map(|d| Some((&d.domain.value, d.alias_of.as_ref()?))).collect()
}

/// An alias domain stands for a declared domain that has addresses of its own, and has none itself.
fn alias_domains(declared: &Declared, errors: &mut Vec<ConfigError>, absences: &mut Vec<ConfigError>) {
    let domains: BTreeSet<&Domain> = declared.domains.iter().map(|d| &d.domain.value).collect();
    let aliased = aliased(declared);
    for (domain, target) in &aliased {
        let other = &target.value;
        if *domain == other {
            errors.push(target.error("is the domain itself", "name another declared domain, or remove alias_of"));
        } else if let Some(end) = aliased.get(other) {
            errors.push(target.error(format!("{other} is itself an alias of {}", end.value), "name the domain that has the addresses"));
        } else if !domains.contains(other) {
            absences.push(target.error(format!("the domain {other} is not declared"), format!("add [domains.\"{other}\"]")));
        }
    }
    for address in own_addresses(declared) {
        if let Some(target) = aliased.get(&address.value.domain) {
            let Address { local, domain } = &address.value;
            let problem = format!("{domain} is an alias of {}, so this address cannot be given on its own", target.value);
            let written = Address { local: local.clone(), domain: target.value.clone() };
            errors.push(address.error(problem, format!("write {written}: it has this address too")));
        }
    }
}

fn smarthosts_exist(declared: &Declared, absences: &mut Vec<ConfigError>) {
    for name in declared.smarthost_uses.iter().filter(|name| !declared.smarthosts.contains(&name.value)) {
        let problem = format!("there is no smarthost {:?}", name.value);
        absences.push(name.error(problem, format!("add [send.smarthosts.{}] or name one that exists", name.value)));
    }
}

fn addresses_given_once(declared: &Declared, errors: &mut Vec<ConfigError>) {
    let mut all: Vec<&Placed<Address>> = own_addresses(declared).collect();
    all.sort_by_key(|a| a.line);
    let mut seen: HashMap<String, usize> = HashMap::new();
    for address in all {
        match seen.entry(address.value.key()) {
            Entry::Vacant(entry) => _ = entry.insert(address.line),
            Entry::Occupied(first) => {
                let problem = format!("{} is already given on line {}", address.value, first.get());
                errors.push(address.error(problem, "give each address to one account or one alias"));
            }
        }
    }
}

fn targets_given_once(declared: &Declared, errors: &mut Vec<ConfigError>) {
    for (_, targets) in &declared.aliases {
        let mut seen = HashSet::new();
        for target in targets {
            if !seen.insert(target.value.key()) {
                errors.push(target.error(format!("{} is already a target of this alias", target.value), "name each target once"));
            }
        }
    }
}

/// Follows every alias once, with an explicit stack: an alias on the current path is a loop.
fn no_alias_loops(declared: &Declared, errors: &mut Vec<ConfigError>) {
    let keys: HashMap<String, usize> = declared.aliases.iter().enumerate().map(|(at, (alias, _))| (alias.value.key(), at)).collect();
    let accounts = declared.accounts.iter().flat_map(|(address, aliases)| std::iter::once(address).chain(aliases));
    let accounts: HashSet<String> = accounts.map(|address| address.value.key()).collect();
    let separators: HashMap<&Domain, char> = declared.domains.iter().filter_map(|d| Some((&d.domain.value, d.separator?))).collect();
    let aliased = aliased(declared);
    let alias_at = |target: &Placed<Address>| {
        let Address { local, domain } = &target.value;
        let domain = aliased.get(domain).map_or(domain, |target| &target.value);
        let key = Address { local: local.clone(), domain: domain.clone() }.key();
        if accounts.contains(&key) {
            return None;
        }
        // `team+x@` is `team@` where nothing else has that address (RFC 5233).
        let base = || local.subaddress(*separators.get(domain)?).map(|(user, _)| user);
        let of_base = || keys.get(&Address { local: base()?, domain: domain.clone() }.key());
        keys.get(&key).or_else(of_base).copied()
    };
    let next: Vec<Vec<usize>> = declared.aliases.iter().map(|(_, targets)| targets.iter().filter_map(alias_at).collect()).collect();
    let mut done = vec![false; next.len()];
    for start in 0..next.len() {
        // The path from `start`: each alias with how many of its targets have been followed.
        let mut path: Vec<(usize, usize)> = Vec::new();
        let mut on_path = HashSet::new();
        if !done.get(start).copied().unwrap_or(true) {
            path.push((start, 0));
            on_path.insert(start);
        }
        while let Some((at, followed)) = path.last_mut() {
            let at = *at;
            let target = next.get(at).and_then(|targets| targets.get(*followed)).copied();
            *followed = followed.saturating_add(1);
            match target {
                None => {
                    path.pop();
                    on_path.remove(&at);
                    done.get_mut(at).into_iter().for_each(|d| *d = true);
                }
                Some(target) if on_path.contains(&target) => {
                    errors.extend(loop_error(declared, &path, target));
                }
                Some(target) if !done.get(target).copied().unwrap_or(true) => {
                    path.push((target, 0));
                    on_path.insert(target);
                }
                Some(_) => {}
            }
        }
    }
}

fn loop_error(declared: &Declared, path: &[(usize, usize)], target: usize) -> Option<ConfigError> {
    let round = path.iter().skip_while(|(at, _)| *at != target).map(|(at, _)| *at).chain([target]);
    let names: Vec<String> = round.filter_map(|at| declared.aliases.get(at)).map(|(alias, _)| alias.value.to_string()).collect();
    let (alias, _) = declared.aliases.get(target)?;
    Some(alias.error(format!("leads back to itself: {}", names.join(" -> ")), "remove one of these targets"))
}
