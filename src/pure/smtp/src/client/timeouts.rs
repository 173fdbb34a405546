//! How long a client waits (RFC 5321 4.5.3.2), and how slowly a server may take or give.

use std::time::Duration;

/// What is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The greeting (RFC 5321 4.5.3.2.1).
    Greeting,
    /// The answer to EHLO or HELO.
    Hello,
    /// The answer to STARTTLS, and then the handshake.
    StartTls,
    /// An answer within AUTH.
    Auth,
    /// The answer to MAIL (RFC 5321 4.5.3.2.2).
    Mail,
    /// The answer to RCPT (RFC 5321 4.5.3.2.3).
    Rcpt,
    /// The answer to DATA (RFC 5321 4.5.3.2.4).
    Data,
    /// That the server takes a block of content (RFC 5321 4.5.3.2.5).
    Block,
    /// The answer to the whole message (RFC 5321 4.5.3.2.6).
    End,
    /// The answer to RSET.
    Reset,
    /// The answer to QUIT.
    Quit,
}

/// Every time limit in one table. Each is for a whole reply or block: bytes that drip in do not extend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// 5 minutes.
    pub greeting: Duration,
    /// 5 minutes.
    pub hello: Duration,
    /// 5 minutes.
    pub mail: Duration,
    /// 5 minutes.
    pub rcpt: Duration,
    /// 2 minutes.
    pub data: Duration,
    /// 3 minutes.
    pub block: Duration,
    /// 10 minutes.
    pub end: Duration,
    /// For QUIT: nothing depends on its answer.
    pub quit: Duration,
    /// For one session as a whole.
    pub session: Duration,
    /// Bytes of content in a second that a server must take on average once [`Self::block`] is over.
    pub bytes_per_second: u64,
}

impl Timeouts {
    /// RFC 5321 4.5.3.2.
    pub const DEFAULT: Self = Self {
        greeting: Duration::from_secs(5 * 60),
        hello: Duration::from_secs(5 * 60),
        mail: Duration::from_secs(5 * 60),
        rcpt: Duration::from_secs(5 * 60),
        data: Duration::from_secs(2 * 60),
        block: Duration::from_secs(3 * 60),
        end: Duration::from_secs(10 * 60),
        quit: Duration::from_secs(10),
        session: Duration::from_secs(60 * 60),
        bytes_per_second: 512,
    };

    /// The limit of a phase.
    pub fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Greeting => self.greeting,
            Phase::Hello | Phase::StartTls | Phase::Auth | Phase::Reset => self.hello,
            Phase::Mail => self.mail,
            Phase::Rcpt => self.rcpt,
            Phase::Data => self.data,
            Phase::Block => self.block,
            Phase::End => self.end,
            Phase::Quit => self.quit,
        }
    }

    /// How long content of so many bytes may take as a whole.
    pub fn content(&self, bytes: u64) -> Duration {
        self.block.saturating_add(Duration::from_secs(bytes / self.bytes_per_second.max(1)))
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}
