use crate::{Appliance, Connection, dot_stuff};
use data_encoding::BASE64;
use std::io;

/// A whole SMTP reply (RFC 5321 4.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits; 0 when the connection ended.
    pub code: u16,
    /// What follows, line by line.
    pub lines: Vec<String>,
}

impl Reply {
    /// Whether the command succeeded, or is to be continued.
    pub fn ok(&self) -> bool {
        (200..400).contains(&self.code)
    }
}

/// A small SMTP client. It reports what the server says and does not judge.
#[derive(Debug)]
pub struct Smtp {
    /// For what a well-behaved client does not do.
    pub connection: Connection,
}

impl Smtp {
    /// Connects to `mx`, `submission` or `submissions` (TLS at once), reads the greeting, says EHLO.
    ///
    /// # Panics
    /// When the greeting or the answer to EHLO is not the good one.
    pub fn connect(appliance: &Appliance, port: &str) -> Self {
        let connection = if port == "submissions" { Connection::tls(appliance, port) } else { Connection::plain(appliance, port) };
        let mut this = Self { connection };
        let greeting = this.reply().expect("a greeting");
        assert_eq!(greeting.code, 220, "{greeting:?}");
        let hello = this.command("EHLO client.remote.test");
        assert_eq!(hello.code, 250, "{hello:?}");
        this
    }

    /// As [`Self::connect`], but every failure is returned: for times when daemons die.
    pub fn try_connect(appliance: &Appliance, port: &str) -> io::Result<Self> {
        let mut this = Self { connection: Connection::plain(appliance, port) };
        let ready = this.reply()?.code == 220 && this.try_command("EHLO client.remote.test")?.code == 250;
        if ready { Ok(this) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    /// A session with STARTTLS in which an account has logged in; every failure is returned.
    pub fn try_submission(appliance: &Appliance, account: &str) -> io::Result<Self> {
        let mut this = Self::try_connect(appliance, "submission")?;
        if this.try_command("STARTTLS")?.code != 220 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        this.connection.start_tls()?;
        let (address, password) = appliance.account(account);
        let plain = BASE64.encode(format!("\0{address}\0{password}").as_bytes());
        let ready =
            this.try_command("EHLO client.remote.test")?.code == 250 && this.try_command(&format!("AUTH PLAIN {plain}"))?.code == 235;
        if ready { Ok(this) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }

    /// STARTTLS, the handshake, EHLO again.
    ///
    /// # Panics
    /// When any of it fails.
    pub fn start_tls(&mut self) -> Reply {
        let reply = self.command("STARTTLS");
        assert_eq!(reply.code, 220, "{reply:?}");
        self.connection.start_tls().expect("the TLS handshake succeeds");
        self.command("EHLO client.remote.test")
    }

    /// AUTH PLAIN with an initial response (RFC 4954, RFC 4616).
    pub fn auth(&mut self, address: &str, password: &str) -> Reply {
        self.command(&format!("AUTH PLAIN {}", BASE64.encode(format!("\0{address}\0{password}").as_bytes())))
    }

    /// One command and its reply.
    ///
    /// # Panics
    /// When the connection fails.
    pub fn command(&mut self, line: &str) -> Reply {
        self.try_command(line).expect("the connection holds")
    }

    /// One command and its reply, or how the connection failed.
    pub fn try_command(&mut self, line: &str) -> io::Result<Reply> {
        self.connection.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// A whole transaction: the first reply that is not good, or the one after the message.
    ///
    /// # Panics
    /// When the connection fails.
    pub fn send(&mut self, from: &str, to: &[&str], message: &[u8]) -> Reply {
        self.try_send(from, to, message).expect("the connection holds")
    }

    /// As [`Self::send`], or how the connection failed: then nobody knows whether the message was accepted.
    pub fn try_send(&mut self, from: &str, to: &[&str], message: &[u8]) -> io::Result<Reply> {
        let utf8 = if from.is_ascii() && to.iter().all(|a| a.is_ascii()) { "" } else { " SMTPUTF8" };
        let mut commands = vec![format!("MAIL FROM:<{from}> BODY=8BITMIME{utf8}")];
        commands.extend(to.iter().map(|address| format!("RCPT TO:<{address}>")));
        commands.push("DATA".into());
        for command in commands {
            let reply = self.try_command(&command)?;
            if !reply.ok() {
                return Ok(reply);
            }
        }
        self.connection.send(&dot_stuff(message))?;
        self.reply()
    }

    /// One reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = self.connection.line()?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let code = line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }
}
