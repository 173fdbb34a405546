use crate::{Appliance, Connection};
use data_encoding::BASE64;
use std::io;

/// What a command was answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Every untagged response, whole: literals are in it after their `{N}` and CRLF.
    pub untagged: Vec<Vec<u8>>,
    /// The literals of all untagged responses, in order.
    pub literals: Vec<Vec<u8>>,
    /// What follows the tag: `OK ...`, `NO ...`, `BAD ...`.
    pub status: String,
}

impl Answer {
    /// Whether it is OK.
    pub fn ok(&self) -> bool {
        self.status.starts_with("OK")
    }

    /// The untagged responses as text, one a line.
    pub fn text(&self) -> String {
        self.untagged.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

/// A small IMAP client.
#[derive(Debug)]
pub struct Imap {
    /// For what a well-behaved client does not do.
    pub connection: Connection,
    tag: u32,
}

impl Imap {
    /// Connects with TLS and reads the greeting.
    ///
    /// # Panics
    /// When there is none.
    pub fn connect(appliance: &Appliance) -> Self {
        let mut this = Self { connection: Connection::tls(appliance, "imaps"), tag: 0 };
        let (greeting, _) = this.response().expect("a greeting");
        assert!(greeting.starts_with(b"* OK"), "{}", String::from_utf8_lossy(&greeting));
        this
    }

    /// Connects and logs in with AUTHENTICATE PLAIN.
    ///
    /// # Panics
    /// When that fails.
    pub fn login(appliance: &Appliance, account: &str) -> Self {
        let (address, password) = appliance.account(account);
        Self::login_as(appliance, address, password)
    }

    /// As [`Self::login`], for accounts that were added later.
    ///
    /// # Panics
    /// When that fails.
    pub fn login_as(appliance: &Appliance, address: &str, password: &str) -> Self {
        let mut this = Self::connect(appliance);
        let response = BASE64.encode(format!("\0{address}\0{password}").as_bytes());
        this.connection.send(b"x AUTHENTICATE PLAIN\r\n").expect("the connection holds");
        let (ask, _) = this.response().expect("a continuation request");
        assert!(ask.starts_with(b"+"), "{}", String::from_utf8_lossy(&ask));
        this.connection.send(format!("{response}\r\n").as_bytes()).expect("the connection holds");
        let answer = this.finish("x").expect("an answer");
        assert!(answer.ok(), "{answer:?}");
        this
    }

    /// One command and its answer.
    ///
    /// # Panics
    /// When the connection fails.
    pub fn command(&mut self, command: &str) -> Answer {
        self.try_command(command).expect("the connection holds")
    }

    /// One command that must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn must(&mut self, command: &str) -> Answer {
        let answer = self.command(command);
        assert!(answer.ok(), "{command}: {}", answer.status);
        answer
    }

    /// One command and its answer, or how the connection failed.
    pub fn try_command(&mut self, command: &str) -> io::Result<Answer> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.connection.send(format!("{tag} {command}\r\n").as_bytes())?;
        self.finish(&tag)
    }

    /// APPEND with a literal that does not wait (RFC 7888).
    ///
    /// # Panics
    /// When the connection fails.
    pub fn append(&mut self, mailbox: &str, message: &[u8]) -> Answer {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        let mut bytes = format!("{tag} APPEND {mailbox} {{{}+}}\r\n", message.len()).into_bytes();
        bytes.extend_from_slice(message);
        bytes.extend_from_slice(b"\r\n");
        self.connection.send(&bytes).expect("the connection holds");
        self.finish(&tag).expect("an answer")
    }

    /// All messages of a mailbox, by UID.
    ///
    /// # Panics
    /// When the mailbox cannot be read.
    pub fn messages(&mut self, mailbox: &str) -> Vec<Vec<u8>> {
        self.must(&format!("EXAMINE {mailbox}"));
        let answer = self.command("UID FETCH 1:* (BODY.PEEK[])");
        assert!(answer.ok(), "{answer:?}");
        answer.literals
    }

    /// Messages in a mailbox.
    ///
    /// # Panics
    /// When there is no such mailbox.
    pub fn count(&mut self, mailbox: &str) -> usize {
        let text = self.must(&format!("STATUS {mailbox} (MESSAGES)")).text();
        let number = text.rsplit_once("MESSAGES ").map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        number.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    }

    /// Reads up to the tagged response.
    pub fn finish(&mut self, tag: &str) -> io::Result<Answer> {
        let mut answer = Answer::default();
        let tagged = format!("{tag} ").into_bytes();
        loop {
            let (response, literals) = self.response()?;
            if let Some(status) = response.strip_prefix(tagged.as_slice()) {
                answer.status = String::from_utf8_lossy(status).trim_end().to_owned();
                return Ok(answer);
            }
            answer.untagged.push(response);
            answer.literals.extend(literals);
        }
    }

    /// One response with its literals.
    pub fn response(&mut self) -> io::Result<(Vec<u8>, Vec<Vec<u8>>)> {
        let (mut whole, mut literals) = (Vec::new(), Vec::new());
        loop {
            let line = self.connection.line()?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            whole.extend_from_slice(&line);
            let Some(length) = literal(&line) else { return Ok((whole, literals)) };
            let text = self.connection.exactly(length)?;
            whole.extend_from_slice(&text);
            literals.push(text);
        }
    }
}

/// The length in `{N}` or `~{N}` at the end of a line.
fn literal(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let open = line.iter().rposition(|b| *b == b'{')?;
    std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
}
