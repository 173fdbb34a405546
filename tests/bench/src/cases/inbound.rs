//! Mail from other servers: accepted, and found in the mailbox.

use crate::{
    Failure,
    case::{Case, Figure, Outcome, Scale},
    smtp,
    stack::Stack,
};
use std::time::{Duration, Instant};

const KIB: usize = 1024;
/// For everything accepted to be delivered: so long, and as long again as so many each second take.
const LIMIT: Duration = Duration::from_secs(60);
const SLOWEST: u32 = 20;
/// For a server to do afterwards what it puts off.
const WORK_OFF: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Inbound {
    sessions: u32,
    messages: u32,
    size: usize,
    attachment: bool,
    mailboxes: u32,
    connection_per_message: bool,
}

const ONE: Inbound =
    Inbound { sessions: 1, messages: 2_000, size: 4 * KIB, attachment: false, mailboxes: 1, connection_per_message: false };
const TEN: Inbound = Inbound { sessions: 10, messages: 6_000, ..ONE };

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    [
        ("inbound-1", ONE),
        ("inbound-10", TEN),
        ("inbound-50", Inbound { sessions: 50, ..TEN }),
        ("inbound-1-1000-mailboxes", Inbound { mailboxes: 1_000, ..ONE }),
        ("inbound-10-1000-mailboxes", Inbound { mailboxes: 1_000, ..TEN }),
        ("inbound-50-1000-mailboxes", Inbound { sessions: 50, mailboxes: 1_000, ..TEN }),
        ("inbound-1-new-connections", Inbound { connection_per_message: true, ..ONE }),
        ("inbound-10-new-connections", Inbound { sessions: 10, connection_per_message: true, ..ONE }),
        ("inbound-50-new-connections", Inbound { sessions: 50, connection_per_message: true, ..ONE }),
        ("inbound-1-mib", Inbound { messages: 200, size: 1024 * KIB, attachment: true, ..ONE }),
        ("inbound-10-mib", Inbound { messages: 400, size: 1024 * KIB, attachment: true, ..TEN }),
        // All of it text, and so all of it indexed.
        ("inbound-10-mib-of-text", Inbound { messages: 400, size: 1024 * KIB, ..TEN }),
    ]
    .into_iter()
    .map(|(name, inbound)| {
        Case::new(name, move |stack, scale| {
            let user = stack.fresh();
            let outcome = run(inbound, stack, scale)?;
            work_off(stack, user, scale)?;
            Ok(outcome)
        })
    })
    .collect()
}

/// Waits for what the server does later with what was delivered: it is neither counted, nor done while the next is measured.
pub(super) fn work_off(stack: &Stack, user: u32, scale: Scale) -> Result<(), Failure> {
    stack.work_off(user, scale.pick(WORK_OFF, Duration::ZERO))
}

/// One message after the other.
pub(super) fn one_session(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    run(ONE, stack, scale)
}

/// As many at a time as keep everything busy.
pub(super) fn ten_sessions(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    run(TEN, stack, scale)
}

fn run(inbound: Inbound, stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    let messages = scale.pick(inbound.messages, inbound.messages / 200 + 3);
    let load = smtp::Load {
        to: stack.smtp,
        sessions: inbound.sessions.min(messages),
        messages,
        size: inbound.size,
        attachment: inbound.attachment,
        // A mailbox that grows from case to case would make whoever comes later look slow.
        first: if inbound.mailboxes > 1 { 1 } else { stack.fresh() },
        mailboxes: inbound.mailboxes.min(stack.mailboxes),
        connection_per_message: inbound.connection_per_message,
        run: stack.next_load(),
        outbound: None,
    };
    let (seconds, cpu_seconds, accepted) = deliver(stack, &load)?;
    Ok(Outcome {
        figures: vec![
            Figure::more("delivered", f64::from(messages) / seconds, "/s"),
            Figure::more("accepted", f64::from(accepted.accepted) / accepted.seconds, "/s"),
            Figure::less("accept p50", accepted.p50_ms, "ms"),
            Figure::less("accept p99", accepted.p99_ms, "ms"),
        ],
        operations: f64::from(messages),
        cpu_seconds,
    })
}

/// Sends a load and waits until the last message of it is in its mailbox; then looks for each. Seconds, and CPU seconds of the server.
pub(super) fn deliver(stack: &mut Stack, load: &smtp::Load) -> Result<(f64, f64, smtp::Accepted), Failure> {
    let before = stack.delivered()?;
    let cpu = stack.meter.cpu_seconds()?;
    let limit = LIMIT.saturating_add(Duration::from_secs(u64::from(load.messages / SLOWEST)));
    let start = Instant::now();
    let accepted = smtp::run(load)?;
    loop {
        let delivered = stack.delivered()?.saturating_sub(before);
        if delivered >= u64::from(load.messages) {
            break;
        }
        if start.elapsed() > limit {
            return Err(format!("{delivered} of {} messages were delivered", load.messages).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = stack.meter.cpu_seconds()? - cpu;
    stack.check(load)?;
    Ok((seconds, cpu_seconds, accepted))
}
