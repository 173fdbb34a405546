//! Rows for FETCH: one statement for each combination of what is wanted, one frame's worth at a time.

use crate::{account::Account, error::Result, limits::FRAME_BYTES};
use rusqlite::{Row as SqlRow, params};
use serde_bytes::ByteBuf;
use std::os::fd::OwnedFd;
use wire::{
    Edge,
    edge::store_session::{BodyRef, MAX_ROWS, ModSeq, Row, StoreSession, UidRange, Want},
};

/// Bytes a row takes beside its variable fields, about.
const ROW_BYTES: usize = 48;

/// What is still to be fetched.
#[derive(Debug)]
pub(crate) struct Cursor {
    ranges: std::vec::IntoIter<UidRange>,
    current: Option<UidRange>,
}

impl Cursor {
    pub(crate) fn new(ranges: Vec<UidRange>) -> Self {
        let mut ranges = ranges.into_iter();
        let current = ranges.next();
        Self { ranges, current }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.current.is_none()
    }

    /// Everything up to this UID has been seen.
    fn seen(&mut self, uid: u32) {
        self.current = match (self.current, uid.checked_add(1)) {
            (Some(range), Some(first)) if first <= range.last => Some(UidRange { first, ..range }),
            _ => self.ranges.next(),
        };
    }

    fn next_range(&mut self) {
        self.current = self.ranges.next();
    }
}

/// Rows of one frame, and their descriptors.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    pub(crate) fds: Vec<OwnedFd>,
    segments: Vec<u32>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.rows.len() >= MAX_ROWS || self.bytes >= FRAME_BYTES
    }
}

/// The statement for what is wanted. Only fixed pieces: nothing of a request becomes SQL.
fn statement(want: Want) -> String {
    let column = |flag: Want, column: &'static str| if want.contains(flag) { column } else { "NULL" };
    let join = [Want::ENVELOPE, Want::STRUCTURE, Want::BODY, Want::IDS, Want::SORT, Want::PREVIEW].iter().any(|w| want.contains(*w));
    format!(
        "SELECT m.uid, m.modseq, m.system, m.keywords, m.received_at, m.sent_at, m.size, m.email, {}, {}, {}, {}, {}, {}, {}
         FROM message m {} WHERE m.mailbox = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid",
        column(Want::IDS, "e.thread"),
        column(Want::BODY, "e.segment"),
        column(Want::BODY, "e.offset"),
        column(Want::PREVIEW, "e.preview"),
        column(Want::SORT, "e.sort"),
        column(Want::ENVELOPE, "e.envelope"),
        column(Want::STRUCTURE, "e.structure"),
        if join { "JOIN email e ON e.id = m.email" } else { "" },
    )
}

impl Account {
    /// The next rows; an empty batch means the cursor is done.
    pub(crate) fn fetch(&mut self, mailbox: u32, cursor: &mut Cursor, want: Want) -> Result<Batch> {
        self.boxes.get(mailbox)?;
        let mut batch = Batch::default();
        // Taken out of the account for the time of the statement, which borrows the rest.
        let mut wanted = Vec::new();
        {
            let mut statement = self.db.prepare_cached(&statement(want))?;
            'ranges: while let Some(range) = cursor.current {
                let mut rows = statement.query(params![mailbox, range.first, range.last])?;
                while let Some(row) = rows.next()? {
                    let uid = row.get(0)?;
                    let segment: Option<u32> = row.get(9)?;
                    if segment.is_some_and(|s| !batch.segments.contains(&s)) {
                        if batch.segments.len() >= StoreSession::MAX_FDS {
                            break 'ranges;
                        }
                        batch.segments.extend(segment);
                    }
                    let (read, bytes) = self.read_row(row, want)?;
                    wanted.push(segment);
                    batch.rows.push(read);
                    batch.bytes = batch.bytes.saturating_add(bytes);
                    cursor.seen(uid);
                    if batch.is_full() {
                        break 'ranges;
                    }
                }
                // Unless the last row ended it already.
                if cursor.current.is_some_and(|c| c.last == range.last) {
                    cursor.next_range();
                }
            }
        }
        self.attach(&mut batch, &wanted);
        Ok(batch)
    }

    fn read_row(&self, row: &SqlRow<'_>, want: Want) -> Result<(Row, usize)> {
        let received_at: i64 = row.get(4)?;
        let size: u32 = row.get(6)?;
        let mut out = Row { uid: row.get(0)?, modseq: ModSeq(row.get(1)?), ..Row::default() };
        let mut bytes = ROW_BYTES;
        if want.contains(Want::FLAGS) {
            let flags = self.flags(row.get(2)?, row.get_ref(3)?.as_blob_or_null().unwrap_or_default());
            bytes = bytes.saturating_add(flags.keywords.iter().map(|k| k.as_str().len().saturating_add(1)).sum());
            out.flags = Some(flags);
        }
        out.received_at = want.contains(Want::DATE).then_some(received_at);
        out.size = want.contains(Want::SIZE).then_some(size);
        if want.contains(Want::IDS) {
            out.email = Some(row.get(7)?);
            out.thread = Some(row.get(8)?);
        }
        if want.contains(Want::BODY) {
            out.body = Some(BodyRef { fd: 0, offset: row.get(10)?, len: size });
        }
        if want.contains(Want::PREVIEW) {
            let preview: String = row.get(11)?;
            bytes = bytes.saturating_add(preview.len());
            out.preview = Some(preview);
        }
        if want.contains(Want::SENT) {
            out.sent_at = Some(row.get::<_, Option<i64>>(5)?.unwrap_or(received_at));
        }
        let blobs = [(Want::SORT, 12, &mut out.sort), (Want::ENVELOPE, 13, &mut out.envelope), (Want::STRUCTURE, 14, &mut out.structure)];
        for (flag, column, field) in blobs {
            if want.contains(flag) {
                let blob: Vec<u8> = row.get(column)?;
                bytes = bytes.saturating_add(blob.len());
                *field = Some(ByteBuf::from(blob));
            }
        }
        Ok((out, bytes))
    }

    /// Opens the segments of a batch, each once. A message whose segment cannot be opened goes without its body.
    fn attach(&mut self, batch: &mut Batch, wanted: &[Option<u32>]) {
        let mut places: Vec<(u32, u8)> = Vec::new();
        for segment in std::mem::take(&mut batch.segments) {
            match (self.segments.share(segment), u8::try_from(batch.fds.len())) {
                (Ok(fd), Ok(place)) => {
                    batch.fds.push(fd);
                    places.push((segment, place));
                }
                (Err(error), _) => tracing::error!(segment, %error, "a segment cannot be opened"),
                (Ok(_), Err(_)) => {}
            }
        }
        for (row, segment) in batch.rows.iter_mut().zip(wanted) {
            let place = places.iter().find(|(s, _)| Some(*s) == *segment);
            row.body = match (row.body, place) {
                (Some(body), Some((_, fd))) => Some(BodyRef { fd: *fd, ..body }),
                _ => None,
            };
        }
    }
}
