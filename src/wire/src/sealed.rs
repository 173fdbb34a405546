use rustix::fs::{FileType, MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fcntl_getfl, fstat, memfd_create};
use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK);

/// A message that nobody can change any more: a memfd sealed against writing, growing and shrinking.
#[derive(Debug)]
pub struct SealedMessage {
    file: File,
    len: u64,
}

/// Why a descriptor is no [`SealedMessage`].
#[derive(Debug, thiserror::Error)]
pub enum NotSealed {
    /// A system call failed; a descriptor that is no memfd ends here.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A seal is missing.
    #[error("is not sealed")]
    Seals,
    /// Not a regular file, or not readable.
    #[error("is not a readable regular file")]
    Kind,
    /// Larger than the limit, in bytes. A sparse sealed memfd of 1 TiB costs its maker nothing.
    #[error("is larger than {0} bytes")]
    Size(u64),
}

impl SealedMessage {
    /// Checks seals, type and size of a descriptor that a peer sent.
    pub fn from_fd(fd: OwnedFd, limit: u64) -> Result<Self, NotSealed> {
        let seals = fcntl_get_seals(&fd).map_err(io::Error::from)?;
        if !seals.contains(SEALS) {
            return Err(NotSealed::Seals);
        }
        let mode = fcntl_getfl(&fd).map_err(io::Error::from)?;
        let stat = fstat(&fd).map_err(io::Error::from)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || mode.contains(OFlags::WRONLY) || mode.contains(OFlags::PATH) {
            return Err(NotSealed::Kind);
        }
        let len = u64::try_from(stat.st_size).map_err(|_| NotSealed::Kind)?;
        if len > limit {
            return Err(NotSealed::Size(limit));
        }
        Ok(Self { file: File::from(fd), len })
    }

    /// Bytes in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Fills `buffer` from `offset`.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Another handle on the same bytes.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, len: self.len })
    }
}

impl AsFd for SealedMessage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Collects a message and seals it.
#[derive(Debug)]
pub struct MessageWriter {
    file: File,
    len: u64,
    limit: u64,
}

impl MessageWriter {
    /// An empty message that may grow to `limit` bytes.
    pub fn new(limit: u64) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
        let fd = memfd_create("message", flags)?;
        Ok(Self { file: File::from(fd), len: 0, limit })
    }

    /// A sealed message with these bytes.
    pub fn sealed(bytes: &[u8]) -> io::Result<SealedMessage> {
        let mut writer = Self::new(bytes.len() as u64)?;
        writer.write_all(bytes)?;
        writer.seal()
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// No byte can be added or changed from here on.
    pub fn seal(self) -> io::Result<SealedMessage> {
        fcntl_add_seals(&self.file, SEALS.union(SealFlags::SEAL))?;
        Ok(SealedMessage { file: self.file, len: self.len })
    }
}

impl Write for MessageWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len.saturating_add(bytes.len() as u64) > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let n = self.file.write(bytes)?;
        self.len = self.len.saturating_add(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::ftruncate;

    #[test]
    fn sealed_and_read_back() {
        let message = MessageWriter::sealed(b"hello").unwrap();
        let copy = SealedMessage::from_fd(message.as_fd().try_clone_to_owned().unwrap(), 5).unwrap();
        assert_eq!(copy.read_all().unwrap(), b"hello");
        assert!(File::from(copy.as_fd().try_clone_to_owned().unwrap()).write_all(b"x").is_err());
    }

    #[test]
    fn the_writer_keeps_its_limit() {
        let mut writer = MessageWriter::new(4).unwrap();
        writer.write_all(b"1234").unwrap();
        assert!(writer.write_all(b"5").is_err());
    }

    #[test]
    fn other_descriptors_are_refused() {
        let open = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(matches!(SealedMessage::from_fd(open, 10), Err(NotSealed::Seals)));

        let partly = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        fcntl_add_seals(&partly, SealFlags::WRITE | SealFlags::GROW).unwrap();
        assert!(matches!(SealedMessage::from_fd(partly, 10), Err(NotSealed::Seals)));

        let sparse = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&sparse, 1 << 40).unwrap();
        fcntl_add_seals(&sparse, SEALS).unwrap();
        assert!(matches!(SealedMessage::from_fd(sparse, 1 << 20), Err(NotSealed::Size(_))));

        let null = File::open("/dev/null").unwrap();
        assert!(SealedMessage::from_fd(null.into(), 10).is_err());
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(SealedMessage::from_fd(socket.into(), 10).is_err());
    }
}
