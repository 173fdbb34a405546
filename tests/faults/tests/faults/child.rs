//! The processes under test: this program, started again, with the store or the queue in it.

use crate::peers::listener;
use postern_queue::{Clock, Options, Queue, SystemClock, limits::Limits, settings::Settings};
use postern_store::{Deliver, Grant, Store};
use pure_addr::{Address, Domain};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};
use wire::{
    Client,
    edge::{
        queue_control::QueueControl,
        queue_inbound::QueueInbound,
        store_deliver::{Life, StoreDeliver},
        store_grant::StoreGrant,
    },
    serve,
};

const ROLE: &str = "POSTERN_FAULTS_ROLE";
const STATE: &str = "POSTERN_FAULTS_STATE";
const SOCKETS: &str = "POSTERN_FAULTS_SOCKETS";
const NUMBER: &str = "POSTERN_FAULTS_NUMBER";
const BOOT: &str = "POSTERN_FAULTS_BOOT";

/// Starts one of them; `number` is unlike that of any before.
pub fn start(role: &str, state: &Path, sockets: &Path, number: u64, boot: u64) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(ROLE, role).env(STATE, state).env(SOCKETS, sockets);
    command.env(NUMBER, number.to_string()).env(BOOT, boot.to_string()).stdout(std::process::Stdio::null()).spawn().unwrap()
}

/// The machine's clock, and by how many seconds a file says that it is wrong.
struct WrongClock(PathBuf);

impl Clock for WrongClock {
    fn now(&self) -> i64 {
        let wrong: i64 = fs::read_to_string(&self.0).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        SystemClock.now() + wrong * 1000
    }
}

/// The clock of both processes is wrong by so many seconds from now on.
pub fn turn_clock(sockets: &Path, seconds: i64) {
    fs::write(sockets.join("clock.new"), seconds.to_string()).unwrap();
    fs::rename(sockets.join("clock.new"), sockets.join("clock")).unwrap();
}

fn variable(name: &str) -> u64 {
    env::var(name).unwrap().parse().unwrap()
}

pub fn run() {
    let Ok(role) = env::var(ROLE) else { return };
    let (state, sockets) = (PathBuf::from(env::var_os(STATE).unwrap()), PathBuf::from(env::var_os(SOCKETS).unwrap()));
    let filter = tracing_subscriber::EnvFilter::from_env("POSTERN_LOG");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    // As a vault does, see `jail`.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let state = state.join(&role);
    fs::create_dir_all(&state).unwrap();
    runtime.block_on(async move {
        match role.as_str() {
            "store" => store(&state, &sockets).await,
            _ => queue(&state, &sockets).await,
        }
    });
}

async fn store(state: &Path, sockets: &Path) {
    let scan = Client::new(sockets.join("scan-store"));
    let mut options = postern_store::Options::new(32 << 20, Life(variable(NUMBER)), Some(variable(BOOT)), scan);
    let clock = WrongClock(sockets.join("clock"));
    options.clock = Arc::new(move || clock.now().div_euclid(1000));
    let store = Store::open(state, options).unwrap();
    let deliver = listener(&sockets.join("store-deliver"));
    let grant = listener(&sockets.join("store-grant"));
    tokio::select! {
        result = serve::<StoreDeliver, _>(deliver, Arc::new(Deliver(store.clone()))) => result.unwrap(),
        result = serve::<StoreGrant, _>(grant, Arc::new(Grant(store.clone()))) => result.unwrap(),
        () = store.keep_house() => {}
    }
}

async fn queue(state: &Path, sockets: &Path) {
    let number = variable(NUMBER);
    let queue = Queue::open(Options {
        state: state.to_owned(),
        hostname: Domain::parse("mail.mta.test").unwrap(),
        message_size: 32 << 20,
        scan: sockets.join("scan-queue"),
        directory: sockets.join("directory"),
        store: sockets.join("store-deliver"),
        keys: sockets.join("keys"),
        send: sockets.join("send"),
        settings: Settings {
            send: pure_config::SendConfig::default(),
            sending: pure_config::SendingLimits::default(),
            postmaster: Address::parse("postmaster@mta.test").unwrap(),
            mx: pure_config::MxConfig::default(),
            hide_client: BTreeMap::new(),
        },
        clock: Arc::new(WrongClock(sockets.join("clock"))),
        random: Arc::new(move || number),
        limits: Limits { free_disk: 0, sync_delay: Duration::from_millis(20), ..Limits::default() },
    })
    .unwrap();
    let inbound = listener(&sockets.join("inbound"));
    let control = listener(&sockets.join("control"));
    tokio::select! {
        result = serve::<QueueInbound, _>(inbound, queue.inbound()) => result.unwrap(),
        result = serve::<QueueControl, _>(control, queue.control()) => result.unwrap(),
        () = queue.failed() => {}
    }
}
