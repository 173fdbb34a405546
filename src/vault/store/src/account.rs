//! One account that is open: its database, what of it is kept in memory, and the transactions on both.
//!
//! * State and mailbox rows live in memory and are written through at the end of each transaction; after a failed one they are
//!   read again.
//! * A commit survives the end of this process, not a power cut: [`Dirty`] says what has to be synced for that.
//! * Bodies are written before the commit that refers to them. After a power cut the log may have reached the disk and a body not;
//!   [`Account::open`] finds such messages by their checksums and removes them with their delivery ids, so that they are delivered again.

use crate::{
    boxes::Boxes,
    error::{Result, StoreError},
    limits::{MAX_ACCOUNT_KEYWORDS, MAX_LOST, NUMBERS_LEFT_OUT, PAGE_CACHE_KIB, STATEMENTS, WAL_BACKSTOP_PAGES},
    schema,
    segment::{self, Body, Segments},
};
use jail::disk::lost;
use pure_addr::Text;
use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig, params};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use wire::edge::store_session::{Flags, MAX_KEYWORDS, Refusal, SystemFlags};

/// What must be synced before everything committed so far is safe from a power cut.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    pub(crate) files: BTreeMap<u32, Arc<File>>,
    pub(crate) log: Option<Arc<File>>,
    pub(crate) dir: Option<Arc<File>>,
    /// The newest email among it.
    pub(crate) email: i64,
}

impl Dirty {
    pub(crate) fn is_clean(&self) -> bool {
        self.files.is_empty() && self.log.is_none() && self.dir.is_none()
    }

    pub(crate) fn merge(&mut self, other: Dirty) {
        self.files.extend(other.files);
        self.log = other.log.or(self.log.take());
        self.dir = other.dir.or(self.dir.take());
        self.email = self.email.max(other.email);
    }

    /// Bodies first, so that the log never says more than they hold.
    pub(crate) fn sync(&self) -> io::Result<()> {
        for file in self.files.values() {
            rustix::fs::fdatasync(file)?;
        }
        if let Some(dir) = &self.dir {
            rustix::fs::fsync(dir)?;
        }
        if let Some(log) = &self.log {
            rustix::fs::fdatasync(log)?;
        }
        Ok(())
    }
}

/// The row of `state`.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) modseq: i64,
    pub(crate) next_mailbox: u32,
    pub(crate) next_email: i64,
    pub(crate) uid_validity: u32,
    pub(crate) used: u64,
    pub(crate) messages: u64,
    pub(crate) segment: u32,
    pub(crate) tail: u64,
    /// Emails up to this number are known to be on disk.
    pub(crate) durable_email: i64,
    /// Emails up to this number are in the text index.
    pub(crate) indexed_email: i64,
    /// Which start of the machine wrote this; 0 for one without a number.
    pub(crate) boot: i64,
}

/// What the running transaction has done so far.
#[derive(Debug, Default)]
pub(crate) struct Running {
    modseq: Option<i64>,
    live: BTreeMap<u32, i64>,
    files: BTreeMap<u32, Arc<File>>,
    new_file: bool,
    pub(crate) garbage: (u64, u64),
    news: News,
}

/// What committed transactions did to mailboxes that sessions may have open.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Mailboxes in which messages came, changed or went.
    pub(crate) changed: BTreeSet<u32>,
    /// Mailboxes that are no more.
    pub(crate) gone: BTreeSet<u32>,
    /// The modification sequence of the newest transaction.
    pub(crate) modseq: i64,
}

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) db: Connection,
    pub(crate) state: State,
    pub(crate) boxes: Boxes,
    /// Keyword n has the number n + 1.
    keywords: Vec<Text<64>>,
    pub(crate) segments: Segments,
    path: PathBuf,
    dir: Arc<File>,
    log: Option<Arc<File>>,
    pub(crate) running: Running,
    pub(crate) news: News,
    dirty: Dirty,
    /// Rows and bytes in `garbage`.
    pub(crate) garbage: (u64, u64),
    /// Settled delivery ids that are still in the database, at most.
    pub(crate) settled_slack: u32,
    /// Modification sequences that clients may have seen and the disk never had: above the first, up to the second.
    lost: Vec<(i64, i64)>,
    /// The memory no longer agrees with the database: close it.
    pub(crate) broken: bool,
}

impl Account {
    /// Opens the account in this directory, or makes it. `first`: no other opening came before in this process.
    pub(crate) fn open(path: &Path, now: i64, boot: Option<u64>, first: bool) -> Result<Self> {
        let created = make_dir(path)?;
        let file = path.join("index.db");
        // SQLite gives its other files the mode of this one.
        let database = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&file)?;
        let mut numbers_lost = false;
        if first {
            // An earlier process may have ended because one of these could not be synced.
            jail::disk::forget(&database)?;
            numbers_lost = jail::disk::reread(&path.join("index.db-wal"))?;
            if numbers_lost {
                tracing::warn!(account = %path.display(), "the disk does not hold all that was written; going on with what it holds");
            }
        }
        drop(database);
        let mut db = connect(&file)?;
        let filled = schema::migrate(&mut db, |db| fill(db, now, boot))?;
        let dir = Arc::new(File::open(path)?);
        if created || filled {
            must_sync(&dir);
            if let Some(parent) = path.parent() {
                must_sync(&File::open(parent)?);
            }
        }
        let mut account = Self {
            db,
            state: State::default(),
            boxes: Boxes::default(),
            keywords: Vec::new(),
            segments: Segments::new(dir.clone()),
            path: path.to_owned(),
            dir,
            log: None,
            running: Running::default(),
            news: News::default(),
            dirty: Dirty::default(),
            garbage: (0, 0),
            settled_slack: 0,
            lost: Vec::new(),
            broken: false,
        };
        account.load()?;
        // Before the first commit, so that nothing can hinder one from being synced, and so that no error of the log is missed.
        account.log()?;
        if filled {
            // Its UIDVALIDITY is on disk before anybody sees it.
            account.sync_log()?;
        }
        account.garbage =
            account.db.query_row("SELECT count(*), coalesce(sum(len), 0) FROM garbage", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if first {
            account.recover(boot, numbers_lost)?;
        }
        Ok(account)
    }

    fn load(&mut self) -> Result<()> {
        self.state = self
            .db
            .prepare_cached(
                "SELECT modseq, next_mailbox, next_email, uid_validity, used, messages, segment, tail, durable_email, boot, indexed_email
                 FROM state",
            )?
            .query_row([], |row| {
                Ok(State {
                    modseq: row.get(0)?,
                    next_mailbox: row.get(1)?,
                    next_email: row.get(2)?,
                    uid_validity: row.get(3)?,
                    used: row.get(4)?,
                    messages: row.get(5)?,
                    segment: row.get(6)?,
                    tail: row.get(7)?,
                    durable_email: row.get(8)?,
                    boot: row.get(9)?,
                    indexed_email: row.get(10)?,
                })
            })?;
        self.boxes = Boxes::load(&self.db)?;
        self.keywords.clear();
        let mut statement = self.db.prepare_cached("SELECT name FROM keyword ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            self.keywords.push(Text::new(name).map_err(|_| StoreError::Damaged("a keyword"))?);
        }
        let mut statement = self.db.prepare_cached("SELECT first, last FROM lost ORDER BY first")?;
        self.lost = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        Ok(())
    }

    /// What an earlier process left: messages whose bytes did not reach the disk, and segments of transactions that never were.
    fn recover(&mut self, boot: Option<u64>, numbers_lost: bool) -> Result<()> {
        if numbers_lost || boot.is_none_or(|boot| self.state.boot != stored(boot)) {
            self.write(|account| account.skip_numbers(boot))?;
            // Before any of the new numbers is seen: the next power cut must find them left out.
            self.sync_log()?;
        }
        let mut broken = Vec::new();
        let mut unsynced = BTreeSet::from([self.state.segment]);
        let mut reread = BTreeSet::new();
        {
            let mut statement = self.db.prepare("SELECT id, segment, offset, len, crc FROM email WHERE id > ?")?;
            let mut rows = statement.query([self.state.durable_email])?;
            while let Some(row) = rows.next()? {
                let segment = row.get(1)?;
                unsynced.insert(segment);
                if reread.insert(segment) {
                    self.segments.reread(segment)?;
                }
                if !self.segments.verify(segment, row.get(2)?, row.get(3)?, row.get(4)?)? {
                    broken.push(row.get::<_, i64>(0)?);
                }
            }
        }
        if !broken.is_empty() {
            tracing::warn!(account = %self.path.display(), messages = broken.len(), "bodies did not reach the disk: to be delivered again");
            self.write(|account| broken.iter().try_for_each(|email| account.forget_email(*email)))?;
        }
        let known: BTreeSet<u32> = {
            let mut statement = self.db.prepare("SELECT id FROM segment")?;
            statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
        };
        for segment in segment::list(&self.path)? {
            if !known.contains(&segment) && segment != self.state.segment {
                self.segments.unlink(segment)?;
            }
        }
        // The earlier process may have ended before it synced what it had answered.
        for segment in unsynced {
            if let Ok(file) = self.segments.share(segment) {
                self.dirty.files.insert(segment, Arc::new(file.into()));
            }
        }
        self.dirty.dir = Some(self.dir.clone());
        self.dirty.email = self.state.next_email.saturating_sub(1);
        self.dirty.log = self.log()?;
        Ok(())
    }

    /// After a power cut, the newest UIDs and modification sequences that clients saw may not have reached the disk. None of them may be
    /// given again to something else, so some are left out. A client that comes with one of them has to be told everything.
    fn skip_numbers(&mut self, boot: Option<u64>) -> Result<()> {
        self.state.boot = boot.map_or(0, stored);
        let last_kept = self.state.modseq;
        self.state.modseq = self.state.modseq.saturating_add(i64::from(NUMBERS_LEFT_OUT));
        self.lost.push((last_kept, self.state.modseq));
        let forgotten = self.lost.len().saturating_sub(MAX_LOST);
        self.lost.drain(..forgotten);
        self.db.execute("DELETE FROM lost", [])?;
        for (first, last) in &self.lost {
            self.db.execute("INSERT INTO lost(first, last) VALUES(?, ?)", [first, last])?;
        }
        self.state.next_email = self.state.next_email.saturating_add(i64::from(NUMBERS_LEFT_OUT));
        self.boxes.skip_uids(NUMBERS_LEFT_OUT);
        Ok(())
    }

    /// Removes an email whose bytes are lost, as if it had been expunged and never been delivered.
    fn forget_email(&mut self, email: i64) -> Result<()> {
        let at: Vec<(u32, u32)> = {
            let mut statement = self.db.prepare("SELECT mailbox, uid FROM message WHERE email = ?")?;
            statement.query_map([email], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?
        };
        for (mailbox, uid) in at {
            self.remove_uid(mailbox, uid)?;
        }
        self.db.execute("DELETE FROM delivery WHERE email = ?", [email])?;
        Ok(())
    }

    /// Runs a transaction: all of it or nothing, in the database and in memory.
    pub(crate) fn write<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.broken {
            return Err(StoreError::Damaged("what is in memory is not what is stored; the account is opened anew"));
        }
        self.running = Running::default();
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let result = change(self).and_then(|value| {
            self.flush()?;
            self.db.prepare_cached("COMMIT")?.execute([])?;
            Ok(value)
        });
        match result {
            Ok(value) => {
                self.committed();
                Ok(value)
            }
            Err(error) => {
                error.end_if_a_sync_failed();
                // What became of a failed commit only the database knows: nothing of it counts as synced.
                self.soil();
                let undone = if self.db.is_autocommit() { Ok(()) } else { self.db.execute_batch("ROLLBACK").map_err(StoreError::from) };
                if undone.and_then(|()| self.load()).is_err() {
                    self.broken = true;
                }
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        let live = std::mem::take(&mut self.running.live);
        for (segment, change) in live {
            let sql = "INSERT INTO segment(id, live) VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET live = live + ?2";
            self.db.prepare_cached(sql)?.execute(params![segment, change])?;
        }
        self.boxes.flush(&self.db)?;
        let s = &self.state;
        self.db
            .prepare_cached(
                "UPDATE state SET modseq = ?, next_mailbox = ?, next_email = ?, uid_validity = ?, used = ?, messages = ?, segment = ?,
                 tail = ?, durable_email = ?, boot = ?, indexed_email = ?",
            )?
            .execute(params![
                s.modseq,
                s.next_mailbox,
                s.next_email,
                s.uid_validity,
                s.used,
                s.messages,
                s.segment,
                s.tail,
                s.durable_email,
                s.boot,
                s.indexed_email
            ])?;
        Ok(())
    }

    /// Nothing here may fail: what is committed must not be reported as if it were not.
    fn committed(&mut self) {
        self.soil();
        let running = std::mem::take(&mut self.running);
        self.news.changed.extend(running.news.changed);
        self.news.gone.extend(running.news.gone);
        self.news.modseq = self.state.modseq;
        self.garbage.0 = self.garbage.0.saturating_add(running.garbage.0);
        self.garbage.1 = self.garbage.1.saturating_add(running.garbage.1);
        self.dirty.email = self.state.next_email.saturating_sub(1);
    }

    /// Notes what the running transaction has written, to be synced.
    fn soil(&mut self) {
        self.dirty.files.append(&mut self.running.files);
        if self.running.new_file {
            self.dirty.dir = Some(self.dir.clone());
        }
        match self.log() {
            Ok(log) => self.dirty.log = log,
            // It was opened with the account; when there was none then, there is one now.
            Err(error) => lost(&error),
        }
    }

    /// SQLite's write-ahead log, to sync it. SQLite takes no locks on this file, so closing our descriptor releases none.
    fn log(&mut self) -> io::Result<Option<Arc<File>>> {
        if self.log.is_none() {
            self.log = match File::open(self.path.join("index.db-wal")) {
                Ok(file) => Some(Arc::new(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => return Err(e),
            };
        }
        Ok(self.log.clone())
    }

    pub(crate) fn sync_log(&mut self) -> io::Result<()> {
        if let Some(log) = self.log()? {
            // An error is told once: whoever syncs this file later would not hear of it.
            rustix::fs::fdatasync(&*log).unwrap_or_else(|error| lost(&error));
        }
        Ok(())
    }

    pub(crate) fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    pub(crate) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Bytes in the write-ahead log.
    pub(crate) fn log_len(&self) -> u64 {
        self.log.as_ref().and_then(|log| log.metadata().ok()).map_or(0, |meta| meta.len())
    }

    /// Moves the write-ahead log into the database and empties it; syncs both.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        let done = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).optional().map_err(StoreError::from);
        done.map(drop).inspect_err(StoreError::end_if_a_sync_failed)
    }

    /// Whether a client that knows the state of this modification sequence knows what a power cut took back.
    pub(crate) fn was_lost(&self, since: i64) -> bool {
        self.lost.iter().any(|(first, last)| *first < since && since <= *last)
    }

    /// The modification sequence of the running transaction; all its changes have the same.
    pub(crate) fn modseq(&mut self) -> Result<i64> {
        if let Some(modseq) = self.running.modseq {
            return Ok(modseq);
        }
        self.state.modseq = self.state.modseq.checked_add(1).ok_or(StoreError::Damaged("the modification sequence"))?;
        self.running.modseq = Some(self.state.modseq);
        Ok(self.state.modseq)
    }

    /// Notes a change of messages for other sessions.
    pub(crate) fn changed(&mut self, mailbox: u32) {
        self.running.news.changed.insert(mailbox);
    }

    /// Notes the end of a mailbox for other sessions.
    pub(crate) fn gone(&mut self, mailbox: u32) {
        self.running.news.gone.insert(mailbox);
    }

    /// Writes a body behind the last one. Returns segment, offset and checksum.
    pub(crate) fn write_body(&mut self, body: &Body) -> Result<(u32, u64, u32)> {
        let len = body.len();
        if self.state.tail > 0 && self.state.tail.saturating_add(len) > crate::limits::SEGMENT {
            self.state.segment = self.state.segment.checked_add(1).ok_or(StoreError::Refused(Refusal::Limit))?;
            self.state.tail = 0;
        }
        let (segment, offset) = (self.state.segment, self.state.tail);
        let (crc, file) = self.segments.write(segment, offset, body)?;
        self.running.new_file |= offset == 0;
        self.running.files.insert(segment, file);
        self.state.tail = offset.saturating_add(len);
        self.live(segment, 1);
        Ok((segment, offset, crc))
    }

    /// Counts the emails in a segment.
    pub(crate) fn live(&mut self, segment: u32, change: i64) {
        let live = self.running.live.entry(segment).or_default();
        *live = live.saturating_add(change);
    }

    /// The stored form of keywords: ascending numbers, two bytes each; none for none.
    pub(crate) fn keyword_numbers(&mut self, names: &[Text<64>]) -> Result<Option<Vec<u8>>> {
        let mut numbers = BTreeSet::new();
        for name in names {
            let number = match self.keyword_number(name.as_str()) {
                Some(number) => number,
                None => {
                    if self.keywords.len() >= MAX_ACCOUNT_KEYWORDS {
                        return Err(Refusal::Limit.into());
                    }
                    self.keywords.push(name.clone());
                    let number = u16::try_from(self.keywords.len()).map_err(|_| Refusal::Limit)?;
                    self.db.prepare_cached("INSERT INTO keyword(id, name) VALUES(?, ?)")?.execute(params![number, name.as_str()])?;
                    number
                }
            };
            numbers.insert(number);
        }
        pack(&numbers)
    }

    /// The number of a keyword that is in use.
    pub(crate) fn keyword_number(&self, name: &str) -> Option<u16> {
        let at = self.keywords.iter().position(|k| k.as_str().eq_ignore_ascii_case(name))?;
        u16::try_from(at).ok()?.checked_add(1)
    }

    /// Flags as a session sees them.
    pub(crate) fn flags(&self, system: u8, keywords: Option<&[u8]>) -> Flags {
        let mut flags = Flags { system: SystemFlags(system), ..Flags::default() };
        for number in unpack(keywords) {
            if let Some(name) = usize::from(number).checked_sub(1).and_then(|at| self.keywords.get(at)) {
                // Not more were ever stored.
                let _ = flags.keywords.push(name.clone());
            }
        }
        flags
    }
}

/// The number of a start of the machine in SQLite's signed integers.
fn stored(boot: u64) -> i64 {
    boot.cast_signed()
}

fn must_sync(dir: &File) {
    dir.sync_all().unwrap_or_else(|error| lost(&error));
}

/// Ascending numbers as bytes.
pub(crate) fn pack(numbers: &BTreeSet<u16>) -> Result<Option<Vec<u8>>> {
    if numbers.len() > MAX_KEYWORDS {
        return Err(Refusal::Limit.into());
    }
    Ok((!numbers.is_empty()).then(|| numbers.iter().flat_map(|n| n.to_be_bytes()).collect()))
}

/// The numbers in the stored form.
pub(crate) fn unpack(keywords: Option<&[u8]>) -> impl Iterator<Item = u16> {
    keywords.unwrap_or_default().as_chunks::<2>().0.iter().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Whether the directory is new.
fn make_dir(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

fn connect(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(file, flags)?;
    db.busy_timeout(Duration::ZERO)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // Closing must be cheap: accounts come and go by the least recent use, and the log is read again at the next opening.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Exclusive before WAL: the log's index is then on the heap, and no shared memory file exists.
    db.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{PAGE_CACHE_KIB};
         PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF;
         PRAGMA wal_autocheckpoint = {WAL_BACKSTOP_PAGES};"
    ))?;
    Ok(db)
}

fn fill(db: &Connection, now: i64, boot: Option<u64>) -> Result<()> {
    // UIDVALIDITY grows from the time of creation, so that an account that was lost and made again has other ones.
    let seed = u32::try_from(now).unwrap_or(1).max(1);
    db.execute("INSERT INTO state VALUES(1, 1, 1, 1, ?, 0, 0, 1, 0, 0, ?, 0)", params![seed, boot.map_or(0, stored)])?;
    db.execute("INSERT INTO segment(id, live) VALUES(1, 0)", [])?;
    crate::boxes::fill(db)
}
