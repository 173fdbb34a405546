//! The rest of the kernel: what exploits of it are made from.

use super::{Act, CWD, arg};

pub(super) fn acts() -> Vec<Act> {
    let mut acts = vec![
        Act::new("mount tmpfs", |p, _| {
            let (kind, target) = (p.text("tmpfs")?, p.text("/tmp")?);
            p.call(libc::SYS_mount, [kind, target, kind, 0, 0, 0]).map(drop)
        }),
        Act::new("umount /proc", |p, _| {
            let target = p.text("/proc")?;
            p.call(libc::SYS_umount2, [target, arg(libc::MNT_DETACH), 0, 0, 0, 0]).map(drop)
        }),
        Act::new("pivot_root", |p, _| {
            // Something that is mounted.
            let root = p.text("/tmp")?;
            p.call(libc::SYS_pivot_root, [root, root, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("fsopen", |p, _| {
            let kind = p.text("tmpfs")?;
            p.call(libc::SYS_fsopen, [kind, 0, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("open_tree", |p, _| {
            let root = p.text("/")?;
            p.call(libc::SYS_open_tree, [CWD, root, 1, 0, 0, 0]).map(drop)
        }),
        Act::new("mount_setattr", |p, _| {
            let (root, attributes) = (p.text("/")?, p.words(&[0, 1, 0, 0])?);
            p.call(libc::SYS_mount_setattr, [CWD, root, 0, attributes, 32, 0]).map(drop)
        }),
        Act::new("add_key", |p, _| {
            let (kind, name) = (p.text("user")?, p.text("evil")?);
            p.call(libc::SYS_add_key, [kind, name, name, 4, arg(-3), 0]).map(drop)
        }),
        Act::new("request_key", |p, _| {
            let (kind, name) = (p.text("user")?, p.text("evil")?);
            p.call(libc::SYS_request_key, [kind, name, 0, 0, 0, 0]).map(drop)
        }),
        // KEYCTL_GET_KEYRING_ID of the session's keyring
        Act::call("keyctl", libc::SYS_keyctl, &[0, arg(-3), 1]),
        Act::new("bpf: a map", |p, _| {
            // BPF_MAP_TYPE_ARRAY with one value of 8 bytes.
            let attributes = p.words(&[0x0000_0004_0000_0002, 0x0000_0001_0000_0008, 0, 0, 0, 0, 0, 0])?;
            p.call(libc::SYS_bpf, [0, attributes, 64, 0, 0, 0]).map(drop)
        }),
        Act::new("io_uring", |p, _| {
            let parameters = p.bytes(&[0; 120])?;
            p.call(libc::SYS_io_uring_setup, [1, parameters, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("perf_event_open", |p, _| {
            // PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE_VER0, PERF_COUNT_SW_CPU_CLOCK
            let attributes = p.words(&[64 << 32 | 1, 0, 0, 0, 0, 0b110_0000, 0, 0])?;
            p.call(libc::SYS_perf_event_open, [attributes, 0, u64::MAX, u64::MAX, 0, 0]).map(drop)
        }),
        // UFFD_USER_MODE_ONLY
        Act::call("userfaultfd", libc::SYS_userfaultfd, &[1]),
        Act::new("seccomp: another filter", |p, _| {
            // RET_ALLOW
            let code = p.words(&[0x7fff_0000_0000_0006])?;
            let program = p.words(&[1, code])?;
            p.call(libc::SYS_seccomp, [1, 0, program, 0, 0, 0]).map(drop)
        }),
        // LANDLOCK_CREATE_RULESET_VERSION
        Act::call("landlock: ask", libc::SYS_landlock_create_ruleset, &[0, 0, 1]),
        Act::new("init_module", |p, _| {
            let (image, options) = (p.bytes(&[0; 64])?, p.text("")?);
            p.call(libc::SYS_init_module, [image, 64, options, 0, 0, 0]).map(drop)
        }),
        Act::call("finit_module", libc::SYS_finit_module, &[0, 0, 0]),
        Act::call("kexec_load", libc::SYS_kexec_load, &[0, 0, 0, 0]),
        // Without its magic numbers: refused by every kernel that gets to see it.
        Act::call("reboot", libc::SYS_reboot, &[0, 0, 0, 0]),
        Act::new("swapon", |p, _| {
            let path = p.text("/dev/null")?;
            p.call(libc::SYS_swapon, [path, 0, 0, 0, 0, 0]).map(drop)
        }),
        // SYSLOG_ACTION_SIZE_BUFFER
        Act::call("syslog: the kernel's log", libc::SYS_syslog, &[10, 0, 0]),
        Act::call("iopl", libc::SYS_iopl, &[3]),
        Act::call("ioperm", libc::SYS_ioperm, &[0x60, 1, 1]),
        Act::new("modify_ldt", |p, _| {
            let buffer = p.bytes(&[0; 64])?;
            p.call(libc::SYS_modify_ldt, [0, buffer, 64, 0, 0, 0]).map(drop)
        }),
        Act::new("set the clock", |p, _| {
            // To what it is now.
            let time = p.words(&[0, 0])?;
            p.call(libc::SYS_clock_gettime, [0, time, 0, 0, 0, 0])?;
            p.call(libc::SYS_clock_settime, [0, time, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("adjust the clock", |p, _| {
            let time = p.bytes(&[0; 208])?;
            p.call(libc::SYS_clock_adjtime, [0, time, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("sethostname", |p, _| {
            let name = p.text("evil")?;
            p.call(libc::SYS_sethostname, [name, 4, 0, 0, 0, 0]).map(drop)
        }),
        Act::call("acct", libc::SYS_acct, &[0]),
        Act::call("vhangup", libc::SYS_vhangup, &[]),
        // NUMA placement of its own pages
        Act::call("set_mempolicy", libc::SYS_set_mempolicy, &[0, 0, 0]),
        Act::call("move_pages", libc::SYS_move_pages, &[0, 0, 0, 0, 0, 0]),
        Act::call("System V shared memory", libc::SYS_shmget, &[0, 4096, arg(libc::IPC_CREAT | 0o700)]),
        Act::call("System V semaphores", libc::SYS_semget, &[0, 1, arg(libc::IPC_CREAT | 0o700)]),
        Act::call("System V messages", libc::SYS_msgget, &[0, arg(libc::IPC_CREAT | 0o700)]),
        Act::new("POSIX messages", |p, _| {
            let name = p.text("evil")?;
            p.call(libc::SYS_mq_open, [name, arg(libc::O_CREAT | libc::O_RDWR), 0o600, 0, 0, 0]).map(drop)
        }),
        Act::new("aio", |p, _| {
            let context = p.words(&[0])?;
            p.call(libc::SYS_io_setup, [1, context, 0, 0, 0, 0]).map(drop)
        }),
        Act::new("timer_create", |p, _| {
            let id = p.words(&[0])?;
            p.call(libc::SYS_timer_create, [1, 0, id, 0, 0, 0]).map(drop)
        }),
        Act::new("signalfd", |p, _| {
            let mask = p.words(&[0])?;
            p.call(libc::SYS_signalfd4, [u64::MAX, mask, 8, 0, 0, 0]).map(drop)
        }),
        Act::new("splice from a pipe", |p, _| {
            let (from, to) = (p.words(&[0])?, p.words(&[0])?);
            for both in [from, to] {
                p.call(libc::SYS_pipe2, [both, 0, 0, 0, 0, 0])?;
            }
            let byte = p.text("x")?;
            let (read, write) = (p.int(from)?, p.int(from.saturating_add(4))?);
            let to = p.int(to.saturating_add(4))?;
            p.call(libc::SYS_write, [write, byte, 1, 0, 0, 0])?;
            p.call(libc::SYS_splice, [read, 0, to, 0, 1, 0]).map(drop)
        }),
        Act::call("vmsplice", libc::SYS_vmsplice, &[0, 0, 0, 0]),
        Act::new("remap_file_pages", |p, _| {
            // Two shared pages, the first of which is to show the second.
            let (shared, rights) = (arg(libc::MAP_SHARED | libc::MAP_ANONYMOUS), arg(libc::PROT_READ | libc::PROT_WRITE));
            let pages = p.call(libc::SYS_mmap, [0, 8192, rights, shared, u64::MAX, 0])?;
            p.call(libc::SYS_remap_file_pages, [pages, 4096, 0, 1, 0, 0]).map(drop)
        }),
        Act::call("mlockall", libc::SYS_mlockall, &[1]),
        Act::call("a number that is no call", 1000, &[]),
        Act::call("a call of another ABI (x32)", 0x4000_0000 | libc::SYS_getpid, &[]),
        // getpid, and by the number that i386 has for it.
        Act::new("a call of another ABI (i386)", |p, _| p.call_i386(20).map(drop)),
        Act::call("getpid (given)", libc::SYS_getpid, &[]),
    ];
    acts.push(Act::new("terminal input (TIOCSTI)", |p, _| {
        let (terminal, byte) = (p.open_if_possible("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY)?, p.text("x")?);
        p.call(libc::SYS_ioctl, [terminal, libc::TIOCSTI, byte, 0, 0, 0]).map(drop)
    }));
    acts
}
