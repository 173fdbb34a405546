//! What only the whole declaration can tell: undeclared domains, addresses given twice, alias loops.

use crate::{
    ConfigError,
    read::{Declared, Placed},
};
use pure_addr::{Address, Domain};
use std::collections::{BTreeSet, HashMap, HashSet, hash_map::Entry};

pub(crate) fn check(declared: &Declared, errors: &mut Vec<ConfigError>) {
    domains_given_once(declared, errors);
    addresses_in_declared_domains(declared, errors);
    addresses_given_once(declared, errors);
    targets_given_once(declared, errors);
    no_alias_loops(declared, errors);
}

/// Two spellings may mean one domain (`Example.org`, `example.org`), which TOML cannot see.
fn domains_given_once(declared: &Declared, errors: &mut Vec<ConfigError>) {
    let mut seen: HashMap<&Domain, usize> = HashMap::new();
    for (domain, _) in &declared.domains {
        if let Some(first) = seen.insert(&domain.value, domain.line) {
            errors.push(domain.error(format!("is the same domain as on line {first}"), "declare each domain once"));
        }
    }
}

fn addresses_in_declared_domains(declared: &Declared, errors: &mut Vec<ConfigError>) {
    let domains: BTreeSet<&Domain> = declared.domains.iter().map(|(d, _)| &d.value).collect();
    let own = declared.accounts.iter().flat_map(|(address, aliases)| std::iter::once(address).chain(aliases));
    for address in own.chain(declared.aliases.iter().map(|(address, _)| address)) {
        let domain = &address.value.domain;
        if !domains.contains(domain) {
            errors.push(address.error(format!("the domain {domain} is not declared"), format!("add [domains.\"{domain}\"]")));
        }
    }
}

fn addresses_given_once(declared: &Declared, errors: &mut Vec<ConfigError>) {
    let accounts = declared.accounts.iter().flat_map(|(address, aliases)| std::iter::once(address).chain(aliases));
    let mut all: Vec<&Placed<Address>> = accounts.chain(declared.aliases.iter().map(|(address, _)| address)).collect();
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
    let separators: HashMap<&Domain, char> = declared.domains.iter().filter_map(|(d, s)| Some((&d.value, (*s)?))).collect();
    let alias_at = |target: &Placed<Address>| {
        let key = target.value.key();
        if accounts.contains(&key) {
            return None;
        }
        // `team+x@` is `team@` where nothing else has that address (RFC 5233).
        let base = || target.value.local.subaddress(*separators.get(&target.value.domain)?).map(|(user, _)| user);
        let of_base = || keys.get(&Address { local: base()?, domain: target.value.domain.clone() }.key());
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
