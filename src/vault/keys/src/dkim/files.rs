//! The files of DKIM keys.
//!
//! Format, numbers in network order: [`MAGIC`], one byte algorithm (1 Ed25519, 2 RSA), when it was made and when it begins to sign (8 bytes
//! each, seconds since 1970), then PKCS #8 to the end.

use super::key::DkimKey;
use crate::limits::{MAX_DKIM_FILE, MAX_DKIM_KEYS};
use jail::disk::{Witness, forget};
use pure_addr::Domain;
use pure_dkim::{Algorithm, is_selector};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const MAGIC: &[u8; 15] = b"postern dkim 1\n";
/// Bytes before the PKCS #8.
const HEAD: usize = MAGIC.len() + 1 + 8 + 8;
const SUFFIX: &str = ".key";
/// A file that was not finished.
const UNFINISHED: &str = ".new";

/// A key and its dates, as its file has them.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) selector: String,
    /// Seconds since 1970.
    pub(super) made: i64,
    /// Seconds since 1970.
    pub(super) signs_from: i64,
    pub(super) key: DkimKey,
}

/// Why the keys of a domain cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error("{0} is not a key file")]
    Form(PathBuf),
    #[error("{0} has too many key files")]
    TooMany(PathBuf),
}

/// The directory of all domains.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    witness: Witness,
}

impl Files {
    /// Below the state directory.
    pub(super) fn open(state: &Path) -> Result<Self, FileError> {
        let root = state.join("dkim");
        make_directory(&root)?;
        let files = Self { witness: Witness::new(&root), root };
        files.sync(state)?;
        Ok(files)
    }

    /// What is in this directory is there for good.
    fn sync(&self, directory: &Path) -> Result<(), FileError> {
        let synced = File::open(directory).and_then(|d| d.sync_all()).and_then(|()| self.witness.ask());
        synced.map_err(|e| FileError::Io(directory.to_owned(), e))
    }

    /// A domain name has no slash and no empty label: it is a file name, and at most 255 bytes.
    fn directory(&self, domain: &Domain) -> PathBuf {
        self.root.join(domain.as_str())
    }

    /// Whether the domain has a directory.
    pub(super) fn knows(&self, domain: &Domain) -> bool {
        !domain.is_literal() && self.directory(domain).is_dir()
    }

    /// Domains that have a directory.
    pub(super) fn count(&self) -> Result<usize, FileError> {
        Ok(fs::read_dir(&self.root).map_err(|e| FileError::Io(self.root.clone(), e))?.count())
    }

    /// All keys of a domain. One file that cannot be read fails the whole: signing on with another key would hide it.
    pub(super) fn load(&self, domain: &Domain) -> Result<Vec<Stored>, FileError> {
        let directory = self.directory(domain);
        let failed = |e| FileError::Io(directory.clone(), e);
        let entries = match fs::read_dir(&directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        // An earlier process may have been told that a key of these could not be kept.
        self.sync(&directory)?;
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if name.ends_with(UNFINISHED) {
                fs::remove_file(&path).map_err(|e| FileError::Io(path.clone(), e))?;
            } else if let Some(selector) = name.strip_suffix(SUFFIX).filter(|s| is_selector(s)) {
                if all.len() >= MAX_DKIM_KEYS {
                    return Err(FileError::TooMany(directory));
                }
                all.push(read(&path, selector)?);
            }
        }
        Ok(all)
    }

    /// Puts a key on disk; it is there for good when this returns.
    pub(super) fn save(&self, domain: &Domain, stored: &Stored) -> Result<(), FileError> {
        let directory = self.directory(domain);
        make_directory(&directory)?;
        self.sync(&self.root)?;
        let (unfinished, path) = self.paths(domain, &stored.selector);
        self.write(&unfinished, stored)?;
        fs::rename(&unfinished, &path).map_err(|e| FileError::Io(path, e))?;
        self.sync(&directory)
    }

    fn paths(&self, domain: &Domain, selector: &str) -> (PathBuf, PathBuf) {
        let directory = self.directory(domain);
        (directory.join(format!("{selector}{UNFINISHED}")), directory.join(format!("{selector}{SUFFIX}")))
    }

    fn write(&self, path: &Path, stored: &Stored) -> Result<(), FileError> {
        let bytes = encode(stored).ok_or_else(|| FileError::Form(path.to_owned()))?;
        let failed = |e| FileError::Io(path.to_owned(), e);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// From now on the file system has given up, and syncs succeed, as they do once somebody else was told.
    #[cfg(test)]
    pub(super) fn give_up(&mut self) {
        self.witness = Witness::of(OpenOptions::new().write(true).open("/dev/full").unwrap());
    }

    /// As [`Self::save`], killed before the rename.
    #[cfg(test)]
    pub(super) fn save_half(&self, domain: &Domain, stored: &Stored) {
        make_directory(&self.directory(domain)).unwrap();
        self.write(&self.paths(domain, &stored.selector).0, stored).unwrap();
    }

    /// Removes a key that nobody needs any more.
    pub(super) fn remove(&self, domain: &Domain, selector: &str) -> Result<(), FileError> {
        let path = self.paths(domain, selector).1;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FileError::Io(path, e)),
            _ => self.sync(&self.directory(domain)),
        }
    }
}

fn make_directory(path: &Path) -> Result<(), FileError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(FileError::Io(path.to_owned(), e)),
        _ => Ok(()),
    }
}

fn read(path: &Path, selector: &str) -> Result<Stored, FileError> {
    // Large enough from the start: a buffer that grows leaves copies of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_DKIM_FILE).unwrap_or(0).saturating_add(64)));
    let file = File::open(path).map_err(|e| FileError::Io(path.to_owned(), e))?;
    forget(&file).map_err(|e| FileError::Io(path.to_owned(), e))?;
    file.take(MAX_DKIM_FILE.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| FileError::Io(path.to_owned(), e))?;
    if bytes.len() as u64 > MAX_DKIM_FILE {
        return Err(FileError::Form(path.to_owned()));
    }
    decode(&bytes, selector).ok_or_else(|| FileError::Form(path.to_owned()))
}

fn encode(stored: &Stored) -> Option<Zeroizing<Vec<u8>>> {
    let der = stored.key.to_pkcs8()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD.saturating_add(der.len())));
    bytes.extend_from_slice(MAGIC);
    bytes.push(match stored.key.algorithm() {
        Algorithm::Ed25519Sha256 => 1,
        Algorithm::RsaSha256 => 2,
    });
    bytes.extend_from_slice(&stored.made.to_be_bytes());
    bytes.extend_from_slice(&stored.signs_from.to_be_bytes());
    bytes.extend_from_slice(&der);
    Some(bytes)
}

fn decode(bytes: &[u8], selector: &str) -> Option<Stored> {
    let (algorithm, rest) = bytes.strip_prefix(MAGIC)?.split_first()?;
    let (made, rest) = rest.split_first_chunk()?;
    let (signs_from, der) = rest.split_first_chunk()?;
    let algorithm = match algorithm {
        1 => Algorithm::Ed25519Sha256,
        2 => Algorithm::RsaSha256,
        _ => return None,
    };
    Some(Stored {
        selector: selector.to_owned(),
        made: i64::from_be_bytes(*made),
        signs_from: i64::from_be_bytes(*signs_from),
        key: DkimKey::from_pkcs8(algorithm, der)?,
    })
}
