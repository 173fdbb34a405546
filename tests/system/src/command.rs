//! Running commands and seeing what came of them.

use crate::Failure;
use std::{
    ffi::OsStr,
    io::Write,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Pause between two looks at something that will come.
const GLANCE: Duration = Duration::from_millis(20);

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// What it wrote, made valid UTF-8.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Outcome {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }

    /// Its output if it succeeded.
    pub fn ok(self, what: &str) -> Result<String, Failure> {
        if self.success() { Ok(self.stdout) } else { Err(Failure::new(format!("{what}: {}{}", self.stdout, self.stderr))) }
    }
}

/// Runs a command to its end. A status other than 0 is an outcome, not an error.
pub fn run<S: AsRef<OsStr>>(words: &[S], input: &[u8]) -> Result<Outcome, Failure> {
    let Some((program, arguments)) = words.split_first() else { return Err(Failure::new("no command")) };
    let program = program.as_ref();
    let failed = |e: std::io::Error| Failure::new(format!("{}: {e}", program.display()));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input says so by its status.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Outcome { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// Looks until something is there.
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let deadline = Instant::now().checked_add(limit);
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if deadline.is_none_or(|d| Instant::now() > d) {
            return Err(Failure::new(format!("{what}: not within {} s", limit.as_secs())));
        }
        thread::sleep(GLANCE);
    }
}
