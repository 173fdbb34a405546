//! From the tree of the TOML parser to our types. Keeps going after a mistake so that all are found.

use crate::{
    AccountConfig, Address, AliasConfig, CertificateFiles, Config, ConfigError, Domain, DomainConfig, Limits, MAX_ALIAS_TARGETS,
    MAX_CONFIG, MAX_CONNECTIONS_PER_PEER, MAX_LOGIN_FAILURES, MAX_MESSAGE_SIZE, MAX_RECIPIENTS, MIN_MESSAGE_SIZE, MIN_QUOTA,
    MIN_RECIPIENTS, Size, check,
};
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// A value with the place it was read from, for the checks that compare several.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) key: String,
    pub(crate) line: usize,
}

impl<T> Placed<T> {
    pub(crate) fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
        ConfigError { key: self.key.clone(), line: self.line, problem: problem.into(), remedy: remedy.into() }
    }
}

/// What was read, each part with its place.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// With their subaddress separators.
    pub(crate) domains: Vec<(Placed<Domain>, Option<char>)>,
    pub(crate) accounts: Vec<(Placed<Address>, Vec<Placed<Address>>)>,
    pub(crate) aliases: Vec<(Placed<Address>, Vec<Placed<Address>>)>,
}

const TOP: &[&str] = &["hostname", "allow_weak_sandbox", "postmaster", "domains", "accounts", "aliases", "tls", "limits"];

pub(crate) fn read(text: &str) -> Result<Config, Vec<ConfigError>> {
    if text.len() > MAX_CONFIG {
        let problem = format!("the file is longer than {}", Size::from_bytes(MAX_CONFIG as u64));
        return Err(vec![ConfigError {
            key: String::new(),
            line: 1,
            problem,
            remedy: "manage accounts with \"postern account\" instead".into(),
        }]);
    }
    let lines = Lines::new(text);
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let mut errors: Vec<ConfigError> = syntax.iter().map(|e| syntax_error(e, &lines)).collect();
        errors.sort_by_key(|e| e.line);
        return Err(errors);
    }
    let top = Section { path: String::new(), line: 1, table: document.get_ref(), lines: &lines };
    let mut reader = Reader::default();
    let config = reader.top(&top);
    check::check(&reader.declared, &mut reader.errors);
    match config {
        Some(config) if reader.errors.is_empty() => Ok(config),
        _ => {
            reader.errors.sort_by_key(|e| e.line);
            Err(reader.errors)
        }
    }
}

fn syntax_error(error: &toml::de::Error, lines: &Lines) -> ConfigError {
    let line = error.span().map_or(1, |span| lines.line(span.start));
    let problem = error.message().replace('\n', ", ");
    ConfigError { key: String::new(), line, problem, remedy: "correct the TOML syntax (https://toml.io)".into() }
}

/// Where each line begins.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte offset, counted from 1.
    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset).saturating_add(1)
    }
}

/// A table with its place.
#[derive(Clone)]
struct Section<'a> {
    path: String,
    line: usize,
    table: &'a DeTable<'a>,
    lines: &'a Lines,
}

impl<'a> Section<'a> {
    fn items(&self) -> impl Iterator<Item = (&'a str, Item<'a>)> + use<'a> {
        let (path, lines) = (self.path.clone(), self.lines);
        self.table.iter().map(move |(key, value)| {
            let name: &str = key.get_ref();
            (name, Item { path: join(&path, name), line: lines.line(key.span().start), value: value.get_ref(), lines })
        })
    }

    fn get(&self, name: &str) -> Option<Item<'a>> {
        self.items().find(|(key, _)| *key == name).map(|(_, item)| item)
    }
}

/// A value with its place.
#[derive(Clone)]
struct Item<'a> {
    path: String,
    line: usize,
    value: &'a DeValue<'a>,
    lines: &'a Lines,
}

impl<'a> Item<'a> {
    fn place<T>(&self, value: T) -> Placed<T> {
        Placed { value, key: self.path.clone(), line: self.line }
    }
}

/// `a."b c"`: quoted where TOML wants quotes.
fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

#[derive(Default)]
struct Reader {
    errors: Vec<ConfigError>,
    declared: Declared,
}

impl Reader {
    fn top(&mut self, top: &Section<'_>) -> Option<Config> {
        self.known(top, TOP);
        let hostname = self.hostname(top);
        let allow_weak_sandbox = top.get("allow_weak_sandbox").and_then(|item| self.boolean(&item)).unwrap_or(false);
        let postmaster = top.get("postmaster").and_then(|item| self.address(&item)).map(|p| p.value);
        let domains = self.section(top, "domains").map(|s| self.domains(&s)).unwrap_or_default();
        let mut accounts = self.section(top, "accounts").map(|s| self.accounts(&s)).unwrap_or_default();
        let mut aliases = self.section(top, "aliases").map(|s| self.aliases(&s)).unwrap_or_default();
        accounts.sort_by_cached_key(|a| a.address.key());
        aliases.sort_by_cached_key(|a| a.address.key());
        let tls = self.section(top, "tls").map(|s| self.tls(&s)).unwrap_or_default();
        let limits = self.section(top, "limits").map(|s| self.limits(&s)).unwrap_or_default();
        Some(Config {
            hostname: hostname?,
            allow_weak_sandbox,
            postmaster,
            domains,
            accounts,
            aliases,
            tls,
            dns: crate::DnsConfig::default(),
            send: crate::SendConfig::default(),
            dkim: crate::DkimConfig::default(),
            limits,
        })
    }

    /// RFC 5321 2.3.5: the name must be fully qualified.
    fn hostname(&mut self, top: &Section<'_>) -> Option<Domain> {
        let remedy = "write the full name of this host, such as \"mail.example.org\"";
        let Some(item) = top.get("hostname") else {
            let key = "hostname".to_owned();
            self.errors.push(ConfigError { key, line: top.line, problem: "is missing".into(), remedy: remedy.into() });
            return None;
        };
        let text = self.string(&item)?;
        match Domain::parse(text) {
            Ok(name) if name.is_literal() => self.fail(&item, "is an address literal, not a domain name", remedy),
            Ok(name) if !name.as_str().contains('.') => self.fail(&item, "is not fully qualified", remedy),
            Ok(name) => Some(name),
            Err(why) => self.fail(&item, why.to_string(), remedy),
        }
    }

    fn domains(&mut self, section: &Section<'_>) -> BTreeMap<Domain, DomainConfig> {
        let mut domains = BTreeMap::new();
        for (name, item) in section.items() {
            let domain = match Domain::parse(name) {
                Ok(domain) if domain.is_literal() => self.fail(&item, "is an address literal", "declare a domain name"),
                Ok(domain) => Some(domain),
                Err(why) => self.fail(&item, why.to_string(), "write a domain name such as [domains.\"example.org\"]"),
            };
            let Some(table) = self.table(&item, "write [domains.\"example.org\"]") else { continue };
            self.known(&table, &["catch_all", "subaddress_separator"]);
            let catch_all = table.get("catch_all").and_then(|item| self.address(&item)).map(|c| c.value);
            let mut settings = DomainConfig { catch_all, ..DomainConfig::default() };
            if let Some(separator) = table.get("subaddress_separator").and_then(|item| self.separator(&item)) {
                settings.subaddress_separator = separator;
            }
            let Some(domain) = domain else { continue };
            self.declared.domains.push((item.place(domain.clone()), settings.subaddress_separator));
            domains.insert(domain, settings);
        }
        domains
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

    fn accounts(&mut self, section: &Section<'_>) -> Vec<AccountConfig> {
        let mut accounts = Vec::new();
        for (name, item) in section.items() {
            let address = self.parse_address(&item, name);
            let Some(table) = self.table(&item, "write [accounts.\"alice@example.org\"]") else { continue };
            self.no_secrets(&table, name);
            self.known(&table, &["aliases", "quota"]);
            let aliases = table.get("aliases").map(|item| self.addresses(&item)).unwrap_or_default();
            let quota = table.get("quota").and_then(|item| self.size(&item, MIN_QUOTA..=Size::from_bytes(i64::MAX as u64)));
            let Some(address) = address else { continue };
            accounts.push(AccountConfig {
                address: address.value.clone(),
                aliases: aliases.iter().map(|a| a.value.clone()).collect(),
                quota,
                hide_client: None,
            });
            self.declared.accounts.push((address, aliases));
        }
        accounts
    }

    /// The file is given to every daemon and, on NixOS, lies in a store that everybody reads.
    fn no_secrets(&mut self, table: &Section<'_>, account: &str) {
        for (_, item) in table.items().filter(|(name, _)| is_secret(name)) {
            let remedy = format!("set it with \"postern account passwd {account}\" or give the credential \"account.{account}\"");
            self.fail::<()>(&item, "a password has no place in this file", remedy);
        }
    }

    fn aliases(&mut self, section: &Section<'_>) -> Vec<AliasConfig> {
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

    fn tls(&mut self, section: &Section<'_>) -> Vec<CertificateFiles> {
        self.known(section, &["certificate", "private_key", "certificates"]);
        let mut found = Vec::new();
        if section.get("certificate").is_some() || section.get("private_key").is_some() {
            found.extend(self.certificate(section));
        }
        let Some(item) = section.get("certificates") else { return found };
        let Some(list) = self.array(&item, "write [[tls.certificates]] with certificate and private_key") else { return found };
        for entry in list {
            let Some(table) = self.table(&entry, "write [[tls.certificates]] with certificate and private_key") else { continue };
            self.known(&table, &["certificate", "private_key"]);
            found.extend(self.certificate(&table));
        }
        found
    }

    fn certificate(&mut self, section: &Section<'_>) -> Option<CertificateFiles> {
        let mut pair = [("certificate", None), ("private_key", None)];
        for (name, slot) in &mut pair {
            match section.get(name) {
                Some(item) => *slot = self.path(&item),
                None => self.errors.push(ConfigError {
                    key: join(&section.path, name),
                    line: section.line,
                    problem: "is missing".into(),
                    remedy: "name both the certificate and its private key, or neither".into(),
                }),
            }
        }
        let [(_, certificate), (_, private_key)] = pair;
        Some(CertificateFiles { certificate: certificate?, private_key: private_key? })
    }

    fn limits(&mut self, section: &Section<'_>) -> Limits {
        self.known(section, &["message_size", "recipients", "connections_per_peer", "login_failures", "quota"]);
        let mut limits = Limits::default();
        if let Some(size) = section.get("message_size").and_then(|item| self.size(&item, MIN_MESSAGE_SIZE..=MAX_MESSAGE_SIZE)) {
            limits.message_size = size;
        }
        if let Some(count) = section.get("recipients").and_then(|item| self.count(&item, MIN_RECIPIENTS..=MAX_RECIPIENTS)) {
            limits.recipients = count;
        }
        if let Some(count) = section.get("connections_per_peer").and_then(|item| self.count(&item, 1..=MAX_CONNECTIONS_PER_PEER)) {
            limits.connections_per_peer = count;
        }
        if let Some(count) = section.get("login_failures").and_then(|item| self.count(&item, 0..=MAX_LOGIN_FAILURES)) {
            limits.login_failures = (count > 0).then_some(count);
        }
        limits.quota = section.get("quota").and_then(|item| self.size(&item, MIN_QUOTA..=Size::from_bytes(i64::MAX as u64)));
        limits
    }
}

/// The primitive readers: each reports its mistake and returns nothing.
impl Reader {
    fn fail<T>(&mut self, item: &Item<'_>, problem: impl Into<String>, remedy: impl Into<String>) -> Option<T> {
        self.errors.push(item.place(()).error(problem, remedy));
        None
    }

    fn known(&mut self, section: &Section<'_>, names: &[&str]) {
        for (name, item) in section.items() {
            // Named better by `no_secrets`.
            if names.contains(&name) || (section.path.starts_with("accounts.") && is_secret(name)) {
                continue;
            }
            let remedy = match names.iter().find(|known| is_near(name, known)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("remove it; known here: {}", names.join(", ")),
            };
            self.fail::<()>(&item, "is not a key", remedy);
        }
    }

    fn wrong_type<T>(&mut self, item: &Item<'_>, wanted: &str, remedy: impl Into<String>) -> Option<T> {
        self.fail(item, format!("is of type {}, not {wanted}", item.value.type_str()), remedy)
    }

    fn section<'a>(&mut self, parent: &Section<'a>, name: &str) -> Option<Section<'a>> {
        let item = parent.get(name)?;
        self.table(&item, format!("write [{name}]"))
    }

    fn table<'a>(&mut self, item: &Item<'a>, remedy: impl Into<String>) -> Option<Section<'a>> {
        match item.value.as_table() {
            Some(table) => Some(Section { path: item.path.clone(), line: item.line, table, lines: item.lines }),
            None => self.wrong_type(item, "a table", remedy),
        }
    }

    fn array<'a>(&mut self, item: &Item<'a>, remedy: impl Into<String>) -> Option<Vec<Item<'a>>> {
        let Some(array) = item.value.as_array() else { return self.wrong_type(item, "a list", remedy) };
        let lines = item.lines;
        let place = |(at, value): (usize, &'a toml::Spanned<DeValue<'a>>)| Item {
            path: format!("{}[{at}]", item.path),
            line: lines.line(value.span().start),
            value: value.get_ref(),
            lines,
        };
        Some(array.iter().enumerate().map(place).collect())
    }

    fn string<'a>(&mut self, item: &Item<'a>) -> Option<&'a str> {
        match item.value.as_str() {
            Some(text) => Some(text),
            None => self.wrong_type(item, "a string", "write it in quotes"),
        }
    }

    fn boolean(&mut self, item: &Item<'_>) -> Option<bool> {
        match item.value.as_bool() {
            Some(value) => Some(value),
            None => self.wrong_type(item, "a boolean", "write true or false without quotes"),
        }
    }

    fn integer(&self, item: &Item<'_>) -> Option<u64> {
        let integer = item.value.as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    fn count(&mut self, item: &Item<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        if !item.value.is_integer() {
            return self.wrong_type(item, "a number", "write a number without quotes");
        }
        match self.integer(item).and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n)) {
            Some(n) => Some(n),
            None => self.fail(item, "is out of range", format!("write a number from {} to {}", range.start(), range.end())),
        }
    }

    fn size(&mut self, item: &Item<'_>, range: RangeInclusive<Size>) -> Option<Size> {
        const REMEDY: &str = "write a size with its unit, such as \"5 GiB\", or a number of bytes";
        let size = match item.value {
            DeValue::String(text) => text.parse().ok(),
            DeValue::Integer(_) => self.integer(item).map(Size::from_bytes),
            _ => return self.wrong_type(item, "a size", REMEDY),
        };
        match size {
            None => self.fail(item, "is not a size", REMEDY),
            Some(size) if size < *range.start() => self.fail(item, "is too small", format!("write at least \"{}\"", range.start())),
            Some(size) if size > *range.end() => self.fail(item, "is too large", format!("write at most \"{}\"", range.end())),
            Some(size) => Some(size),
        }
    }

    fn path(&mut self, item: &Item<'_>) -> Option<PathBuf> {
        let path = Path::new(self.string(item)?);
        // Units bind the path into the mount namespace as it is written, so it must mean one thing everywhere.
        let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !plain || path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control) {
            return self.fail(item, "is not an absolute path", "write the whole path, beginning with / and without \"..\"");
        }
        Some(path.to_owned())
    }

    fn address(&mut self, item: &Item<'_>) -> Option<Placed<Address>> {
        let text = self.string(item)?;
        self.parse_address(item, text)
    }

    fn addresses(&mut self, item: &Item<'_>) -> Vec<Placed<Address>> {
        let list = self.array(item, "write a list of addresses in brackets, such as [\"alice@example.org\"]").unwrap_or_default();
        list.iter().filter_map(|item| self.address(item)).collect()
    }

    fn parse_address(&mut self, item: &Item<'_>, text: &str) -> Option<Placed<Address>> {
        match Address::parse(text) {
            Ok(address) if address.domain.is_literal() => {
                self.fail(item, format!("{text:?} is at an address literal"), "use an address in a domain")
            }
            Ok(address) => Some(item.place(address)),
            Err(why) => self.fail(item, format!("{text:?} is not an address: it {why}"), "write it as \"alice@example.org\""),
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "hash"].iter().any(|part| name.contains(part))
}

/// Whether two names differ by at most two edits: a typing mistake. Quadratic in the length of a key, which is capped.
fn is_near(given: &str, known: &str) -> bool {
    const MAX_KEY: usize = 64;
    const MAX_EDITS: usize = 2;
    if given.len() > MAX_KEY {
        return false;
    }
    let known: Vec<char> = known.chars().collect();
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (i, g) in given.chars().enumerate() {
        let mut next = vec![i.saturating_add(1)];
        for (pair, k) in row.windows(2).zip(&known) {
            let &[diagonal, above] = pair else { continue };
            let left = next.last().copied().unwrap_or_default();
            let replaced = diagonal.saturating_add(usize::from(g != *k));
            next.push(replaced.min(above.saturating_add(1)).min(left.saturating_add(1)));
        }
        row = next;
    }
    row.last().is_some_and(|edits| *edits <= MAX_EDITS)
}
