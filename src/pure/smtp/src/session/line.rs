//! Lines: commands and SASL responses. Only CRLF ends one (RFC 5321 2.3.8).

use super::*;

/// What the input begins with.
pub(super) enum Line<'a> {
    /// A line, without its CRLF.
    Whole(&'a [u8]),
    /// Not a whole line yet.
    Partial,
    /// A line that ended with LF alone.
    BareLf,
    /// More than may stand in a line.
    TooLong,
    /// Not text: TLS or worse.
    Binary,
}

impl Session {
    /// Takes a line and acts on it; false when there is none yet.
    pub(super) fn take_line(&mut self, input: &mut &[u8]) -> bool {
        match self.next_line(input) {
            Line::Partial => return false,
            Line::BareLf => self.close(&say::LINE_END),
            Line::Binary => self.close(&say::NOT_TEXT),
            Line::TooLong => {
                let reply = if self.in_login() { say::RESPONSE_TOO_LONG } else { say::LINE_TOO_LONG };
                let left = self.settings.limits.discard;
                if let Mode::Login(exchange) = std::mem::replace(&mut self.mode, Mode::Discard { left, after_cr: false, reply }) {
                    self.abandon(&exchange);
                }
            }
            Line::Whole(line) if self.in_login() => self.login_line(line),
            Line::Whole(line) => self.command_line(line, !input.is_empty()),
        }
        true
    }

    fn in_login(&self) -> bool {
        matches!(self.mode, Mode::Login(_))
    }

    fn next_line<'a>(&mut self, input: &mut &'a [u8]) -> Line<'a> {
        let buffer = *input;
        if buffer.first().is_some_and(|b| b.is_ascii_control() && !matches!(b, b'\r' | b'\n')) {
            return Line::Binary;
        }
        let fresh = buffer.get(self.searched..).unwrap_or_default();
        let end = fresh.iter().position(|&b| b == b'\n').map(|at| self.searched.saturating_add(at));
        let limit = self.line_limit(buffer);
        let Some(end) = end else {
            self.searched = buffer.len();
            if buffer.len() <= limit {
                return Line::Partial;
            }
            // What has been seen of it is no longer needed; the rest is for the discarding mode.
            self.searched = 0;
            return Line::TooLong;
        };
        self.searched = 0;
        if end >= limit {
            return Line::TooLong;
        }
        let (line, rest) = buffer.split_at_checked(end).unwrap_or_default();
        *input = rest.get(1..).unwrap_or_default();
        line.strip_suffix(b"\r").map_or(Line::BareLf, Line::Whole)
    }

    fn line_limit(&self, buffer: &[u8]) -> usize {
        let limits = &self.settings.limits;
        let auth = self.in_login() || buffer.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        if auth { limits.auth_line } else { limits.command_line }
    }

    /// Throws away the rest of a line that is too long. The reply comes at its end; there is an end to patience, too (ADDR-04).
    pub(super) fn discard(&mut self, input: &mut &[u8]) -> bool {
        let Mode::Discard { left, after_cr, reply } = &mut self.mode else { return false };
        let end = input.iter().position(|&b| b == b'\n');
        let (used, rest) = match end {
            Some(at) => input.split_at_checked(at.saturating_add(1)).unwrap_or((input, &[])),
            None => (*input, &[][..]),
        };
        *input = rest;
        let reply = reply.clone();
        // The rule for line ends holds here too: what comes behind a bare LF is no command.
        let bare_lf = match used {
            [.., before, b'\n'] => *before != b'\r',
            [b'\n'] => !*after_cr,
            _ => false,
        };
        *after_cr = used.last() == Some(&b'\r');
        match left.checked_sub(used.len() as u64) {
            None => self.close(&reply),
            Some(_) if bare_lf => self.close(&say::LINE_END),
            Some(_) if end.is_some() => {
                self.mode = Mode::Command;
                self.refuse(&reply);
            }
            Some(less) => {
                *left = less;
                return false;
            }
        }
        true
    }
}
