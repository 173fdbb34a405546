//! A DNS of recorded answers, and a signer of its own.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64;
use pure_addr::{Address, Domain, ReversePath};
use pure_dkim::{
    Algorithm, BodyHash, Form, SignedHeader, Signer,
    arc::{Chain, OlderSet, Validation},
    body_hash, fields, relax,
};
use pure_index::judgement::Judgement;
use pure_mailauth::{Answer, Answers, Connection, Inspection, Question};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, fmt::Write};

/// After the signatures of RFC 8463.
const NOW: i64 = 1_795_000_000;

#[derive(Default)]
pub(crate) struct World(HashMap<Question, Answer>);

#[derive(Clone, Copy)]
pub(crate) struct Mail {
    pub(crate) peer: &'static str,
    pub(crate) from: Option<&'static str>,
    pub(crate) helo: &'static str,
}

impl Default for Mail {
    fn default() -> Self {
        Self { peer: "192.0.2.1", from: Some("bounce@other.test"), helo: "mx.other.test" }
    }
}

pub(crate) struct Key {
    pair: Ed25519KeyPair,
    selector: &'static str,
    domain: Domain,
}

fn texts(name: &str) -> Question {
    Question::Texts(Domain::parse(name).unwrap().into())
}

impl World {
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        let Answer::Texts(list) = self.0.entry(texts(name)).or_insert(Answer::Texts(Vec::new())) else { panic!("not texts") };
        list.push(text.to_owned());
    }

    pub(crate) fn replace(&mut self, name: &str, text: &str) {
        self.0.insert(texts(name), Answer::Texts(vec![text.to_owned()]));
    }

    pub(crate) fn down(&mut self, name: &str) {
        self.0.insert(texts(name), Answer::Unavailable);
    }

    /// A new key, published.
    pub(crate) fn key(&mut self, selector: &'static str, domain: &str) -> Key {
        let pair = Ed25519KeyPair::generate().unwrap();
        let record = format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(pair.public_key().as_ref()));
        self.text(&format!("{selector}._domainkey.{domain}"), &record);
        Key { pair, selector, domain: Domain::parse(domain).unwrap() }
    }

    pub(crate) fn judge(&self, message: &[u8], mail: &Mail) -> Judgement {
        self.judge_counting(message, mail).0
    }

    /// And how many questions each round had.
    pub(crate) fn judge_counting(&self, message: &[u8], mail: &Mail) -> (Judgement, Vec<usize>) {
        let reverse_path = mail.from.map_or(ReversePath::Null, |from| ReversePath::Address(Address::parse(from).unwrap()));
        let connection = Connection { peer: mail.peer.parse().unwrap(), helo: mail.helo, reverse_path: &reverse_path };
        let host = Domain::parse("mx.us.test").unwrap();
        let mut inspection = Inspection::read(message, &pure_mime::index(message), connection, &host, NOW);
        let mut answers = Answers::default();
        let mut rounds = Vec::new();
        loop {
            if let Some(judgement) = inspection.judge(&mut answers) {
                return (judgement, rounds);
            }
            let wanted = answers.wanted();
            assert!(!wanted.is_empty(), "neither an outcome nor a question");
            rounds.push(wanted.len());
            for question in wanted {
                let answer = self.0.get(&question).cloned().unwrap_or(Answer::Nothing);
                answers.answer(question, answer);
            }
        }
    }
}

/// The message with a signature in front that has these tags; `h` are names that each stand once in it. Written down a second time, apart
/// from the code that is tested.
pub(crate) fn sign(key: &Key, message: &str, tags: &str, h: &str) -> String {
    let (header, body) = fields::split(message.as_bytes());
    let forms = tags.split("c=").nth(1).map_or("simple/simple", |c| c.split(';').next().unwrap());
    let (header_form, body_form) = forms.split_once('/').unwrap_or((forms, "simple"));
    let mut hash = BodyHash::new(if body_form == "relaxed" { Form::Relaxed } else { Form::Simple });
    hash.push(body);
    let text = format!("DKIM-Signature: {tags}\r\n\th={h}; bh={}; b=", BASE64.encode(&hash.finish()));
    let mut input = String::new();
    for name in h.split(':') {
        let line = std::str::from_utf8(header).unwrap().lines().find(|l| l.to_lowercase().starts_with(&format!("{name}:"))).unwrap();
        if header_form == "relaxed" {
            let (name, value) = line.split_once(':').unwrap();
            let _ = write!(input, "{}:{}\r\n", name.to_lowercase(), value.trim());
        } else {
            let _ = write!(input, "{line}\r\n");
        }
    }
    if header_form == "relaxed" {
        let value = relax(text.split_once(':').unwrap().1.as_bytes());
        let _ = write!(input, "dkim-signature:{}", String::from_utf8(value).unwrap());
    } else {
        input.push_str(&text);
    }
    let signature = key.pair.sign(&Sha256::digest(input.as_bytes()));
    format!("{text}{}\r\n{message}", BASE64.encode(signature.as_ref()))
}

/// The message with one more ARC set, which says that what was there holds.
pub(crate) fn seal(key: &Key, message: &str, results: &str) -> String {
    let (header, body) = fields::split(message.as_bytes());
    let header = std::str::from_utf8(header).unwrap();
    // Our own fields: the newest set stands first.
    let raw = |name: &str| {
        let mut out = Vec::new();
        for (at, _) in header.match_indices(&format!("{name}:")) {
            let rest = &header[at + name.len() + 1..];
            let mut end = 0;
            for line in rest.split_inclusive("\r\n") {
                if end > 0 && !line.starts_with([' ', '\t']) {
                    break;
                }
                end += line.len();
            }
            out.push(relax(&rest.as_bytes()[..end]));
        }
        out
    };
    let (r, m, s) = (raw("ARC-Authentication-Results"), raw("ARC-Message-Signature"), raw("ARC-Seal"));
    let older: Vec<OlderSet<'_>> =
        r.iter().zip(&m).zip(&s).rev().map(|((results, message), seal)| OlderSet { results, message, seal }).collect();
    let validation = if older.is_empty() { Validation::None } else { Validation::Pass };
    let chain = Chain::check(older, validation).unwrap();
    let fields = fields::to_sign(b"", header.as_bytes()).unwrap();
    let checked = SignedHeader::check(fields.iter().map(|f| (f.name.as_str(), f.value.as_deref()))).unwrap();
    seal_over(key, message, body, &chain, &checked, results)
}

/// The same with a first set that covers these names of the message, each of which stands there once, and no more.
pub(crate) fn seal_once(key: &Key, message: &str, results: &str, h: &str) -> String {
    let (header, body) = fields::split(message.as_bytes());
    let header = std::str::from_utf8(header).unwrap();
    let value = |name: &str| {
        let line = header.lines().find(|l| l.to_lowercase().starts_with(&format!("{name}:"))).unwrap();
        relax(line.split_once(':').unwrap().1.as_bytes())
    };
    let fields: Vec<(&str, Vec<u8>)> = h.split(':').map(|name| (name, value(name))).collect();
    let checked = SignedHeader::check(fields.iter().map(|(name, value)| (*name, Some(value.as_slice())))).unwrap();
    seal_over(key, message, body, &Chain::check(vec![], Validation::None).unwrap(), &checked, results)
}

fn seal_over(key: &Key, message: &str, body: &[u8], chain: &Chain<'_>, checked: &SignedHeader<'_>, results: &str) -> String {
    let signer = Signer { algorithm: Algorithm::Ed25519Sha256, domain: &key.domain, selector: key.selector, time: 7 };
    let results = chain.results(results).unwrap();
    let by = |unsigned: pure_dkim::Unsigned| {
        let signature = key.pair.sign(&Sha256::digest(unsigned.input()));
        unsigned.finish(signature.as_ref())
    };
    let signature = by(chain.message(checked, &body_hash(body), &signer).unwrap());
    let seal = by(chain.seal(&results, &signature, &signer).unwrap());
    format!("{}{}{results}{message}", String::from_utf8(seal).unwrap(), String::from_utf8(signature).unwrap())
}
