//! Bytes that no email refers to any more, and when they go.

use crate::{
    account::Account,
    error::Result,
    limits::{GARBAGE_GRACE, MAX_GARBAGE},
};
use rusqlite::params;

/// Who may be sending bytes of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// There is no session.
    Nobody,
    /// There are sessions, and none reads bodies.
    Idle,
    /// The first of them began then.
    Since(i64),
}

impl Account {
    /// Notes bytes nobody refers to any more; they are released once that is on disk and no session can be reading them.
    pub(crate) fn discard(&mut self, segment: u32, offset: u64, len: u64, now: i64) -> Result<()> {
        self.live(segment, -1);
        if len == 0 {
            // Of no bytes, as none is stored any more: the next message is at the same place.
            return Ok(());
        }
        self.db
            .prepare_cached("INSERT INTO garbage(segment, offset, len, since) VALUES(?, ?, ?, ?)")?
            .execute(params![segment, offset, len, now])?;
        self.running.garbage.0 = self.running.garbage.0.saturating_add(1);
        self.running.garbage.1 = self.running.garbage.1.saturating_add(len);
        Ok(())
    }

    /// Until when expunged bytes may be released: all of them when no session can be reading them, or when they are too many; never those
    /// of messages that were there when a session began to read, which it may be sending still.
    pub(crate) fn release_until(&self, now: i64, readers: Readers) -> i64 {
        let until = match readers {
            Readers::Nobody => return i64::MAX,
            _ if self.garbage.1 > MAX_GARBAGE => i64::MAX,
            _ => now.saturating_sub(GARBAGE_GRACE),
        };
        match readers {
            Readers::Since(began) => until.min(began.saturating_sub(1)),
            _ => until,
        }
    }

    /// Releases the bytes of messages expunged at or before `until`.
    pub(crate) fn release(&mut self, until: i64) -> Result<()> {
        if self.garbage.0 == 0 {
            return Ok(());
        }
        // First the removals must be safe: a power cut may not bring back a message whose bytes are gone.
        self.sync_log()?;
        let rows: Vec<(u32, u64, u64)> = {
            let mut statement =
                self.db.prepare_cached("SELECT segment, offset, len FROM garbage WHERE since <= ? ORDER BY segment, offset")?;
            statement.query_map([until], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<rusqlite::Result<_>>()?
        };
        if rows.is_empty() {
            return Ok(());
        }
        let mut holes: Vec<(u32, u64, u64)> = Vec::new();
        for (segment, offset, len) in rows {
            match holes.last_mut() {
                Some(last) if last.0 == segment && last.1.saturating_add(last.2) == offset => last.2 = last.2.saturating_add(len),
                _ => holes.push((segment, offset, len)),
            }
        }
        for (segment, offset, len) in holes.iter().filter(|hole| hole.2 > 0) {
            self.segments.punch(*segment, *offset, *len)?;
        }
        let empty: Vec<u32> = self.write(|account| {
            account.db.prepare_cached("DELETE FROM garbage WHERE since <= ?")?.execute([until])?;
            let mut statement = account.db.prepare_cached(
                "DELETE FROM segment WHERE live = 0 AND id != ? AND NOT EXISTS (SELECT 1 FROM garbage WHERE segment = segment.id) RETURNING id",
            )?;
            Ok(statement.query_map([account.state.segment], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        })?;
        for segment in empty {
            self.segments.unlink(segment)?;
        }
        self.garbage =
            self.db.query_row("SELECT count(*), coalesce(sum(len), 0) FROM garbage", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(())
    }
}
