//! mbsync, a synchronising client: its first run over 10,000 messages, and one that finds nothing new.

use super::fetch;
use crate::{
    Failure,
    case::{Case, Figure, Outcome, Scale},
    login,
    stack::{Stack, address},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// Both need the mailbox that FETCH is measured on. The client writes to files and does not sync them: its disk is not what is measured.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("mbsync-first", first), Case::new("mbsync-again", again)]
}

fn first(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    fetch::prepare(stack, scale)?;
    let near = near(stack);
    if near.exists() {
        fs::remove_dir_all(&near)?;
    }
    run(stack, scale)
}

fn again(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    fetch::prepare(stack, scale)?;
    if !near(stack).exists() {
        run(stack, scale)?;
    }
    run(stack, scale)
}

fn near(stack: &Stack) -> PathBuf {
    stack.scratch.join("mbsync")
}

fn run(stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
    let near = near(stack);
    fs::create_dir_all(&near)?;
    let file = stack.scratch.join("mbsyncrc");
    fs::write(&file, configuration(stack, &near))?;
    let (cpu, start) = (stack.meter.cpu_seconds()?, Instant::now());
    let output = Command::new("mbsync").arg("-q").arg("-c").arg(&file).arg("-a").stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("mbsync (Debian package isync): {e}"))?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = stack.meter.cpu_seconds()? - cpu;
    if !output.status.success() {
        return Err(format!("mbsync: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let count = fetch::count(scale);
    let mailbox = near.join(fetch::MAILBOX);
    let stored: usize = ["new", "cur"].iter().map(|d| fs::read_dir(mailbox.join(d)).map_or(0, Iterator::count)).sum();
    if stored != count as usize {
        return Err(format!("mbsync stored {stored} of {count} messages").into());
    }
    Ok(Outcome { figures: vec![Figure::less("time", seconds, "s")], operations: f64::from(count), cpu_seconds })
}

fn configuration(stack: &Stack, near: &Path) -> String {
    format!(
        "FSync no\n\nIMAPAccount bench\nHost localhost\nPort {}\nUser {}\nPass {}\nSSLType IMAPS\nCertificateFile {}\n\nIMAPStore far\n\
         Account bench\n\nMaildirStore near\nPath {near}/\nInbox {near}/INBOX\nSubFolders Verbatim\n\nChannel all\nFar :far:\nNear \
         :near:\nPatterns {}\nCreate Near\nSync All\nSyncState *\n",
        stack.door.tls_port(),
        address(fetch::USER),
        login::PASSWORD,
        stack.authority.display(),
        fetch::MAILBOX,
        near = near.display()
    )
}
