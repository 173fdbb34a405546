//! postern-queue: see the library of the same name.

use pure_config::Config;
use std::{future::Future, pin::Pin, process::ExitCode, sync::Arc};
use wire::{
    Edge,
    edge::{
        auth_directory::AuthDirectory, keys_dkim::KeysDkim, queue_control::QueueControl, queue_grant::QueueGrant,
        queue_inbound::QueueInbound, scan_index::ScanForQueue, send_deliver::SendDeliver, store_deliver::StoreDeliver,
    },
    serve,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Serving = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

fn nothing(_: &Config) -> Vec<std::path::PathBuf> {
    Vec::new()
}

fn main() -> ExitCode {
    let profile = jail::Profile {
        name: "queue",
        kind: jail::Kind::Vault,
        class: jail::Class::Keeper,
        state: true,
        read: nothing,
        connect: jail::nowhere,
        // And the writer's thread.
        workers: 2,
    };
    jail::main(&profile, start)
}

fn start(mut process: jail::Process) -> Result<Serving, Failure> {
    let inbound = process.listener(QueueInbound::NAME)?;
    let grant = process.listener(QueueGrant::NAME)?;
    let control = process.listener(QueueControl::NAME)?;
    let queue = postern_queue::Queue::open(postern_queue::Options {
        state: process.state()?,
        hostname: process.config.hostname.clone(),
        message_size: process.config.limits.message_size.bytes(),
        scan: process.edge(ScanForQueue::NAME),
        directory: process.edge(AuthDirectory::NAME),
        store: process.edge(StoreDeliver::NAME),
        keys: process.edge(KeysDkim::NAME),
        send: process.edge(SendDeliver::NAME),
        settings: postern_queue::settings::Settings::from_config(&process.config).ok_or("nobody can be postmaster")?,
        clock: Arc::new(postern_queue::SystemClock),
        random: Arc::new(random),
        limits: postern_queue::limits::Limits::default(),
    })?;
    let mut shutdown = process.shutdown();
    Ok(Box::pin(async move {
        tokio::select! {
            result = serve::<QueueInbound, _>(inbound, queue.inbound()) => result?,
            result = serve::<QueueGrant, _>(grant, queue.grant()) => result?,
            result = serve::<QueueControl, _>(control, queue.control()) => result?,
            () = queue.failed() => return Err("the spool cannot be written".into()),
            () = shutdown.requested() => {}
        }
        queue.settle().await;
        // Crash-only: what is accepted is on disk, and the next start goes on with it.
        queue.stop();
        Ok(())
    }))
}

/// Only spreads retries: without randomness they are not spread.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}
