//! A keys process and its files.

use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Pid, Signal, kill_process},
};
use std::{
    fs,
    os::{fd::AsFd, unix::fs::symlink},
    process::{Child, Command},
};
use tempfile::TempDir;
use wire::{
    Client, Edge,
    edge::{
        keys_control::KeysControl,
        keys_dkim::KeysDkim,
        keys_tls::{KeysForImap, KeysForMx, KeysForSubmission},
    },
};

pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) files: TempDir,
    listeners: Vec<(&'static str, OwnedFd)>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a new pair into `archive` and points the links in `live` to it, as ACME clients do.
pub(crate) fn renew(files: &TempDir, number: u32) {
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
    pub(crate) fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name);
        for name in ["archive", "live", "credentials", "state"] {
            fs::create_dir(path(name)).unwrap();
        }
        renew(&files, 1);
        // The sandbox of the machine that runs the tests may be weaker than what Postern asks of a server.
        let config = format!(
            "hostname = \"mail.mta.test\"\nallow_weak_sandbox = true\n[domains.\"mta.test\"]\n[tls]\ncertificate = {:?}\nprivate_key = {:?}\n",
            path("live").join("crt"),
            path("live").join("key")
        );
        fs::write(path("credentials").join("postern.toml"), config).unwrap();
        let listeners: Vec<_> = [KeysForMx::NAME, KeysForSubmission::NAME, KeysForImap::NAME, KeysDkim::NAME, KeysControl::NAME]
            .into_iter()
            .map(|name| (name, listener(&files, name)))
            .collect();
        let child = spawn(&files, &listeners);
        Self { child, files, listeners }
    }

    /// As a crash and PID 1 would: the sockets stay.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.files, &self.listeners);
    }

    pub(crate) fn client<E: Edge>(&self) -> Client<E> {
        Client::new(self.files.path().join(E::NAME))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn listener(files: &TempDir, name: &str) -> OwnedFd {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(files.path().join(name)).unwrap()).unwrap();
    listen(&fd, 16).unwrap();
    fd
}

fn spawn(files: &TempDir, listeners: &[(&'static str, OwnedFd)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-keys"));
    command.env("CREDENTIALS_DIRECTORY", files.path().join("credentials")).env("STATE_DIRECTORY", files.path().join("state"));
    command.env_remove("NOTIFY_SOCKET");
    let fds: Vec<_> = listeners.iter().map(|(name, fd)| (*name, fd.as_fd())).collect();
    jail::spawn::spawn(&mut command, &fds).unwrap()
}
