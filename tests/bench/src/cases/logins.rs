//! Logins: connect, TLS with a full handshake, log in, LOGOUT.

use crate::{
    Failure,
    case::{Case, Figure, MS, Outcome, Scale, quantile},
    login::Mechanism,
    stack::{Door, SHARED_USERS, Security, Stack},
};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Clients at a time.
const CLIENTS: u32 = 8;

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let again = |security, mechanism| move |stack: &mut Stack, scale: Scale| again(stack, scale, security, mechanism);
    vec![
        Case::new("login-tls-plain", again(Security::Tls, Mechanism::Plain))
            .note("argon2id at the same cost on both sides; Postern remembers a verified password for minutes"),
        Case::new("login-tls-scram", again(Security::Tls, Mechanism::Scram)),
        Case::new("login-clear-plain", again(Security::ClearIfOffered, Mechanism::Plain)).note("Postern with TLS, the peer without"),
        Case::new("login-clear-scram", again(Security::ClearIfOffered, Mechanism::Scram)).note("Postern with TLS, the peer without"),
        Case::new("login-tls-first", first)
            .note("each account logs in for the first time: argon2id at the same cost is computed on both sides"),
    ]
}

/// The same users log in again and again.
fn again(stack: &mut Stack, scale: Scale, security: Security, mechanism: Mechanism) -> Result<Outcome, Failure> {
    let time = Duration::from_millis(scale.pick(5_000, 100));
    let users = scale.pick(SHARED_USERS, 4);
    // The first login of each user is another case.
    for user in 1..=users {
        stack.door.login(user, security, mechanism)?.logout()?;
    }
    let end = Instant::now() + time;
    run(stack, security, mechanism, |n| (Instant::now() < end).then_some(1 + n % users))
}

fn first(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    let users = stack.fresh_users(scale.pick(150, 10))?;
    run(stack, Security::Tls, Mechanism::Plain, |n| users.clone().nth(n as usize))
}

/// Clients take numbers until there are no more users for them.
fn run(stack: &mut Stack, security: Security, mechanism: Mechanism, user: impl Fn(u32) -> Option<u32> + Sync) -> Result<Outcome, Failure> {
    let cpu = stack.meter.cpu_seconds()?;
    let next = AtomicU32::new(0);
    let start = Instant::now();
    let mut times = thread::scope(|scope| -> Result<Vec<f64>, Failure> {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| client(&stack.door, security, mechanism, || user(next.fetch_add(1, Ordering::Relaxed)))))
            .collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.join().map_err(|_| "a client panicked")??);
        }
        Ok(all)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = stack.meter.cpu_seconds()? - cpu;
    let count = times.len() as f64;
    Ok(Outcome {
        figures: vec![
            Figure::more("logins", count / seconds, "/s"),
            Figure::less("p50", quantile(&mut times, 0.5), "ms"),
            Figure::less("p99", quantile(&mut times, 0.99), "ms"),
        ],
        operations: count,
        cpu_seconds,
    })
}

fn client(door: &Door, security: Security, mechanism: Mechanism, user: impl Fn() -> Option<u32>) -> Result<Vec<f64>, Failure> {
    let mut times = Vec::new();
    while let Some(user) = user() {
        let start = Instant::now();
        let imap = door.login(user, security, mechanism)?;
        times.push(start.elapsed().as_secs_f64() * MS);
        imap.logout()?;
    }
    Ok(times)
}
