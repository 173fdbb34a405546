//! What is reported: verdicts of the protocol as outcomes of a lease, with words for people.

use pure_addr::{Domain, Text};
use pure_smtp::client::{EnhancedStatus, Failure, Phase, ServerReply};
use std::net::IpAddr;
use wire::edge::{
    mail,
    send_deliver::{Remote, Status, Trace},
};

/// A host that is being spoken to, for traces.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) host: Domain,
    pub(crate) address: Option<IpAddr>,
    pub(crate) tls: Option<mail::Tls>,
}

impl Peer {
    fn remote(&self) -> Remote {
        Remote { host: self.host.clone(), address: self.address, tls: self.tls.clone() }
    }

    /// Something that was noticed here about this host.
    pub(crate) fn trace(&self, status: Status, text: &str) -> Trace {
        let text = match self.address {
            Some(address) => format!("{} [{address}]: {text}", self.host),
            None => format!("{}: {text}", self.host),
        };
        Trace { status, reply: None, text: Text::lossy(text.as_bytes()), remote: Some(self.remote()) }
    }

    /// What this host said.
    pub(crate) fn said(&self, reply: &ServerReply, text: &str) -> Trace {
        let mut trace = self.trace(status(reply.status()), text);
        trace.reply = Some(Text::lossy(reply.to_string().as_bytes()));
        trace
    }
}

/// Something that was noticed here before any host was spoken to.
pub(crate) fn trace(status: Status, text: &str) -> Trace {
    Trace { status, reply: None, text: Text::lossy(text.as_bytes()), remote: None }
}

pub(crate) fn status(EnhancedStatus(class, subject, detail): EnhancedStatus) -> Status {
    Status(class, subject, detail)
}

/// At which point somebody said no.
pub(crate) fn refused(phase: Phase) -> &'static str {
    match phase {
        Phase::Greeting => "refused the connection",
        Phase::Hello => "refused our EHLO",
        Phase::StartTls => "refused TLS",
        Phase::Auth => "refused the login",
        Phase::Mail => "refused the sender",
        Phase::Rcpt => "refused the recipient",
        Phase::Data => "refused to begin the message",
        Phase::Block | Phase::End => "refused the message",
        Phase::Reset | Phase::Quit => "refused to go on",
    }
}

fn during(phase: Phase) -> &'static str {
    match phase {
        Phase::Greeting => "before the greeting",
        Phase::Hello => "after EHLO",
        Phase::StartTls => "at STARTTLS",
        Phase::Auth => "during the login",
        Phase::Mail => "after MAIL",
        Phase::Rcpt => "after RCPT",
        Phase::Data => "after DATA",
        Phase::Block => "while the message was sent",
        Phase::End => "after the message was sent",
        Phase::Reset => "between two messages",
        Phase::Quit => "after QUIT",
    }
}

/// Why a session ended, and whether for good; only refusals at the door are for good.
pub(crate) fn failed(peer: &Peer, failure: &Failure) -> (bool, Trace) {
    let own = |status, text: &str| (false, peer.trace(status, text));
    match failure {
        Failure::Refused(phase, reply) => (reply.code() >= 500, peer.said(reply, refused(*phase))),
        Failure::Closing(phase, reply) => (false, peer.said(reply, &format!("closed the connection {}", during(*phase)))),
        Failure::NoStartTls => own(Status(4, 7, 4), "TLS is required and not offered"),
        Failure::StartTlsRefused(reply) => {
            let mut trace = peer.said(reply, "TLS is required and was refused");
            trace.status = Status(4, 7, 4);
            (false, trace)
        }
        Failure::Injected => own(Status(4, 7, 0), "clear text came behind STARTTLS: somebody interferes with the connection"),
        Failure::NoMechanism => own(Status(4, 7, 0), "offers no way to log in that is known here (SCRAM-SHA-256, PLAIN, LOGIN, in TLS)"),
        Failure::LoginRefused(reply) => {
            let mut trace = peer.said(reply, "refused the login: check the smarthost's user and its password in the credential");
            trace.status = Status(4, 7, 8);
            (false, trace)
        }
        Failure::LoginBroken => own(Status(4, 7, 0), "the login was not completed as its mechanism asks"),
        Failure::Bad(phase, bad) => own(Status(4, 5, 0), &format!("sent {bad} {}", during(*phase))),
        Failure::OutOfStep(phase) => own(Status(4, 5, 0), &format!("answered what it was not asked {}", during(*phase))),
        Failure::Lost(phase) => own(Status(4, 4, 2), &format!("the connection was lost {}", during(*phase))),
        Failure::TimedOut(phase) => own(Status(4, 4, 2), &format!("did not answer in time {}", during(*phase))),
        Failure::Ended => own(Status(4, 4, 2), "ended the session"),
    }
}
