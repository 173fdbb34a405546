//! Mail of our users to another domain: accepted, sent to a smarthost that takes everything, and counted there.

use crate::{
    Failure,
    case::{Case, Figure, Outcome, Scale},
    smtp,
    stack::Stack,
};
use std::time::{Duration, Instant};

/// For everything accepted to leave, in a full run and in a quick one.
const LIMITS: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(60));

/// Sessions, and messages.
const TEN: (u32, u32) = (10, 3_000);

/// Few and many sessions.
pub(super) fn cases() -> Vec<Case> {
    [("outbound-1", 1, 1_000), ("outbound-10", TEN.0, TEN.1)]
        .into_iter()
        .map(|(name, sessions, messages)| {
            let case = Case::new(name, move |stack, scale| run(stack, scale, sessions, messages));
            case.note("Postern: login, TLS, and two DKIM signatures for each message; the peer: none of them")
        })
        .collect()
}

/// As many at a time as keep everything busy.
pub(super) fn ten_sessions(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    run(stack, scale, TEN.0, TEN.1)
}

fn run(stack: &mut Stack, scale: Scale, sessions: u32, messages: u32) -> Result<Outcome, Failure> {
    let messages = scale.pick(messages, messages / 500 + 3);
    let (to, outbound) = stack.outbound();
    let load = smtp::Load {
        to,
        sessions: sessions.min(messages),
        messages,
        size: 4 * 1024,
        attachment: false,
        first: 1,
        mailboxes: 1,
        connection_per_message: false,
        run: stack.next_load(),
        outbound: Some(outbound),
    };
    let cpu = stack.meter.cpu_seconds()?;
    let start = Instant::now();
    let accepted = smtp::run(&load)?;
    loop {
        let (arrived, twice) = stack.sink.seen(load.run);
        if twice > 0 {
            return Err(format!("{twice} messages came twice").into());
        }
        if arrived >= u64::from(messages) {
            break;
        }
        if start.elapsed() > scale.pick(LIMITS.0, LIMITS.1) {
            return Err(format!("{arrived} of {messages} messages left").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Outcome {
        figures: vec![
            Figure::more("sent", f64::from(messages) / seconds, "/s"),
            Figure::more("accepted", f64::from(accepted.accepted) / accepted.seconds, "/s"),
            Figure::less("accept p50", accepted.p50_ms, "ms"),
            Figure::less("accept p99", accepted.p99_ms, "ms"),
        ],
        operations: f64::from(messages),
        cpu_seconds: stack.meter.cpu_seconds()? - cpu,
    })
}
