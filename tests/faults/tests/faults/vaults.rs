//! The vaults that only the operator writes to: what `auth` and `keys` say is done outlives whatever befalls them and their disk.
//!
//! They are the programs themselves, in their jails, with their listening sockets held by this process as PID 1 holds them.

use crate::{Random, disk::Disk, in_own_namespace, is_inside, number, peers::listener};
use pure_addr::{Address, Domain, Text};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use test_support::binaries;
use wire::{
    Client, Conn, Edge, Error, Reply, Service,
    edge::{
        auth_control::{self, AuthControl, Password, Refusal},
        auth_directory::AuthDirectory,
        auth_login::{self, AuthForImap, AuthForSubmission, Failure, Mechanism},
        keys_control::{self, Key, KeysControl, Pem},
        keys_dkim::KeysDkim,
        keys_tls::{KeysForImap, KeysForMx, KeysForSubmission},
        mail::SessionId,
        store_grant::{self, StoreGrant},
    },
    serve,
};

// The sandbox of the machine that runs the tests may be weaker than what Postern asks of a server.
const CONFIG: &str =
    "hostname = \"mail.mta.test\"\nallow_weak_sandbox = true\n[domains.\"mta.test\"]\n[limits]\nlogin_failures = 0\n[dkim]\n";
const ACCOUNTS: [&str; 3] = ["carol@mta.test", "dave@mta.test", "erin@mta.test"];
/// What befalls them, one after the other.
const ROUNDS: usize = 6;
/// RFC 8463 A.2, as PKCS #8.
const KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
/// How long anything may take before the schedule has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked who has ended, and what was not answered is asked again.
const AGAIN: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
enum Fate {
    Kill,
    PowerCut,
    /// So many blocks are left.
    FullDisk(u64),
    /// All blocks fail that were never written, but for so many.
    BadBlocks(u64),
    DiskFails,
}

impl Fate {
    fn any(random: &mut Random) -> Self {
        match random.below(10) {
            0 => Self::Kill,
            1..=4 => Self::PowerCut,
            5 => Self::FullDisk(random.below(8) as u64),
            6..=8 => Self::BadBlocks(random.below(24) as u64),
            _ => Self::DiskFails,
        }
    }
}

/// A program and its listening sockets.
struct Vault {
    name: &'static str,
    listeners: Vec<(&'static str, OwnedFd)>,
    child: Option<Child>,
}

impl Vault {
    fn start(&mut self, files: &Path, state: &Path) {
        self.child.take_if(|child| child.try_wait().unwrap().is_some());
        if self.child.is_some() {
            return;
        }
        let state = state.join(self.name);
        fs::create_dir_all(&state).unwrap();
        let mut command = Command::new(binaries().join(format!("postern-{}", self.name)));
        command.env("CREDENTIALS_DIRECTORY", files.join("credentials")).env("STATE_DIRECTORY", state);
        command.env("POSTERN_EDGES", files).env_remove("NOTIFY_SOCKET");
        if std::env::var_os("POSTERN_LOG").is_none() {
            command.stderr(Stdio::null());
        }
        let fds: Vec<_> = self.listeners.iter().map(|(name, fd)| (*name, fd.as_fd())).collect();
        self.child = Some(jail::spawn::spawn(&mut command, &fds).unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A store that opens a session for whoever logs in.
struct Store;

impl Service<StoreGrant> for Store {
    async fn call(&self, request: store_grant::Request, _fds: Vec<OwnedFd>) -> Result<Reply<StoreGrant>, Error> {
        let (_ours, theirs) = Conn::pair()?;
        Ok(match request {
            store_grant::Request::Session { .. } => Reply::with_fd(store_grant::Response::Granted, theirs),
            store_grant::Request::End(_) => Reply::new(store_grant::Response::Ended),
        })
    }
}

fn socket(files: &Path, edge: &str) -> PathBuf {
    fs::create_dir_all(files.join(edge)).unwrap();
    files.join(edge).join("sock")
}

/// Both, what was asked of them, and what may have come of it.
struct World {
    seed: u64,
    disk: Disk,
    files: tempfile::TempDir,
    vaults: [Vault; 2],
    control: Arc<Client<AuthControl>>,
    login: Arc<Client<AuthForImap>>,
    keys: Arc<Client<KeysControl>>,
    /// By account: its password, of which the number counts; none where there is no account.
    accounts: BTreeMap<&'static str, BTreeSet<Option<u32>>>,
    passwords: u32,
    /// By domain: all its keys, or those of them that were answered before something was not.
    published: BTreeMap<Domain, (Vec<Key>, bool)>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.vaults.iter_mut().for_each(Vault::kill);
    }
}

fn password(number: u32) -> Password {
    Password(format!("password number {number}"))
}

impl World {
    fn new(seed: u64) -> Self {
        let (disk, files) = (Disk::new(), tempfile::tempdir().unwrap());
        fs::create_dir(files.path().join("credentials")).unwrap();
        fs::write(files.path().join("credentials/postern.toml"), CONFIG).unwrap();
        tokio::spawn(serve::<StoreGrant, _>(listener(&socket(files.path(), StoreGrant::NAME)), Arc::new(Store)));
        let vault = |name, edges: &[&'static str]| Vault {
            name,
            listeners: edges.iter().map(|edge| (*edge, listener(&socket(files.path(), edge)))).collect(),
            child: None,
        };
        let auth = vault("auth", &[AuthForImap::NAME, AuthForSubmission::NAME, AuthDirectory::NAME, AuthControl::NAME]);
        let keys = vault("keys", &[KeysForMx::NAME, KeysForSubmission::NAME, KeysForImap::NAME, KeysDkim::NAME, KeysControl::NAME]);
        Self {
            seed,
            control: Arc::new(Client::new(socket(files.path(), AuthControl::NAME))),
            login: Arc::new(Client::new(socket(files.path(), AuthForImap::NAME))),
            keys: Arc::new(Client::new(socket(files.path(), KeysControl::NAME))),
            accounts: ACCOUNTS.iter().map(|account| (*account, [None].into())).collect(),
            passwords: 0,
            published: BTreeMap::new(),
            vaults: [auth, keys],
            disk,
            files,
        }
    }

    fn start(&mut self) {
        for vault in &mut self.vaults {
            vault.start(self.files.path(), &self.disk.path());
        }
    }

    fn kill(&mut self) {
        self.vaults.iter_mut().for_each(Vault::kill);
    }

    /// What is answered, unless a process ends over it; then it is started again, as PID 1 does.
    async fn ask<E: Edge>(&mut self, client: &Client<E>, request: &E::Request) -> Option<E::Response> {
        self.start();
        let asked = self.vaults.iter_mut().find(|vault| vault.listeners.iter().any(|(edge, _)| *edge == E::NAME)).unwrap();
        let ended = async {
            while asked.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none()) {
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::select! {
            biased;
            reply = tokio::time::timeout(PATIENCE, client.call(request, &[])) => {
                reply.unwrap_or_else(|_| panic!("seed {}: no answer to {request:?}", self.seed)).ok().map(|reply| reply.body)
            }
            () = ended => None,
        }
    }

    /// The same until it is answered and that is an answer: nothing is wrong any more.
    async fn ask_until<E: Edge, T>(&mut self, client: &Client<E>, request: &E::Request, is_answer: impl Fn(E::Response) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.ask(client, request).await.and_then(&is_answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "seed {}: {request:?} does not work again", self.seed);
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn change(&mut self, random: &mut Random) {
        if random.below(3) == 0 { self.change_keys(random).await } else { self.change_account(random).await }
    }

    async fn change_account(&mut self, random: &mut Random) {
        let name = ACCOUNTS[random.below(ACCOUNTS.len())];
        let possible = &self.accounts[name];
        let (Some(before), 1) = (possible.first().copied(), possible.len()) else { return };
        let address = Address::parse(name).unwrap();
        self.passwords += 1;
        let (request, after) = match before {
            None => {
                let password = Some(password(self.passwords));
                (auth_control::Request::AddAccount { address, password, quota: None }, Some(self.passwords))
            }
            Some(_) if random.below(3) == 0 => (auth_control::Request::RemoveAccount(address), None),
            Some(_) => (auth_control::Request::SetPassword { address, password: password(self.passwords) }, Some(self.passwords)),
        };
        let control = self.control.clone();
        let done = match self.ask(&control, &request).await {
            Some(auth_control::Response::Done | auth_control::Response::SessionsLeft) => [after].into(),
            Some(auth_control::Response::Refused(Refusal::NotStored)) => [before].into(),
            None => [before, after].into(),
            Some(other) => panic!("seed {}: {request:?}: {other:?}", self.seed),
        };
        eprintln!("    {request:?}: {done:?}");
        self.accounts.insert(name, done);
    }

    async fn change_keys(&mut self, random: &mut Random) {
        let known: Vec<Domain> = self.published.keys().cloned().collect();
        let old = (!known.is_empty()).then(|| known[random.below(known.len())].clone());
        let new = || Domain::parse(&format!("d{}.mta.test", known.len())).unwrap();
        let request = match (random.below(3), old) {
            (0, Some(domain)) => keys_control::Request::Rotate(domain),
            (1, Some(domain)) => {
                let selector = Text::new(format!("given{}", random.below(1 << 20))).unwrap();
                keys_control::Request::Import { domain, selector, pem: Pem(KEY.into()) }
            }
            _ => keys_control::Request::Keys(new()),
        };
        let (keys_control::Request::Keys(domain) | keys_control::Request::Rotate(domain) | keys_control::Request::Import { domain, .. }) =
            &request;
        let keys = self.keys.clone();
        match self.ask(&keys, &request).await {
            Some(keys_control::Response::Keys(list)) => _ = self.published.insert(domain.clone(), (list.into_vec(), true)),
            // It may have come as far as the disk.
            Some(keys_control::Response::Refused(_)) | None => self.published.entry(domain.clone()).or_default().1 = false,
        }
    }

    /// Everything is as it was answered, or as it may have become.
    async fn look(&mut self) {
        let (control, login, keys) = (self.control.clone(), self.login.clone(), self.keys.clone());
        let listed = self
            .ask_until(&control, &auth_control::Request::Accounts, |response| match response {
                auth_control::Response::Accounts(list) => Some(list.iter().map(|account| account.address.to_string()).collect::<Vec<_>>()),
                _ => None,
            })
            .await;
        for (name, possible) in self.accounts.clone() {
            let mut found = BTreeSet::new();
            for number in possible.iter().flatten() {
                let request = auth_login::Request::Start {
                    session: SessionId(1),
                    peer: [192, 0, 2, 1].into(),
                    mechanism: Mechanism::Plain,
                    initial: format!("\0{name}\0{}", password(*number).0).into_bytes().into(),
                    channel_binding: None,
                };
                let is_right = |response: <AuthForImap as Edge>::Response| match response {
                    auth_login::Response::Success { .. } => Some(true),
                    auth_login::Response::Failure(Failure::Credentials) => Some(false),
                    _ => None,
                };
                if self.ask_until(&login, &request, is_right).await {
                    found.insert(Some(*number));
                }
            }
            if !listed.iter().any(|address| address == name) {
                found.insert(None);
            }
            assert!(found.len() == 1 && found.is_subset(&possible), "seed {}: {name} is {found:?} of {possible:?}", self.seed);
            self.accounts.insert(name, found);
        }
        for (domain, (before, is_all)) in self.published.clone() {
            let list = |response| match response {
                keys_control::Response::Keys(list) => Some(list.into_vec()),
                keys_control::Response::Refused(_) => None,
            };
            let now = self.ask_until(&keys, &keys_control::Request::Keys(domain.clone()), list).await;
            let has = |key: &Key| now.iter().any(|other| (&other.selector, &other.record) == (&key.selector, &key.record));
            assert!(before.iter().all(has) && (!is_all || now == before), "seed {}: {domain}: {before:?}, and now {now:?}", self.seed);
            self.published.insert(domain, (now, true));
        }
    }

    async fn round(&mut self, random: &mut Random) {
        let (fate, changes) = (Fate::any(random), 1 + random.below(4));
        eprintln!("  {changes} changes, {fate:?}");
        match fate {
            Fate::FullDisk(blocks) => self.disk.fill(blocks * 4096),
            Fate::BadBlocks(but) => self.disk.break_new_blocks(but),
            _ => {}
        }
        let fails = random.below(changes);
        for change in 0..changes {
            if matches!(fate, Fate::DiskFails) && change == fails {
                self.disk.fail();
            }
            self.change(random).await;
        }
        match fate {
            Fate::Kill => self.kill(),
            Fate::PowerCut => {
                self.kill();
                self.disk.cut();
            }
            Fate::FullDisk(_) => self.disk.make_room(),
            Fate::BadBlocks(_) => {
                self.disk.mend_blocks();
                if !self.disk.is_sound() {
                    self.kill();
                    self.disk.mount_again();
                }
            }
            Fate::DiskFails => {
                self.kill();
                self.disk.mount_again();
            }
        }
        self.look().await;
    }
}

#[test]
fn what_an_operator_was_answered_outlives_everything() {
    if !is_inside() {
        return in_own_namespace("vaults::what_an_operator_was_answered_outlives_everything");
    }
    let first = number("POSTERN_FAULTS_SEED", 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for seed in first..first + number("POSTERN_FAULTS_SCHEDULES", 5) {
        eprintln!("schedule of the seed {seed}");
        let mut random = Random::new(seed);
        runtime.block_on(async {
            let mut world = World::new(seed);
            world.look().await;
            for _ in 0..ROUNDS {
                world.round(&mut random).await;
            }
            // Nothing was synced but by what was answered.
            world.kill();
            world.disk.cut();
            world.look().await;
        });
    }
}
