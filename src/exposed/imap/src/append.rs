//! APPEND: each message goes into a memfd as it arrives, and to the store when all are there.

use crate::{
    account::Account,
    connection::{Answer, Connection, Fault},
    convert, session,
};
use exposed_tls::{Room, Share};
use pure_addr::{AccountId, MailboxName};
use pure_imap::{
    AppendMessage, Fatal, Mailbox, Message, Ranges, Tag, parse,
    response::{self, Code},
};
use std::{io::Write, os::fd::AsFd, sync::Arc};
use wire::{
    List, MessageWriter, SealedMessage,
    edge::store_session::{Append, MAX_APPEND, Request, Response},
};

/// An APPEND under way. Once `failure` is set nothing more is kept, and the answer is given when the command ends.
pub(crate) struct Upload {
    tag: Option<Tag>,
    target: Option<MailboxName>,
    /// The message that is arriving.
    writer: Option<MessageWriter>,
    /// What was said about it.
    current: Option<AppendMessage>,
    /// Whether NUL may be in it (RFC 3516 4.4).
    literal8: bool,
    done: Vec<(Append, SealedMessage)>,
    bytes: u64,
    /// Of [`crate::limits::UPLOADS`].
    share: Share<AccountId>,
    failure: Option<Answer>,
}

/// What APPEND works with.
pub(crate) struct Context<'a> {
    pub(crate) conn: &'a mut Connection,
    pub(crate) account: &'a mut Account,
    pub(crate) upload: &'a mut Option<Box<Upload>>,
    pub(crate) message_limit: u32,
    pub(crate) room: Arc<Room<AccountId>>,
}

impl Upload {
    fn new(tag: Option<Tag>, share: Share<AccountId>) -> Self {
        Self { tag, target: None, writer: None, current: None, literal8: false, done: Vec::new(), bytes: 0, share, failure: None }
    }

    pub(crate) fn tag(&self) -> Option<Tag> {
        self.tag.clone()
    }

    /// Takes bytes of the message; what goes wrong is told at the end of the command.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if !self.literal8 && bytes.contains(&0) {
            self.fail(Answer::bad("NUL in a literal"));
        }
        if self.writer.is_some() && !self.share.grow(bytes.len() as u64) {
            tracing::warn!("no room for a message of APPEND");
            self.fail(unavailable());
        }
        if let Some(writer) = self.writer.as_mut()
            && let Err(error) = writer.write_all(bytes)
        {
            tracing::warn!(%error, "cannot keep a message of APPEND");
            self.fail(unavailable());
        }
    }

    fn fail(&mut self, answer: Answer) {
        self.writer = None;
        self.done.clear();
        self.share.give_back();
        self.failure.get_or_insert(answer);
    }

    /// Inside `UTF8 (` (RFC 6855 4).
    fn is_open(&self) -> bool {
        self.current.as_ref().is_some_and(|message| message.utf8)
    }
}

fn unavailable() -> Answer {
    Answer::no("UNAVAILABLE", "Not possible now")
}

/// RFC 9051 6.3.12: what can be refused is refused before the message is sent.
pub(crate) async fn announced(context: Context<'_>, message: Message) -> Result<(), Fault> {
    let Context { conn, account, upload, message_limit, room } = context;
    if message.first {
        let (tag, parsed) = parse::append(conn.framer.command(), account.enabled.mode());
        let state = upload.insert(Box::new(Upload::new(tag, room.share(account.owner.account))));
        match parsed {
            Ok(head) => {
                match target(account, head.mailbox).await? {
                    Ok(name) => state.target = Some(name),
                    Err(answer) => state.fail(answer),
                }
                state.current = Some(head.message);
            }
            Err(why) => state.fail(session::refused(why)),
        }
    }
    let Some(state) = upload.as_mut() else { return Err(Fatal::Order.into()) };
    if !message.first {
        match parse::append_next(conn.framer.command(), state.is_open()) {
            Ok(next) => state.current = Some(next),
            Err(why) => state.fail(session::refused(why)),
        }
    }
    check_limits(state, account, message, message_limit).await?;
    state.literal8 = message.literal8;
    if state.failure.is_none() {
        match MessageWriter::new(u64::from(message_limit)) {
            Ok(writer) => state.writer = Some(writer),
            Err(error) => {
                tracing::warn!(%error, "no memory for APPEND");
                state.fail(unavailable());
            }
        }
    }
    if state.failure.is_none() {
        conn.framer.accept();
        if message.synchronising {
            response::continuation(&mut conn.out, "OK");
        }
    } else if conn.framer.refuse() {
        finish(conn, upload);
    }
    Ok(())
}

async fn target(account: &mut Account, name: Mailbox) -> Result<Result<MailboxName, Answer>, Fault> {
    let Mailbox::Named(name) = name else { return Ok(Err(convert::no_target())) };
    Ok(match account.call(&Request::Mailbox(name)).await {
        Ok(Response::Mailbox(mailbox)) if mailbox.selectable => Ok(mailbox.name),
        Ok(Response::Mailbox(_)) => Err(convert::no_target()),
        Ok(Response::Refused(why)) => Err(convert::target_refusal(why)),
        Ok(_) => return Err(convert::unexpected().into()),
        Err(Fault::Store(wire::Error::Refused)) => Err(unavailable()),
        Err(fault) => return Err(fault),
    })
}

/// One command may bring as much as one message may weigh, so that nobody fills the memory with memfds.
async fn check_limits(state: &mut Upload, account: &mut Account, message: Message, message_limit: u32) -> Result<(), Fault> {
    if state.failure.is_some() {
        return Ok(());
    }
    state.bytes = state.bytes.saturating_add(u64::from(message.len));
    if message.len == 0 {
        // RFC 3502 2: a message of no bytes takes the command back.
        state.fail(Answer::no("CANNOT", "Empty message"));
    } else if state.bytes > u64::from(message_limit) {
        state.fail(Answer::no("TOOBIG", "Messages too large"));
    } else if state.done.len() >= MAX_APPEND {
        state.fail(Answer::no("LIMIT", "Too many messages in one APPEND"));
    } else {
        // Only a first look: the store decides when it takes the messages (attack case QUOTA-01).
        match account.call(&Request::Quota).await {
            Ok(Response::Quota { used, limit: Some(limit), .. }) if used.saturating_add(state.bytes) > limit => {
                state.fail(Answer::no("OVERQUOTA", "Quota exceeded"));
            }
            Ok(_) => {}
            Err(Fault::Store(wire::Error::Refused)) => state.fail(unavailable()),
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// The message is there.
pub(crate) fn message_end(upload: &mut Option<Box<Upload>>) -> Result<(), Fault> {
    let Some(state) = upload.as_mut() else { return Err(Fatal::Order.into()) };
    let (Some(writer), Some(current)) = (state.writer.take(), state.current.as_ref()) else { return Ok(()) };
    let about = Append { flags: convert::flags(&current.flags), received_at: current.date.map(|date| date.seconds) };
    match writer.seal() {
        Ok(sealed) => state.done.push((about, sealed)),
        Err(error) => {
            tracing::warn!(%error, "cannot seal a message of APPEND");
            state.fail(unavailable());
        }
    }
    Ok(())
}

/// All messages are there: all or none go into the mailbox (RFC 3502 3).
pub(crate) async fn end(context: Context<'_>) -> Result<(), Fault> {
    let Context { conn, account, upload, .. } = context;
    let Some(mut state) = upload.take() else { return Err(Fatal::Order.into()) };
    if parse::append_end(conn.framer.command(), state.is_open()) == parse::AppendEnd::Malformed {
        state.fail(session::refused(parse::Bad::Syntax.into()));
    }
    let answer = match state.failure.take() {
        Some(answer) => answer,
        None => match deliver(account, &mut state).await {
            Err(Fault::Store(wire::Error::Refused)) => unavailable(),
            other => other?,
        },
    };
    if answer.is_ok() && account.selected.as_ref().is_some_and(|selected| Some(&selected.name) == state.target.as_ref()) {
        crate::sync::tell(conn, account).await?;
    }
    answer.write(&mut conn.out, state.tag.as_ref());
    Ok(())
}

async fn deliver(account: &mut Account, state: &mut Upload) -> Result<Answer, Fault> {
    let Some(to) = state.target.clone() else { return Err(Fatal::Order.into()) };
    let (about, sealed): (Vec<Append>, Vec<SealedMessage>) = std::mem::take(&mut state.done).into_iter().unzip();
    let Some(messages) = List::new(about) else { return Ok(Answer::no("LIMIT", "Too many messages in one APPEND")) };
    let fds: Vec<_> = sealed.iter().map(AsFd::as_fd).collect();
    let reply = account.store.call(&Request::Append { to, messages }, &fds).await?;
    Ok(match reply.body {
        Response::Appended { uid_validity, uids } => {
            let uids = Ranges::from_unsorted(vec![(uids.first, uids.last)]);
            Answer::ok("APPEND completed").with(Code::AppendUid(uid_validity, uids))
        }
        Response::Refused(why) => convert::target_refusal(why),
        _ => return Err(convert::unexpected().into()),
    })
}

/// A refused APPEND that came without asking is over.
pub(crate) fn discarded(context: Context<'_>) {
    finish(context.conn, context.upload);
}

fn finish(conn: &mut Connection, upload: &mut Option<Box<Upload>>) {
    if let Some(state) = upload.take() {
        state.failure.unwrap_or_else(unavailable).write(&mut conn.out, state.tag.as_ref());
    }
}
