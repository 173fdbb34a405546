//! Port 143 before STARTTLS (RFC 9051 11.1): enough to get to TLS, and nothing else.

use crate::{
    capability,
    connection::{Answer, Connection, Fault},
    limits, session,
};
use exposed_tls::Stream;
use pure_imap::{
    Command, parse,
    response::{self, Code, Condition},
};
use tokio::net::TcpStream;

/// Speaks until STARTTLS and returns the socket, or until the client leaves.
///
/// What the client sent behind STARTTLS stays in the connection that is dropped here: it is never read as if it had come through
/// TLS (attack case STLS-02).
pub(crate) async fn until_starttls(socket: TcpStream) -> Result<Option<TcpStream>, Fault> {
    let mut conn = Connection::new(Stream::Plain(socket));
    let hello = Code::Capability(capability::PLAINTEXT.into());
    response::status(&mut conn.out, None, Condition::Ok, Some(&hello), "Postern ready");
    let ended = speak(&mut conn).await;
    match session::excuse(&mut conn, ended).await? {
        Some(()) => match conn.into_stream() {
            Stream::Plain(socket) => Ok(Some(socket)),
            Stream::Tls(_) => Ok(None),
        },
        None => Ok(None),
    }
}

async fn speak(conn: &mut Connection) -> Result<(), Fault> {
    let mut errors = 0;
    loop {
        let (tag, parsed) = conn.command().await?;
        let answer = match parsed {
            Ok(Command::StartTls) => {
                Answer::ok("Begin TLS").write(&mut conn.out, tag.as_ref());
                conn.flush().await?;
                return Ok(());
            }
            Ok(Command::Capability) => {
                conn.out.text("* CAPABILITY ").text(capability::PLAINTEXT).end();
                Answer::ok("CAPABILITY completed")
            }
            Ok(Command::Noop) => Answer::ok("NOOP completed"),
            Ok(Command::Id(_)) => session::id(conn),
            Ok(Command::Logout) => {
                session::logout(conn, tag.as_ref()).await;
                return Err(Fault::Ended);
            }
            // RFC 9051 6.2.3: LOGINDISABLED.
            Ok(Command::Login { .. } | Command::Authenticate { .. }) => Answer::no("PRIVACYREQUIRED", "Use STARTTLS first"),
            Ok(_) => Answer::bad("Not before STARTTLS and login"),
            Err(parse::Refused::Bad(parse::Bad::Http)) => return Err(session::not_imap(conn).await),
            Err(refused) => session::refused(refused),
        };
        errors += u32::from(answer.condition == Condition::Bad);
        answer.write(&mut conn.out, tag.as_ref());
        // Strangers may send much and read nothing: what waits for them is bounded here too.
        conn.flush_if_full().await?;
        if errors >= limits::PRE_AUTH_ERRORS {
            conn.goodbye(None, "Too many errors").await;
            return Err(Fault::Ended);
        }
    }
}
