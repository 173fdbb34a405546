use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The executables of an installation.
const BINARIES: [&str; 10] = [
    "postern-smtp",
    "postern-imap",
    "postern-scan",
    "postern-queue",
    "postern-store",
    "postern-auth",
    "postern-keys",
    "postern-dns",
    "postern-send",
    "postern",
];
/// `postern up` gives itself ten seconds before it kills.
const STOP: Duration = Duration::from_secs(20);

/// The daemons of an appliance, by the names that [`Appliance::pid`] takes.
pub fn daemons() -> [&'static str; 10] {
    ["keys", "scan", "store", "auth", "dns", "send", "queue", "mx", "submission", "imap"]
}

/// Where the executables under test are: `$POSTERN_BIN`, else the release build, else the debug build beside the running test.
///
/// # Panics
/// When none of these has all of them.
pub fn binaries() -> PathBuf {
    if let Some(dir) = env::var_os("POSTERN_BIN") {
        return PathBuf::from(dir);
    }
    let test = env::current_exe().expect("the running test has a path");
    // TARGET/debug/deps/TEST
    let target = test.ancestors().nth(3).expect("tests run in the target directory");
    let complete = |dir: &PathBuf| BINARIES.iter().all(|name| dir.join(name).is_file());
    let found = [target.join("release"), target.join("debug")].into_iter().find(complete);
    found.unwrap_or_else(|| panic!("the executables are not built: run `cargo xtask build` first"))
}

/// What an appliance is started with.
#[derive(Debug, Clone)]
pub struct World {
    /// `postern.toml`.
    pub config: String,
    /// Address and password.
    pub accounts: Vec<(String, String)>,
}

impl World {
    /// mta.test with alice, bob and admin, whose passwords are `secret-NAME`; penalties and the limit of connections are out of the way, and
    /// no name server is there: a test asks nobody outside.
    pub fn mta_test() -> Self {
        let mut config = String::from(
            "hostname = \"mail.mta.test\"\npostmaster = \"admin@mta.test\"\n\n[domains.\"mta.test\"]\n\n\
             [limits]\nlogin_failures = 0\nconnections_per_peer = 10000\n\n[dns]\nservers = [\"127.0.0.1:9\"]\n\n[send]\npaused = true\n\n",
        );
        let mut accounts = Vec::new();
        for name in ["alice", "bob", "admin"] {
            config.push_str(&format!("[accounts.\"{name}@mta.test\"]\n"));
            accounts.push((format!("{name}@mta.test"), format!("secret-{name}")));
        }
        Self { config, accounts }
    }
}

/// A running appliance; ends with its value.
#[derive(Debug)]
pub struct Appliance {
    up: Child,
    ready: Value,
    ports: BTreeMap<String, u16>,
    accounts: Vec<(String, String)>,
    dir: Option<TempDir>,
}

impl Appliance {
    /// The world of the attack cases: [`World::mta_test`].
    ///
    /// # Panics
    /// When it does not start; the logs are shown.
    pub fn mta_test() -> Self {
        Self::start(&World::mta_test())
    }

    /// Starts one.
    ///
    /// # Panics
    /// When it does not start; the logs are shown.
    pub fn start(world: &World) -> Self {
        let dir = tempfile::Builder::new().prefix("postern-test-").tempdir().expect("a directory for the test");
        let (config, accounts) = (dir.path().join("given.toml"), dir.path().join("given.passwords"));
        fs::write(&config, &world.config).expect("the configuration is written");
        let lines: String = world.accounts.iter().map(|(address, password)| format!("{address} {password}\n")).collect();
        fs::write(&accounts, lines).expect("the accounts are written");
        Self::run(Self::given(&dir), dir)
    }

    /// Starts it again in the same state after it was stopped; its ports are others.
    ///
    /// # Panics
    /// When it does not start; the logs are shown.
    pub fn restart(&mut self) {
        let dir = self.dir.take().expect("it was started");
        let was_given = dir.path().join("given.toml").exists();
        *self = Self::run(if was_given { Self::given(&dir) } else { Self::command(&dir.path().join("up")) }, dir);
    }

    fn given(dir: &TempDir) -> Command {
        let mut command = Self::command(&dir.path().join("up"));
        command.arg("--config").arg(dir.path().join("given.toml")).arg("--accounts").arg(dir.path().join("given.passwords"));
        command
    }

    /// Starts one as a newcomer gets it: example.test with alice and bob.
    ///
    /// # Panics
    /// When it does not start; the logs are shown.
    pub fn demonstration() -> Self {
        let dir = tempfile::Builder::new().prefix("postern-test-").tempdir().expect("a directory for the test");
        Self::run(Self::command(&dir.path().join("up")), dir)
    }

    /// `postern up` on free ports, not started yet.
    pub fn command(state: &Path) -> Command {
        let mut command = Command::new(binaries().join("postern"));
        command.args(["up", "--json", "--port-base", "0", "--state"]).arg(state);
        command
    }

    fn run(mut command: Command, dir: TempDir) -> Self {
        let mut up = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("postern up starts");
        let mut line = String::new();
        let output = up.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).expect("its output is text");
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            let status = up.wait();
            show_logs(&dir.path().join("up"));
            panic!("postern up did not become ready: {status:?} {line:?}");
        };
        assert_eq!(ready["ready"], true, "{ready}");
        let number = |(name, port): (&String, &Value)| (name.clone(), u16::try_from(port.as_u64().unwrap_or(0)).unwrap_or(0));
        let ports = ready["ports"].as_object().expect("ports").iter().map(number).collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let account = |a: &Value| (text(&a["address"]), text(&a["password"]));
        let accounts = ready["accounts"].as_array().expect("accounts").iter().map(account).collect();
        Self { up, ports, accounts, ready, dir: Some(dir) }
    }

    /// What it printed when it was ready.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// The port of `mx`, `submission`, `submissions` or `imaps`.
    pub fn port(&self, name: &str) -> u16 {
        *self.ports.get(name).unwrap_or_else(|| panic!("there is no port {name}"))
    }

    /// The certificate to trust, a PEM file.
    pub fn authority(&self) -> PathBuf {
        PathBuf::from(self.ready["ca"].as_str().expect("ca"))
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        PathBuf::from(self.ready["state"].as_str().expect("state"))
    }

    /// A directory for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.dir.as_ref().expect("it runs").path()
    }

    /// Address and password of an account by its local part, or its whole address.
    pub fn account(&self, name: &str) -> (&str, &str) {
        let found = self.accounts.iter().find(|(address, _)| address == name || address.split('@').next() == Some(name));
        found.map(|(address, password)| (address.as_str(), password.as_str())).unwrap_or_else(|| panic!("there is no account {name}"))
    }

    /// The process of a daemon, now.
    pub fn pid(&self, daemon: &str) -> u32 {
        crate::eventually("the number of a process", || {
            fs::read_to_string(self.state().join("run/pid").join(daemon)).ok().and_then(|text| text.trim().parse().ok())
        })
    }

    /// The process of `postern up`.
    pub fn up_pid(&self) -> u32 {
        self.up.id()
    }

    /// Sends SIGKILL to a daemon. Whether it hit a living one: a restart may be under way.
    pub fn kill(&self, daemon: &str) -> bool {
        signal(self.pid(daemon), Signal::KILL)
    }

    /// Runs `postern ARGUMENTS` against it, with this on standard input.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn postern(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(binaries().join("postern"));
        command.args(arguments).env("POSTERN_EDGES", self.state().join("run"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("postern starts");
        // A command that does not read its input closes it.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("postern ends")
    }

    /// Adds an account.
    ///
    /// # Panics
    /// When that is refused.
    pub fn add_account(&self, address: &str, password: &str) {
        let output = self.postern(&["account", "add", address, "--stdin"], &format!("{password}\n"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The log of a daemon so far.
    pub fn log(&self, daemon: &str) -> String {
        fs::read_to_string(self.state().join("log").join(format!("{daemon}.log"))).unwrap_or_default()
    }

    /// Ends it as Ctrl-C does, and returns whether it ended by itself within its time.
    pub fn stop(&mut self) -> bool {
        signal(self.up.id(), Signal::INT);
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.up.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if matches!(self.up.try_wait(), Ok(None)) && !self.stop() {
            // Its children end with it.
            let _ = self.up.kill();
            let _ = self.up.wait();
        }
        if std::thread::panicking() {
            show_logs(&self.state());
        }
    }
}

fn signal(pid: u32, signal: Signal) -> bool {
    i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// The last lines of every log, for the report of a failed test.
fn show_logs(state: &Path) {
    for daemon in daemons() {
        let Ok(text) = fs::read_to_string(state.join("log").join(format!("{daemon}.log"))) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(15)..] {
            eprintln!("{daemon}: {line}");
        }
    }
}
