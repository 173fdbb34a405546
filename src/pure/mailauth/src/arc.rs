//! The ARC chain of a message (RFC 8617 5.2).

use crate::{
    answers::{Answers, Pending},
    authres,
    header::{Field, Form, Header},
    limits::{MAX_ARC_KEYS, MAX_CHAIN},
    signature::{self, Body, Kind, Open, Signer},
    tags::{Tags, trim},
};
use pure_addr::Domain;
use pure_dkim::relax;
use pure_index::MessageIndex;
use pure_index::judgement::{Arc, ArcResult, DkimResult, MAX_ARC_SETS, Seal};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// The fields of a set (RFC 8617 4.1), in the order in which they are sealed (RFC 8617 5.1.1).
const FIELDS: [&str; 3] = ["arc-authentication-results", "arc-message-signature", "arc-seal"];

/// A chain, as far as the message itself decides it.
#[derive(Debug)]
pub(crate) struct Chain {
    state: State,
    /// [`Arc::instance`].
    instance: Option<u8>,
}

#[derive(Debug)]
enum State {
    Done(Arc),
    Open {
        /// The last signature of the message, and every seal, oldest first.
        open: Vec<Open>,
        seals: Vec<Seal>,
    },
}

/// One set.
struct Set<'h, 'a> {
    results: &'h Field<'a>,
    message: &'h Field<'a>,
    seal: &'h Field<'a>,
}

/// Why a chain does not hold, found without a key. [`Arc::instance`] is the value.
struct Broken(Option<u8>);

impl Chain {
    pub(crate) fn read(header: &Header<'_>, body: &mut Body<'_>, now: i64) -> Self {
        if FIELDS.iter().all(|name| header.named(name).next().is_none()) {
            return Self::done(ArcResult::None, None);
        }
        match examine(header, body, now) {
            Ok((open, seals)) => {
                let instance = u8::try_from(seals.len()).ok();
                Self { state: State::Open { open, seals }, instance }
            }
            Err(Broken(instance)) => Self::done(ArcResult::Fail, instance),
        }
    }

    fn done(result: ArcResult, instance: Option<u8>) -> Self {
        Self { state: State::Done(Arc { result, instance, seals: Vec::new() }), instance }
    }

    /// The same each time once it is known: what else is open of the message may take longer.
    pub(crate) fn judge(&mut self, answers: &mut Answers) -> Result<Arc, Pending> {
        let arc = match &mut self.state {
            State::Done(arc) => return Ok(arc.clone()),
            State::Open { open, seals } => {
                let result = verify(open, answers)?;
                let seals = if result == ArcResult::Pass { std::mem::take(seals) } else { Vec::new() };
                Arc { result, instance: self.instance, seals }
            }
        };
        self.state = State::Done(arc.clone());
        Ok(arc)
    }
}

/// The values of each set in relaxed form, instance 1 first: what the next set seals. None when they are no chain, or are too long for one.
pub fn older(message: &[u8], index: &MessageIndex) -> Vec<[Vec<u8>; 3]> {
    let header = Header::of(message, index);
    let mut all = Vec::new();
    let mut bytes = 0usize;
    for Set { results, message, seal } in sets(&header).unwrap_or_default() {
        let set = [results, message, seal].map(|field| relax(field.value));
        bytes = set.iter().fold(bytes, |sum, value| sum.saturating_add(value.len()));
        all.push(set);
    }
    if bytes > MAX_CHAIN || all.len() >= MAX_ARC_SETS { Vec::new() } else { all }
}

fn verify(open: &[Open], answers: &mut Answers) -> Result<ArcResult, Pending> {
    let keys: HashSet<&Domain> = open.iter().map(|open| &open.key).collect();
    if keys.len() > MAX_ARC_KEYS {
        return Ok(ArcResult::TempError);
    }
    // All keys are asked for at once, and nothing is computed before all are there: this is called again for each answer.
    let answered: Vec<bool> = open.iter().map(|open| open.has_answer(answers)).collect();
    if answered.contains(&false) {
        return Err(Pending);
    }
    let results = open.iter().map(|open| open.verify(answers)).collect::<Result<Vec<DkimResult>, Pending>>()?;
    Ok(if results.iter().all(|r| *r == DkimResult::Pass) {
        ArcResult::Pass
    } else if results.iter().all(|r| matches!(r, DkimResult::Pass | DkimResult::TempError)) {
        ArcResult::TempError
    } else {
        ArcResult::Fail
    })
}

/// RFC 8617 5.2, steps 2 to 6 without the keys. Older signatures of the message are not looked at (step 5 leaves that open).
fn examine(header: &Header<'_>, body: &mut Body<'_>, now: i64) -> Result<(Vec<Open>, Vec<Seal>), Broken> {
    let sets = sets(header).ok_or(Broken(None))?;
    let count = u8::try_from(sets.len()).ok();
    let mut tags = Vec::new();
    for set in &sets {
        tags.push(signature::tags(set.seal).map_err(|_| Broken(None))?);
    }
    // RFC 8617 5.1: nothing is added behind a chain whose end says that it failed.
    let instance = count.filter(|_| tags.last().is_some_and(|last| last.get("cv") != Some("fail")));
    let broken = || Broken(instance);
    for (number, tags) in tags.iter().enumerate() {
        if tags.get("cv") != Some(if number == 0 { "none" } else { "pass" }) {
            return Err(broken());
        }
    }
    let last = sets.last().ok_or_else(broken)?;
    let message = signature::tags(last.message).map_err(|_| broken())?;
    let signer = Signer::of(&message).ok_or_else(broken)?;
    let mut open = vec![signature::read(Kind::Arc, header, last.message, &message, &signer, body, now).map_err(|_| broken())?];
    let mut seals = Vec::new();
    // What every seal covers of the sets before its own.
    let mut before = Sha256::new();
    for (set, tags) in sets.iter().zip(&tags) {
        let signer = seal(tags).ok_or_else(broken)?;
        before.update(set.results.canonical(Form::Relaxed));
        before.update(set.message.canonical(Form::Relaxed));
        let mut digest = before.clone();
        digest.update(set.seal.unsigned(Form::Relaxed));
        before.update(set.seal.canonical(Form::Relaxed));
        open.push(Open {
            key: signer.key().ok_or_else(broken)?,
            algorithm: signer.algorithm.map_err(|_| broken())?,
            digest: digest.finalize().into(),
            signature: signer.signature,
            below: false,
            at_best: DkimResult::Pass,
        });
        seals.push(Seal { domain: signer.domain, passed: authres::says_dmarc_passed(payload(set.results)) });
    }
    Ok((open, seals))
}

/// RFC 8617 4.1.3: there is no `h=`, which would say that something else is covered, and no `bh=`.
fn seal(tags: &Tags<'_>) -> Option<Signer> {
    if tags.get("h").is_some() || tags.get("bh").is_some() {
        return None;
    }
    Signer::of(tags)
}

/// The sets, instance 1 first. None unless each has its three fields once, and none is left out (RFC 8617 5.2 step 3).
fn sets<'h, 'a>(header: &'h Header<'a>) -> Option<Vec<Set<'h, 'a>>> {
    let [results, message, seal] = FIELDS;
    let count = header.named(seal).count();
    if count == 0 || count > MAX_ARC_SETS {
        return None;
    }
    let ordered = |name: &str, instance: fn(&Field<'_>) -> Option<usize>| {
        let mut places: Vec<Option<&'h Field<'a>>> = vec![None; count];
        for field in header.named(name) {
            let place = places.get_mut(instance(field)?.checked_sub(1)?)?;
            if place.replace(field).is_some() {
                return None;
            }
        }
        places.into_iter().collect::<Option<Vec<_>>>()
    };
    let tagged = |field: &Field<'_>| number(signature::tags(field).ok()?.get("i")?);
    let (results, message, seal) = (ordered(results, |field| split(field).0)?, ordered(message, tagged)?, ordered(seal, tagged)?);
    let sets = results.into_iter().zip(message).zip(seal);
    Some(sets.map(|((results, message), seal)| Set { results, message, seal }).collect())
}

/// Instance and payload of an `ARC-Authentication-Results` (RFC 8617 4.1.1).
fn split<'a>(field: &Field<'a>) -> (Option<usize>, &'a str) {
    let Ok(text) = std::str::from_utf8(field.value) else { return (None, "") };
    let Some((first, payload)) = text.split_once(';') else { return (None, "") };
    let instance = first.split_once('=').filter(|(name, _)| trim(name) == "i").and_then(|(_, value)| number(trim(value)));
    (instance, payload)
}

fn payload<'a>(field: &Field<'a>) -> &'a str {
    split(field).1
}

/// RFC 8617 4.2.1: from 1 to 50.
fn number(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|n| (1..=MAX_ARC_SETS).contains(n))
}
