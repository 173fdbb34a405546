//! What can be done with descriptors that the process holds. Whose they are is said in [`crate::held`]; a process that holds none of the
//! kind tries with the number of none.

use super::{
    Act, Facts, arg,
    sockets::{inet, unix},
};
use crate::{
    Puppet, Stop,
    held::{self, NONE, Victim},
};
use nix::errno::Errno;
use std::os::fd::AsFd;

/// `sockaddr` of no family: what is connected becomes unconnected, what listens stops (connect(2), tcp_disconnect of the kernel).
const UNSPECIFIED: [u8; 16] = [0; 16];
/// fcntl(2); not among libc's names.
const F_SETOWN_EX: i32 = 15;
const F_SETSIG: i32 = 10;
/// ioctl(2) on sockets; not among libc's names.
const FIOSETOWN: u64 = 0x8901;

/// Whoever makes the owner of its socket somebody else.
type Owned = fn(&mut Puppet, u64, u64) -> Result<u64, Stop>;

pub(super) fn acts() -> Vec<Act> {
    [listeners(), connections(), owners(), datagrams(), processes()].into_iter().flatten().collect()
}

fn listeners() -> Vec<Act> {
    let mut acts = Vec::new();
    for (name, how) in [("SHUT_RDWR", libc::SHUT_RDWR), ("SHUT_RD", libc::SHUT_RD)] {
        acts.push(on_tcp_listener(&format!("shut down a listening TCP socket it holds ({name})"), move |p, fd| {
            p.call(libc::SYS_shutdown, [fd, arg(how), 0, 0, 0, 0]).map(drop)
        }));
        acts.push(Act::new(format!("shut down a listening local socket it holds ({name})"), move |p, f| {
            let socket = f.serves.then(held::listening_local).transpose()?;
            let fd = socket.map_or(Ok(NONE), |socket| p.hand(socket.as_fd()))?;
            p.call(libc::SYS_shutdown, [fd, arg(how), 0, 0, 0, 0]).map(drop)
        }));
    }
    acts.push(on_tcp_listener("disconnect a listening TCP socket it holds", |p, fd| p.connect(fd, &UNSPECIFIED)));
    acts
}

fn on_tcp_listener(name: &str, attempt: impl Fn(&mut Puppet, u64) -> Result<(), Stop> + Send + Sync + 'static) -> Act {
    Act::new(name, move |p, f| {
        let socket = f.listens.then(|| held::listening(f.host, f.here)).transpose()?;
        let fd = socket.map_or(Ok(NONE), |socket| p.hand(socket.as_fd()))?;
        attempt(p, fd)
    })
}

fn connections() -> Vec<Act> {
    vec![
        on_connection("connect a TCP socket it holds elsewhere", |p, f, fd| p.connect(fd, &inet(f.remote, 80))),
        on_connection("connect a TCP socket it holds elsewhere by fast open", |p, f, fd| {
            p.send_to(fd, libc::MSG_FASTOPEN, &inet(f.remote, 80))
        }),
        on_connection("listen on a TCP socket it holds", |p, _, fd| p.listen(fd)),
    ]
}

/// With a connection that has come in, or that it has made, once that is over.
fn on_connection(name: &str, attempt: impl Fn(&mut Puppet, &Facts, u64) -> Result<(), Stop> + Send + Sync + 'static) -> Act {
    Act::new(name, move |p, f| {
        let both = (f.listens || f.dials_out).then(|| held::accepted(f.host, f.here)).transpose()?;
        let fd = both.as_ref().map_or(Ok(NONE), |(socket, _)| p.hand(socket.as_fd()))?;
        p.connect(fd, &UNSPECIFIED)?;
        attempt(p, f, fd)
    })
}

/// Whoever owns a socket gets a signal, of the choice of who said so, when something arrives there: the kernel sends it.
fn owners() -> Vec<Act> {
    let owns: [(&str, Owned); 4] = [
        ("F_SETOWN", |p, fd, pid| p.fcntl(fd, libc::F_SETOWN, pid)),
        ("F_SETOWN_EX", |p, fd, pid| {
            // F_OWNER_PID
            let owner = p.words(&[1 | pid << 32])?;
            p.fcntl(fd, F_SETOWN_EX, owner)
        }),
        ("F_SETSIG", |p, fd, pid| {
            p.fcntl(fd, F_SETSIG, arg(libc::SIGUSR1))?;
            p.fcntl(fd, libc::F_SETOWN, pid)
        }),
        ("FIOSETOWN", |p, fd, pid| {
            let owner = p.words(&[pid])?;
            p.call(libc::SYS_ioctl, [fd, FIOSETOWN, owner, 0, 0, 0])
        }),
    ];
    let act = |(name, own): (&str, Owned)| {
        Act::new(format!("signal who owns a socket ({name})"), move |p, f| {
            let victim = Victim::beside(f.host, f.sibling.outside)?;
            let (socket, other) = p.pair(libc::SOCK_STREAM)?;
            own(p, socket, arg(victim.inner()))?;
            p.fcntl(socket, libc::F_SETFL, arg(libc::O_RDWR | libc::O_ASYNC))?;
            let byte = p.text("x")?;
            p.call(libc::SYS_write, [other, byte, 1, 0, 0, 0])?;
            // Nobody is told that it was not sent.
            if victim.is_signalled()? { Ok(()) } else { Err(Stop::Errno(Errno::EPERM)) }
        })
    };
    owns.into_iter().map(act).collect()
}

/// The socket to PID 1, or to the journal, sends to any other.
fn datagrams() -> Vec<Act> {
    let to = |name: &str, path: fn(&Facts) -> String| {
        Act::new(format!("a datagram from a socket it holds: {name}"), move |p, f| {
            let fd = p.datagram_socket()?;
            p.send_to(fd, 0, &unix(&path(f)))
        })
    };
    vec![
        to("to the journal", |_| "/run/systemd/journal/socket".to_owned()),
        to("to PID 1", |_| "/run/systemd/notify".to_owned()),
        to("to a program of the host", |f| f.datagrams.clone()),
        to("to an abstract socket", |f| format!("\0{}-datagrams", f.abstract_name)),
    ]
}

/// As if it had a descriptor of a process, which a socket can be asked for (SO_PEERPIDFD).
fn processes() -> Vec<Act> {
    let with = |name: &str, attempt: fn(&mut Puppet, u64) -> Result<u64, Stop>| {
        Act::new(name, move |p, f| {
            let sibling = i32::try_from(f.sibling.outside).map_err(|_| Stop::Lost)?;
            let pidfd = p.hand(held::process(sibling)?.as_fd())?;
            attempt(p, pidfd).map(drop)
        })
    };
    vec![
        with("signal a sibling by a descriptor of it", |p, fd| p.call(libc::SYS_pidfd_send_signal, [fd, 0, 0, 0, 0, 0])),
        with("take a descriptor of a sibling by a descriptor of it", |p, fd| p.call(libc::SYS_pidfd_getfd, [fd, 0, 0, 0, 0, 0])),
        with("enter the network of a sibling by a descriptor of it", |p, fd| {
            p.call(libc::SYS_setns, [fd, arg(libc::CLONE_NEWNET), 0, 0, 0, 0])
        }),
    ]
}

impl Puppet {
    fn fcntl(&mut self, fd: u64, command: i32, value: u64) -> Result<u64, Stop> {
        self.call(libc::SYS_fcntl, [fd, arg(command), value, 0, 0, 0])
    }
}
