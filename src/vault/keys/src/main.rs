//! postern-keys: the private keys of TLS and DKIM, and signatures made with them. A vault.
//!
//! # Security
//!
//! * Talks to: front ends (keys/tls, an edge each), queue (keys/dkim), the operator (keys/control). No network; reads its PEM files and credentials again
//!   on SIGHUP, keeps DKIM keys in its state directory.
//! * Parses: frames of a few fixed shapes, and the operator's own PEM and DER. Nothing from the Internet: the values of header fields
//!   that it signs are compared with their canonical form and hashed, and never read.
//! * Holds: TLS and DKIM private keys. There is no request that returns one, and none that decrypts.
//! * A taken-over front end can end TLS handshakes while it is owned, as it could anyway. It cannot have anything else signed:
//!   what is signed is built here, from parts of fixed shape (see `statement`), and is only ever a TLS 1.3 server
//!   CertificateVerify or a TLS 1.2 ServerKeyExchange. It cannot take the key along.
//! * A taken-over queue, or scan through it, can have mail of our domains signed while it is owned, as it could send it anyway: fields in
//!   canonical form behind which `keys` has written the signature field itself (see `dkim`), dated now. Neither can have other bytes signed.
//! * A taken-over keys has these keys, and nothing else.

mod certificate;
mod dkim;
mod key;
mod keyring;
mod limits;
mod pem;
mod service;
mod statement;
#[cfg(test)]
mod tests;

use dkim::{Clock, Dkim};
use jail::{Class, Kind, Process, Profile, Sources};
use keyring::{Keyring, PemSource};
use pure_config::Config;
use service::Keys;
use std::{
    collections::BTreeSet,
    error::Error,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Notify;
use wire::{
    Edge,
    edge::{
        keys_control::KeysControl,
        keys_dkim::KeysDkim,
        keys_tls::{KeysForImap, KeysForMx, KeysForSubmission},
    },
    serve,
};

const PROFILE: Profile =
    Profile { name: "keys", kind: Kind::Vault, class: Class::Files, state: true, read: directories, connect: jail::nowhere, workers: 2 };

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    jail::main(&PROFILE, start)
}

fn start(mut process: Process) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    let for_mx = process.listener(KeysForMx::NAME)?;
    let for_submission = process.listener(KeysForSubmission::NAME)?;
    let for_imap = process.listener(KeysForImap::NAME)?;
    let for_dkim = process.listener(KeysDkim::NAME)?;
    let for_control = process.listener(KeysControl::NAME)?;
    let (sources, reload, mut shutdown) = (process.sources(), process.reload(), process.shutdown());
    // Without a usable certificate it serves an empty list: listeners then offer no TLS, and a reload brings it.
    let keys = Arc::new(Keys::new(Keyring::load(&pem_sources(&process.config), &read_with(&sources), None)));
    let start = Instant::now();
    let clock = Clock::new(now, move || i64::try_from(start.elapsed().as_secs()).unwrap_or(i64::MAX));
    let dkim = Arc::new(Dkim::open(&process.state()?, &process.config, clock)?);
    Ok(async move {
        tokio::select! {
            result = serve::<KeysForMx, Keys>(for_mx, keys.clone()) => Ok(result?),
            result = serve::<KeysForSubmission, Keys>(for_submission, keys.clone()) => Ok(result?),
            result = serve::<KeysForImap, Keys>(for_imap, keys.clone()) => Ok(result?),
            result = serve::<KeysDkim, Dkim>(for_dkim, dkim.clone()) => Ok(result?),
            result = serve::<KeysControl, Dkim>(for_control, dkim.clone()) => Ok(result?),
            never = reload_on_request(keys.clone(), dkim.clone(), sources, reload) => never,
            () = shutdown.requested() => Ok(()),
        }
    })
}

/// Seconds since 1970; a clock before that is as wrong as one can be.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

async fn reload_on_request(keys: Arc<Keys>, dkim: Arc<Dkim>, sources: Sources, reload: Arc<Notify>) -> Result<(), Failure> {
    let requested = reload.notified();
    tokio::pin!(requested);
    loop {
        requested.as_mut().await;
        // Armed again before the work, so that a request meanwhile is not missed.
        requested.set(reload.notified());
        requested.as_mut().enable();
        match sources.config() {
            Ok(config) => {
                keys.replace(|old| Keyring::load(&pem_sources(&config), &read_with(&sources), Some(old)));
                dkim.reload(&config);
            }
            Err(error) => tracing::error!(%error, "configuration not reloaded; the old keys stay in use"),
        }
    }
}

/// What the configuration names, or the credentials when it names nothing.
fn pem_sources(config: &Config) -> Vec<PemSource> {
    if config.tls.is_empty() {
        return vec![PemSource::Credentials];
    }
    let files =
        config.tls.iter().map(|pair| PemSource::Files { certificate: pair.certificate.clone(), private_key: pair.private_key.clone() });
    files.collect()
}

fn read_with(sources: &Sources) -> impl Fn(&PemSource) -> Result<Option<keyring::Pems>, keyring::LoadError> {
    |source| keyring::read(source, |name| Ok(sources.credential(name).map_err(|e| e.to_string())?.map(|secret| secret.expose().to_vec())))
}

/// The directories of all PEM files: a renewed certificate is a new file in an old directory. Links, as ACME clients make them,
/// are followed now, while the whole file system can still be seen.
fn directories(config: &Config) -> Vec<PathBuf> {
    let files = config.tls.iter().flat_map(|pair| [&pair.certificate, &pair.private_key]);
    let both = files.flat_map(|file| [Some(file.clone()), std::fs::canonicalize(file).ok()]).flatten();
    let parents: BTreeSet<PathBuf> = both.filter_map(|file| Some(file.parent()?.to_owned())).collect();
    parents.into_iter().collect()
}
