//! DKIM signatures in front of a message that is about to leave, or the ARC set of one that is passed on.

use super::{Sender, verdict::local};
use crate::{ask::ask, spool::Record};
use pure_addr::{Address, Domain};
use pure_index::judgement::{ArcResult, MAX_ARC_SETS};
use wire::{
    SealedMessage,
    edge::{
        keys_dkim::{Request, Response, Seal, SigningInput},
        send_deliver::{Status, Trace},
    },
};

impl Sender {
    /// Puts signatures in front of the fields that will stand in front of the message; without any when the domain is not ours.
    pub(super) async fn sign(&self, record: &Record, message: &SealedMessage, prefix: Vec<u8>) -> Result<Vec<u8>, Trace> {
        let Some(domain) = record.sign_as.clone() else { return Ok(prefix) };
        // It may have been removed since the message came, and keys does not know what is hosted.
        match self.post.directory.hosts(&domain).await {
            Some(true) => {}
            Some(false) => return Ok(prefix),
            None => return Err(local(Status(4, 3, 0), "the directory cannot be asked for which domain to sign")),
        }
        let Some(input) = self.scan.to_sign(message, &prefix).await else {
            return Err(local(Status(4, 3, 0), "what to sign cannot be computed now"));
        };
        if !is_aligned(&input, &domain) {
            tracing::error!(%domain, "scan would have another author signed than the one who was admitted; not signed");
            return Ok(prefix);
        }
        let request = Request::Sign { domain, time: self.clock.now().div_euclid(1000), input };
        match ask(&self.keys, &request, &[]).await.map(|reply| reply.body) {
            Ok(Response::Signatures(signatures)) => {
                let mut out = Vec::new();
                for signature in &signatures {
                    out.extend_from_slice(signature);
                }
                out.extend_from_slice(&prefix);
                Ok(out)
            }
            Ok(Response::NotOurs) => Ok(prefix),
            Ok(Response::Unavailable) => Err(local(Status(4, 3, 0), "the message cannot be signed now")),
            Err(error) => {
                tracing::warn!(%error, "keys cannot be asked");
                Err(local(Status(4, 3, 0), "the message cannot be signed now"))
            }
        }
    }

    /// Puts an ARC set (RFC 8617 5.1) in front of the fields that will stand in front of a message that an alias passes on: what we found of
    /// it when it came. Without one when there is nothing that can be said, or nobody to say it for.
    pub(super) async fn seal(
        &self,
        record: &Record,
        alias: Option<&Address>,
        message: &SealedMessage,
        prefix: Vec<u8>,
    ) -> Result<Vec<u8>, Trace> {
        let (Some(alias), Some(judgement)) = (alias, &record.judgement) else { return Ok(prefix) };
        // What could not be known must not be said, and behind the end of a chain nothing is added (RFC 8617 5.1).
        let older = match (judgement.arc.result, judgement.arc.instance) {
            (ArcResult::None, _) => 0,
            (ArcResult::Pass | ArcResult::Fail, Some(instance)) if usize::from(instance) < MAX_ARC_SETS => usize::from(instance),
            _ => return Ok(prefix),
        };
        let domain = alias.domain.clone();
        match self.post.directory.hosts(&domain).await {
            Some(true) => {}
            Some(false) => return Ok(prefix),
            None => return Err(local(Status(4, 3, 0), "the directory cannot be asked for which domain to seal")),
        }
        // A message that cannot be signed goes as it is: a seal is help, not a promise.
        let Some((input, sets)) = self.scan.to_seal(message, &prefix).await.filter(|(_, sets)| sets.len() == older) else {
            tracing::info!(%domain, "passed on without a seal: what it is to cover cannot be said");
            return Ok(prefix);
        };
        let seal = Seal {
            domain,
            time: self.clock.now().div_euclid(1000),
            host: self.hostname.clone(),
            input,
            judgement: judgement.clone(),
            sets,
        };
        match ask(&self.keys, &Request::Seal(Box::new(seal)), &[]).await.map(|reply| reply.body) {
            Ok(Response::Signatures(fields)) => {
                let mut out: Vec<u8> = fields.iter().flat_map(|field| field.iter().copied()).collect();
                out.extend_from_slice(&prefix);
                Ok(out)
            }
            Ok(Response::NotOurs) => Ok(prefix),
            Ok(Response::Unavailable) => Err(local(Status(4, 3, 0), "the message cannot be sealed now")),
            Err(error) => {
                tracing::warn!(%error, "keys cannot be asked");
                Err(local(Status(4, 3, 0), "the message cannot be sealed now"))
            }
        }
    }
}

/// Whether the author that would be signed is of this domain (RFC 7489 3.1: DMARC's alignment, here without subdomains). No header is
/// read for that: the domain stands behind an `@`, and ends there.
fn is_aligned(input: &SigningInput, domain: &Domain) -> bool {
    let mut authors = input.fields.iter().filter(|f| f.name.as_str() == "from").filter_map(|f| f.value.as_ref());
    let (Some(author), None) = (authors.next(), authors.next()) else { return false };
    let author = String::from_utf8_lossy(author).to_lowercase();
    author.split('@').skip(1).any(|behind| {
        let end = behind.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))).unwrap_or(behind.len());
        behind.get(..end).and_then(|name| Domain::parse(name).ok()).as_ref() == Some(domain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_addr::Text;
    use wire::{List, edge::keys_dkim::SignedField};

    #[test]
    fn only_an_author_of_the_domain_is_signed_for_it() {
        let ours = Domain::parse("mta.test").unwrap();
        let aligned = |authors: &[&str]| {
            let field = |a: &&str| SignedField { name: Text::new("from").unwrap(), value: Some(a.as_bytes().to_vec().into()) };
            is_aligned(&SigningInput { body_hash: [0; 32], fields: List::new(authors.iter().map(field).collect()).unwrap() }, &ours)
        };
        for good in ["alice@mta.test", "Alice <Alice@MTA.test>", "x <x@other.test>, a@mta.test (me)"] {
            assert!(aligned(&[good]), "{good}");
        }
        for bad in ["alice@mta.test.evil", "alice@mta.tests", "alice@sub.mta.test", "mta.test", "", "a@mta.test-x", "@", "a@@mta.test."] {
            assert!(!aligned(&[bad]), "{bad}");
        }
        let umlaut = Domain::parse("xn--bcher-kva.test").unwrap();
        let from = SignedField { name: Text::new("from").unwrap(), value: Some("a@B\u{fc}cher.test".as_bytes().to_vec().into()) };
        assert!(is_aligned(&SigningInput { body_hash: [0; 32], fields: List::new(vec![from]).unwrap() }, &umlaut));
        assert!(!aligned(&[]) && !aligned(&["a@mta.test", "a@mta.test"]));
    }
}
