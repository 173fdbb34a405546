//! Whole sessions of the SMTP server, from each state, with a driver that holds it to its contract.
//!
//! Byte 0 is the state, byte 1 how the rest is cut into reads and what the other processes answer.

use pure_addr::{Address, Domain, Text};
use pure_smtp::{
    Action, AuthVerdict, Body, CommitVerdict, Limits, Outcome, RecipientVerdict, Role, SenderVerdict, Session, Settings, Step, Tls,
};
use std::sync::Arc;

pub(super) const WORDS: &[&str] = &[
    "EHLO a.test\r\n",
    "HELO a.test\r\n",
    "MAIL FROM:<a@b.test>\r\n",
    "RCPT TO:<alice@mta.test>\r\n",
    "DATA\r\n",
    "\r\n.\r\n",
    "\n.\n",
    "BDAT 5\r\n",
    "BDAT 0 LAST\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "QUIT\r\n",
    "STARTTLS\r\n",
    "AUTH PLAIN ",
    "AUTH LOGIN\r\n",
    "AUTH SCRAM-SHA-256 ",
    "AGFsaWNlAHg=\r\n",
    "*\r\n",
    "=\r\n",
    " SIZE=100",
    " BODY=BINARYMIME",
    " BODY=8BITMIME",
    " SMTPUTF8",
    " RET=FULL",
    " ENVID=a+2Bb",
    " NOTIFY=SUCCESS,DELAY",
    " ORCPT=rfc822;a+40b.test",
    " AUTH=<>",
    "<>",
    "<Postmaster>",
    "\"a b\"@c.test",
    "@[IPv6:::1]",
    "é",
    "xn--bcher-kva",
];

/// Bytes of a message in these sessions.
const MESSAGE: u64 = 100_000;

pub(super) fn mx(input: &[u8]) {
    run(Role::Mx, input);
}

pub(super) fn submission(input: &[u8]) {
    run(Role::Submission, input);
}

fn run(role: Role, input: &[u8]) {
    let [state, how, rest @ ..] = input else { return };
    let tls = role == Role::Submission && state % 8 != 0;
    let mut driver = Driver::new(role, tls);
    let login: &[u8] = if role == Role::Submission && state % 8 > 2 { b"AUTH PLAIN AGFsaWNlAHg=\r\n" } else { b"" };
    let opening: &[&[u8]] = match state % 8 {
        0 | 1 => &[],
        2 | 3 => &[b"EHLO a.test\r\n", login],
        4 => &[b"EHLO a.test\r\n", login, b"MAIL FROM:<a@b.test>\r\n"],
        5 => &[b"EHLO a.test\r\n", login, b"MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@mta.test>\r\n"],
        6 => &[b"EHLO a.test\r\n", login, b"MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@mta.test>\r\n", b"DATA\r\n"],
        _ => &[b"EHLO a.test\r\n", login, b"MAIL FROM:<a@b.test> BODY=BINARYMIME\r\nRCPT TO:<alice@mta.test>\r\nBDAT 30\r\n"],
    };
    for piece in opening {
        driver.send(piece);
    }
    driver.answers = how / 8;
    driver.storage_works = how % 32 != 7;
    match how % 8 {
        0 => driver.send(rest),
        1 => rest.chunks(1).for_each(|piece| driver.send(piece)),
        // As a client does that waits for its answers.
        2 | 3 => rest.split_inclusive(|b| *b == b'\n').for_each(|piece| driver.send(piece)),
        n => rest.chunks(usize::from(n) * 7).for_each(|piece| driver.send(piece)),
    }
    if how & 64 != 0 {
        driver.session.time_out();
    } else {
        driver.session.shut_down();
    }
    driver.send(b"");
    assert!(driver.closed && driver.message.is_none(), "a session that ends leaves no message behind");
}

struct Driver {
    role: Role,
    session: Session,
    buffer: Vec<u8>,
    message: Option<Vec<u8>>,
    storage_works: bool,
    /// What the other processes say, in some order.
    answers: u8,
    asked: u8,
    logged_in: bool,
    encrypted: bool,
    closed: bool,
}

impl Driver {
    fn new(role: Role, tls: bool) -> Self {
        let settings = Settings {
            role,
            hostname: Domain::parse("mx.mta.test").unwrap(),
            postmaster: Some(Address::parse("alice@mta.test").unwrap()),
            limits: Limits { message_size: MESSAGE, recipients: 20, ..Limits::DEFAULT },
        };
        let mut session = Session::new(Arc::new(settings), tls.then_some(Tls { channel_binding: true }), true);
        session.greet(false);
        Self {
            role,
            session,
            buffer: Vec::new(),
            message: None,
            storage_works: true,
            answers: 0,
            asked: 0,
            logged_in: false,
            encrypted: tls,
            closed: false,
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut input = &buffer[..];
        let mut content = Vec::new();
        loop {
            let before = input.len();
            let step = self.session.step(&mut input, &mut content);
            assert!(content.len() <= before + 2, "content comes from input");
            self.keep(&mut content, &step);
            match step {
                Step::Read => break,
                Step::Close => {
                    self.closed = true;
                    break;
                }
                Step::Do(Action::StartTls) => {
                    assert!(!self.encrypted, "TLS begins once");
                    self.encrypted = true;
                    // What came before the handshake is forgotten.
                    input = &[];
                    self.session.resume(Outcome::TlsStarted(Tls { channel_binding: false }));
                }
                Step::Do(action) => self.act(action),
            }
        }
        self.buffer = input.to_vec();
        // What waits is bounded: a line, or nothing.
        assert!(self.buffer.len() <= 32 * 1024 || self.closed || bytes.len() > 16 * 1024);
        self.check_replies();
    }

    fn keep(&mut self, content: &mut Vec<u8>, step: &Step) {
        if content.is_empty() {
            return;
        }
        if self.storage_works {
            if let Some(message) = &mut self.message {
                message.append(content);
            }
        } else if !matches!(step, Step::Do(Action::Commit(_))) {
            self.session.storage_failed();
        }
        content.clear();
    }

    fn answer(&mut self) -> u8 {
        self.asked = self.asked.wrapping_add(1);
        if self.answers == 0 { 0 } else { self.answers.wrapping_mul(self.asked) % 7 }
    }

    fn act(&mut self, action: Action) {
        let own = self.role == Role::Mx || self.logged_in;
        let answer = self.answer();
        let outcome = match action {
            Action::CheckSender(_) => {
                assert!(own);
                Outcome::Sender([SenderVerdict::Accept, SenderVerdict::NotYours, SenderVerdict::Unavailable][usize::from(answer % 3)])
            }
            Action::CheckRecipient { recipient, .. } => {
                assert!(own);
                assert_eq!(Address::parse(&recipient.to_string()).as_ref(), Ok(&recipient));
                Outcome::Recipient(match answer {
                    1 => RecipientVerdict::Unknown,
                    2 => RecipientVerdict::NoRelay,
                    3 => RecipientVerdict::Unavailable,
                    _ => RecipientVerdict::Accept,
                })
            }
            Action::BeginMessage => {
                assert!(own && self.message.is_none());
                self.message = (answer != 6).then(Vec::new);
                Outcome::Began(self.message.is_some())
            }
            Action::DropMessage => {
                assert!(self.message.take().is_some());
                return;
            }
            Action::Commit(transaction) => {
                let content = self.message.take().unwrap();
                assert!(own && !transaction.recipients().is_empty() && transaction.recipients().len() <= 20);
                assert!(content.len() as u64 <= MESSAGE && !content.starts_with(b" ") && !content.starts_with(b"\t"));
                if transaction.body != Body::BinaryMime {
                    assert!(super::has_only_crlf(&content), "bare bytes were accepted");
                }
                Outcome::Committed(match (self.storage_works, answer) {
                    (false, _) | (_, 1) => CommitVerdict::Deferred,
                    (_, 2) => CommitVerdict::Identity,
                    _ => CommitVerdict::Accepted(Text::new("0001").unwrap()),
                })
            }
            Action::AuthStart { .. } | Action::AuthContinue(_) => {
                assert!(self.encrypted && self.role == Role::Submission && !self.logged_in);
                let verdict = match answer {
                    1 | 2 => AuthVerdict::Challenge(b"challenge".to_vec()),
                    3 => AuthVerdict::Refused,
                    4 => AuthVerdict::Malformed,
                    5 => AuthVerdict::Success(Some(b"v=".to_vec())),
                    _ => AuthVerdict::Success(None),
                };
                self.logged_in = matches!(verdict, AuthVerdict::Success(_));
                Outcome::Auth(verdict)
            }
            Action::AuthAbort => {
                self.logged_in = false;
                return;
            }
            Action::StartTls => return,
        };
        self.session.resume(outcome);
    }

    /// RFC 5321 4.2: lines of three digits and text, nothing of the client's in them that could end one.
    fn check_replies(&mut self) {
        let replies = std::mem::take(self.session.output());
        assert!(replies.len() <= 256 * 1024 + 100 * MESSAGE as usize);
        for line in replies.split_inclusive(|b| *b == b'\n') {
            let text = line.strip_suffix(b"\r\n").unwrap();
            assert!(text.iter().all(|b| (b' '..=b'~').contains(b)), "{:?}", String::from_utf8_lossy(line));
            let [a, b, c, sign, ..] = text else { panic!("a short line") };
            assert!((b'2'..=b'5').contains(a) && b.is_ascii_digit() && c.is_ascii_digit() && matches!(sign, b' ' | b'-'));
            assert!(line.len() <= 512 || text.starts_with(b"334 "));
        }
    }
}
