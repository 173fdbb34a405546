//! Every file of `smtp/` and `imap/` is a test of its name.

use dialogues::{Script, play};
use libtest_mimic::{Arguments, Failed, Trial};
use std::{fs, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut trials = Vec::new();
    for protocol in ["smtp", "imap"] {
        let Ok(entries) = fs::read_dir(here.join(protocol)) else { continue };
        for entry in entries {
            let path = entry.expect("the directory is readable").path();
            if path.extension().is_none_or(|e| e != "txt") {
                continue;
            }
            let name = format!("{protocol}/{}", path.file_stem().unwrap_or_default().to_string_lossy());
            trials.push(Trial::test(name, move || run(&path)));
        }
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(path: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?;
    let script = Script::parse(&text)?;
    play(&script)?;
    Ok(())
}
