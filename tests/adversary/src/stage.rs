//! Where the daemons run while they are attacked, and how a daemon is found again after it was killed.

use crate::{Act, Cell, Facts, Puppet, Stop, Table};
use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};
use system::{Appliance, Failure, Host, SERVICES, Service, eventually};

/// The machine's addresses, and those of the rest of the world.
const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// A daemon is killed and started again; the machine may be busy.
const AGAIN: Duration = Duration::from_secs(60);
/// Bytes of a name in `/proc/PID/status`.
const COMM: usize = 15;
/// How often an act is tried in a process that did something else meanwhile.
const TRIES: usize = 5;
const AT_ONCE: &str = "RestartSec=1ms\nRestartSteps=0\nRestartMaxDelaySec=infinity\n";
const ABSTRACT: &str = "postern-adversary";
/// Where `postern up` runs, and what it keeps.
const UNIT: &str = "up.service";
const STATE: &str = "/srv/up";

/// Listens on every port that is tried, and on an abstract socket; what is taken already is somebody's who listens. Ends when a child of
/// it, whose number it tells, listens.
const LISTENER: &str = r#"
import os, socket, time
held = []
def hold(family, kind, address):
    try:
        s = socket.socket(family, kind); held.append(s); s.bind(address)
        if kind != socket.SOCK_DGRAM: s.listen(4096)
    except OSError: pass
for port in (25, 443, 53, 80):
    hold(socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", port))
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM); held.append(s)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        s.bind(("::", port)); s.listen(4096)
    except OSError: pass
hold(socket.AF_UNIX, socket.SOCK_SEQPACKET, "\0postern-adversary")
child = os.fork()
if child: print(child, flush=True)
else: os.dup2(os.open("/dev/null", os.O_RDWR), 1), os.dup2(1, 2), time.sleep(3600)
"#;

/// What stands between the adversary and the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// The units and the program's own jail: how it is meant to run.
    Both,
    /// The units alone: a program that only sleeps, in the place of the daemon.
    Units,
    /// The program's own jail alone: `postern up`, one ordinary user for all.
    Jail,
}

#[derive(Debug)]
enum Machine {
    Appliance(Appliance),
    Host(Host),
}

/// One set of daemons.
#[derive(Debug)]
struct Ground {
    /// Who starts them again, as the machine numbers it.
    parent: u32,
    /// Where `postern up` keeps everything.
    up: Option<&'static str>,
}

/// Running processes to attack.
#[derive(Debug)]
pub struct Stage {
    machine: Machine,
    ground: Ground,
    listeners: Vec<String>,
}

impl Stage {
    /// Starts everything; none, and a recorded skip, where that is not possible.
    pub fn start(fence: Fence) -> Result<Option<Self>, Failure> {
        let machine = match fence {
            Fence::Both | Fence::Jail => Appliance::start()?.map(Machine::Appliance),
            Fence::Units => Host::with_units()?.map(Machine::Host),
        };
        let Some(machine) = machine else { return Ok(None) };
        let ground = match fence {
            Fence::Both | Fence::Units => Ground { parent: machine.host().pid(), up: None },
            Fence::Jail => up(machine.host())?,
        };
        let mut stage = Self { machine, ground, listeners: Vec::new() };
        match fence {
            // Who is held for long does not say that it lives.
            Fence::Both => stage.drop_in(&format!("WatchdogSec=0\n{AT_ONCE}"))?,
            Fence::Units => stage.sleepers()?,
            Fence::Jail => {}
        }
        // An address filter of a unit drops in silence: two minutes of asking again would show no more (tcp(7)).
        stage.host().sh("echo 1 >/proc/sys/net/ipv4/tcp_syn_retries")?;
        // After everything that listens by itself.
        let host = stage.host();
        let world = host.remote(&["python3", "-c", LISTENER], b"")?.ok("listeners")?;
        let here = Command::new("nsenter").args(["-t", &host.pid().to_string(), "-n", "--", "python3", "-c", LISTENER]).output()?;
        stage.listeners = vec![world.trim().to_owned(), String::from_utf8_lossy(&here.stdout).trim().to_owned()];
        Ok(Some(stage))
    }

    fn host(&self) -> &Host {
        self.machine.host()
    }

    fn drop_in(&self, settings: &str) -> Result<(), Failure> {
        self.host().put("/etc/systemd/system/postern-.service.d/adversary.conf", format!("[Service]\n{settings}").as_bytes(), 0o644)?;
        self.host().sh("systemctl daemon-reload")?;
        Ok(())
    }

    /// Under its unit, in the place of each daemon: `sleep`, which needs no more than the C library.
    fn sleepers(&self) -> Result<(), Failure> {
        let host = self.host();
        let mut programs: Vec<&str> = SERVICES.iter().map(|service| service.program).collect();
        programs.dedup();
        let copies: Vec<String> = programs.iter().map(|program| format!("cp /usr/bin/sleep /usr/lib/postern/{program}\n")).collect();
        host.sh(&copies.concat())?;
        host.put("/etc/postern/postern.toml", b"", 0o644)?;
        for file in ["postern.tls.crt", "postern.tls.key"] {
            host.put(&format!("/etc/credstore/{file}"), b"secret", 0o600)?;
        }
        self.drop_in(&format!("Type=exec\nWatchdogSec=0\n{AT_ONCE}"))?;
        for service in SERVICES {
            let start = format!("[Service]\nExecStart=\nExecStart=/usr/lib/postern/{} infinity\n", service.program);
            host.put(&format!("/etc/systemd/system/{}.d/sleep.conf", service.unit()), start.as_bytes(), 0o644)?;
        }
        let units: Vec<String> = SERVICES.iter().map(Service::unit).collect();
        host.sh(&format!("systemctl daemon-reload; systemctl start {}", units.join(" ")))?;
        Ok(())
    }

    /// Tries every act in every process: half of them are attacked while the other half are the siblings.
    pub fn attack(&self, acts: &[Act]) -> Result<Table, Failure> {
        let (first, second) = SERVICES.split_at(SERVICES.len() / 2);
        let mut columns = Vec::new();
        for (attacked, others) in [(first, second), (second, first)] {
            let sibling = others.first().ok_or_else(|| Failure::new("no sibling"))?;
            let sibling = inner(self.ground.target(sibling)?.wait()?)?;
            columns.extend(in_parallel(attacked.iter().map(|service| move || self.ground.attack(service, sibling, acts)))?);
        }
        let row = |at: usize| columns.iter().filter_map(|column: &Vec<Cell>| column.get(at).cloned()).collect();
        Ok(Table {
            processes: SERVICES.iter().map(|service| service.name.to_owned()).collect(),
            acts: acts.iter().enumerate().map(|(at, act)| (act.name.clone(), row(at))).collect(),
        })
    }
}

impl Machine {
    fn host(&self) -> &Host {
        match self {
            Self::Appliance(appliance) => appliance,
            Self::Host(host) => host,
        }
    }
}

/// `postern up` as one ordinary user.
fn up(host: &Host) -> Result<Ground, Failure> {
    host.sh(&format!(
        "install -d -o mail -g mail {STATE}; systemd-run --quiet --unit={UNIT} -p User=mail -p Type=exec -p LimitNOFILE=65536 \
         /usr/bin/postern up --json --port-base 0 --state {STATE} --bin /usr/lib/postern"
    ))?;
    let ready = || {
        let told = host.journal(&[&format!("_SYSTEMD_UNIT={UNIT}")]).ok()?;
        told.iter().any(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.starts_with('{'))).then_some(())
    };
    eventually("postern up", AGAIN, ready).map_err(|e| Failure::new(format!("{e}\n{}", host.journal_text())))?;
    let is_up = |pid: &u32| cgroup(*pid).ends_with(&format!("/{UNIT}"));
    let parent = children(host.pid()).into_iter().find(is_up).ok_or_else(|| Failure::new("postern up is not there"))?;
    Ok(Ground { parent, up: Some(STATE) })
}

fn in_parallel<T: Send, J: FnOnce() -> Result<T, Failure> + Send>(jobs: impl Iterator<Item = J>) -> Result<Vec<T>, Failure> {
    thread::scope(|scope| {
        let all: Vec<_> = jobs.map(|job| scope.spawn(job)).collect();
        all.into_iter().map(|one| one.join().map_err(|_| Failure::new("an attacker panicked")).and_then(|found| found)).collect()
    })
}

impl Ground {
    fn attack(&self, service: &'static Service, sibling: i32, acts: &[Act]) -> Result<Vec<Cell>, Failure> {
        let target = self.target(service)?;
        let facts = self.facts(service, sibling)?;
        let mut held: Option<Puppet> = None;
        let mut column = Vec::new();
        for act in acts {
            let mut why = String::from("no answer");
            let cell = (0..TRIES).find_map(|_| {
                let copy = held.take().map_or_else(|| target.wait().and_then(Puppet::seize), Ok).and_then(|mut daemon| {
                    let copy = daemon.copy();
                    held = Some(daemon);
                    copy
                });
                let mut puppet = match copy {
                    Ok(puppet) => puppet,
                    // It may have ended just then.
                    Err(error) => {
                        why = error.to_string();
                        if let Some(daemon) = held.take() {
                            daemon.kill();
                        }
                        return None;
                    }
                };
                let cell = match act.attempt(&mut puppet, &facts) {
                    Ok(()) => Some(Cell::Allowed),
                    Err(Stop::Errno(error)) => Some(Cell::Refused(format!("{error:?}"))),
                    Err(Stop::Killed(nix::sys::signal::Signal::SIGSYS)) => Some(Cell::Killed),
                    Err(Stop::Killed(_) | Stop::Lost) => None,
                };
                puppet.kill();
                cell
            });
            column.push(cell.ok_or_else(|| Failure::new(format!("{}: {}: {why}", service.name, act.name)))?);
        }
        if let Some(daemon) = held {
            daemon.kill();
        }
        Ok(column)
    }

    fn target(&self, service: &'static Service) -> Result<Target, Failure> {
        let mut target = Target { parent: self.parent, service, in_unit: self.up.is_none(), filters: None };
        let pid = target.wait()?;
        target.filters = status(pid, "Seccomp_filters");
        Ok(target)
    }

    fn facts(&self, service: &Service, sibling: i32) -> Result<Facts, Failure> {
        let credentials = |name: &str| match &self.up {
            Some(up) => format!("{up}/credentials/{name}"),
            None => format!("/run/credentials/postern-{name}.service"),
        };
        let below = |up: &str, place: &str| self.up.as_ref().map_or_else(|| place.to_owned(), |state| format!("{state}/{up}"));
        Ok(Facts {
            name: service.name,
            program: format!("/usr/lib/postern/{}", service.program),
            edges: below("run", "/run/postern"),
            states: below("state", "/var/lib/postern"),
            keeps_state: service.state,
            config: format!("{}/postern.toml", credentials(service.name)),
            tls_key: format!("{}/tls.key", credentials("keys")),
            parent: inner(self.parent)?,
            sibling,
            remote: REMOTE,
            remote6: REMOTE6,
            here: HERE,
            abstract_name: ABSTRACT.to_owned(),
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // It ends with its namespace at the latest.
            let _ = Command::new("kill").arg(listener).status();
        }
    }
}

/// How a daemon is known, whatever its number is now.
struct Target {
    parent: u32,
    service: &'static Service,
    in_unit: bool,
    /// Filters in force once it is confined.
    filters: Option<String>,
}

impl Target {
    /// Its number here, once it runs and is confined.
    fn wait(&self) -> Result<u32, Failure> {
        eventually(self.service.name, AGAIN, || children(self.parent).into_iter().find(|pid| self.is(*pid)))
    }

    fn is(&self, pid: u32) -> bool {
        let name: String = self.service.program.chars().take(COMM).collect();
        let arguments = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        status(pid, "Name").is_some_and(|comm| comm == name)
            && status(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
            && status(pid, "TracerPid").is_some_and(|tracer| tracer == "0")
            && self.filters.as_ref().is_none_or(|filters| status(pid, "Seccomp_filters").as_ref() == Some(filters))
            // It has come as far as its own code.
            && fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.lines().any(|line| line.contains("r-xp") && line.contains("libc.so")))
            && if self.in_unit {
                cgroup(pid).ends_with(&format!("/{}", self.service.unit()))
            } else {
                self.service.program != "postern-smtp" || arguments().split('\0').any(|word| word == self.service.name)
            }
    }
}

fn status(pid: u32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
}

fn cgroup(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")) else { return Vec::new() };
    let lists = tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// A number here, as the host numbers it.
fn inner(pid: u32) -> Result<i32, Failure> {
    let numbers = status(pid, "NSpid").unwrap_or_default();
    let last = numbers.split_whitespace().last().and_then(|pid| pid.parse().ok());
    last.ok_or_else(|| Failure::new(format!("{pid} has no number in its host")))
}
