//! An IMAP client that is fast enough not to be what is measured: it counts what it reads and keeps little of it.

use crate::{
    Failure,
    login::{self, Mechanism},
    stream::Stream,
};
use data_encoding::BASE64;

/// Messages that travel in one APPEND (RFC 3502); Postern takes no more than 16.
const APPENDED: usize = 16;

/// What a command was answered with.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// `* N FETCH` responses.
    pub(crate) fetches: usize,
    /// Bytes of all literals.
    pub(crate) literals: u64,
    /// All bytes.
    pub(crate) bytes: u64,
    /// The other untagged responses, without their literals.
    pub(crate) lines: Vec<String>,
    /// What follows the tag.
    pub(crate) status: String,
}

impl Answer {
    /// The words of the first untagged response of this name, such as `SEARCH`.
    pub(crate) fn words(&self, name: &str) -> Vec<&str> {
        let line = self.lines.iter().find_map(|l| l.strip_prefix("* ")?.strip_prefix(name));
        line.unwrap_or_default().split_ascii_whitespace().collect()
    }

    /// The number after this word, wherever it stands: `UIDNEXT`, `HIGHESTMODSEQ` and so on.
    pub(crate) fn number_after(&self, word: &str) -> Option<u64> {
        let rests = self.lines.iter().chain([&self.status]).filter_map(|l| l.split_once(word));
        rests.map(|(_, rest)| rest.trim_start().chars().take_while(char::is_ascii_digit).collect::<String>()).find_map(|n| n.parse().ok())
    }

    /// `* N EXISTS`.
    pub(crate) fn exists(&self) -> Option<u64> {
        self.lines.iter().find_map(|l| l.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok())
    }
}

/// A session.
#[derive(Debug)]
pub(crate) struct Imap {
    stream: Stream,
    line: Vec<u8>,
    tag: u32,
}

impl Imap {
    /// Reads the greeting and logs in.
    pub(crate) fn login(stream: Stream, user: &str, mechanism: Mechanism) -> Result<Self, Failure> {
        let mut this = Self { stream, line: Vec::new(), tag: 0 };
        let greeting = this.next_line()?;
        if !greeting.starts_with("* OK") {
            return Err(format!("greeting: {greeting}").into());
        }
        match mechanism {
            Mechanism::Plain => {
                let response = BASE64.encode(format!("\0{user}\0{}", login::PASSWORD).as_bytes());
                this.send(format!("a AUTHENTICATE PLAIN {response}\r\n").as_bytes())?;
            }
            Mechanism::Scram => {
                let mut scram = login::Scram::new(user);
                this.send(format!("a AUTHENTICATE SCRAM-SHA-256 {}\r\n", BASE64.encode(scram.first().as_bytes())).as_bytes())?;
                let challenge = this.challenge()?;
                let answer = scram.answer(&challenge)?;
                this.send(format!("{}\r\n", BASE64.encode(answer.as_bytes())).as_bytes())?;
                let proof = this.challenge()?;
                scram.verify(&proof)?;
                this.send(b"\r\n")?;
            }
        }
        loop {
            let line = this.next_line()?;
            if line.starts_with("a OK") {
                return Ok(this);
            }
            if !line.starts_with('*') {
                return Err(format!("login of {user}: {line}").into());
            }
        }
    }

    fn challenge(&mut self) -> Result<String, Failure> {
        let line = self.next_line()?;
        let text = line.strip_prefix("+ ").ok_or_else(|| format!("login: {line}"))?;
        Ok(String::from_utf8(BASE64.decode(text.as_bytes())?)?)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.send(bytes)?)
    }

    /// The next line, without its end.
    pub(crate) fn next_line(&mut self) -> Result<String, Failure> {
        self.line.clear();
        self.stream.line(&mut self.line)?;
        Ok(String::from_utf8_lossy(self.line.trim_ascii_end()).into_owned())
    }

    /// One command and its answer, which must be OK.
    pub(crate) fn command(&mut self, command: &str) -> Result<Answer, Failure> {
        self.command_bytes(command.as_bytes())
    }

    /// The same for a command with non-synchronising literals (RFC 7888) in it.
    pub(crate) fn command_bytes(&mut self, command: &[u8]) -> Result<Answer, Failure> {
        self.tag += 1;
        let tag = format!("t{} ", self.tag);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(tag.as_bytes());
        bytes.extend_from_slice(command);
        bytes.extend_from_slice(b"\r\n");
        self.stream.send(&bytes)?;
        let answer = self.answer(&tag)?;
        if answer.status.starts_with("OK") {
            return Ok(answer);
        }
        let shown = String::from_utf8_lossy(command.get(..command.len().min(80)).unwrap_or_default());
        Err(format!("{shown}: {}", answer.status).into())
    }

    /// Makes a mailbox and puts these messages into it, in their order. Returns their bytes.
    pub(crate) fn fill(&mut self, mailbox: &str, messages: impl Iterator<Item = String>) -> Result<u64, Failure> {
        self.command(&format!("CREATE {mailbox}"))?;
        let mut messages = messages.peekable();
        let mut bytes = 0;
        while messages.peek().is_some() {
            let mut command = format!("APPEND {mailbox}");
            for message in messages.by_ref().take(APPENDED) {
                bytes += message.len() as u64;
                command.push_str(&format!(" {{{}+}}\r\n{message}", message.len()));
            }
            self.command(&command)?;
        }
        Ok(bytes)
    }

    /// Reads up to the line with this tag and the space after it.
    fn answer(&mut self, tag: &str) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        loop {
            self.line.clear();
            self.stream.line(&mut self.line)?;
            let is_fetch = is_fetch(&self.line);
            while let Some(length) = literal(&self.line) {
                self.stream.skip(length)?;
                answer.literals += length as u64;
                answer.bytes += length as u64;
                if is_fetch {
                    answer.bytes += self.line.len() as u64;
                    self.line.clear();
                }
                self.stream.line(&mut self.line)?;
            }
            answer.bytes += self.line.len() as u64;
            if is_fetch {
                answer.fetches += 1;
                continue;
            }
            let text = String::from_utf8_lossy(self.line.trim_ascii_end()).into_owned();
            if let Some(status) = text.strip_prefix(tag) {
                status.clone_into(&mut answer.status);
                return Ok(answer);
            }
            answer.lines.push(text);
        }
    }

    /// Says good-bye and hears the answer.
    pub(crate) fn logout(mut self) -> Result<(), Failure> {
        self.command("LOGOUT").map(|_| ())
    }

    /// Begins IDLE and gives every buffer back.
    pub(crate) fn idle(&mut self) -> Result<(), Failure> {
        self.send(b"i IDLE\r\n")?;
        let line = loop {
            let line = self.next_line()?;
            if !line.starts_with('*') {
                break line;
            }
        };
        if !line.starts_with('+') {
            return Err(format!("IDLE: {line}").into());
        }
        self.stream.rest();
        self.line = Vec::new();
        Ok(())
    }

    /// Ends IDLE.
    pub(crate) fn done(&mut self) -> Result<Answer, Failure> {
        self.send(b"DONE\r\n")?;
        self.answer("i ")
    }
}

fn is_fetch(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"* ") else { return false };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    digits > 0 && rest.get(digits..).is_some_and(|r| r.starts_with(b" FETCH "))
}

/// The length of the literal that a line ends with.
fn literal(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}\r\n")?;
    let digits = inner.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (before, number) = inner.split_at(inner.len() - digits);
    if digits == 0 || !before.ends_with(b"{") {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_announces() {
        assert_eq!(literal(b"* 1 FETCH (BODY[] {12}\r\n"), Some(12));
        assert_eq!(literal(b"* 1 FETCH (BODY[] {})\r\n"), None);
        assert_eq!(literal(b"* OK x}\r\n"), None);
        assert!(is_fetch(b"* 12 FETCH (UID 1)\r\n") && !is_fetch(b"* 12 EXISTS\r\n") && !is_fetch(b"* FETCH\r\n"));
    }

    #[test]
    fn words_and_numbers_are_found() {
        let answer = Answer { lines: vec!["* 7 EXISTS".into(), "* SEARCH 1 2 3".into()], ..Answer::default() };
        assert_eq!(answer.exists(), Some(7));
        assert_eq!(answer.number_after("EARCH"), Some(1));
        assert_eq!(answer.words("SEARCH"), ["1", "2", "3"]);
    }
}
