//! What follows from an attempt: done, told to the sender, or tried again. Time and chance are parameters.

use crate::{
    backoff::spread,
    dsn::{self, Action},
    limits::MAX_TRIES,
    spool::outgoing::{Attempt, Fate, Todo, encode},
};
use pure_addr::Text;
use pure_config::SendConfig;
use std::time::Duration;
use wire::edge::{
    mail::Notify,
    send_deliver::{Outcome, Status, Trace},
};

const MINUTE: i64 = 60_000;
/// Between the attempts at first; RFC 5321 4.5.4.1 wants at least 30 minutes once a few have failed.
const INTERVALS: [i64; 6] = [5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, 60 * MINUTE, 120 * MINUTE];
/// And then.
const LAST_INTERVAL: i64 = 240 * MINUTE;
/// First wait after an attempt that was not made; four times as long after each in a row.
const NOT_MADE: i64 = 1_000;

/// When things end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) received_at: i64,
    pub(super) now: i64,
    pub(super) expire: i64,
    pub(super) warn_after: Option<i64>,
}

impl Times {
    pub(super) fn new(config: &SendConfig, received_at: i64, now: i64) -> Self {
        Self { received_at, now, expire: millis(config.expire), warn_after: config.warn_after.map(millis) }
    }

    pub(super) fn expires_at(self) -> i64 {
        self.received_at.saturating_add(self.expire)
    }

    fn expired(self) -> bool {
        self.now >= self.expires_at()
    }

    fn late(self) -> bool {
        self.warn_after.is_some_and(|after| self.now >= self.received_at.saturating_add(after))
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What becomes of a delivery, and what its sender is told about it.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) fate: Fate,
    pub(super) tell: Option<(Action, Trace)>,
}

/// How long to wait after the given number of attempts, at least one.
fn interval(attempts: u32) -> i64 {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    INTERVALS.get(index).copied().unwrap_or(LAST_INTERVAL)
}

/// After an attempt.
pub(super) fn after(outcome: Outcome, todo: &Todo, notify: Option<Notify>, times: Times, random: u64) -> Verdict {
    match outcome {
        Outcome::Delivered { dsn, trace } => {
            // RFC 3461 6.1: who took the parameters reports; otherwise our part ends with "relayed".
            let tell = (!dsn && dsn::wanted(notify, Action::Relayed)).then_some((Action::Relayed, trace));
            Verdict { fate: Fate::Done, tell }
        }
        Outcome::Failed(trace) => failed(trace, notify),
        Outcome::Deferred(trace) => later(trace, true, todo, notify, times, random),
        // The intervals are for remotes that were asked.
        Outcome::Again => {
            let tries = encode(&todo.tries);
            Verdict { fate: Fate::Waits { next: times.now, attempts: todo.attempts, warned: todo.warned, tries }, tell: None }
        }
        // Asked for twice: what was offered had seven bits.
        Outcome::NeedsSevenBit => failed(local(Status(5, 6, 3), "the content cannot be converted to seven bits"), notify),
    }
}

/// After an attempt that was not made: the destination was not asked.
pub(super) fn untried(trace: Trace, todo: &Todo, notify: Option<Notify>, times: Times, random: u64) -> Verdict {
    later(trace, false, todo, notify, times, random)
}

/// While the destination's circuit is open: what is over is over, and what is late is told.
pub(super) fn overdue(trace: Trace, todo: &Todo, notify: Option<Notify>, times: Times) -> Verdict {
    if times.expired() {
        return failed(expired(&trace), notify);
    }
    let tell = (!todo.warned && times.late() && dsn::wanted(notify, Action::Delayed)).then_some((Action::Delayed, trace));
    let warned = todo.warned || times.late();
    Verdict { fate: Fate::Waits { next: times.now, attempts: todo.attempts, warned, tries: encode(&todo.tries) }, tell }
}

fn failed(trace: Trace, notify: Option<Notify>) -> Verdict {
    Verdict { fate: Fate::Done, tell: dsn::wanted(notify, Action::Failed).then_some((Action::Failed, trace)) }
}

fn later(trace: Trace, made: bool, todo: &Todo, notify: Option<Notify>, times: Times, random: u64) -> Verdict {
    if times.expired() {
        return failed(expired(&trace), notify);
    }
    let attempts = if made { todo.attempts.saturating_add(1) } else { todo.attempts };
    let wait = if made {
        interval(attempts)
    } else {
        let in_a_row = todo.tries.iter().rev().take_while(|a| !a.made).count();
        NOT_MADE.saturating_mul(1 << in_a_row.saturating_mul(2).min(20)).min(INTERVALS[0])
    };
    // The last attempt is made when the time is over.
    let next = times.now.saturating_add(spread(wait, random)).min(times.expires_at().max(times.now.saturating_add(1)));
    let late = times.late();
    let tell = (late && !todo.warned && dsn::wanted(notify, Action::Delayed)).then(|| (Action::Delayed, trace.clone()));
    let mut tries = todo.tries.clone();
    if tries.len() >= MAX_TRIES {
        tries.drain(..tries.len().saturating_sub(MAX_TRIES.saturating_sub(1)));
    }
    tries.push(Attempt { at: times.now, made, trace });
    Verdict { fate: Fate::Waits { next, attempts, warned: todo.warned || late, tries: encode(&tries) }, tell }
}

/// RFC 3463 3.5: X.4.7, delivery time expired; with what was said last.
fn expired(last: &Trace) -> Trace {
    let text = format!("could not be delivered for too long; the last attempt: {}", last.text);
    Trace { status: Status(5, 4, 7), text: Text::lossy(text.as_bytes()), ..last.clone() }
}

/// Something that was noticed here.
pub(super) fn local(status: Status, text: &str) -> Trace {
    Trace { status, reply: None, text: Text::lossy(text.as_bytes()), remote: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    fn todo() -> Todo {
        Todo { number: 0, attempts: 0, warned: false, tries: vec![] }
    }

    fn down() -> Trace {
        local(Status(4, 4, 1), "no answer")
    }

    fn step(todo: &mut Todo, verdict: Verdict) -> Option<i64> {
        let Fate::Waits { next, attempts, warned, tries } = verdict.fate else { return None };
        *todo = Todo { number: 0, attempts, warned, tries: crate::spool::outgoing::attempts(tries.as_deref()) };
        Some(next)
    }

    /// Five simulated days: the intervals, one warning, one failure, and an attempt at the very end.
    #[test]
    fn the_schedule_over_days() {
        let config = SendConfig::default();
        let (mut todo, mut now, mut told) = (todo(), 0, Vec::new());
        let mut gaps = Vec::new();
        loop {
            // Chance in the middle: exactly the interval.
            let verdict = after(Outcome::Deferred(down()), &todo, None, Times::new(&config, 0, now), 0);
            told.extend(verdict.tell.as_ref().map(|(action, trace)| (*action, now, trace.status)));
            let Some(next) = step(&mut todo, verdict) else { break };
            gaps.push(next - now);
            now = next;
        }
        let three_quarters: Vec<i64> = INTERVALS.iter().map(|i| i - i / 4).collect();
        assert_eq!(gaps[..6], three_quarters[..]);
        assert!(gaps[6..gaps.len() - 1].iter().all(|gap| *gap == 180 * MINUTE));
        assert_eq!(now, 5 * DAY);
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].0, told[1]), (Action::Delayed, (Action::Failed, 5 * DAY, Status(5, 4, 7))));
        assert!((4 * HOUR..8 * HOUR).contains(&told[0].1), "{told:?}");
        assert_eq!(todo.tries.len(), MAX_TRIES);
    }

    #[test]
    fn jitter_is_a_quarter_either_way() {
        let times = Times::new(&SendConfig::default(), 0, 0);
        let next = |random| match after(Outcome::Deferred(down()), &todo(), None, times, random).fate {
            Fate::Waits { next, .. } => next,
            Fate::Done => panic!(),
        };
        assert_eq!(next(0), 5 * MINUTE * 3 / 4);
        assert_eq!((0..10_000).map(|n| next(n * 7919)).max().unwrap() / 1000, 5 * 60 * 5 / 4 - 1);
    }

    #[test]
    fn what_was_cut_short_is_due_at_once() {
        let verdict = after(Outcome::Again, &todo(), None, Times::new(&SendConfig::default(), 0, 7 * HOUR), 0);
        assert!(matches!(verdict.fate, Fate::Waits { next, attempts: 0, warned: false, .. } if next == 7 * HOUR) && verdict.tell.is_none());
    }

    /// A lease that ended with its process comes back soon, and an attempt that was not made does not count.
    #[test]
    fn what_was_not_tried_comes_back_soon() {
        let mut todo = todo();
        let times = Times::new(&SendConfig::default(), 0, 0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let verdict = untried(down(), &todo, None, times, 0);
            waits.push(step(&mut todo, verdict).unwrap());
        }
        assert_eq!(waits[..4], [750, 3_000, 12_000, 48_000]);
        assert!(waits.iter().all(|w| *w <= 5 * MINUTE));
        assert_eq!(todo.attempts, 0);
    }

    #[test]
    fn what_is_told_follows_notify() {
        let times = Times::new(&SendConfig::default(), 0, 5 * HOUR);
        let never = Some(Notify { success: false, failure: false, delay: false });
        let success = Some(Notify { success: true, failure: false, delay: false });
        let tell = |outcome: &Outcome, notify| after(outcome.clone(), &todo(), notify, times, 0).tell.map(|t| t.0);
        let delivered = |dsn| Outcome::Delivered { dsn, trace: down() };
        let (refused, deferred) = (Outcome::Failed(down()), Outcome::Deferred(down()));
        for (outcome, notify, expected) in [
            (delivered(false), None, None),
            (delivered(false), success, Some(Action::Relayed)),
            (delivered(true), success, None),
            (refused.clone(), None, Some(Action::Failed)),
            (refused.clone(), never, None),
            (refused, success, None),
            (deferred.clone(), None, Some(Action::Delayed)),
            (deferred, never, None),
        ] {
            assert_eq!(tell(&outcome, notify), expected, "{outcome:?} {notify:?}");
        }
    }

    #[test]
    fn behind_an_open_circuit_time_goes_on() {
        let config = SendConfig::default();
        let tell = |now| overdue(down(), &todo(), None, Times::new(&config, 0, now)).tell.map(|t| t.0);
        assert_eq!((tell(HOUR), tell(5 * HOUR), tell(5 * DAY)), (None, Some(Action::Delayed), Some(Action::Failed)));
    }
}
