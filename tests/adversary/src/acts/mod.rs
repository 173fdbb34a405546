//! What a shellcode would try. An act that comes to its end was allowed; each is tried in a fresh copy of the process.

mod files;
mod kernel;
mod processes;
mod sockets;

use crate::{Puppet, Stop};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where things are, as the attacked process may know them.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The attacked process.
    pub name: &'static str,
    /// Its program.
    pub program: String,
    /// Directory of the edges.
    pub edges: String,
    /// Directory whose subdirectories are the state of the processes that keep any.
    pub states: String,
    /// Whether it keeps state.
    pub keeps_state: bool,
    /// `postern.toml` as it gets it.
    pub config: String,
    /// The file with the TLS key that `keys` reads.
    pub tls_key: String,
    /// The process that watches over the daemons.
    pub parent: i32,
    /// Another daemon, by its number there.
    pub sibling: i32,
    /// Another machine, which listens on every port that is tried.
    pub remote: Ipv4Addr,
    /// The same.
    pub remote6: Ipv6Addr,
    /// This machine.
    pub here: Ipv4Addr,
    /// An abstract socket that a program outside listens on.
    pub abstract_name: String,
}

impl Facts {
    /// A new name in the state directory, or where anybody may write when it has none.
    fn own_file(&self, name: &str) -> String {
        if self.keeps_state { format!("{}/{}/{name}", self.states, self.name) } else { format!("/tmp/{name}") }
    }
}

type Try = Box<dyn Fn(&mut Puppet, &Facts) -> Result<(), Stop> + Send + Sync>;

/// One act.
pub struct Act {
    /// Its row in the table.
    pub name: String,
    attempt: Try,
}

impl std::fmt::Debug for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Act {
    fn new(name: impl Into<String>, attempt: impl Fn(&mut Puppet, &Facts) -> Result<(), Stop> + Send + Sync + 'static) -> Self {
        Self { name: name.into(), attempt: Box::new(attempt) }
    }

    /// A single call whose arguments are numbers.
    fn call(name: &str, number: libc::c_long, arguments: &[u64]) -> Self {
        let mut all = [0; 6];
        for (slot, argument) in all.iter_mut().zip(arguments) {
            *slot = *argument;
        }
        Self::new(name, move |puppet, _| puppet.call(number, all).map(drop))
    }

    /// Tries it.
    pub fn attempt(&self, puppet: &mut Puppet, facts: &Facts) -> Result<(), Stop> {
        (self.attempt)(puppet, facts)
    }
}

/// Everything that is tried, in the order of the table.
pub fn acts() -> Vec<Act> {
    [files::acts(), sockets::acts(), processes::acts(), kernel::acts()].into_iter().flatten().collect()
}

const fn arg(value: i32) -> u64 {
    // Sign-extended, as the C library passes it.
    value as i64 as u64
}

const CWD: u64 = arg(libc::AT_FDCWD);

impl Puppet {
    fn open(&mut self, path: &str, flags: i32) -> Result<u64, Stop> {
        let path = self.text(path)?;
        self.call(libc::SYS_openat, [CWD, path, arg(flags | libc::O_CLOEXEC), 0o600, 0, 0])
    }

    fn close(&mut self, fd: u64) -> Result<(), Stop> {
        self.call(libc::SYS_close, [fd, 0, 0, 0, 0, 0]).map(drop)
    }

    /// Opens and reads a byte, or the names of a directory.
    fn read(&mut self, path: &str) -> Result<(), Stop> {
        let fd = self.open(path, libc::O_RDONLY)?;
        let buffer = self.bytes(&[0; 512])?;
        let read = match self.call(libc::SYS_read, [fd, buffer, 1, 0, 0, 0]) {
            Err(Stop::Errno(nix::errno::Errno::EISDIR)) => self.call(libc::SYS_getdents64, [fd, buffer, 512, 0, 0, 0]),
            other => other,
        };
        self.close(fd)?;
        read.map(drop)
    }

    /// Makes or opens a file and writes a byte at its end.
    fn write(&mut self, path: &str, flags: i32) -> Result<(), Stop> {
        let fd = self.open(path, libc::O_WRONLY | libc::O_APPEND | flags)?;
        let byte = self.text("")?;
        let written = self.call(libc::SYS_write, [fd, byte, 1, 0, 0, 0]);
        self.close(fd)?;
        written.map(drop)
    }

    /// An int that a call has left in its memory.
    fn int(&self, at: u64) -> Result<u64, Stop> {
        let mut bytes = [0; 4];
        self.peek(at, &mut bytes)?;
        Ok(arg(i32::from_ne_bytes(bytes)))
    }

    /// A file of its own to do something with.
    fn make(&mut self, path: &str) -> Result<u64, Stop> {
        let fd = self.open(path, libc::O_WRONLY | libc::O_CREAT)?;
        self.close(fd)?;
        self.text(path)
    }
}
