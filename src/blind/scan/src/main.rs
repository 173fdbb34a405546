//! postern-scan: what is in a message, and where is it from? The one process that parses MIME. Blind: it has no network, and asks nobody but
//! dns.
//!
//! # Security
//!
//! * Talks to: queue (scan-queue) and store (scan-store), which connect to it. It calls dns (dns-scan), about messages of strangers.
//! * Parses: whole messages, the most hostile bytes there are; policies and keys that the DNS has for those whom they name.
//! * Holds: nothing but answers of the DNS, for a minute. No network, no files, no secrets, no state; the message it is given is sealed and cannot be changed.
//! * A taken-over scan can read the messages that pass through it and misjudge them: a wrong structure shows a reader wrong parts, a wrong
//!   identity lets an account send under another's name, a wrong input to a signature has our domain sign other fields than the message has
//!   (which no verifier then accepts for it), and a conversion to seven bits is another message: the queue sends what scan gives. It reaches no mailbox. It can let out what it
//!   reads in the names that it asks dns for, and say of a message from anybody that it is from whom it claims to be. Its
//!   answer is a bounded value whose parts are checked to be a tree before anyone uses them.
//! * A message that makes it fail costs that message an answer (`Failed`, then 451), not the others theirs.

mod limits;
mod names;
mod origin;
mod service;
#[cfg(test)]
mod testing;

use jail::{Class, Kind, Process, Profile};
use names::{Names, Times};
use origin::Origin;
use service::Scanner;
use std::{
    error::Error,
    process::ExitCode,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use wire::{
    Edge,
    edge::{
        dns_scan::DnsForScan,
        scan_index::{ScanForQueue, ScanForStore},
    },
    serve,
};

const PROFILE: Profile = Profile {
    name: "scan",
    kind: Kind::Blind,
    class: Class::Asker,
    state: false,
    read: |_| Vec::new(),
    connect: jail::nowhere,
    workers: 1,
};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    jail::main(&PROFILE, start)
}

fn start(mut process: Process) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    let for_queue = process.listener(ScanForQueue::NAME)?;
    let for_store = process.listener(ScanForStore::NAME)?;
    let mut shutdown = process.shutdown();
    let names = Names::new(&process.edge(DnsForScan::NAME), Times::default());
    let origin = Origin::new(process.config.hostname.clone(), names, now);
    let scanner = Arc::new(Scanner::new(process.config.limits.message_size.bytes(), pure_mime::index, origin));
    Ok(async move {
        tokio::select! {
            result = serve::<ScanForQueue, Scanner>(for_queue, scanner.clone()) => Ok(result?),
            result = serve::<ScanForStore, Scanner>(for_store, scanner.clone()) => Ok(result?),
            () = shutdown.requested() => Ok(()),
        }
    })
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok()).unwrap_or(0)
}
