//! From the tree of the TOML parser to our types. Keeps going after a mistake so that all are found.

mod inbound;
mod mail;
mod outbound;
mod tree;
mod values;

pub(crate) use tree::Placed;

use crate::{
    Address, CertificateFiles, Config, ConfigError, Domain, Limits, MAX_CONFIG, MAX_CONNECTIONS_PER_PEER, MAX_LOGIN_FAILURES,
    MAX_MESSAGE_SIZE, MAX_RECIPIENTS, MIN_MESSAGE_SIZE, MIN_QUOTA, MIN_RECIPIENTS, Size, check,
};
use std::{collections::BTreeSet, ops::RangeInclusive};
use toml::de::DeTable;
use tree::{Lines, Section};

/// What was read, each part with its place.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) domains: Vec<DeclaredDomain>,
    pub(crate) accounts: Vec<(Placed<Address>, Vec<Placed<Address>>)>,
    pub(crate) aliases: Vec<(Placed<Address>, Vec<Placed<Address>>)>,
    /// Names of smarthosts, those with mistakes included.
    pub(crate) smarthosts: BTreeSet<String>,
    /// Where smarthosts are named.
    pub(crate) smarthost_uses: Vec<Placed<String>>,
}

/// One of `[domains]`.
#[derive(Debug)]
pub(crate) struct DeclaredDomain {
    pub(crate) domain: Placed<Domain>,
    pub(crate) separator: Option<char>,
    pub(crate) alias_of: Option<Placed<Domain>>,
}

const TOP: &[&str] =
    &["hostname", "allow_weak_sandbox", "postmaster", "domains", "accounts", "aliases", "tls", "mx", "dns", "send", "dkim", "limits"];

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
    let top = Section { path: String::new(), line: 1, table: document.get_ref(), lines: &lines };
    let mut reader = Reader::default();
    let config = reader.top(&top);
    check::check(&reader.declared, &mut reader.errors, &mut reader.absences);
    let mut errors = reader.errors;
    if syntax.is_empty() {
        errors.append(&mut reader.absences);
    } else {
        // What is absent may stand in a part that could not be read; what stands there is not what was meant.
        let unreadable = Unreadable::new(text, syntax.iter().map(|e| syntax_line(e, &lines)));
        errors.retain(|e| !unreadable.contains(e.line));
        errors.extend(syntax.iter().map(|e| syntax_error(e, text, &lines)));
    }
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => {
            errors.sort_by_key(|e| e.line);
            Err(errors)
        }
    }
}

fn syntax_line(error: &toml::de::Error, lines: &Lines) -> usize {
    error.span().map_or(1, |span| lines.line(span.start))
}

fn syntax_error(error: &toml::de::Error, text: &str, lines: &Lines) -> ConfigError {
    let (line, problem) = (syntax_line(error, lines), error.message().replace('\n', ", "));
    if problem == "duplicate key" {
        let key = error.span().and_then(|span| text.get(span)).unwrap_or_default().trim().to_owned();
        return ConfigError { key, line, problem: "stands here twice".into(), remedy: "keep one of the two".into() };
    }
    ConfigError { key: String::new(), line, problem, remedy: "correct the TOML syntax (https://toml.io)".into() }
}

/// The tables with a mistake in their syntax, by their lines: each from the header before it to the next. What the parser made of these
/// is a guess.
struct Unreadable(Vec<RangeInclusive<usize>>);

impl Unreadable {
    fn new(text: &str, mistakes: impl Iterator<Item = usize>) -> Self {
        let headers: Vec<usize> = (1..).zip(text.lines()).filter(|(_, line)| line.trim_start().starts_with('[')).map(|(n, _)| n).collect();
        let around = |line: usize| {
            // Strictly before: the mistake may be that this line is no header.
            let first = headers.partition_point(|header| *header < line).checked_sub(1).and_then(|at| headers.get(at));
            let next = headers.get(headers.partition_point(|header| *header <= line));
            first.copied().unwrap_or(1)..=next.map_or(usize::MAX, |next| next.saturating_sub(1))
        };
        let mut parts: Vec<RangeInclusive<usize>> = mistakes.map(around).collect();
        parts.sort_by_key(|part| (*part.start(), *part.end()));
        parts.dedup();
        Self(parts)
    }

    fn contains(&self, line: usize) -> bool {
        // Starts and ends both ascend, so the last that begins before the line is the one that ends last.
        let at = self.0.partition_point(|part| *part.start() <= line);
        at.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|part| part.contains(&line))
    }
}

#[derive(Default)]
struct Reader {
    errors: Vec<ConfigError>,
    /// Mistakes that are only what something else being absent leads to: not worth telling when a part could not be read.
    absences: Vec<ConfigError>,
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
        let mx = self.section(top, "mx").map(|s| self.mx(&s)).unwrap_or_default();
        let dns = self.section(top, "dns").map(|s| self.dns(&s)).unwrap_or_default();
        let send = self.section(top, "send").map(|s| self.send(&s)).unwrap_or_default();
        let dkim = self.section(top, "dkim").map(|s| self.dkim(&s)).unwrap_or_default();
        let limits = self.section(top, "limits").map(|s| self.limits(&s)).unwrap_or_default();
        Some(Config { hostname: hostname?, allow_weak_sandbox, postmaster, domains, accounts, aliases, tls, mx, dns, send, dkim, limits })
    }

    /// RFC 5321 2.3.5: the name must be fully qualified.
    fn hostname(&mut self, top: &Section<'_>) -> Option<Domain> {
        let remedy = "write the full name of this host, such as \"mail.example.org\"";
        let Some(item) = top.get("hostname") else { return self.missing(top, "hostname", remedy) };
        let text = self.string(&item)?;
        match Domain::parse(text) {
            Ok(name) if name.is_literal() => self.fail(&item, "is an address literal, not a domain name", remedy),
            Ok(name) if !name.as_str().contains('.') => self.fail(&item, "is not fully qualified", remedy),
            Ok(name) => Some(name),
            Err(why) => self.fail(&item, why.to_string(), remedy),
        }
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
                None => *slot = self.missing(section, name, "name both the certificate and its private key, or neither"),
            }
        }
        let [(_, certificate), (_, private_key)] = pair;
        Some(CertificateFiles { certificate: certificate?, private_key: private_key? })
    }

    fn limits(&mut self, section: &Section<'_>) -> Limits {
        self.known(section, &["message_size", "recipients", "connections_per_peer", "login_failures", "quota", "sending"]);
        let mut limits = Limits::default();
        self.set(section, "message_size", &mut limits.message_size, |reader, item| reader.size(item, MIN_MESSAGE_SIZE..=MAX_MESSAGE_SIZE));
        self.set(section, "recipients", &mut limits.recipients, |reader, item| reader.count(item, MIN_RECIPIENTS..=MAX_RECIPIENTS));
        self.set(section, "connections_per_peer", &mut limits.connections_per_peer, |reader, item| {
            reader.count(item, 1..=MAX_CONNECTIONS_PER_PEER)
        });
        self.set(section, "login_failures", &mut limits.login_failures, |reader, item| reader.rate(item, MAX_LOGIN_FAILURES));
        if let Some(sending) = self.section(section, "sending") {
            limits.sending = self.sending(&sending);
        }
        limits.quota = section.get("quota").and_then(|item| self.size(&item, MIN_QUOTA..=Size::from_bytes(i64::MAX as u64)));
        limits
    }
}
