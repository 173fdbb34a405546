//! STORE of flags on 10,000 messages.

use super::fetch;
use crate::{
    Failure,
    case::{Case, Outcome, Scale},
    stack::{Security, Stack},
};

/// Set and cleared in turn, so that every command changes every message.
pub(super) fn cases() -> Vec<Case> {
    let case = |name, commands: [&'static str; 2], rows: bool| {
        Case::new(name, move |stack: &mut Stack, scale: Scale| run(stack, scale, &commands, rows))
    };
    vec![
        case("store-flags", ["STORE 1:* +FLAGS (\\Flagged)", "STORE 1:* -FLAGS (\\Flagged)"], true),
        case("store-flags-silent", ["UID STORE 1:* +FLAGS.SILENT (\\Seen)", "UID STORE 1:* -FLAGS.SILENT (\\Seen)"], false),
    ]
}

fn run(stack: &mut Stack, scale: Scale, commands: &[&str], rows: bool) -> Result<Outcome, Failure> {
    fetch::prepare(stack, scale)?;
    let count = fetch::count(scale);
    let mut imap = fetch::open(stack, scale, Security::Tls, "SELECT")?;
    let outcome = fetch::time(stack, scale, &mut imap, commands, |answer| {
        if rows && answer.fetches != count as usize { Err(format!("{} of {count} rows", answer.fetches).into()) } else { Ok(()) }
    })?;
    // Another session sees what was stored: first all, then none.
    for (command, expected) in [(commands.first(), count as usize), (commands.last(), 0)] {
        imap.command(command.ok_or("no command")?)?;
        let mut other = fetch::open(stack, scale, Security::Tls, "EXAMINE")?;
        let found = other.command(if rows { "SEARCH FLAGGED" } else { "SEARCH SEEN" })?.words("SEARCH").len();
        other.logout()?;
        if found != expected {
            return Err(format!("{found} messages have the flag, {expected} should").into());
        }
    }
    imap.logout()?;
    Ok(outcome)
}
