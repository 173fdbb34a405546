//! postern-store; see the library of the same name.

use jail::{Class, Kind, Process, Profile};
use postern_store::{Deliver, Grant, Options, Store};
use std::{error::Error, process::ExitCode, sync::Arc};
use wire::{
    Client, Edge,
    edge::{
        scan_index::ScanForStore,
        store_deliver::{Life, StoreDeliver},
        store_grant::StoreGrant,
    },
    serve,
};

const PROFILE: Profile = Profile {
    name: "store",
    kind: Kind::Vault,
    class: Class::Keeper,
    state: true,
    read: |_| Vec::new(),
    connect: jail::nowhere,
    workers: 4,
};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    jail::main(&PROFILE, start)
}

fn start(mut process: Process) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    let deliver = process.listener(StoreDeliver::NAME)?;
    let grant = process.listener(StoreGrant::NAME)?;
    let scan = Client::new(process.edge(ScanForStore::NAME));
    // Without randomness there is no start: an unsynced delivery of an earlier process might pass for one of ours.
    let life = Life(getrandom::u64()?);
    let store = Store::open(&process.state()?, Options::new(process.config.limits.message_size.bytes(), life, process.boot_id(), scan))?;
    let mut shutdown = process.shutdown();
    Ok(async move {
        let end = store.clone();
        tokio::select! {
            result = serve::<StoreDeliver, Deliver>(deliver, Arc::new(Deliver(store.clone()))) => result?,
            result = serve::<StoreGrant, Grant>(grant, Arc::new(Grant(store.clone()))) => result?,
            () = store.keep_house() => {}
            () = shutdown.requested() => {}
        }
        end.sync_all().await;
        Ok(())
    })
}
