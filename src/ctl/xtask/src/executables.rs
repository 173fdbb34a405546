//! The test executables, several at a time: most of them wait for processes, disks and clocks rather than for a processor.

use crate::{Failure, cargo, note};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Instant,
};

/// One test executable, as cargo built it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// `PACKAGE TARGET`.
    pub(crate) name: String,
    path: PathBuf,
    /// The package's directory, in which cargo runs tests.
    directory: PathBuf,
    /// Whether it is one of `tests/`; what is slow is among these.
    integration: bool,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// All that it said.
    pub(crate) output: String,
    /// Whether it says itself that all is well.
    pub(crate) success: bool,
}

/// Builds the tests of these packages, of all when there are none.
pub(crate) fn build(root: &Path, packages: &[&str]) -> Result<Vec<Executable>, Failure> {
    let mut command = cargo(root);
    command.args(["test", "--no-run", "--ignore-rust-version", "--message-format=json-render-diagnostics"]).args(packages);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("cargo test: {e}"))?;
    let mut all = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            all.extend(artifact(&line.map_err(|e| format!("cargo test: {e}"))?));
        }
    }
    let status = child.wait().map_err(|e| format!("cargo test: {e}"))?;
    // Slow ones first, so that none of them is what is waited for in the end.
    all.sort_by_key(|executable| !executable.integration);
    if status.success() { Ok(all) } else { Err("the tests do not build".into()) }
}

/// What a message of cargo says, if it is about a test executable.
fn artifact(line: &str) -> Option<Executable> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |place: &str| message.pointer(place).and_then(serde_json::Value::as_str);
    if text("/reason") != Some("compiler-artifact") || message.pointer("/profile/test") != Some(&serde_json::Value::Bool(true)) {
        return None;
    }
    let directory = Path::new(text("/manifest_path")?).parent()?;
    let package = directory.file_name()?.to_str()?;
    Some(Executable {
        name: format!("{package} {}", text("/target/name")?),
        path: text("/executable")?.into(),
        directory: directory.to_owned(),
        integration: text("/target/kind/0") == Some("test"),
    })
}

/// Runs all of them; `done` hears of each that has ended.
pub(crate) fn run(
    all: &[Executable],
    environment: &[(&str, &Path)],
    folder: &Path,
    mut done: impl FnMut(&Executable, Ended) + Send,
) -> Result<(), Failure> {
    // Left over from an earlier run, or not there.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let at_a_time = thread::available_parallelism().map_or(1, usize::from).saturating_add(1);
    let (left, failed, done) = (Mutex::new(all.iter().enumerate()), Mutex::new(Vec::new()), Mutex::new(&mut done));
    let next = || left.lock().ok().and_then(|mut left| left.next());
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some((number, executable)) = next() {
                    note(&format!("xtask: {} ...", executable.name));
                    let start = Instant::now();
                    match one(executable, environment, &folder.join(number.to_string())) {
                        Ok(ended) => {
                            note(&format!("xtask: {}: {} s", executable.name, start.elapsed().as_secs()));
                            if let Ok(mut done) = done.lock() {
                                done(executable, ended);
                            }
                        }
                        Err(e) => failed.lock().into_iter().for_each(|mut failed| failed.push(format!("{}: {e}", executable.name))),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

fn one(executable: &Executable, environment: &[(&str, &Path)], output: &Path) -> Result<Ended, Failure> {
    let failed = |e: std::io::Error| format!("{}: {e}", output.display());
    let file = File::create(output).map_err(failed)?;
    let mut command = Command::new(&executable.path);
    command.current_dir(&executable.directory).env("CARGO_MANIFEST_DIR", &executable.directory).envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(file);
    let status = command.status().map_err(|e| e.to_string())?;
    let said = fs::read(output).map_err(failed)?;
    Ok(Ended { output: String::from_utf8_lossy(&said).into_owned(), success: status.success() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_executables_are_found_among_what_cargo_says() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/p/jail/Cargo.toml","target":{"kind":["test"],"name":"confined"},
            "profile":{"test":true},"executable":"/t/confined-1"}"#;
        let expected =
            Executable { name: "jail confined".into(), path: "/t/confined-1".into(), directory: "/p/jail".into(), integration: true };
        assert_eq!(artifact(line), Some(expected));
        assert_eq!(artifact(&line.replace("true", "false")), None);
        assert_eq!(artifact(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(artifact("no JSON"), None);
    }

    #[test]
    fn what_an_executable_says_and_how_it_ends_is_told() {
        let folder = std::env::temp_dir().join(format!("postern-executables-{}", std::process::id()));
        let program = |path: &str| Executable { name: path.into(), path: path.into(), directory: "/".into(), integration: true };
        let mut told = Vec::new();
        let all = [program("/bin/true"), program("/bin/false")];
        run(&all, &[], &folder, |executable, ended| told.push((executable.name.clone(), ended.success, ended.output))).unwrap();
        told.sort();
        assert_eq!(told, [("/bin/false".to_owned(), false, String::new()), ("/bin/true".to_owned(), true, String::new())]);
        assert!(run(&[program("/nonexistent")], &[], &folder, |_, _| ()).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
