//! The running process: what was handed over, the runtime, READY, the watchdog, the signals.

use crate::{
    Error, Profile,
    inherit::{self, Inherited, Secret},
    notify::Notifier,
    restrict,
};
use pure_config::Config;
use std::{collections::BTreeMap, future::Future, os::fd::OwnedFd, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
};

/// Time the daemon's own future has to end after SIGTERM; below TimeoutStopSec of the units.
const DRAIN: Duration = Duration::from_secs(10);
/// How often freed memory is looked at.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// A confined process before it starts to serve.
#[derive(Debug)]
pub struct Process {
    profile: Profile,
    /// The configuration at start.
    pub config: Config,
    inherited: Inherited,
    notifier: Notifier,
    shutdown: watch::Sender<bool>,
    reload: Arc<Notify>,
}

/// Tells when the process was asked to end.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Returns once SIGTERM or SIGINT has come.
    pub async fn requested(&mut self) {
        // A dropped sender means that the process ends anyway.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl Process {
    pub(crate) fn new(profile: Profile, config: Config, inherited: Inherited, notifier: Notifier) -> Self {
        Self { profile, config, inherited, notifier, shutdown: watch::Sender::new(false), reload: Arc::new(Notify::new()) }
    }

    /// Takes the inherited descriptor of this name. It is an error when there is none.
    pub fn listener(&mut self, name: &str) -> Result<OwnedFd, Error> {
        self.descriptor(name).ok_or_else(|| Error::Environment(format!("no descriptor named {name} was handed over")))
    }

    /// Takes the inherited descriptor of this name, if there is one: a listening socket, or one that was connected for us.
    pub fn descriptor(&mut self, name: &str) -> Option<OwnedFd> {
        self.inherited.fd(name)
    }

    /// Where the listening socket of another process's edge is.
    pub fn edge(&self, name: &str) -> PathBuf {
        self.inherited.edges.join(name).join("sock")
    }

    /// The state directory.
    pub fn state(&self) -> Result<PathBuf, Error> {
        self.inherited.state.clone().ok_or_else(|| Error::Environment("this daemon has no state directory".into()))
    }

    /// Which start of the machine this is: a number unlike that of any other; none where it is not known. Only with a state directory.
    pub fn boot_id(&self) -> Option<u64> {
        self.inherited.boot
    }

    /// One credential, read now.
    pub fn credential(&self, name: &str) -> Result<Option<Secret>, Error> {
        inherit::credential(&self.inherited.credentials_dir, name)
    }

    /// Every credential but the configuration, read now.
    pub fn credentials(&self) -> Result<BTreeMap<String, Secret>, Error> {
        inherit::credentials(&self.inherited.credentials_dir)
    }

    /// A way to read credentials and configuration again later.
    pub fn sources(&self) -> Sources {
        Sources(self.inherited.credentials_dir.clone())
    }

    /// Notified by SIGHUP.
    pub fn reload(&self) -> Arc<Notify> {
        self.reload.clone()
    }

    /// Ends when SIGTERM comes; pass it to whatever must drain.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.shutdown.subscribe())
    }

    /// Runs the daemon: `start` is called within the runtime and returns the future that serves. READY is said when `start` returns.
    pub fn run<F, S>(self, start: S) -> ExitCode
    where
        S: FnOnce(Process) -> Result<F, Box<dyn std::error::Error + Send + Sync>>,
        F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
    {
        let name = self.profile.name;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers(self.profile.workers))
            .max_blocking_threads(16)
            .thread_stack_size(1024 * 1024)
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(name, %error, "cannot start");
                return ExitCode::FAILURE;
            }
        };
        let result = runtime.block_on(self.supervise(start));
        // Blocking work that is still running is abandoned: everything durable is crash-safe.
        runtime.shutdown_timeout(Duration::from_secs(1));
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(name, %error, "stopped");
                ExitCode::FAILURE
            }
        }
    }

    async fn supervise<F, S>(mut self, start: S) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        S: FnOnce(Process) -> Result<F, Box<dyn std::error::Error + Send + Sync>>,
        F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
    {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let notifier = Arc::new(std::mem::replace(&mut self.notifier, Notifier::silent()));
        let (shutdown, reload) = (self.shutdown.clone(), self.reload.clone());
        let serving = start(self)?;
        tokio::pin!(serving);
        notifier.send("READY=1");
        if let Some(interval) = notifier.watchdog {
            let notifier = notifier.clone();
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(interval);
                loop {
                    tick.tick().await;
                    notifier.send("WATCHDOG=1");
                }
            });
        }
        tokio::spawn(async {
            let mut tick = tokio::time::interval(TRIM_EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                restrict::trim_memory();
            }
        });
        loop {
            tokio::select! {
                result = &mut serving => return result,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    notifier.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()));
                    reload.notify_waiters();
                    notifier.send("READY=1");
                }
            }
        }
        notifier.send("STOPPING=1");
        shutdown.send_replace(true);
        match tokio::time::timeout(DRAIN, serving).await {
            Ok(result) => result,
            Err(_still_serving) => Ok(()),
        }
    }
}

/// Where configuration and credentials can be read again.
#[derive(Debug, Clone)]
pub struct Sources(PathBuf);

impl Sources {
    /// The configuration as it stands now.
    pub fn config(&self) -> Result<Config, Error> {
        inherit::config(&self.0)
    }

    /// One credential as it stands now.
    pub fn credential(&self, name: &str) -> Result<Option<Secret>, Error> {
        inherit::credential(&self.0, name)
    }

    /// Every credential but the configuration, as they stand now.
    pub fn credentials(&self) -> Result<BTreeMap<String, Secret>, Error> {
        inherit::credentials(&self.0)
    }
}

/// How many threads a runtime gets that may have so many.
fn workers(most: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (processors / 2).clamp(1, most.max(1))
}

pub(crate) fn monotonic_usec() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let sec = u64::try_from(now.tv_sec).unwrap_or(0);
    sec.saturating_mul(1_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000)
}

/// A vault that panicked has broken an assumption about what it holds: it ends and starts again from its durable state.
pub(crate) fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        tracing::error!(panic = %info, "a vault ends");
        std::process::abort();
    }));
}
