//! What a session that waits costs.

use crate::{
    Failure,
    case::{Case, Figure, Outcome, Scale},
    imap::Imap,
    login::Mechanism,
    mib,
    smtp::{self, Session},
    stack::{SHARED_USERS, Security, Stack},
};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Clients that connect at a time.
const AT_A_TIME: u32 = 8;

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let case = |name, sessions: u32, security| {
        Case::new(name, move |stack: &mut Stack, scale: Scale| run(stack, scale, scale.pick(sessions, sessions / 100), security))
    };
    vec![
        case("idle-500", 500, Security::Tls),
        case("idle-500-clear", 500, Security::ClearIfOffered).note("Postern with TLS, the peer without"),
        case("idle-5000", 5_000, Security::Tls),
        case("idle-5000-clear", 5_000, Security::ClearIfOffered).note("Postern with TLS, the peer without"),
    ]
}

fn run(stack: &mut Stack, scale: Scale, sessions: u32, security: Security) -> Result<Outcome, Failure> {
    let users = SHARED_USERS.min(sessions);
    // What the first session of an account opens is not what a session costs.
    for user in 1..=users {
        let mut imap = stack.door.login(user, security, Mechanism::Scram)?;
        imap.command("SELECT INBOX")?;
        imap.logout()?;
    }
    let pause = Duration::from_secs(scale.pick(5, 0));
    thread::sleep(pause);
    let before = stack.meter.pss();
    let names_before = stack.meter.pss_by_name();
    let (cpu, start) = (stack.meter.cpu_seconds()?, Instant::now());
    let mut held = hold(stack, sessions, users, security)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = stack.meter.cpu_seconds()? - cpu;
    // Buffers are given back after a moment.
    thread::sleep(pause);
    stack.meter.settle(pause)?;
    let after = stack.meter.pss();
    let per_session = |bytes: u64| bytes as f64 / 1024.0 / f64::from(sessions);
    let mut figures = vec![
        Figure::less("a session", per_session(after.saturating_sub(before)), "KiB"),
        Figure::less("all processes", mib(after), "MiB"),
        Figure::more("sessions opened", f64::from(sessions) / seconds, "/s"),
    ];
    for (name, (_, pss)) in stack.meter.pss_by_name() {
        let old = names_before.get(&name).map_or(0, |(_, pss)| *pss);
        let grown = per_session(pss.saturating_sub(old));
        if grown >= 0.5 {
            figures.push(Figure::less(format!("of it {name}"), grown, "KiB"));
        }
    }
    wake(stack, &mut held, users)?;
    drop(held);
    stack.meter.settle(scale.pick(Duration::from_secs(60), Duration::ZERO))?;
    Ok(Outcome { figures, operations: f64::from(sessions), cpu_seconds })
}

/// Opens the sessions; session N is of user 1 + N modulo the users.
fn hold(stack: &Stack, sessions: u32, users: u32, security: Security) -> Result<Vec<(u32, Imap)>, Failure> {
    let next = AtomicU32::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                scope.spawn(|| -> Result<Vec<(u32, Imap)>, Failure> {
                    let mut held = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= sessions {
                            return Ok(held);
                        }
                        let user = 1 + number % users;
                        let mut imap = stack.door.login(user, security, Mechanism::Scram).map_err(|e| format!("session {number}: {e}"))?;
                        imap.command("SELECT INBOX")?;
                        imap.idle()?;
                        held.push((user, imap));
                    }
                })
            })
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| "a client panicked")??);
        }
        Ok(all)
    })
}

/// Every session is alive: a message to its user reaches it.
fn wake(stack: &mut Stack, held: &mut [(u32, Imap)], users: u32) -> Result<(), Failure> {
    let load = stack.next_load();
    let mut session = Session::open(stack.smtp)?;
    for user in 1..=users {
        session.send(user, &smtp::message(load, user, 1024))?;
    }
    for (user, imap) in held {
        while !imap.next_line().map_err(|e| format!("a session of user {user}: {e}"))?.ends_with(" EXISTS") {}
    }
    Ok(())
}
