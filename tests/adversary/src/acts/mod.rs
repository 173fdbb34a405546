//! What a shellcode would try. An act that comes to its end was allowed; each is tried in a fresh copy of the process.

mod files;
mod held;
mod kernel;
mod processes;
mod sockets;

use crate::{Puppet, Stop};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Another process than the attacked one.
#[derive(Debug, Clone)]
pub struct Sibling {
    /// Its number in the host.
    pub pid: i32,
    /// Its number here.
    pub outside: u32,
    /// Where it may write.
    pub address: u64,
    /// What is there, which does not change.
    pub bytes: [u8; 16],
}

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
    /// Another daemon.
    pub sibling: Sibling,
    /// PID 1 of its host, as the machine numbers it.
    pub host: u32,
    /// Whether it holds listening TCP sockets, and with them the connections that come in.
    pub listens: bool,
    /// Whether it holds listening local sockets.
    pub serves: bool,
    /// Whether it makes TCP connections.
    pub dials_out: bool,
    /// Another machine, which listens on every port that is tried.
    pub remote: Ipv4Addr,
    /// The same.
    pub remote6: Ipv6Addr,
    /// This machine.
    pub here: Ipv4Addr,
    /// A datagram socket that a program of the host has bound, for anybody to write to.
    pub datagrams: String,
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
    [files::acts(), sockets::acts(), held::acts(), processes::acts(), kernel::acts()].into_iter().flatten().collect()
}

const fn arg(value: i32) -> u64 {
    // Sign-extended, as the C library passes it.
    value as i64 as u64
}

/// What came of using a file that could be opened: whatever the kernel says of these bytes, the file was not shut.
fn opened(used: Result<u64, Stop>) -> Result<(), Stop> {
    match used {
        Ok(_) | Err(Stop::Errno(_)) => Ok(()),
        Err(stop) => Err(stop),
    }
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

    /// A descriptor, or the first that every process has where the file cannot be opened: the attempt goes on with that.
    fn open_if_possible(&mut self, path: &str, flags: i32) -> Result<u64, Stop> {
        match self.open(path, flags) {
            Err(Stop::Errno(_)) => Ok(0),
            other => other,
        }
    }

    /// Opens and reads a byte, or the names of a directory.
    fn read(&mut self, path: &str) -> Result<(), Stop> {
        let fd = self.open(path, libc::O_RDONLY)?;
        let buffer = self.bytes(&[0; 512])?;
        let read = match self.call(libc::SYS_read, [fd, buffer, 1, 0, 0, 0]) {
            Err(Stop::Errno(nix::errno::Errno::EISDIR)) => self.call(libc::SYS_getdents64, [fd, buffer, 512, 0, 0, 0]),
            other => other,
        };
        opened(read)
    }

    /// Makes or opens a file and writes an empty line at its end.
    fn write(&mut self, path: &str, flags: i32) -> Result<(), Stop> {
        let fd = self.open(path, libc::O_WRONLY | libc::O_APPEND | flags)?;
        let byte = self.text("\n")?;
        opened(self.call(libc::SYS_write, [fd, byte, 1, 0, 0, 0]))
    }

    /// An int that a call has left in its memory.
    pub(crate) fn int(&self, at: u64) -> Result<u64, Stop> {
        let mut bytes = [0; 4];
        self.peek(at, &mut bytes)?;
        Ok(arg(i32::from_ne_bytes(bytes)))
    }

    /// A file of its own to do something with; where none can be made the attempt goes on without one.
    fn make_if_possible(&mut self, path: &str) -> Result<u64, Stop> {
        match self.make(path) {
            Err(Stop::Errno(_)) => self.text(path),
            other => other,
        }
    }

    /// A file of its own to do something with.
    fn make(&mut self, path: &str) -> Result<u64, Stop> {
        let fd = self.open(path, libc::O_WRONLY | libc::O_CREAT)?;
        self.close(fd)?;
        self.text(path)
    }
}
