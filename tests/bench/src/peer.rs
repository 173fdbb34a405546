//! Debian's Postfix and Dovecot, configured for the same job.

use crate::{Failure, login};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where it listens.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) smtp: SocketAddr,
    pub(crate) imap: SocketAddr,
    pub(crate) imaps: SocketAddr,
    pub(crate) authority: PathBuf,
}

/// Starts both, in the cgroup that `join` enters; what is for others goes to the sink.
pub(crate) fn start(state: &Path, join: &str, mailboxes: u32, sink: u16) -> Result<Started, Failure> {
    for program in ["postfix", "dovecot", "doveadm", "postmap"] {
        let found = ["/usr/sbin", "/usr/bin"].iter().any(|d| Path::new(d).join(program).exists());
        if !found {
            return Err(format!("{program} is not installed: apt-get install postfix dovecot-imapd dovecot-lmtpd").into());
        }
    }
    // A certificate of the kind that `postern up` makes: P-256.
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, key) = (state.join("cert.pem"), state.join("key.pem"));
    fs::write(&certificate, certified.cert.pem())?;
    fs::write(&key, certified.signing_key.serialize_pem())?;
    let free = || -> Result<(TcpListener, u16), Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    // All are held until all are known, so that they differ.
    let ports = [free()?, free()?, free()?];
    let [smtp, imap, imaps] = ports.each_ref().map(|(_, port)| *port);
    drop(ports);
    users(&state.join("users-argon2"), mailboxes, &format!("{{ARGON2ID}}{}", login::argon2_phc()?))?;
    users(&state.join("users-scram"), mailboxes, &format!("{{SCRAM-SHA-256}}{}", login::scram_keys()?))?;
    let mut script = include_str!("peer.sh").to_owned();
    let path = state.to_str().ok_or("the state directory is not UTF-8")?;
    for (name, value) in [
        ("@STATE@", path),
        ("@SMTP@", &smtp.to_string()),
        ("@IMAP@", &imap.to_string()),
        ("@IMAPS@", &imaps.to_string()),
        ("@MAILBOXES@", &mailboxes.to_string()),
        ("@SINK@", &sink.to_string()),
    ] {
        script = script.replace(name, value);
    }
    let script = format!("{join}\n{script}");
    let status = Command::new("bash").arg("-euc").arg(script).stdin(Stdio::null()).status()?;
    if !status.success() {
        return Err("Postfix and Dovecot did not start".into());
    }
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Ok(Started { smtp: local(smtp), imap: local(imap), imaps: local(imaps), authority: certificate })
}

/// Dovecot's file of users.
fn users(path: &Path, count: u32, password: &str) -> Result<(), Failure> {
    let lines: String = (1..=count).map(|n| format!("{}:{password}\n", crate::stack::address(n))).collect();
    Ok(fs::write(path, lines)?)
}

/// Ends both.
pub(crate) fn stop(postfix: &Path, dovecot: &Path) {
    let _ = Command::new("/usr/sbin/postfix").arg("-c").arg(postfix).arg("stop").stderr(Stdio::null()).status();
    let _ = Command::new("/usr/bin/doveadm").arg("-c").arg(dovecot).arg("stop").stderr(Stdio::null()).status();
}
