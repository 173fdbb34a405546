//! Whether what is done to one message or one account stays as quick when there are many.

use super::inbound;
use crate::{
    Failure,
    case::{Case, Figure, MS, Outcome, Scale, quantile},
    corpus::Random,
    imap::Imap,
    login::Mechanism,
    mib,
    smtp::{self, Session},
    stack::{Security, Stack},
};
use std::time::{Duration, Instant};

/// Whose INBOX grows in the first round; later rounds take the users after it.
const FIRST_USER: u32 = 4;
/// How often each command is timed.
const REPEATS: u32 = 100;
/// For a server to do in the background what it does after many deliveries.
const SETTLE: Duration = Duration::from_secs(300);

/// Both tables.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("growth-messages", messages).only_ours(), Case::new("growth-accounts", accounts).only_ours()]
}

/// One mailbox with more and more messages.
fn messages(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    let round = stack.prepared.entry("growth").or_default();
    let user = FIRST_USER + u32::try_from(*round)?;
    *round += 1;
    let sizes: &[u32] = match (scale.quick, scale.large) {
        (true, _) => &[10, 30],
        (false, false) => &[1_000, 100_000],
        (false, true) => &[1_000, 100_000, 1_000_000],
    };
    let cpu = stack.meter.cpu_seconds()?;
    let mut figures = Vec::new();
    let mut operations = 0;
    for size in sizes {
        let exists = stack.imap(user)?.command("EXAMINE INBOX")?.exists().ok_or("EXAMINE without EXISTS")?;
        let missing = size.saturating_sub(u32::try_from(exists)?);
        let (seconds, ..) = {
            let sent = load(stack, user, 1, missing);
            inbound::deliver(stack, &sent)?
        };
        stack.meter.settle(scale.pick(SETTLE, Duration::ZERO))?;
        figures.push(Figure::more(format!("delivered up to {size}"), f64::from(missing) / seconds, "/s"));
        figures.extend(one_mailbox(stack, user, *size, *size, scale)?);
        operations += missing;
    }
    Ok(Outcome { figures, operations: f64::from(operations), cpu_seconds: stack.meter.cpu_seconds()? - cpu })
}

fn load(stack: &mut Stack, first: u32, mailboxes: u32, messages: u32) -> smtp::Load {
    let (to, run) = (stack.smtp, stack.next_load());
    smtp::Load {
        to,
        sessions: 10.min(messages),
        messages,
        size: 2 * 1024,
        attachment: false,
        first,
        mailboxes,
        connection_per_message: false,
        run,
        outbound: None,
    }
}

/// Medians of what one client does to a mailbox of this size; `at` is what grows.
fn one_mailbox(stack: &mut Stack, user: u32, size: u32, at: u32, scale: Scale) -> Result<Vec<Figure>, Failure> {
    let repeats = scale.pick(REPEATS, 3);
    let mut imap = stack.imap(user)?;
    imap.command("ENABLE QRESYNC")?;
    let selected = imap.command("SELECT INBOX")?;
    let exists = selected.exists().unwrap_or(0);
    if exists < u64::from(size) {
        return Err(format!("{exists} of {size} messages").into());
    }
    let value = |name: &str| selected.number_after(name).ok_or_else(|| format!("SELECT without {name}"));
    let (validity, next) = (value("UIDVALIDITY")?, value("UIDNEXT")?);
    let mut random = Random::new(u64::from(size));
    let mut fetch = Vec::new();
    let mut store = Vec::new();
    for turn in 0..repeats {
        // Only this case delivers to this user, and expunges nothing.
        let uid = next - 1 - random.below(u64::from(size));
        fetch.push(timed(&mut imap, &format!("UID FETCH {uid} (FLAGS ENVELOPE BODY.PEEK[])"), Some(1))?);
        let sign = if turn % 2 == 0 { '+' } else { '-' };
        store.push(timed(&mut imap, &format!("UID STORE {uid} {sign}FLAGS (\\Flagged)"), None)?);
    }
    let mut wake = wake_up(stack, &mut imap, user, scale)?;
    let status = imap.command("STATUS INBOX (HIGHESTMODSEQ)")?;
    let modseq = status.number_after("HIGHESTMODSEQ").ok_or("STATUS without HIGHESTMODSEQ")?;
    let mut resync = Vec::new();
    for _ in 0..repeats {
        imap.command("UNSELECT")?;
        resync.push(timed(&mut imap, &format!("SELECT INBOX (QRESYNC ({validity} {modseq}))"), Some(0))?);
    }
    imap.logout()?;
    Ok(vec![
        Figure::less(format!("FETCH by UID at {at}"), quantile(&mut fetch, 0.5), "ms"),
        Figure::less(format!("STORE at {at}"), quantile(&mut store, 0.5), "ms"),
        Figure::less(format!("250 to IDLE at {at}"), quantile(&mut wake, 0.5), "ms"),
        Figure::less(format!("empty resync at {at}"), quantile(&mut resync, 0.5), "ms"),
    ])
}

/// Milliseconds of one command; as many rows as are said must come.
fn timed(imap: &mut Imap, command: &str, rows: Option<usize>) -> Result<f64, Failure> {
    let start = Instant::now();
    let answer = imap.command(command)?;
    let time = start.elapsed().as_secs_f64() * MS;
    if rows.is_none_or(|rows| rows == answer.fetches) { Ok(time) } else { Err(format!("{command}: {} rows", answer.fetches).into()) }
}

/// Milliseconds from the 250 of a message to the EXISTS that tells a waiting client, for several messages.
fn wake_up(stack: &Stack, imap: &mut Imap, user: u32, scale: Scale) -> Result<Vec<f64>, Failure> {
    let mut session = Session::open(stack.smtp)?;
    let mut times = Vec::new();
    for number in 0..scale.pick(REPEATS, 3) {
        imap.idle()?;
        session.send(user, &smtp::message(0, number, 2 * 1024))?;
        let accepted = Instant::now();
        while !imap.next_line()?.ends_with(" EXISTS") {}
        times.push(accepted.elapsed().as_secs_f64() * MS);
        imap.done()?;
    }
    Ok(times)
}

/// Servers with more and more accounts, each fresh.
fn accounts(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    let sizes: &[u32] = if scale.quick { &[5] } else { &[10, 1_000, 10_000] };
    let mut figures = Vec::new();
    let (mut operations, mut cpu_seconds) = (0, 0.0);
    for size in sizes {
        let start = Instant::now();
        let mut own = stack.another(*size)?;
        figures.push(Figure::less(format!("start with {size}"), start.elapsed().as_secs_f64(), "s"));
        let messages = scale.pick(4_000, 10);
        // The first messages make the accounts' databases; the second ones find them.
        for round in ["delivered first", "delivered"] {
            let sent = load(&mut own, 1, messages.min(*size), messages);
            let (seconds, cpu, _) = inbound::deliver(&mut own, &sent)?;
            figures.push(Figure::more(format!("{round} at {size}"), f64::from(messages) / seconds, "/s"));
            figures.push(Figure::less(format!("CPU, {round} at {size}"), cpu * MS / f64::from(messages), "ms"));
            operations += messages;
            cpu_seconds += cpu;
        }
        figures.push(Figure::less(format!("memory at {size}"), mib(own.meter.pss()), "MiB"));
        let mut logins = Vec::new();
        for turn in 0..scale.pick(REPEATS, 3) {
            let start = Instant::now();
            let mut imap = own.door.login(1 + turn % size, Security::Tls, Mechanism::Scram)?;
            imap.command("SELECT INBOX")?;
            logins.push(start.elapsed().as_secs_f64() * MS);
            imap.logout()?;
        }
        figures.push(Figure::less(format!("login and SELECT at {size}"), quantile(&mut logins, 0.5), "ms"));
        // As many as each has at least, whatever the number of accounts.
        figures.extend(one_mailbox(&mut own, 1, 2, *size, scale)?);
    }
    Ok(Outcome { figures, operations: f64::from(operations), cpu_seconds })
}
