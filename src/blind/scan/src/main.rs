//! postern-scan: what is in a message? The one process that parses MIME. Blind: it talks to nobody but those who ask.
//!
//! # Security
//!
//! * Talks to: queue (scan-queue) and store (scan-store), which connect to it. It calls nobody.
//! * Parses: whole messages, the most hostile bytes there are.
//! * Holds: nothing. No network, no files, no secrets, no state; the message it is given is sealed and cannot be changed.
//! * A taken-over scan can read the messages that pass through it and misjudge them: a wrong structure shows a reader wrong parts, a wrong
//!   identity lets an account send under another's name, a wrong input to a signature has our domain sign other fields than the message has
//!   (which no verifier then accepts for it), and a conversion to seven bits is another message: the queue sends what scan gives. It cannot send what it read anywhere or reach a mailbox. Its
//!   answer is a bounded value whose parts are checked to be a tree before anyone uses them.
//! * A message that makes it fail costs that message an answer (`Failed`, then 451), not the others theirs.

mod limits;
mod service;

use jail::{Class, Kind, Process, Profile};
use service::Scanner;
use std::{error::Error, process::ExitCode, sync::Arc};
use wire::{
    Edge,
    edge::scan_index::{ScanForQueue, ScanForStore},
    serve,
};

const PROFILE: Profile = Profile {
    name: "scan",
    kind: Kind::Blind,
    class: Class::Compute,
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
    let scanner = Arc::new(Scanner::new(process.config.limits.message_size.bytes(), pure_mime::index));
    Ok(async move {
        tokio::select! {
            result = serve::<ScanForQueue, Scanner>(for_queue, scanner.clone()) => Ok(result?),
            result = serve::<ScanForStore, Scanner>(for_store, scanner.clone()) => Ok(result?),
            () = shutdown.requested() => Ok(()),
        }
    })
}
