//! One connection, from accept to the end.

use crate::{
    account::Account,
    append::{self, Upload},
    arrange::{Order, arrange},
    change,
    connection::{Answer, Connection, Fault, Input},
    fetch, limits, list, login, mailbox, plaintext, search, select,
    server::Server,
    sync,
};
use exposed_tls::{Accepted, Room};
use jail::Shutdown;
use pure_addr::AccountId;
use pure_imap::{
    Command, FetchItem, SearchKey, Tag, parse,
    response::{self, Code, Condition},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use wire::edge::store_session::Event;

/// Serves one connection. Whatever happens in it is its own affair.
pub(crate) async fn serve(server: Arc<Server>, accepted: Accepted, implicit_tls: bool) {
    let deadline = Instant::now() + limits::PRE_AUTH;
    let Accepted { stream, peer: address, session, slot } = accepted;
    let peer = login::Peer { address, session };
    tracing::debug!(session = %session, peer = %address.ip(), "connected");
    // The deadline is absolute: neither bytes nor the handshake move it (attack case IMAP-14).
    let opening = Box::pin(open(&server, stream, peer, implicit_tls, deadline));
    let mut stop = server.stop.clone();
    let opened = tokio::select! {
        opened = tokio::time::timeout_at(deadline + limits::GRACE * 3, opening) => opened,
        // Who has not logged in loses nothing by coming again.
        () = stop.requested() => return,
    };
    let opened = match opened {
        Ok(Ok(Some(opened))) => opened,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(fault)) => {
            tracing::debug!(session = %session, peer = %address.ip(), %fault, "ended before login");
            return;
        }
    };
    slot.authenticated();
    let (conn, account) = opened;
    let account_name = login::loggable(&account.owner.address);
    tracing::info!(session = %session, peer = %address.ip(), account = %account_name, "logged in");
    let (message_limit, room) = (server.message_limit, server.uploads.clone());
    drop(server);
    match after_login(conn, account, message_limit, room, stop).await {
        Ok(()) => tracing::info!(session = %session, account = %account_name, "logged out"),
        Err(fault) => tracing::info!(session = %session, account = %account_name, %fault, "ended"),
    }
    drop(slot);
}

/// Everything before login.
async fn open(
    server: &Server,
    socket: tokio::net::TcpStream,
    peer: login::Peer,
    implicit_tls: bool,
    deadline: Instant,
) -> Result<Option<(Connection, Box<Account>)>, Fault> {
    let socket = if implicit_tls {
        socket
    } else {
        match plaintext::until_starttls(socket).await? {
            Some(socket) => socket,
            None => return Ok(None),
        }
    };
    let mut conn = Connection::new(server.tls.accept(socket).await?);
    let account = login::until_login(&mut conn, server, peer, implicit_tls, deadline).await?;
    Ok(account.map(|account| (conn, account)))
}

/// Tells a client why it has to go, where that is not clear to it. None when the session has ended.
pub(crate) async fn excuse<T>(conn: &mut Connection, ended: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match ended {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Ended) => Ok(None),
        Err(Fault::Protocol(why)) => {
            conn.goodbye(None, &why.to_string()).await;
            Ok(None)
        }
        Err(Fault::Store(error)) => {
            conn.goodbye(Some("UNAVAILABLE"), "Mail is not reachable now").await;
            Err(error.into())
        }
        Err(fault) => Err(fault),
    }
}

/// The answer to what is not carried out.
pub(crate) fn refused(why: parse::Refused) -> Answer {
    match why {
        parse::Refused::Bad(parse::Bad::Tag) => Answer::bad("Command without a tag"),
        parse::Refused::Bad(parse::Bad::Command | parse::Bad::Http) => Answer::bad("Unknown command"),
        parse::Refused::Bad(parse::Bad::Syntax) => Answer::bad("Syntax error"),
        parse::Refused::Bad(parse::Bad::Number) => Answer::bad("Invalid number or set"),
        parse::Refused::Bad(parse::Bad::Date) => Answer::bad("Invalid date"),
        parse::Refused::Bad(parse::Bad::Flag) => Answer::bad("Invalid flag"),
        parse::Refused::Bad(parse::Bad::Utf8) => Answer::bad("Invalid UTF-8"),
        parse::Refused::Limit(text) => Answer::no("LIMIT", text),
        parse::Refused::BadCharset => Answer::no("", "Unknown charset").with(Code::BadCharset),
    }
}

/// Before login an HTTP request is no error like others: what follows it was written by somebody else (attack case STLS-09, ALPACA).
pub(crate) async fn not_imap(conn: &mut Connection) -> Fault {
    conn.goodbye(None, "This is a mail server").await;
    Fault::Ended
}

/// RFC 2971: says no more than a name.
pub(crate) fn id(conn: &mut Connection) -> Answer {
    response::id(&mut conn.out, &[("name", "Postern")]);
    Answer::ok("ID completed")
}

/// RFC 9051 6.1.3.
pub(crate) async fn logout(conn: &mut Connection, tag: Option<&Tag>) {
    response::status(&mut conn.out, None, Condition::Bye, None, "Good-bye");
    Answer::ok("LOGOUT completed").write(&mut conn.out, tag);
    conn.close().await;
}

/// Serves a connection that has logged in, to its end.
pub(crate) async fn after_login(
    conn: Connection,
    account: Box<Account>,
    message_limit: u32,
    room: Arc<Room<AccountId>>,
    stop: Stop,
) -> Result<(), Fault> {
    let mut running = Box::new(Running { conn, account, upload: None, message_limit, room, stop, errors: 0 });
    let ended = running.run().await;
    running.part(ended).await
}

/// When the process was asked to end; never, for a session that stands alone.
#[derive(Clone)]
pub(crate) struct Stop(pub(crate) Option<Shutdown>);

impl Stop {
    async fn requested(&mut self) {
        match &mut self.0 {
            Some(shutdown) => shutdown.requested().await,
            None => std::future::pending().await,
        }
    }
}

/// A session after login.
struct Running {
    conn: Connection,
    account: Box<Account>,
    upload: Option<Box<Upload>>,
    message_limit: u32,
    room: Arc<Room<AccountId>>,
    stop: Stop,
    errors: u32,
}

enum Wake {
    Bytes,
    Store(Event),
    Grace,
    TooLong,
    Shutdown,
}

impl Running {
    /// The end: what the client is told, and what the log is told.
    async fn part(&mut self, ended: Result<(), Fault>) -> Result<(), Fault> {
        excuse(&mut self.conn, ended).await.map(|_| ())
    }

    async fn run(&mut self) -> Result<(), Fault> {
        loop {
            let input = self.input(false).await?;
            // Boxed: while a session waits, nothing of a command's state is kept.
            match input {
                Input::Command => Box::pin(self.command()).await?,
                Input::Message(message) => Box::pin(append::announced(self.append_context(), message)).await?,
                Input::MessageEnd => append::message_end(&mut self.upload)?,
                Input::AppendEnd => Box::pin(append::end(self.append_context())).await?,
                Input::AppendDiscarded => append::discarded(self.append_context()),
                Input::LiteralRefused => self.literal_refused(),
                Input::Line => return Err(pure_imap::Fatal::Order.into()),
            }
            if self.errors >= limits::ERRORS {
                self.conn.goodbye(None, "Too many errors").await;
                return Err(Fault::Ended);
            }
            self.conn.flush_if_full().await?;
        }
    }

    fn append_context(&mut self) -> append::Context<'_> {
        append::Context {
            conn: &mut self.conn,
            account: &mut self.account,
            upload: &mut self.upload,
            message_limit: self.message_limit,
            room: self.room.clone(),
        }
    }

    fn literal_refused(&mut self) {
        let tag = self.upload.take().map_or_else(|| self.conn.tag(), |upload| upload.tag());
        Answer::no("TOOBIG", "Literal too long").write(&mut self.conn.out, tag.as_ref());
    }

    /// Waits for what the client says next. Inside IDLE, changes of the mailbox are told meanwhile.
    async fn input(&mut self, idle: bool) -> Result<Input, Fault> {
        let mut last_byte = Instant::now();
        loop {
            let upload = &mut self.upload;
            let mut sink = |bytes: &[u8]| {
                if let Some(upload) = upload {
                    upload.write(bytes);
                }
            };
            if let Some(input) = self.conn.input(&mut sink)? {
                return Ok(input);
            }
            if idle && self.account.selected.as_ref().is_some_and(|s| s.dirty) {
                Box::pin(sync::tell(&mut self.conn, &mut self.account)).await?;
            }
            self.conn.flush().await?;
            let inside = self.conn.framer.is_inside();
            let patience = if inside { limits::STALLED } else { limits::IDLE };
            match self.wait(last_byte + patience).await? {
                Wake::Bytes => last_byte = Instant::now(),
                Wake::Store(event) => self.heard(event).await?,
                Wake::Grace => {
                    self.conn.release();
                    if let Some(selected) = self.account.selected.as_mut() {
                        selected.arranged = None;
                        selected.ahead = None;
                    }
                }
                Wake::TooLong => {
                    self.conn.goodbye(None, "Idle for too long").await;
                    return Err(Fault::Ended);
                }
                Wake::Shutdown => {
                    self.conn.goodbye(Some("UNAVAILABLE"), "Server is restarting").await;
                    return Err(Fault::Ended);
                }
            }
        }
    }

    async fn wait(&mut self, until: Instant) -> Result<Wake, Fault> {
        let grace = if self.conn.holds_buffers() { limits::GRACE } else { Duration::MAX };
        let wake_at = Instant::now().checked_add(grace).map_or(until, |grace| grace.min(until));
        tokio::select! {
            filled = self.conn.fill() => filled.map(|()| Wake::Bytes),
            event = self.account.store.event() => Ok(Wake::Store(event?)),
            () = self.stop.requested() => Ok(Wake::Shutdown),
            () = tokio::time::sleep_until(wake_at) => Ok(if wake_at < until { Wake::Grace } else { Wake::TooLong }),
        }
    }

    async fn heard(&mut self, event: Event) -> Result<(), Fault> {
        if note(&mut self.account, event) {
            // RFC 9051 7.1.5: a mailbox that is gone under a session ends it; there is no sequence number left to speak of.
            self.conn.goodbye(None, "The selected mailbox was deleted").await;
            return Err(Fault::Ended);
        }
        Ok(())
    }

    async fn command(&mut self) -> Result<(), Fault> {
        let (tag, parsed) = parse::command(self.conn.framer.command(), self.account.enabled.mode());
        let answer = match parsed {
            Ok(Command::Logout) => {
                logout(&mut self.conn, tag.as_ref()).await;
                return Err(Fault::Ended);
            }
            Ok(Command::Idle) => Box::pin(self.idle()).await,
            Ok(command) => Box::pin(self.carry_out(tag.as_ref(), command)).await,
            Err(why) => Ok(refused(why)),
        };
        // The store refused one request; its connection lives on, and so does ours.
        let answer = match answer {
            Err(Fault::Store(wire::Error::Refused)) => Answer::no("UNAVAILABLE", "Not possible now"),
            other => other?,
        };
        self.errors = if answer.condition == Condition::Bad { self.errors + 1 } else { 0 };
        while let Some(event) = self.account.store.pending_event() {
            self.heard(event).await?;
        }
        answer.write(&mut self.conn.out, tag.as_ref());
        Ok(())
    }

    async fn carry_out(&mut self, tag: Option<&Tag>, command: Command) -> Result<Answer, Fault> {
        let (conn, account) = (&mut self.conn, &mut *self.account);
        // RFC 9051 7.5.1: these may not renumber messages under the client.
        let keeps_numbers = match &command {
            Command::Fetch(fetch) => !fetch.uid,
            Command::Store(store) => !store.uid,
            // RFC 7162 3.2.10.2: nor a UID SEARCH that names sequence numbers.
            Command::Search(search) | Command::Sort { search, .. } | Command::Thread { search, .. } => {
                !search.uid || search.program.iter().any(|key| matches!(key, SearchKey::Sequence(_)))
            }
            _ => false,
        };
        let tells_modseq = match &command {
            Command::Store(_) => true,
            Command::Fetch(fetch) => fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq),
            _ => false,
        };
        let asks_for_news = matches!(command, Command::Noop | Command::Check);
        if !matches!(command, Command::Fetch(_))
            && let Some(selected) = account.selected.as_mut()
        {
            selected.ahead = None;
        }
        let answer = match command {
            Command::Capability => {
                conn.out.text("* CAPABILITY ").text(&crate::capability::after_login(self.message_limit)).end();
                Answer::ok("CAPABILITY completed")
            }
            Command::Noop => Answer::ok("NOOP completed"),
            Command::Id(_) => id(conn),
            Command::Namespace => {
                response::namespace(&mut conn.out);
                Answer::ok("NAMESPACE completed")
            }
            Command::Enable(names) => select::enable(conn, account, &names),
            // A connection serves one account (attack case IMAP-16).
            Command::StartTls | Command::Login { .. } | Command::Authenticate { .. } => Answer::bad("Already logged in"),
            Command::List(query) => list::list(conn, account, &query, self.message_limit).await?,
            Command::Lsub { reference, pattern } => list::lsub(conn, account, &reference, &pattern).await?,
            Command::Create { mailbox, special_use } => mailbox::create(account, mailbox, &special_use).await?,
            Command::Delete(name) => mailbox::delete(conn, account, name).await?,
            Command::Rename { from, to } => mailbox::rename(account, from, to).await?,
            Command::Subscribe(name) => mailbox::subscribe(account, name, true).await?,
            Command::Unsubscribe(name) => mailbox::subscribe(account, name, false).await?,
            Command::Status { mailbox, items } => mailbox::status(conn, account, mailbox, &items, self.message_limit).await?,
            Command::GetQuota(root) => mailbox::quota(conn, account, &root).await?,
            Command::GetQuotaRoot(name) => mailbox::quota_root(conn, account, name).await?,
            Command::Select(query) => select::select(conn, account, query).await?,
            command => self.on_selected(tag, command).await?,
        };
        let (conn, account) = (&mut self.conn, &mut *self.account);
        if let Some(selected) = account.selected.as_mut() {
            selected.dirty |= asks_for_news;
            if selected.dirty && !keeps_numbers {
                sync::tell(conn, account).await?;
            }
        }
        let told = account.selected.as_ref().map(|selected| Code::HighestModSeq(selected.modseq));
        Ok(match told.filter(|_| tells_modseq && account.enabled.qresync && answer.is_ok()) {
            // RFC 7162 3.2: others may have changed or expunged what is not told yet, below the modseqs that were just told.
            Some(told) if answer.code.is_none() => answer.with(told),
            Some(told) => {
                response::status(&mut conn.out, None, Condition::Ok, Some(&told), "Told up to here");
                answer
            }
            None => answer,
        })
    }

    /// The commands of the selected state.
    async fn on_selected(&mut self, tag: Option<&Tag>, command: Command) -> Result<Answer, Fault> {
        let (conn, account) = (&mut self.conn, &mut *self.account);
        if account.selected.is_none() {
            return Ok(Answer::bad("No mailbox selected"));
        }
        match command {
            Command::Check => Ok(Answer::ok("CHECK completed")),
            Command::Close => select::close(account, true).await,
            Command::Unselect => select::close(account, false).await,
            Command::Expunge => change::expunge(conn, account, None).await,
            Command::UidExpunge(set) => change::expunge(conn, account, Some(&set)).await,
            Command::Search(query) => search::search(conn, account, tag, &query).await,
            Command::Sort { keys, search } => arrange(conn, account, Order::Sort(keys), search).await,
            Command::Thread { algorithm, search } => arrange(conn, account, Order::Thread(algorithm), search).await,
            Command::Fetch(query) => fetch::fetch(conn, account, &query).await,
            Command::Store(query) => change::store(conn, account, &query).await,
            Command::Copy(query) => change::copy(conn, account, &query, false).await,
            Command::Move(query) => change::copy(conn, account, &query, true).await,
            _ => Ok(Answer::bad("Unknown command")),
        }
    }

    /// RFC 9051 6.3.13.
    async fn idle(&mut self) -> Result<Answer, Fault> {
        response::continuation(&mut self.conn.out, "idling");
        if let Some(selected) = self.account.selected.as_mut() {
            selected.dirty = true;
        }
        self.conn.framer.expect_line();
        match Box::pin(self.input(true)).await? {
            Input::Line => {}
            _ => return Err(pure_imap::Fatal::Order.into()),
        }
        let done = self.conn.framer.command().strip_suffix(b"\r\n").is_some_and(|line| line.eq_ignore_ascii_case(b"DONE"));
        Ok(if done { Answer::ok("IDLE completed") } else { Answer::bad("Expected DONE") })
    }
}

/// Takes an event in; true when the selected mailbox is gone.
fn note(account: &mut Account, event: Event) -> bool {
    let Some(selected) = account.selected.as_mut() else { return false };
    match event {
        // Asked for in any case: the store says nothing more until it has been asked.
        Event::Changed(id, _) => {
            selected.dirty |= selected.id == id;
            selected.ahead = None;
            false
        }
        Event::Gone(id) => selected.id == id,
    }
}
