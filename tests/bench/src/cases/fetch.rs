//! FETCH over a mailbox of 10,000 messages.

use crate::{
    Failure,
    case::{Better, Case, Figure, MS, Outcome, Scale, quantile},
    corpus,
    imap::{Answer, Imap},
    login::Mechanism,
    stack::{Security, Stack},
};
use std::time::{Duration, Instant};

/// Whose mailbox it is.
pub(super) const USER: u32 = 2;
/// Its name.
pub(super) const MAILBOX: &str = "Corpus";
/// Within one connection; the first of them is reported, too.
const REPEATS: u32 = 5;
/// For what a server still has to do once it has a mailbox.
pub(super) const SETTLE: Duration = Duration::from_secs(120);

/// Messages in the mailbox.
pub(super) fn count(scale: Scale) -> u32 {
    scale.pick(10_000, 60)
}

/// Fills the mailbox once, and lets the server come to rest.
pub(super) fn prepare(stack: &mut Stack, scale: Scale) -> Result<u64, Failure> {
    if let Some(bytes) = stack.prepared.get(MAILBOX) {
        return Ok(*bytes);
    }
    let count = count(scale);
    let mut imap = stack.imap(USER)?;
    let bytes = imap.fill(MAILBOX, (0..count).map(|n| corpus::message(n, count)))?;
    imap.logout()?;
    stack.work_off(USER, scale.pick(SETTLE, Duration::ZERO))?;
    stack.prepared.insert(MAILBOX, bytes);
    Ok(bytes)
}

/// Opens the mailbox and checks that it is whole.
pub(super) fn open(stack: &Stack, scale: Scale, security: Security, verb: &str) -> Result<Imap, Failure> {
    let mut imap = stack.door.login(USER, security, Mechanism::Plain)?;
    let exists = imap.command(&format!("{verb} {MAILBOX}"))?.exists();
    if exists != Some(u64::from(count(scale))) {
        return Err(format!("{exists:?} messages in {MAILBOX}").into());
    }
    Ok(imap)
}

/// What one command over the whole mailbox takes: the median of several and the first.
pub(super) fn time(
    stack: &mut Stack,
    scale: Scale,
    imap: &mut Imap,
    commands: &[&str],
    check: impl Fn(&Answer) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    let repeats = scale.pick(REPEATS, 1);
    let cpu = stack.meter.cpu_seconds()?;
    let mut times = Vec::new();
    for _ in 0..repeats {
        for command in commands {
            let start = Instant::now();
            let answer = imap.command(command)?;
            times.push(start.elapsed().as_secs_f64() * MS);
            check(&answer)?;
        }
    }
    let operations = times.len() as f64;
    let first = times.first().copied().unwrap_or(f64::NAN);
    Ok(Outcome {
        figures: vec![Figure::less("time", quantile(&mut times, 0.5), "ms"), Figure::less("the first", first, "ms")],
        operations,
        cpu_seconds: stack.meter.cpu_seconds()? - cpu,
    })
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let of = |name, command: &'static str, security| {
        Case::new(name, move |stack: &mut Stack, scale: Scale| rows(stack, scale, security, command))
    };
    let bodies = |name, security| Case::new(name, move |stack: &mut Stack, scale: Scale| bodies(stack, scale, security));
    vec![
        of("fetch-envelope", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)", Security::Tls),
        of("fetch-fast", "FETCH 1:* FAST", Security::Tls),
        of("fetch-flags", "UID FETCH 1:* (FLAGS)", Security::Tls),
        of("fetch-structure", "FETCH 1:* (BODYSTRUCTURE)", Security::Tls),
        of("fetch-fields", "FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID)])", Security::Tls),
        bodies("fetch-bodies", Security::Tls),
        of("fetch-envelope-clear", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)", Security::ClearIfOffered)
            .note("Postern with TLS, the peer without"),
        bodies("fetch-bodies-clear", Security::ClearIfOffered).note("Postern with TLS, the peer without"),
    ]
}

fn rows(stack: &mut Stack, scale: Scale, security: Security, command: &str) -> Result<Outcome, Failure> {
    prepare(stack, scale)?;
    let expected = count(scale) as usize;
    let mut imap = open(stack, scale, security, "EXAMINE")?;
    let outcome = time(stack, scale, &mut imap, &[command], |answer| {
        if answer.fetches == expected { Ok(()) } else { Err(format!("{} of {expected} rows", answer.fetches).into()) }
    })?;
    imap.logout()?;
    Ok(outcome)
}

fn bodies(stack: &mut Stack, scale: Scale, security: Security) -> Result<Outcome, Failure> {
    let bytes = prepare(stack, scale)?;
    let expected = count(scale) as usize;
    let mut imap = open(stack, scale, security, "EXAMINE")?;
    let mut outcome = time(stack, scale, &mut imap, &["FETCH 1:* (BODY.PEEK[])"], |answer| {
        if answer.fetches == expected && answer.literals == bytes {
            Ok(())
        } else {
            Err(format!("{} of {expected} messages, {} of {bytes} bytes", answer.fetches, answer.literals).into())
        }
    })?;
    for figure in &mut outcome.figures {
        *figure = Figure { value: bytes as f64 / 1e6 / (figure.value / MS), unit: "MB/s", better: Better::More, ..figure.clone() };
    }
    imap.logout()?;
    Ok(outcome)
}
