//! The real process inside its jail: started as PID 1 would, reading renewed files under Landlock and seccomp.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Pid, Signal, kill_process},
};
use std::{
    fs,
    os::{fd::AsFd, unix::fs::symlink},
    process::{Child, Command},
    time::Duration,
};
use tempfile::TempDir;
use wire::{
    Client, Edge,
    edge::keys_tls::{KeysTls, Request, Response, SignInput},
};

/// TLS SignatureScheme ecdsa_secp256r1_sha256.
const ECDSA_P256: u16 = 0x0403;

struct Daemon {
    child: Child,
    files: TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a new pair into `archive` and points the links in `live` to it, as ACME clients do.
fn renew(files: &TempDir, number: u32) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["mail.mta.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    for (name, content) in [("crt", certificate.pem()), ("key", key.serialize_pem())] {
        let file = files.path().join("archive").join(format!("{name}{number}"));
        fs::write(&file, content).unwrap();
        let fresh = files.path().join("live").join("fresh");
        symlink(&file, &fresh).unwrap();
        fs::rename(fresh, files.path().join("live").join(name)).unwrap();
    }
}

impl Daemon {
    fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name);
        for name in ["archive", "live", "credentials"] {
            fs::create_dir(path(name)).unwrap();
        }
        renew(&files, 1);
        // The sandbox of the machine that runs the tests may be weaker than what Postern asks of a server.
        let config = format!(
            "hostname = \"mail.mta.test\"\nallow_weak_sandbox = true\n[tls]\ncertificate = {:?}\nprivate_key = {:?}\n",
            path("live").join("crt"),
            path("live").join("key")
        );
        fs::write(path("credentials").join("postern.toml"), config).unwrap();
        let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
        bind(&fd, &SocketAddrUnix::new(path("sock")).unwrap()).unwrap();
        listen(&fd, 16).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern-keys"));
        command.env("CREDENTIALS_DIRECTORY", path("credentials")).env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
        let child = jail::spawn::spawn(&mut command, &[(KeysTls::NAME, fd.as_fd())]).unwrap();
        Self { child, files }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

#[tokio::test]
async fn renewed_files_are_taken_inside_the_jail() {
    let mut daemon = Daemon::start();
    let client = Client::<KeysTls>::new(daemon.files.path().join("sock"));
    let Response::Certificates { generation: first, list } = client.call(&Request::Certificates, &[]).await.unwrap().body else { panic!() };
    assert_eq!((list.len(), list[0].names[0].as_str()), (1, "mail.mta.test"));
    renew(&daemon.files, 2);
    daemon.signal(Signal::HUP);
    let changed = client.call_within(Duration::from_secs(60), &Request::Changed(first), &[]).await.unwrap().body;
    let Response::Certificates { generation: second, .. } = changed else { panic!() };
    for generation in [first, second] {
        let input = SignInput::Tls13ServerVerify { transcript_hash: vec![1; 48].into() };
        let signed = client.call(&Request::Sign { generation, key: 0, scheme: ECDSA_P256, input }, &[]).await.unwrap().body;
        assert!(matches!(signed, Response::Signature(_)));
    }
    daemon.signal(Signal::TERM);
    assert!(daemon.child.wait().unwrap().success());
}
