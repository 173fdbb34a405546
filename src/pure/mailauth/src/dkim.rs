//! The signatures of a message (RFC 6376 6).

use crate::{
    answers::{Answers, Pending},
    header::Header,
    signature::{self, Body, Kind, Open, Signer},
};
use pure_addr::Domain;
use pure_index::judgement::{Dkim, DkimResult, MAX_SIGNATURES, Selector};

/// One signature, as far as the message itself decides it.
#[derive(Debug)]
pub(crate) struct Signature {
    domain: Option<Domain>,
    selector: Option<Selector>,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(Open),
    Done(DkimResult),
}

/// The first signatures of a message.
pub(crate) fn read(header: &Header<'_>, body: &mut Body<'_>, now: i64) -> Vec<Signature> {
    let one = |field| {
        let malformed = Signature { domain: None, selector: None, state: State::Done(DkimResult::PermError) };
        let Ok(tags) = signature::tags(field) else { return malformed };
        let Some(signer) = Signer::of(&tags) else { return malformed };
        let state = match signature::read(Kind::Dkim, header, field, &tags, &signer, body, now) {
            Ok(open) => State::Open(open),
            Err(result) => State::Done(result),
        };
        Signature { domain: Some(signer.domain), selector: Some(signer.selector), state }
    };
    header.named("dkim-signature").take(MAX_SIGNATURES).map(one).collect()
}

impl Signature {
    pub(crate) fn judge(&mut self, answers: &mut Answers) -> Result<Dkim, Pending> {
        if let State::Open(open) = &self.state {
            self.state = State::Done(open.verify(answers)?);
        }
        let result = match self.state {
            State::Done(result) => result,
            State::Open(_) => DkimResult::TempError,
        };
        Ok(Dkim { result, domain: self.domain.clone(), selector: self.selector.clone() })
    }
}
