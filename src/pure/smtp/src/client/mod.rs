//! SMTP for a client, without I/O: bytes in, bytes and verdicts out.
//!
//! [`Client`] is the whole protocol of one connection. Its driver writes what [`Client::take_output`] returns, gives what it reads to
//! [`Client::receive`], and calls [`Client::step`] to hear what comes next. How long to wait for it, [`Client::phase`] and
//! [`Timeouts`] say.
//!
//! Invariants:
//!
//! * a server is hostile: replies are bounded ([`reply`]), and one that was not asked for ends the session;
//! * only codes decide; texts are for people;
//! * nothing received in clear text outlives STARTTLS, and anything that is waiting at the switch ends the session;
//! * a password is sent only within TLS;
//! * a recipient is [`Verdict::Delivered`] only after a 2yz reply that came behind the end of the content. When the connection is lost
//!   before that reply, the message may have been taken all the same: [`Verdict::Uncertain`] must be tried again, at the price of a
//!   second copy (RFC 5321 4.5.3.2.6, RFC 1047), and is never delivered;
//! * content with a bare CR, a bare LF or NUL is not sent to its end.

mod capabilities;
mod command;
mod content;
mod reply;
mod sasl;
mod scram;
#[cfg(test)]
mod tests;
mod timeouts;
mod transaction;

pub use capabilities::Capabilities;
pub use content::BareBytes;
pub use reply::{BadReply, Class, EnhancedStatus, KEPT_LINE, MAX_LINE, MAX_LINES, ServerReply};
pub use sasl::Login;
pub use timeouts::{Phase, Timeouts};
pub use transaction::{Mail, Unsuitable, Verdict};

use content::ContentWriter;
use reply::ReplyReader;
use sasl::{Exchange, Mechanism};
use std::sync::Arc;
use transaction::Transaction;

/// Whether STARTTLS is used (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartTls {
    /// Not even where it is offered; also for a connection that is TLS already.
    Never,
    /// Where it is offered. Refused, the session goes on in clear text.
    IfOffered,
    /// No session without it.
    Required,
}

/// What a session begins with.
#[derive(Debug)]
pub struct ClientSettings {
    /// What we call ourselves in EHLO (RFC 5321 4.1.1.1).
    pub name: String,
    /// The connection is TLS from its first byte.
    pub encrypted: bool,
    /// STARTTLS.
    pub starttls: StartTls,
    /// Whom to log in as, at a smarthost.
    pub login: Option<Login>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the output, then read.
    Read,
    /// The server is ready for the handshake: perform it, then call [`Client::handshake_done`].
    Handshake,
    /// The session is ready for a transaction.
    Ready,
    /// Content is due: [`Client::content`], at the end [`Client::end_content`].
    Content,
    /// The transaction is over; every recipient in the order in which it was given.
    Done(Vec<Verdict>),
    /// The session is over. What became of a transaction is in [`Client::abandon`].
    Failed(Failure),
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server refused the session at its greeting or at EHLO.
    Refused(Phase, Arc<ServerReply>),
    /// 421: the server closes (RFC 5321 3.8).
    Closing(Phase, Arc<ServerReply>),
    /// STARTTLS is required and not offered.
    NoStartTls,
    /// STARTTLS is required and was refused.
    StartTlsRefused(Arc<ServerReply>),
    /// Clear text stood behind the answer to STARTTLS (RFC 3207 6).
    Injected,
    /// The server does not offer a mechanism that is known here, or the connection is not TLS.
    NoMechanism,
    /// The server refused the login.
    LoginRefused(Arc<ServerReply>),
    /// The server broke the exchange, or does not know the password itself.
    LoginBroken,
    /// Not SMTP.
    Bad(Phase, BadReply),
    /// A reply to nothing, or one that its command does not have.
    OutOfStep(Phase),
    /// The connection ended.
    Lost(Phase),
    /// A time limit passed.
    TimedOut(Phase),
    /// QUIT is done, or nothing can follow on this connection.
    Ended,
}

#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// The driver is busy with TLS.
    Handshake,
    Auth(Exchange),
    Ready,
    /// MAIL and RCPT, in a transaction.
    Envelope,
    Content(ContentWriter),
    /// The content is written; its answer is due.
    End,
    Quit,
    /// Nothing can follow.
    Closed(Failure),
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    state: State,
    encrypted: bool,
    starttls_refused: bool,
    offered: Capabilities,
    reader: ReplyReader,
    output: Vec<u8>,
    transaction: Option<Transaction>,
    /// A transaction was begun that the server may still hold: RSET comes before the next.
    dirty: bool,
    /// Replies so far; a new limit of time begins with each.
    replies: u64,
}

impl Client {
    /// For a connection on which nothing was read or written yet.
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            encrypted: settings.encrypted,
            settings,
            state: State::Greeting,
            starttls_refused: false,
            offered: Capabilities::default(),
            reader: ReplyReader::default(),
            output: Vec::new(),
            transaction: None,
            dirty: false,
            replies: 0,
        }
    }

    /// Takes bytes that were read.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.reader.receive(bytes);
    }

    /// What is to be written now.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// What the server offers in the state the session is in.
    pub fn offered(&self) -> &Capabilities {
        &self.offered
    }

    /// Whether STARTTLS was offered and then refused.
    pub fn starttls_refused(&self) -> bool {
        self.starttls_refused
    }

    /// Whether a transaction can begin.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready) && self.reader.is_empty()
    }

    /// Counts replies: when it changes, the time limit of [`Self::phase`] begins anew.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// What is being waited for.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Greeting => Phase::Greeting,
            State::Ehlo | State::Helo => Phase::Hello,
            State::StartTls | State::Handshake => Phase::StartTls,
            State::Auth(_) => Phase::Auth,
            State::Ready => Phase::Reset,
            State::Envelope => self.transaction.as_ref().map_or(Phase::Mail, Transaction::phase),
            State::Content(_) => Phase::Block,
            State::End => Phase::End,
            State::Quit | State::Closed(_) => Phase::Quit,
        }
    }

    /// Goes on as far as what was received allows.
    pub fn step(&mut self) -> Step {
        loop {
            match &self.state {
                State::Ready => return Step::Ready,
                State::Handshake => return Step::Handshake,
                State::Closed(failure) => return Step::Failed(failure.clone()),
                _ => {}
            }
            let reply = match self.reader.next() {
                Ok(Some(reply)) => reply,
                Ok(None) if matches!(self.state, State::Content(_)) && self.reader.is_empty() => return Step::Content,
                Ok(None) => return Step::Read,
                Err(bad) => {
                    let phase = self.phase();
                    return self.fail(Failure::Bad(phase, bad));
                }
            };
            self.replies = self.replies.saturating_add(1);
            if let Some(step) = self.take(reply) {
                return step;
            }
        }
    }

    /// One reply to what was asked last.
    fn take(&mut self, reply: ServerReply) -> Option<Step> {
        let phase = self.phase();
        let reply = Arc::new(reply);
        if reply.code() == 421 {
            if let Some(transaction) = &mut self.transaction {
                transaction.closing(&reply);
            }
            return Some(self.fail(Failure::Closing(phase, reply)));
        }
        let class = reply.class();
        match std::mem::replace(&mut self.state, State::Closed(Failure::Ended)) {
            State::Greeting => match class {
                Class::Completed => self.say_hello(),
                Class::Intermediate => Some(self.fail(Failure::OutOfStep(phase))),
                Class::Transient | Class::Permanent => Some(self.fail(Failure::Refused(phase, reply))),
            },
            State::Ehlo => match class {
                Class::Completed => {
                    self.offered = Capabilities::parse(&reply);
                    self.greeted()
                }
                // RFC 5321 3.2: a server that does not know EHLO. Nothing that needs EHLO is lost by falling back.
                Class::Permanent if !self.encrypted && self.settings.starttls != StartTls::Required && self.settings.login.is_none() => {
                    let line = format!("HELO {}\r\n", self.settings.name);
                    self.ask(State::Helo, line.as_bytes())
                }
                Class::Intermediate => Some(self.fail(Failure::OutOfStep(phase))),
                Class::Transient | Class::Permanent => Some(self.fail(Failure::Refused(phase, reply))),
            },
            State::Helo => match class {
                Class::Completed => {
                    self.offered = Capabilities::default();
                    self.greeted()
                }
                Class::Intermediate => Some(self.fail(Failure::OutOfStep(phase))),
                Class::Transient | Class::Permanent => Some(self.fail(Failure::Refused(phase, reply))),
            },
            State::StartTls => match class {
                // RFC 3207 4: nothing may follow until the handshake begins.
                Class::Completed if !self.reader.is_empty() => Some(self.fail(Failure::Injected)),
                Class::Completed => {
                    self.state = State::Handshake;
                    None
                }
                Class::Intermediate => Some(self.fail(Failure::OutOfStep(phase))),
                Class::Transient | Class::Permanent if self.settings.starttls == StartTls::Required => {
                    Some(self.fail(Failure::StartTlsRefused(reply)))
                }
                Class::Transient | Class::Permanent => {
                    self.starttls_refused = true;
                    self.log_in()
                }
            },
            State::Auth(exchange) => self.take_auth(exchange, &reply),
            State::Envelope => self.take_envelope(phase, reply),
            State::Content(_) => self.take_early(phase, reply),
            State::End => self.take_end(phase, reply),
            State::Quit => Some(self.fail(Failure::Ended)),
            // `step` does not read a reply in these states.
            State::Ready | State::Handshake | State::Closed(_) => Some(self.fail(Failure::OutOfStep(phase))),
        }
    }

    fn say_hello(&mut self) -> Option<Step> {
        let line = format!("EHLO {}\r\n", self.settings.name);
        self.ask(State::Ehlo, line.as_bytes())
    }

    /// EHLO or HELO is answered.
    fn greeted(&mut self) -> Option<Step> {
        if self.encrypted || self.settings.starttls == StartTls::Never {
            return self.log_in();
        }
        if self.offered.starttls {
            return self.ask(State::StartTls, b"STARTTLS\r\n");
        }
        if self.settings.starttls == StartTls::Required { Some(self.fail(Failure::NoStartTls)) } else { self.log_in() }
    }

    /// The handshake succeeded: everything that was said before it is forgotten (RFC 3207 4.2).
    pub fn handshake_done(&mut self) {
        if matches!(self.state, State::Handshake) {
            self.encrypted = true;
            self.offered = Capabilities::default();
            let _ = self.say_hello();
        }
    }

    fn log_in(&mut self) -> Option<Step> {
        let Some(login) = self.settings.login.take() else {
            self.state = State::Ready;
            return self.unasked();
        };
        let mechanism = Mechanism::ALL.into_iter().find(|m| self.offered.auth.contains(m)).filter(|_| self.encrypted);
        let Some(mechanism) = mechanism else { return Some(self.fail(Failure::NoMechanism)) };
        match Exchange::start(mechanism, login) {
            Some((exchange, line)) => self.ask(State::Auth(exchange), &line),
            None => Some(self.fail(Failure::LoginBroken)),
        }
    }

    fn take_auth(&mut self, mut exchange: Exchange, reply: &Arc<ServerReply>) -> Option<Step> {
        match reply.class() {
            Class::Completed if exchange.may_succeed() => {
                self.state = State::Ready;
                self.unasked()
            }
            Class::Intermediate if reply.code() == 334 => {
                let text = reply.lines().first().map(String::as_str).unwrap_or_default();
                match exchange.challenge(text) {
                    Some(line) => self.ask(State::Auth(exchange), &line),
                    None => Some(self.fail(Failure::LoginBroken)),
                }
            }
            Class::Completed | Class::Intermediate => Some(self.fail(Failure::LoginBroken)),
            Class::Transient | Class::Permanent => Some(self.fail(Failure::LoginRefused(reply.clone()))),
        }
    }

    /// Asks something of a server that owes no answer; one that has answered already is out of step.
    fn ask(&mut self, state: State, line: &[u8]) -> Option<Step> {
        self.state = state;
        if let Some(failed) = self.unasked() {
            return Some(failed);
        }
        self.output.extend_from_slice(line);
        None
    }

    /// Fails when something was received that was not asked for.
    fn unasked(&mut self) -> Option<Step> {
        if self.reader.is_empty() {
            return None;
        }
        let phase = self.phase();
        Some(self.fail(Failure::OutOfStep(phase)))
    }

    /// Ends the session in good order; the driver may as well close without waiting for the answer.
    pub fn quit(&mut self) {
        if matches!(self.state, State::Ready) && self.ask(State::Quit, b"QUIT\r\n").is_some() {
            self.output.clear();
        }
    }

    /// The connection ended or cannot be written to.
    pub fn lost(&mut self) -> Step {
        let phase = self.phase();
        self.fail(Failure::Lost(phase))
    }

    /// The time limit of [`Self::phase`] passed.
    pub fn timed_out(&mut self) -> Step {
        let phase = self.phase();
        self.fail(Failure::TimedOut(phase))
    }

    fn fail(&mut self, failure: Failure) -> Step {
        // The first reason is the reason.
        if let State::Closed(first) = &self.state
            && *first != Failure::Ended
        {
            return Step::Failed(first.clone());
        }
        self.output.clear();
        self.state = State::Closed(failure.clone());
        Step::Failed(failure)
    }
}
