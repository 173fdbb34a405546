//! A front end's edge: the mailboxes of the one account its socket is good for.
//!
//! While it waits, a session is one small task: no buffer, no open database.

use crate::{
    account::Account,
    cell::{Cell, Listener, Own},
    error::{Result as StoreResult, StoreError},
    fetch::Cursor,
    limits::{HELLO_PATIENCE, SEARCH_TIME},
    messages::{Changed, FlagsSet, FlagsToSet},
    prepare::Prepared,
    search::Program,
    segment::Body,
    store::Store,
    trigram::Candidates,
    uids,
};
use pure_addr::{MailboxName, Text};
use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use wire::{
    Error, List, NotSealed, Reply, SealedMessage, Served,
    edge::{
        mail::SessionId,
        scan_index,
        store_session::{
            Append, Event, FlagChange, Flags, MAX_APPEND, MAX_ROWS, Mailbox, MailboxId, ModSeq, Refusal, Request, Response, Row, SearchKey,
            StoreSession, UidRange, Uids, Want,
        },
    },
};

/// Time all messages of one APPEND have to be indexed; below the edge's own patience.
const SCAN_TIME: Duration = Duration::from_secs(90);
/// Mailboxes, or names, in one frame.
const MAILBOXES: usize = 128;

/// A place among the sessions of an account; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) store: Arc<Store>,
    pub(crate) cell: Arc<Cell>,
    pub(crate) listener: Arc<Listener>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cell.unlisten(&self.listener);
        let sessions: &AtomicUsize = &self.store.sessions;
        sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a session until its client closes it or breaks the protocol, or auth ends it.
pub(crate) async fn run(ticket: Ticket, fd: OwnedFd, quota: Option<u64>, id: SessionId) {
    let account = ticket.cell.id;
    let listener = ticket.listener.clone();
    let served = async {
        let served = Served::new(fd, HELLO_PATIENCE).await?;
        Session { ticket, served, quota, told: false }.serve().await
    };
    let result = tokio::select! {
        biased;
        // In the middle of an answer too: a client that reads slowly would keep its session for as long as it likes.
        () = listener.ending.notified() => Ok(()),
        result = served => result,
    };
    match result {
        Ok(()) | Err(Error::Closed) => tracing::debug!(account = %account, session = %id, "session ended"),
        Err(error) => tracing::warn!(account = %account, session = %id, %error, "session ended"),
    }
}

struct Session {
    ticket: Ticket,
    served: Served<StoreSession>,
    quota: Option<u64>,
    /// The client was told of changes and has not asked for them yet: no need to tell it again.
    told: bool,
}

/// How a request ends: with its last answer, or refused. A connection that fails is the error outside.
type Answer = StoreResult<Response>;

impl Session {
    async fn serve(mut self) -> Result<(), Error> {
        loop {
            tokio::select! {
                biased;
                request = self.served.request() => {
                    let (id, request, fds) = request?;
                    // What is asked after the end was told is not answered, even if this task was busy then.
                    if self.ticket.listener.has_ended() {
                        return Ok(());
                    }
                    // Boxed: its memory lives only as long as the request.
                    Box::pin(self.answer(id, request, fds)).await?;
                }
                () = self.ticket.listener.wake.notified() => {}
            }
            self.tell().await?;
        }
    }

    /// Sends what is to be said unasked.
    async fn tell(&mut self) -> Result<(), Error> {
        let listener = &self.ticket.listener;
        let gone = listener.gone.swap(0, Ordering::AcqRel);
        if gone != 0 {
            self.served.event(&Event::Gone(MailboxId(gone))).await?;
        }
        let open = listener.mailbox.load(Ordering::Acquire);
        if open != 0 && !self.told {
            let changed = listener.changed.swap(0, Ordering::AcqRel);
            if changed != 0 {
                self.told = true;
                self.served.event(&Event::Changed(MailboxId(open), ModSeq(changed))).await?;
            }
        }
        Ok(())
    }

    async fn answer(&mut self, id: u32, request: Request, fds: Vec<OwnedFd>) -> Result<(), Error> {
        if !fds.is_empty() && !matches!(request, Request::Append { .. }) {
            return Err(Error::Malformed("descriptors that belong to no request"));
        }
        self.note_reading(&request);
        let answer = match request {
            Request::Mailboxes => self.mailboxes(id).await?,
            Request::Mailbox(name) => self.with(|account| mailbox(account, &name)).await,
            Request::Create { name, role } => {
                let now = self.ticket.store.now();
                self.durably(None, |account| account.create(&name, role, now).map(|m| Response::Mailbox(Box::new(m)))).await
            }
            Request::Delete(name) => {
                let now = self.ticket.store.now();
                self.durably(None, |account| account.delete(&name, now).map(|()| Response::Done)).await
            }
            Request::Rename { from, to } => {
                let now = self.ticket.store.now();
                self.durably(None, |account| account.rename(&from, &to, now).map(|()| Response::Done)).await
            }
            Request::Subscribe { name, on } => self.with(|account| account.subscribe(&name, on).map(|()| Response::Done)).await,
            Request::Open(name) => self.open(id, &name).await?,
            Request::Close => {
                self.unlisten();
                Ok(Response::Done)
            }
            Request::Changes { mailbox, since } => self.changes(id, mailbox, since).await?,
            Request::Fetch { mailbox, uids, changed_since, want } => self.fetch(id, mailbox, &uids, changed_since, want).await?,
            Request::SetFlags { mailbox, uids, change, flags, unchanged_since } => {
                self.set_flags(id, mailbox, &uids, change, &flags, unchanged_since).await?
            }
            Request::Copy { mailbox, uids, to, r#move } => self.copy(mailbox, &uids, &to, r#move).await,
            Request::Expunge { mailbox, uids } => self.expunge(id, mailbox, uids.as_deref()).await?,
            Request::Append { to, messages } => self.append(&to, messages, fds).await?,
            Request::Search { mailbox, program } => self.search(id, mailbox, &program).await?,
            Request::Quota => self.quota().await,
        };
        let response = answer.unwrap_or_else(|error| {
            match &error {
                StoreError::Refused(_) => {}
                error => tracing::error!(account = %self.ticket.cell.id, %error, "request failed"),
            }
            Response::Refused(error.refusal())
        });
        self.served.answer(id, &Reply::new(response)).await
    }

    /// From when on the front end may be sending bodies: it has what it asked for until it asks for something else.
    fn note_reading(&self, request: &Request) {
        let reading = &self.ticket.listener.reading;
        if !matches!(request, Request::Fetch { want, .. } if want.contains(Want::BODY)) {
            reading.store(0, Ordering::Release);
        } else if reading.load(Ordering::Acquire) == 0 {
            reading.store(self.ticket.store.now().max(1), Ordering::Release);
        }
    }

    /// Short work on the account.
    async fn with<T>(&self, work: impl FnOnce(&mut Account) -> StoreResult<T>) -> StoreResult<T> {
        let Ticket { store, cell, listener } = &self.ticket;
        cell.in_turn(store, Own { listener, told: None }, false, work).await
    }

    /// Work that may take long; its changes in one mailbox the answer tells completely.
    async fn long<T>(&self, told: Option<u32>, work: impl FnOnce(&mut Account) -> StoreResult<T>) -> StoreResult<T> {
        let Ticket { store, cell, listener } = &self.ticket;
        cell.in_turn(store, Own { listener, told }, true, work).await
    }

    /// Work that may take long and must be on disk before its answer.
    async fn durably<T>(&self, told: Option<u32>, work: impl FnOnce(&mut Account) -> StoreResult<T>) -> StoreResult<T> {
        let value = self.long(told, work).await?;
        self.ticket.cell.sync(&self.ticket.store).await;
        Ok(value)
    }

    async fn part(&self, id: u32, response: Response) -> Result<(), Error> {
        self.served.part(id, &Reply::new(response)).await
    }

    async fn mailboxes(&self, id: u32) -> Result<Answer, Error> {
        let look = |account: &mut Account| -> StoreResult<(Vec<Mailbox>, Vec<MailboxName>)> {
            Ok((account.boxes.all().map(|row| row.to_wire()).collect(), account.boxes.left().cloned().collect()))
        };
        let (all, left) = match self.with(look).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        for chunk in all.chunks(MAILBOXES) {
            self.part(id, Response::Mailboxes(List::new(chunk.to_vec()).unwrap_or_default())).await?;
        }
        for chunk in left.chunks(MAILBOXES) {
            self.part(id, Response::Subscriptions(List::new(chunk.to_vec()).unwrap_or_default())).await?;
        }
        Ok(Ok(Response::Done))
    }

    /// Ends the events of the open mailbox.
    fn unlisten(&mut self) {
        let listener = &self.ticket.listener;
        listener.mailbox.store(0, Ordering::Release);
        listener.changed.store(0, Ordering::Release);
        listener.gone.store(0, Ordering::Release);
        self.told = false;
    }

    async fn open(&mut self, id: u32, name: &MailboxName) -> Result<Answer, Error> {
        self.unlisten();
        let listener = self.ticket.listener.clone();
        let opened = self.with(|account| {
            let mailbox = account.boxes.target(name)?;
            let uids = account.uids(mailbox)?;
            // Under the account's lock: what is committed from here on is told.
            listener.mailbox.store(mailbox, Ordering::Release);
            Ok((uids, account.boxes.get(mailbox)?.to_wire()))
        });
        Ok(match opened.await {
            Ok((uids, mailbox)) => {
                for part in uids::frames(&uids) {
                    self.part(id, Response::Uids(part)).await?;
                }
                Ok(Response::Mailbox(Box::new(mailbox)))
            }
            Err(error) => Err(error),
        })
    }

    async fn changes(&mut self, id: u32, mailbox: MailboxId, since: ModSeq) -> Result<Answer, Error> {
        // Before the look: what comes after it is told again.
        self.told = false;
        let listener = self.ticket.listener.clone();
        let found = self.with(|account| {
            let since = Account::modseq_of(since.0)?;
            let row = account.boxes.get(mailbox.0)?.to_wire();
            if listener.mailbox.load(Ordering::Acquire) == mailbox.0 {
                listener.changed.store(0, Ordering::Release);
            }
            Ok((row, account.vanished_since(mailbox.0, since)?, account.changed_since(mailbox.0, since)?))
        });
        let (row, vanished, changed) = match found.await {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        for part in uids::frames(&vanished) {
            self.part(id, Response::Vanished(part)).await?;
        }
        // The mailbox as it was at the look: what changes while the rows are read is asked for again.
        Ok(self.rows(id, mailbox, changed, Want::FLAGS).await?.map(|()| Response::Mailbox(Box::new(row))))
    }

    async fn fetch(&self, id: u32, mailbox: MailboxId, uids: &Uids, since: Option<ModSeq>, want: Want) -> Result<Answer, Error> {
        let ranges = self.with(|account| {
            uids::check(uids)?;
            Ok(match since {
                Some(since) => uids::intersect(&account.changed_since(mailbox.0, Account::modseq_of(since.0)?)?, uids),
                None => uids.to_vec(),
            })
        });
        Ok(match ranges.await {
            Ok(ranges) => self.rows(id, mailbox, ranges, want).await?.map(|()| Response::Done),
            Err(error) => Err(error),
        })
    }

    /// Rows in parts, one frame's worth read at a time; a client that reads slowly holds up nobody else.
    async fn rows(&self, id: u32, mailbox: MailboxId, ranges: Vec<UidRange>, want: Want) -> Result<StoreResult<()>, Error> {
        let mut cursor = Cursor::new(ranges);
        while !cursor.is_done() {
            let batch = match self.with(|account| account.fetch(mailbox.0, &mut cursor, want)).await {
                Ok(batch) => batch,
                Err(error) => return Ok(Err(error)),
            };
            if let Some(rows) = List::new(batch.rows).filter(|rows| !rows.is_empty()) {
                self.served.part(id, &Reply { body: Response::Rows(rows), fds: batch.fds }).await?;
            }
            // A client that keeps up never makes us wait: others have their turn all the same, and so has the end of the session.
            tokio::task::yield_now().await;
        }
        Ok(Ok(()))
    }

    async fn set_flags(
        &self,
        id: u32,
        mailbox: MailboxId,
        uids: &Uids,
        change: FlagChange,
        flags: &Flags,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Answer, Error> {
        let mut next = Some(1);
        while let Some(first) = next {
            let step = self.long(Some(mailbox.0), |account| {
                uids::check(uids)?;
                let unchanged_since = unchanged_since.map(|since| Account::modseq_of(since.0)).transpose()?;
                let change = FlagsToSet { how: change, system: flags.system, keywords: &flags.keywords, unchanged_since };
                account.set_flags(mailbox.0, first, uids, &change)
            });
            let set = match step.await {
                Ok(set) => set,
                Err(error) => return Ok(Err(error)),
            };
            next = set.next;
            if let Err(error) = self.flags_set(id, set).await? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(Response::Done))
    }

    async fn flags_set(&self, id: u32, set: FlagsSet) -> Result<StoreResult<()>, Error> {
        for part in uids::frames(&set.modified) {
            self.part(id, Response::Modified(part)).await?;
        }
        for chunk in set.changed.chunks(MAX_ROWS) {
            let rows = self.with(|account| {
                let modseq = |number: i64| ModSeq(u64::try_from(number).unwrap_or(0));
                let row = |c: &Changed| Row {
                    uid: c.uid,
                    modseq: modseq(c.modseq.1),
                    before: Some(modseq(c.modseq.0)),
                    flags: Some(account.flags(c.system, c.keywords.as_deref())),
                    ..Row::default()
                };
                Ok(chunk.iter().map(row).collect::<Vec<_>>())
            });
            match rows.await.map(List::new) {
                Ok(rows) => self.part(id, Response::Rows(rows.unwrap_or_default())).await?,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    async fn copy(&self, mailbox: MailboxId, uids: &Uids, to: &MailboxName, r#move: bool) -> Answer {
        // Of a move, the answer tells what left; of the target it tells nothing a front end could show.
        let told = self.with(|account| Ok(account.boxes.by_name(to).is_none_or(|row| row.id != mailbox.0))).await?;
        let told = (r#move && told).then_some(mailbox.0);
        let copied = self
            .durably(told, |account| {
                uids::check(uids)?;
                account.copy(mailbox.0, uids, to, r#move, self.quota)
            })
            .await?;
        match (Uids::new(copied.from), Uids::new(copied.to)) {
            (Some(from), Some(to)) => Ok(Response::Copied { uid_validity: copied.uid_validity, from, to }),
            _ => Err(Refusal::Limit.into()),
        }
    }

    async fn expunge(&self, id: u32, mailbox: MailboxId, uids: Option<&[UidRange]>) -> Result<Answer, Error> {
        let now = self.ticket.store.now();
        let gone = self.long(Some(mailbox.0), |account| {
            uids::check(uids.unwrap_or_default())?;
            account.expunge(mailbox.0, uids, now)
        });
        let gone = match gone.await {
            Ok(gone) => gone,
            Err(error) => return Ok(Err(error)),
        };
        for part in uids::frames(&gone) {
            self.part(id, Response::Vanished(part)).await?;
        }
        Ok(Ok(Response::Done))
    }

    async fn search(&self, id: u32, mailbox: MailboxId, program: &[SearchKey]) -> Result<Answer, Error> {
        let begun = self.long(None, |account| {
            let program = Program::compile(program, account)?;
            let candidates = program.contains.as_deref().map_or(Ok(Candidates::Unknown), |query| account.candidates(query))?;
            let feed = program.contains.is_some() && account.wants_feed();
            Ok((program, candidates, feed))
        });
        let (program, candidates, feed) = match begun.await {
            Ok(begun) => begun,
            Err(error) => return Ok(Err(error)),
        };
        let (started, mut found, mut next) = (Instant::now(), Vec::new(), Some(1));
        while let Some(first) = next {
            let step = |account: &mut Account| account.search(mailbox.0, &program, &candidates, first, &mut found);
            next = match if program.needs_text { self.long(None, step).await } else { self.with(step).await } {
                Ok(next) => next,
                Err(error) => return Ok(Err(error)),
            };
            if started.elapsed() > SEARCH_TIME {
                return Ok(Err(Refusal::Limit.into()));
            }
            tokio::task::yield_now().await;
        }
        if feed {
            // Whoever searches once searches again.
            self.ticket.cell.feed_soon(&self.ticket.store);
        }
        for part in uids::frames(&found) {
            self.part(id, Response::Uids(part)).await?;
        }
        Ok(Ok(Response::Done))
    }

    async fn quota(&self) -> Answer {
        let (used, messages) = self.with(|account| Ok((account.state.used, account.state.messages))).await?;
        Ok(Response::Quota { used, limit: self.quota, messages })
    }

    async fn append(&self, to: &MailboxName, messages: List<Append, MAX_APPEND>, fds: Vec<OwnedFd>) -> Result<Answer, Error> {
        if messages.is_empty() || messages.len() != fds.len() {
            return Err(Error::Malformed("not one descriptor for each message"));
        }
        let mut bodies = Vec::new();
        for fd in fds {
            match SealedMessage::from_fd(fd, self.ticket.store.options.message_limit) {
                // RFC 3502 2: a message of no bytes takes the command back.
                Ok(body) if body.is_empty() => return Ok(Err(Refusal::Cannot.into())),
                Ok(body) => bodies.push(body),
                Err(NotSealed::Size(_)) => return Ok(Err(Refusal::Limit.into())),
                Err(_) => return Err(Error::Malformed("no sealed message")),
            }
        }
        Ok(self.append_all(to, messages, bodies).await)
    }

    async fn append_all(&self, to: &MailboxName, messages: List<Append, MAX_APPEND>, bodies: Vec<SealedMessage>) -> Answer {
        let total = bodies.iter().fold(0u64, |sum, body| sum.saturating_add(body.len()));
        // Only to spare the work: the room is taken in the transaction.
        self.with(|account| {
            account.boxes.target(to)?;
            let used = account.state.used.saturating_add(total);
            if self.quota.is_some_and(|quota| used > quota) { Err(Refusal::OverQuota.into()) } else { Ok(()) }
        })
        .await?;
        let ready = tokio::time::timeout(SCAN_TIME, self.scan(bodies)).await.unwrap_or(Err(Refusal::Unavailable.into()))?;
        let now = self.ticket.store.now();
        let (uid_validity, first, last) = self
            .durably(None, |account| {
                account.write(|account| {
                    let target = account.boxes.target(to)?;
                    let uid_validity = account.boxes.get(target)?.uid_validity;
                    let (mut first, mut last) = (0, 0);
                    for (append, (body, prepared)) in messages.iter().zip(&ready) {
                        let uid = account.append(target, append, body, prepared, self.quota, now)?;
                        first = if first == 0 { uid } else { first };
                        last = uid;
                    }
                    Ok((uid_validity, first, last))
                })
            })
            .await?;
        Ok(Response::Appended { uid_validity, uids: UidRange { first, last } })
    }

    /// What is in these messages: scan says so, and is believed only about what is inside them.
    async fn scan(&self, bodies: Vec<SealedMessage>) -> StoreResult<Vec<(Body, Prepared)>> {
        let mut ready = Vec::new();
        for body in bodies {
            let reply = match self.ticket.store.options.scan.call(&scan_index::Request::Index, &[body.as_fd()]).await {
                Ok(reply) => reply.body,
                Err(error) => {
                    tracing::error!(%error, "scan does not answer");
                    return Err(Refusal::Unavailable.into());
                }
            };
            let scan_index::Response::Indexed(index) = reply else { return Err(Refusal::Unavailable.into()) };
            let Ok(prepared) = Prepared::new(*index, body.len()) else {
                tracing::error!("scan described another message");
                return Err(Refusal::Unavailable.into());
            };
            ready.push((Body::new(&[], body)?, prepared));
        }
        Ok(ready)
    }
}

fn mailbox(account: &mut Account, name: &MailboxName) -> Answer {
    let row = account.boxes.by_name(name).ok_or(Refusal::NoSuchMailbox)?;
    Ok(Response::Mailbox(Box::new(row.to_wire())))
}

impl Account {
    fn append(&mut self, target: u32, append: &Append, body: &Body, prepared: &Prepared, quota: Option<u64>, now: i64) -> StoreResult<u32> {
        self.reserve(body.len(), quota)?;
        let names: &[Text<64>] = &append.flags.keywords;
        let keywords = self.keyword_numbers(names)?;
        let email = self.insert_email(body, prepared)?;
        let received_at = append.received_at.unwrap_or(now);
        let system = append.flags.system.0 & SYSTEM_FLAGS;
        self.insert_message(target, email, system, keywords.as_deref(), prepared.dates(received_at), body.len())
    }
}

/// The bits that mean something.
pub(crate) const SYSTEM_FLAGS: u8 = 31;
