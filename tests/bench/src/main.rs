//! The speed of Postern beside Postfix and Dovecot: the same job, the same promises, the same machine, in turns.
//!
//! `cargo xtask bench` builds the releases and starts this. Every case runs A B A B; a run counts only when what came out is right:
//! every message that was accepted is where mail is kept, once and whole; every answer has the rows and bytes that it must have. CPU time is
//! that of all server processes together, from their cgroup. Every confinement of `postern up` is on; those of the units are not.

mod case;
mod cases;
mod corpus;
mod disk;
mod imap;
mod login;
mod meter;
mod names;
mod peer;
mod report;
mod sink;
mod smtp;
mod stack;
mod stream;

use case::{Run, Scale};
use clap::Parser;
use stack::Stack;
use std::{io::Write as _, path::PathBuf, time::Duration};

/// What went wrong, for a person.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures Postern, and what it is compared with.
#[derive(Debug, Parser)]
struct Options {
    /// Also measure Debian's Postfix and Dovecot, which must be installed.
    #[arg(long, value_parser = ["postfix-dovecot"])]
    against: Option<String>,
    /// Small numbers and one round: proves that the bench works, says nothing about speed.
    #[arg(long)]
    quick: bool,
    /// Also fill a mailbox with a million messages.
    #[arg(long)]
    large: bool,
    /// How often each case runs on each server [default: 3, with --quick 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Write the figures as JSON, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Name the cases and end.
    #[arg(long)]
    list: bool,
    /// Where the release binaries are.
    #[arg(long, default_value = "target/release")]
    bin: PathBuf,
    /// Where the servers keep their state: on a disk, not in memory.
    #[arg(long, default_value = "target/bench")]
    state: PathBuf,
    /// Only the cases of these names, or whose names begin with one of them.
    cases: Vec<String>,
}

/// Sessions that are held at a time, a descriptor each, with room to spare.
const DESCRIPTORS: u64 = 65_536;

fn main() -> Result<(), Failure> {
    // The other end of the hop cases.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|a| a == cases::SERVE_HOP) {
        return cases::serve_hop(std::path::Path::new(&arguments.next().unwrap_or_default()));
    }
    let options = Options::parse();
    let mut out = std::io::stdout().lock();
    let cases = wanted(&options.cases)?;
    if options.list {
        for case in cases {
            writeln!(out, "{}", case.name)?;
        }
        return Ok(());
    }
    if let Some(path) = &options.json {
        // Known before anything is measured; an earlier run's figures stay until there are others.
        std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    raise_descriptors()?;
    std::fs::create_dir_all(&options.state)?;
    let state = options.state.canonicalize()?;
    for threads in [1, 10, 50] {
        let time = Duration::from_millis(if options.quick { 100 } else { 3_000 });
        writeln!(out, "disk: {:>8.0} fdatasync/s with {threads} threads", disk::fdatasync_rate(&state, threads, time)?)?;
    }
    writeln!(
        out,
        "Postern runs under `postern up`: started by root, each process has its user, Landlock and seccomp; units would add theirs"
    )?;
    let scale = Scale { quick: options.quick, large: options.large };
    let rounds = options.rounds.unwrap_or(scale.pick(3, 1));
    let mut stacks = vec![Stack::postern(&options.bin.canonicalize()?, &state.join("postern"), mailboxes(scale))?];
    if options.against.is_some() {
        stacks.push(Stack::postfix_dovecot(&state.join("peer"), mailboxes(scale))?);
    }
    // What an earlier run left was removed: the disk is done with that before the first case.
    rustix::fs::sync();
    let mut runs: Vec<Run> = Vec::new();
    for case in &cases {
        for _ in 0..rounds {
            for stack in stacks.iter_mut().filter(|s| s.is_ours() || !case.only_ours) {
                let run = measure(case, stack, scale).map_err(|e| format!("{} on {}: {e}", case.name, stack.name))?;
                writeln!(out, "{}", serde_json::to_string(&run)?)?;
                runs.push(run);
            }
        }
        report::case(&mut out, case, &runs)?;
        if let Some(path) = &options.json {
            std::fs::write(path, serde_json::to_vec_pretty(&runs)?)?;
        }
    }
    Ok(())
}

/// All, or those that are named; what names none wholly names those that begin with it.
fn wanted(names: &[String]) -> Result<Vec<case::Case>, Failure> {
    let all = cases::all();
    let whole = |name: &str| all.iter().any(|case| case.name == name);
    let names_it = |name: &String, case: &str| if whole(name) { case == name } else { case.starts_with(name.as_str()) };
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|case| names_it(name, case.name))) {
        return Err(format!("no case is called {unknown:?} or begins so; --list names them").into());
    }
    let chosen: Vec<bool> = all.iter().map(|case| names.is_empty() || names.iter().any(|name| names_it(name, case.name))).collect();
    Ok(all.into_iter().zip(chosen).filter_map(|(case, chosen)| chosen.then_some(case)).collect())
}

fn measure(case: &case::Case, stack: &mut Stack, scale: Scale) -> Result<Run, Failure> {
    let watch = stack.meter.watch();
    let outcome = case.run(stack, scale)?;
    let processes = stack.meter.processes();
    Ok(Run {
        case: case.name,
        server: stack.name,
        figures: outcome.figures,
        cpu_seconds_per_1000: outcome.cpu_seconds * 1_000.0 / outcome.operations,
        peak_pss_mib: mib(watch.peak()),
        processes,
    })
}

/// Accounts, each with the password. Verifiers are made anew at each start and cost as much as a login.
fn mailboxes(scale: Scale) -> u32 {
    scale.pick(1_000, 70)
}

/// For this process and, by inheritance, for the servers.
fn raise_descriptors() -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit { current: Some(DESCRIPTORS), maximum: Some(now.maximum.map_or(DESCRIPTORS, |m| m.max(DESCRIPTORS))) };
    if setrlimit(Resource::Nofile, most).is_err() {
        setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })?;
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1u32 << 20)
}
