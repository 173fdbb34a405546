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
    fs::read_to_string(file).map_err(|e| Failure::new(file.display(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

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
