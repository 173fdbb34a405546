//! One message and the connection that brought it.

use crate::{
    answers::{Answers, Pending},
    arc::Chain,
    authres,
    dkim::{self, Signature},
    dmarc::{self, Identifier, IdentifierKind, Passed},
    header::Header,
    limits::MAX_FROM,
    signature::{Body, name},
    spf::{Check, Sender},
};
use pure_addr::{Domain, ReversePath};
use pure_dkim::fields::has_stray_controls;
use pure_index::{
    EnvelopeAddress, MAX_ADDRESSES, MAX_FIELDS, MessageIndex, Span,
    judgement::{Alignment, Arc, Dkim, DkimResult, Dmarc, DmarcPolicy, DmarcResult, Judgement, Spf, SpfIdentity, SpfResult},
};
use std::net::IpAddr;

/// Who brought a message, as SMTP knows it.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// Its address.
    pub peer: IpAddr,
    /// What it calls itself.
    pub helo: &'a str,
    /// MAIL FROM.
    pub reverse_path: &'a ReversePath,
}

/// What is left to be found out about a message; its bytes are not needed any more.
#[derive(Debug)]
pub struct Inspection {
    mail_from: Option<Check>,
    helo: Option<Check>,
    signatures: Vec<Signature>,
    chain: Chain,
    author: Author,
    forged: Vec<Span>,
    overflow: bool,
}

/// RFC 9989 4.2: whose domain From names.
#[derive(Debug)]
enum Author {
    /// From names no host, or an address literal.
    Nobody,
    One(Domain),
    /// Several, or one that is no domain (RFC 9989 5.3.1): readers do not agree who it is.
    Unclear,
}

impl Inspection {
    /// Reads a message that came over this connection to `host`, which is us; `now` is seconds since 1970. `index` is that of the same
    /// message.
    pub fn read(message: &[u8], index: &MessageIndex, connection: Connection<'_>, host: &Domain, now: i64) -> Self {
        let header = Header::of(message, index);
        let start = index.structure.root().map_or(0, |root| root.body.start);
        let (head, body) = usize::try_from(start).ok().and_then(|start| message.split_at_checked(start)).unwrap_or((message, &[]));
        let mut body = Body::new(body);
        let (forged, more) = authres::forged(&header, host);
        let Connection { peer, helo, reverse_path } = connection;
        let check = |local: &str, domain: Domain| Check::new(peer, helo, Sender { local: local.to_owned(), domain });
        Self {
            // A literal has no policy.
            mail_from: reverse_path
                .address()
                .filter(|address| !address.domain.is_literal())
                .map(|address| check(address.local.as_str(), address.domain.clone())),
            helo: name(helo).map(|domain| check("postmaster", domain)),
            signatures: dkim::read(&header, &mut body, now),
            chain: Chain::read(&header, &mut body, now),
            author: author(index),
            forged,
            overflow: more || header.fields().len() >= MAX_FIELDS || cuts_author(&header, index) || has_stray_controls(head),
        }
    }

    /// What came of it, or nothing yet: then [`Answers::wanted`] has questions.
    pub fn judge(&mut self, answers: &mut Answers) -> Option<Judgement> {
        // Everything that does not wait for something else asks at once; signatures first, since questions are bounded.
        let dkim: Vec<Result<Dkim, Pending>> = self.signatures.iter_mut().map(|signature| signature.judge(answers)).collect();
        let dkim: Result<Vec<Dkim>, Pending> = dkim.into_iter().collect();
        let mail_from = self.mail_from.as_mut().map(|check| spf(check, SpfIdentity::MailFrom, answers)).transpose();
        let helo = self.helo.as_mut().map(|check| spf(check, SpfIdentity::Helo, answers)).transpose();
        let identifiers = match (&dkim, &mail_from, &helo) {
            (Ok(dkim), Ok(mail_from), Ok(helo)) => Ok(identifiers(dkim, mail_from.as_ref(), helo.as_ref(), self.mail_from.is_none())),
            _ => Err(Pending),
        };
        let dmarc = match &self.author {
            Author::One(author) => dmarc::judge(author, identifiers, answers),
            Author::Nobody => Ok(without_author(DmarcResult::None)),
            Author::Unclear => Ok(without_author(DmarcResult::PermError)),
        };
        let arc = self.chain.judge(answers);
        self.done(dkim, mail_from, helo, dmarc, arc).ok()
    }

    fn done(
        &self,
        dkim: Result<Vec<Dkim>, Pending>,
        mail_from: Result<Option<Spf>, Pending>,
        helo: Result<Option<Spf>, Pending>,
        dmarc: Result<Dmarc, Pending>,
        arc: Result<Arc, Pending>,
    ) -> Result<Judgement, Pending> {
        Ok(Judgement {
            spf: mail_from?.into_iter().chain(helo?).collect(),
            dkim: dkim?,
            dmarc: dmarc?,
            arc: arc?,
            forged: self.forged.clone(),
            overflow: self.overflow,
        })
    }
}

fn without_author(result: DmarcResult) -> Dmarc {
    Dmarc { result, policy: DmarcPolicy::None, alignment: Alignment::NotAligned, author: None }
}

fn spf(check: &mut Check, identity: SpfIdentity, answers: &mut Answers) -> Result<Spf, Pending> {
    Ok(Spf { result: check.run(answers)?, identity, domain: check.domain().clone() })
}

/// RFC 9989 4.4.2: of SPF the domain of MAIL FROM counts, and that of HELO if there is no other.
fn identifiers(dkim: &[Dkim], mail_from: Option<&Spf>, helo: Option<&Spf>, null: bool) -> Vec<Identifier> {
    let of_spf = mail_from.or(helo.filter(|_| null)).and_then(|spf| {
        let passed = match spf.result {
            SpfResult::Pass => Passed::Yes,
            SpfResult::TempError => Passed::Perhaps,
            _ => return None,
        };
        Some(Identifier { domain: spf.domain.clone(), kind: IdentifierKind::Spf, passed })
    });
    let of_dkim = dkim.iter().filter_map(|dkim| {
        let passed = match dkim.result {
            DkimResult::Pass => Passed::Yes,
            DkimResult::TempError => Passed::Perhaps,
            _ => return None,
        };
        Some(Identifier { domain: dkim.domain.clone()?, kind: IdentifierKind::Dkim, passed })
    });
    of_spf.into_iter().chain(of_dkim).collect()
}

fn author(index: &MessageIndex) -> Author {
    // RFC 5322 3.6: one. With more, readers do not agree who it is (attack case FROM-02).
    match index.identity.from_fields {
        0 => return Author::Nobody,
        1 => {}
        _ => return Author::Unclear,
    }
    let mut found: Option<Domain> = None;
    for EnvelopeAddress { mailbox, host, .. } in &index.envelope.from {
        // Groups have no host.
        let Some(host) = host else { continue };
        if host.is_empty() {
            // A display name with a comma that is not quoted, but for who takes it for an address.
            if mailbox.as_ref().is_some_and(|mailbox| mailbox.contains(&b'@')) {
                return Author::Unclear;
            }
            continue;
        }
        // RFC 1034 3.1: a dot at the end is the root's, and the name is the same.
        let domain = std::str::from_utf8(host).ok().map(str::trim).and_then(|h| Domain::parse(h.strip_suffix('.').unwrap_or(h)).ok());
        match (domain, &found) {
            (Some(domain), None) => found = Some(domain),
            (Some(domain), Some(other)) if domain == *other => {}
            // Many a reader finds a domain in what is none, and it may be ours (attack case RLY-04).
            _ => return Author::Unclear,
        }
    }
    found.filter(|domain| !domain.is_literal()).map_or(Author::Nobody, Author::One)
}

/// The index may not have all that From says.
fn cuts_author(header: &Header<'_>, index: &MessageIndex) -> bool {
    header.named("from").any(|field| field.value.len() >= MAX_FROM) || index.envelope.from.len() >= MAX_ADDRESSES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a field for the index is what is looked at here.
    #[test]
    fn an_author_is_read_whole() {
        assert_eq!(MAX_FROM, pure_mime::limits::MAX_VALUE);
    }
}
