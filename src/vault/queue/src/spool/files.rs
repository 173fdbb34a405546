//! Large bodies: one file each, named by the number of its message, in the directory `spool`.

use jail::disk::Witness;
use rustix::fs::{Mode, OFlags, openat, unlinkat};
use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};
use wire::{MessageWriter, SealedMessage, edge::mail::QueueId};

/// Bytes copied at a time.
const CHUNK: usize = 256 * 1024;

/// The directory of large bodies.
#[derive(Debug)]
pub(crate) struct Files {
    dir: OwnedFd,
    witness: Witness,
}

impl Files {
    pub(crate) fn open(state: &Path) -> io::Result<Arc<Self>> {
        let path = state.join("spool");
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let dir = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
        // The directory itself must be there after a power cut, too.
        File::open(state)?.sync_all()?;
        Ok(Arc::new(Self { dir, witness: Witness::new(&path) }))
    }

    /// Writes a body and syncs it. The name is durable after [`Self::sync`].
    pub(crate) fn write(self: &Arc<Self>, id: QueueId, message: &SealedMessage) -> io::Result<SpoolFile> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = openat(&self.dir, id.to_string(), flags, Mode::RUSR | Mode::WUSR)?;
        let written = SpoolFile { files: self.clone(), id, keep: false };
        let mut file = File::from(fd);
        copy(message.len(), |buffer, at| message.read_exact_at(buffer, at), &mut file)?;
        file.sync_data()?;
        Ok(written)
    }

    /// Makes names that were added durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.dir)?)
    }

    /// After everything was synced that is to be promised: whether that can be believed.
    pub(crate) fn witness(&self) -> io::Result<()> {
        self.witness.ask()
    }

    /// The body as a new sealed message.
    pub(crate) fn read(&self, id: QueueId, size: u64) -> io::Result<SealedMessage> {
        let file = File::from(openat(&self.dir, id.to_string(), OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?);
        let mut writer = MessageWriter::new(size)?;
        copy(size, |buffer, at| std::os::unix::fs::FileExt::read_exact_at(&file, buffer, at), &mut writer)?;
        writer.seal()
    }

    pub(crate) fn remove(&self, id: QueueId) {
        if let Err(error) = unlinkat(&self.dir, id.to_string(), rustix::fs::AtFlags::empty()) {
            // What stays behind is removed at the next start.
            tracing::warn!(MESSAGE = %id, %error, "a body could not be removed");
        }
    }

    /// The numbers of all files; others are not ours and stay.
    pub(crate) fn list(&self) -> io::Result<Vec<QueueId>> {
        let mut ids = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            let id = entry.file_name().to_str().ok().filter(|n| n.len() == 16).and_then(|n| u64::from_str_radix(n, 16).ok());
            ids.extend(id.map(QueueId));
        }
        Ok(ids)
    }

    /// Bytes that can still be written to this disk.
    pub(crate) fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn copy(len: u64, read: impl Fn(&mut [u8], u64) -> io::Result<()>, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0u64;
    while at < len {
        let n = usize::try_from(len.saturating_sub(at)).unwrap_or(CHUNK).min(CHUNK);
        let chunk = buffer.get_mut(..n).unwrap_or_default();
        read(chunk, at)?;
        to.write_all(chunk)?;
        at = at.saturating_add(n as u64);
    }
    Ok(())
}

/// A body on disk whose message is not committed; dropped, it is gone again.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    files: Arc<Files>,
    id: QueueId,
    keep: bool,
}

impl SpoolFile {
    /// Its message is committed.
    pub(crate) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if !self.keep {
            self.files.remove(self.id);
        }
    }
}
