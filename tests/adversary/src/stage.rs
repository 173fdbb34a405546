//! Where the daemons run while they are attacked, and how a daemon is found again after it was killed.

use crate::{Act, Cell, Facts, Puppet, Stop, Table, acts::Sibling, held};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::fs::FileExt,
    process::Command,
    thread,
    time::Duration,
};
use system::{Appliance, Failure, Host, SERVICES, Service, cgroup, children, eventually, inner, status};

/// The machine's addresses, and those of the rest of the world.
const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// A daemon is killed and started again; the machine may be busy.
pub(crate) const AGAIN: Duration = Duration::from_secs(60);
/// Bytes of a name in `/proc/PID/status`.
const COMM: usize = 15;
/// How often an act is tried in a process that did something else meanwhile.
const TRIES: usize = 5;
const AT_ONCE: &str = "RestartSec=1ms\nRestartSteps=0\nRestartMaxDelaySec=infinity\n";
const ABSTRACT: &str = "postern-adversary";
/// Where a program of the host takes datagrams from anybody.
const DATAGRAMS: &str = "/srv/adversary-datagrams";
/// What is attacked without a fence, what is its sibling, and what it may take for its program.
const PLAIN: &Service = &plain("plain");
const SIBLING: &Service = &plain("sibling");
const PROGRAM: &str = "/srv/program";
/// Where it finds the edges: all in one directory, as a daemon does.
const EDGES: &str = "/srv/edges";
/// What `postern up` keeps.
const STATE: &str = "/srv/up";

/// Listens on every port that is tried, on abstract sockets, and where its arguments say; what is taken already is somebody's who listens. Ends when a child of
/// it, whose number it tells, listens.
const LISTENER: &str = r#"
import os, socket, sys, time
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
hold(socket.AF_UNIX, socket.SOCK_DGRAM, "\0postern-adversary-datagrams")
for path in sys.argv[1:]:
    hold(socket.AF_UNIX, socket.SOCK_DGRAM, path); os.chmod(path, 0o666)
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
    /// None: a program that only sleeps, as root. Here every act comes to its end, or it would prove nothing elsewhere.
    Nothing,
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
    /// The host, as the machine numbers its PID 1.
    host: u32,
    /// What stands in the way.
    fence: Fence,
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
            Fence::Both => Appliance::start()?.map(Machine::Appliance),
            Fence::Jail => Host::with_programs()?.map(Machine::Host),
            Fence::Units | Fence::Nothing => Host::with_units()?.map(Machine::Host),
        };
        let Some(machine) = machine else { return Ok(None) };
        let ground = match fence {
            Fence::Both | Fence::Units | Fence::Nothing => {
                Ground { parent: machine.host().pid(), up: None, host: machine.host().pid(), fence }
            }
            Fence::Jail => Ground { parent: machine.host().up(STATE)?, up: Some(STATE), host: machine.host().pid(), fence },
        };
        let mut stage = Self { machine, ground, listeners: Vec::new() };
        match fence {
            // Who is held for long does not say that it lives.
            Fence::Both => stage.drop_in(&format!("WatchdogSec=0\n{AT_ONCE}"))?,
            Fence::Units => stage.sleepers()?,
            Fence::Nothing => {
                stage.sleepers()?;
                stage.plain()?;
            }
            Fence::Jail => stage.operators_files()?,
        }
        // An address filter of a unit drops in silence: two minutes of asking again would show no more (tcp(7)).
        stage.host().sh("echo 1 >/proc/sys/net/ipv4/tcp_syn_retries")?;
        // As systemd sets it on a machine: anybody makes such sockets.
        stage.host().sh("echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range")?;
        // After everything that listens by itself.
        let host = stage.host();
        let world = host.remote(&["python3", "-c", LISTENER], b"")?.ok("listeners")?;
        let datagrams = host.path(DATAGRAMS);
        let here =
            Command::new("nsenter").args(["-t", &host.pid().to_string(), "-n", "--", "python3", "-c", LISTENER]).arg(datagrams).output()?;
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

    /// What an operator would have put there.
    fn operators_files(&self) -> Result<(), Failure> {
        let host = self.host();
        host.put("/etc/postern/postern.toml", b"", 0o644)?;
        for file in ["postern.tls.crt", "postern.tls.key"] {
            host.put(&format!("/etc/credstore/{file}"), b"secret", 0o600)?;
        }
        Ok(())
    }

    /// Under its unit, in the place of each daemon: `sleep`, which needs no more than the C library.
    fn sleepers(&self) -> Result<(), Failure> {
        let host = self.host();
        let mut programs: Vec<&str> = SERVICES.iter().map(|service| service.program).collect();
        programs.dedup();
        let copies: Vec<String> = programs.iter().map(|program| format!("cp /usr/bin/sleep /usr/lib/postern/{program}\n")).collect();
        host.sh(&copies.concat())?;
        self.operators_files()?;
        self.drop_in(&format!("Type=exec\nWatchdogSec=0\n{AT_ONCE}"))?;
        for service in SERVICES {
            let start = format!("[Service]\nExecStart=\nExecStart=/usr/lib/postern/{} infinity\n", service.program);
            host.put(&format!("/etc/systemd/system/{}.d/sleep.conf", service.unit()), start.as_bytes(), 0o644)?;
        }
        let units: Vec<String> = SERVICES.iter().map(Service::unit).collect();
        host.sh(&format!("systemctl daemon-reload; systemctl start {}", units.join(" ")))?;
        Ok(())
    }

    /// Beside the daemons' places: a process that nothing confines, and another. What they share with the daemons is the host.
    fn plain(&self) -> Result<(), Failure> {
        let host = self.host();
        let edges = SERVICES.iter().flat_map(|service| service.serves);
        let links: Vec<String> = edges.map(|edge| format!("ln -s $(echo /run/postern*/{edge}) {EDGES}/{edge}\n")).collect();
        host.sh(&format!(
            "cp /usr/bin/sleep {PROGRAM}; mkdir -p {EDGES} /var/log/journal; touch /var/lib/postern/auth/auth.db\n{}",
            links.concat()
        ))?;
        for service in [PLAIN, SIBLING] {
            // The capability, so that it has one to hand on.
            let unit = "[Service]\nExecStart=/usr/bin/sleep infinity\nRestart=always\nAmbientCapabilities=CAP_SYS_ADMIN\n";
            host.put(&format!("/etc/systemd/system/{}", service.unit()), unit.as_bytes(), 0o644)?;
        }
        // A datagram socket, as daemons have two.
        host.put("/etc/systemd/system/postern-plain.socket", b"[Socket]\nListenDatagram=/run/plain\n", 0o644)?;
        host.sh(&format!("systemctl daemon-reload; systemctl start postern-plain.socket {} {}", PLAIN.unit(), SIBLING.unit()))?;
        Ok(())
    }

    /// What each process holds that has just been started and that no stranger has asked anything.
    pub fn descriptors(&self) -> Result<BTreeMap<&'static str, BTreeSet<String>>, Failure> {
        SERVICES.iter().map(|service| Ok((service.name, held::descriptors(self.ground.target(service)?.wait()?)?))).collect()
    }

    /// Tries every act in every process: half of them are attacked while the other half are the siblings.
    pub fn attack(&self, acts: &[Act]) -> Result<Table, Failure> {
        let (first, second) = SERVICES.split_at(SERVICES.len() / 2);
        let attacks = match self.ground.fence {
            Fence::Nothing => vec![(std::slice::from_ref(PLAIN), SIBLING)],
            Fence::Both | Fence::Units | Fence::Jail => {
                let sibling = |others: &'static [Service]| others.first().ok_or_else(|| Failure::new("no sibling"));
                vec![(first, sibling(second)?), (second, sibling(first)?)]
            }
        };
        let mut columns = Vec::new();
        for (attacked, sibling) in &attacks {
            let sibling = &sibling_of(self.ground.target(sibling)?.wait()?)?;
            columns.extend(in_parallel(attacked.iter().map(|service| move || self.ground.attack(service, sibling, acts)))?);
        }
        let row = |at: usize| columns.iter().filter_map(|column: &Vec<Cell>| column.get(at).cloned()).collect();
        Ok(Table {
            processes: attacks.iter().flat_map(|(attacked, _)| *attacked).map(|service| service.name.to_owned()).collect(),
            acts: acts.iter().enumerate().map(|(at, act)| (act.name.clone(), row(at))).collect(),
        })
    }
}

/// A process of no edges, which may take itself for one that has everything.
const fn plain(name: &'static str) -> Service {
    Service {
        name,
        program: "sleep",
        listeners: &["mx"],
        serves: &["queue-inbound"],
        calls: &[],
        answers: &[],
        state: false,
        dynamic_user: false,
        reloads: false,
        dials_out: true,
        reads: &[],
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

fn in_parallel<T: Send, J: FnOnce() -> Result<T, Failure> + Send>(jobs: impl Iterator<Item = J>) -> Result<Vec<T>, Failure> {
    thread::scope(|scope| {
        let all: Vec<_> = jobs.map(|job| scope.spawn(job)).collect();
        all.into_iter().map(|one| one.join().map_err(|_| Failure::new("an attacker panicked")).and_then(|found| found)).collect()
    })
}

impl Ground {
    fn attack(&self, service: &'static Service, sibling: &Sibling, acts: &[Act]) -> Result<Vec<Cell>, Failure> {
        let target = self.target(service)?;
        let facts = self.facts(service, sibling)?;
        let mut held: Option<Puppet> = None;
        let mut column = Vec::new();
        for act in acts {
            let mut why = String::from("no answer");
            let cell = (0..TRIES).find_map(|_| {
                let copy = held.take().map_or_else(|| target.wait().and_then(Puppet::seize), Ok).and_then(|mut daemon| {
                    let copy = daemon.copy().and_then(|copy| self.prepared(copy));
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

    /// Where nothing stands in the way, what is done to the tree of mounts is done to one copy's own.
    fn prepared(&self, mut copy: Puppet) -> Result<Puppet, Failure> {
        if self.fence == Fence::Nothing {
            let mut unshare = || {
                copy.call(libc::SYS_unshare, [libc::CLONE_NEWNS as u64, 0, 0, 0, 0, 0])?;
                let root = copy.text("/")?;
                copy.call(libc::SYS_mount, [0, root, 0, libc::MS_REC | libc::MS_PRIVATE, 0, 0])
            };
            unshare().map_err(|e: Stop| Failure::new(format!("mounts of its own: {e:?}")))?;
        }
        Ok(copy)
    }

    fn facts(&self, service: &Service, sibling: &Sibling) -> Result<Facts, Failure> {
        let given = |name: &str, file: &str| match (self.up, self.fence) {
            (Some(up), _) => format!("{up}/credentials/{name}/{file}"),
            (None, Fence::Nothing) if file == "tls.key" => "/etc/credstore/postern.tls.key".to_owned(),
            (None, Fence::Nothing) => format!("/etc/postern/{file}"),
            (None, _) => format!("/run/credentials/postern-{name}.service/{file}"),
        };
        let below = |up: &str, place: &str| self.up.as_ref().map_or_else(|| place.to_owned(), |state| format!("{state}/{up}"));
        let is_plain = self.fence == Fence::Nothing;
        Ok(Facts {
            name: service.name,
            program: if is_plain { PROGRAM.to_owned() } else { format!("/usr/lib/postern/{}", service.program) },
            edges: if is_plain { EDGES.to_owned() } else { below("run", "/run/postern") },
            states: below("state", "/var/lib/postern"),
            keeps_state: service.state,
            config: given(service.name, "postern.toml"),
            tls_key: given("keys", "tls.key"),
            parent: inner(self.parent)?,
            sibling: sibling.clone(),
            host: self.host,
            listens: !service.listeners.is_empty(),
            serves: !service.serves.is_empty(),
            dials_out: service.dials_out,
            datagrams: DATAGRAMS.to_owned(),
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

/// Of its stack the end, where the kernel has written the name of its program: nobody writes there again.
fn sibling_of(pid: u32) -> Result<Sibling, Failure> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let end = maps.lines().find(|line| line.ends_with("[stack]")).and_then(|line| line.split(['-', ' ']).nth(1));
    let end = end.and_then(|end| u64::from_str_radix(end, 16).ok()).ok_or_else(|| Failure::new(format!("{pid} has no stack")))?;
    let (mut bytes, address) = ([0; 16], end.saturating_sub(16));
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, address)?;
    Ok(Sibling { pid: inner(pid)?, outside: pid, address, bytes })
}
