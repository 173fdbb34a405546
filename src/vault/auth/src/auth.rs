//! What the three edges share: the directory, the database behind it, the penalties, the queue for slow work.

use crate::{
    database::{Database, DatabaseError},
    directory::Directory,
    exchanges::Exchanges,
    hasher::Hasher,
    memory::Remembered,
    penalty::{Network, Penalties, Policy},
    sessions::mark,
    verifier::{Verifiers, hmac_sha256},
};
use jail::Secret;
use pure_addr::{AccountId, Address};
use pure_config::Config;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::{Deref, DerefMut},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};
use tokio::sync::{Notify, watch};
use wire::{
    Client,
    edge::{queue_grant::QueueGrant, store_grant::StoreGrant},
};
use zeroize::Zeroizing;

/// Credentials of declared accounts are named by this and the address.
const CREDENTIAL_PREFIX: &str = "account.";

/// Declared verifiers as they were given: the address and the credential's text.
pub(crate) type Credentials = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// The verifiers among what PID 1 gave.
pub(crate) fn verifiers_of(credentials: &BTreeMap<String, Secret>) -> Credentials {
    let own = |(name, secret): (&String, &Secret)| {
        let address = name.strip_prefix(CREDENTIAL_PREFIX)?;
        Some((address.to_owned(), Zeroizing::new(secret.expose().to_vec())))
    };
    credentials.iter().filter_map(own).collect()
}

/// Tells the time; tests bring their own.
pub(crate) type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The process.
pub(crate) struct Auth {
    directory: RwLock<Directory>,
    /// Another one after every change of the directory; never 0.
    generation: watch::Sender<u64>,
    /// Held during every change, so that checks made against the directory stay true until the change is in it.
    database: Mutex<Database>,
    penalties: Mutex<Penalties>,
    exchanges: Mutex<Exchanges>,
    remembered: Mutex<Remembered>,
    pub(crate) hasher: Hasher,
    pub(crate) store: Client<StoreGrant>,
    pub(crate) queue: Client<QueueGrant>,
    /// Some sessions could not be ended.
    pub(crate) left: Notify,
    /// Makes what is shown for users that do not exist: always the same for the same name, and not to be told from the real.
    pub(crate) decoy_secret: Zeroizing<[u8; 32]>,
    clock: Clock,
}

impl Auth {
    pub(crate) fn open(
        database: &Path,
        config: &Config,
        credentials: &Credentials,
        grants: (Client<StoreGrant>, Client<QueueGrant>),
        hasher: Hasher,
        clock: Clock,
    ) -> Result<Self, DatabaseError> {
        let mut database = Database::open(database)?;
        let decoy_secret = database.secret("decoy")?;
        let directory = load(&mut database, &decoy_secret, config, credentials)?;
        Ok(Self {
            directory: RwLock::new(directory),
            generation: watch::Sender::new(getrandom::u64().map_err(DatabaseError::Random)?.max(1)),
            database: Mutex::new(database),
            penalties: Mutex::new(Penalties::new(policy(config))),
            exchanges: Mutex::new(Exchanges::default()),
            remembered: Mutex::new(Remembered::new().map_err(DatabaseError::Random)?),
            hasher,
            store: grants.0,
            queue: grants.1,
            left: Notify::new(),
            decoy_secret,
            clock,
        })
    }

    /// Takes over another configuration; penalties stay. Returns the accounts whose sessions must end. Blocks.
    pub(crate) fn reload(&self, config: &Config, credentials: &Credentials) -> Result<Vec<AccountId>, DatabaseError> {
        let mut database = self.database();
        let directory = load(&mut database, &self.decoy_secret, config, credentials)?;
        *self.directory_mut() = directory;
        drop(database);
        self.penalties().set_policy(policy(config));
        Ok(self.owed())
    }

    pub(crate) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change it; who keeps answers hears of it when the guard is dropped.
    pub(crate) fn directory_mut(&self) -> Changing<'_> {
        Changing { generation: &self.generation, directory: self.directory.write().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Waits until the directory's generation is another one.
    pub(crate) async fn generation_after(&self, known: u64) -> u64 {
        // The sender lives as long as we do.
        self.generation.subscribe().wait_for(|now| *now != known).await.map_or(known, |now| *now)
    }

    pub(crate) fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exchanges(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn penalties(&self) -> MutexGuard<'_, Penalties> {
        self.penalties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// Whether this network may try this name now.
    pub(crate) fn allows(&self, network: Network, name: &str) -> bool {
        self.penalties().allows(network, name, self.now())
    }

    pub(crate) fn failed(&self, network: Network, name: &str) {
        self.penalties().failed(network, name, self.now());
    }

    pub(crate) fn succeeded(&self, network: Network, name: &str) {
        self.penalties().succeeded(network, name, self.now());
    }

    /// 32 bytes that depend on this installation, a purpose and a name alone.
    pub(crate) fn decoy(&self, purpose: &str, name: &str) -> [u8; 32] {
        hmac_sha256(&self.decoy_secret, &[purpose.as_bytes(), &[0], name.as_bytes()])
    }
}

/// The directory while it is being changed.
pub(crate) struct Changing<'a> {
    generation: &'a watch::Sender<u64>,
    directory: RwLockWriteGuard<'a, Directory>,
}

impl Deref for Changing<'_> {
    type Target = Directory;
    fn deref(&self) -> &Directory {
        &self.directory
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Directory {
        &mut self.directory
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        // Still under the lock: nobody reads the new directory under the old generation.
        self.generation.send_modify(|now| *now = now.wrapping_add(1).max(1));
    }
}

fn policy(config: &Config) -> Policy {
    Policy { free: config.limits.login_failures }
}

fn load(database: &mut Database, secret: &[u8; 32], config: &Config, credentials: &Credentials) -> Result<Directory, DatabaseError> {
    database.sight(config.accounts.iter().map(|account| &account.address))?;
    let directory = Directory::build(config, database.load()?, declared_verifiers(config, credentials));
    let known: HashSet<AccountId> = database.in_force()?.into_iter().map(|(id, _)| id).collect();
    let new = directory.accounts().filter(|account| !known.contains(&account.id));
    let marks: Vec<_> = new.filter_map(|account| Some((account.id, mark(secret, &account.verifiers)?))).collect();
    database.put_first_in_force(&marks)?;
    Ok(directory)
}

/// Verifiers by address key. One that cannot be read shuts its account until it is repaired: nothing older takes its place.
fn declared_verifiers(config: &Config, credentials: &Credentials) -> HashMap<String, Verifiers> {
    let mut found = HashMap::new();
    for (address, text) in credentials {
        let key = Address::parse(address).ok().map(|address| address.key());
        let Some(key) = key.filter(|key| config.accounts.iter().any(|account| account.address.key() == *key)) else {
            tracing::warn!(credential = %address.escape_debug(), "no declared account has this address");
            continue;
        };
        let verifiers = match std::str::from_utf8(text).map(Verifiers::from_credential) {
            Ok(Ok(verifiers)) => verifiers,
            Ok(Err(why)) => {
                tracing::error!(account = %key, %why, "the credential is no verifier; nobody can log in to this account");
                Verifiers::default()
            }
            Err(_) => {
                tracing::error!(account = %key, "the credential is not text; nobody can log in to this account");
                Verifiers::default()
            }
        };
        found.insert(key, verifiers);
    }
    found
}
