//! A process that makes the system calls it is told to make.
//!
//! Acts are not tried in the daemon but in copies of it: most of them end the process, and a daemon takes a hundred times as long to start
//! as a copy. A copy is what fork(2) makes of the running daemon, so everything that confines it is the kernel's own copy. The one thing that
//! the attacker could not do is making it, where the filters forbid that: they are put aside for that one call, and are in force in the copy.

use nix::{
    errno::Errno,
    sys::{
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};
use system::Failure;

/// Memory of the puppet for arguments.
const SCRATCH: u64 = 64 * 1024;
/// `syscall` (Intel SDM 2B).
const INSTRUCTION: [u8; 2] = [0x0f, 0x05];
/// `int 0x80`, which calls as i386 does.
const INSTRUCTION_I386: [u8; 2] = [0xcd, 0x80];
/// ptrace(2), PTRACE_EVENT_STOP.
const EVENT_STOP: i32 = 128;
/// ptrace(2): root, who is under no filter himself, puts those of a process aside. Not among nix' names.
const SUSPEND_SECCOMP: i32 = 1 << 21;
/// Signals that are put aside while one call is made; more means that the puppet does something else.
const MOST_STOPS: usize = 64;

/// Why an act ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The kernel said no.
    Errno(Errno),
    /// The kernel ended the process.
    Killed(Signal),
    /// The process did something that nobody told it.
    Lost,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// A process whose main thread is held. It dies with its puppeteer.
#[derive(Debug)]
pub struct Puppet {
    pid: Pid,
    memory: File,
    registers: libc::user_regs_struct,
    instruction: u64,
    scratch: u64,
    used: u64,
    /// A process that it has made and that is kept.
    born: Option<Pid>,
    /// Whether what it makes is kept.
    breeds: bool,
}

impl Puppet {
    /// Takes hold of a process, by its number here. Only the calling thread may use the puppet.
    pub fn seize(pid: u32) -> Result<Self, Failure> {
        let failed = |what: &str, e: Errno| Failure::new(format!("{what} {pid}: {e}"));
        let id = Pid::from_raw(i32::try_from(pid).map_err(|e| Failure::new(e.to_string()))?);
        ptrace::seize(id, Options::PTRACE_O_EXITKILL).map_err(|e| failed("seize", e))?;
        let held = Self::hold(id, pid);
        if held.is_err() {
            // Whom nobody plays with must not stand still.
            end(id);
        }
        held
    }

    fn hold(id: Pid, pid: u32) -> Result<Self, Failure> {
        let failed = |what: &str, e: Errno| Failure::new(format!("{what} {pid}: {e}"));
        ptrace::interrupt(id).map_err(|e| failed("interrupt", e))?;
        loop {
            match wait(id).map_err(|e| failed("wait for", e))? {
                WaitStatus::PtraceEvent(_, _, EVENT_STOP) => break,
                // A signal of its own; it comes again when it matters.
                WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => ptrace::cont(id, None).map_err(|e| failed("continue", e))?,
                other => return Err(Failure::new(format!("{pid}: {other:?}"))),
            }
        }
        // Not before: a thread that it was making by itself would be held too, and nobody would wait for it.
        ptrace::setoptions(id, options()).map_err(|e| failed("options of", e))?;
        let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        let registers = ptrace::getregs(id).map_err(|e| failed("registers of", e))?;
        let instruction = find(pid, &memory, INSTRUCTION)?;
        let mut puppet = Self { pid: id, memory, registers, instruction, scratch: 0, used: 0, born: None, breeds: false };
        let anywhere =
            [0, SCRATCH, (libc::PROT_READ | libc::PROT_WRITE) as u64, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64, u64::MAX, 0];
        puppet.scratch = puppet.call(libc::SYS_mmap, anywhere).map_err(|e| Failure::new(format!("{pid}: memory: {e:?}")))?;
        Ok(puppet)
    }

    /// Its number here.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// A copy of it, held like itself and confined like itself.
    pub fn copy(&mut self) -> Result<Self, Failure> {
        let id = self.pid;
        let failed = |what: &str, e: Errno| Failure::new(format!("{what} of {id}: {e}"));
        let aside = options() | Options::from_bits_retain(SUSPEND_SECCOMP);
        ptrace::setoptions(self.pid, aside).map_err(|e| failed("filters", e))?;
        self.breeds = true;
        let made = self.call(libc::SYS_fork, [0; 6]);
        self.breeds = false;
        let born = self.born.take();
        ptrace::setoptions(self.pid, options()).map_err(|e| failed("filters", e))?;
        let (Some(born), Ok(_)) = (born, made) else { return Err(Failure::new(format!("no copy of {}: {made:?}", self.pid))) };
        let confined = || {
            // It took over that its filters are put aside.
            ptrace::setoptions(born, options()).map_err(|e| failed("filters of a copy", e))?;
            Ok(File::options().read(true).write(true).open(format!("/proc/{born}/mem"))?)
        };
        let memory = confined().inspect_err(|_: &Failure| end(born))?;
        Ok(Self { pid: born, memory, registers: self.registers, used: 0, born: None, ..*self })
    }

    /// Puts bytes into its memory and returns their address there.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<u64, Stop> {
        let at = self.scratch.checked_add(self.used).ok_or(Stop::Lost)?;
        let end = self.used.checked_add(bytes.len() as u64).ok_or(Stop::Lost)?;
        if end > SCRATCH {
            return Err(Stop::Lost);
        }
        self.memory.write_all_at(bytes, at).map_err(|_| Stop::Lost)?;
        self.used = end.checked_next_multiple_of(16).ok_or(Stop::Lost)?;
        Ok(at)
    }

    /// A string, ended by NUL.
    pub fn text(&mut self, text: &str) -> Result<u64, Stop> {
        self.bytes(&[text.as_bytes(), b"\0"].concat())
    }

    /// Numbers, as the machine writes them.
    pub fn words(&mut self, words: &[u64]) -> Result<u64, Stop> {
        self.bytes(&words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>())
    }

    /// Reads its memory.
    pub fn peek(&self, at: u64, into: &mut [u8]) -> Result<(), Stop> {
        self.memory.read_exact_at(into, at).map_err(|_| Stop::Lost)
    }

    /// Makes one system call.
    pub fn call(&mut self, number: libc::c_long, arguments: [u64; 6]) -> Result<u64, Stop> {
        self.call_at(self.instruction, number, arguments)
    }

    /// Makes one system call of i386 without arguments, where two bytes of the code happen to be the instruction for it.
    pub fn call_i386(&mut self, number: libc::c_long) -> Result<u64, Stop> {
        let pid = u32::try_from(self.pid.as_raw()).map_err(|_| Stop::Lost)?;
        let instruction = find(pid, &self.memory, INSTRUCTION_I386).map_err(|_| Stop::Lost)?;
        self.call_at(instruction, number, [0; 6])
    }

    fn call_at(&mut self, instruction: u64, number: libc::c_long, arguments: [u64; 6]) -> Result<u64, Stop> {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let rax = u64::try_from(number).map_err(|_| Stop::Lost)?;
        let mut registers = self.registers;
        registers.rip = instruction;
        // It was inside a call when it was stopped: that one is not to be made again.
        registers.orig_rax = u64::MAX;
        (registers.rax, registers.rdi, registers.rsi, registers.rdx) = (rax, rdi, rsi, rdx);
        (registers.r10, registers.r8, registers.r9) = (r10, r8, r9);
        let lost = |_: Errno| Stop::Lost;
        ptrace::setregs(self.pid, registers).map_err(lost)?;
        for _ in 0..MOST_STOPS {
            ptrace::step(self.pid, None).map_err(lost)?;
            match wait(self.pid).map_err(lost)? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                    let result = ptrace::getregs(self.pid).map_err(lost)?.rax;
                    // The last page of addresses is errors.
                    let error = i32::try_from(result.cast_signed()).ok().filter(|code| (-4095..0).contains(code));
                    return error.map_or(Ok(result), |code| Err(Stop::Errno(Errno::from_raw(code.saturating_neg()))));
                }
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => return Ok(0),
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK) => {
                    let child = self.child().map_err(lost)?;
                    if self.breeds {
                        self.born = Some(child);
                    } else {
                        self.end_child(child).map_err(lost)?;
                    }
                }
                WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => {}
                WaitStatus::Signaled(_, signal, _) => return Err(Stop::Killed(signal)),
                _ => break,
            }
        }
        Err(Stop::Lost)
    }

    /// The thread or process that it has just made, stopped.
    fn child(&self) -> Result<Pid, Errno> {
        let child = i32::try_from(ptrace::getevent(self.pid)?).map(Pid::from_raw).map_err(|_| Errno::ESRCH)?;
        wait(child)?;
        Ok(child)
    }

    /// A new thread or process of the puppet ends before it has done anything.
    fn end_child(&self, child: Pid) -> Result<(), Errno> {
        let mut registers = ptrace::getregs(child)?;
        (registers.rip, registers.orig_rax) = (self.instruction, u64::MAX);
        (registers.rax, registers.rdi) = (libc::SYS_exit as u64, 0);
        ptrace::setregs(child, registers)?;
        ptrace::detach(child, None)
    }

    /// Ends the process.
    pub fn kill(self) {
        end(self.pid);
    }
}

fn options() -> Options {
    Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
}

fn end(pid: Pid) {
    // It may be dead already.
    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    while let Ok(status) = wait(pid) {
        if matches!(status, WaitStatus::Signaled(..) | WaitStatus::Exited(..)) {
            break;
        }
    }
}

fn wait(pid: Pid) -> Result<WaitStatus, Errno> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Somewhere in what the process may execute there is such an instruction; the C library is full of system calls.
fn find(pid: u32, memory: &File, instruction: [u8; 2]) -> Result<u64, Failure> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let range = |line: &str| -> Option<(u64, u64)> {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    };
    for (from, to) in maps.lines().filter(|line| line.contains("r-xp") && line.contains("libc.so")).filter_map(range) {
        let mut code = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
        memory.read_exact_at(&mut code, from).map_err(|e: io::Error| Failure::new(format!("{pid}: code: {e}")))?;
        if let Some(at) = code.windows(2).position(|bytes| bytes == instruction) {
            return Ok(from.saturating_add(at as u64));
        }
    }
    Err(Failure::new(format!("{pid}: no code that makes a system call")))
}
