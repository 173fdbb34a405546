//! `postern up`: the whole appliance on loopback, without root and without systemd.
//!
//! It does what PID 1 does in a real installation, and nothing more: it makes the sockets and directories, hands each daemon what it
//! needs, starts it, restarts it when it dies, and ends all of them. The daemons are the real ones and their jail is on.
//!
//! * `up` reads no byte that comes from a client; the listening sockets are only passed on.
//! * A daemon's environment, descriptors and credentials are exactly those named in [`daemons`].
//! * No daemon outlives `up`: it ends them, and the kernel does if `up` itself is killed.
//! * Started by root, every daemon has a user of its own, and `up` keeps three capabilities: to start and to end them.

mod certificate;
mod daemons;
mod ports;
mod privilege;
mod probe;
mod report;
mod state;
mod supervise;

use crate::{
    Failure,
    control::{Control, plain},
    say,
};
use clap::Args;
use ports::Ports;
use probe::Probe;
use pure_addr::Address;
use report::Report;
use state::State;
use std::{
    collections::HashMap,
    env,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use supervise::Supervisor;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use wire::edge::auth_control::{AuthControl, Password, Request, Response};

/// Everything must answer within this after all are READY.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Between two tries to reach what does not answer yet.
const RETRY: Duration = Duration::from_millis(50);
/// Passwords that auth is asked to set at a time; it decides itself how many it hashes at once.
const PASSWORDS_AT_A_TIME: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one line of JSON once everything answers, nothing else.
    #[arg(long)]
    json: bool,
    /// Where everything is kept [default: postern-up below $XDG_STATE_HOME or ~/.local/state].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The ports are N+525 (mx), N+587 (submission), N+465 (submissions) and N+993 (imaps); 0 takes any that are free.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u16).range(0..=i64::from(ports::MAX_BASE)))]
    port_base: u16,
    /// Where the executables are [default: beside this one].
    #[arg(long, value_name = "DIR")]
    bin: Option<PathBuf>,
    /// Show the logs of all daemons here instead of writing them to files.
    #[arg(short, long)]
    verbose: bool,
    /// Start from this configuration file.
    #[arg(long, value_name = "FILE", hide = true)]
    config: Option<PathBuf>,
    /// Start from these accounts: ADDRESS PASSWORD, one a line.
    #[arg(long, value_name = "FILE", hide = true)]
    accounts: Option<PathBuf>,
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let shown = state::create(&options.state.clone().map_or_else(default_state, Ok)?)?;
    let bin = options.bin.clone().map_or_else(beside_us, Ok)?;
    let others: Vec<PathBuf> = [Some(&bin), options.config.as_ref(), options.accounts.as_ref()].into_iter().flatten().cloned().collect();
    let separation = privilege::prepare(&shown, &others)?;
    let state = State::open(&shown, separation, options.config.as_deref(), options.accounts.as_deref())?;
    let ports = Ports::bind(options.port_base)?;
    let bin = state.binaries(&bin)?;
    let accounts = state.passwords()?;
    state.hand_out()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| Failure::new("cannot start", plain(&e)))?;
    // The daemons' lives are tied to the thread that starts them: this one.
    runtime.block_on(appliance(&options, &state, &ports, bin, &accounts))
}

async fn appliance(options: &Options, state: &State, ports: &Ports, bin: PathBuf, accounts: &[(Address, Password)]) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|e| Failure::new("signals", plain(&e)))?;
    let mut supervisor = Supervisor::new(state, ports, bin, options.verbose)?;
    privilege::settle()?;
    let result = tokio::select! {
        result = rise(options, state, ports, accounts, &mut supervisor) => result,
        () = signals.stop() => Err(Failure::Reported),
    };
    let result = match result {
        Ok(()) => {
            keep(state, &mut supervisor, &mut signals).await;
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    supervisor.stop().await;
    result
}

/// From nothing to the report.
async fn rise(
    options: &Options,
    state: &State,
    ports: &Ports,
    accounts: &[(Address, Password)],
    supervisor: &mut Supervisor,
) -> Result<(), Failure> {
    supervisor.start().await?;
    let Given { there, new } = give_passwords(state, accounts, options.accounts.is_some()).await?;
    answers(state, ports, new.as_ref(), supervisor).await?;
    let report = Report { state, ports, accounts: &there, pids: supervisor.pids() };
    if options.json { say(report.json()?) } else { report.print() }
}

/// What became of the accounts.
struct Given {
    /// Those that are there.
    there: Vec<(Address, Password)>,
    /// One whose password is certain, for it was set just now.
    new: Option<(Address, Password)>,
}

/// Gives a password to every account that has none. What the administrator changed since an earlier run stays, unless `anew`: then every
/// account exists afterwards and has its password.
async fn give_passwords(state: &State, accounts: &[(Address, Password)], anew: bool) -> Result<Given, Failure> {
    const UNEXPECTED: &str = "gave an answer that does not belong to the question";
    let auth = Arc::new(Control::<AuthControl>::new(&state.run));
    let Response::Accounts(known) = auth.call(&Request::Accounts).await? else { return Err(Failure::new("auth", UNEXPECTED)) };
    let known: HashMap<_, _> = known.iter().map(|account| (account.address.key(), account.can_log_in)).collect();
    let mut given = Given { there: Vec::new(), new: None };
    let mut requests = Vec::new();
    for (address, password) in accounts {
        let request = match known.get(&address.key()) {
            None if !anew => continue,
            None => Some(Request::AddAccount { address: address.clone(), password: Some(password.clone()), quota: None }),
            Some(true) if !anew => None,
            Some(_) => Some(Request::SetPassword { address: address.clone(), password: password.clone() }),
        };
        if let Some(request) = request {
            requests.push((address.clone(), request));
            given.new.get_or_insert((address.clone(), password.clone()));
        }
        given.there.push((address.clone(), password.clone()));
    }
    // Each is hashed for as long as a login takes, on one processor.
    let mut requests = requests.into_iter();
    let mut asked = JoinSet::new();
    loop {
        for (address, request) in requests.by_ref().take(PASSWORDS_AT_A_TIME.saturating_sub(asked.len())) {
            let auth = auth.clone();
            asked.spawn(async move { (auth.call(&request).await, address) });
        }
        match asked.join_next().await {
            None => return Ok(given),
            Some(Ok((Ok(Response::Done | Response::SessionsLeft), _))) => {}
            Some(Ok((Ok(Response::Refused(refusal)), address))) => return Err(Failure::new(address, refusal)),
            Some(Ok((Ok(_), _))) => return Err(Failure::new("auth", UNEXPECTED)),
            Some(Ok((Err(failure), _))) => return Err(failure),
            Some(Err(ended)) => return Err(Failure::new("auth", ended)),
        }
    }
}

/// Waits until every port answers as it should.
async fn answers(state: &State, ports: &Ports, account: Option<&(Address, Password)>, supervisor: &mut Supervisor) -> Result<(), Failure> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    let authority = state.authority_pem()?;
    loop {
        supervisor.tend();
        let probe = Probe {
            mx: ports.number("mx"),
            submission: ports.number("submission"),
            submissions: ports.number("submissions"),
            imaps: ports.number("imaps"),
            authority: authority.clone(),
            account: account.cloned(),
        };
        match tokio::task::spawn_blocking(move || probe.run()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) if Instant::now() < deadline => tokio::time::sleep(RETRY).await,
            Ok(Err(why)) => return Err(Failure::Because(format!("no proper answer on {why}"))),
            Err(e) => return Err(Failure::new("probe", e)),
        }
    }
}

/// Until a signal ends it.
async fn keep(state: &State, supervisor: &mut Supervisor, signals: &mut Signals) {
    let has_terminal = io::stderr().is_terminal();
    loop {
        let next = supervisor.next();
        let restart = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = signals.interrupt.recv() => return,
            _ = signals.terminate.recv() => return,
            _ = signals.hangup.recv() => {
                // Nobody asked for anything: the terminal is gone, and what was started from it goes with it.
                if has_terminal && !io::stderr().is_terminal() {
                    return;
                }
                // What the daemons said after the last reload must not fill their sockets.
                supervisor.tend();
                match state.hand_out_again() {
                    Ok(()) => supervisor.reload(),
                    // Each mistake was told with its place; everything goes on as it was.
                    Err(Failure::Reported) => {}
                    Err(failure) => {
                        let _ = writeln!(io::stderr(), "postern: {failure}");
                    }
                }
            }
            _ = signals.child.recv() => supervisor.tend(),
            () = restart => supervisor.tend(),
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    child: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn default_state() -> Result<PathBuf, Failure> {
    let base = env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    base.map(|base| base.join("postern-up"))
        .ok_or_else(|| Failure::Because("there is no home directory; --state DIR says where to keep things".into()))
}

fn beside_us() -> Result<PathBuf, Failure> {
    let here = env::current_exe().map_err(|e| Failure::new("executable", plain(&e)))?;
    here.parent().map(PathBuf::from).ok_or_else(|| Failure::new(here.display(), "has no directory"))
}
