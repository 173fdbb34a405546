use std::borrow::Cow;

/// RFC 5321 4.5.3.1.5, with CRLF.
const MAX_LINE: usize = 512;
/// Lines of one reply; EHLO has about a dozen.
const MAX_LINES: usize = 32;

/// An enhanced status code (RFC 3463 2): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8, pub u8, pub u8);

/// One reply. Lines of text are separated by LF here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<Status>,
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced status code (RFC 2034 3).
    pub const fn new(code: u16, status: Status, text: &'static str) -> Self {
        Self { code, status: Some(status), text: Cow::Borrowed(text) }
    }

    /// A reply without one: the greeting, EHLO, HELO, 334 and 354 (RFC 2034 3).
    pub const fn bare(code: u16, text: &'static str) -> Self {
        Self { code, status: None, text: Cow::Borrowed(text) }
    }

    /// The same reply with another text.
    #[must_use]
    pub fn with_text(self, text: String) -> Self {
        Self { text: Cow::Owned(text), ..self }
    }

    /// The reply code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code.
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// Whether it is a refusal for good (RFC 5321 4.2.1).
    pub fn is_permanent_failure(&self) -> bool {
        self.code >= 500
    }

    /// Appends its bytes: each line at most 512 with its CRLF, control characters replaced, so that no text can add a line.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').take(MAX_LINES).peekable();
        while let Some(line) = lines.next() {
            let mut head = format!("{}{}", self.code, if lines.peek().is_some() { '-' } else { ' ' });
            if let Some(Status(class, subject, detail)) = self.status {
                head.push_str(&format!("{class}.{subject}.{detail} "));
            }
            out.extend_from_slice(head.as_bytes());
            let room = MAX_LINE.saturating_sub(head.len()).saturating_sub(2);
            let end = (0..=room.min(line.len())).rev().find(|&i| line.is_char_boundary(i)).unwrap_or(0);
            let text = line.get(..end).unwrap_or_default();
            out.extend(text.bytes().map(|b| if b.is_ascii_control() { b'?' } else { b }));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// What a connection gets that is one too many for its peer, in place of the greeting (RFC 5321 3.8).
pub const TOO_MANY_CONNECTIONS: &[u8] = b"421 4.7.0 Too many connections from your network\r\n";

/// What the session says, in one place.
pub(crate) mod say {
    use super::{Reply, Status};

    pub(crate) const OK: Reply = Reply::new(250, Status(2, 0, 0), "OK");
    pub(crate) const SENDER_OK: Reply = Reply::new(250, Status(2, 1, 0), "Sender OK");
    pub(crate) const RECIPIENT_OK: Reply = Reply::new(250, Status(2, 1, 5), "Recipient OK");
    pub(crate) const CHUNK_OK: Reply = Reply::new(250, Status(2, 0, 0), "Chunk received");
    pub(crate) const BYE: Reply = Reply::new(221, Status(2, 0, 0), "Goodbye");
    pub(crate) const HELP: Reply = Reply::new(214, Status(2, 0, 0), "See RFC 5321");
    // RFC 5321 3.5.3: neither yes nor no.
    pub(crate) const VRFY: Reply = Reply::new(252, Status(2, 0, 0), "Cannot verify; send mail and see");
    pub(crate) const GO_AHEAD: Reply = Reply::bare(354, "End data with <CRLF>.<CRLF>");
    pub(crate) const START_TLS: Reply = Reply::new(220, Status(2, 0, 0), "Ready to start TLS");
    pub(crate) const LOGGED_IN: Reply = Reply::new(235, Status(2, 7, 0), "Authentication succeeded");

    pub(crate) const SHUTTING_DOWN: Reply = Reply::new(421, Status(4, 3, 2), "Service is shutting down; try again");
    pub(crate) const OUT_OF_STEP: Reply = Reply::new(421, Status(4, 3, 0), "Internal error; try again");
    pub(crate) const TIMED_OUT: Reply = Reply::new(421, Status(4, 4, 2), "Timed out waiting for you");
    pub(crate) const TOO_MANY_ERRORS: Reply = Reply::new(421, Status(4, 7, 0), "Too many errors");
    pub(crate) const TOO_MANY_IDLE: Reply = Reply::new(421, Status(4, 7, 0), "Too many commands without mail");
    pub(crate) const TOO_MANY_LOGINS: Reply = Reply::new(421, Status(4, 7, 0), "Too many failed logins");
    pub(crate) const LOCAL_PROBLEM: Reply = Reply::new(451, Status(4, 3, 0), "Temporary local problem; try again later");
    // RFC 3463 3.8: X.7.1, delivery not authorized; for now.
    pub(crate) const RATE_LIMITED: Reply = Reply::new(450, Status(4, 7, 1), "Sending limit reached; try again later");
    pub(crate) const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, Status(4, 5, 3), "Too many recipients; send the rest separately");
    pub(crate) const MAILBOX_FULL: Reply = Reply::new(452, Status(4, 2, 2), "Mailbox is full");
    pub(crate) const NO_TLS_NOW: Reply = Reply::new(454, Status(4, 7, 0), "TLS is not available now");
    pub(crate) const NO_LOGIN_NOW: Reply = Reply::new(454, Status(4, 7, 0), "Temporary authentication failure; try again later");

    pub(crate) const UNKNOWN_COMMAND: Reply = Reply::new(500, Status(5, 5, 1), "Unknown command");
    pub(crate) const LINE_TOO_LONG: Reply = Reply::new(500, Status(5, 5, 2), "Line too long");
    pub(crate) const LINE_END: Reply = Reply::new(500, Status(5, 5, 2), "Lines must end with CRLF");
    pub(crate) const NOT_TEXT: Reply = Reply::new(500, Status(5, 5, 2), "This is no SMTP command");
    // RFC 4954 4.
    pub(crate) const RESPONSE_TOO_LONG: Reply = Reply::new(500, Status(5, 5, 6), "Authentication exchange line is too long");
    pub(crate) const SYNTAX: Reply = Reply::new(501, Status(5, 5, 4), "Syntax error in arguments");
    pub(crate) const BAD_SENDER: Reply = Reply::new(501, Status(5, 1, 7), "Malformed sender address");
    pub(crate) const BAD_RECIPIENT: Reply = Reply::new(501, Status(5, 1, 3), "Malformed recipient address");
    pub(crate) const BAD_PARAMETER: Reply = Reply::new(501, Status(5, 5, 4), "Malformed or repeated parameter");
    pub(crate) const BAD_RESPONSE: Reply = Reply::new(501, Status(5, 5, 2), "Malformed authentication response");
    pub(crate) const CANCELLED: Reply = Reply::new(501, Status(5, 7, 0), "Authentication cancelled");
    pub(crate) const NOT_IMPLEMENTED: Reply = Reply::new(502, Status(5, 5, 1), "Command not implemented");
    pub(crate) const OUT_OF_SEQUENCE: Reply = Reply::new(503, Status(5, 5, 1), "Command out of sequence");
    pub(crate) const HELLO_FIRST: Reply = Reply::new(503, Status(5, 5, 1), "Send EHLO first");
    pub(crate) const MAIL_FIRST: Reply = Reply::new(503, Status(5, 5, 1), "Send MAIL and RCPT first");
    pub(crate) const NO_RECIPIENTS: Reply = Reply::new(554, Status(5, 5, 1), "No valid recipients");
    pub(crate) const DATA_WITH_BDAT: Reply = Reply::new(503, Status(5, 5, 1), "DATA and BDAT cannot be mixed; transaction dropped");
    // RFC 3030 3: BINARYMIME needs BDAT.
    pub(crate) const BINARY_NEEDS_BDAT: Reply = Reply::new(503, Status(5, 5, 1), "BODY=BINARYMIME requires BDAT; transaction dropped");
    pub(crate) const ALREADY_LOGGED_IN: Reply = Reply::new(503, Status(5, 5, 1), "Already authenticated");
    pub(crate) const NO_SUCH_MECHANISM: Reply = Reply::new(504, Status(5, 5, 4), "Mechanism not supported");
    // RFC 3207 4.
    pub(crate) const TLS_FIRST: Reply = Reply::new(530, Status(5, 7, 0), "Must issue a STARTTLS command first");
    // RFC 4954 6.
    pub(crate) const LOGIN_FIRST: Reply = Reply::new(530, Status(5, 7, 0), "Authentication required");
    pub(crate) const LOGIN_FAILED: Reply = Reply::new(535, Status(5, 7, 8), "Authentication credentials invalid");
    pub(crate) const LOGIN_NEEDS_TLS: Reply = Reply::new(538, Status(5, 7, 11), "Encryption required for authentication");
    pub(crate) const NO_SUCH_RECIPIENT: Reply = Reply::new(550, Status(5, 1, 1), "No such recipient here");
    pub(crate) const NO_RELAY: Reply = Reply::new(550, Status(5, 7, 1), "Relaying denied");
    pub(crate) const NOT_YOUR_IDENTITY: Reply = Reply::new(
        550,
        Status(5, 7, 1),
        "The message must have one From with addresses that can be read, and From and Sender must be your own",
    );
    pub(crate) const TOO_LARGE: Reply = Reply::new(552, Status(5, 3, 4), "Message is larger than the limit");
    pub(crate) const UNAUTHENTICATED: Reply =
        Reply::new(550, Status(5, 7, 1), "Nothing proves that this is from who it says it is from: SPF and DKIM do not pass for it");
    /// RFC 7372 3.2.
    pub(crate) const REFUSED_BY_POLICY: Reply =
        Reply::new(550, Status(5, 7, 26), "Refused as the DMARC policy of the domain in From asks: neither SPF nor DKIM passes for it");
    pub(crate) const NOT_PASSED_ON: Reply =
        Reply::new(550, Status(5, 7, 1), "A recipient's mail is passed on, and nothing proves that this is from who it says it is from");
    pub(crate) const NOT_YOUR_ADDRESS: Reply = Reply::new(553, Status(5, 7, 1), "Sender address is not yours");
    // RFC 6531 3.5.
    pub(crate) const NEEDS_SMTPUTF8: Reply = Reply::new(553, Status(5, 6, 7), "Non-ASCII address needs SMTPUTF8");
    pub(crate) const BARE_BYTES: Reply = Reply::new(554, Status(5, 6, 0), "Bare CR, bare LF or NUL in the message");
    pub(crate) const CONTINUATION: Reply = Reply::new(554, Status(5, 6, 0), "The message begins with white space");
    pub(crate) const CONTENT_LINE_TOO_LONG: Reply = Reply::new(554, Status(5, 6, 0), "Line in the message is too long");
    pub(crate) const LOOP: Reply = Reply::new(554, Status(5, 4, 6), "Too many hops");
    pub(crate) const NO_RECIPIENT_LEFT: Reply = Reply::new(554, Status(5, 1, 1), "No recipient can be served");
    pub(crate) const OUT_OF_TURN: Reply = Reply::new(554, Status(5, 5, 0), "You spoke out of turn");
    pub(crate) const NOT_HTTP: Reply = Reply::new(554, Status(5, 5, 0), "This is a mail server");
    pub(crate) const UNKNOWN_PARAMETER: Reply = Reply::new(555, Status(5, 5, 4), "Parameter not recognized");

    #[cfg(test)]
    pub(crate) const ALL: &[Reply] = &[
        OK,
        SENDER_OK,
        RECIPIENT_OK,
        CHUNK_OK,
        BYE,
        HELP,
        VRFY,
        GO_AHEAD,
        START_TLS,
        LOGGED_IN,
        SHUTTING_DOWN,
        OUT_OF_STEP,
        TIMED_OUT,
        TOO_MANY_ERRORS,
        TOO_MANY_IDLE,
        TOO_MANY_LOGINS,
        LOCAL_PROBLEM,
        RATE_LIMITED,
        TOO_MANY_RECIPIENTS,
        MAILBOX_FULL,
        NO_TLS_NOW,
        NO_LOGIN_NOW,
        UNKNOWN_COMMAND,
        LINE_TOO_LONG,
        LINE_END,
        NOT_TEXT,
        RESPONSE_TOO_LONG,
        SYNTAX,
        BAD_SENDER,
        BAD_RECIPIENT,
        BAD_PARAMETER,
        BAD_RESPONSE,
        CANCELLED,
        NOT_IMPLEMENTED,
        OUT_OF_SEQUENCE,
        HELLO_FIRST,
        MAIL_FIRST,
        NO_RECIPIENTS,
        DATA_WITH_BDAT,
        BINARY_NEEDS_BDAT,
        ALREADY_LOGGED_IN,
        NO_SUCH_MECHANISM,
        TLS_FIRST,
        LOGIN_FIRST,
        LOGIN_FAILED,
        LOGIN_NEEDS_TLS,
        NO_SUCH_RECIPIENT,
        NO_RELAY,
        NOT_YOUR_IDENTITY,
        TOO_LARGE,
        NOT_YOUR_ADDRESS,
        NEEDS_SMTPUTF8,
        BARE_BYTES,
        CONTINUATION,
        CONTENT_LINE_TOO_LONG,
        LOOP,
        NO_RECIPIENT_LEFT,
        OUT_OF_TURN,
        NOT_HTTP,
        UNKNOWN_PARAMETER,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_line_and_several() {
        assert_eq!(written(&say::OK), "250 2.0.0 OK\r\n");
        assert_eq!(written(&Reply::bare(250, "a\nb\nc")), "250-a\r\n250-b\r\n250 c\r\n");
        assert_eq!(written(&Reply::new(214, Status(2, 0, 0), "a\nb")), "214-2.0.0 a\r\n214 2.0.0 b\r\n");
        assert_eq!(written(&Reply::bare(334, "")), "334 \r\n");
    }

    /// RFC 3463 2: the class of the status is the first digit of the code.
    #[test]
    fn status_class_agrees_with_the_code() {
        for reply in say::ALL {
            if let Some(Status(class, ..)) = reply.status() {
                assert_eq!(u16::from(class), reply.code() / 100, "{reply:?}");
            }
        }
    }

    #[test]
    fn lines_are_capped_and_text_cannot_add_one() {
        let long = written(&Reply::new(250, Status(2, 0, 0), "").with_text("é".repeat(600)));
        assert!(long.len() <= MAX_LINE && long.len() >= MAX_LINE - 1 && long.ends_with("é\r\n"));
        assert_eq!(written(&Reply::bare(250, "").with_text("a\r\0b".into())), "250 a??b\r\n");
        assert_eq!(written(&Reply::bare(250, "").with_text("x\n".repeat(100))).lines().count(), MAX_LINES);
    }
}
