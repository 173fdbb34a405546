//! FETCH: rows come from the store in batches and leave as the client reads.

use crate::{
    account::Account,
    ahead::Ahead,
    body::{self, Body},
    connection::{Answer, Connection, Fault},
    convert, limits, search, sync,
};
use pure_imap::{
    DateTime, Fetch, FetchItem, Ranges, Section, SectionText, envelope,
    response::{self},
    section::{self, Content},
};
use pure_index::{Envelope, Structure};
use std::{fs::File, sync::Arc};
use wire::edge::store_session::{FlagChange, Flags, ModSeq, Request, Response, Row, SystemFlags, Uids, Want};

/// RFC 9051 6.4.5.
pub(crate) async fn fetch(conn: &mut Connection, account: &mut Account, query: &Fetch) -> Result<Answer, Fault> {
    // RFC 7162 3.1: CHANGEDSINCE and MODSEQ enable CONDSTORE.
    account.enabled.condstore |= query.changed_since.is_some() || query.items.contains(&FetchItem::ModSeq);
    if query.vanished && !account.enabled.qresync {
        return Ok(Answer::bad("Enable QRESYNC first"));
    }
    let Some(selected) = account.selected.as_ref() else { return Ok(Answer::bad("No mailbox selected")) };
    let Some(mut uids) = selected.uids(&query.set, query.uid) else { return Ok(Answer::bad("No such message")) };
    let single = uids.first().filter(|first| uids.last() == Some(*first) && query.changed_since.is_none());
    let mark_seen = !selected.read_only && query.items.iter().any(sets_seen);
    if query.vanished {
        vanished(conn, account, query).await?;
    }
    if (mark_seen || single.is_none())
        && let Some(selected) = account.selected.as_mut()
    {
        selected.ahead = None;
    }
    if let Some(since) = query.changed_since.filter(|_| mark_seen) {
        // RFC 7162 3.1.4.1: only these are fetched, and marking them makes them newer.
        let mut changed = Ranges::new();
        search::each_row(account, &uids, Some(ModSeq(since)), Want::default(), |_, row| changed.push(row.uid)).await?;
        uids = changed;
    }
    let mut work = Work { query, want: want(&query.items), unknown_encoding: false, seen_now: Ranges::new() };
    if mark_seen {
        // In small steps, so that a client that leaves in the middle has not "seen" what it was never sent.
        for uids in batches(&uids) {
            work.seen_now = mark(conn, account, &uids).await?;
            let Some(uids) = convert::one_set(&uids) else { continue };
            if let Some(answer) = work.run(conn, account, uids).await? {
                return Ok(answer);
            }
        }
    } else if let Some(uid) = single {
        if let Some(answer) = work.single(conn, account, uid).await? {
            return Ok(answer);
        }
    } else {
        for uids in convert::chunks(&uids) {
            if let Some(answer) = work.run(conn, account, uids).await? {
                return Ok(answer);
            }
        }
    }
    // RFC 3516 4.3.
    Ok(if work.unknown_encoding { Answer::no("UNKNOWN-CTE", "Unknown transfer encoding") } else { Answer::ok("FETCH completed") })
}

/// RFC 9051 6.4.5: items without PEEK set `\Seen`.
fn sets_seen(item: &FetchItem) -> bool {
    matches!(
        item,
        FetchItem::Rfc822 | FetchItem::Rfc822Text | FetchItem::Section { peek: false, .. } | FetchItem::Binary { peek: false, .. }
    )
}

fn batches(uids: &Ranges) -> Vec<Ranges> {
    let all: Vec<u32> = uids.iter().collect();
    all.chunks(limits::SEEN_BATCH).map(|batch| Ranges::from_numbers(batch.iter().copied())).collect()
}

/// What the store must give for the items.
fn want(items: &[FetchItem]) -> Want {
    items.iter().fold(Want::default(), |want, item| {
        want.union(match item {
            FetchItem::Flags => Want::FLAGS,
            FetchItem::InternalDate => Want::DATE,
            FetchItem::Size => Want::SIZE,
            FetchItem::Envelope => Want::ENVELOPE,
            FetchItem::Body | FetchItem::BodyStructure => Want::STRUCTURE,
            FetchItem::EmailId | FetchItem::ThreadId => Want::IDS,
            FetchItem::Uid | FetchItem::ModSeq => Want::default(),
            FetchItem::Rfc822 => Want::BODY,
            FetchItem::Section { section: Section { path, text: None }, .. } if path.is_empty() => Want::BODY,
            FetchItem::Rfc822Header
            | FetchItem::Rfc822Text
            | FetchItem::Section { .. }
            | FetchItem::Binary { .. }
            | FetchItem::BinarySize(_) => Want::BODY.union(Want::STRUCTURE),
        })
    })
}

/// RFC 7162 3.2.6: what of the set vanished since then.
async fn vanished(conn: &mut Connection, account: &mut Account, query: &Fetch) -> Result<(), Fault> {
    let (Some(selected), Some(since)) = (account.selected.as_ref(), query.changed_since) else { return Ok(()) };
    // UIDs that are gone are in no numbering, so the set is taken as written; and the last ones may be among them.
    let asked = query.set.resolve(Some(u32::MAX)).unwrap_or_default();
    account.store.start(&Request::Changes { mailbox: selected.id, since: ModSeq(since) }, &[]).await?;
    while let Some(reply) = account.store.next().await? {
        let Some(selected) = account.selected.as_mut() else { return Ok(()) };
        match reply.body {
            Response::Vanished(uids) => {
                let uids = convert::ranges(&uids).intersect(&asked).without(&selected.map.uids());
                response::vanished(&mut conn.out, &uids, true);
            }
            Response::Mailbox(now) => selected.dirty |= now.highest_modseq.0 > selected.modseq,
            _ => {}
        }
        conn.flush_if_full().await?;
    }
    Ok(())
}

/// Sets `\Seen`; returns the messages that did not have it.
async fn mark(conn: &mut Connection, account: &mut Account, uids: &Ranges) -> Result<Ranges, Fault> {
    let (Some(selected), Some(uids)) = (account.selected.as_ref(), convert::one_set(uids)) else { return Ok(Ranges::new()) };
    let flags = Flags { system: SystemFlags::SEEN, ..Flags::default() };
    let request = Request::SetFlags { mailbox: selected.id, uids, change: FlagChange::Add, flags, unchanged_since: None };
    account.store.start(&request, &[]).await?;
    let mut changed = Ranges::new();
    while let Some(reply) = account.store.next().await? {
        let Some(selected) = account.selected.as_mut() else { break };
        match reply.body {
            Response::Rows(rows) => {
                for row in &rows {
                    selected.remember(row.modseq.0, row.uid);
                    if let Some(flags) = &row.flags {
                        sync::announce(&mut conn.out, selected, flags);
                    }
                    changed.push(row.uid);
                }
            }
            // A message that cannot be marked can still be read.
            Response::Refused(why) => tracing::debug!(?why, "\\Seen refused"),
            _ => {}
        }
        conn.flush_if_full().await?;
    }
    Ok(changed)
}

struct Work<'q> {
    query: &'q Fetch,
    want: Want,
    unknown_encoding: bool,
    /// Messages that this command has just marked `\Seen`: their flags are told (RFC 9051 6.4.5).
    seen_now: Ranges,
}

impl Work<'_> {
    /// One message alone; see [`Ahead`].
    async fn single(&mut self, conn: &mut Connection, account: &mut Account, uid: u32) -> Result<Option<Answer>, Fault> {
        let Some(selected) = account.selected.as_mut() else { return Ok(None) };
        let (held, before) = Ahead::take(selected.ahead.take(), uid, self.want);
        if let Some((row, files)) = held {
            selected.ahead = before;
            self.row(conn, account, row, &files).await?;
            return Ok(None);
        }
        let (uids, mut ahead) = Ahead::plan(before, uid, self.want, &selected.map);
        let (mailbox, Some(uids)) = (selected.id, convert::one_set(&uids)) else { return Ok(None) };
        account.store.start(&Request::Fetch { mailbox, uids, changed_since: None, want: self.want }, &[]).await?;
        while let Some(reply) = account.next().await? {
            match reply.body {
                Response::Rows(rows) => {
                    let files: Arc<Vec<File>> = Arc::new(reply.fds.into_iter().map(File::from).collect());
                    for row in rows {
                        if row.uid == uid {
                            self.row(conn, account, row, &files).await?;
                            conn.flush_if_full().await?;
                        } else {
                            ahead.keep((row, files.clone()));
                        }
                    }
                }
                Response::Done => {}
                Response::Refused(why) => return Ok(Some(convert::refusal(why))),
                _ => return Err(convert::unexpected().into()),
            }
        }
        if let Some(selected) = account.selected.as_mut() {
            selected.ahead = Some(ahead);
        }
        Ok(None)
    }

    async fn run(&mut self, conn: &mut Connection, account: &mut Account, uids: Uids) -> Result<Option<Answer>, Fault> {
        let Some(mailbox) = account.selected.as_ref().map(|selected| selected.id) else { return Ok(None) };
        let changed_since = self.query.changed_since.map(ModSeq);
        let want = if self.seen_now.is_empty() { self.want } else { self.want.union(Want::FLAGS) };
        account.store.start(&Request::Fetch { mailbox, uids, changed_since, want }, &[]).await?;
        while let Some(reply) = account.next().await? {
            match reply.body {
                Response::Rows(rows) => {
                    let files: Vec<File> = reply.fds.into_iter().map(File::from).collect();
                    for row in rows {
                        self.row(conn, account, row, &files).await?;
                        conn.flush_if_full().await?;
                    }
                }
                Response::Done => {}
                Response::Refused(why) => return Ok(Some(convert::refusal(why))),
                _ => return Err(convert::unexpected().into()),
            }
        }
        Ok(None)
    }

    async fn row(&mut self, conn: &mut Connection, account: &mut Account, row: Row, files: &[File]) -> Result<(), Fault> {
        let enabled = account.enabled;
        let Some(selected) = account.selected.as_mut() else { return Ok(()) };
        let Some(seq) = selected.map.seq(row.uid) else { return Ok(()) };
        let tell_flags = self.seen_now.contains(row.uid) && !self.query.items.contains(&FetchItem::Flags);
        if let Some(flags) = &row.flags {
            sync::announce(&mut conn.out, selected, flags);
        }
        let body = row.body.and_then(|at| Body::new(files, at));
        let structure: Option<Structure> = row.structure.as_ref().and_then(|bytes| wire::decode(bytes).ok());
        let message = Fetched { row: &row, body, structure: structure.as_ref() };
        conn.out.text("* ").display(seq).text(" FETCH (");
        for (i, item) in self.query.items.iter().enumerate() {
            if i > 0 {
                conn.out.text(" ");
            }
            response::fetch_name(&mut conn.out, item);
            conn.out.text(" ");
            self.unknown_encoding |= !message.write(conn, item).await?;
        }
        if tell_flags && let Some(flags) = &row.flags {
            conn.out.text(" FLAGS ");
            convert::write_flags(&mut conn.out, flags);
            if enabled.condstore && !self.query.items.contains(&FetchItem::ModSeq) {
                conn.out.text(" MODSEQ (").display(row.modseq.0).text(")");
            }
        }
        conn.out.text(")").end();
        Ok(())
    }
}

/// One message, as much of it as was asked for.
struct Fetched<'r> {
    row: &'r Row,
    body: Option<Body<'r>>,
    structure: Option<&'r Structure>,
}

impl Fetched<'_> {
    /// The value of an item; false when it has an encoding that nobody here can undo.
    async fn write(&self, conn: &mut Connection, item: &FetchItem) -> Result<bool, Fault> {
        let row = self.row;
        match item {
            FetchItem::Uid => {
                conn.out.display(row.uid);
            }
            FetchItem::ModSeq => {
                conn.out.text("(").display(row.modseq.0).text(")");
            }
            FetchItem::Flags => convert::write_flags(&mut conn.out, row.flags.as_ref().unwrap_or(&Flags::default())),
            FetchItem::InternalDate => {
                conn.out.text("\"").text(&DateTime { seconds: row.received_at.unwrap_or(0) }.text()).text("\"");
            }
            FetchItem::Size => {
                conn.out.display(row.size.unwrap_or(0));
            }
            FetchItem::EmailId => {
                conn.out.text("(").text(&convert::email_id(row.email.unwrap_or(0))).text(")");
            }
            FetchItem::ThreadId => match row.thread {
                Some(id) => {
                    conn.out.text("(").text(&convert::thread_id(id)).text(")");
                }
                None => {
                    conn.out.text("NIL");
                }
            },
            FetchItem::Envelope => {
                let known: Option<Envelope> = row.envelope.as_ref().and_then(|bytes| wire::decode(bytes).ok());
                envelope::envelope(&mut conn.out, &known.unwrap_or_default());
            }
            FetchItem::Body | FetchItem::BodyStructure => {
                let extended = *item == FetchItem::BodyStructure;
                envelope::body_structure(&mut conn.out, self.structure.unwrap_or(&Structure::default()), extended);
            }
            FetchItem::Rfc822 => self.content(conn, self.body.map(Body::whole)).await?,
            FetchItem::Rfc822Header => self.section(conn, &text_of(SectionText::Header), None).await?,
            FetchItem::Rfc822Text => self.section(conn, &text_of(SectionText::Text), None).await?,
            FetchItem::Section { section, partial, .. } => self.section(conn, section, *partial).await?,
            FetchItem::Binary { path, partial, .. } => {
                let part = self.structure.and_then(|structure| section::resolve_binary(structure, path));
                match (part, self.body) {
                    (Some(part), Some(body)) => {
                        if !body::write_decoded(conn, body, &part, *partial).await? {
                            conn.out.text("NIL");
                            return Ok(false);
                        }
                    }
                    _ => {
                        conn.out.text("NIL");
                    }
                }
            }
            FetchItem::BinarySize(path) => {
                let part = self.structure.and_then(|structure| section::resolve_binary(structure, path));
                let size = match (part, self.body) {
                    (Some(part), Some(body)) => body::decoded_size(body, &part).await?,
                    _ => Some(0),
                };
                conn.out.display(size.unwrap_or(0));
                return Ok(size.is_some());
            }
        }
        Ok(true)
    }

    async fn section(&self, conn: &mut Connection, section: &Section, partial: Option<pure_imap::Partial>) -> Result<(), Fault> {
        if matches!(section.text, Some(SectionText::Fields { .. })) {
            // Every field is compared with every name, so others have their turn in between.
            tokio::task::yield_now().await;
        }
        let content = match self.body {
            Some(body) if section.path.is_empty() && section.text.is_none() => Some(body.whole()),
            Some(body) => self.resolve(section, body)?,
            None => None,
        };
        let content = match (content, partial) {
            (Some(content), Some(partial)) => Some(content.slice(partial)),
            (content, _) => content,
        };
        self.content(conn, content).await
    }

    fn resolve(&self, section: &Section, body: Body<'_>) -> Result<Option<Content>, Fault> {
        let Some(structure) = self.structure else { return Ok(None) };
        let (start, header) = match section::header_needed(structure, section) {
            Some(span) => (span.start, body.header(span)?),
            None => (0, Vec::new()),
        };
        let position = |at: u32| usize::try_from(at.checked_sub(start)?).ok();
        Ok(section::resolve(structure, section, |span| header.get(position(span.start)?..position(span.end)?)))
    }

    async fn content(&self, conn: &mut Connection, content: Option<Content>) -> Result<(), Fault> {
        match (self.body, content) {
            (Some(body), Some(content)) => body::write(conn, body, &content).await,
            _ => {
                conn.out.text("NIL");
                Ok(())
            }
        }
    }
}

fn text_of(text: SectionText) -> Section {
    Section { path: vec![], text: Some(text) }
}
