//! `check_host()` (RFC 7208 4).

use super::{
    macros::{MacroString, Values},
    record::{Mechanism, Policy, Prefixes, is_spf},
};
use crate::{
    answers::{Answer, Answers, Pending, Question},
    limits::{MAX_SPF_LOOKUPS, MAX_SPF_NAMES, MAX_SPF_VOID},
};
use pure_addr::{Domain, QueryName};
use pure_index::judgement::SpfResult;
use std::net::IpAddr;

/// Whose policy is asked (RFC 7208 2.4: without a local part it is "postmaster").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) local: String,
    pub(crate) domain: Domain,
}

/// One check. It may be begun again with more answers as often as it takes.
#[derive(Debug)]
pub(crate) struct Check {
    peer: IpAddr,
    helo: String,
    sender: Sender,
    done: Option<SpfResult>,
}

impl Check {
    pub(crate) fn new(peer: IpAddr, helo: &str, sender: Sender) -> Self {
        // RFC 7208 5: an IPv4-mapped address is an IPv4 address.
        Self { peer: peer.to_canonical(), helo: helo.to_owned(), sender, done: None }
    }

    pub(crate) fn domain(&self) -> &Domain {
        &self.sender.domain
    }

    pub(crate) fn run(&mut self, answers: &mut Answers) -> Result<SpfResult, Pending> {
        if let Some(done) = self.done {
            return Ok(done);
        }
        let result = match self.walk(answers) {
            Ok(result) | Err(Stop::With(result)) => result,
            Err(Stop::Pending) => return Err(Pending),
        };
        self.done = Some(result);
        Ok(result)
    }

    /// One policy after the other, includes on a stack of their own.
    fn walk(&self, answers: &mut Answers) -> Result<SpfResult, Stop> {
        // RFC 7208 4.3: a name of one label, or none at all.
        if !self.sender.domain.as_str().contains('.') {
            return Ok(SpfResult::None);
        }
        let mut spent = Spent::default();
        let domain = QueryName::from(self.sender.domain.clone());
        let Some(policy) = policy_of(&domain, answers)? else { return Ok(SpfResult::None) };
        let mut frames = vec![Frame::new(domain, policy)];
        loop {
            let Some(frame) = frames.last_mut() else { return Ok(SpfResult::PermError) };
            let result = match self.step(frame, &mut spent, answers)? {
                Step::Next => continue,
                Step::Include(domain) => {
                    // RFC 7208 5.2: without a policy there it is a mistake.
                    let policy = policy_of(&domain, answers)?.ok_or(Stop::With(SpfResult::PermError))?;
                    frames.push(Frame::new(domain, policy));
                    continue;
                }
                Step::Redirect(domain) => {
                    // RFC 7208 6.1: the same.
                    let policy = policy_of(&domain, answers)?.ok_or(Stop::With(SpfResult::PermError))?;
                    *frame = Frame::new(domain, policy);
                    continue;
                }
                Step::Done(result) => result,
            };
            frames.pop();
            let Some(outer) = frames.last_mut() else { return Ok(result) };
            // RFC 7208 5.2: only what passes there matches here. What went wrong there has ended all.
            outer.included = result == SpfResult::Pass;
        }
    }

    /// The next directive of a policy.
    fn step(&self, frame: &mut Frame, spent: &mut Spent, answers: &mut Answers) -> Result<Step, Stop> {
        let Frame { domain, policy, at, included } = frame;
        if std::mem::take(included) {
            let include = policy.directives.get(at.saturating_sub(1));
            return Ok(Step::Done(include.map_or(SpfResult::PermError, |directive| directive.result)));
        }
        let Some(directive) = policy.directives.get(*at) else {
            return match &policy.redirect {
                Some(name) => {
                    spent.lookup()?;
                    Ok(Step::Redirect(self.name(name, domain).ok_or(Stop::With(SpfResult::PermError))?))
                }
                // RFC 7208 4.7.
                None => Ok(Step::Done(SpfResult::Neutral)),
            };
        };
        *at = at.saturating_add(1);
        let matches = match &directive.mechanism {
            Mechanism::All => true,
            Mechanism::Network(network) => network.contains(self.peer),
            Mechanism::Include(name) => {
                spent.lookup()?;
                return Ok(Step::Include(self.name(name, domain).ok_or(Stop::With(SpfResult::PermError))?));
            }
            Mechanism::A(name, prefixes) => {
                spent.lookup()?;
                match self.target(name.as_ref(), domain) {
                    Some(name) => self.at_address(name, *prefixes, spent, answers)?,
                    None => spent.void(false)?,
                }
            }
            Mechanism::Mx(name, prefixes) => {
                spent.lookup()?;
                match self.target(name.as_ref(), domain) {
                    Some(name) => self.at_exchange(name, *prefixes, spent, answers)?,
                    None => spent.void(false)?,
                }
            }
            Mechanism::Ptr(name) => {
                spent.lookup()?;
                match self.target(name.as_ref(), domain) {
                    Some(name) => self.is_named(&name, spent, answers)?,
                    None => false,
                }
            }
            Mechanism::Exists(name) => {
                spent.lookup()?;
                match self.name(name, domain) {
                    // RFC 7208 5.7: A records, whatever the client's family.
                    Some(name) => match addresses(Question::Ipv4(name), answers)?.is_empty() {
                        true => spent.void(false)?,
                        false => true,
                    },
                    None => spent.void(false)?,
                }
            }
        };
        Ok(if matches { Step::Done(directive.result) } else { Step::Next })
    }

    fn name(&self, name: &MacroString, domain: &QueryName) -> Option<QueryName> {
        name.name(&Values { peer: self.peer, sender: &self.sender, helo: &self.helo, domain })
    }

    fn target(&self, name: Option<&MacroString>, domain: &QueryName) -> Option<QueryName> {
        name.map_or_else(|| Some(domain.clone()), |name| self.name(name, domain))
    }

    /// RFC 7208 5: addresses of the client's family, and nothing of the other, not even that it cannot be known.
    fn of_family(&self, name: QueryName) -> Question {
        if self.peer.is_ipv4() { Question::Ipv4(name) } else { Question::Ipv6(name) }
    }

    /// RFC 7208 5.3.
    fn at_address(&self, name: QueryName, prefixes: Prefixes, spent: &mut Spent, answers: &mut Answers) -> Result<bool, Stop> {
        let list = addresses(self.of_family(name), answers)?;
        if list.is_empty() {
            return spent.void(false);
        }
        Ok(list.iter().any(|address| prefixes.around(*address).contains(self.peer)))
    }

    /// RFC 7208 5.4.
    fn at_exchange(&self, name: QueryName, prefixes: Prefixes, spent: &mut Spent, answers: &mut Answers) -> Result<bool, Stop> {
        let hosts = match answers.get(Question::Exchanges(name))? {
            Answer::Exchanges(hosts) => hosts.clone(),
            Answer::Unavailable => return Err(Stop::With(SpfResult::TempError)),
            _ => Vec::new(),
        };
        if hosts.is_empty() {
            return spent.void(false);
        }
        // RFC 7208 4.6.4: more is a mistake.
        if hosts.len() > MAX_SPF_NAMES {
            return Err(Stop::With(SpfResult::PermError));
        }
        // All at once.
        let lists: Vec<Result<Vec<IpAddr>, Stop>> = hosts.into_iter().map(|host| addresses(self.of_family(host.into()), answers)).collect();
        let mut outcome = Ok(false);
        for list in lists {
            match list {
                Ok(list) if list.iter().any(|address| prefixes.around(*address).contains(self.peer)) => return Ok(true),
                Ok(_) => {}
                // What is still to be asked could match.
                Err(Stop::Pending) => outcome = Err(Stop::Pending),
                Err(stop) if outcome.is_ok() => outcome = Err(stop),
                Err(_) => {}
            }
        }
        outcome
    }

    /// RFC 7208 5.5.
    fn is_named(&self, name: &QueryName, spent: &mut Spent, answers: &mut Answers) -> Result<bool, Stop> {
        let names = match answers.get(Question::Names(self.peer))? {
            Answer::Names(names) => names.clone(),
            // RFC 7208 5.5: an error is no match.
            Answer::Unavailable => return Ok(false),
            _ => return spent.void(false),
        };
        // What is no host's name names no host.
        let Ok(name) = Domain::parse(name.as_str()) else { return Ok(false) };
        let mut pending = false;
        for found in names.iter().take(MAX_SPF_NAMES).filter(|found| found.is_within(&name)) {
            match answers.get(self.of_family(found.clone().into())) {
                Ok(Answer::Addresses(list)) if list.contains(&self.peer) => return Ok(true),
                Ok(_) => {}
                Err(Pending) => pending = true,
            }
        }
        if pending { Err(Stop::Pending) } else { Ok(false) }
    }
}

/// A policy that is being followed.
#[derive(Debug)]
struct Frame {
    domain: QueryName,
    policy: Policy,
    /// The next directive.
    at: usize,
    /// The one before it was an include, and matches.
    included: bool,
}

impl Frame {
    fn new(domain: QueryName, policy: Policy) -> Self {
        Self { domain, policy, at: 0, included: false }
    }
}

enum Step {
    Next,
    Include(QueryName),
    Redirect(QueryName),
    Done(SpfResult),
}

/// The check ends here, or waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    With(SpfResult),
    Pending,
}

impl From<Pending> for Stop {
    fn from(Pending: Pending) -> Self {
        Self::Pending
    }
}

/// RFC 7208 4.6.4.
#[derive(Debug, Default)]
struct Spent {
    lookups: usize,
    void: usize,
}

impl Spent {
    fn lookup(&mut self) -> Result<(), Stop> {
        self.lookups = self.lookups.saturating_add(1);
        if self.lookups > MAX_SPF_LOOKUPS { Err(Stop::With(SpfResult::PermError)) } else { Ok(()) }
    }

    /// A term that found nothing, which is `matches`.
    fn void(&mut self, matches: bool) -> Result<bool, Stop> {
        self.void = self.void.saturating_add(1);
        if self.void > MAX_SPF_VOID { Err(Stop::With(SpfResult::PermError)) } else { Ok(matches) }
    }
}

fn addresses(question: Question, answers: &mut Answers) -> Result<Vec<IpAddr>, Stop> {
    Ok(match answers.get(question)? {
        Answer::Addresses(list) => list.clone(),
        Answer::Unavailable => return Err(Stop::With(SpfResult::TempError)),
        _ => Vec::new(),
    })
}

/// RFC 7208 4.4, 4.5. None: there is none.
fn policy_of(domain: &QueryName, answers: &mut Answers) -> Result<Option<Policy>, Stop> {
    let texts = match answers.get(Question::Texts(domain.clone()))? {
        Answer::Texts(texts) => texts,
        Answer::Unavailable => return Err(Stop::With(SpfResult::TempError)),
        _ => return Ok(None),
    };
    let mut records = texts.iter().filter(|text| is_spf(text));
    match (records.next(), records.next()) {
        (None, _) => Ok(None),
        (Some(text), None) => Policy::parse(text).map(Some).map_err(|_| Stop::With(SpfResult::PermError)),
        (Some(_), Some(_)) => Err(Stop::With(SpfResult::PermError)),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
