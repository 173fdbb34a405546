//! DKIM signatures in front of a message that is about to leave, or the ARC set of one that is passed on.

use super::{Sender, verdict::local};
use crate::{ask::ask, spool::Record};
use pure_addr::{Address, Domain};
use pure_index::judgement::{ArcResult, MAX_ARC_SETS};
use serde_bytes::ByteBuf;
use wire::{
    SealedMessage,
    edge::{
        keys_dkim::{Request, Response, Seal, SigningInput},
        send_deliver::{Status, Trace},
    },
};

/// As many as an answer holds.
const SIGNATURES: [&str; 4] = ["DKIM-Signature"; 4];
/// RFC 8617 4.1, the last one written first.
const ARC_SET: [&str; 3] = ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"];

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
            Ok(Response::Signatures(signatures)) => in_front(&signatures, &SIGNATURES, prefix).ok_or_else(unsigned),
            Ok(Response::NotOurs) => Ok(prefix),
            Ok(Response::Unavailable) => Err(unsigned()),
            Err(error) => {
                tracing::warn!(%error, "keys cannot be asked");
                Err(unsigned())
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
            Ok(Response::Signatures(fields)) => in_front(&fields, &ARC_SET, prefix).ok_or_else(unsealed),
            Ok(Response::NotOurs) => Ok(prefix),
            Ok(Response::Unavailable) => Err(unsealed()),
            Err(error) => {
                tracing::warn!(%error, "keys cannot be asked");
                Err(unsealed())
            }
        }
    }
}

/// Puts what `keys` has signed in front, if it is fields of these names and nothing else: keys knows the keys, and writes no mail.
fn in_front(fields: &[ByteBuf], names: &[&str], prefix: Vec<u8>) -> Option<Vec<u8>> {
    if fields.len() > names.len() || fields.iter().zip(names).any(|(field, name)| !is_field(field, name)) {
        tracing::error!("keys answered with something that is no signature");
        return None;
    }
    let mut out: Vec<u8> = fields.iter().flat_map(|field| field.iter().copied()).collect();
    out.extend_from_slice(&prefix);
    Some(out)
}

fn unsigned() -> Trace {
    local(Status(4, 3, 0), "the message cannot be signed now")
}

fn unsealed() -> Trace {
    local(Status(4, 3, 0), "the message cannot be sealed now")
}

/// Whether this is one header field of that name (RFC 5322 2.2), in ASCII; a line after its first is a folded one, and not empty.
fn is_field(field: &[u8], name: &str) -> bool {
    let Ok(field) = str::from_utf8(field) else { return false };
    let Some(body) = field.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')).and_then(|rest| rest.strip_suffix("\r\n")) else {
        return false;
    };
    let printable = |line: &str| line.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) && !line.trim_ascii().is_empty();
    body.split("\r\n").enumerate().all(|(at, line)| printable(line) && (at == 0 || line.starts_with([' ', '\t'])))
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

    /// What an owned `keys` may say.
    #[test]
    fn a_signature_is_one_field_and_nothing_else() {
        let put = |fields: &[&str], names: &[&str]| {
            let fields: Vec<ByteBuf> = fields.iter().map(|field| ByteBuf::from(field.as_bytes())).collect();
            in_front(&fields, names, b"Received: x\r\n".to_vec()).map(|out| String::from_utf8(out).unwrap())
        };
        let good = "DKIM-Signature: v=1;\r\n\tb=x;\r\n  d=mta.test\r\n";
        assert_eq!(put(&[good, good], &SIGNATURES).unwrap(), format!("{good}{good}Received: x\r\n"));
        assert_eq!(put(&[], &SIGNATURES).unwrap(), "Received: x\r\n");
        let sealed = ["ARC-Seal: x\r\n", "ARC-Message-Signature: x\r\n", "ARC-Authentication-Results: x\r\n"];
        assert!(put(&sealed, &ARC_SET).is_some());
        assert!(put(&[sealed[1]], &ARC_SET).is_none() && put(&sealed, &SIGNATURES).is_none() && put(&[good; 5], &SIGNATURES).is_none());
        for bad in [
            "From: ceo@mta.test\r\nTo: x@y.test\r\n\r\nPlease pay\r\n",
            "DKIM-Signature: v=1\r\nFrom: ceo@mta.test\r\n",
            "DKIM-Signature: v=1\r\n\r\n",
            "DKIM-Signature: v=1\r\n \r\n",
            "DKIM-Signature: v=1\r\n\r\nPlease pay\r\n",
            "DKIM-Signature: v=1\nFrom: x\r\n",
            "DKIM-Signature: v=1\rFrom: x\r\n",
            "DKIM-Signature: v=\u{e9}\r\n",
            "DKIM-Signature: v=\0\r\n",
            "DKIM-Signature:\r\n",
            "DKIM-Signature: v=1",
            "DKIM-Signature : v=1\r\n",
            "dkim-signature: v=1\r\n",
            "",
        ] {
            assert_eq!(put(&[good, bad], &SIGNATURES), None, "{bad:?}");
        }
    }

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
