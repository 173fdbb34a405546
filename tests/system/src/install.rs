//! The appliance on a host, installed as a package would.

use crate::{
    Failure, Host, Outcome, SERVICES, Service, Stream,
    command::eventually,
    process::{cgroup, children},
    root::{target, workspace},
    unit_files,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::{
    env,
    fs::{self, File},
    ops::Deref,
    path::{Path, PathBuf},
    time::Duration,
};
use test_support::skip;

/// The host's mail name.
pub const HOSTNAME: &str = "mail.example.test";
/// The hosted domain.
pub const DOMAIN: &str = "example.test";
/// Its address, seen from the rest of the world.
pub const ADDRESS: &str = "192.0.2.1";
/// An account whose password the operator sets.
pub const ALICE: &str = "alice@example.test";
/// An account whose password hash is a credential.
pub const BOB: &str = "bob@example.test";
/// The password of both.
pub const PASSWORD: &str = "correct horse battery";

/// A user of the host who is nobody special.
pub const ORDINARY: &str = "mail";

const BOB_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRvZmJvYjEyMw$Kkq36L0/+U78lUpOcOTBeYTsRUwjFJ7G7Nd7U9mRxQM";
const START: Duration = Duration::from_secs(60);

/// A host with Postern running on it.
#[derive(Debug)]
pub struct Appliance {
    host: Host,
    ca: PathBuf,
    key: KeyPair,
}

impl Deref for Appliance {
    type Target = Host;
    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Host {
    /// Boots a host with the units on it and files in the place of the programs, which is all that `systemd-analyze` looks for.
    pub fn with_units() -> Result<Option<Self>, Failure> {
        let host = match Self::boot()? {
            Ok(host) => host,
            Err(reason) => {
                skip(&reason.0);
                return Ok(None);
            }
        };
        for service in SERVICES {
            host.put(&format!("/usr/lib/postern/{}", service.program), b"", 0o755)?;
        }
        host.install_units()?;
        Ok(Some(host))
    }

    /// `postern up` beside what else runs, as one ordinary user, in a directory of its own. Its number, as the machine numbers it.
    pub fn up(&self, state: &str) -> Result<u32, Failure> {
        const UNIT: &str = "up.service";
        self.sh(&format!(
            "install -d -o {ORDINARY} -g {ORDINARY} {state}; systemd-run --quiet --unit={UNIT} -p User={ORDINARY} -p Type=exec \
             -p LimitNOFILE=65536 /usr/bin/postern up --json --port-base 0 --state {state} --bin /usr/lib/postern"
        ))?;
        let ready = || {
            let told = self.journal(&[&format!("_SYSTEMD_UNIT={UNIT}")]).ok()?;
            told.iter().any(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.starts_with('{'))).then_some(())
        };
        eventually("postern up", START, ready).map_err(|e| Failure::new(format!("{e}\n{}", self.journal_text())))?;
        let is_up = |pid: &u32| cgroup(*pid).ends_with(&format!("/{UNIT}"));
        children(self.pid()).into_iter().find(is_up).ok_or_else(|| Failure::new("postern up is not there"))
    }

    /// Boots a host with what a release installs, of which nothing runs yet; none, and a recorded skip, where that is not possible.
    pub fn with_programs() -> Result<Option<Self>, Failure> {
        if let Some(program) = programs().into_iter().find(|p| !p.exists()) {
            skip(&format!("{} is not built; cargo xtask build builds it", program.display()));
            return Ok(None);
        }
        let host = match Host::boot()? {
            Ok(host) => host,
            Err(reason) => {
                skip(&reason.0);
                return Ok(None);
            }
        };
        for program in programs() {
            let name = program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            host.put(&format!("{}/{name}", place(&name)), &fs::read(program)?, 0o755)?;
        }
        host.install_units()?;
        Ok(Some(host))
    }

    fn install_units(&self) -> Result<(), Failure> {
        for extension in ["service", "slice", "socket", "target"] {
            for (name, file) in unit_files(extension)? {
                self.put(&format!("/usr/lib/systemd/system/{name}"), &fs::read(file)?, 0o644)?;
            }
        }
        for kind in ["sysusers", "tmpfiles"] {
            let file = workspace().join(format!("systemd/postern.{kind}.conf"));
            self.put(&format!("/usr/lib/{kind}.d/postern.conf"), &fs::read(file)?, 0o644)?;
        }
        self.sh("systemd-sysusers; systemd-tmpfiles --create postern.conf; systemctl daemon-reload")?;
        Ok(())
    }
}

impl Appliance {
    /// Boots a host and starts the appliance on it; none, and a recorded skip, where that is not possible.
    pub fn start() -> Result<Option<Self>, Failure> {
        let Some(host) = Host::with_programs()? else { return Ok(None) };
        let config = format!("hostname = \"{HOSTNAME}\"\n[domains.\"{DOMAIN}\"]\n[accounts.\"{ALICE}\"]\n[accounts.\"{BOB}\"]\n");
        host.put("/etc/postern/postern.toml", config.as_bytes(), 0o644)?;
        let failed = |e: rcgen::Error| Failure::new(format!("certificate: {e}"));
        let (ca_pem, certificate, key) = certificate().map_err(failed)?;
        host.put("/etc/credstore/postern.tls.crt", certificate.as_bytes(), 0o600)?;
        host.put("/etc/credstore/postern.tls.key", key.serialize_pem().as_bytes(), 0o600)?;
        host.put(&format!("/etc/credstore/account.{BOB}"), BOB_HASH.as_bytes(), 0o600)?;
        host.sh("chmod 700 /etc/credstore")?;
        let ca = host.keep("ca.pem", ca_pem.as_bytes())?;
        host.keep("client.py", include_bytes!("client.py"))?;
        let appliance = Self { host, ca, key };
        appliance.sh("systemctl enable --quiet --now postern.target")?;
        appliance.wait_until_active()?;
        let passwd = ["postern", "account", "passwd", "--stdin", ALICE];
        appliance.run_with(&passwd, format!("{PASSWORD}\n").as_bytes())?.ok("postern account passwd")?;
        Ok(Some(appliance))
    }

    /// Waits until every service has said that it is ready.
    pub fn wait_until_active(&self) -> Result<(), Failure> {
        let units: Vec<String> = SERVICES.iter().map(Service::unit).collect();
        let words: Vec<&str> = ["systemctl", "is-active"].into_iter().chain(units.iter().map(String::as_str)).collect();
        let active = || self.run(&words).ok().filter(Outcome::success).map(|_| ());
        eventually("every service is active", START, active).map_err(|e| Failure::new(format!("{e}\n{}", self.journal_text())))
    }

    /// The main process of a service, as the host numbers it.
    pub fn main_pid(&self, service: &Service) -> Result<u32, Failure> {
        let pid = self.sh(&format!("systemctl show --property=MainPID --value {}", service.unit()))?;
        pid.trim().parse().map_err(|e| Failure::new(format!("{}: {pid}: {e}", service.name)))
    }

    /// The PEM file with the authority that its certificate is from, on the machine.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The private key of its certificate, for those who look where it must not be.
    pub fn tls_key(&self) -> &KeyPair {
        &self.key
    }

    /// A stranger's server hands over a message on port 25. Returns the reply to it.
    pub fn deliver(&self, sender: &str, recipient: &str, message: &[u8]) -> Result<String, Failure> {
        self.client("deliver", &[sender, recipient], message)
    }

    /// A user sends a message through port 465. Returns the reply to it.
    pub fn submit(&self, user: &str, recipient: &str, message: &[u8]) -> Result<String, Failure> {
        self.submit_to(user, &[recipient], message)
    }

    /// The same to several recipients at once.
    pub fn submit_to(&self, user: &str, recipients: &[&str], message: &[u8]) -> Result<String, Failure> {
        self.client("submit", &[&[user, PASSWORD], recipients].concat(), message)
    }

    /// A user reads the messages with this subject through port 993, waiting for the first.
    pub fn fetch(&self, user: &str, subject: &str) -> Result<Vec<String>, Failure> {
        let messages = self.client("fetch", &[user, PASSWORD, subject], b"")?;
        serde_json::from_str(&messages).map_err(|e| Failure::new(format!("{e}: {messages}")))
    }

    /// A stranger's server that hands over one message after the other, until it is dropped.
    pub fn stream(&self, recipient: &str, subject: &str) -> Result<Stream, Failure> {
        let output = self.keep(&format!("stream of {subject}"), b"")?;
        let (ca, program) = (self.ca.to_string_lossy(), self.ca.with_file_name("client.py"));
        let program = program.to_string_lossy();
        let words = ["python3", &program, "stream", &ca, HOSTNAME, ADDRESS, "s@example.net", recipient, subject];
        Ok(Stream::new(self.start_remote(&words, File::create(&output)?)?, output))
    }

    /// Puts programs into the place of those that are installed, as an upgrade does: those that run go on.
    pub fn upgrade(&self, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Result<(), Failure> {
        for program in programs() {
            let name = program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let place = format!("{}/{name}", place(&name));
            self.put(&format!("{place}.new"), &change(fs::read(&program)?), 0o755)?;
            self.sh(&format!("mv {place}.new {place}"))?;
        }
        Ok(())
    }

    fn client(&self, verb: &str, arguments: &[&str], input: &[u8]) -> Result<String, Failure> {
        let ca = self.ca.to_string_lossy();
        let program = self.ca.with_file_name("client.py");
        let program = program.to_string_lossy();
        let words = [&["python3", &program, verb, &ca, HOSTNAME, ADDRESS], arguments].concat();
        let outcome = self.remote(&words, input)?;
        outcome.ok(verb).map_err(|e| Failure::new(format!("{e}\n{}", self.journal_text())))
    }

    /// Cuts its power, and waits until it is back.
    pub fn power_cut(&mut self) -> Result<(), Failure> {
        self.host.power_cut()?;
        self.wait_until_active()
    }
}

/// What a release installs: the programs of the services and the operator's.
fn programs() -> Vec<PathBuf> {
    let mut names: Vec<&str> = SERVICES.iter().map(|s| s.program).chain(["postern"]).collect();
    names.sort_unstable();
    names.dedup();
    let built = env::var_os("POSTERN_BIN").map_or_else(|| target().join("release"), PathBuf::from);
    names.iter().map(|name| built.join(name)).collect()
}

/// Where a program is installed.
fn place(program: &str) -> &'static str {
    if program == "postern" { "/usr/bin" } else { "/usr/lib/postern" }
}

/// A certificate of an authority made for this host: the authority's, the chain, the key.
fn certificate() -> Result<(String, String, KeyPair), rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Another name than the leaf's, which would look signed by itself.
    authority.distinguished_name.push(DnType::CommonName, "authority of a test");
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![HOSTNAME.to_owned()])?;
    let leaf_pem = leaf.signed_by(&key, &Issuer::new(authority, authority_key))?.pem();
    Ok((authority_pem, leaf_pem, key))
}
