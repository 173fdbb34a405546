//! Replies of a server as hostile input: bounded, total, one at a time.
//!
//! A line ends at CRLF and nowhere else; what else controls a terminal or a log is replaced when it is read (attack case INJ-06).

use std::fmt;

/// Bytes of a line that are looked at. RFC 5321 4.5.3.1.5 allows 512; what goes on longer is no reply.
pub const MAX_LINE: usize = 4096;
/// Bytes of a line that are kept.
pub const KEPT_LINE: usize = 512;
/// Lines of one reply. EHLO has about a dozen.
pub const MAX_LINES: usize = 100;

/// An enhanced status code (RFC 3463 2): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnhancedStatus(pub u8, pub u16, pub u16);

/// What the first digit says (RFC 5321 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 2yz: done.
    Completed,
    /// 3yz: go on.
    Intermediate,
    /// 4yz: not now.
    Transient,
    /// 5yz: never.
    Permanent,
}

/// One whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReply {
    code: u16,
    lines: Vec<String>,
}

impl ServerReply {
    /// The code, 200 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What the first digit says.
    pub fn class(&self) -> Class {
        match self.code {
            ..300 => Class::Completed,
            300..400 => Class::Intermediate,
            400..500 => Class::Transient,
            _ => Class::Permanent,
        }
    }

    /// The texts of its lines, at least one, without control characters.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The enhanced status at the start of the last line, if it is well-formed and of the same class (RFC 2034 4).
    pub fn stated_status(&self) -> Option<EnhancedStatus> {
        let text = self.lines.last()?;
        let status = text.split(' ').next()?;
        let mut parts = status.split('.');
        let (class, subject, detail) = (number(parts.next()?, 1)?, number(parts.next()?, 3)?, number(parts.next()?, 3)?);
        let class = u8::try_from(class).ok()?;
        (parts.next().is_none() && u16::from(class) == self.code / 100).then_some(EnhancedStatus(class, subject, detail))
    }

    /// The enhanced status, `X.0.0` when the server did not say (RFC 3463 3.1: other undefined status).
    pub fn status(&self) -> EnhancedStatus {
        let class = match self.class() {
            Class::Completed | Class::Intermediate => 2,
            Class::Transient => 4,
            Class::Permanent => 5,
        };
        self.stated_status().unwrap_or(EnhancedStatus(class, 0, 0))
    }
}

/// RFC 3463 2: digits only, no zero in front of others.
fn number(text: &str, digits: usize) -> Option<u16> {
    let well_formed =
        (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if well_formed { text.parse().ok() } else { None }
}

/// Code and text on one line.
impl fmt::Display for ServerReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        self.lines.iter().filter(|line| !line.is_empty()).try_for_each(|line| write!(f, " {line}"))
    }
}

/// Why what a server sent is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadReply {
    /// No code of RFC 5321 4.2 with a blank, a hyphen or the end behind it.
    Code,
    /// The lines of one reply have different codes.
    Inconsistent,
    /// A line beyond [`MAX_LINE`].
    LineTooLong,
    /// More than [`MAX_LINES`] lines.
    TooManyLines,
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Code => "an answer that is no SMTP reply",
            Self::Inconsistent => "a reply with different codes on its lines",
            Self::LineTooLong => "a reply with an endless line",
            Self::TooManyLines => "a reply with too many lines",
        })
    }
}

/// Puts replies together from bytes in any pieces. Holds at most one read of the driver and one reply.
#[derive(Debug, Default)]
pub(crate) struct ReplyReader {
    /// Received and not read yet.
    input: Vec<u8>,
    /// Up to here there is no CRLF in it.
    scanned: usize,
    code: Option<u16>,
    lines: Vec<String>,
}

impl ReplyReader {
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Whether nothing was received that is not read yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.input.is_empty() && self.code.is_none()
    }

    /// The next reply, if all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<ServerReply>, BadReply> {
        let mut start = 0_usize;
        let result = loop {
            let rest = self.input.get(start..).unwrap_or_default();
            let from = self.scanned.saturating_sub(start);
            let Some(end) = find_crlf(rest, from) else {
                self.scanned = self.input.len().saturating_sub(1);
                break if rest.len() > MAX_LINE { Err(BadReply::LineTooLong) } else { Ok(None) };
            };
            let line = rest.get(..end).unwrap_or_default();
            let read = read_line(line, self.code);
            start = start.saturating_add(end).saturating_add(2);
            self.scanned = start;
            let (code, last, text) = match read {
                Ok(read) => read,
                Err(bad) => break Err(bad),
            };
            if self.lines.len() >= MAX_LINES {
                break Err(BadReply::TooManyLines);
            }
            self.lines.push(text);
            self.code = Some(code);
            if last {
                self.code = None;
                break Ok(Some(ServerReply { code, lines: std::mem::take(&mut self.lines) }));
            }
        };
        self.input.drain(..start.min(self.input.len()));
        self.scanned = self.scanned.saturating_sub(start);
        result
    }
}

/// Where CRLF begins, at or after `from`.
fn find_crlf(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    tail.windows(2).position(|pair| pair == b"\r\n").and_then(|at| at.checked_add(from))
}

/// Code, whether it is the last line, and the text.
fn read_line(line: &[u8], expected: Option<u16>) -> Result<(u16, bool, String), BadReply> {
    if line.len() > MAX_LINE {
        return Err(BadReply::LineTooLong);
    }
    let Some((&[a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'], rest)) = line.split_first_chunk::<3>() else {
        return Err(BadReply::Code);
    };
    let code = [a, b, c].iter().fold(0_u16, |code, digit| code.saturating_mul(10).saturating_add(u16::from(digit.saturating_sub(b'0'))));
    if expected.is_some_and(|expected| expected != code) {
        return Err(BadReply::Inconsistent);
    }
    let (last, text) = match rest.split_first() {
        // RFC 5321 4.2.1: a last line without text, even without the blank.
        None => (true, rest),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return Err(BadReply::Code),
    };
    let text = text.get(..text.len().min(KEPT_LINE)).unwrap_or_default();
    Ok((code, last, printable(text)))
}

/// Text without what would end or colour a line somewhere.
fn printable(bytes: &[u8]) -> String {
    let harmful = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    String::from_utf8_lossy(bytes).chars().map(|c| if harmful(c) { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<ServerReply>, BadReply> {
        let mut reader = ReplyReader::default();
        reader.receive(bytes);
        reader.next()
    }

    #[test]
    fn replies_are_read_in_any_pieces() {
        let whole = b"250-mx.test\r\n250-SIZE 10\r\n250 HELP\r\n220 x\r\n";
        for size in 1..whole.len() {
            let (mut reader, mut found) = (ReplyReader::default(), Vec::new());
            for piece in whole.chunks(size) {
                reader.receive(piece);
                while let Some(reply) = reader.next().unwrap() {
                    found.push(reply.to_string());
                }
            }
            assert_eq!(found, ["250 mx.test SIZE 10 HELP", "220 x"]);
            assert!(reader.is_empty());
        }
        assert_eq!(read(b"250\r\n").unwrap().unwrap().lines(), [""]);
        assert_eq!(read(b"250 x\r").unwrap(), None);
        assert_eq!(read(b"250 x\n").unwrap(), None);
    }

    /// Attack case OUT-01.
    #[test]
    fn what_is_no_reply_is_refused() {
        for bad in [
            &b"999 x\r\n"[..],
            b"22\r\n",
            b"-1 x\r\n",
            b"220_x\r\n",
            b"\r\n",
            b"199 x\r\n",
            b"600 x\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"2200 x\r\n",
        ] {
            assert_eq!(read(bad), Err(BadReply::Code), "{bad:?}");
        }
        assert_eq!(read(b"250-a\r\n550 b\r\n"), Err(BadReply::Inconsistent));
        assert_eq!(read(b"220-x\r\n".repeat(MAX_LINES + 1).as_slice()), Err(BadReply::TooManyLines));
        let mut most = b"220-x\r\n".repeat(MAX_LINES - 1);
        most.extend(b"220 x\r\n");
        assert_eq!(read(&most).unwrap().unwrap().lines().len(), MAX_LINES);
        assert_eq!(read(&[b'2'; MAX_LINE + 1]), Err(BadReply::LineTooLong));
        let mut long = b"220 ".to_vec();
        long.resize(MAX_LINE, b'x');
        long.extend(b"\r\n");
        assert_eq!(read(&long).unwrap().unwrap().lines().first().unwrap().len(), KEPT_LINE);
        long.insert(4, b'x');
        assert_eq!(read(&long), Err(BadReply::LineTooLong));
    }

    /// Attack case INJ-06.
    #[test]
    fn text_of_a_reply_stays_text() {
        let reply = read(b"553-no\r\n553-\ntype: mda\nmda-exec: /bin/touch /tmp/pwned\r\n553\r\n").unwrap().unwrap();
        assert_eq!(reply.to_string(), "553 no \u{FFFD}type: mda\u{FFFD}mda-exec: /bin/touch /tmp/pwned");
        let reply = read(b"220 \0\x1b[2J\xff\xe2\x80\xae\xe2\x80\xa8\r\n").unwrap().unwrap();
        assert_eq!(reply.to_string(), "220 \u{FFFD}\u{FFFD}[2J\u{FFFD}\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn an_enhanced_status_is_strict() {
        let status = |text: &[u8]| read(text).unwrap().unwrap().stated_status();
        assert_eq!(status(b"550 5.1.1 No\r\n"), Some(EnhancedStatus(5, 1, 1)));
        assert_eq!(status(b"550-5.1.1 No\r\n550 5.7.999\r\n"), Some(EnhancedStatus(5, 7, 999)));
        for bad in [
            &b"550 4.1.1 No\r\n"[..],
            b"550 5.1 No\r\n",
            b"550 5.1.1.1 No\r\n",
            b"550 5.01.1 No\r\n",
            b"550 5.1.1No\r\n",
            b"550 5.1000.1 x\r\n",
            b"550 +5.1.1\r\n",
        ] {
            assert_eq!(status(bad), None, "{bad:?}");
            assert_eq!(read(bad).unwrap().unwrap().status(), EnhancedStatus(5, 0, 0));
        }
    }
}
