//! From the 250 of a message to the moment a waiting client is told of it.

use crate::{
    Failure,
    case::{Case, Figure, MS, Outcome, Scale, quantile},
    imap::Imap,
    smtp::{self, Session},
    stack::Stack,
};
use std::time::Instant;

/// Whose mailbox it is.
const USER: u32 = 3;

/// One client waits in IDLE; one asks with NOOP until the message is there.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("visible-idle", idle), Case::new("visible-noop", noop)]
}

fn idle(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    run(stack, scale, |imap, expected| {
        imap.idle()?;
        Ok(Box::new(move |imap: &mut Imap| {
            while imap.next_line()? != format!("* {expected} EXISTS") {}
            let seen = Instant::now();
            imap.done()?;
            Ok(seen)
        }))
    })
}

fn noop(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    run(stack, scale, |_, expected| {
        Ok(Box::new(move |imap: &mut Imap| {
            while imap.command("NOOP")?.exists() != Some(expected) {}
            Ok(Instant::now())
        }))
    })
}

/// Waits until a client has been told.
type Wait = Box<dyn FnOnce(&mut Imap) -> Result<Instant, Failure>>;

fn run(stack: &mut Stack, scale: Scale, prepare: impl Fn(&mut Imap, u64) -> Result<Wait, Failure>) -> Result<Outcome, Failure> {
    let messages = scale.pick(300, 5);
    let load = stack.next_load();
    let mut imap = stack.imap(USER)?;
    let mut exists = imap.command("SELECT INBOX")?.exists().ok_or("SELECT without EXISTS")?;
    let mut session = Session::open(stack.smtp)?;
    let cpu = stack.meter.cpu_seconds()?;
    let mut times = Vec::new();
    for number in 0..messages {
        exists += 1;
        let wait = prepare(&mut imap, exists)?;
        session.send(USER, &smtp::message(load, number, 4 * 1024))?;
        let accepted = Instant::now();
        let seen = wait(&mut imap)?;
        times.push(seen.saturating_duration_since(accepted).as_secs_f64() * MS);
    }
    let cpu_seconds = stack.meter.cpu_seconds()? - cpu;
    imap.logout()?;
    Ok(Outcome {
        figures: vec![
            Figure::less("p50", quantile(&mut times, 0.5), "ms"),
            Figure::less("p99", quantile(&mut times, 0.99), "ms"),
            Figure::less("longest", quantile(&mut times, 1.0), "ms"),
        ],
        operations: f64::from(messages),
        cpu_seconds,
    })
}
