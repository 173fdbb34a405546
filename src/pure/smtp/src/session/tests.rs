use super::*;

mod attacks;
mod chaos;
mod life;
mod limits;
mod login;

/// A session with a driver whose world is: mta.test is hosted, alice and bob live there, dave's mailbox is full, nobody knows of eve.
struct Peer {
    session: Session,
    buffer: Vec<u8>,
    message: Option<Vec<u8>>,
    /// What was committed: sender, recipients, content.
    stored: Vec<(String, Vec<String>, Vec<u8>)>,
    /// Actions in order, by name.
    log: Vec<&'static str>,
    auth: VecDeque<AuthVerdict>,
    commit: Option<CommitVerdict>,
    storage_works: bool,
    closed: bool,
}

fn settings(role: Role) -> Settings {
    Settings {
        role,
        hostname: Domain::parse("mx.mta.test").unwrap(),
        postmaster: Some(Address::parse("alice@mta.test").unwrap()),
        limits: Limits { message_size: 100_000, recipients: 100, ..Limits::DEFAULT },
    }
}

impl Peer {
    fn with(settings: Settings, tls: Option<Tls>) -> Self {
        let mut peer = Self {
            session: Session::new(Arc::new(settings), tls, true),
            buffer: Vec::new(),
            message: None,
            stored: Vec::new(),
            log: Vec::new(),
            auth: VecDeque::new(),
            commit: None,
            storage_works: true,
            closed: false,
        };
        peer.session.greet(false);
        assert!(peer.replies().starts_with("220 mx.mta.test ESMTP"));
        peer
    }

    fn mx() -> Self {
        let mut peer = Self::with(settings(Role::Mx), None);
        peer.expect("EHLO mx.evil.test", "250");
        peer
    }

    fn submission(tls: bool) -> Self {
        let mut peer = Self::with(settings(Role::Submission), tls.then_some(Tls { channel_binding: true }));
        peer.expect("EHLO client.test", "250");
        peer
    }

    /// With a transaction that has a recipient.
    fn ready() -> Self {
        let mut peer = Self::mx();
        peer.expect("MAIL FROM:<x@evil.test>", "250 2.1.0");
        peer.expect("RCPT TO:<alice@mta.test>", "250 2.1.5");
        peer
    }

    fn in_data() -> Self {
        let mut peer = Self::ready();
        peer.expect("DATA", "354 ");
        peer
    }

    fn logged_in() -> Self {
        let mut peer = Self::submission(true);
        peer.auth.push_back(AuthVerdict::Success(None));
        peer.expect("AUTH PLAIN AGFsaWNlAHg=", "235 2.7.0");
        peer
    }

    fn replies(&mut self) -> String {
        String::from_utf8(std::mem::take(self.session.output())).unwrap()
    }

    /// Sends bytes and returns every reply to them.
    fn send(&mut self, bytes: &[u8]) -> String {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut input = &buffer[..];
        let mut content = Vec::new();
        loop {
            let step = self.session.step(&mut input, &mut content);
            if !content.is_empty() {
                if self.storage_works {
                    if let Some(message) = &mut self.message {
                        message.append(&mut content);
                    }
                } else if !matches!(step, Step::Do(Action::Commit(_))) {
                    self.session.storage_failed();
                }
                content.clear();
            }
            match step {
                Step::Read => break,
                Step::Close => {
                    self.closed = true;
                    assert!(self.message.is_none(), "a message is left over");
                    break;
                }
                Step::Do(action) => {
                    self.act(action);
                    if self.session.tls.is_some() && self.log.last() == Some(&"tls") {
                        input = &[];
                    }
                }
            }
        }
        self.buffer = input.to_vec();
        self.replies()
    }

    fn act(&mut self, action: Action) {
        let (name, outcome) = match action {
            Action::CheckSender(path) => {
                let own = path.address().is_none_or(|a| a.to_string() == "alice@mta.test");
                ("sender", Some(Outcome::Sender(if own { SenderVerdict::Accept } else { SenderVerdict::NotYours })))
            }
            Action::CheckRecipient { recipient, .. } => {
                let local = recipient.local.as_str().split('+').next().unwrap().to_owned();
                let verdict = match (recipient.domain.as_str(), local.as_str()) {
                    ("mta.test", "alice" | "bob") => RecipientVerdict::Accept,
                    ("mta.test", "dave") => RecipientVerdict::MailboxFull,
                    ("mta.test", "eve") => RecipientVerdict::Unavailable,
                    ("mta.test", _) => RecipientVerdict::Unknown,
                    _ if self.session.logged_in => RecipientVerdict::Accept,
                    _ => RecipientVerdict::NoRelay,
                };
                ("recipient", Some(Outcome::Recipient(verdict)))
            }
            Action::BeginMessage => {
                assert!(self.message.is_none());
                self.message = Some(Vec::new());
                ("begin", Some(Outcome::Began(true)))
            }
            Action::DropMessage => {
                self.message.take().unwrap();
                ("drop", None)
            }
            Action::Commit(transaction) => {
                let content = self.message.take().unwrap();
                let verdict = match (self.storage_works, self.commit.take()) {
                    (false, _) => CommitVerdict::Deferred,
                    (true, Some(verdict)) => verdict,
                    (true, None) => {
                        let to = transaction.recipients().iter().map(|r| r.address.to_string()).collect();
                        self.stored.push((transaction.reverse_path.to_string(), to, content));
                        CommitVerdict::Accepted(Text::new("0001").unwrap())
                    }
                };
                ("commit", Some(Outcome::Committed(verdict)))
            }
            Action::StartTls => ("tls", Some(Outcome::TlsStarted(Tls { channel_binding: false }))),
            Action::AuthStart { mechanism, initial } => {
                assert_ne!((mechanism, initial.as_bytes()), (Mechanism::Plain, &b""[..]));
                ("auth", Some(Outcome::Auth(self.auth.pop_front().unwrap())))
            }
            Action::AuthContinue(_) => ("continue", Some(Outcome::Auth(self.auth.pop_front().unwrap()))),
            Action::AuthAbort => ("abort", None),
        };
        self.log.push(name);
        if let Some(outcome) = outcome {
            self.session.resume(outcome);
        }
    }

    /// Sends a line; the reply must be one and begin so.
    fn expect(&mut self, line: &str, reply: &str) -> String {
        self.expect_bytes(format!("{line}\r\n").as_bytes(), reply)
    }

    fn expect_bytes(&mut self, bytes: &[u8], reply: &str) -> String {
        let got = self.send(bytes);
        assert!(got.starts_with(reply), "{:?}: {got:?}", String::from_utf8_lossy(bytes));
        assert_eq!(count(&got), 1, "{:?}: {got:?}", String::from_utf8_lossy(bytes));
        got
    }
}

/// Number of replies in what was sent.
fn count(replies: &str) -> usize {
    replies.lines().filter(|line| line.as_bytes().get(3) == Some(&b' ')).count()
}

fn codes(replies: &str) -> Vec<&str> {
    replies.lines().filter(|line| line.as_bytes().get(3) == Some(&b' ')).map(|line| &line[..3]).collect()
}
