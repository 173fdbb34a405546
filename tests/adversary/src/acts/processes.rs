//! Other processes, new processes, new code, other identities.

use super::{Act, CWD, arg};
use crate::Puppet;

const PAGE: u64 = 4096;
const READ_WRITE: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;
const ALL: u64 = READ_WRITE | libc::PROT_EXEC as u64;
const READ_EXEC: u64 = (libc::PROT_READ | libc::PROT_EXEC) as u64;
const ANONYMOUS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
const PRIVATE: u64 = libc::MAP_PRIVATE as u64;
const THREAD: i32 = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_SYSVSEM;
/// `siginfo_t` with SI_QUEUE in `si_code`: all else the kernel keeps for itself (rt_sigqueueinfo(2)).
const SIGQUEUE_INFO: [u64; 16] = [0, 0xffff_ffff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) fn acts() -> Vec<Act> {
    [others(), new(), code(), identity()].into_iter().flatten().collect()
}

fn others() -> Vec<Act> {
    let ptrace = |name: &str, request: libc::c_uint| {
        Act::new(name, move |p: &mut Puppet, f: &super::Facts| {
            p.call(libc::SYS_ptrace, [u64::from(request), arg(f.sibling.pid), 0, 0, 0, 0]).map(drop)
        })
    };
    let memory = |name: &str, number: libc::c_long| {
        Act::new(name, move |p: &mut Puppet, f: &super::Facts| {
            // Written is what is there already.
            let buffer = p.bytes(&f.sibling.bytes)?;
            let (here, there) = (p.words(&[buffer, 16])?, p.words(&[f.sibling.address, 16])?);
            p.call(number, [arg(f.sibling.pid), here, 1, there, 1, 0]).map(drop)
        })
    };
    vec![
        ptrace("ptrace a sibling", libc::PTRACE_ATTACH),
        ptrace("ptrace: seize a sibling", libc::PTRACE_SEIZE),
        memory("process_vm_readv a sibling", libc::SYS_process_vm_readv),
        memory("process_vm_writev a sibling", libc::SYS_process_vm_writev),
        Act::new("kill: signal a sibling", |p, f| p.call(libc::SYS_kill, [arg(f.sibling.pid), 0, 0, 0, 0, 0]).map(drop)),
        Act::new("kill: signal who watches", |p, f| p.call(libc::SYS_kill, [arg(f.parent), 0, 0, 0, 0, 0]).map(drop)),
        Act::new("kill: signal all", |p, _| p.call(libc::SYS_kill, [arg(-1), 0, 0, 0, 0, 0]).map(drop)),
        Act::new("tgkill a sibling", |p, f| p.call(libc::SYS_tgkill, [arg(f.sibling.pid), arg(f.sibling.pid), 0, 0, 0, 0]).map(drop)),
        Act::new("tkill a sibling", |p, f| p.call(libc::SYS_tkill, [arg(f.sibling.pid), 0, 0, 0, 0, 0]).map(drop)),
        Act::new("rt_sigqueueinfo a sibling", |p, f| {
            let info = p.words(&SIGQUEUE_INFO)?;
            p.call(libc::SYS_rt_sigqueueinfo, [arg(f.sibling.pid), 0, info, 0, 0, 0]).map(drop)
        }),
        Act::new("pidfd_open a sibling", |p, f| p.call(libc::SYS_pidfd_open, [arg(f.sibling.pid), 0, 0, 0, 0, 0]).map(drop)),
        Act::new("take a descriptor of a sibling", |p, f| {
            let pidfd = p.call(libc::SYS_pidfd_open, [arg(f.sibling.pid), 0, 0, 0, 0, 0])?;
            p.call(libc::SYS_pidfd_getfd, [pidfd, 0, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("limits of a sibling", |p, f| {
            let limit = p.words(&[0, 0])?;
            p.call(libc::SYS_prlimit64, [arg(f.sibling.pid), arg(libc::RLIMIT_NOFILE as i32), limit, 0, 0, 0]).map(drop)
        }),
        Act::new("priority of a sibling", |p, f| p.call(libc::SYS_setpriority, [0, arg(f.sibling.pid), 19, 0, 0, 0]).map(drop)),
        // KCMP_FILE of the first descriptors.
        Act::new("compare with a sibling (kcmp)", |p, f| {
            let own = p.call(libc::SYS_getpid, [0; 6])?;
            p.call(libc::SYS_kcmp, [own, arg(f.sibling.pid), 0, 0, 0, 0]).map(drop)
        }),
    ]
}

fn new() -> Vec<Act> {
    let namespaces = [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("network", libc::CLONE_NEWNET),
        ("pid", libc::CLONE_NEWPID),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
    ];
    // Not among libc's names. A bit of clone(2)'s signal, so that only unshare(2) and clone3(2) know it.
    const NEWTIME: i32 = 0x80;
    let exec = |name: &str, path: fn(&super::Facts) -> String| {
        Act::new(name, move |p: &mut Puppet, f: &super::Facts| {
            let path = p.text(&path(f))?;
            let arguments = p.words(&[path, 0])?;
            p.call(libc::SYS_execve, [path, arguments, 0, 0, 0, 0]).map(drop)
        })
    };
    let mut acts = vec![
        exec("exec /bin/sh", |_| "/bin/sh".to_owned()),
        exec("exec its own program", |f| f.program.clone()),
        exec("exec the dynamic linker", |_| "/lib64/ld-linux-x86-64.so.2".to_owned()),
        Act::new("exec a memfd", |p, _| {
            let name = p.text("x")?;
            let fd = p.call(libc::SYS_memfd_create, [name, 0, 0, 0, 0, 0])?;
            let program = program();
            let (length, program) = (program.len() as u64, p.bytes(&program)?);
            p.call(libc::SYS_write, [fd, program, length, 0, 0, 0])?;
            let (empty, arguments) = (p.text("")?, p.words(&[name, 0])?);
            p.call(libc::SYS_execveat, [fd, empty, arguments, 0, arg(libc::AT_EMPTY_PATH), 0]).map(drop)
        }),
        Act::call("fork", libc::SYS_fork, &[]),
        Act::call("vfork", libc::SYS_vfork, &[]),
        Act::call("clone: a process", libc::SYS_clone, &[arg(libc::SIGCHLD)]),
        Act::new("clone: a thread", |p, _| {
            let stack = p.bytes(&[0; 1024])?;
            p.call(libc::SYS_clone, [arg(THREAD), stack.saturating_add(1024), 0, 0, 0, 0]).map(drop)
        }),
        Act::new("clone3: a process", |p, _| {
            let arguments = p.words(&[0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 0, 0])?;
            p.call(libc::SYS_clone3, [arguments, 88, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("setns", |p, f| {
            let pidfd = p.call(libc::SYS_pidfd_open, [arg(f.parent), 0, 0, 0, 0, 0])?;
            p.call(libc::SYS_setns, [pidfd, arg(libc::CLONE_NEWNET), 0, 0, 0, 0]).map(drop)
        }),
    ];
    for (name, flag) in namespaces.into_iter().chain([("time", NEWTIME)]) {
        acts.push(Act::call(&format!("unshare: {name} namespace"), libc::SYS_unshare, &[arg(flag)]));
    }
    for (name, flag) in namespaces {
        // As little as makes a thread: with more the kernel says no to some of them before it looks who asks.
        let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD | flag;
        acts.push(Act::new(format!("clone: a thread in another {name} namespace"), move |p, _| {
            let stack = p.bytes(&[0; 1024])?;
            p.call(libc::SYS_clone, [arg(flags), stack.saturating_add(1024), 0, 0, 0, 0]).map(drop)
        }));
    }
    for (name, flag) in [("user", libc::CLONE_NEWUSER), ("network", libc::CLONE_NEWNET)] {
        acts.push(Act::call(&format!("clone: {name} namespace"), libc::SYS_clone, &[arg(flag | libc::SIGCHLD)]));
    }
    acts
}

/// The smallest program there is: ELF for this machine, one segment, `exit(0)`.
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    // mov eax, 60; xor edi, edi; syscall
    const CODE: [u8; 9] = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let half = |words: &[u16]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let word = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let long = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let length = PROGRAM_HEADERS + CODE.len() as u64;
    [
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
        // ET_EXEC, EM_X86_64
        half(&[2, 62]),
        word(&[1]),
        long(&[BASE + PROGRAM_HEADERS, 64, 0]),
        word(&[0]),
        half(&[64, 56, 1, 0, 0, 0]),
        // PT_LOAD, readable and executable
        word(&[1, 5]),
        long(&[0, BASE, BASE, length, length, PAGE]),
        CODE.to_vec(),
    ]
    .concat()
}

/// Headers of the program above: that of the file and one of a segment.
const PROGRAM_HEADERS: u64 = 64 + 56;

fn code() -> Vec<Act> {
    vec![
        Act::call("mmap writable and executable", libc::SYS_mmap, &[0, PAGE, ALL, ANONYMOUS, u64::MAX, 0]),
        Act::call("mmap anonymous executable", libc::SYS_mmap, &[0, PAGE, READ_EXEC, ANONYMOUS, u64::MAX, 0]),
        Act::new("mmap a file executable", |p, f| {
            let fd = p.open(&f.program, libc::O_RDONLY)?;
            p.call(libc::SYS_mmap, [0, PAGE, READ_EXEC, PRIVATE, fd, 0]).map(drop)
        }),
        Act::new("mmap a memfd executable", |p, _| {
            let name = p.text("x")?;
            let fd = p.call(libc::SYS_memfd_create, [name, 0, 0, 0, 0, 0])?;
            let byte = p.text("x")?;
            p.call(libc::SYS_write, [fd, byte, 1, 0, 0, 0])?;
            p.call(libc::SYS_mmap, [0, PAGE, READ_EXEC, PRIVATE, fd, 0]).map(drop)
        }),
        Act::new("mprotect executable", |p, _| {
            let page = p.call(libc::SYS_mmap, [0, PAGE, READ_WRITE, ANONYMOUS, u64::MAX, 0])?;
            p.call(libc::SYS_mprotect, [page, PAGE, READ_EXEC, 0, 0, 0]).map(drop)
        }),
        Act::new("pkey_mprotect executable", |p, _| {
            let page = p.call(libc::SYS_mmap, [0, PAGE, READ_WRITE, ANONYMOUS, u64::MAX, 0])?;
            p.call(libc::SYS_pkey_mprotect, [page, PAGE, READ_EXEC, u64::MAX, 0, 0]).map(drop)
        }),
        Act::new("shmat executable", |p, _| {
            let id = p.call(libc::SYS_shmget, [0, PAGE, arg(libc::IPC_CREAT | 0o700), 0, 0, 0])?;
            p.call(libc::SYS_shmat, [id, 0, arg(libc::SHM_EXEC), 0, 0, 0]).map(drop)
        }),
        // READ_IMPLIES_EXEC
        Act::call("personality: readable is executable", libc::SYS_personality, &[0x0040_0000]),
        Act::call("memfd_secret", libc::SYS_memfd_secret, &[0]),
        Act::new("memfd (given)", |p, _| {
            let name = p.text("x")?;
            p.call(libc::SYS_memfd_create, [name, 0, 0, 0, 0, 0]).map(drop)
        }),
    ]
}

fn identity() -> Vec<Act> {
    let prctl = |name: &str, option: i32, value: u64| Act::call(name, libc::SYS_prctl, &[arg(option), value]);
    const CAP_SYS_ADMIN: u32 = 21;
    let capset = |name: &str, bits: u64| {
        Act::new(name, move |p: &mut Puppet, _: &super::Facts| {
            // _LINUX_CAPABILITY_VERSION_3, this thread; effective, permitted and inheritable, of which all are in the first 32 bits.
            let header = p.words(&[0x2008_0522])?;
            let data = p.words(&[bits | bits << 32, bits, 0])?;
            p.call(libc::SYS_capset, [header, data, 0, 0, 0, 0]).map(drop)
        })
    };
    vec![
        Act::call("setuid 0", libc::SYS_setuid, &[0]),
        Act::call("setgid 0", libc::SYS_setgid, &[0]),
        Act::call("setresuid 0", libc::SYS_setresuid, &[0, 0, 0]),
        Act::call("setgroups", libc::SYS_setgroups, &[0, 0]),
        Act::call("setfsuid 0", libc::SYS_setfsuid, &[0]),
        Act::call("setsid", libc::SYS_setsid, &[]),
        capset("capset: CAP_SYS_ADMIN", 1 << CAP_SYS_ADMIN),
        prctl("prctl: no_new_privs off", libc::PR_SET_NO_NEW_PRIVS, 0),
        prctl("prctl: dumpable", libc::PR_SET_DUMPABLE, 1),
        prctl("prctl: keep capabilities", libc::PR_SET_KEEPCAPS, 1),
        Act::call(
            "prctl: ambient capability",
            libc::SYS_prctl,
            &[arg(libc::PR_CAP_AMBIENT), arg(libc::PR_CAP_AMBIENT_RAISE), CAP_SYS_ADMIN.into()],
        ),
        prctl("prctl: may be traced by all", libc::PR_SET_PTRACER, u64::MAX),
        prctl("prctl: seccomp strict", libc::PR_SET_SECCOMP, 1),
        prctl("prctl: outlive the parent", libc::PR_SET_PDEATHSIG, 0),
        prctl("prctl: adopt orphans", libc::PR_SET_CHILD_SUBREAPER, 1),
        prctl("prctl: secure bits", libc::PR_SET_SECUREBITS, 0),
        Act::new("prctl: another name (given)", |p, _| {
            let name = p.text("tokio-worker")?;
            p.call(libc::SYS_prctl, [arg(libc::PR_SET_NAME), name, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("arch_prctl", |p, _| {
            let buffer = p.words(&[0])?;
            // ARCH_GET_FS
            p.call(libc::SYS_arch_prctl, [0x1003, buffer, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("raise the limit of descriptors", |p, _| {
            let limit = p.words(&[1 << 20, 1 << 20])?;
            p.call(libc::SYS_prlimit64, [0, arg(libc::RLIMIT_NOFILE as i32), limit, 0, 0, 0]).map(drop)
        }),
        Act::new("allow core dumps", |p, _| {
            let limit = p.words(&[1 << 20, 1 << 20])?;
            p.call(libc::SYS_setrlimit, [arg(libc::RLIMIT_CORE as i32), limit, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("real-time scheduling", |p, _| {
            let priority = p.words(&[1])?;
            p.call(libc::SYS_sched_setscheduler, [0, arg(libc::SCHED_FIFO), priority, 0, 0, 0]).map(drop)
        }),
        Act::new("chroot", |p, _| {
            let root = p.text("/")?;
            p.call(libc::SYS_chroot, [root, 0, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("faccessat of /etc/shadow", |p, _| {
            let path = p.text("/etc/shadow")?;
            p.call(libc::SYS_faccessat2, [CWD, path, 4, 0, 0, 0]).map(drop)
        }),
    ]
}
