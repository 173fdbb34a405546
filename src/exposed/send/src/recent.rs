//! What was delivered lately, and what is being delivered: a queue that died before it knew offers the same again, and gets the
//! answer of the first time instead of a second delivery.
//!
//! In memory alone: what this process knew dies with it (RFC 1047 is about the rest).

use crate::limits::MAX_RECENT;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use wire::edge::{
    mail::QueueId,
    send_deliver::{Lease, Outcome},
};

/// One delivery of one message. The queue gives out no number twice, not even when its spool was lost.
type Key = (QueueId, u32);
/// What became of deliveries, by their numbers.
pub(crate) type Outcomes = HashMap<u32, Outcome>;

#[derive(Debug, Default)]
struct State {
    /// Encoded: one piece of memory for each, where a trace is a dozen.
    delivered: HashMap<Key, Box<[u8]>>,
    /// The keys of `delivered`, the oldest first.
    order: VecDeque<Key>,
    under_way: HashMap<Key, watch::Receiver<Option<Arc<Outcomes>>>>,
}

impl State {
    fn outcome(&self, key: &Key) -> Option<Outcome> {
        // What was encoded here can be decoded.
        wire::decode(self.delivered.get(key)?).ok()
    }
}

/// See the module.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recent(Arc<Mutex<State>>);

/// Deliveries that one lease alone carries out, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    recent: Recent,
    keys: Vec<Key>,
    result: watch::Sender<Option<Arc<Outcomes>>>,
}

impl Recent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of a message's deliveries was delivered.
    pub(crate) fn known(&self, id: QueueId, numbers: &[u32]) -> Vec<(u32, Outcome)> {
        let state = self.state();
        numbers.iter().filter_map(|number| Some((*number, state.outcome(&(id, *number))?))).collect()
    }

    /// Claims what of a lease is still to be done, with what is known of the rest. Waits for another lease that does the same.
    pub(crate) async fn claim(&self, lease: &Lease) -> (Claim, Outcomes) {
        let mut known = Outcomes::new();
        loop {
            let mut other = match self.try_claim(lease, &mut known) {
                Ok(claim) => return (claim, known),
                Err(other) => other,
            };
            // An error: it ended without a result, and what it had is free again.
            if let Ok(result) = other.wait_for(Option::is_some).await
                && let Some(outcomes) = result.as_ref()
            {
                known.extend(outcomes.iter().map(|(number, outcome)| (*number, outcome.clone())));
            }
        }
    }

    fn try_claim(&self, lease: &Lease, known: &mut Outcomes) -> Result<Claim, watch::Receiver<Option<Arc<Outcomes>>>> {
        let mut state = self.state();
        let mut keys = Vec::new();
        for recipient in &lease.recipients {
            let key = (lease.id, recipient.number);
            if known.contains_key(&recipient.number) {
                continue;
            }
            if let Some(outcome) = state.outcome(&key) {
                known.insert(recipient.number, outcome);
            } else if let Some(other) = state.under_way.get(&key) {
                return Err(other.clone());
            } else {
                keys.push(key);
            }
        }
        let (result, receiver) = watch::channel(None);
        state.under_way.extend(keys.iter().map(|key| (*key, receiver.clone())));
        Ok(Claim { recent: self.clone(), keys, result })
    }
}

impl Claim {
    /// The lease is over. What it says nothing of is free for another.
    pub(crate) fn finish(mut self, outcomes: Outcomes) {
        {
            let mut state = self.recent.state();
            for key in std::mem::take(&mut self.keys) {
                state.under_way.remove(&key);
                let Some(outcome @ Outcome::Delivered { .. }) = outcomes.get(&key.1) else { continue };
                // What fits into a frame can be encoded.
                let Ok(encoded) = wire::encode(outcome) else { continue };
                if state.order.len() >= MAX_RECENT
                    && let Some(oldest) = state.order.pop_front()
                {
                    state.delivered.remove(&oldest);
                }
                state.order.push_back(key);
                state.delivered.insert(key, encoded.into_boxed_slice());
            }
        }
        self.result.send_replace(Some(Arc::new(outcomes)));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.recent.state();
        for key in &self.keys {
            state.under_way.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_addr::{Address, Domain, ReversePath, Text};
    use wire::{
        List,
        edge::{
            mail::Body,
            send_deliver::{LeaseRecipient, Route, Status, Trace},
        },
    };

    fn lease(id: u64, numbers: std::ops::Range<u32>) -> Lease {
        let recipient = |number| LeaseRecipient { number, address: Address::parse("a@remote.test").unwrap(), notify: None, orcpt: None };
        Lease {
            id: QueueId(id),
            route: Route::Direct(Domain::parse("remote.test").unwrap()),
            reverse_path: ReversePath::Null,
            smtputf8: false,
            body: Body::SevenBit,
            ret: None,
            envid: None,
            require_tls: false,
            tls_optional: false,
            recipients: List::new(numbers.map(recipient).collect()).unwrap(),
            prefix: Default::default(),
        }
    }

    fn trace() -> Trace {
        Trace { status: Status(2, 0, 0), reply: None, text: Text::new("x").unwrap(), remote: None }
    }

    fn delivered(number: u32) -> (u32, Outcome) {
        (number, Outcome::Delivered { dsn: false, trace: trace() })
    }

    #[tokio::test]
    async fn what_was_delivered_is_answered_and_the_rest_is_tried() {
        let recent = Recent::default();
        let (claim, known) = recent.claim(&lease(1, 0..3)).await;
        assert_eq!((claim.keys.len(), known.len()), (3, 0));
        claim.finish(Outcomes::from([delivered(0), (1, Outcome::Failed(trace())), (2, Outcome::Deferred(trace()))]));
        let (claim, known) = recent.claim(&lease(1, 0..4)).await;
        assert_eq!(claim.keys, [1, 2, 3].map(|n| (QueueId(1), n)));
        assert_eq!(known, Outcomes::from([delivered(0)]));
        assert_eq!(recent.known(QueueId(1), &[0, 1, 2, 9]), [delivered(0)]);
        assert_eq!(recent.known(QueueId(2), &[0]), []);
        // Another message is another message.
        assert_eq!(recent.claim(&lease(2, 0..3)).await.1.len(), 0);
    }

    #[tokio::test]
    async fn who_comes_while_it_is_done_waits_for_the_result() {
        let recent = Recent::default();
        let (first, _) = recent.claim(&lease(1, 0..2)).await;
        let second = tokio::spawn({
            let recent = recent.clone();
            async move { recent.claim(&lease(1, 0..3)).await }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        let deferred = (1, Outcome::Deferred(trace()));
        first.finish(Outcomes::from([delivered(0), deferred.clone()]));
        let (claim, known) = second.await.unwrap();
        assert_eq!(known, Outcomes::from([delivered(0), deferred]));
        assert_eq!(claim.keys, [(QueueId(1), 2)]);

        // One that ends without a result leaves everything to the next.
        let third = tokio::spawn({
            let recent = recent.clone();
            async move { recent.claim(&lease(1, 2..3)).await }
        });
        tokio::task::yield_now().await;
        drop(claim);
        assert_eq!(third.await.unwrap().0.keys, [(QueueId(1), 2)]);
        assert!(recent.state().under_way.is_empty());
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let recent = Recent::default();
        for id in 0..=MAX_RECENT as u64 {
            let (claim, _) = recent.claim(&lease(id, 0..1)).await;
            claim.finish(Outcomes::from([delivered(0)]));
        }
        let state = recent.state();
        assert_eq!((state.delivered.len(), state.order.len()), (MAX_RECENT, MAX_RECENT));
        assert!(!state.delivered.contains_key(&(QueueId(0), 0)) && state.delivered.contains_key(&(QueueId(MAX_RECENT as u64), 0)));
    }
}
