//! The state machine of one connection.
//!
//! Its driver's loop: [`Session::step`] with what has been read; write the content that came out into the message; then do
//! what the [`Step`] says. While an action is under way the session takes no input: [`Session::resume`] tells the outcome.

mod auth;
mod commands;
mod content;
mod line;
#[cfg(test)]
mod tests;

use crate::{
    content::{ChunkChecker, DataDecoder},
    limits::Limits,
    mechanism::Mechanism,
    reply::{Reply, Status, say},
    transaction::{Recipient, Transaction},
};
use auth::Exchange;
use content::Chunk;
use pure_addr::{Address, Domain, MAX_DOMAIN, ReversePath, Text};
use pure_sasl::Secret;
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// Which service the connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Port 25: mail from strangers for hosted recipients. No AUTH.
    Mx,
    /// Ports 465 and 587 (RFC 6409): mail of one account, after a login under TLS.
    Submission,
}

/// What all connections of a service have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service.
    pub role: Role,
    /// What the server calls itself.
    pub hostname: Domain,
    /// Who is meant by `RCPT TO:<Postmaster>` (RFC 5321 4.5.1).
    pub postmaster: Option<Address>,
    /// The limits.
    pub limits: Limits,
}

/// What the encryption of a connection is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tls {
    /// Whether there is a `tls-exporter` value (RFC 9266), which SCRAM-SHA-256-PLUS needs.
    pub channel_binding: bool,
}

/// What the driver does next. Replies so far are in [`Session::output`]; they must be sent before waiting for the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Read more.
    Read,
    /// Carry this out; if it has an outcome, call [`Session::resume`].
    Do(Action),
    /// Send the replies and close.
    Close,
}

/// Everything a session can ask of the rest of the system.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// May the logged-in account use this reverse-path? [`Outcome::Sender`].
    CheckSender(ReversePath),
    /// May this recipient be accepted? [`Outcome::Recipient`].
    CheckRecipient {
        /// From MAIL.
        reverse_path: ReversePath,
        /// From RCPT.
        recipient: Address,
    },
    /// Make an empty message for the content to come. [`Outcome::Began`].
    BeginMessage,
    /// Forget the message that was begun. No outcome.
    DropMessage,
    /// The message that was begun is complete: take responsibility for it or refuse it. [`Outcome::Committed`].
    Commit(Box<Transaction>),
    /// Send the replies, then start TLS on a connection without buffered plaintext. [`Outcome::TlsStarted`], or close.
    StartTls,
    /// Begin a login. [`Outcome::Auth`].
    AuthStart {
        /// How.
        mechanism: Mechanism,
        /// The client's first message.
        initial: Secret,
    },
    /// The client's next message. [`Outcome::Auth`].
    AuthContinue(Secret),
    /// Forget the login that was begun, even if it had just succeeded. No outcome.
    AuthAbort,
}

/// What came of an [`Action`].
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Action::CheckSender`].
    Sender(SenderVerdict),
    /// Of [`Action::CheckRecipient`].
    Recipient(RecipientVerdict),
    /// Of [`Action::BeginMessage`]: whether there is one.
    Began(bool),
    /// Of [`Action::Commit`].
    Committed(CommitVerdict),
    /// Of [`Action::StartTls`].
    TlsStarted(Tls),
    /// Of [`Action::AuthStart`] and [`Action::AuthContinue`].
    Auth(AuthVerdict),
}

/// Whether a reverse-path may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderVerdict {
    /// It belongs to the account.
    Accept,
    /// It does not: 553 5.7.1.
    NotYours,
    /// It cannot be known now: 451.
    Unavailable,
}

/// Whether a recipient may be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientVerdict {
    /// 250.
    Accept,
    /// 550 5.1.1.
    Unknown,
    /// 550 5.7.1.
    NoRelay,
    /// 452 4.2.2.
    MailboxFull,
    /// 451 4.3.0.
    Unavailable,
    /// 450 4.7.1.
    RateLimited,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitVerdict {
    /// On disk under this name: 250.
    Accepted(Text<64>),
    /// 554 5.4.6.
    Loop,
    /// 550 5.7.1.
    Identity,
    /// 552 5.3.4.
    TooLarge,
    /// 554 5.1.1.
    NoRecipient,
    /// 553 5.7.1.
    Sender,
    /// 550 5.7.1.
    Unauthenticated,
    /// 550 5.7.26.
    Policy,
    /// 550 5.7.1.
    NotPassedOn,
    /// 451; nothing was kept.
    Deferred,
    /// 450 4.7.1; nothing was kept.
    RateLimited,
}

/// What the authentication service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthVerdict {
    /// The client has to answer this.
    Challenge(Vec<u8>),
    /// Logged in; the client must still see these bytes, if any.
    Success(Option<Vec<u8>>),
    /// Wrong credentials: 535.
    Refused,
    /// Too many failures, or the service is not there: 454.
    Unavailable,
    /// Not a message of the mechanism: 501.
    Malformed,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    tls: Option<Tls>,
    tls_available: bool,
    hello: Option<Hello>,
    logged_in: bool,
    mail: Mail,
    mode: Mode,
    counts: Counts,
    actions: VecDeque<Action>,
    output: Vec<u8>,
    /// Bytes of an incomplete line that have been searched for its end.
    searched: usize,
}

#[derive(Debug)]
struct Hello {
    name: Text<MAX_DOMAIN>,
    extended: bool,
}

/// The mail transaction.
#[derive(Debug)]
enum Mail {
    None,
    /// After MAIL.
    Envelope(Transaction),
    /// After the first BDAT.
    Chunks(Transaction, ChunkChecker),
}

/// What input means now.
#[derive(Debug)]
enum Mode {
    Command,
    /// The rest of a line that is too long.
    Discard {
        left: u64,
        /// Whether CR was the last byte thrown away.
        after_cr: bool,
        reply: Reply,
    },
    Login(Exchange),
    Data(Transaction, DataDecoder),
    Chunk(Chunk),
    /// An action is under way.
    Waiting(Waiting),
    Closed,
}

/// What an outcome completes.
#[derive(Debug)]
enum Waiting {
    Sender(Transaction),
    Recipient(Recipient),
    BeginData(Transaction),
    BeginChunks { transaction: Transaction, size: u64, last: bool },
    Commit,
    Tls,
    Auth,
}

#[derive(Debug, Default)]
struct Counts {
    errors: u32,
    unknown: u32,
    refused_recipients: u32,
    idle: u32,
    failed_logins: u32,
    /// Bytes of chunks that were read only to be thrown away.
    drained: u64,
}

impl Session {
    /// A new connection; `tls` when it is encrypted from the first byte, `tls_available` when STARTTLS can be offered.
    pub fn new(settings: Arc<Settings>, tls: Option<Tls>, tls_available: bool) -> Self {
        Self {
            settings,
            tls,
            tls_available,
            hello: None,
            logged_in: false,
            mail: Mail::None,
            mode: Mode::Command,
            counts: Counts::default(),
            actions: VecDeque::new(),
            output: Vec::new(),
            searched: 0,
        }
    }

    /// Greets the client (RFC 5321 4.3.1). `spoke_first`: it has not waited for that, as no mail server would (SMUG-11).
    pub fn greet(&mut self, spoke_first: bool) {
        if spoke_first {
            return self.close(&say::OUT_OF_TURN);
        }
        let greeting = format!("{} ESMTP Postern", self.settings.hostname);
        self.reply(&Reply::bare(220, "").with_text(greeting));
    }

    /// Does as much as `input` allows, which is advanced over what is used; what is left must be passed in again, with more
    /// behind it. Content of a message is appended to `content`.
    pub fn step(&mut self, input: &mut &[u8], content: &mut Vec<u8>) -> Step {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Step::Do(action);
            }
            let more = match self.mode {
                Mode::Closed => return Step::Close,
                // The driver forgot the outcome. Nothing may pass that was not checked.
                Mode::Waiting(_) => {
                    self.close(&say::OUT_OF_STEP);
                    true
                }
                Mode::Command | Mode::Login(_) => self.take_line(input),
                Mode::Discard { .. } => self.discard(input),
                Mode::Data(..) => self.take_data(input, content),
                Mode::Chunk(_) => self.take_chunk(input, content),
            };
            if !more && self.actions.is_empty() && !matches!(self.mode, Mode::Closed) {
                return Step::Read;
            }
        }
    }

    /// The outcome of the action under way. One that belongs to no action closes the connection.
    pub fn resume(&mut self, outcome: Outcome) {
        let Mode::Waiting(waiting) = std::mem::replace(&mut self.mode, Mode::Command) else {
            return self.close(&say::OUT_OF_STEP);
        };
        match (waiting, outcome) {
            (Waiting::Sender(transaction), Outcome::Sender(verdict)) => self.sender_checked(transaction, verdict),
            (Waiting::Recipient(recipient), Outcome::Recipient(verdict)) => self.recipient_checked(recipient, verdict),
            (Waiting::BeginData(transaction), Outcome::Began(began)) => self.data_began(transaction, began),
            (Waiting::BeginChunks { transaction, size, last }, Outcome::Began(began)) => self.chunks_began(transaction, size, last, began),
            (Waiting::Commit, Outcome::Committed(verdict)) => self.committed(verdict),
            (Waiting::Tls, Outcome::TlsStarted(tls)) => self.tls_started(tls),
            (Waiting::Auth, Outcome::Auth(verdict)) => self.auth_answered(verdict),
            _ => self.close(&say::OUT_OF_STEP),
        }
    }

    /// The content that came out of the last step could not be kept: the message will be refused with 451. When that step was
    /// [`Action::Commit`], resume it with [`CommitVerdict::Deferred`] instead.
    pub fn storage_failed(&mut self) {
        if let Mode::Data(_, decoder) = &mut self.mode {
            decoder.fail();
        }
        if let Mail::Chunks(_, checker) = &mut self.mail {
            checker.fail();
        }
    }

    /// Replies to be sent; the driver clears it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Ends the connection because the service stops (RFC 5321 3.8).
    pub fn shut_down(&mut self) {
        self.close(&say::SHUTTING_DOWN);
    }

    /// Ends the connection because the client took too long (RFC 5321 4.5.3.2).
    pub fn time_out(&mut self) {
        self.close(&say::TIMED_OUT);
    }

    /// How long the client may take for what it has to send next, and whether more of it extends that time.
    pub fn patience(&self) -> Patience {
        let limits = &self.settings.limits;
        match self.mode {
            Mode::Data(..) | Mode::Chunk(_) => Patience { each: limits.block_time, whole: Some(limits.content_time) },
            // Between two chunks the message is still there: it has no more time than one that comes in one piece.
            _ if matches!(self.mail, Mail::Chunks(..)) => Patience { each: limits.command_time, whole: Some(limits.content_time) },
            _ => Patience { each: limits.command_time, whole: None },
        }
    }

    /// Whether the client is between transactions, so that closing now loses nothing.
    pub fn is_idle(&self) -> bool {
        matches!(self.mode, Mode::Command) && matches!(self.mail, Mail::None)
    }

    /// What the client calls itself.
    pub fn hello(&self) -> Option<&Text<MAX_DOMAIN>> {
        self.hello.as_ref().map(|h| &h.name)
    }

    /// Whether it said EHLO rather than HELO.
    pub fn is_extended(&self) -> bool {
        self.hello.as_ref().is_some_and(|h| h.extended)
    }

    fn reply(&mut self, reply: &Reply) {
        reply.write_to(&mut self.output);
    }

    /// The last reply.
    fn close(&mut self, reply: &Reply) {
        self.reply(reply);
        self.drop_mail();
        self.mode = Mode::Closed;
    }

    /// A reply that counts against the client; one too many ends the connection.
    fn refuse(&mut self, reply: &Reply) {
        self.counts.errors = self.counts.errors.saturating_add(1);
        if self.counts.errors > self.settings.limits.errors { self.close(&say::TOO_MANY_ERRORS) } else { self.reply(reply) }
    }

    /// Ends the transaction, whatever has become of it.
    fn drop_mail(&mut self) {
        let in_data = matches!(self.mode, Mode::Data(..));
        if matches!(std::mem::replace(&mut self.mail, Mail::None), Mail::Chunks(..)) || in_data {
            self.actions.push_back(Action::DropMessage);
        }
    }

    fn begin(&mut self, action: Action, waiting: Waiting) {
        self.actions.push_back(action);
        self.mode = Mode::Waiting(waiting);
    }
}

/// Time for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the next bytes, or for a whole command.
    pub each: Duration,
    /// For everything of this kind together: then `each` starts again with every read, otherwise it does not.
    pub whole: Option<Duration>,
}
