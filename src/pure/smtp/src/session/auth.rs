//! AUTH (RFC 4954), on submission under TLS. An exchange is a value that its end consumes, however it ends (AUTH-08).

use super::*;
use pure_sasl::Response;

/// Prompts of LOGIN, as every client expects them: `Username:` and `Password:`.
const USERNAME: &[u8] = b"Username:";
const PASSWORD: &[u8] = b"Password:";

/// What the next line of the client is.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The first message of a mechanism, which AUTH did not bring.
    First(Mechanism),
    /// The user name of LOGIN.
    LoginUser,
    /// The password of LOGIN.
    LoginPassword(Secret),
    /// A message for the authentication service.
    Next,
    /// The acknowledgement of the server's last message (RFC 4954 4): empty.
    Acknowledge,
}

impl Session {
    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<Secret>) {
        if self.settings.role == Role::Mx {
            return self.refuse(&say::NOT_IMPLEMENTED);
        }
        let Some(tls) = self.tls else { return self.refuse(&say::LOGIN_NEEDS_TLS) };
        if !self.is_extended() {
            return self.refuse(&say::HELLO_FIRST);
        }
        // RFC 4954 4: once, and not during a transaction.
        if self.logged_in {
            return self.refuse(&say::ALREADY_LOGGED_IN);
        }
        if !matches!(self.mail, Mail::None) {
            return self.refuse(&say::OUT_OF_SEQUENCE);
        }
        let first = match mechanism {
            "PLAIN" => Exchange::First(Mechanism::Plain),
            "LOGIN" => Exchange::LoginUser,
            "SCRAM-SHA-256" => Exchange::First(Mechanism::ScramSha256),
            "SCRAM-SHA-256-PLUS" if tls.channel_binding => Exchange::First(Mechanism::ScramSha256Plus),
            _ => return self.refuse(&say::NO_SUCH_MECHANISM),
        };
        match (initial, first) {
            (Some(initial), first) => self.take_response(first, Response::parse_initial(initial.as_bytes())),
            (None, Exchange::LoginUser) => self.prompt(USERNAME, Exchange::LoginUser),
            (None, first) => self.prompt(b"", first),
        }
    }

    pub(super) fn login_line(&mut self, line: &[u8]) {
        if let Mode::Login(exchange) = std::mem::replace(&mut self.mode, Mode::Command) {
            self.take_response(exchange, Response::parse(line));
        }
    }

    fn take_response(&mut self, exchange: Exchange, response: Response) {
        let message = match response {
            Response::Message(message) => message,
            Response::Cancel => {
                self.abandon(&exchange);
                return self.fail_login(&say::CANCELLED);
            }
            Response::Malformed => {
                self.abandon(&exchange);
                return self.fail_login(&say::BAD_RESPONSE);
            }
        };
        match exchange {
            Exchange::First(mechanism) => self.begin(Action::AuthStart { mechanism, initial: message }, Waiting::Auth),
            Exchange::LoginUser => self.prompt(PASSWORD, Exchange::LoginPassword(message)),
            Exchange::LoginPassword(user) => match pure_sasl::plain(&user, &message) {
                Some(initial) => self.begin(Action::AuthStart { mechanism: Mechanism::Plain, initial }, Waiting::Auth),
                None => self.fail_login(&say::BAD_RESPONSE),
            },
            Exchange::Next => self.begin(Action::AuthContinue(message), Waiting::Auth),
            Exchange::Acknowledge if message.is_empty() => self.succeed(),
            Exchange::Acknowledge => {
                self.abandon(&exchange);
                self.fail_login(&say::BAD_RESPONSE);
            }
        }
    }

    pub(super) fn auth_answered(&mut self, verdict: AuthVerdict) {
        match verdict {
            AuthVerdict::Challenge(message) => self.prompt(&message, Exchange::Next),
            // RFC 4954 4: SMTP has no place for data beside success, so they come as a last challenge.
            AuthVerdict::Success(Some(message)) => self.prompt(&message, Exchange::Acknowledge),
            AuthVerdict::Success(None) => self.succeed(),
            AuthVerdict::Refused => self.fail_login(&say::LOGIN_FAILED),
            AuthVerdict::Malformed => self.fail_login(&say::BAD_RESPONSE),
            AuthVerdict::Unavailable => self.fail_login(&say::NO_LOGIN_NOW),
        }
    }

    fn prompt(&mut self, message: &[u8], exchange: Exchange) {
        // RFC 4954 4: such a line may be longer than other replies.
        self.output.extend_from_slice(format!("334 {}\r\n", pure_sasl::challenge(message)).as_bytes());
        self.mode = Mode::Login(exchange);
    }

    fn succeed(&mut self) {
        self.logged_in = true;
        self.reply(&say::LOGGED_IN);
    }

    /// Tells the authentication service, where it knows of the exchange, that nobody goes on with it.
    pub(super) fn abandon(&mut self, exchange: &Exchange) {
        if matches!(exchange, Exchange::Next | Exchange::Acknowledge) {
            self.actions.push_back(Action::AuthAbort);
        }
    }

    fn fail_login(&mut self, reply: &Reply) {
        self.counts.failed_logins = self.counts.failed_logins.saturating_add(1);
        if self.counts.failed_logins > self.settings.limits.failed_logins {
            self.close(&say::TOO_MANY_LOGINS);
        } else {
            self.reply(reply);
        }
    }
}
