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
/// Debian's own python3 sees Debian's dkimpy.
const PYTHON: &str = "/usr/bin/python3";
/// What `world.sh` starts.
const PROGRAMS: [(&str, &[u8]); 6] = [
    ("background.py", include_bytes!("background.py")),
    ("web.py", include_bytes!("web.py")),
    ("path.py", include_bytes!("path.py")),
    ("peer.py", include_bytes!("peer.py")),
    ("verify.py", include_bytes!("verify.py")),
    ("verify_arc.py", include_bytes!("verify_arc.py")),
];

/// The running world; it ends when dropped.
#[derive(Debug)]
pub struct World<'a> {
    appliance: &'a Appliance,
    directory: PathBuf,
}

impl<'a> World<'a> {
    /// Whether the programs that it is made of are there; otherwise the test is skipped.
    pub fn is_possible() -> bool {
        let able = run(&[PYTHON, "-c", "import dkim, nacl"], b"").is_ok_and(|outcome| outcome.success());
        if !able {
            test_support::skip("no python3 with dkimpy and pynacl");
        }
        // No shortcut: every missing program is named.
        let programs = ["knotd", "kdig", "postfix", "openssl", "saslpasswd2"];
        programs.iter().filter(|program| test_support::need(program).is_none()).count() == 0 && able
    }

    /// Starts it, and makes it what the appliance knows of the DNS.
    pub fn around(appliance: &'a Appliance) -> Result<Self, Failure> {
        Self::around_with(appliance, "")
    }

    /// The same, with tables that the configuration has besides.
    pub fn around_with(appliance: &'a Appliance, tables: &str) -> Result<Self, Failure> {
        let script = appliance.keep("world.sh", include_bytes!("world.sh"))?;
        let directory = script.with_file_name("world");
        fs::create_dir_all(&directory)?;
        for (name, program) in PROGRAMS {
            fs::write(directory.join(name), program)?;
        }
        let world = Self { appliance, directory };
        let anchor = world.script("start", &[WORLD])?;
        appliance.put("/etc/postern/root.key", anchor.as_bytes(), 0o644)?;
        let read = fs::read_to_string(appliance.path("/etc/postern/postern.toml"))?;
        let config =
            format!("postmaster = \"{ALICE}\"\n{read}[dns]\nservers = [\"{WORLD}\"]\ntrust_anchor = \"/etc/postern/root.key\"\n{tables}");
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

    /// What has arrived in a mailbox; bytes that are not UTF-8 are replaced.
    pub fn received(&self, mailbox: &str) -> Result<Vec<String>, Failure> {
        let new = self.directory.join("mail").join(mailbox).join("new");
        let Ok(entries) = fs::read_dir(new) else { return Ok(Vec::new()) };
        entries.map(|entry| Ok(String::from_utf8_lossy(&fs::read(entry?.path())?).into_owned())).collect()
    }

    /// Waits for the first message.
    pub fn receives(&self, mailbox: &str) -> Result<String, Failure> {
        self.receives_all(mailbox, 1)?.pop().ok_or_else(|| Failure::new("no message"))
    }

    /// Waits until there are so many messages in a mailbox.
    pub fn receives_all(&self, mailbox: &str, count: usize) -> Result<Vec<String>, Failure> {
        self.wait(mailbox, || self.received(mailbox).ok().filter(|messages| messages.len() >= count))
    }

    /// Waits for something that follows from a delivery; a failure comes with what both sides say.
    pub fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        eventually(what, DELIVERY, look).map_err(|e| Failure::new(format!("{e}\n{}", self.told())))
    }

    /// Hands in a message of alice's.
    pub fn submit(&self, to: &str, subject: &str) -> Result<(), Failure> {
        let text = format!("From: Alice <{ALICE}>\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nGr\u{fc}\u{df}e\r\n.\r\n \t \r\n\r\n");
        self.appliance.submit(ALICE, to, text.as_bytes()).map(drop)
    }

    /// Waits until the queue says of a recipient that its delivery is deferred, in these words among others.
    pub fn deferred(&self, recipient: &str, why: &str) -> Result<(), Failure> {
        self.wait(&format!("{recipient} is deferred: {why}"), || {
            let statuses = self.statuses(recipient).ok()?;
            statuses.iter().any(|status| status.contains("deferred") && status.contains(why)).then_some(())
        })
    }

    /// What the queue says of each message that waits for a recipient.
    fn statuses(&self, recipient: &str) -> Result<Vec<String>, Failure> {
        let json = |command: &str| {
            let text = self.appliance.sh(command)?;
            serde_json::from_str::<serde_json::Value>(&text).map_err(|e| Failure::new(format!("{command}: {e}: {text}")))
        };
        let list = json("postern queue list --json")?;
        let mut statuses = Vec::new();
        for id in list.as_array().into_iter().flatten().filter_map(|message| message["id"].as_str()) {
            // It may have left in between.
            let Ok(shown) = json(&format!("postern queue show --json {id}")) else { continue };
            let recipients =
                shown.get("recipients").and_then(serde_json::Value::as_array).into_iter().flatten().filter(|r| r["address"] == recipient);
            statuses.extend(recipients.filter_map(|r| r["status"].as_str()).map(str::to_owned));
        }
        Ok(statuses)
    }

    /// Has mail that waits tried now: of one destination, or of a smarthost written as `:NAME`.
    pub fn retry(&self, destination: &str) -> Result<(), Failure> {
        self.appliance.sh(&format!("postern queue retry --destination {destination}")).map(drop)
    }

    /// Waits until no message is in the queue.
    pub fn queue_is_empty(&self) -> Result<(), Failure> {
        self.wait("an empty queue", || (self.appliance.sh("postern queue list --json").ok()?.trim() == "[]").then_some(()))
    }

    /// Its name server ends, or starts again.
    pub fn dns(&self, runs: bool) -> Result<(), Failure> {
        self.script(if runs { "dns-start" } else { "dns-stop" }, &[WORLD]).map(drop)
    }

    /// Its Postfix stops greylisting and refusing.
    pub fn accept(&self) -> Result<(), Failure> {
        self.script("accept", &[]).map(drop)
    }

    /// What stands in the path begins anew, in another manner: see `path.py`. Connections through it are cut.
    pub fn path(&self, manner: &str) -> Result<(), Failure> {
        self.script("path", &[WORLD, manner]).map(drop)
    }

    /// What it could read while it meddled.
    pub fn read_in_the_path(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("path.seen")).unwrap_or_default()).into_owned()
    }

    /// Starts hosts that misbehave: see `peer.py`.
    pub fn misbehave(&self) -> Result<(), Failure> {
        self.script("misbehave", &[WORLD]).map(drop)
    }

    /// Whether the host of this name has misbehaved.
    pub fn met(&self, name: &str) -> bool {
        fs::read_to_string(self.directory.join("met")).unwrap_or_default().lines().any(|line| line == name)
    }

    /// They behave from now on, and end what hangs.
    pub fn behave(&self) -> Result<(), Failure> {
        Ok(fs::write(self.directory.join("behave"), b"")?)
    }

    /// Ends the server of MTA-STS policies.
    pub fn end_web(&self) -> Result<(), Failure> {
        self.script("end", &["web"]).map(drop)
    }

    /// What its Postfix wrote down.
    pub fn postfix_log(&self) -> String {
        fs::read_to_string(self.directory.join("postfix.log")).unwrap_or_default()
    }

    /// Puts a message into a mailbox as its only one, as if it had arrived.
    pub fn put(&self, mailbox: &str, message: &str) -> Result<(), Failure> {
        let new = self.directory.join("mail").join(mailbox).join("new");
        fs::create_dir_all(&new)?;
        Ok(fs::write(new.join("only"), message)?)
    }

    /// Has dkimpy verify both signatures of everything that has arrived, wherever; how many messages that are.
    pub fn verify(&self) -> Result<usize, Failure> {
        let records = self.appliance.run(&["postern", "dns", "--json"])?.ok("postern dns")?;
        let file = self.directory.join("records.json");
        fs::write(&file, records)?;
        let [script, mail] = ["verify.py", "mail"].map(|name| self.directory.join(name));
        let words = [Path::new(PYTHON), &script, &file, &mail];
        let count = run(&words, b"")?.ok("dkimpy")?;
        count.trim().parse().map_err(|e| Failure::new(format!("{count}: {e}")))
    }

    /// What dkimpy makes of the ARC chain of a message: what holds, and how many sets there are.
    pub fn chain(&self, message: &str) -> Result<String, Failure> {
        let records = self.appliance.run(&["postern", "dns", "--json"])?.ok("postern dns")?;
        let [script, file, whole] = ["verify_arc.py", "records.json", "sealed.eml"].map(|name| self.directory.join(name));
        fs::write(&file, records)?;
        fs::write(&whole, message)?;
        Ok(run(&[Path::new(PYTHON), &script, &file, &whole], b"")?.ok("dkimpy")?.trim().to_owned())
    }

    /// What both sides say, to explain a failure.
    pub fn told(&self) -> String {
        format!("{}\n{}", self.postfix_log(), self.appliance.journal_text())
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let _ended = self.script("stop", &[]);
    }
}
