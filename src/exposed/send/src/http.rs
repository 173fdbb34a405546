//! As much of HTTP/1.1 (RFC 9112) as a client needs for one small file: one GET, no redirects, nothing kept.

use std::str;

/// Bytes of status line and header fields.
const MAX_HEAD: usize = 16 * 1024;
/// Bytes of a line that gives the size of a chunk.
const MAX_CHUNK_LINE: usize = 128;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("the answer is not HTTP/1")]
    Malformed,
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer is not text/plain")]
    Type,
    #[error("the answer is too large")]
    TooLarge,
    #[error("the answer ends too early")]
    Truncated,
}

/// How long the body is (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// The request.
pub(crate) fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/plain\r\nUser-Agent: Postern\r\nConnection: close\r\n\r\n")
}

/// An answer as it arrives.
#[derive(Debug)]
pub struct Response {
    max_body: usize,
    received: Vec<u8>,
    /// Where the body begins, and how long it is.
    head: Option<(usize, Framing)>,
}

impl Response {
    pub fn new(max_body: usize) -> Self {
        Self { max_body, received: Vec::new(), head: None }
    }

    /// Takes bytes; the body, once it is known to be complete.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, HttpError> {
        let from = self.received.len().saturating_sub(3);
        self.received.extend_from_slice(bytes);
        if self.head.is_none() {
            let end = self.received.get(from..).unwrap_or_default().windows(4).position(|w| w == b"\r\n\r\n");
            match end.and_then(|at| at.checked_add(from)) {
                Some(end) if end <= MAX_HEAD => {
                    let framing = head(self.received.get(..end).unwrap_or_default())?;
                    self.head = Some((end.saturating_add(4), framing));
                }
                None if self.received.len() <= MAX_HEAD => return Ok(None),
                _ => return Err(HttpError::TooLarge),
            }
        }
        let Some((start, framing)) = self.head else { return Ok(None) };
        let body = self.received.get(start..).unwrap_or_default();
        // Chunks may double what they carry, and no more.
        if body.len() > self.max_body.saturating_mul(2) {
            return Err(HttpError::TooLarge);
        }
        match framing {
            Framing::Length(length) if length > self.max_body => Err(HttpError::TooLarge),
            Framing::Length(length) => Ok(body.get(..length).map(<[u8]>::to_vec)),
            Framing::UntilClose if body.len() > self.max_body => Err(HttpError::TooLarge),
            // Decoded once, when the server closes: each piece anew would be quadratic.
            Framing::UntilClose | Framing::Chunked => Ok(None),
        }
    }

    /// The body, now that the connection has ended: `in_order` by the server, or cut by anybody.
    pub fn closed(self, in_order: bool) -> Result<Vec<u8>, HttpError> {
        let Some((start, framing)) = self.head else { return Err(HttpError::Truncated) };
        let body = self.received.get(start..).unwrap_or_default();
        match framing {
            Framing::UntilClose if in_order => Ok(body.to_vec()),
            Framing::Length(_) | Framing::UntilClose => Err(HttpError::Truncated),
            // Chunks say themselves where they end.
            Framing::Chunked => dechunked(body, self.max_body),
        }
    }
}

fn head(head: &[u8]) -> Result<Framing, HttpError> {
    let text = str::from_utf8(head).map_err(|_| HttpError::Malformed)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|l| l.strip_prefix("HTTP/1.")).ok_or(HttpError::Malformed)?;
    let mut words = status.split(' ');
    let (_minor, code) = (words.next(), words.next().unwrap_or_default());
    let code: u16 = if code.len() == 3 { code.parse().map_err(|_| HttpError::Malformed)? } else { return Err(HttpError::Malformed) };
    // RFC 8461 3.3: 200 and nothing else, no redirects.
    if code != 200 {
        return Err(HttpError::Status(code));
    }
    let (mut framing, mut plain) = (None, false);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(HttpError::Malformed)?;
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "content-type" => plain = value.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("text/plain")),
            "content-length" => {
                let length = if value.bytes().all(|b| b.is_ascii_digit()) { value.parse().ok() } else { None };
                let length = Framing::Length(length.ok_or(HttpError::Malformed)?);
                // RFC 9112 6.3: two that differ, or one beside chunks, are an attack.
                if framing.replace(length).is_some_and(|before| before != length) {
                    return Err(HttpError::Malformed);
                }
            }
            "transfer-encoding" => {
                let before = framing.replace(Framing::Chunked);
                if let (Some(_), _) | (None, false) = (before, value.eq_ignore_ascii_case("chunked")) {
                    return Err(HttpError::Malformed);
                }
            }
            _ => {}
        }
    }
    if plain { Ok(framing.unwrap_or(Framing::UntilClose)) } else { Err(HttpError::Type) }
}

/// RFC 9112 7.1.
fn dechunked(mut input: &[u8], most: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    loop {
        let end = input.iter().take(MAX_CHUNK_LINE).position(|b| *b == b'\r').ok_or(HttpError::Truncated)?;
        let (line, rest) = input.split_at_checked(end).ok_or(HttpError::Truncated)?;
        let rest = rest.strip_prefix(b"\r\n").ok_or(HttpError::Malformed)?;
        let size = line.split(|b| *b == b';').next().and_then(|s| str::from_utf8(s).ok()).map(str::trim).unwrap_or_default();
        let well_formed = (1..=8).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
        let size = usize::from_str_radix(size, 16).ok().filter(|_| well_formed).ok_or(HttpError::Malformed)?;
        if size == 0 {
            return Ok(body);
        }
        let (chunk, rest) = rest.split_at_checked(size).ok_or(HttpError::Truncated)?;
        body.extend_from_slice(chunk);
        if body.len() > most {
            return Err(HttpError::TooLarge);
        }
        input = rest.strip_prefix(b"\r\n").ok_or(HttpError::Malformed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], size: usize) -> Result<Vec<u8>, HttpError> {
        let mut response = Response::new(20);
        for piece in text.chunks(size) {
            if let Some(body) = response.receive(piece)? {
                return Ok(body);
            }
        }
        response.closed(true)
    }

    fn answer(fields: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n{fields}\r\n{body}").into_bytes()
    }

    #[test]
    fn every_framing_is_read() {
        for size in [1, 7, 1000] {
            assert_eq!(read(&answer("Content-Length: 5\r\n", "hello world"), size).unwrap(), b"hello");
            assert_eq!(read(&answer("", "hello"), size).unwrap(), b"hello");
            assert_eq!(read(&answer("Transfer-Encoding: chunked\r\n", "3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), size).unwrap(), b"hello");
        }
    }

    #[test]
    fn a_cut_answer_is_no_answer() {
        let mut response = Response::new(20);
        assert_eq!(response.receive(&answer("", "hel")), Ok(None));
        assert_eq!(response.closed(false), Err(HttpError::Truncated));
    }

    #[test]
    fn everything_else_is_refused() {
        let long = "x".repeat(21);
        for (text, why) in [
            (answer("Content-Length: 21\r\n", &long), HttpError::TooLarge),
            (answer("", &long), HttpError::TooLarge),
            (answer("Transfer-Encoding: chunked\r\n", &format!("15\r\n{long}\r\n0\r\n\r\n")), HttpError::TooLarge),
            (answer("Transfer-Encoding: chunked\r\n", "ffffffff\r\nx"), HttpError::Truncated),
            (answer("Transfer-Encoding: chunked\r\n", "-1\r\nx"), HttpError::Malformed),
            (answer("Transfer-Encoding: gzip\r\n", ""), HttpError::Malformed),
            (answer("Content-Length: 5\r\n", "hell"), HttpError::Truncated),
            (answer("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), HttpError::Malformed),
            (answer("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "hello"), HttpError::Malformed),
            (answer("Content-Length: +5\r\n", "hello"), HttpError::Malformed),
            (answer(&format!("X: {}\r\n", "x".repeat(MAX_HEAD)), ""), HttpError::TooLarge),
            (b"HTTP/1.1 301 Moved\r\nLocation: https://evil.test/\r\n\r\n".to_vec(), HttpError::Status(301)),
            (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nx".to_vec(), HttpError::Type),
            (b"HTTP/1.1 200 OK\r\n\r\nx".to_vec(), HttpError::Type),
            (b"220 smtp\r\n\r\n".to_vec(), HttpError::Malformed),
            (b"HTTP/1.1 200".to_vec(), HttpError::Truncated),
        ] {
            assert_eq!(read(&text, 1000), Err(why), "{}", String::from_utf8_lossy(&text));
        }
    }
}
