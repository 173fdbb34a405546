//! `postern`: the operator's hand. Checks the configuration, changes what is not declared in it, looks into the queue, and runs the
//! whole appliance on loopback.
//!
//! * It holds no right of its own: what it may ask is what the control sockets it can open allow.
//! * Passwords come from a prompt or from standard input, never from the command line, which other users can see.
//! * A failure is one line on standard error and exit status 1; output for programs is JSON (`--json`).

mod check;
mod control;
mod directory;
mod dkim;
mod dns;
mod queue;
mod up;

use clap::{Parser, Subcommand};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Postern, a mail system of small confined processes.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
struct Arguments {
    /// Where the control sockets are.
    #[arg(long, global = true, env = "POSTERN_EDGES", default_value = "/run/postern", value_name = "DIR")]
    edges: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file: every mistake with its key, its line and what to do.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Accounts that are not declared in the configuration.
    #[command(subcommand)]
    Account(directory::Account),
    /// Hosted domains that are not declared in the configuration.
    #[command(subcommand)]
    Domain(directory::Domain),
    /// Aliases that are not declared in the configuration.
    #[command(subcommand)]
    Alias(directory::Alias),
    /// Mail that waits in the spool.
    #[command(subcommand)]
    Queue(queue::Queue),
    /// The records to publish for the hosted domains: MX, SPF, DKIM, DMARC, MTA-STS and more.
    Dns(dns::Dns),
    /// The keys that sign mail of the hosted domains.
    #[command(subcommand)]
    Dkim(dkim::Dkim),
    /// Run the whole appliance on loopback, for trying out and for tests.
    Up(up::Options),
}

/// What ends a command: one line for the person who ran it.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Already explained on standard error.
    #[error("")]
    Reported,
    /// One line.
    #[error("{0}")]
    Because(String),
}

impl Failure {
    fn new(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Because(format!("{what}: {why}"))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Check { file } => check::run(&file),
        Command::Account(command) => control::run(directory::account(&arguments.edges, command)),
        Command::Domain(command) => control::run(directory::domain(&arguments.edges, command)),
        Command::Alias(command) => control::run(directory::alias(&arguments.edges, command)),
        Command::Queue(command) => control::run(queue::run(&arguments.edges, command)),
        Command::Dns(options) => control::run(dns::run(&arguments.edges, options)),
        Command::Dkim(command) => control::run(dkim::run(&arguments.edges, command)),
        Command::Up(options) => up::run(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(Failure::Because(line)) => {
            let _ = writeln!(io::stderr(), "postern: {line}");
            ExitCode::FAILURE
        }
    }
}

/// One line on standard output. A reader that went away ends the command quietly.
fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|_| Failure::Reported)
}
