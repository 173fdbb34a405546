//! The files that hold the bodies of one account: `seg-N`, appended to, never changed, punched or unlinked when nobody refers to them.
//!
//! * Only `[0, tail)` of the active segment and segments named in the database mean anything; the rest is left over from a
//!   transaction that did not happen, and is overwritten.
//! * The writable descriptor stays here. What a session gets is opened read-only.

use crate::limits::{COPY_PIECE, MAX_READERS};
use rustix::{
    fs::{FallocateFlags, Mode, OFlags, fallocate, openat, unlinkat},
    io::Errno,
};
use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
    sync::Arc,
};
use wire::SealedMessage;

/// The bytes of one message on their way into a segment.
#[derive(Debug)]
pub(crate) enum Body {
    /// Small: already read, with its checksum.
    Bytes(Vec<u8>, u32),
    /// Large: what goes in front, and the message.
    Sealed(Vec<u8>, SealedMessage),
}

impl Body {
    /// Reads what is small.
    pub(crate) fn new(prefix: &[u8], message: SealedMessage) -> io::Result<Self> {
        if message.len() > crate::limits::INLINE_MESSAGE {
            return Ok(Self::Sealed(prefix.to_vec(), message));
        }
        let len = usize::try_from(message.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; len.saturating_add(prefix.len())];
        let (front, back) = bytes.split_at_mut(prefix.len());
        front.copy_from_slice(prefix);
        message.read_exact_at(back, 0)?;
        let crc = crc32fast::hash(&bytes);
        Ok(Self::Bytes(bytes, crc))
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes, _) => bytes.len() as u64,
            Self::Sealed(prefix, message) => message.len().saturating_add(prefix.len() as u64),
        }
    }

    pub(crate) fn is_large(&self) -> bool {
        matches!(self, Self::Sealed(..))
    }

    /// Writes all of it; returns its checksum.
    fn write_at(&self, file: &File, offset: u64) -> io::Result<u32> {
        match self {
            Self::Bytes(bytes, crc) => file.write_all_at(bytes, offset).map(|()| *crc),
            Self::Sealed(prefix, message) => {
                let mut crc = crc32fast::Hasher::new();
                crc.update(prefix);
                file.write_all_at(prefix, offset)?;
                let start = offset.saturating_add(prefix.len() as u64);
                pieces(message.len(), |buffer, at| {
                    message.read_exact_at(buffer, at)?;
                    crc.update(buffer);
                    file.write_all_at(buffer, start.saturating_add(at))
                })?;
                Ok(crc.finalize())
            }
        }
    }
}

/// Calls `each` with a buffer for every piece of `len` bytes.
fn pieces(len: u64, mut each: impl FnMut(&mut [u8], u64) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(COPY_PIECE).min(COPY_PIECE)];
    let mut at = 0u64;
    while at < len {
        let n = usize::try_from(len.saturating_sub(at)).unwrap_or(COPY_PIECE).min(COPY_PIECE);
        let piece = buffer.get_mut(..n).ok_or(io::ErrorKind::InvalidInput)?;
        each(piece, at)?;
        at = at.saturating_add(n as u64);
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Segments {
    dir: Arc<File>,
    writer: Option<(u32, Arc<File>)>,
    readers: HashMap<u32, File>,
}

impl Segments {
    pub(crate) fn new(dir: Arc<File>) -> Self {
        Self { dir, writer: None, readers: HashMap::new() }
    }

    /// Writes a body; the file has to be synced before the message is safe.
    pub(crate) fn write(&mut self, segment: u32, offset: u64, body: &Body) -> io::Result<(u32, Arc<File>)> {
        let file = self.writer(segment)?;
        let crc = body.write_at(&file, offset)?;
        Ok((crc, file))
    }

    fn writer(&mut self, segment: u32) -> io::Result<Arc<File>> {
        match &self.writer {
            Some((open, file)) if *open == segment => Ok(file.clone()),
            _ => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let file = Arc::new(File::from(openat(&self.dir, name(segment), flags, Mode::RUSR | Mode::WUSR)?));
                self.writer = Some((segment, file.clone()));
                Ok(file)
            }
        }
    }

    /// A read-only descriptor of a segment, for another process.
    pub(crate) fn share(&mut self, segment: u32) -> io::Result<OwnedFd> {
        Ok(self.reader(segment)?.try_clone()?.into())
    }

    fn reader(&mut self, segment: u32) -> io::Result<&File> {
        if !self.readers.contains_key(&segment) {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = File::from(openat(&self.dir, name(segment), flags, Mode::empty())?);
            if self.readers.len() >= MAX_READERS {
                self.readers.clear();
            }
            self.readers.insert(segment, file);
        }
        self.readers.get(&segment).ok_or(io::ErrorKind::NotFound.into())
    }

    /// The next reading comes from the disk, not from what an earlier process left in memory.
    pub(crate) fn reread(&mut self, segment: u32) -> io::Result<()> {
        match self.reader(segment) {
            Ok(file) => jail::disk::forget(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Whether these bytes are there and have this checksum.
    pub(crate) fn verify(&mut self, segment: u32, offset: u64, len: u64, crc: u32) -> io::Result<bool> {
        let file = match self.reader(segment) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let mut hasher = crc32fast::Hasher::new();
        let read = pieces(len, |buffer, at| {
            file.read_exact_at(buffer, offset.saturating_add(at))?;
            hasher.update(buffer);
            Ok(())
        });
        match read {
            Ok(()) => Ok(hasher.finalize() == crc),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Gives the blocks of these bytes back to the file system, as far as it can.
    pub(crate) fn punch(&self, segment: u32, offset: u64, len: u64) -> io::Result<()> {
        let file = match openat(&self.dir, name(segment), OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        match fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
            // A file system without holes gets its space back when the whole segment goes.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes a segment's name; who reads it goes on reading.
    pub(crate) fn unlink(&mut self, segment: u32) -> io::Result<()> {
        self.readers.remove(&segment);
        if self.writer.as_ref().is_some_and(|(open, _)| *open == segment) {
            self.writer = None;
        }
        match unlinkat(&self.dir, name(segment), rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

fn name(segment: u32) -> String {
    format!("seg-{segment}")
}

/// The segments in a directory, whoever refers to them.
pub(crate) fn list(dir: &Path) -> io::Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir)? {
        let file = entry?.file_name();
        let number = file.to_str().and_then(|f| f.strip_prefix("seg-")).and_then(|n| n.parse::<u32>().ok());
        if let Some(number) = number.filter(|n| name(*n).as_str() == file) {
            found.insert(number);
        }
    }
    Ok(found)
}
