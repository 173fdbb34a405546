//! A world that receives: see `world.sh`.

use crate::{ALICE, Appliance, Failure, command::eventually, run};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the world's name and mail servers are.
const WORLD: &str = "192.0.2.2";
/// A delivery with everything it takes.
const DELIVERY: Duration = Duration::from_secs(60);

/// The running world; it ends when dropped.
#[derive(Debug)]
pub struct World<'a> {
    appliance: &'a Appliance,
    directory: PathBuf,
}

/// Debian's own python3 sees Debian's dkimpy.
pub const PYTHON: &str = "/usr/bin/python3";

impl<'a> World<'a> {
    /// Whether the programs that it is made of are there; otherwise the test is skipped.
    pub fn is_possible() -> bool {
        let able = run(&[PYTHON, "-c", "import dkim, nacl"], b"").is_ok_and(|outcome| outcome.success());
        if !able {
            test_support::skip("no python3 with dkimpy and pynacl");
        }
        // No shortcut: every missing program is named.
        ["knotd", "kdig", "postfix", "openssl"].iter().filter(|program| test_support::need(program).is_none()).count() == 0 && able
    }

    /// Starts it, and makes it what the appliance knows of the DNS.
    pub fn around(appliance: &'a Appliance) -> Result<Self, Failure> {
        let script = appliance.keep("world.sh", include_bytes!("world.sh"))?;
        let directory = script.with_file_name("world");
        fs::create_dir_all(&directory)?;
        let world = Self { appliance, directory };
        let anchor = world.script("start", &[WORLD])?;
        appliance.put("/etc/postern/root.key", anchor.as_bytes(), 0o644)?;
        let read = fs::read_to_string(appliance.path("/etc/postern/postern.toml"))?;
        let config = format!("postmaster = \"{ALICE}\"\n{read}[dns]\nservers = [\"{WORLD}\"]\ntrust_anchor = \"/etc/postern/root.key\"\n");
        appliance.put("/etc/postern/postern.toml", config.as_bytes(), 0o644)?;
        let authority = fs::read(world.directory.join("ca.pem"))?;
        appliance.put("/etc/postern/world.pem", &authority, 0o644)?;
        let drop_in = b"[Service]\nBindReadOnlyPaths=/etc/postern/world.pem\nEnvironment=SSL_CERT_FILE=/etc/postern/world.pem\n";
        appliance.put("/etc/systemd/system/postern-send.service.d/authority.conf", drop_in, 0o644)?;
        let drop_in = b"[Service]\nBindReadOnlyPaths=/etc/postern/root.key\n";
        appliance.put("/etc/systemd/system/postern-dns.service.d/anchor.conf", drop_in, 0o644)?;
        appliance.sh("systemctl daemon-reload; systemctl restart postern-auth postern-keys postern-dns postern-send postern-queue")?;
        appliance.wait_until_active()?;
        Ok(world)
    }

    fn script(&self, verb: &str, arguments: &[&str]) -> Result<String, Failure> {
        let (script, directory) = (self.directory.with_file_name("world.sh"), self.directory.to_string_lossy().into_owned());
        let script = script.to_string_lossy();
        self.appliance.remote(&[&["bash", &script, verb, &directory], arguments].concat(), b"")?.ok(verb)
    }

    /// What has arrived in a mailbox.
    pub fn received(&self, mailbox: &str) -> Result<Vec<String>, Failure> {
        let new = self.directory.join("mail").join(mailbox).join("new");
        let Ok(entries) = fs::read_dir(new) else { return Ok(Vec::new()) };
        entries.map(|entry| Ok(fs::read_to_string(entry?.path())?)).collect()
    }

    /// Waits for the first message.
    pub fn receives(&self, mailbox: &str) -> Result<String, Failure> {
        eventually(mailbox, DELIVERY, || self.received(mailbox).ok()?.pop()).map_err(|e| Failure::new(format!("{e}\n{}", self.told())))
    }

    /// Hands in a message of alice's.
    pub fn submit(&self, to: &str, subject: &str) -> Result<(), Failure> {
        let text = format!("From: Alice <{ALICE}>\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nGr\u{fc}\u{df}e\r\n.\r\n \t \r\n\r\n");
        self.appliance.submit(ALICE, to, text.as_bytes()).map(drop)
    }

    /// Waits until the only message in the queue is deferred, and returns what the queue says of it.
    pub fn deferred(&self) -> Result<String, Failure> {
        let waiting = eventually("the deferral", DELIVERY, || {
            let list = self.appliance.sh("postern queue list --json").ok()?;
            let list: serde_json::Value = serde_json::from_str(&list).ok()?;
            let id = list.as_array()?.iter().find_map(|m| m["id"].as_str())?.to_owned();
            let shown = self.appliance.sh(&format!("postern queue show {id}")).ok()?;
            shown.contains("deferred").then_some(shown)
        });
        waiting.map_err(|e| Failure::new(format!("{e}\n{}", self.told())))
    }

    /// Its Postfix stops greylisting.
    pub fn accept(&self) -> Result<(), Failure> {
        self.script("accept", &[]).map(drop)
    }

    /// What both sides say, to explain a failure.
    pub fn told(&self) -> String {
        let log = fs::read_to_string(self.directory.join("postfix.log")).unwrap_or_default();
        format!("{log}\n{}", self.appliance.journal_text())
    }

    /// A file for programs of the machine.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let _ended = self.script("stop", &[]);
    }
}
