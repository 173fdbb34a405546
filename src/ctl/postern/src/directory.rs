//! `postern account`, `postern domain`, `postern alias`: the part of the directory that the configuration does not declare.

use crate::{Failure, control::Control, say};
use clap::{Args, Subcommand};
use pure_addr::Address;
use pure_config::Size;
use serde_json::json;
use std::{
    io::{self, BufRead, IsTerminal},
    path::Path,
};
use wire::{
    List,
    edge::auth_control::{AuthControl, MAX_PASSWORD, Password, Request, Response},
};
use zeroize::Zeroize;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// One JSON document instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Make an account; its password is asked for.
    Add {
        /// Its address, in a hosted domain.
        address: Address,
        /// How much mail it may keep, such as "5 GiB".
        #[arg(long)]
        quota: Option<String>,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        stdin: bool,
        /// Without a password; the account cannot log in until it gets one.
        #[arg(long, conflicts_with = "stdin")]
        no_password: bool,
    },
    /// List all accounts.
    List(Output),
    /// End an account. Its mail stays on disk.
    Remove {
        /// Which.
        address: Address,
    },
    /// Give an account another password.
    Passwd {
        /// Which.
        address: Address,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        stdin: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Domain {
    /// Accept mail for a domain.
    Add {
        /// Which.
        domain: pure_addr::Domain,
    },
    /// List all hosted domains.
    List(Output),
    /// Stop accepting mail for a domain.
    Remove {
        /// Which.
        domain: pure_addr::Domain,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alias {
    /// Send mail for an address to others.
    Add {
        /// The address, in a hosted domain.
        address: Address,
        /// Where its mail goes.
        #[arg(required = true)]
        targets: Vec<Address>,
    },
    /// List all aliases.
    List(Output),
    /// End an alias.
    Remove {
        /// Which.
        address: Address,
    },
}

pub(crate) async fn account(edges: &Path, command: Account) -> Result<(), Failure> {
    let auth = Control::<AuthControl>::new(edges);
    match command {
        Account::Add { address, quota, stdin, no_password } => {
            let quota = quota.map(|text| parse_size(&text)).transpose()?;
            let password = if no_password { None } else { Some(password(stdin)?) };
            let said = format!(
                "{address} is an account now{}",
                if password.is_some() { "" } else { "; it cannot log in before it gets a password" }
            );
            done(&auth, Request::AddAccount { address, password, quota }, &said).await
        }
        Account::Remove { address } => {
            let said = format!("{address} is no account any more; its mail stays on disk");
            done(&auth, Request::RemoveAccount(address), &said).await
        }
        Account::Passwd { address, stdin } => {
            let password = password(stdin)?;
            let said = format!("{address} has another password now");
            done(&auth, Request::SetPassword { address, password }, &said).await
        }
        Account::List(output) => {
            let Response::Accounts(accounts) = auth.call(&Request::Accounts).await? else { return Err(unexpected()) };
            if output.json {
                let rows: Vec<_> = accounts
                    .iter()
                    .map(|a| {
                        json!({"address": a.address.to_string(), "id": a.id.to_string(), "declared": a.declared,
                            "can_log_in": a.can_log_in, "quota": a.quota})
                    })
                    .collect();
                return say(json!(rows));
            }
            let rows = accounts.iter().map(|a| {
                vec![
                    a.address.to_string(),
                    (if a.declared { "configuration" } else { "added" }).to_owned(),
                    (if a.can_log_in { "yes" } else { "no password" }).to_owned(),
                    a.quota.map_or_else(|| "none".to_owned(), |bytes| Size::from_bytes(bytes).to_string()),
                ]
            });
            table(&["ADDRESS", "FROM", "LOGIN", "QUOTA"], rows)
        }
    }
}

pub(crate) async fn domain(edges: &Path, command: Domain) -> Result<(), Failure> {
    let auth = Control::<AuthControl>::new(edges);
    match command {
        Domain::Add { domain } => {
            let said = format!("mail for {domain} is accepted now; \"postern dns {domain}\" tells what to publish");
            done(&auth, Request::AddDomain(domain), &said).await
        }
        Domain::Remove { domain } => {
            let said = format!("mail for {domain} is not accepted any more");
            done(&auth, Request::RemoveDomain(domain), &said).await
        }
        Domain::List(output) => {
            let Response::Domains(domains) = auth.call(&Request::Domains).await? else { return Err(unexpected()) };
            if output.json {
                let rows: Vec<_> = domains.iter().map(|(name, declared)| json!({"domain": name.as_str(), "declared": declared})).collect();
                return say(json!(rows));
            }
            let rows = domains
                .iter()
                .map(|(name, declared)| vec![name.to_string(), (if *declared { "configuration" } else { "added" }).to_owned()]);
            table(&["DOMAIN", "FROM"], rows)
        }
    }
}

pub(crate) async fn alias(edges: &Path, command: Alias) -> Result<(), Failure> {
    let auth = Control::<AuthControl>::new(edges);
    match command {
        Alias::Add { address, targets } => {
            let targets = List::new(targets).ok_or_else(|| Failure::Because("an alias has at most 256 targets".into()))?;
            let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
            let said = format!("mail for {address} goes to {} now", names.join(", "));
            done(&auth, Request::AddAlias { address, targets }, &said).await
        }
        Alias::Remove { address } => {
            let said = format!("{address} is no alias any more");
            done(&auth, Request::RemoveAlias(address), &said).await
        }
        Alias::List(output) => {
            let Response::Aliases(aliases) = auth.call(&Request::Aliases).await? else { return Err(unexpected()) };
            let targets = |list: &[Address]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
            if output.json {
                let rows: Vec<_> = aliases
                    .iter()
                    .map(|a| json!({"address": a.address.to_string(), "targets": targets(&a.targets), "declared": a.declared}))
                    .collect();
                return say(json!(rows));
            }
            let rows = aliases.iter().map(|a| {
                let from = if a.declared { "configuration" } else { "added" };
                vec![a.address.to_string(), from.to_owned(), targets(&a.targets).join(", ")]
            });
            table(&["ADDRESS", "FROM", "TARGETS"], rows)
        }
    }
}

async fn done(auth: &Control<AuthControl>, request: Request, said: &str) -> Result<(), Failure> {
    match auth.call(&request).await? {
        Response::Done => say(said),
        Response::SessionsLeft => Err(Failure::Because(format!(
            "{said}, but sessions that were open may go on: restart postern-store and postern-queue to end them"
        ))),
        Response::Refused(refusal) => Err(Failure::Because(refusal.to_string())),
        _ => Err(unexpected()),
    }
}

/// Only a faulty build answers a request with another request's answer.
pub(crate) fn unexpected() -> Failure {
    Failure::Because("the service gave an answer that does not belong to the question".into())
}

fn parse_size(text: &str) -> Result<u64, Failure> {
    text.parse::<Size>().map(Size::bytes).map_err(|e| Failure::new(format_args!("quota {text:?}"), e))
}

/// Asks for a password twice on the terminal, or takes the first line of standard input.
fn password(stdin: bool) -> Result<Password, Failure> {
    if stdin {
        return from_reader(io::stdin().lock());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Because("there is no terminal to ask for the password; give it on standard input with --stdin".into()));
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map_err(|e| Failure::new("password", e));
    let first = ask("Password: ")?;
    let mut second = ask("Again: ")?;
    let same = first == second;
    second.zeroize();
    if !same {
        return Err(Failure::Because("the two passwords are not the same".into()));
    }
    accept(first)
}

fn from_reader(reader: impl BufRead) -> Result<Password, Failure> {
    let mut line = String::new();
    let limit = (MAX_PASSWORD as u64).saturating_add(3);
    reader.take(limit).read_line(&mut line).map_err(|e| Failure::new("standard input", e))?;
    if line.ends_with('\n') {
        line.pop();
        if line.ends_with('\r') {
            line.pop();
        }
    }
    accept(line)
}

fn accept(password: String) -> Result<Password, Failure> {
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(Failure::Because(format!("a password has 1 to {MAX_PASSWORD} bytes")));
    }
    Ok(Password(password))
}

/// All of a table.
pub(crate) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
    Table::new(head).print(rows)
}

/// A table that is printed in parts: columns as wide as their widest cell in the first of them; the last one is not padded.
#[derive(Debug)]
pub(crate) struct Table {
    head: Option<Vec<String>>,
    widths: Vec<usize>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: Some(head.iter().map(|h| (*h).to_owned()).collect()), widths: vec![0; head.len()] }
    }

    pub(crate) fn print(&mut self, rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
        let head = self.head.take();
        let is_first = head.is_some();
        let rows: Vec<Vec<String>> = head.into_iter().chain(rows).collect();
        if is_first {
            for row in &rows {
                self.widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
            }
        }
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&self.widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            say(line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_without_its_end() {
        let read = |bytes: &[u8]| from_reader(bytes).map(|p| p.0.clone());
        assert_eq!(read(b"secret\n").unwrap(), "secret");
        assert_eq!(read(b"secret\r\nmore").unwrap(), "secret");
        assert_eq!(read(b" spaces stay ").unwrap(), " spaces stay ");
        assert!(read(b"\n").is_err());
        assert!(read(b"").is_err());
        assert!(read(&[b'x'; MAX_PASSWORD + 1]).is_err());
        assert_eq!(read(&[b'x'; MAX_PASSWORD]).unwrap().len(), MAX_PASSWORD);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("5 GiB").unwrap(), 5 << 30);
        assert!(parse_size("much").is_err());
    }
}
