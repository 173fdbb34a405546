//! From the handshake to a socket of the account's mail. What the client says of itself goes to `auth` unread.

use crate::{
    account::Account,
    capability,
    connection::{Answer, Connection, Fault},
    limits,
    server::Server,
    session,
};
use pure_addr::Text;
use pure_imap::{
    Command, parse,
    response::{self, Code, Condition},
};
use pure_sasl::{Response as Said, Secret, challenge};
use serde_bytes::ByteBuf;
use std::net::SocketAddr;
use tokio::time::Instant;
use wire::{
    Reply,
    edge::{
        auth_login::{AuthForImap, Failure, MAX_SASL, Mechanism, Request, Response},
        mail::SessionId,
        store_session::StoreSession,
    },
};

/// Who is connected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) session: SessionId,
}

/// Speaks until a login succeeds; none when the client left before.
pub(crate) async fn until_login(
    conn: &mut Connection,
    server: &Server,
    peer: Peer,
    greet: bool,
    deadline: Instant,
) -> Result<Option<Box<Account>>, Fault> {
    let capabilities = Code::Capability(capability::before_login(conn.stream.channel_binding().is_some()));
    if greet {
        response::status(&mut conn.out, None, Condition::Ok, Some(&capabilities), "Postern ready");
    }
    let speaking = speak(conn, server, peer, &capabilities);
    let ended = match tokio::time::timeout_at(deadline, Box::pin(speaking)).await {
        Ok(ended) => ended,
        Err(_too_late) => {
            conn.goodbye(None, "Login took too long").await;
            return Ok(None);
        }
    };
    session::excuse(conn, ended).await
}

async fn speak(conn: &mut Connection, server: &Server, peer: Peer, capabilities: &Code) -> Result<Box<Account>, Fault> {
    let (mut errors, mut failures) = (0, 0);
    loop {
        let (tag, parsed) = conn.command().await?;
        let mut attempt = None;
        let answer = match parsed {
            Ok(Command::Capability) => {
                if let Code::Capability(list) = capabilities {
                    conn.out.text("* CAPABILITY ").text(list).end();
                }
                Answer::ok("CAPABILITY completed")
            }
            Ok(Command::Noop) => Answer::ok("NOOP completed"),
            Ok(Command::Id(_)) => session::id(conn),
            Ok(Command::Logout) => {
                session::logout(conn, tag.as_ref()).await;
                return Err(Fault::Ended);
            }
            Ok(Command::Login { user, password }) => {
                attempt = Some(login(server, peer, &user, &password).await?);
                Answer::ok("Logged in")
            }
            Ok(Command::Authenticate { mechanism, initial }) => match authenticate(conn, server, peer, &mechanism, initial).await? {
                Ok(result) => {
                    attempt = Some(result);
                    Answer::ok("Logged in")
                }
                Err(answer) => answer,
            },
            Ok(_) => Answer::bad("Log in first"),
            Err(parse::Refused::Bad(parse::Bad::Http)) => return Err(session::not_imap(conn).await),
            Err(refused) => session::refused(refused),
        };
        let answer = match attempt {
            None => answer,
            Some(Ok(account)) => {
                let code = Code::Capability(capability::after_login(server.message_limit));
                conn.authenticated(server.message_limit);
                answer.with(code).write(&mut conn.out, tag.as_ref());
                return Ok(account);
            }
            Some(Err(failure)) => {
                failures += 1;
                tracing::info!(session = %peer.session, peer = %peer.address.ip(), reason = ?failure, "login failed");
                failed(failure)
            }
        };
        errors += u32::from(answer.condition == Condition::Bad);
        answer.write(&mut conn.out, tag.as_ref());
        // Strangers may send much and read nothing: what waits for them is bounded here too.
        conn.flush_if_full().await?;
        if failures >= limits::LOGIN_FAILURES || errors >= limits::PRE_AUTH_ERRORS {
            conn.goodbye(None, "Too many errors").await;
            return Err(Fault::Ended);
        }
    }
}

/// One text for every reason that lies in name or password (attack case AUTH-01).
fn failed(failure: Failure) -> Answer {
    match failure {
        Failure::Credentials => Answer::no("AUTHENTICATIONFAILED", "Wrong name or password"),
        Failure::TooMany => Answer::no("LIMIT", "Too many failures; try again later"),
        Failure::Malformed => Answer::bad("Not a message of this mechanism"),
        Failure::Unavailable => Answer::no("UNAVAILABLE", "Login is not possible now"),
    }
}

type Attempt = Result<Box<Account>, Failure>;

/// RFC 9051 6.2.3, carried out as RFC 4616 PLAIN. The grammar of IMAP strings has no NUL, so the fields cannot run into each other.
async fn login(server: &Server, peer: Peer, user: &str, password: &Secret) -> Result<Attempt, Fault> {
    let password = password.as_bytes();
    let mut message = Vec::with_capacity(user.len().saturating_add(password.len()).saturating_add(2));
    message.push(0);
    message.extend_from_slice(user.as_bytes());
    message.push(0);
    message.extend_from_slice(password);
    match start(server, peer, Mechanism::Plain, message.into(), None).await? {
        Step::Done(attempt, _) => Ok(attempt),
        Step::Challenge(exchange, _) => {
            abort(server, exchange).await;
            Ok(Err(Failure::Malformed))
        }
    }
}

/// RFC 9051 6.2.2. The outer error is for the session, the inner one an answer that is no attempt.
async fn authenticate(
    conn: &mut Connection,
    server: &Server,
    peer: Peer,
    mechanism: &str,
    initial: Option<Secret>,
) -> Result<Result<Attempt, Answer>, Fault> {
    let binding = conn.stream.channel_binding();
    let mechanism = match mechanism {
        "PLAIN" => Mechanism::Plain,
        "SCRAM-SHA-256" => Mechanism::ScramSha256,
        "SCRAM-SHA-256-PLUS" if binding.is_some() => Mechanism::ScramSha256Plus,
        _ => return Ok(Err(Answer::no("CANNOT", "No such mechanism"))),
    };
    let initial = match initial {
        Some(text) => Said::parse_initial(text.as_bytes()),
        None => {
            response::continuation(&mut conn.out, "");
            Said::parse(conn.line().await?.as_bytes())
        }
    };
    let initial = match message(initial) {
        Ok(initial) => initial,
        Err(answer) => return Ok(Err(answer)),
    };
    let binding = binding.map(|binding| ByteBuf::from(binding.to_vec()));
    let mut step = start(server, peer, mechanism, initial, binding).await?;
    loop {
        match step {
            Step::Challenge(exchange, data) => {
                response::continuation(&mut conn.out, &challenge(&data));
                let answer = match message(Said::parse(conn.line().await?.as_bytes())) {
                    Ok(answer) => answer,
                    Err(answer) => {
                        abort(server, exchange).await;
                        return Ok(Err(answer));
                    }
                };
                let request = Request::Continue { exchange, response: answer };
                step = Step::from_reply(server.auth.call(&request, &[]).await?).await?;
            }
            Step::Done(attempt, None) => return Ok(Ok(attempt)),
            Step::Done(attempt, Some(last)) => {
                // RFC 5802 5: the client must see the server's signature; in IMAP that is one more challenge, answered by nothing.
                response::continuation(&mut conn.out, &challenge(&last));
                let said = message(Said::parse(conn.line().await?.as_bytes()));
                return Ok(said.and_then(|said| if said.is_empty() { Ok(attempt) } else { Err(Answer::bad("Nothing was asked")) }));
            }
        }
    }
}

/// One message of the client, or the answer when it is none. `*` takes the exchange back (RFC 9051 6.2.2).
fn message(said: Said) -> Result<wire::Secret, Answer> {
    match said {
        Said::Message(message) if message.as_bytes().len() <= MAX_SASL => Ok(message.as_bytes().into()),
        Said::Cancel => Err(Answer::bad("AUTHENTICATE cancelled")),
        Said::Message(_) | Said::Malformed => Err(Answer::bad("Not base64")),
    }
}

enum Step {
    Challenge(u64, Vec<u8>),
    Done(Attempt, Option<Vec<u8>>),
}

impl Step {
    async fn from_reply(mut reply: Reply<AuthForImap>) -> Result<Self, Fault> {
        Ok(match reply.body {
            Response::Challenge { exchange, data } => Self::Challenge(exchange, data.into_vec()),
            Response::Success { owner, data } => {
                let socket = reply.fds.pop().ok_or(wire::Error::Malformed("a login without a session"))?;
                let store = wire::Session::<StoreSession>::new(socket).await?;
                Self::Done(Ok(Box::new(Account::new(store, owner))), data.map(ByteBuf::into_vec))
            }
            Response::Failure(failure) => Self::Done(Err(failure), None),
            Response::Aborted => Self::Done(Err(Failure::Malformed), None),
        })
    }
}

async fn start(
    server: &Server,
    peer: Peer,
    mechanism: Mechanism,
    initial: wire::Secret,
    channel_binding: Option<ByteBuf>,
) -> Result<Step, Fault> {
    let request = Request::Start { session: peer.session, peer: peer.address.ip(), mechanism, initial, channel_binding };
    match server.auth.call(&request, &[]).await {
        Ok(reply) => Step::from_reply(reply).await,
        Err(error) => {
            // RFC 5530 3: a login that cannot be decided is not a wrong password, and the connection may try again.
            tracing::warn!(session = %peer.session, %error, "auth did not answer");
            Ok(Step::Done(Err(Failure::Unavailable), None))
        }
    }
}

async fn abort(server: &Server, exchange: u64) {
    // auth forgets an exchange that nobody continues; saying so only frees it sooner.
    let _ = server.auth.call(&Request::Abort { exchange }, &[]).await;
}

/// A name as it may stand in the log.
pub(crate) fn loggable(owner: &pure_addr::Address) -> Text<320> {
    Text::lossy(owner.to_string().as_bytes())
}
