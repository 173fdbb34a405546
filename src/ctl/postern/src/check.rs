//! `postern check`.

use crate::{Failure, say};
use pure_config::{Config, MAX_CONFIG};
use std::{
    fs,
    io::{self, Write},
    path::Path,
};

pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let text = read(file)?;
    match Config::parse(&text) {
        Ok(config) => say(format_args!(
            "{}: valid; {}, domains: {}, accounts: {}, aliases: {}",
            file.display(),
            config.hostname,
            config.domains.len(),
            config.accounts.len(),
            config.aliases.len()
        )),
        Err(mistakes) => {
            for mistake in mistakes {
                let _ = writeln!(io::stderr(), "{}: {mistake}", file.display());
            }
            Err(Failure::Reported)
        }
    }
}

/// Reads a configuration file, at most [`MAX_CONFIG`] bytes.
pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    let size = fs::metadata(file).map_err(|e| Failure::new(file.display(), e))?.len();
    if usize::try_from(size).map_or(true, |size| size > MAX_CONFIG) {
        return Err(Failure::new(file.display(), format_args!("is larger than {MAX_CONFIG} bytes")));
    }
    let bytes = fs::read(file).map_err(|e| Failure::new(file.display(), e))?;
    String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(valid).filter(|b| **b == b'\n').count().saturating_add(1);
        Failure::new(file.display(), format_args!("line {line} is not UTF-8; save the file as UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_another_encoding_is_refused_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postern.toml");
        fs::write(&file, b"hostname = \"mail.example.test\"\n# Gr\xfc\xdfe\n").unwrap();
        let Err(Failure::Because(line)) = run(&file) else { panic!("taken") };
        assert!(line.contains("line 2 is not UTF-8"), "{line}");
    }

    #[test]
    fn a_valid_file_passes_and_a_wrong_one_fails() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postern.toml");
        fs::write(&file, "hostname = \"mail.example.test\"\n[domains.\"example.test\"]\n").unwrap();
        assert!(run(&file).is_ok());
        fs::write(&file, "hostname = \"mail.example.test\"\nnot_a_key = 1\n").unwrap();
        assert!(matches!(run(&file), Err(Failure::Reported)));
        assert!(matches!(run(&dir.path().join("absent")), Err(Failure::Because(_))));
    }
}
