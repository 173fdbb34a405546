//! The speed of Postern beside Postfix and Dovecot: the same job, the same promises, the same machine, in turns.
//!
//! `cargo xtask bench` builds the releases and starts this. Every case runs A B A B; a run counts only when every message that was
//! accepted is in its mailbox at the end. CPU time is that of all server processes together, from their cgroup.

mod disk;
mod meter;
mod smtp;
mod stack;

use clap::Parser;
use serde::Serialize;
use stack::Stack;
use std::{
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

/// What went wrong, for a person.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures inbound delivery.
#[derive(Debug, Parser)]
struct Options {
    /// Also measure Debian's Postfix and Dovecot, which must be installed.
    #[arg(long, value_parser = ["postfix-dovecot"])]
    against: Option<String>,
    /// Few messages and one round: proves that the bench works, says nothing about speed.
    #[arg(long)]
    quick: bool,
    /// Write the figures as JSON, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the release binaries are.
    #[arg(long, default_value = "target/release")]
    bin: PathBuf,
    /// Where the servers keep their state: on a disk, not in memory.
    #[arg(long, default_value = "target/bench")]
    state: PathBuf,
    /// Only cases whose name starts with one of these.
    cases: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    sessions: u32,
    messages: u32,
    size: usize,
    mailboxes: u32,
    connection_per_message: bool,
}

const KIB: usize = 1024;

const CASES: &[Case] = &[
    Case { name: "inbound-1", sessions: 1, messages: 2_000, size: 4 * KIB, mailboxes: 1, connection_per_message: false },
    Case { name: "inbound-10", sessions: 10, messages: 6_000, size: 4 * KIB, mailboxes: 1, connection_per_message: false },
    Case { name: "inbound-50", sessions: 50, messages: 6_000, size: 4 * KIB, mailboxes: 1, connection_per_message: false },
    Case {
        name: "inbound-10-1000-mailboxes",
        sessions: 10,
        messages: 6_000,
        size: 4 * KIB,
        mailboxes: 1_000,
        connection_per_message: false,
    },
    Case { name: "inbound-10-new-connections", sessions: 10, messages: 2_000, size: 4 * KIB, mailboxes: 1, connection_per_message: true },
    Case { name: "inbound-1-mib", sessions: 1, messages: 200, size: 1024 * KIB, mailboxes: 1, connection_per_message: false },
    Case { name: "inbound-10-mib", sessions: 10, messages: 400, size: 1024 * KIB, mailboxes: 1, connection_per_message: false },
];

/// One run of one case on one server.
#[derive(Debug, Clone, Serialize)]
struct Run {
    case: &'static str,
    server: &'static str,
    accepted_per_second: f64,
    delivered_per_second: f64,
    accept_p50_ms: f64,
    accept_p99_ms: f64,
    cpu_seconds_per_1000: f64,
    pss_mib: f64,
    processes: usize,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.state)?;
    let state = options.state.canonicalize()?;
    let mut out = std::io::stdout().lock();
    for threads in [1, 10, 50] {
        let time = Duration::from_millis(if options.quick { 200 } else { 3_000 });
        writeln!(out, "disk: {:>8.0} fdatasync/s with {threads} threads", disk::fdatasync_rate(&state, threads, time)?)?;
    }
    let mailboxes = if options.quick { 20 } else { 1_000 };
    let mut stacks = vec![Stack::postern(&options.bin.canonicalize()?, &state.join("postern"), mailboxes)?];
    if options.against.is_some() {
        stacks.push(Stack::postfix_dovecot(&state.join("peer"), mailboxes)?);
    }
    for stack in &stacks {
        writeln!(out, "{}: {:.1} MiB PSS in {} processes at rest", stack.name, mib(stack.meter.pss()), stack.meter.processes())?;
    }
    let rounds = if options.quick { 1 } else { 3 };
    let wanted = |c: &&Case| options.cases.is_empty() || options.cases.iter().any(|w| c.name.starts_with(w.as_str()));
    let mut runs: Vec<Run> = Vec::new();
    let mut number = 0;
    for case in CASES.iter().filter(wanted) {
        for _ in 0..rounds {
            for stack in &mut stacks {
                number += 1;
                let run = measure(case, stack, number, options.quick)?;
                writeln!(out, "{}", serde_json::to_string(&run)?)?;
                runs.push(run);
            }
        }
        report(&mut out, case.name, &stacks, &runs)?;
    }
    if let Some(path) = options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&runs)?)?;
    }
    Ok(())
}

fn measure(case: &Case, stack: &mut Stack, run: u32, quick: bool) -> Result<Run, Failure> {
    let messages = if quick { case.messages / 100 + 5 } else { case.messages };
    let load = smtp::Load {
        to: stack.smtp,
        sessions: case.sessions.min(messages),
        messages,
        size: case.size,
        mailboxes: if quick { case.mailboxes.min(20) } else { case.mailboxes },
        connection_per_message: case.connection_per_message,
        run,
    };
    let before = stack.delivered()?;
    let cpu = stack.meter.cpu_seconds()?;
    let start = Instant::now();
    let accepted = smtp::run(&load)?;
    loop {
        let delivered = stack.delivered()?.saturating_sub(before);
        if delivered >= u64::from(messages) {
            break;
        }
        if start.elapsed() > Duration::from_secs(600) {
            return Err(format!("{}: {delivered} of {messages} messages were delivered", stack.name).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = stack.meter.cpu_seconds()? - cpu;
    stack.check(&load)?;
    Ok(Run {
        case: case.name,
        server: stack.name,
        accepted_per_second: f64::from(accepted.accepted) / accepted.seconds,
        delivered_per_second: f64::from(messages) / seconds,
        accept_p50_ms: accepted.p50_ms,
        accept_p99_ms: accepted.p99_ms,
        cpu_seconds_per_1000: cpu * 1000.0 / f64::from(messages),
        pss_mib: mib(stack.meter.pss()),
        processes: stack.meter.processes(),
    })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1u32 << 20)
}

fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

fn report(out: &mut impl std::io::Write, case: &str, stacks: &[Stack], runs: &[Run]) -> Result<(), Failure> {
    let figure = |server: &str, of: fn(&Run) -> f64| median(runs.iter().filter(|r| r.case == case && r.server == server).map(of).collect());
    for stack in stacks {
        let (delivered, low, high) = figure(stack.name, |r| r.delivered_per_second);
        writeln!(
            out,
            "| {case} | {} | {delivered:.0}/s ({low:.0}-{high:.0}) | accept {:.0}/s p50 {:.2} ms p99 {:.1} ms | {:.2} CPU-s per 1,000 | {:.0} MiB |",
            stack.name,
            figure(stack.name, |r| r.accepted_per_second).0,
            figure(stack.name, |r| r.accept_p50_ms).0,
            figure(stack.name, |r| r.accept_p99_ms).0,
            figure(stack.name, |r| r.cpu_seconds_per_1000).0,
            figure(stack.name, |r| r.pss_mib).2,
        )?;
    }
    if let [ours, peer] = stacks {
        let ratio = figure(ours.name, |r| r.delivered_per_second).0 / figure(peer.name, |r| r.delivered_per_second).0;
        let cpu = figure(peer.name, |r| r.cpu_seconds_per_1000).0 / figure(ours.name, |r| r.cpu_seconds_per_1000).0;
        writeln!(out, "| {case} | ratio | {ratio:.1}x deliveries | {cpu:.1}x less CPU |")?;
    }
    Ok(())
}
