//! Accounts, domains, aliases and who may log in. A vault; the library of postern-auth.
//!
//! # Security
//!
//! * Talks to: front ends (auth/login), the queue (auth/directory), the operator's tool (auth/control), and asks the store
//!   and the queue for sockets (store/grant, queue/grant). It has no network and no path to mail.
//! * Parses: frames, and the SASL messages inside them (PLAIN, SCRAM), with the small parsers here. Nothing else comes from
//!   the Internet.
//! * Holds: `auth.db` with verifiers and the run-time directory; passwords for the moment of their check.
//! * A taken-over front end can try to log in as often as any client can, in the name of any peer address, and can end
//!   exchanges of its own. It learns nothing about which users exist, and gets only sockets that a password opened.
//! * A taken-over auth can open any account through the store. That is why it is this small.
//!
//! # On disk
//!
//! `auth.db` in the state directory; see `database`.

mod auth;
mod control;
mod database;
mod directory;
mod exchanges;
mod hasher;
mod limits;
#[doc(hidden)] // For tests/fuzz.
pub mod login;
mod lookup;
mod memory;
mod penalty;
#[doc(hidden)] // For tests/fuzz.
pub mod scram;
mod sessions;
#[cfg(test)]
mod tests;
#[doc(hidden)] // For tests/fuzz.
pub mod verifier;

use auth::{Auth, verifiers_of};
use control::Control;
use hasher::Hasher;
use jail::{Class, Kind, Process, Profile, Sources};
use std::{error::Error, sync::Arc, time::Instant};
use tokio::sync::Notify;
use wire::{
    Client, Edge,
    edge::{
        auth_control::AuthControl, auth_directory::AuthDirectory, auth_login::AuthForImap, auth_login::AuthForSubmission,
        queue_grant::QueueGrant, store_grant::StoreGrant,
    },
    serve,
};

/// How the process is shut in.
pub const PROFILE: Profile = Profile {
    name: "auth",
    kind: Kind::Vault,
    class: Class::Keeper,
    state: true,
    read: |_| Vec::new(),
    connect: jail::nowhere,
    workers: 2,
};

/// Why it cannot start, or ends.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Serves on the sockets that were handed over.
pub fn start(mut process: Process) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    let imap = process.listener(AuthForImap::NAME)?;
    let submission = process.listener(AuthForSubmission::NAME)?;
    let directory = process.listener(AuthDirectory::NAME)?;
    let control = process.listener(AuthControl::NAME)?;
    let grants = (Client::new(process.edge(StoreGrant::NAME)), Client::new(process.edge(QueueGrant::NAME)));
    let hasher = Hasher::new(std::thread::available_parallelism().map_or(1, usize::from));
    let database = process.state()?.join("auth.db");
    let auth = Auth::open(&database, &process.config, &verifiers_of(&process.credentials()?), grants, hasher, Arc::new(Instant::now))?;
    let auth = Arc::new(auth);
    let (sources, reload, mut shutdown) = (process.sources(), process.reload(), process.shutdown());
    Ok(async move {
        tokio::select! {
            result = serve::<AuthForImap, Auth>(imap, auth.clone()) => Ok(result?),
            result = serve::<AuthForSubmission, Auth>(submission, auth.clone()) => Ok(result?),
            result = serve::<AuthDirectory, Auth>(directory, auth.clone()) => Ok(result?),
            result = serve::<AuthControl, Control>(control, Arc::new(Control(auth.clone()))) => Ok(result?),
            never = reload_on_request(auth.clone(), sources, reload) => never,
            () = auth.clone().end_what_is_owed() => Ok(()),
            () = shutdown.requested() => Ok(()),
        }
    })
}

/// Takes over the configuration again and again; one that cannot be used changes nothing.
async fn reload_on_request(auth: Arc<Auth>, sources: Sources, reload: Arc<Notify>) -> Result<(), Failure> {
    let requested = reload.notified();
    tokio::pin!(requested);
    loop {
        requested.as_mut().await;
        // Armed again before the work, so that a request meanwhile is not missed.
        requested.set(reload.notified());
        requested.as_mut().enable();
        let (auth, sources) = (auth.clone(), sources.clone());
        let reloading = auth.clone();
        let reloaded = tokio::task::spawn_blocking(move || -> Result<_, Failure> {
            Ok(reloading.reload(&sources.config()?, &verifiers_of(&sources.credentials()?))?)
        });
        match reloaded.await? {
            Ok(shut_out) => {
                tracing::info!("configuration reloaded");
                // What could not be ended is in the log.
                auth.end_sessions(&shut_out).await;
            }
            Err(error) => tracing::error!(%error, "configuration not reloaded; the old one stays in force"),
        }
    }
}
