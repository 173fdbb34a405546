//! `auth.db`: what was added at run time, the number of every account there ever was, and all verifiers set with `passwd`.
//!
//! One SQLite file of mode 0600, one process, one connection. Every change is one transaction, on disk when it returns without an error.
//! After an error of the disk nobody knows, so the process ends, and the next start goes by what the disk holds; a full one changes nothing.
//! Addresses are kept as written and under their directory key; a removed account keeps its row, so its number is never
//! given again, and loses its key and its verifiers.

use crate::verifier::{InvalidVerifier, Verifiers};
use jail::disk::{Witness, lost, reread_database};
use pure_addr::{AccountId, Address, Domain, Invalid};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, config::DbConfig, params, types::Type};
use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path};
use wire::{List, edge::auth_directory::MAX_TARGETS};
use zeroize::Zeroizing;

/// "auth" as a big-endian number: marks the file as ours.
const APPLICATION_ID: i64 = 0x6175_7468;
/// The layout that this build reads and writes.
const SCHEMA_VERSION: i64 = 2;
/// Tries to find an unused random account number; a second one is already a wonder.
const MAX_ID_TRIES: usize = 8;

const FIRST: &str = "
    CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE account (
        id INTEGER PRIMARY KEY,
        -- Directory key; null when removed.
        key TEXT UNIQUE,
        address TEXT NOT NULL,
        -- 1: added at run time; 0: known because the configuration declares it, or did once.
        run_time INTEGER NOT NULL,
        quota INTEGER,
        argon2 TEXT,
        scram TEXT
    ) STRICT;
    CREATE TABLE domain (name TEXT PRIMARY KEY) STRICT;
    CREATE TABLE alias (key TEXT PRIMARY KEY, address TEXT NOT NULL) STRICT;
    CREATE TABLE target (
        alias TEXT NOT NULL REFERENCES alias (key) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        address TEXT NOT NULL,
        PRIMARY KEY (alias, position)
    ) STRICT, WITHOUT ROWID;
";
/// The mark of the verifiers that open sessions of an account may have been opened with, beside those that it has now; null: there are none.
const SECOND: &str = "ALTER TABLE account ADD COLUMN in_force BLOB;";

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("auth.db has layout {0}; this build knows layout {SCHEMA_VERSION}")]
    OtherLayout(i64),
    #[error("auth.db is not a database of this program")]
    Foreign,
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    #[error("no unused account number was found")]
    NoId,
}

/// An account's row.
#[derive(Debug, Clone)]
pub(crate) struct StoredAccount {
    pub(crate) id: AccountId,
    pub(crate) address: Address,
    pub(crate) run_time: bool,
    pub(crate) quota: Option<u64>,
    pub(crate) verifiers: Verifiers,
}

/// What tells verifiers apart and says nothing else of them.
pub(crate) type Mark = [u8; 32];

/// The targets of an alias.
pub(crate) type Targets = List<Address, MAX_TARGETS>;

/// Everything in the file.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) accounts: Vec<StoredAccount>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) aliases: Vec<(Address, Targets)>,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    witness: Witness,
}

impl Database {
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        // SQLite gives its journal the mode of the file, so the file has to exist with the right one first.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.into()),
            _ => {}
        }
        // An earlier process may have been told that one of these could not be synced.
        if reread_database(path)? {
            tracing::warn!("the disk does not hold all that was written to auth.db; going on with what it holds");
        }
        let mut connection = Connection::open(path)?;
        // Who does not start because the disk did not take the log must not write from it into the database.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // Exclusive: no shared memory beside the file, and no second process.
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;",
        )?;
        migrate(&mut connection)?;
        let witness = Witness::new(path.parent().unwrap_or(path));
        witness.ask()?;
        // Who ends in order does: what was replaced does not stay in the log.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(Self { connection, witness })
    }

    /// One transaction. Once the disk did not take one, the page cache may hold what the disk does not, and a later sync would not tell.
    fn change<T>(&mut self, change: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        let done = self.commit(change);
        match &done {
            Err(DatabaseError::Sqlite(error)) if error.sqlite_error_code().is_some_and(is_of_the_disk) => lost(error),
            Err(DatabaseError::File(error)) => lost(error),
            _ => done,
        }
    }

    fn commit<T>(&mut self, change: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        let transaction = self.connection.transaction()?;
        let value = change(&transaction)?;
        transaction.commit()?;
        // Before anybody is told of it: whether its sync was one.
        self.witness.ask()?;
        Ok(value)
    }

    /// 32 random bytes of this installation, made on first use.
    pub(crate) fn secret(&mut self, name: &str) -> Result<Zeroizing<[u8; 32]>, DatabaseError> {
        self.change(|change| {
            let kept = change.query_row("SELECT value FROM secret WHERE name = ?1", [name], |row| row.get::<_, [u8; 32]>(0)).optional()?;
            if let Some(secret) = kept {
                return Ok(Zeroizing::new(secret));
            }
            let mut fresh = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *fresh).map_err(DatabaseError::Random)?;
            change.execute("INSERT INTO secret (name, value) VALUES (?1, ?2)", params![name, *fresh])?;
            Ok(fresh)
        })
    }

    /// Everything but removed accounts.
    pub(crate) fn load(&self) -> Result<Stored, DatabaseError> {
        let mut stored = Stored::default();
        let mut accounts = self
            .connection
            .prepare("SELECT id, address, run_time, quota, argon2, scram FROM account WHERE key IS NOT NULL ORDER BY key")?;
        for account in accounts.query_map([], read_account)? {
            stored.accounts.push(account?);
        }
        let mut domains = self.connection.prepare("SELECT name FROM domain ORDER BY name")?;
        for domain in domains.query_map([], |row| parsed(row, 0, Domain::parse))? {
            stored.domains.push(domain?);
        }
        let mut aliases =
            self.connection.prepare("SELECT alias.address, target.address FROM alias JOIN target ON alias = key ORDER BY key, position")?;
        for pair in aliases.query_map([], |row| Ok((parsed(row, 0, Address::parse)?, parsed(row, 1, Address::parse)?)))? {
            let (address, target) = pair?;
            match stored.aliases.last_mut() {
                // The layout holds no more targets than `add_alias` was given.
                Some((last, targets)) if *last == address => drop(targets.push(target)),
                _ => stored.aliases.push((address, Targets::new(vec![target]).unwrap_or_default())),
            }
        }
        Ok(stored)
    }

    /// Gives a number to every declared account that has none.
    pub(crate) fn sight<'a>(&mut self, declared: impl Iterator<Item = &'a Address>) -> Result<(), DatabaseError> {
        self.change(|change| {
            for address in declared {
                if id_of(change, address)?.is_none() {
                    insert_account(change, address)?;
                }
            }
            Ok(())
        })
    }

    /// Adds an account at run time. One that was declared once keeps its number, and with it its mail.
    pub(crate) fn add_account(
        &mut self,
        address: &Address,
        quota: Option<u64>,
        verifiers: &Verifiers,
        mark: Option<Mark>,
    ) -> Result<AccountId, DatabaseError> {
        self.change(|change| {
            let id = match id_of(change, address)? {
                Some(id) => id,
                None => insert_account(change, address)?,
            };
            let quota = quota.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
            change.execute(
                "UPDATE account SET run_time = 1, address = ?2, quota = ?3 WHERE id = ?1",
                params![id.get().cast_signed(), address.to_string(), quota],
            )?;
            write_verifiers(change, id, verifiers)?;
            mark_first(change, id, mark)?;
            Ok(id)
        })
    }

    /// The number stays taken for ever; the address is free again.
    pub(crate) fn remove_account(&mut self, id: AccountId) -> Result<(), DatabaseError> {
        let sql = "UPDATE account SET run_time = 0, key = NULL, argon2 = NULL, scram = NULL WHERE id = ?1";
        self.change(|change| Ok(change.execute(sql, [id.get().cast_signed()]).map(drop)?))
    }

    pub(crate) fn set_verifiers(&mut self, id: AccountId, verifiers: &Verifiers, mark: Option<Mark>) -> Result<(), DatabaseError> {
        self.change(|change| {
            write_verifiers(change, id, verifiers)?;
            Ok(mark_first(change, id, mark)?)
        })
    }

    /// Every account of which sessions may be open, removed ones too, and the mark of what they were opened with.
    pub(crate) fn in_force(&self) -> Result<Vec<(AccountId, Mark)>, DatabaseError> {
        let mut marks = self.connection.prepare("SELECT id, in_force FROM account WHERE in_force IS NOT NULL ORDER BY id")?;
        let marks = marks.query_map([], |row| Ok((read_id(row, 0)?, row.get(1)?)))?;
        Ok(marks.collect::<Result<_, _>>()?)
    }

    /// Verifiers of accounts of which no session could be open come into force.
    pub(crate) fn put_first_in_force(&mut self, marks: &[(AccountId, Mark)]) -> Result<(), DatabaseError> {
        if marks.is_empty() {
            return Ok(());
        }
        self.change(|change| Ok(marks.iter().try_for_each(|(id, mark)| mark_first(change, *id, Some(*mark)))?))
    }

    /// All sessions of an account that are open were opened with these verifiers, or later.
    pub(crate) fn put_in_force(&mut self, id: AccountId, mark: Option<Mark>) -> Result<(), DatabaseError> {
        let sql = "UPDATE account SET in_force = ?2 WHERE id = ?1";
        self.change(|change| Ok(change.execute(sql, params![id.get().cast_signed(), mark]).map(drop)?))
    }

    pub(crate) fn add_domain(&mut self, domain: &Domain) -> Result<(), DatabaseError> {
        self.change(|change| Ok(change.execute("INSERT OR IGNORE INTO domain (name) VALUES (?1)", [domain.as_str()]).map(drop)?))
    }

    pub(crate) fn remove_domain(&mut self, domain: &Domain) -> Result<(), DatabaseError> {
        self.change(|change| Ok(change.execute("DELETE FROM domain WHERE name = ?1", [domain.as_str()]).map(drop)?))
    }

    pub(crate) fn add_alias(&mut self, address: &Address, targets: &Targets) -> Result<(), DatabaseError> {
        self.change(|change| {
            let key = address.key();
            change.execute("INSERT INTO alias (key, address) VALUES (?1, ?2)", params![key, address.to_string()])?;
            let mut add = change.prepare("INSERT INTO target (alias, position, address) VALUES (?1, ?2, ?3)")?;
            for (position, target) in (0_i64..).zip(targets) {
                add.execute(params![key, position, target.to_string()])?;
            }
            Ok(())
        })
    }

    pub(crate) fn remove_alias(&mut self, address: &Address) -> Result<(), DatabaseError> {
        self.change(|change| Ok(change.execute("DELETE FROM alias WHERE key = ?1", [address.key()]).map(drop)?))
    }
}

/// Not that it is full: then nothing was written.
fn is_of_the_disk(code: ErrorCode) -> bool {
    use ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, ReadOnly, SystemIoFailure};
    matches!(code, SystemIoFailure | CannotOpen | ReadOnly | DatabaseCorrupt | NotADatabase)
}

fn migrate(connection: &mut Connection) -> Result<(), DatabaseError> {
    let change = connection.transaction()?;
    let pragma = |name: &str| change.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = change.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let now = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};");
    match (application, version, tables) {
        (0, 0, 0) => change.execute_batch(&format!("{FIRST} {SECOND} {now}"))?,
        (APPLICATION_ID, 1, _) => change.execute_batch(&format!("{SECOND} {now}"))?,
        (APPLICATION_ID, SCHEMA_VERSION, _) => {}
        (APPLICATION_ID, other, _) => return Err(DatabaseError::OtherLayout(other)),
        _ => return Err(DatabaseError::Foreign),
    }
    Ok(change.commit()?)
}

fn id_of(change: &Transaction<'_>, address: &Address) -> Result<Option<AccountId>, rusqlite::Error> {
    change.query_row("SELECT id FROM account WHERE key = ?1", [address.key()], |row| read_id(row, 0)).optional()
}

fn insert_account(change: &Transaction<'_>, address: &Address) -> Result<AccountId, DatabaseError> {
    for _ in 0..MAX_ID_TRIES {
        let Some(id) = AccountId::new(getrandom::u64().map_err(DatabaseError::Random)?) else { continue };
        let inserted = change.execute(
            "INSERT INTO account (id, key, address, run_time) VALUES (?1, ?2, ?3, 0) ON CONFLICT (id) DO NOTHING",
            params![id.get().cast_signed(), address.key(), address.to_string()],
        )?;
        if inserted == 1 {
            return Ok(id);
        }
    }
    Err(DatabaseError::NoId)
}

fn write_verifiers(change: &Transaction<'_>, id: AccountId, verifiers: &Verifiers) -> Result<(), rusqlite::Error> {
    let (argon2, scram) = (verifiers.argon2.as_ref().map(|v| v.to_phc()), verifiers.scram.as_ref().map(|v| v.to_text()));
    change.execute(
        "UPDATE account SET argon2 = ?2, scram = ?3 WHERE id = ?1",
        params![id.get().cast_signed(), argon2.as_ref().map(|v| v.as_str()), scram.as_ref().map(|v| v.as_str())],
    )?;
    Ok(())
}

fn mark_first(change: &Transaction<'_>, id: AccountId, mark: Option<Mark>) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE account SET in_force = coalesce(in_force, ?2) WHERE id = ?1";
    change.execute(sql, params![id.get().cast_signed(), mark]).map(drop)
}

fn read_account(row: &Row<'_>) -> Result<StoredAccount, rusqlite::Error> {
    let verifier = |column| row.get::<_, Option<String>>(column).map(|text| text.map(Zeroizing::new));
    let (argon2, scram) = (verifier(4)?, verifier(5)?);
    let verifiers = Verifiers {
        argon2: argon2.map(|text| text.parse()).transpose().map_err(|why: InvalidVerifier| unreadable(4, why))?,
        scram: scram.map(|text| text.parse()).transpose().map_err(|why: InvalidVerifier| unreadable(5, why))?,
    };
    let quota = row.get::<_, Option<i64>>(3)?.map(|bytes| u64::try_from(bytes).unwrap_or_default());
    Ok(StoredAccount { id: read_id(row, 0)?, address: parsed(row, 1, Address::parse)?, run_time: row.get(2)?, quota, verifiers })
}

fn read_id(row: &Row<'_>, column: usize) -> Result<AccountId, rusqlite::Error> {
    let number = row.get::<_, i64>(column)?;
    AccountId::new(number.cast_unsigned()).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn parsed<T>(row: &Row<'_>, column: usize, parse: fn(&str) -> Result<T, Invalid>) -> Result<T, rusqlite::Error> {
    parse(&row.get::<_, String>(column)?).map_err(|why| unreadable(column, why))
}

fn unreadable(column: usize, why: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::{fs::PermissionsExt, process::ExitStatusExt},
        process::Command,
    };

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn everything_survives_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.db");
        let verifiers = Verifiers { argon2: None, scram: Some(crate::verifier::ScramKeys::make(b"x", vec![1; 16], 4096)) };
        let (secret, id) = {
            let mut db = Database::open(&path).unwrap();
            db.add_domain(&Domain::parse("mta.test").unwrap()).unwrap();
            db.add_alias(&address("info@mta.test"), &Targets::new(vec![address("b@x.test"), address("a@x.test")]).unwrap()).unwrap();
            let id = db.add_account(&address("Alice@mta.test"), Some(1 << 40), &verifiers, None).unwrap();
            (db.secret("decoy").unwrap(), id)
        };
        let mut db = Database::open(&path).unwrap();
        let stored = db.load().unwrap();
        assert_eq!(stored.domains, [Domain::parse("mta.test").unwrap()]);
        assert_eq!(stored.aliases[0].0, address("info@mta.test"));
        assert_eq!(&*stored.aliases[0].1, [address("b@x.test"), address("a@x.test")]);
        let account = &stored.accounts[0];
        assert_eq!(
            (account.id, account.address.to_string().as_str(), account.quota, account.run_time),
            (id, "Alice@mta.test", Some(1 << 40), true)
        );
        assert_eq!(account.verifiers, verifiers);
        assert_eq!(db.secret("decoy").unwrap(), secret);
        assert_ne!(db.secret("other").unwrap(), secret);
    }

    #[test]
    fn only_the_owner_may_read_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let mut db = Database::open(&directory.path().join("auth.db")).unwrap();
        db.add_domain(&Domain::parse("mta.test").unwrap()).unwrap();
        let modes: Vec<u32> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
            .collect();
        assert!(!modes.is_empty() && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
    }

    #[test]
    fn declared_accounts_keep_their_number_and_removed_ones_give_theirs_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let mut db = Database::open(&directory.path().join("auth.db")).unwrap();
        let alice = address("alice@mta.test");
        db.sight([&alice].into_iter()).unwrap();
        let first = db.load().unwrap().accounts[0].id;
        db.sight([&address("ALICE@mta.test")].into_iter()).unwrap();
        assert_eq!(db.load().unwrap().accounts.len(), 1);
        // From declared to run time: the same person, the same mail.
        assert_eq!(db.add_account(&alice, None, &Verifiers::default(), None).unwrap(), first);
        // Removed and added again: somebody else.
        db.remove_account(first).unwrap();
        assert!(db.load().unwrap().accounts.is_empty());
        assert_ne!(db.add_account(&alice, None, &Verifiers::default(), None).unwrap(), first);
    }

    /// Names what the ignored test below does.
    const CHANGE: &str = "POSTERN_TEST_CHANGE";

    /// As on an ext4 whose journal could not be written, once somebody else was told: the sync of the commit succeeds.
    #[test]
    fn what_the_disk_may_not_have_is_not_told_as_done() {
        let changes =
            ["a secret", "declared accounts", "an account", "a password", "no account", "a domain", "no domain", "an alias", "no alias"];
        for change in changes {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "database::tests::changes_where_the_disk_may_not_have_it", "--ignored", "--quiet", "--nocapture"]);
            let output = command.env(CHANGE, change).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let is_aborted = output.status.signal() == Some(rustix::process::Signal::ABORT.as_raw());
            assert!(is_aborted && said.contains("begun") && !said.contains("done"), "{change}: {output:?}");
        }
    }

    #[test]
    #[ignore = "is run by another test, in a process that it ends"]
    fn changes_where_the_disk_may_not_have_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut db = Database::open(&directory.path().join("auth.db")).unwrap();
        let (alice, domain) = (address("alice@mta.test"), Domain::parse("mta.test").unwrap());
        let id = db.add_account(&alice, None, &Verifiers::default(), None).unwrap();
        db.witness = Witness::of(std::fs::File::options().write(true).open("/dev/full").unwrap());
        println!("begun");
        match std::env::var(CHANGE).unwrap().as_str() {
            "a secret" => drop(db.secret("new")),
            "declared accounts" => drop(db.sight([&address("bob@mta.test")].into_iter())),
            "an account" => drop(db.add_account(&address("carol@mta.test"), None, &Verifiers::default(), None)),
            "a password" => drop(db.set_verifiers(id, &Verifiers::default(), None)),
            "no account" => drop(db.remove_account(id)),
            "a domain" => drop(db.add_domain(&domain)),
            "no domain" => drop(db.remove_domain(&domain)),
            "an alias" => drop(db.add_alias(&address("info@mta.test"), &Targets::new(vec![alice]).unwrap())),
            "no alias" => drop(db.remove_alias(&address("info@mta.test"))),
            other => panic!("{other}"),
        }
        println!("done");
    }

    /// What was written by a build that knew the first layout alone.
    #[test]
    fn the_first_layout_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.db");
        let first = format!("{FIRST} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;");
        let row = "INSERT INTO account (id, key, address, run_time) VALUES (7, 'alice@mta.test', 'alice@mta.test', 1);";
        Connection::open(&path).unwrap().execute_batch(&format!("{first} {row}")).unwrap();
        let (id, mark) = (AccountId::new(7).unwrap(), [1; 32]);
        for _ in 0..2 {
            let mut db = Database::open(&path).unwrap();
            assert_eq!(db.load().unwrap().accounts[0].id, id);
            db.put_first_in_force(&[(id, mark)]).unwrap();
            assert_eq!(db.in_force().unwrap(), [(id, mark)]);
        }
    }

    /// A full disk changes nothing, and nobody ends over it.
    #[test]
    fn where_there_is_no_room_nothing_is_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.db");
        let mut db = Database::open(&path).unwrap();
        let pages: i64 = db.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        db.connection.pragma_update(None, "max_page_count", pages).unwrap();
        let add = |db: &mut Database, n: usize| db.add_domain(&Domain::parse(&format!("{}{n}.test", "d".repeat(50))).unwrap());
        let taken = (0..1000).take_while(|n| add(&mut db, *n).is_ok()).count();
        assert!(matches!(add(&mut db, 1000), Err(DatabaseError::Sqlite(error)) if error.sqlite_error_code() == Some(ErrorCode::DiskFull)));
        db.connection.pragma_update(None, "max_page_count", pages + 100).unwrap();
        assert_eq!(db.load().unwrap().domains.len(), taken);
        add(&mut db, 1000).unwrap();
    }

    #[test]
    fn foreign_and_newer_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (newer, foreign) = (directory.path().join("newer.db"), directory.path().join("foreign.db"));
        drop(Database::open(&newer).unwrap());
        Connection::open(&newer).unwrap().pragma_update(None, "user_version", 3).unwrap();
        assert!(matches!(Database::open(&newer), Err(DatabaseError::OtherLayout(3))));
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
        assert!(matches!(Database::open(&foreign), Err(DatabaseError::Foreign)));
    }
}
