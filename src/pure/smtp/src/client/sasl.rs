//! SASL as a client of a smarthost (RFC 4954): SCRAM-SHA-256, PLAIN, LOGIN. Only ever within TLS.

use super::scram::{ClientFinal, ClientFirst};
use data_encoding::BASE64;
use pure_sasl::Secret;
use zeroize::Zeroizing;

/// Bytes of a line in an exchange (RFC 4954 4).
const MAX_LINE: usize = 12_288;

/// A mechanism that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// RFC 7677.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// Never standardised, and all that some servers have.
    Login,
}

impl Mechanism {
    /// The best first.
    pub(crate) const ALL: [Self; 3] = [Self::ScramSha256, Self::Plain, Self::Login];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// Whom to log in as.
#[derive(Debug)]
pub struct Login {
    /// The user.
    pub user: String,
    /// Their password.
    pub password: Secret,
    /// Random printable text without a comma, at least 18 bytes, never used before (RFC 5802 5.1).
    pub nonce: String,
}

/// A line to send, which may hold a password.
pub(crate) type Line = Zeroizing<Vec<u8>>;

/// What is expected of the server next.
#[derive(Debug)]
enum Turn {
    /// Success or failure.
    Verdict,
    /// LOGIN's two questions.
    User,
    Password,
    ServerFirst(ClientFirst),
    ServerFinal(ClientFinal),
}

/// An exchange under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    login: Login,
    turn: Turn,
}

impl Exchange {
    /// The exchange and its first line; none when the credentials cannot be written down in the mechanism.
    pub(crate) fn start(mechanism: Mechanism, login: Login) -> Option<(Self, Line)> {
        let (turn, initial) = match mechanism {
            Mechanism::Plain => (Turn::Verdict, Some(plain(&login)?)),
            Mechanism::Login => (Turn::User, None),
            Mechanism::ScramSha256 => {
                let first = ClientFirst::new(&login.user, &login.nonce)?;
                let message = first.message().into_bytes();
                (Turn::ServerFirst(first), Some(Secret::new(message)))
            }
        };
        let mut line = format!("AUTH {}", mechanism.name()).into_bytes();
        if let Some(initial) = initial {
            line.push(b' ');
            line.extend_from_slice(&encoded(&initial));
        }
        finish(line).map(|line| (Self { login, turn }, line))
    }

    /// The answer to a 334; none when the server says what the mechanism does not have, or is not who knows the password.
    pub(crate) fn challenge(&mut self, text: &str) -> Option<Line> {
        let message = BASE64.decode(text.trim_end().as_bytes());
        let (turn, answer) = match std::mem::replace(&mut self.turn, Turn::Verdict) {
            Turn::Verdict => return None,
            // What the question says is not standardised.
            Turn::User => (Turn::Password, Secret::new(self.login.user.clone().into_bytes())),
            Turn::Password => (Turn::Verdict, Secret::new(self.login.password.as_bytes().to_vec())),
            Turn::ServerFirst(first) => {
                let (last, answer) = first.answer(&message.ok()?, self.login.password.as_bytes())?;
                (Turn::ServerFinal(last), Secret::new(answer.into_bytes()))
            }
            Turn::ServerFinal(last) => {
                last.verify(&message.ok()?)?;
                (Turn::Verdict, Secret::new(Vec::new()))
            }
        };
        self.turn = turn;
        finish(encoded(&answer).to_vec())
    }

    /// Whether the server may say now that all is well: with SCRAM it has to prove that it knows the password.
    pub(crate) fn may_succeed(&self) -> bool {
        matches!(self.turn, Turn::Verdict)
    }
}

/// RFC 4616 2.
fn plain(login: &Login) -> Option<Secret> {
    pure_sasl::plain(&Secret::new(login.user.clone().into_bytes()), &login.password)
}

fn encoded(message: &Secret) -> Line {
    Zeroizing::new(BASE64.encode(message.as_bytes()).into_bytes())
}

fn finish(mut line: Vec<u8>) -> Option<Line> {
    line.extend_from_slice(b"\r\n");
    let line = Zeroizing::new(line);
    (line.len() <= MAX_LINE).then_some(line)
}
