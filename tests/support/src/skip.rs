use std::{env, fs::OpenOptions, io::Write, path::PathBuf, thread};

/// Reports that the running test cannot be run here, and why. The test then returns; `cargo xtask test` lists the reason.
pub fn skip(reason: &str) {
    let thread = thread::current();
    skip_test(thread.name().unwrap_or("a test"), reason);
}

/// As [`skip`], for a test whose name is not its thread's.
pub fn skip_test(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    let Some(file) = env::var_os("POSTERN_SKIPS") else { return };
    // One write of one line: tests of other processes append too.
    let line = format!("{test}\t{}\n", reason.replace(['\n', '\t'], " "));
    let written = OpenOptions::new().append(true).create(true).open(file).and_then(|mut f| f.write_all(line.as_bytes()));
    written.expect("the list of skipped tests can be written");
}

/// The path of a program, or a skip.
pub fn need(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{program} is not installed"));
    }
    found
}
