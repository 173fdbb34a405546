//! A signature over a message: `DKIM-Signature` (RFC 6376 3.5) and, with a little less, `ARC-Message-Signature` (RFC 8617 4.1.2).

use crate::{
    answers::{Answer, Answers, Pending, Question},
    header::{Field, Form, Header},
    key,
    limits::{MAX_SIGNATURE, MAX_SIGNED_BYTES, MAX_SIGNED_FIELDS},
    tags::{NoTags, Tags},
};
use data_encoding::BASE64;
use pure_addr::Domain;
use pure_dkim::{Algorithm, BodyHash};
use pure_index::judgement::{DkimResult, Selector};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// A body in both forms, each hashed when first asked for: its hash and its length.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    bytes: &'a [u8],
    hashes: HashMap<Form, ([u8; 32], u64)>,
}

impl<'a> Body<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, hashes: HashMap::new() }
    }

    fn hash(&mut self, form: Form) -> ([u8; 32], u64) {
        let bytes = self.bytes;
        *self.hashes.entry(form).or_insert_with(|| {
            let mut hash = BodyHash::new(form);
            hash.push(bytes);
            hash.finish_with_length()
        })
    }
}

/// A signature that only its key has to say something of: small, whatever it covers.
#[derive(Debug)]
pub(crate) struct Open {
    /// Where the key is.
    pub(crate) key: Domain,
    pub(crate) algorithm: Algorithm,
    /// SHA-256 of what is signed.
    pub(crate) digest: [u8; 32],
    pub(crate) signature: Vec<u8>,
    /// `i=` is of a subdomain of `d=`.
    pub(crate) below: bool,
    /// What it comes to when the key says that it holds.
    pub(crate) at_best: DkimResult,
}

impl Open {
    /// Whether its key has been asked for and answered; asks for it otherwise.
    pub(crate) fn has_answer(&self, answers: &mut Answers) -> bool {
        answers.get(self.question()).is_ok()
    }

    fn question(&self) -> Question {
        Question::Texts(self.key.clone().into())
    }

    pub(crate) fn verify(&self, answers: &mut Answers) -> Result<DkimResult, Pending> {
        Ok(match answers.get(self.question())? {
            Answer::Texts(records) => {
                let signed = key::Signed { algorithm: self.algorithm, digest: &self.digest, signature: &self.signature, below: self.below };
                match key::verify(records, &signed) {
                    DkimResult::Pass => self.at_best,
                    other => other,
                }
            }
            Answer::Unavailable => DkimResult::TempError,
            _ => DkimResult::PermError,
        })
    }
}

/// What the tags say that every kind of signature has: `a`, `b`, `d`, `s`.
pub(crate) struct Signer {
    pub(crate) domain: Domain,
    pub(crate) selector: Selector,
    pub(crate) algorithm: Result<Algorithm, DkimResult>,
    pub(crate) signature: Vec<u8>,
}

impl Signer {
    pub(crate) fn of(tags: &Tags<'_>) -> Option<Self> {
        // RFC 8616 4: U-labels are the same name as their A-labels.
        let domain = name(tags.get("d")?)?;
        let selector = Selector::parse(tags.get("s")?)?;
        let algorithm = match tags.get("a")? {
            "rsa-sha256" => Ok(Algorithm::RsaSha256),
            "ed25519-sha256" => Ok(Algorithm::Ed25519Sha256),
            // RFC 8301 3.1: it must not be verified.
            "rsa-sha1" => Err(DkimResult::Policy),
            _ => Err(DkimResult::PermError),
        };
        let signature = BASE64.decode(tags.compact("b")?.as_bytes()).ok().filter(|b| !b.is_empty() && b.len() <= MAX_SIGNATURE)?;
        Some(Self { domain, selector, algorithm, signature })
    }

    /// RFC 6376 3.6.2.1. None when there can be no such name.
    pub(crate) fn key(&self) -> Option<Domain> {
        Domain::parse(&format!("{}._domainkey.{}", self.selector.as_str(), self.domain)).ok()
    }
}

/// A domain name; an address literal is none.
pub(crate) fn name(text: &str) -> Option<Domain> {
    let text = text.strip_suffix('.').unwrap_or(text);
    Domain::parse(text).ok().filter(|domain| !domain.is_literal())
}

/// The tags of a field, if it holds any.
pub(crate) fn tags<'a>(field: &Field<'a>) -> Result<Tags<'a>, NoTags> {
    Tags::parse(std::str::from_utf8(field.value).map_err(|_| NoTags)?)
}

/// Which kind of signature it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dkim,
    /// RFC 8617 4.1.2: it has an instance instead of a version, and knows no identity.
    Arc,
}

/// A signature with these tags: what it is already, or what its key has to say.
pub(crate) fn read(
    kind: Kind,
    header: &Header<'_>,
    field: &Field<'_>,
    tags: &Tags<'_>,
    signer: &Signer,
    body: &mut Body<'_>,
    now: i64,
) -> Result<Open, DkimResult> {
    const MALFORMED: DkimResult = DkimResult::PermError;
    let algorithm = signer.algorithm?;
    let key = signer.key().ok_or(MALFORMED)?;
    if kind == Kind::Dkim && tags.get("v") != Some("1") {
        return Err(MALFORMED);
    }
    // RFC 6376 3.5: it must be there if q= is, and is the only one that exists.
    if tags.compact("q").is_some_and(|q| !q.split(':').any(|method| method.eq_ignore_ascii_case("dns/txt"))) {
        return Err(MALFORMED);
    }
    let below = match tags.get("i").filter(|_| kind == Kind::Dkim) {
        None => false,
        Some(identity) => {
            let (_, of) = identity.rsplit_once('@').ok_or(MALFORMED)?;
            let of = name(of).ok_or(MALFORMED)?;
            if !of.is_within(&signer.domain) {
                return Err(MALFORMED);
            }
            of != signer.domain
        }
    };
    let number = |tag: &str| match tags.get(tag) {
        None => Ok(None),
        // More digits than fit are later, or longer, than anything.
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(text.parse::<u64>().unwrap_or(u64::MAX))),
        Some(_) => Err(MALFORMED),
    };
    let (signed_at, expires) = (number("t")?, number("x")?);
    if let Some(expires) = expires {
        // RFC 6376 3.5: x= must be later than t=.
        if signed_at.is_some_and(|t| t > expires) {
            return Err(MALFORMED);
        }
        if i64::try_from(expires).unwrap_or(i64::MAX) < now {
            return Err(DkimResult::Fail);
        }
    }
    let (header_form, body_form) = forms(tags.get("c").unwrap_or("simple/simple")).ok_or(MALFORMED)?;
    let claimed = BASE64.decode(tags.compact("bh").ok_or(MALFORMED)?.as_bytes()).map_err(|_| MALFORMED)?;
    let signed: Vec<String> = tags.compact("h").ok_or(MALFORMED)?.split(':').map(str::to_ascii_lowercase).collect();
    // RFC 6376 5.4, RFC 8617 4.1.2.
    let covers = |name: &str| signed.iter().any(|s| s == name);
    if signed.len() > MAX_SIGNED_FIELDS || !covers("from") || (kind == Kind::Arc && covers("arc-seal")) {
        return Err(MALFORMED);
    }
    let (hash, length) = body.hash(body_form);
    // RFC 6376 8.2 (attack case DKIM-01): whoever passed the message on could have written what l= leaves out. Not even looked at.
    let at_best = match number("l")? {
        Some(limit) if limit < length => return Err(DkimResult::Policy),
        Some(limit) if limit > length => return Err(MALFORMED),
        _ => DkimResult::Pass,
    };
    if claimed != hash {
        return Err(DkimResult::Fail);
    }
    if shows_another(header, &signed) {
        return Err(DkimResult::Policy);
    }
    let digest = digest(header, field, &signed, header_form).ok_or(MALFORMED)?;
    Ok(Open { key, algorithm, digest, signature: signer.signature.clone(), below, at_best })
}

/// What stands once in a message that readers agree on (RFC 5322 3.6, RFC 2045 3).
const ONCE: [&str; 10] =
    ["from", "reply-to", "to", "cc", "subject", "date", "message-id", "mime-version", "content-type", "content-transfer-encoding"];

/// RFC 6376 8.15 (attack case DKIM-02): of a field that may stand once there is one that is covered and one that is not, and whoever reads
/// the message may be shown the other.
fn shows_another(header: &Header<'_>, signed: &[String]) -> bool {
    ONCE.iter().any(|name| {
        let covered = signed.iter().filter(|s| s == name).count();
        covered > 0 && header.named(name).count() > covered
    })
}

/// RFC 6376 3.7. None when it is too much.
fn digest(header: &Header<'_>, field: &Field<'_>, signed: &[String], form: Form) -> Option<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut bytes = 0usize;
    let mut used: HashMap<&str, usize> = HashMap::new();
    for name in signed {
        let instance = used.entry(name).or_insert(0);
        // RFC 6376 5.4: what is not there is hashed as nothing.
        let Some(found) = header.instance(name, *instance) else { continue };
        *instance = instance.saturating_add(1);
        let text = found.canonical(form);
        bytes = bytes.saturating_add(text.len());
        if bytes > MAX_SIGNED_BYTES {
            return None;
        }
        hash.update(&text);
    }
    hash.update(field.unsigned(form));
    Some(hash.finalize().into())
}

/// RFC 6376 3.5 `c=`: the body's form is simple when only one is named.
fn forms(text: &str) -> Option<(Form, Form)> {
    let form = |text: &str| match text {
        "simple" => Some(Form::Simple),
        "relaxed" => Some(Form::Relaxed),
        _ => None,
    };
    match text.split_once('/') {
        Some((header, body)) => Some((form(header)?, form(body)?)),
        None => Some((form(text)?, Form::Simple)),
    }
}
