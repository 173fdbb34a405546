//! What of a vault's file is on the disk, as opposed to what the page cache and a sync say of it.
//!
//! When the kernel cannot write a page it tells whoever syncs next, once, and keeps the page as if it had been written. A process that
//! ends over that, and the next one that reads the file, would find in it what no power cut leaves. So what an earlier process may have
//! failed to sync is read from the disk.
//!
//! Nor is every sync told. An ext4 that could not write its journal says so to one fsync(2), whoever's that is, and not to syncfs(2): all
//! later ones succeed, in every process, until something is to be changed (seen on Linux 6.18). So whoever is about to promise something
//! changes something after the sync, see [`Witness`].

use rustix::{
    fs::{Advice, FallocateFlags, Mode, OFlags, fadvise, fallocate, fdatasync},
    io::Errno,
};
use std::{
    fs::File,
    hash::{DefaultHasher, Hasher},
    io,
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// A file without a name, to be changed after a sync.
#[derive(Debug)]
pub struct Witness {
    file: OnceLock<File>,
    /// Where it is made; nowhere where the file system has no such files.
    place: Option<PathBuf>,
}

impl Witness {
    /// One in the file system of this directory. Where there are no such files, every sync is believed.
    pub fn new(dir: &Path) -> Self {
        let mut this = Self { file: OnceLock::new(), place: Some(dir.to_owned()) };
        if let Err(error) = this.file() {
            tracing::warn!(%error, "a file system that has given up may be noticed late");
            this.place = this.place.filter(|_| is_for_now(error) || has_given_up(error));
        }
        this
    }

    /// One that sees every change of this file instead: a device, which has no room to make, is a file system that has given up.
    #[doc(hidden)]
    pub fn of(file: File) -> Self {
        Self { file: file.into(), place: None }
    }

    fn file(&self) -> Result<Option<&File>, Errno> {
        let (None, Some(place)) = (self.file.get(), &self.place) else { return Ok(self.file.get()) };
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        let fd = rustix::fs::open(place, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Some(self.file.get_or_init(|| File::from(fd))))
    }

    /// After a sync that succeeded: an error when the file system had given up before, so that it may have been no sync. A full disk is none.
    pub fn ask(&self) -> io::Result<()> {
        let file = match self.file() {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(()),
            Err(error) if is_for_now(error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // Room for a byte that is there already, once there is: it takes a transaction to find that out.
        match fallocate(file, FallocateFlags::KEEP_SIZE, 0, 1) {
            Ok(()) | Err(Errno::NOSPC | Errno::DQUOT | Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// There will be one when there is room, or a descriptor.
fn is_for_now(error: Errno) -> bool {
    matches!(error, Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

fn has_given_up(error: Errno) -> bool {
    matches!(error, Errno::IO | Errno::ROFS)
}

/// Bytes looked at in one go.
const PIECE: usize = 256 * 1024;

/// The next reading of this file comes from the disk. What still waits to be written is written first: while a part of a folio is under
/// way, the kernel keeps all of it, also the part that it could not write. Whether this write succeeds is seen by what is read then.
pub fn forget(file: impl AsFd) -> io::Result<()> {
    let _seen_by_reading = fdatasync(&file);
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

/// The same by name; true when the disk holds something else than was read before: a sync failed, and what followed it is lost.
/// A file that does not exist is as it was. Reads the file twice.
pub fn reread(path: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    let before = digest(&file)?;
    forget(&file)?;
    Ok(digest(&file)? != before)
}

/// For a SQLite database and its write-ahead log, before it is opened: what an earlier process wrote and could not sync is not found.
/// True when there was something like that in the log.
pub fn reread_database(path: &Path) -> io::Result<bool> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // A commit behind a log that exists in memory alone would be lost with it.
    let lost = reread(Path::new(&log))?;
    match File::open(path) {
        Ok(file) => forget(&file)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    Ok(lost)
}

/// Ends the process: a write or a sync failed, and what was promised may be lost. The kernel forgets the pages, or keeps them as if they had
/// been written, so nothing that is cached can be trusted, nor a sync that succeeds later: only a new start from the disk is honest.
pub fn lost(error: &dyn std::fmt::Display) -> ! {
    tracing::error!(%error, "the disk did not take what was written; stopping");
    std::process::abort();
}

fn digest(file: &File) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE];
    let (mut hasher, mut at) = (DefaultHasher::new(), 0u64);
    loop {
        let n = match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.write(buffer.get(..n).unwrap_or_default());
        at = at.saturating_add(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        fs::{FsWord, fstatfs},
        process::{Resource, Rlimit, getrlimit, setrlimit},
    };

    /// `linux/magic.h`: a file system that is nothing but page cache.
    const TMPFS_MAGIC: FsWord = 0x0102_1994;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// Bytes that this thread had fetched from disks (proc_pid_io(5)); none where the kernel does not count them.
    fn fetched() -> Option<u64> {
        let io = std::fs::read_to_string("/proc/thread-self/io").ok()?;
        io.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.parse().ok()
    }

    /// Whether reading the file takes the disk.
    fn is_cached(file: &File) -> Option<bool> {
        let before = fetched()?;
        file.read_at(&mut [0], 0).unwrap();
        Some(fetched()? == before)
    }

    #[test]
    fn what_is_on_the_disk_is_read_again_and_what_is_not_stays() {
        let scratch = Scratch(std::env::temp_dir().join(format!("jail-disk-{}", std::process::id())));
        std::fs::write(&scratch.0, b"text").unwrap();
        let file = File::open(&scratch.0).unwrap();
        assert!(!reread(&scratch.0).unwrap());
        file.sync_all().unwrap();
        if fstatfs(&file).unwrap().f_type == TMPFS_MAGIC || is_cached(&file) != Some(true) {
            return;
        }
        forget(&file).unwrap();
        assert_eq!(is_cached(&file), Some(false));
        assert!(!reread(&scratch.0).unwrap() && !reread(&scratch.0.with_extension("none")).unwrap());
        assert_eq!(std::fs::read(&scratch.0).unwrap(), b"text");
    }

    /// Where there is no descriptor left, the file is made when there is one. In a process of its own: a limit is for all of it.
    #[test]
    fn a_witness_that_cannot_be_yet_is_made_later() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let status = command.args(["--exact", "disk::tests::without_a_descriptor", "--ignored", "--quiet"]).status().unwrap();
        assert!(status.success());
    }

    #[test]
    #[ignore = "is run by another test, in a process of its own"]
    fn without_a_descriptor() {
        let (dir, all) = (std::env::temp_dir(), getrlimit(Resource::Nofile));
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..all }).unwrap();
        let witness = Witness::new(&dir);
        assert!(witness.ask().is_ok() && witness.file.get().is_none());
        setrlimit(Resource::Nofile, all).unwrap();
        assert!(witness.ask().is_ok());
        // Some file systems have none at all.
        assert_eq!(witness.file.get().is_some(), Witness::new(&dir).file.get().is_some());
        let nowhere = Witness::new(Path::new("/nowhere"));
        assert!(nowhere.ask().is_ok() && nowhere.place.is_none());
    }
}
