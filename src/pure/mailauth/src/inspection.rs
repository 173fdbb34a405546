//! One message and the connection that brought it.

use crate::{
    answers::{Answers, Pending},
    arc::Chain,
    authres,
    dkim::{self, Signature},
    dmarc::{self, Identifier, IdentifierKind, Passed},
    header::Header,
    signature::{Body, name},
    spf::{Check, Sender},
};
use pure_addr::{Domain, ReversePath};
use pure_index::{
    MAX_FIELDS, MessageIndex, Span,
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
    /// There is none.
    Nobody,
    One(Domain),
    /// Several, or what cannot be read (RFC 9989 5.3.1).
    Unclear,
}

impl Inspection {
    /// Reads a message that came over this connection to `host`, which is us; `now` is seconds since 1970. `index` is that of the same
    /// message.
    pub fn read(message: &[u8], index: &MessageIndex, connection: Connection<'_>, host: &Domain, now: i64) -> Self {
        let header = Header::of(message, index);
        let start = index.structure.root().map_or(0, |root| root.body.start);
        let mut body = Body::new(usize::try_from(start).ok().and_then(|start| message.get(start..)).unwrap_or_default());
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
            overflow: more || header.fields().len() >= MAX_FIELDS,
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
    let mut author = Author::Nobody;
    // Groups have no host.
    for host in index.envelope.from.iter().filter_map(|address| address.host.as_ref()) {
        let domain = std::str::from_utf8(host).ok().map(str::trim).and_then(|host| Domain::parse(host).ok());
        author = match (domain, author) {
            (Some(domain), author) if domain.is_literal() => author,
            (Some(domain), Author::Nobody) => Author::One(domain),
            (Some(domain), Author::One(other)) if domain == other => Author::One(other),
            _ => return Author::Unclear,
        };
    }
    author
}
