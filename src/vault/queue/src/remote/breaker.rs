//! The circuit breaker of a destination: when it cannot be reached again and again, its mail waits together and one message at a
//! time tries whether it is back.

use crate::spool::outgoing::Circuit;
use wire::edge::send_deliver::{Outcome, Trace};

const MINUTE: i64 = 60_000;
/// Leases in a row that could not reach the destination before its mail waits.
pub(super) const OPENS_AFTER: u32 = 5;
/// First and longest wait between two probes.
const WAITS: (i64, i64) = (5 * MINUTE, 60 * MINUTE);
/// Doublings after which the longest is reached.
const MAX_DOUBLINGS: u32 = 8;

/// How a lease ended, for its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contact {
    /// The destination answered, whatever it said.
    Made,
    /// It could not be reached.
    None(Trace),
    /// It was not asked.
    Untried,
}

/// How many leases may be started now, when so many run.
pub(super) fn allows(circuit: &Circuit, now: i64, running: usize, most: usize) -> usize {
    if circuit.failures < OPENS_AFTER {
        most.saturating_sub(running)
    } else if now >= circuit.until && running == 0 {
        1
    } else {
        0
    }
}

/// Notes how a lease ended.
pub(super) fn note(circuit: &mut Circuit, contact: Contact, now: i64, random: u64) {
    match contact {
        Contact::Untried => {}
        Contact::Made => *circuit = Circuit::default(),
        Contact::None(trace) => {
            circuit.failures = circuit.failures.saturating_add(1);
            circuit.last = Some(trace);
            if let Some(over) = circuit.failures.checked_sub(OPENS_AFTER) {
                let (first, longest) = WAITS;
                let wait = first.saturating_mul(1 << over.min(MAX_DOUBLINGS)).min(longest);
                circuit.until = now.saturating_add(crate::backoff::spread(wait, random));
            }
        }
    }
}

/// Whether the destination answered, by what became of each recipient.
pub(super) fn contact<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Contact {
    let mut last = None;
    for outcome in outcomes {
        match outcome {
            // RFC 3463 3.5: X.4.X is network and routing. A host that says 421 first thing does not serve either.
            Outcome::Deferred(trace)
                if trace.status.1 == 4 && trace.reply.as_ref().is_none_or(|reply| reply.as_str().starts_with("421")) =>
            {
                last = Some(trace);
            }
            _ => return Contact::Made,
        }
    }
    last.map_or(Contact::Untried, |trace| Contact::None(trace.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_addr::Text;
    use wire::edge::send_deliver::Status;

    fn trace(status: Status, reply: Option<&str>) -> Trace {
        Trace { status, reply: reply.map(|r| Text::new(r).unwrap()), text: Text::new("x").unwrap(), remote: None }
    }

    #[test]
    fn it_opens_after_some_failures_and_lets_one_probe_pass() {
        let down = Contact::None(trace(Status(4, 4, 1), None));
        let mut circuit = Circuit::default();
        for n in 1..OPENS_AFTER {
            note(&mut circuit, down.clone(), 0, 0);
            assert_eq!(allows(&circuit, 0, 0, 10), 10, "{n}");
        }
        note(&mut circuit, down.clone(), 0, 0);
        assert_eq!(allows(&circuit, 0, 0, 10), 0);
        let until = circuit.until;
        assert_eq!(until, 5 * MINUTE * 3 / 4);
        assert_eq!((allows(&circuit, until, 0, 10), allows(&circuit, until, 1, 10)), (1, 0));
        note(&mut circuit, Contact::Untried, until, 0);
        assert_eq!(allows(&circuit, until, 0, 10), 1);
        for _ in 0..20 {
            note(&mut circuit, down.clone(), 0, 0);
        }
        assert_eq!(circuit.until, 45 * MINUTE);
        note(&mut circuit, Contact::Made, 0, 0);
        assert_eq!(allows(&circuit, 0, 3, 10), 7);
    }

    #[test]
    fn only_what_concerns_the_whole_destination_counts() {
        let of = |outcomes: &[Outcome]| contact(outcomes.iter());
        let down = Outcome::Deferred(trace(Status(4, 4, 1), None));
        assert!(matches!(of(&[down.clone(), down.clone()]), Contact::None(_)));
        assert!(matches!(of(&[Outcome::Deferred(trace(Status(4, 4, 2), Some("421 4.4.2 busy")))]), Contact::None(_)));
        for up in [
            Outcome::Deferred(trace(Status(4, 2, 2), Some("452 4.2.2 full"))),
            Outcome::Deferred(trace(Status(4, 7, 1), Some("450 4.7.1 greylisted"))),
            Outcome::Failed(trace(Status(5, 4, 4), None)),
            Outcome::NeedsSevenBit,
            Outcome::Again,
        ] {
            assert_eq!(of(&[down.clone(), up]), Contact::Made);
        }
        assert_eq!(of(&[]), Contact::Untried);
    }
}
