//! `postern dkim`: the keys that sign what the hosted domains send.

use crate::{
    Failure,
    control::Control,
    directory::{Output, table, unexpected},
    queue::date,
    say,
};
use clap::Subcommand;
use pure_addr::{Domain, Text};
use serde_json::{Value, json};
use std::{
    io::{self, Read},
    path::Path,
};
use time::OffsetDateTime;
use wire::edge::{
    auth_control::{self, AuthControl},
    keys_control::{Key, KeysControl, Pem, Request, Response, Stage},
};
use zeroize::Zeroize;

/// Bytes of a private key; RSA of 4096 bits takes 3.3 KB as PEM.
const MAX_PEM: u64 = 64 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Dkim {
    /// List the keys of a domain; the first are made if there are none.
    List {
        /// Which.
        domain: Domain,
        #[command(flatten)]
        output: Output,
    },
    /// Begin the next rotation now: new keys, which sign in seven days. Publish them before with "postern dns".
    Rotate {
        /// Whose keys.
        domain: Domain,
    },
    /// Sign with a key that you have, from now on: PEM of an RSA (2048 to 4096 bits) or Ed25519 key on standard input.
    Import {
        /// For which domain.
        domain: Domain,
        /// Under which selector its record is published [default: iYYYYMMDD of today].
        #[arg(long)]
        selector: Option<String>,
    },
}

pub(crate) async fn run(edges: &Path, command: Dkim) -> Result<(), Failure> {
    let keys = Control::<KeysControl>::new(edges);
    match command {
        Dkim::List { domain, output } => {
            hosted(edges, Some(&domain)).await?;
            let list = ask(&keys, Request::Keys(domain.clone())).await?;
            if output.json {
                return say(Value::from_iter(list.iter().map(|key| json_key(&domain, key))));
            }
            let rows = list.iter().map(|key| vec![key.selector.to_string(), kind(key).to_owned(), stage(key.stage).to_owned(), until(key)]);
            table(&["SELECTOR", "KIND", "STAGE", "UNTIL"], rows)
        }
        Dkim::Rotate { domain } => {
            hosted(edges, Some(&domain)).await?;
            let before = ask(&keys, Request::Keys(domain.clone())).await?;
            let list = ask(&keys, Request::Rotate(domain.clone())).await?;
            let is_new = |key: &&Key| before.iter().all(|other| other.selector != key.selector);
            for key in list.iter().filter(is_new) {
                say(format_args!("{}: made; it signs from {} on", key.selector, until(key)))?;
            }
            say(format_args!("publish the new records before then: postern dns {domain}"))
        }
        Dkim::Import { domain, selector } => {
            hosted(edges, Some(&domain)).await?;
            let selector = selector.map_or_else(default_selector, Ok)?;
            let selector = Text::new(selector.to_ascii_lowercase()).map_err(|e| Failure::new("selector", e))?;
            let pem = read_pem(io::stdin().lock())?;
            let list = ask(&keys, Request::Import { domain: domain.clone(), selector: selector.clone(), pem }).await?;
            let record = list.iter().find(|key| key.selector == selector).ok_or_else(unexpected)?;
            say(format_args!("{selector}: mail of {domain} is signed with it from now on; it must be published:"))?;
            say(format_args!("{selector}._domainkey.{domain}. TXT {}", record.record))
        }
    }
}

/// The keys of a domain.
pub(crate) async fn keys_of(edges: &Path, domain: &Domain) -> Result<Vec<Key>, Failure> {
    ask(&Control::<KeysControl>::new(edges), Request::Keys(domain.clone())).await
}

/// The domains that mail is accepted for: all, or the one that is meant. keys would make keys for any other as well.
pub(crate) async fn hosted(edges: &Path, meant: Option<&Domain>) -> Result<Vec<Domain>, Failure> {
    let auth = Control::<AuthControl>::new(edges);
    let auth_control::Response::Domains(domains) = auth.call(&auth_control::Request::Domains).await? else { return Err(unexpected()) };
    let all = domains.into_iter().map(|(domain, _)| domain).filter(|domain| !domain.is_literal());
    let found: Vec<Domain> = all.filter(|domain| meant.is_none_or(|meant| meant == domain)).collect();
    match meant {
        Some(meant) if found.is_empty() => Err(Failure::new(meant, "is not hosted here; \"postern domain list\" shows what is")),
        _ => Ok(found),
    }
}

async fn ask(keys: &Control<KeysControl>, request: Request) -> Result<Vec<Key>, Failure> {
    match keys.call(&request).await? {
        Response::Keys(list) if list.iter().all(is_publishable) => Ok(list.into_vec()),
        Response::Keys(_) => Err(Failure::Because("keys names a key whose record nobody may publish".into())),
        Response::Refused(why) => Err(Failure::Because(why.to_string())),
    }
}

/// What is printed for a zone file says nothing but a key under its own name, whoever has taken over `keys`: no blank, quote or other
/// character that means something there (RFC 1035 5.1).
fn is_publishable(key: &Key) -> bool {
    let (selector, record) = (key.selector.as_str(), key.record.as_str());
    let in_a_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let name = selector.split('.').all(|label| !label.is_empty() && label.bytes().all(in_a_name));
    name && record.starts_with("v=DKIM1;") && record.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
}

pub(crate) fn json_key(domain: &Domain, key: &Key) -> Value {
    json!({"domain": domain.as_str(), "selector": key.selector.as_str(), "kind": kind(key), "stage": stage(key.stage),
        "until": key.until.map(date), "name": format!("{}._domainkey.{domain}.", key.selector), "record": key.record.as_str()})
}

/// What kind of key a record is for.
fn kind(key: &Key) -> &'static str {
    if key.record.as_str().contains("k=ed25519;") { "ed25519" } else { "rsa" }
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Next => "next",
        Stage::Current => "current",
        Stage::Old => "old",
    }
}

fn until(key: &Key) -> String {
    key.until.map_or_else(|| "changed by hand".to_owned(), date)
}

fn default_selector() -> Result<String, Failure> {
    let today = OffsetDateTime::now_utc().date();
    Ok(format!("i{:04}{:02}{:02}", today.year(), u8::from(today.month()), today.day()))
}

fn read_pem(reader: impl Read) -> Result<Pem, Failure> {
    // Large enough from the start: a buffer that grows leaves copies of the key behind.
    let mut text = String::with_capacity(usize::try_from(MAX_PEM).unwrap_or(0).saturating_add(64));
    let read = reader.take(MAX_PEM.saturating_add(1)).read_to_string(&mut text);
    let wrong = match read {
        Err(e) => Some(Failure::new("standard input", e)),
        Ok(_) if text.len() as u64 > MAX_PEM => Some(Failure::new("standard input", "is too long for a private key")),
        Ok(_) if !text.contains("-----BEGIN ") => Some(Failure::new("standard input", "has no private key in PEM form")),
        Ok(_) => None,
    };
    match wrong {
        Some(failure) => {
            text.zeroize();
            Err(failure)
        }
        None => Ok(Pem(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_under_its_own_name_is_published() {
        let key = |selector: &str, record: &str| Key {
            selector: Text::new(selector).unwrap(),
            stage: Stage::Current,
            until: None,
            record: Text::new(record).unwrap(),
        };
        assert!(is_publishable(&key("r2026-1", "v=DKIM1; k=rsa; p=MIIB")));
        for selector in ["@ 60 IN MX 0 mx.evil.test. ;", "$INCLUDE /etc/shadow", "a b", "", "a.", "\u{e9}", "A"] {
            assert!(!is_publishable(&key(selector, "v=DKIM1; k=rsa; p=MIIB")), "{selector}");
        }
        for record in ["v=spf1 +all", "", "v=DKIM1; p=\" \"", "v=DKIM1; p=\\", "v=DKIM1; p=\u{e9}"] {
            assert!(!is_publishable(&key("s", record)), "{record}");
        }
    }

    #[test]
    fn a_key_comes_as_pem() {
        assert!(read_pem(&b"-----BEGIN PRIVATE KEY-----\n"[..]).is_ok());
        for wrong in [&b""[..], b"AQID", b"\xff-----BEGIN "] {
            assert!(read_pem(wrong).is_err());
        }
        assert!(read_pem(&b"-----BEGIN ".repeat(10_000)[..]).is_err());
    }
}
