//! Files: others' and its own.

use super::{Act, CWD, Facts, arg, opened};
use crate::{Puppet, Stop};
use nix::errno::Errno;

/// fcntl(2)
const DN_CREATE: u64 = 4;
/// Bytes that no process needs at once, and few enough for a machine that runs the tests.
const FILLING: u64 = 64 * 1024 * 1024;

/// Names below which a shellcode looks, and what it would be.
const READ: &[(&str, &str)] = &[
    ("read /etc/passwd", "/etc/passwd"),
    ("read /etc/shadow", "/etc/shadow"),
    ("read /etc/shadow by ../", "/proc/self/cwd/../../../../../etc/shadow"),
    ("read /etc/credstore/postern.tls.key", "/etc/credstore/postern.tls.key"),
    ("list /", "/"),
    ("list /etc", "/etc"),
    ("list /home", "/home"),
    ("list /run", "/run"),
    ("list /var/log/journal", "/var/log/journal"),
    ("list /run/systemd", "/run/systemd"),
    ("list /sys/fs/cgroup", "/sys/fs/cgroup"),
    ("list /proc", "/proc"),
    ("read /proc/1/environ", "/proc/1/environ"),
    ("read /proc/self/maps", "/proc/self/maps"),
    ("read /proc/self/environ", "/proc/self/environ"),
    ("read /proc/self/mountinfo", "/proc/self/mountinfo"),
    ("read /proc/kallsyms", "/proc/kallsyms"),
    ("read /proc/net/tcp", "/proc/net/tcp"),
    ("read /dev/mem", "/dev/mem"),
    ("read /dev/urandom", "/dev/urandom"),
];

/// `NAME` is that of the process: some of these places are shared.
const WRITE: &[(&str, &str)] = &[
    ("write /etc/postern/postern.toml", "/etc/postern/postern.toml"),
    ("write /etc/ld.so.preload", "/etc/ld.so.preload"),
    ("write a unit", "/etc/systemd/system/postern-evil.service"),
    ("write the C library", "/lib/x86_64-linux-gnu/libc.so.6"),
    ("write /tmp", "/tmp/adversary-NAME"),
    ("write /dev/shm", "/dev/shm/adversary-NAME"),
    ("write /var/tmp", "/var/tmp/adversary-NAME"),
    ("write /", "/adversary-NAME"),
    ("write /proc/self/oom_score_adj", "/proc/self/oom_score_adj"),
    ("write /proc/sys/kernel/core_pattern", "/proc/sys/kernel/core_pattern"),
    ("write /dev/kmsg", "/dev/kmsg"),
    ("write /sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/cgroup.procs"),
];

pub(super) fn acts() -> Vec<Act> {
    let mut acts = Vec::new();
    for (name, path) in READ {
        acts.push(Act::new(*name, |puppet, _| puppet.read(path)));
    }
    acts.push(Act::new("read postern.toml as it was given", |puppet, facts| puppet.read(&facts.config)));
    acts.push(Act::new("read the TLS key of keys", |puppet, facts| puppet.read(&facts.tls_key)));
    for state in ["queue", "store", "auth", "keys"] {
        acts.push(Act::new(format!("list the state of {state}"), move |puppet, facts| puppet.read(&format!("{}/{state}", facts.states))));
    }
    acts.push(Act::new("read auth.db", |puppet, facts| puppet.read(&format!("{}/auth/auth.db", facts.states))));
    acts.push(Act::new("read memory of a sibling", |puppet, facts| {
        puppet.at("/proc/SIBLING/mem", facts, facts.sibling.address, libc::SYS_read)
    }));
    acts.push(Act::new("read environ of a sibling", |puppet, facts| puppet.read(&format!("/proc/{}/environ", facts.sibling.pid))));
    acts.push(Act::new("list descriptors of a sibling", |puppet, facts| puppet.read(&format!("/proc/{}/fd", facts.sibling.pid))));
    acts.push(Act::new("enter the root of a sibling", |puppet, facts| puppet.read(&format!("/proc/{}/root/", facts.sibling.pid))));
    for (name, path) in WRITE {
        acts.push(Act::new(*name, |puppet, facts| puppet.write(&path.replace("NAME", facts.name), libc::O_CREAT)));
    }
    acts.push(Act::new("write /proc/self/mem", |puppet, facts| {
        let own = puppet.bytes(&[0; 16])?;
        puppet.at("/proc/self/mem", facts, own, libc::SYS_write)
    }));
    acts.push(Act::new("write postern.toml as it was given", |puppet, facts| puppet.write(&facts.config, 0)));
    acts.push(Act::new("write its own program", |puppet, facts| puppet.write(&facts.program, 0)));
    for state in ["queue", "store", "auth", "keys"] {
        let name = format!("write into the state of {state}");
        acts.push(Act::new(name, move |puppet, facts| puppet.write(&format!("{}/{state}/adversary", facts.states), libc::O_CREAT)));
    }
    acts.extend(changes());
    acts
}

/// What can be done to a file but reading and writing. On a file of its own where it may have one.
fn changes() -> Vec<Act> {
    let with_file = |name: &str, change: fn(&mut Puppet, u64) -> Result<u64, Stop>| {
        Act::new(name, move |puppet: &mut Puppet, facts: &Facts| {
            let path = puppet.make_if_possible(&facts.own_file("adversary-own"))?;
            change(puppet, path).map(drop)
        })
    };
    let with_open = |name: &str, change: fn(&mut Puppet, u64) -> Result<u64, Stop>| {
        Act::new(name, move |puppet: &mut Puppet, facts: &Facts| {
            let fd = puppet.open_if_possible(&facts.own_file("adversary-own"), libc::O_WRONLY | libc::O_CREAT)?;
            change(puppet, fd).map(drop)
        })
    };
    let with_name = |name: &str, change: fn(&mut Puppet, u64) -> Result<u64, Stop>| {
        let file: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Act::new(name, move |puppet: &mut Puppet, facts: &Facts| {
            let path = puppet.text(&facts.own_file(&format!("adversary-{file}")))?;
            change(puppet, path).map(drop)
        })
    };
    vec![
        with_file("chmod 6777", |p, path| p.call(libc::SYS_chmod, [path, 0o6777, 0, 0, 0, 0])),
        with_file("fchmodat 6777", |p, path| p.call(libc::SYS_fchmodat, [CWD, path, 0o6777, 0, 0, 0])),
        with_file("fchmodat2 6777", |p, path| p.call(libc::SYS_fchmodat2, [CWD, path, 0o6777, 0, 0, 0])),
        with_open("fchmod 6777", |p, fd| p.call(libc::SYS_fchmod, [fd, 0o6777, 0, 0, 0, 0])),
        with_name("make a file of mode 6777", |p, path| {
            p.call(libc::SYS_openat, [CWD, path, arg(libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC), 0o6777, 0, 0])
        }),
        with_file("chown to another", |p, path| p.call(libc::SYS_chown, [path, 65534, 65534, 0, 0, 0])),
        with_file("fchownat to another", |p, path| p.call(libc::SYS_fchownat, [CWD, path, 65534, 65534, 0, 0])),
        with_file("lchown to another", |p, path| p.call(libc::SYS_lchown, [path, 65534, 65534, 0, 0, 0])),
        with_open("fchown to another", |p, fd| p.call(libc::SYS_fchown, [fd, 65534, 65534, 0, 0, 0])),
        with_file("setxattr", |p, path| p.set_attribute(libc::SYS_setxattr, path)),
        with_file("lsetxattr", |p, path| p.set_attribute(libc::SYS_lsetxattr, path)),
        with_open("fsetxattr", |p, fd| p.set_attribute(libc::SYS_fsetxattr, fd)),
        with_file("getxattr", |p, path| {
            let (name, value) = (p.text("user.evil")?, p.bytes(&[0; 16])?);
            p.call(libc::SYS_getxattr, [path, name, value, 16, 0, 0])
        }),
        with_name("symlink", |p, path| {
            let target = p.text("/etc/shadow")?;
            p.call(libc::SYS_symlinkat, [target, CWD, path, 0, 0, 0])
        }),
        Act::new("hard link", |p, facts| {
            let file = facts.own_file("adversary-linked");
            let from = p.make_if_possible(&file)?;
            // Beside it: from one file system to another there are none.
            let to = p.text(&format!("{file}-again"))?;
            p.call(libc::SYS_linkat, [CWD, from, CWD, to, 0, 0]).map(drop)
        }),
        with_name("mknod: a device", |p, path| p.call(libc::SYS_mknod, [path, u64::from(libc::S_IFCHR | 0o666), 0x101, 0, 0, 0])),
        with_name("mknod: a pipe", |p, path| p.call(libc::SYS_mknodat, [CWD, path, u64::from(libc::S_IFIFO | 0o666), 0, 0, 0])),
        with_file("utimensat", |p, path| p.call(libc::SYS_utimensat, [CWD, path, 0, 0, 0, 0])),
        with_file("truncate by path", |p, path| p.call(libc::SYS_truncate, [path, 0, 0, 0, 0, 0])),
        Act::new("open_by_handle_at", |p, _| {
            let made_up = p.words(&[0x0000_0001_0000_0008, 2])?;
            match p.call(libc::SYS_open_by_handle_at, [CWD, made_up, arg(libc::O_RDONLY), 0, 0, 0]) {
                // It is only not the handle of anything. Asking for one before would be the end already where that is forbidden.
                Err(Stop::Errno(Errno::ESTALE)) => {}
                other => return other.map(drop),
            }
            let (directory, handle) = (p.open("/tmp", libc::O_RDONLY | libc::O_DIRECTORY)?, p.handle_of("/tmp")?);
            p.call(libc::SYS_open_by_handle_at, [directory, handle, arg(libc::O_RDONLY), 0, 0, 0]).map(drop)
        }),
        // Not its state: overlayfs has no handles.
        Act::new("name_to_handle_at", |p, _| p.handle_of("/tmp").map(drop)),
        with_file("inotify", |p, _| p.call(libc::SYS_inotify_init1, [0, 0, 0, 0, 0, 0])),
        Act::new("fcntl: a lease", |p, facts| {
            let path = facts.own_file("adversary-own");
            let file = p.open_if_possible(&path, libc::O_RDWR | libc::O_CREAT)?;
            p.call(libc::SYS_fcntl, [file, arg(libc::F_SETLEASE), arg(libc::F_WRLCK), 0, 0, 0]).map(drop)
        }),
        Act::new("fcntl: watch a directory", |p, _| {
            let directory = p.open_if_possible("/tmp", libc::O_RDONLY | libc::O_DIRECTORY)?;
            p.call(libc::SYS_fcntl, [directory, arg(libc::F_NOTIFY), DN_CREATE, 0, 0, 0]).map(drop)
        }),
        with_file("fanotify", |p, _| p.call(libc::SYS_fanotify_init, [0, 0, 0, 0, 0, 0])),
        with_file("chdir", |p, _| {
            let root = p.text("/")?;
            p.call(libc::SYS_chdir, [root, 0, 0, 0, 0, 0])
        }),
        Act::new("fill the disk: 64 MiB of room", |p, facts| p.fill(facts, |p, fd| p.call(libc::SYS_fallocate, [fd, 0, 0, FILLING, 0, 0]))),
        Act::new("fill the disk: 64 MiB written", |p, facts| {
            p.fill(facts, |p, fd| {
                let (readable, own) = (arg(libc::PROT_READ), arg(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS));
                let zeros = p.call(libc::SYS_mmap, [0, FILLING, readable, own, u64::MAX, 0])?;
                let written = p.call(libc::SYS_write, [fd, zeros, FILLING, 0, 0, 0])?;
                if written == FILLING { Ok(written) } else { Err(Stop::Errno(Errno::EFBIG)) }
            })
        }),
        Act::new("fill the disk: a file of a TiB with a hole", |p, facts| {
            p.fill(facts, |p, fd| p.call(libc::SYS_ftruncate, [fd, 1 << 40, 0, 0, 0, 0]))
        }),
        Act::new("fill the disk: a hundred files", |p, facts| {
            (0..100).try_for_each(|number| p.make(&facts.own_file(&format!("adversary-many-{number}"))).map(drop))
        }),
        with_file("umask 0", |p, _| p.call(libc::SYS_umask, [0, 0, 0, 0, 0, 0])),
    ]
}

impl Puppet {
    /// Opens a file of the kernel that is somebody's memory, and reads or writes 16 bytes at an address.
    fn at(&mut self, path: &str, facts: &Facts, address: u64, number: libc::c_long) -> Result<(), Stop> {
        let path = path.replace("SIBLING", &facts.sibling.pid.to_string());
        let fd = self.open(&path, if number == libc::SYS_read { libc::O_RDONLY } else { libc::O_RDWR })?;
        let buffer = self.bytes(&[0; 16])?;
        // Not pread64(2) and pwrite64(2), of which a filter may leave out one.
        let moved = self.call(libc::SYS_lseek, [fd, address, arg(libc::SEEK_SET), 0, 0, 0]);
        opened(moved.and_then(|_| self.call(number, [fd, buffer, 16, 0, 0, 0])))
    }

    /// Makes a file, and does to it what takes room; gives that back.
    fn fill(&mut self, facts: &Facts, take: impl FnOnce(&mut Self, u64) -> Result<u64, Stop>) -> Result<(), Stop> {
        let file = self.open(&facts.own_file("adversary-filling"), libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)?;
        take(self, file)?;
        self.call(libc::SYS_ftruncate, [file, 0, 0, 0, 0, 0]).map(drop)
    }

    /// An extended attribute of a file, by its name or its descriptor.
    fn set_attribute(&mut self, number: libc::c_long, file: u64) -> Result<u64, Stop> {
        let (name, value) = (self.text("user.evil")?, self.text("x")?);
        self.call(number, [file, name, value, 1, 0, 0])
    }

    /// The handle of a file, for open_by_handle_at(2).
    fn handle_of(&mut self, path: &str) -> Result<u64, Stop> {
        let (path, mount) = (self.text(path)?, self.words(&[0])?);
        let mut room = [0; 17];
        room[0] = 128;
        let handle = self.words(&room)?;
        self.call(libc::SYS_name_to_handle_at, [CWD, path, handle, mount, 0, 0])?;
        Ok(handle)
    }
}
