//! DMARC: what a domain publishes, who belongs to whom, and whether an author is vouched for (RFC 9989).
//!
//! Who belongs to whom is found by the tree walk (RFC 9989 4.10), not from a list of public suffixes.

use crate::{
    answers::{Answer, Answers, Pending, Question},
    limits::{MAX_WALK, MIN_SHARED_LABELS},
    tags::{Tags, tag},
};
use pure_addr::{Domain, QueryName};
use pure_index::judgement::{Alignment, Dmarc, DmarcPolicy, DmarcResult};

/// What one domain publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    policy: DmarcPolicy,
    /// `sp=`: for domains below.
    below: DmarcPolicy,
    /// `np=`: for domains below that do not exist.
    nonexistent: DmarcPolicy,
    strict_dkim: bool,
    strict_spf: bool,
    suffix: Suffix,
}

/// `psd=` (RFC 9989 4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suffix {
    Yes,
    No,
    Unsaid,
}

impl Record {
    /// RFC 9989 4.7. None: it is no policy of DMARC.
    fn parse(text: &str) -> Option<Self> {
        // The version comes first, in this case, or it is something else.
        if text.split(';').next().and_then(tag) != Some(("v", "DMARC1")) {
            return None;
        }
        // RFC 9989 4.8: a mistake in what follows costs that, and not the policy.
        let tags = Tags::lenient(text);
        // What cannot be understood asks for nothing.
        let policy = tags.get("p").and_then(policy).unwrap_or_default();
        let below = tags.get("sp").and_then(self::policy).unwrap_or(policy);
        let nonexistent = tags.get("np").and_then(self::policy).unwrap_or(below);
        let strict = |tag: &str| tags.get(tag).is_some_and(|value| value.eq_ignore_ascii_case("s"));
        // RFC 9989 4.7 t=: one step less. Before it there was pct=0, for the same (RFC 9989 A.6).
        let testing = tags.get("t").is_some_and(|t| t.eq_ignore_ascii_case("y")) || tags.get("pct") == Some("0");
        let asked = |policy| match (policy, testing) {
            (DmarcPolicy::Reject, true) => DmarcPolicy::Quarantine,
            (DmarcPolicy::Quarantine, true) => DmarcPolicy::None,
            (policy, _) => policy,
        };
        let suffix = match tags.get("psd") {
            Some(psd) if psd.eq_ignore_ascii_case("y") => Suffix::Yes,
            Some(psd) if psd.eq_ignore_ascii_case("n") => Suffix::No,
            _ => Suffix::Unsaid,
        };
        Some(Self {
            policy: asked(policy),
            below: asked(below),
            nonexistent: asked(nonexistent),
            strict_dkim: strict("adkim"),
            strict_spf: strict("aspf"),
            suffix,
        })
    }
}

fn policy(text: &str) -> Option<DmarcPolicy> {
    let known = [("none", DmarcPolicy::None), ("quarantine", DmarcPolicy::Quarantine), ("reject", DmarcPolicy::Reject)];
    known.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, policy)| policy)
}

/// What was found on the way up from a domain: that domain first.
#[derive(Debug)]
struct Walk {
    records: Vec<(Domain, Record)>,
    /// Not every question was answered that comes before its end.
    incomplete: bool,
}

/// RFC 9989 4.10: the domain, then its parents; below the seventh label from the right only the domain itself.
fn names(domain: &Domain) -> Vec<Domain> {
    let mut names = vec![domain.clone()];
    let labels: Vec<&str> = domain.as_str().split('.').collect();
    let first = if labels.len() < MAX_WALK { 1 } else { labels.len().saturating_sub(MAX_WALK.saturating_sub(1)) };
    for at in first..labels.len() {
        names.extend(Domain::parse(&labels.get(at..).unwrap_or_default().join(".")).ok());
    }
    names
}

fn walk(domain: &Domain, answers: &mut Answers) -> Result<Walk, Pending> {
    let mut walk = Walk { records: Vec::new(), incomplete: false };
    let mut pending = false;
    // All at once, which is faster than one after the other.
    for name in names(domain) {
        let Ok(at) = Domain::parse(&format!("_dmarc.{name}")) else { continue };
        match answers.get(Question::Texts(at.into())) {
            Err(Pending) => pending = true,
            Ok(Answer::Texts(texts)) => {
                let mut records = texts.iter().filter_map(|text| Record::parse(text));
                // RFC 9989 4.10: more than one is none.
                if let (Some(record), None) = (records.next(), records.next()) {
                    walk.records.push((name, record));
                    // RFC 9989 4.10: here it ends, whatever is said, or not said, above.
                    if record.suffix != Suffix::Unsaid {
                        break;
                    }
                }
            }
            Ok(Answer::Unavailable) => walk.incomplete = true,
            Ok(_) => {}
        }
    }
    if pending { Err(Pending) } else { Ok(walk) }
}

impl Walk {
    /// RFC 9989 4.10.2: the organizational domain.
    fn organization(&self, start: &Domain) -> Domain {
        let Some((top, record)) = self.records.last() else { return start.clone() };
        if record.suffix == Suffix::Yes && top != start {
            // The domain one label below it.
            let above = format!(".{top}");
            let label = start.as_str().strip_suffix(&above).and_then(|rest| rest.rsplit('.').next());
            return label.and_then(|label| Domain::parse(&format!("{label}{above}")).ok()).unwrap_or_else(|| start.clone());
        }
        top.clone()
    }
}

/// Whether there can be an organization that both belong to.
fn related(a: &Domain, b: &Domain) -> bool {
    let shared = a.as_str().rsplit('.').zip(b.as_str().rsplit('.')).take_while(|(a, b)| a == b).count();
    a.is_within(b) || b.is_within(a) || shared >= MIN_SHARED_LABELS
}

/// A domain for which something may vouch.
#[derive(Debug, Clone)]
pub(crate) struct Identifier {
    pub(crate) domain: Domain,
    pub(crate) kind: IdentifierKind,
    pub(crate) passed: Passed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdentifierKind {
    Spf,
    Dkim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    Yes,
    /// It cannot be known now.
    Perhaps,
}

/// What DMARC says of an author. `identifiers` are none as long as they are not known; what can be asked before that is asked.
pub(crate) fn judge(author: &Domain, identifiers: Result<Vec<Identifier>, Pending>, answers: &mut Answers) -> Result<Dmarc, Pending> {
    let walked = walk(author, answers);
    let identifiers = identifiers?;
    let of_author = walked?;
    let organization = of_author.organization(author);
    let own = of_author.records.first().filter(|(name, _)| name == author);
    let above = of_author.records.iter().rev().find(|(name, _)| *name == organization).or(of_author.records.last());
    // RFC 9989 4.10.1: its own, then its organization's, then that of the suffix it stands under.
    let record = own.or(above).map(|(_, record)| *record);
    let mut alignment = Alignment::NotAligned;
    let mut pending = false;
    for Identifier { domain, kind, passed } in &identifiers {
        let strict = record.is_some_and(|r| if *kind == IdentifierKind::Spf { r.strict_spf } else { r.strict_dkim });
        let aligned = match is_aligned(author, &of_author, &organization, domain, strict, answers) {
            Ok(aligned) => aligned,
            Err(Pending) => {
                pending = true;
                continue;
            }
        };
        alignment = match (alignment, aligned, passed) {
            (Alignment::Aligned, _, _) | (_, Alignment::Aligned, Passed::Yes) => Alignment::Aligned,
            (_, Alignment::NotAligned, _) => alignment,
            (_, Alignment::Aligned | Alignment::Unknown, _) => Alignment::Unknown,
        };
    }
    if pending && alignment != Alignment::Aligned {
        return Err(Pending);
    }
    let policy = match (record, own) {
        (None, _) => DmarcPolicy::None,
        (Some(record), Some(_)) => record.policy,
        (Some(record), None) if record.nonexistent == record.below || exists(author, answers)? => record.below,
        (Some(record), None) => record.nonexistent,
    };
    let result = match (record, alignment) {
        // A name that could not be asked for may have a policy.
        (None, _) if of_author.incomplete => DmarcResult::TempError,
        (None, _) => DmarcResult::None,
        (Some(_), Alignment::Aligned) => DmarcResult::Pass,
        (Some(_), Alignment::NotAligned) if of_author.incomplete && own.is_none() => DmarcResult::TempError,
        (Some(_), Alignment::Unknown) => DmarcResult::TempError,
        (Some(_), Alignment::NotAligned) => DmarcResult::Fail,
    };
    Ok(Dmarc { result, policy, alignment, author: Some(author.clone()) })
}

/// RFC 9989 4.4.
fn is_aligned(
    author: &Domain,
    of_author: &Walk,
    organization: &Domain,
    domain: &Domain,
    strict: bool,
    answers: &mut Answers,
) -> Result<Alignment, Pending> {
    if author == domain {
        return Ok(Alignment::Aligned);
    }
    if strict || !related(author, domain) {
        return Ok(Alignment::NotAligned);
    }
    // RFC 9989 4.10.2: an organization is above all that belongs to it. What stands elsewhere cannot belong to it, and need not be asked,
    // nor heard: who keeps silent about his own domain would be thought of as a part of every neighbour.
    if !of_author.incomplete && !domain.is_within(organization) {
        return Ok(Alignment::NotAligned);
    }
    let other = walk(domain, answers)?;
    if of_author.incomplete || other.incomplete {
        return Ok(Alignment::Unknown);
    }
    Ok(if other.organization(domain) == *organization { Alignment::Aligned } else { Alignment::NotAligned })
}

/// RFC 9989 3.2.13: a domain without A, AAAA and MX is not there. What cannot be known now is taken to exist.
fn exists(domain: &Domain, answers: &mut Answers) -> Result<bool, Pending> {
    let name = QueryName::from(domain.clone());
    let questions = [Question::Exchanges(name.clone()), Question::Ipv4(name.clone()), Question::Ipv6(name)];
    // All at once.
    let there = questions.map(|question| answers.get(question).map(|answer| *answer != Answer::Nothing));
    let mut any = false;
    for there in there {
        any |= there?;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    /// Answers everything from a list of policies; what is not in it does not exist, but for what begins with `down`, which does not answer.
    fn run(author: &str, identifiers: &[(&str, IdentifierKind, Passed)], zone: &[(&str, &str)]) -> Dmarc {
        let identifiers: Vec<Identifier> =
            identifiers.iter().map(|(name, kind, passed)| Identifier { domain: domain(name), kind: *kind, passed: *passed }).collect();
        let mut answers = Answers::default();
        for _ in 0..10 {
            if let Ok(dmarc) = judge(&domain(author), Ok(identifiers.clone()), &mut answers) {
                return dmarc;
            }
            for question in answers.wanted() {
                let answer = match &question {
                    Question::Texts(name) if name.as_str().starts_with("_dmarc.down") => Answer::Unavailable,
                    Question::Texts(name) => {
                        let texts: Vec<String> =
                            zone.iter().filter(|(n, _)| format!("_dmarc.{n}") == name.as_str()).map(|(_, t)| (*t).to_owned()).collect();
                        if texts.is_empty() { Answer::Nothing } else { Answer::Texts(texts) }
                    }
                    Question::Ipv6(name) if name.as_str().starts_with("there") => Answer::Addresses(vec![]),
                    _ => Answer::Nothing,
                };
                answers.answer(question, answer);
            }
        }
        panic!("no end")
    }

    use IdentifierKind::{Dkim, Spf};
    use Passed::{Perhaps, Yes};

    #[test]
    fn policies() {
        let zone = [("a.test", "v=DMARC1; p=reject; sp=quarantine; np=none; rua=mailto:x@a.test")];
        let all = |author| {
            let dmarc = run(author, &[], &zone);
            (dmarc.result, dmarc.policy)
        };
        assert_eq!(all("a.test"), (DmarcResult::Fail, DmarcPolicy::Reject));
        assert_eq!(all("there.a.test"), (DmarcResult::Fail, DmarcPolicy::Quarantine));
        assert_eq!(all("gone.a.test"), (DmarcResult::Fail, DmarcPolicy::None));
        assert_eq!(all("b.test"), (DmarcResult::None, DmarcPolicy::None));
        for (record, policy) in [
            ("v=DMARC1; p=reject; t=y", DmarcPolicy::Quarantine),
            ("v=DMARC1; p=quarantine; t=y", DmarcPolicy::None),
            ("v=DMARC1; p=reject; pct=0", DmarcPolicy::Quarantine),
            ("v=DMARC1;p=REJECT; pct=50", DmarcPolicy::Reject),
            ("v=DMARC1; p=nonsense; sp=reject", DmarcPolicy::None),
            ("v=DMARC1", DmarcPolicy::None),
            // RFC 9989 4.8: what is wrong is as if it were not there, and the rest holds.
            ("v=DMARC1; p", DmarcPolicy::None),
            ("v=DMARC1; p=reject;; rua=mailto:a@x.test", DmarcPolicy::Reject),
            ("v=DMARC1; rua=mailto:a@x.test; p=reject; rua=mailto:b@x.test", DmarcPolicy::Reject),
            ("v=DMARC1; p=reject; 1=2; nonsense", DmarcPolicy::Reject),
            ("v=DMARC1; p=quarantine; p=none", DmarcPolicy::Quarantine),
        ] {
            let dmarc = run("x.test", &[], &[("x.test", record)]);
            assert_eq!((dmarc.result, dmarc.policy), (DmarcResult::Fail, policy), "{record}");
        }
        for none in
            ["v=DMARC2; p=reject", "p=reject; v=DMARC1", "v=dmarc1; p=reject", "v=spf1 -all", ";v=DMARC1; p=reject", "v=DMARC1 p=reject"]
        {
            assert_eq!(run("x.test", &[], &[("x.test", none)]).result, DmarcResult::None, "{none}");
        }
        let twice = [("x.test", "v=DMARC1; p=reject"), ("x.test", "v=DMARC1; p=none")];
        assert_eq!(run("x.test", &[], &twice).result, DmarcResult::None);
    }

    #[test]
    fn alignment() {
        let zone = [("a.test", "v=DMARC1; p=reject; aspf=s"), ("b.test", "v=DMARC1; p=none")];
        let of = |author, identifiers: &[_]| {
            let dmarc = run(author, identifiers, &zone);
            (dmarc.result, dmarc.alignment)
        };
        let pass = (DmarcResult::Pass, Alignment::Aligned);
        let fail = (DmarcResult::Fail, Alignment::NotAligned);
        assert_eq!(of("a.test", &[("a.test", Spf, Yes)]), pass);
        assert_eq!(of("a.test", &[("m.a.test", Spf, Yes)]), fail);
        assert_eq!(of("a.test", &[("m.a.test", Dkim, Yes)]), pass);
        assert_eq!(of("x.a.test", &[("y.z.a.test", Dkim, Yes)]), pass);
        assert_eq!(of("a.test", &[("b.test", Dkim, Yes), ("nota.test", Dkim, Yes)]), fail);
        assert_eq!(of("a.test", &[("b.test", Dkim, Yes), ("a.test", Dkim, Yes)]), pass);
        assert_eq!(of("a.test", &[("a.test", Dkim, Perhaps)]), (DmarcResult::TempError, Alignment::Unknown));
        assert_eq!(of("a.test", &[("a.test", Dkim, Perhaps), ("a.test", Spf, Yes)]), pass);
        assert_eq!(of("a.test", &[("b.test", Dkim, Perhaps)]), fail);
        // A neighbour below the same two labels, which nobody owns together, is one whether he says so or keeps silent.
        let suffix = [("a.co.test", "v=DMARC1; p=reject")];
        for sibling in ["evil.co.test", "x.evil.co.test", "down.co.test", "x.down.co.test"] {
            let dmarc = run("a.co.test", &[(sibling, Spf, Yes)], &suffix);
            assert_eq!((dmarc.result, dmarc.alignment), fail, "{sibling}");
            assert_eq!(run("b.co.test", &[(sibling, Spf, Yes)], &[]).alignment, Alignment::NotAligned, "{sibling}");
        }
        assert_eq!(run("a.co.test", &[("down.a.co.test", Spf, Yes)], &suffix).alignment, Alignment::Unknown);
        // Without a policy nobody is refused for it, and it is still known who is aligned.
        assert_eq!(of("c.test", &[("c.test", Spf, Yes)]), (DmarcResult::None, Alignment::Aligned));
        assert_eq!(of("c.test", &[("m.c.test", Spf, Yes)]), (DmarcResult::None, Alignment::NotAligned));
    }

    /// RFC 9989 4.10.2 and its examples in appendix B.
    #[test]
    fn organizations() {
        let zone = [("suffix", "v=DMARC1; p=none; psd=y"), ("own.a.suffix", "v=DMARC1; p=none; psd=n"), ("top", "v=DMARC1; p=none")];
        let aligned = |author, other| run(author, &[(other, Dkim, Yes)], &zone).alignment == Alignment::Aligned;
        assert!(aligned("a.suffix", "x.a.suffix"));
        assert!(!aligned("a.suffix", "own.a.suffix"));
        assert!(aligned("own.a.suffix", "x.own.a.suffix"));
        assert!(!aligned("a.suffix", "b.suffix"));
        // A top-level domain without psd= does not make one organization of all that is below it.
        assert!(!aligned("a.top", "b.top"));
    }

    #[test]
    fn an_outage_is_no_failure() {
        let dmarc = run("down.test", &[], &[("test", "v=DMARC1; p=none; psd=y")]);
        assert_eq!((dmarc.result, dmarc.alignment), (DmarcResult::TempError, Alignment::NotAligned));
        assert_eq!(run("down.test", &[("evil.example", Spf, Yes)], &[]).result, DmarcResult::TempError);
        assert_eq!(run("down.test", &[("evil.example", Spf, Yes)], &[]).alignment, Alignment::NotAligned);
        assert_eq!(run("down.test", &[("x.down.test", Spf, Yes)], &[]).alignment, Alignment::Unknown);
        assert_eq!(run("down.test", &[("down.test", Spf, Yes)], &[]).alignment, Alignment::Aligned);
        // RFC 9989 4.10: the walk ends below what does not answer, or above it.
        let zone = [("a.down", "v=DMARC1; p=reject; psd=n"), ("b.down", "v=DMARC1; p=reject")];
        assert_eq!(run("a.down", &[("evil.example", Spf, Yes)], &zone).result, DmarcResult::Fail);
        assert_eq!(run("x.a.down", &[("evil.example", Spf, Yes)], &zone).result, DmarcResult::Fail);
        assert_eq!(run("y.down.a.down", &[("evil.example", Spf, Yes)], &zone).result, DmarcResult::TempError);
        assert_eq!(run("x.b.down", &[("evil.example", Spf, Yes)], &zone).result, DmarcResult::TempError);
    }

    #[test]
    fn long_names_are_walked_from_the_seventh_label() {
        let long = domain("a.b.c.d.e.f.g.h.i.j.test");
        let walked = names(&long);
        assert_eq!(walked.len(), MAX_WALK);
        assert_eq!((walked[0].as_str(), walked[1].as_str(), walked[7].as_str()), (long.as_str(), "e.f.g.h.i.j.test", "test"));
        assert_eq!(names(&domain("a.b.test")).len(), 3);
    }
}
