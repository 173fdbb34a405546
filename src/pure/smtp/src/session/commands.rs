//! Commands outside logins and content.

use super::*;
use crate::{
    command::{Command, Refusal},
    parameters::{MailParameters, RcptParameters},
    path::ForwardPath,
    transaction::Body,
};

impl Session {
    /// Acts on a line. `more`: the client has already sent something behind it.
    pub(super) fn command_line(&mut self, line: &[u8], more: bool) {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(refusal) => return self.refuse_line(refusal),
        };
        if matches!(
            command,
            Command::Helo(_)
                | Command::Ehlo(_)
                | Command::Rset
                | Command::Noop
                | Command::Vrfy
                | Command::Expn
                | Command::Help
                | Command::StartTls
                | Command::Auth { .. }
        ) {
            self.counts.idle = self.counts.idle.saturating_add(1);
            if self.counts.idle > self.settings.limits.idle_commands {
                return self.close(&say::TOO_MANY_IDLE);
            }
        }
        match command {
            // RFC 2920 3.1: these must be the last of a group. Who goes on without our answer does not listen (SMUG-11).
            Command::Helo(_) | Command::Ehlo(_) | Command::Data if more => self.close(&say::OUT_OF_TURN),
            Command::Helo(name) => self.hello_said(name, false),
            Command::Ehlo(name) => self.hello_said(name, true),
            Command::Mail { path, ascii, parameters } => self.mail(path, ascii, parameters),
            Command::Rcpt { path, ascii, parameters } => self.rcpt(path, ascii, parameters),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Rset => {
                self.drop_mail();
                self.reply(&say::OK);
            }
            Command::Noop => self.reply(&say::OK),
            Command::Quit => self.close(&say::BYE),
            Command::Vrfy => self.reply(&say::VRFY),
            Command::Expn => self.refuse(&say::NOT_IMPLEMENTED),
            Command::Help => self.reply(&say::HELP),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(mechanism.as_str(), initial),
        }
    }

    fn refuse_line(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Unknown => {
                self.counts.unknown = self.counts.unknown.saturating_add(1);
                if self.counts.unknown > self.settings.limits.unknown_commands {
                    return self.close(&say::TOO_MANY_ERRORS);
                }
                self.refuse(&say::UNKNOWN_COMMAND);
            }
            Refusal::NotImplemented => self.refuse(&say::NOT_IMPLEMENTED),
            Refusal::Syntax => self.refuse(&say::SYNTAX),
            Refusal::Sender => self.refuse(&say::BAD_SENDER),
            Refusal::Recipient => self.refuse(&say::BAD_RECIPIENT),
            Refusal::Parameter => self.refuse(&say::BAD_PARAMETER),
            Refusal::UnknownParameter => self.refuse(&say::UNKNOWN_PARAMETER),
            // The chunk's bytes would be read as commands.
            Refusal::ChunkSize => self.close(&say::SYNTAX),
            Refusal::Http => self.close(&say::NOT_HTTP),
        }
    }

    fn hello_said(&mut self, name: Text<MAX_DOMAIN>, extended: bool) {
        // RFC 5321 4.1.4: as if by RSET.
        self.drop_mail();
        self.hello = Some(Hello { name, extended });
        let text = if extended { self.extensions() } else { self.settings.hostname.to_string() };
        self.reply(&Reply::bare(250, "").with_text(text));
    }

    fn extensions(&self) -> String {
        let size = self.settings.limits.message_size;
        let mut text = format!(
            "{}\nPIPELINING\nSIZE {size}\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\nENHANCEDSTATUSCODES\nDSN",
            self.settings.hostname
        );
        if self.offers_require_tls() {
            text.push_str("\nREQUIRETLS");
        }
        match (self.tls, self.settings.role) {
            (None, _) if self.tls_available => text.push_str("\nSTARTTLS"),
            // RFC 4954 4: not offered again after success.
            (Some(tls), Role::Submission) if !self.logged_in => {
                text.push_str("\nAUTH PLAIN LOGIN SCRAM-SHA-256");
                if tls.channel_binding {
                    text.push_str(" SCRAM-SHA-256-PLUS");
                }
            }
            _ => {}
        }
        text
    }

    /// RFC 8689 2: within TLS alone. What other servers ask for holds where an alias leads on, and for reports.
    fn offers_require_tls(&self) -> bool {
        self.tls.is_some()
    }

    fn mail(&mut self, path: ReversePath, ascii: bool, parameters: MailParameters) {
        let Some(hello) = &self.hello else { return self.refuse(&say::HELLO_FIRST) };
        let extended = hello.extended;
        if self.settings.role == Role::Submission && !self.logged_in {
            let reply = if self.tls.is_none() { say::TLS_FIRST } else { say::LOGIN_FIRST };
            return self.refuse(&reply);
        }
        // RFC 5321 4.1.4: the open transaction stays as it is.
        if !matches!(self.mail, Mail::None) {
            return self.refuse(&say::OUT_OF_SEQUENCE);
        }
        // RFC 5321 2.2.1, RFC 4954 5: only what was offered to this client.
        if (!extended && !parameters.is_empty())
            || (parameters.auth && self.settings.role == Role::Mx)
            || (parameters.require_tls && !self.offers_require_tls())
        {
            return self.refuse(&say::UNKNOWN_PARAMETER);
        }
        if !ascii && !parameters.smtputf8 {
            return self.refuse(&say::NEEDS_SMTPUTF8);
        }
        if parameters.size.is_some_and(|size| size > self.settings.limits.message_size) {
            return self.refuse(&say::TOO_LARGE);
        }
        let transaction = Transaction::new(path.clone(), parameters);
        match self.settings.role {
            Role::Mx => self.sender_checked(transaction, SenderVerdict::Accept),
            Role::Submission => self.begin(Action::CheckSender(path), Waiting::Sender(transaction)),
        }
    }

    pub(super) fn sender_checked(&mut self, transaction: Transaction, verdict: SenderVerdict) {
        match verdict {
            SenderVerdict::Accept => {
                self.mail = Mail::Envelope(transaction);
                self.reply(&say::SENDER_OK);
            }
            SenderVerdict::NotYours => self.refuse(&say::NOT_YOUR_ADDRESS),
            SenderVerdict::Unavailable => self.reply(&say::LOCAL_PROBLEM),
        }
    }

    fn rcpt(&mut self, path: ForwardPath, ascii: bool, parameters: RcptParameters) {
        let extended = self.is_extended();
        let limit = self.settings.limits.recipients;
        let transaction = match &self.mail {
            Mail::Envelope(transaction) => transaction,
            Mail::Chunks(..) => return self.refuse(&say::OUT_OF_SEQUENCE),
            Mail::None => return self.refuse(&say::MAIL_FIRST),
        };
        if !extended && !parameters.is_empty() {
            return self.refuse(&say::UNKNOWN_PARAMETER);
        }
        if !ascii && !transaction.smtputf8 {
            return self.refuse(&say::NEEDS_SMTPUTF8);
        }
        let address = match path {
            ForwardPath::Address(address) => address,
            ForwardPath::Postmaster => match &self.settings.postmaster {
                Some(postmaster) => postmaster.clone(),
                None => return self.refuse_recipient(&say::NO_SUCH_RECIPIENT),
            },
        };
        if transaction.has(&address) {
            return self.reply(&say::RECIPIENT_OK);
        }
        // RFC 5321 4.5.3.1.10.
        if transaction.recipients().len() >= limit {
            return self.reply(&say::TOO_MANY_RECIPIENTS);
        }
        let reverse_path = transaction.reverse_path.clone();
        let recipient = Recipient { address: address.clone(), notify: parameters.notify, original: parameters.original };
        self.begin(Action::CheckRecipient { reverse_path, recipient: address }, Waiting::Recipient(recipient));
    }

    pub(super) fn recipient_checked(&mut self, recipient: Recipient, verdict: RecipientVerdict) {
        match (verdict, &mut self.mail) {
            (RecipientVerdict::Accept, Mail::Envelope(transaction)) => {
                transaction.add(recipient);
                self.reply(&say::RECIPIENT_OK);
            }
            (RecipientVerdict::Accept, _) => self.close(&say::OUT_OF_STEP),
            (RecipientVerdict::Unknown, _) => self.refuse_recipient(&say::NO_SUCH_RECIPIENT),
            (RecipientVerdict::NoRelay, _) => self.refuse_recipient(&say::NO_RELAY),
            (RecipientVerdict::MailboxFull, _) => self.reply(&say::MAILBOX_FULL),
            (RecipientVerdict::Unavailable, _) => self.reply(&say::LOCAL_PROBLEM),
            (RecipientVerdict::RateLimited, _) => self.reply(&say::RATE_LIMITED),
        }
    }

    fn refuse_recipient(&mut self, reply: &Reply) {
        self.counts.refused_recipients = self.counts.refused_recipients.saturating_add(1);
        if self.counts.refused_recipients > self.settings.limits.refused_recipients {
            self.close(&say::TOO_MANY_ERRORS);
        } else {
            self.reply(reply);
        }
    }

    fn data(&mut self) {
        match std::mem::replace(&mut self.mail, Mail::None) {
            Mail::None => self.refuse(&say::MAIL_FIRST),
            // RFC 3030 2: the transaction is indeterminate, so there is none any more (SMUG-06).
            chunks @ Mail::Chunks(..) => {
                self.mail = chunks;
                self.drop_mail();
                self.refuse(&say::DATA_WITH_BDAT);
            }
            Mail::Envelope(transaction) if transaction.recipients().is_empty() => self.refuse(&say::NO_RECIPIENTS),
            Mail::Envelope(transaction) if transaction.body == Body::BinaryMime => self.refuse(&say::BINARY_NEEDS_BDAT),
            Mail::Envelope(transaction) => self.begin(Action::BeginMessage, Waiting::BeginData(transaction)),
        }
    }

    fn start_tls(&mut self) {
        match self.tls {
            // RFC 3207 4: not offered twice.
            Some(_) => self.refuse(&say::OUT_OF_SEQUENCE),
            None if !self.tls_available => self.refuse(&say::NO_TLS_NOW),
            None if !self.is_extended() => self.refuse(&say::HELLO_FIRST),
            None => {
                self.drop_mail();
                self.reply(&say::START_TLS);
                self.begin(Action::StartTls, Waiting::Tls);
            }
        }
    }

    pub(super) fn tls_started(&mut self, tls: Tls) {
        // RFC 3207 4.2: nothing that was said in clear text counts.
        self.tls = Some(tls);
        self.hello = None;
        self.logged_in = false;
        self.searched = 0;
    }
}
