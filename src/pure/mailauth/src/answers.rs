//! Questions about names, and what is known of their answers.

use crate::limits::MAX_QUESTIONS;
use pure_addr::{Domain, QueryName};
use std::{collections::HashMap, net::IpAddr};

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// TXT.
    Texts(QueryName),
    /// A.
    Ipv4(QueryName),
    /// AAAA.
    Ipv6(QueryName),
    /// MX.
    Exchanges(QueryName),
    /// PTR.
    Names(IpAddr),
}

/// What the answer may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The character-strings of each record joined (RFC 7208 3.3, RFC 6376 3.6.2.2).
    Texts(Vec<String>),
    /// Of the family that was asked for, in no order.
    Addresses(Vec<IpAddr>),
    /// Most preferred first; a null MX (RFC 7505) is left out.
    Exchanges(Vec<Domain>),
    /// In no order.
    Names(Vec<Domain>),
    /// There is no such record.
    Nothing,
    /// It cannot be known now, or what is said is proven to be false.
    Unavailable,
}

/// The answer is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending;

/// What is known about names for one message.
#[derive(Debug, Default)]
pub struct Answers {
    known: HashMap<Question, Answer>,
    wanted: Vec<Question>,
}

const UNAVAILABLE: Answer = Answer::Unavailable;

impl Answers {
    /// The questions that came up since this was last called, none twice. What is not answered comes up again.
    pub fn wanted(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.wanted)
    }

    /// Says an answer.
    pub fn answer(&mut self, question: Question, answer: Answer) {
        self.known.insert(question, answer);
    }

    /// Takes back a question that cannot be answered yet.
    pub fn want(&mut self, question: Question) {
        if !self.wanted.contains(&question) {
            self.wanted.push(question);
        }
    }

    pub(crate) fn get(&mut self, question: Question) -> Result<&Answer, Pending> {
        if self.known.contains_key(&question) {
            return Ok(self.known.get(&question).unwrap_or(&UNAVAILABLE));
        }
        if !self.wanted.contains(&question) {
            if self.known.len().saturating_add(self.wanted.len()) >= MAX_QUESTIONS {
                return Ok(&UNAVAILABLE);
            }
            self.wanted.push(question);
        }
        Err(Pending)
    }
}
