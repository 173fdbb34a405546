//! Content as it arrives: DATA with its dots, BDAT with its counted bytes, one rule for both.
//!
//! The rule: CR and LF stand only as CRLF, NUL not at all, no line and no message beyond its limit. The first breach, or
//! bare bytes whenever they come, is kept as the [`Fault`]; from the first on nothing is passed on, and the end is looked for by the same rule as before. CR CR LF
//! is not a line end: whoever takes it for one and whoever does not must both see the same end of data (attack case SMUG-01).

use crate::Limits;

/// Why content is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A bare CR, a bare LF or NUL (RFC 5321 2.3.8, 4.1.1.4).
    BareBytes,
    /// A line beyond [`Limits::content_line`].
    LineTooLong,
    /// More than [`Limits::message_size`].
    TooLarge,
    /// It begins with white space, which would continue the last header field put in front of it (RFC 5322 2.2.3).
    Continuation,
    /// It could not be kept here.
    Storage,
}

/// What [`DataDecoder::decode`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All input is used and the end is not in it.
    More,
    /// CRLF.CRLF. With a fault, the message is refused.
    End(Option<Fault>),
    /// The message is refused, and its sender has gone on for longer than [`Limits::discard`]: close.
    Overrun(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Behind CRLF, or at the very start.
    LineStart,
    /// Behind a dot that began the line.
    Dot,
    /// Behind such a dot and CR.
    DotCr,
    /// Within a line.
    Text,
    /// Behind a CR within a line.
    Cr,
}

/// What both decoders count.
#[derive(Debug)]
struct Meter {
    size: u64,
    line: usize,
    size_limit: u64,
    line_limit: usize,
    fault: Option<Fault>,
}

impl Meter {
    fn new(limits: &Limits) -> Self {
        Self { size: 0, line: 0, size_limit: limits.message_size, line_limit: limits.content_line, fault: None }
    }

    fn blame(&mut self, fault: Fault) {
        // Bare bytes are told above all else: they alone may mean that somebody saw another end of data (SMUG-01).
        if self.fault.is_none() || fault == Fault::BareBytes {
            self.fault = Some(fault);
        }
    }

    /// Takes bytes of one line, the CRLF at its end among them.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.line = self.line.saturating_add(bytes.len());
        if self.line > self.line_limit {
            self.blame(Fault::LineTooLong);
        }
        self.take_unlined(bytes, out);
    }

    fn take_unlined(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.size == 0 && matches!(bytes.first(), Some(b' ' | b'\t')) {
            self.blame(Fault::Continuation);
        }
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > self.size_limit {
            self.blame(Fault::TooLarge);
        }
        if self.fault.is_none() {
            out.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        self.take(b"\r\n", out);
        self.line = 0;
    }
}

/// Decodes what follows 354.
#[derive(Debug)]
pub struct DataDecoder {
    state: State,
    meter: Meter,
    /// Bytes that may still be thrown away, once a line or the message has become too long. A message gets once more the room it had:
    /// a sender that did not declare its SIZE shall hear 552, not a reset that it takes for a reason to come back.
    discard: u64,
    discard_message: u64,
}

impl DataDecoder {
    /// For one message.
    pub fn new(limits: &Limits) -> Self {
        Self { state: State::LineStart, meter: Meter::new(limits), discard: limits.discard, discard_message: limits.message_size }
    }

    /// Gives up on the message for a reason of our own.
    pub fn fail(&mut self) {
        self.meter.blame(Fault::Storage);
    }

    /// Decodes from `input`, which is advanced, and appends the message to `out`. What was appended before a fault is
    /// worthless. Stops right behind the end.
    pub fn decode(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Progress {
        let before = input.len();
        let ended = self.scan(input, out);
        if ended {
            return Progress::End(self.meter.fault);
        }
        let over_size = self.meter.size > self.meter.size_limit;
        if let Some(fault) = self.meter.fault.filter(|&f| f == Fault::LineTooLong || f == Fault::TooLarge || over_size) {
            let used = before.saturating_sub(input.len()) as u64;
            let budget = if fault == Fault::TooLarge { &mut self.discard_message } else { &mut self.discard };
            match budget.checked_sub(used) {
                Some(left) => *budget = left,
                None => return Progress::Overrun(fault),
            }
        }
        Progress::More
    }

    fn scan(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> bool {
        loop {
            // The common case in one go: everything up to the next byte that means something.
            if self.state == State::Text {
                let run = plain_run(input);
                let (text, rest) = input.split_at_checked(run).unwrap_or((input, &[]));
                self.meter.take(text, out);
                *input = rest;
            }
            let Some((&byte, rest)) = input.split_first() else { return false };
            *input = rest;
            self.state = match (self.state, byte) {
                (State::DotCr, b'\n') => return true,
                (State::Cr, b'\n') => {
                    self.meter.end_line(out);
                    State::LineStart
                }
                // A CR that no LF followed. Whatever stands here, a second CR too, is an ordinary byte of the line.
                (State::DotCr | State::Cr, _) => self.bare(),
                (State::LineStart, b'.') => State::Dot,
                (State::Dot, b'\r') => State::DotCr,
                (State::LineStart | State::Text, b'\r') => State::Cr,
                (_, b'\n' | 0) => self.bare(),
                // RFC 5321 4.5.2: a dot at the start of a line is dropped, whatever follows it.
                (State::LineStart | State::Dot | State::Text, byte) => {
                    self.meter.take(&[byte], out);
                    State::Text
                }
            };
        }
    }

    fn bare(&mut self) -> State {
        self.meter.blame(Fault::BareBytes);
        // Counted, so that a message of nothing else ends as well.
        self.meter.take(b"?", &mut Vec::new());
        State::Text
    }
}

/// Checks chunks (RFC 3030 2). What it holds does not grow with their number (attack case SMUG-08).
#[derive(Debug)]
pub struct ChunkChecker {
    meter: Meter,
    after_cr: bool,
    binary: bool,
}

impl ChunkChecker {
    /// For one message; `binary` for BODY=BINARYMIME, where any byte may stand anywhere.
    pub fn new(limits: &Limits, binary: bool) -> Self {
        Self { meter: Meter::new(limits), after_cr: false, binary }
    }

    /// Bytes that the message may still grow by.
    pub fn room(&self) -> u64 {
        self.meter.size_limit.saturating_sub(self.meter.size)
    }

    /// Gives up on the message for a reason of our own.
    pub fn fail(&mut self) {
        self.meter.blame(Fault::Storage);
    }

    /// Takes bytes of a chunk and appends them to `out` while there is no fault.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.binary {
            self.meter.take_unlined(bytes, out);
            return;
        }
        let mut input = bytes;
        while !input.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                match input.strip_prefix(b"\n") {
                    Some(rest) => {
                        self.meter.end_line(out);
                        input = rest;
                    }
                    None => {
                        self.meter.blame(Fault::BareBytes);
                        input = input.get(1..).unwrap_or_default();
                    }
                }
                continue;
            }
            let (text, rest) = input.split_at_checked(plain_run(input)).unwrap_or((input, &[]));
            self.meter.take(text, out);
            let Some((&byte, rest)) = rest.split_first() else { return };
            input = rest;
            if byte == b'\r' {
                self.after_cr = true;
            } else {
                self.meter.blame(Fault::BareBytes);
            }
        }
    }

    /// The fault so far.
    pub fn fault(&self) -> Option<Fault> {
        self.meter.fault
    }

    /// What is wrong with the whole message, now that its last chunk is here: CR may not be its last byte.
    pub fn finish(self) -> Option<Fault> {
        self.meter.fault.or(self.after_cr.then_some(Fault::BareBytes))
    }
}

/// How many bytes at the start are none of CR, LF and NUL. Looks at blocks, which the compiler turns into vector code.
pub(crate) fn plain_run(bytes: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let special = |b: u8| (b == b'\r') | (b == b'\n') | (b == 0);
    let clean = bytes.chunks_exact(BLOCK).take_while(|block| !block.iter().fold(false, |any, &b| any | special(b))).count();
    let start = clean.saturating_mul(BLOCK);
    let rest = bytes.get(start..).unwrap_or_default();
    start.saturating_add(rest.iter().position(|&b| special(b)).unwrap_or(rest.len()))
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
