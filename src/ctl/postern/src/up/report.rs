//! What `up` says once everything answers.

use super::{ports::Ports, state::State};
use crate::{Failure, say};
use pure_addr::Address;
use serde::Serialize;
use std::collections::BTreeMap;
use wire::edge::auth_control::Password;

/// What is said.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) state: &'a State,
    pub(super) ports: &'a Ports,
    pub(super) accounts: &'a [(Address, Password)],
    pub(super) pids: Vec<(&'static str, u32)>,
}

impl Report<'_> {
    fn domain(&self) -> String {
        self.state.config.domains.keys().next().map(ToString::to_string).unwrap_or_default()
    }

    /// One line, its keys in this order.
    pub(super) fn json(&self) -> Result<String, Failure> {
        let port = |name| self.ports.number(name);
        let line = Line {
            ready: true,
            ports: PortNumbers { mx: port("mx"), submission: port("submission"), submissions: port("submissions"), imaps: port("imaps") },
            domain: self.domain(),
            accounts: self
                .accounts
                .iter()
                .map(|(address, password)| Login { address: address.to_string(), password: &password.0 })
                .collect(),
            ca: self.state.authority().to_string_lossy().into_owned(),
            state: self.state.shown.to_string_lossy().into_owned(),
            pids: self.pids.iter().copied().collect(),
        };
        serde_json::to_string(&line).map_err(|e| Failure::new("report", e))
    }

    /// For a person.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let port = |name| self.ports.number(name);
        say(format_args!("Postern runs on 127.0.0.1 for {}. Ctrl-C ends it.\n", self.domain()))?;
        say("  Port  For")?;
        say(format_args!("  {:<5} SMTP from other servers (mx)", port("mx")))?;
        say(format_args!("  {:<5} SMTP from your users, TLS (submissions)", port("submissions")))?;
        say(format_args!("  {:<5} SMTP from your users, STARTTLS (submission)", port("submission")))?;
        say(format_args!("  {:<5} IMAP, TLS (imaps)\n", port("imaps")))?;
        say("  Account, its first password")?;
        for (address, password) in self.accounts {
            say(format_args!("  {address}  {}", password.0))?;
        }
        let authority = quote(&self.state.authority().to_string_lossy());
        say(format_args!("\n  Trust this certificate: {}", self.state.authority().display()))?;
        say(format_args!("  Logs, configuration:    {}", self.state.shown.display()))?;
        if let Some((address, password)) = self.accounts.first() {
            let to = quote(&address.to_string());
            // From a domain that nobody has (RFC 2606 2): what others publish of theirs would have it refused.
            say("\nSend a first message:\n")?;
            say(format_args!(
                "  printf 'From: you@remote.test\\nTo: %s\\nSubject: Hello\\n\\nThe first message.\\n' {to} |\n    \
                 curl -sS --crlf smtp://127.0.0.1:{}/client.remote.test --mail-from you@remote.test --mail-rcpt {to} -T -",
                port("mx")
            ))?;
            say("\nRead it:\n")?;
            say(format_args!(
                "  curl -sS --cacert {authority} -u {} 'imaps://localhost:{}/INBOX;MAILINDEX=1'",
                quote(&format!("{address}:{}", password.0)),
                port("imaps")
            ))?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Line<'a> {
    ready: bool,
    ports: PortNumbers,
    domain: String,
    accounts: Vec<Login<'a>>,
    ca: String,
    state: String,
    pids: BTreeMap<&'static str, u32>,
}

#[derive(Serialize)]
struct PortNumbers {
    mx: u16,
    submission: u16,
    submissions: u16,
    imaps: u16,
}

#[derive(Serialize)]
struct Login<'a> {
    address: String,
    password: &'a str,
}

/// For a POSIX shell.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_are_quoted_when_they_must_be() {
        assert_eq!(quote("alice@example.test"), "alice@example.test");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    }
}
