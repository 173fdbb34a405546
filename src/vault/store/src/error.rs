use rusqlite::ffi;
use wire::edge::store_session::Refusal;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("database: {0}")]
    Sql(#[from] rusqlite::Error),
    /// A file.
    #[error("file: {0}")]
    Io(#[from] std::io::Error),
    /// A record could not be encoded or decoded.
    #[error("record: {0}")]
    Record(wire::Error),
    /// What is stored contradicts itself.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// The database was written by a newer version.
    #[error("schema {0} is newer than this program")]
    Newer(i64),
    /// The request cannot be granted; nothing has changed.
    #[error("refused: {0:?}")]
    Refused(Refusal),
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<wire::Error> for StoreError {
    fn from(error: wire::Error) -> Self {
        Self::Record(error)
    }
}

impl StoreError {
    /// Whether this may be for want of file descriptors.
    pub(crate) fn is_out_of_files(&self) -> bool {
        match self {
            Self::Sql(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen),
            Self::Io(error) => {
                let code = rustix::io::Errno::from_io_error(error);
                code == Some(rustix::io::Errno::MFILE) || code == Some(rustix::io::Errno::NFILE)
            }
            _ => false,
        }
    }

    /// A sync that failed within SQLite is like any other: see [`crate::store::must`].
    pub(crate) fn end_if_a_sync_failed(&self) {
        if let Self::Sql(rusqlite::Error::SqliteFailure(error, _)) = self
            && matches!(error.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
        {
            jail::disk::lost(self);
        }
    }

    /// What a session is told.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Refused(refusal) => *refusal,
            _ => Refusal::Unavailable,
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;
