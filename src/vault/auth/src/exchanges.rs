//! SCRAM exchanges that wait for the client's last message. Each is taken out once; its number cannot be guessed.

use crate::{
    limits::{EXCHANGE_LIFETIME, MAX_EXCHANGES, MAX_EXCHANGES_PER_PEER},
    penalty::Network,
    scram::Exchange,
    sessions::Proof,
};
use pure_addr::AccountId;
use std::{collections::HashMap, net::IpAddr, time::Instant};
use wire::edge::mail::{Protocol, SessionId};

/// Who tries to log in, and where.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) protocol: Protocol,
    pub(crate) session: SessionId,
    pub(crate) peer: IpAddr,
    /// As penalties count it.
    pub(crate) name: String,
}

impl Attempt {
    pub(crate) fn network(&self) -> Network {
        Network::of(self.peer)
    }
}

/// An exchange with all that its end needs.
pub(crate) struct Begun {
    pub(crate) attempt: Attempt,
    /// None when there is no such account; then the exchange cannot succeed.
    pub(crate) account: Option<(AccountId, Proof)>,
    pub(crate) exchange: Exchange,
}

/// Too many exchanges are open, or no number could be drawn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The table.
#[derive(Default)]
pub(crate) struct Exchanges {
    begun: HashMap<u64, (Begun, Instant)>,
    by_network: HashMap<Network, usize>,
}

impl Exchanges {
    /// Keeps an exchange and returns its number.
    pub(crate) fn begin(&mut self, begun: Begun, now: Instant) -> Result<u64, Full> {
        let network = begun.attempt.network();
        if self.is_full(network) {
            self.expire(now);
            if self.is_full(network) {
                return Err(Full);
            }
        }
        let number = getrandom::u64().map_err(|_| Full)?;
        if self.begun.contains_key(&number) {
            return Err(Full);
        }
        let count = self.by_network.entry(network).or_default();
        *count = count.saturating_add(1);
        self.begun.insert(number, (begun, now));
        Ok(number)
    }

    /// Takes an exchange out; none when it is unknown or too old.
    pub(crate) fn take(&mut self, number: u64, now: Instant) -> Option<Begun> {
        let (begun, since) = self.begun.remove(&number)?;
        self.forget(begun.attempt.network());
        (now.saturating_duration_since(since) < EXCHANGE_LIFETIME).then_some(begun)
    }

    fn is_full(&self, network: Network) -> bool {
        self.begun.len() >= MAX_EXCHANGES || self.by_network.get(&network).is_some_and(|count| *count >= MAX_EXCHANGES_PER_PEER)
    }

    fn expire(&mut self, now: Instant) {
        let old = |since: Instant| now.saturating_duration_since(since) >= EXCHANGE_LIFETIME;
        let numbers: Vec<u64> = self.begun.iter().filter(|(_, (_, since))| old(*since)).map(|(number, _)| *number).collect();
        for number in numbers {
            self.take(number, now);
        }
    }

    fn forget(&mut self, network: Network) {
        let left = self.by_network.get(&network).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            self.by_network.remove(&network);
        } else {
            self.by_network.insert(network, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scram::ClientFirst, verifier::ScramKeys};
    use std::time::Duration;
    use wire::edge::auth_login::Mechanism;

    fn begun(peer: [u8; 4]) -> Begun {
        let keys = ScramKeys { iterations: 4096, salt: vec![0; 16], stored_key: [0; 32], server_key: [0; 32] };
        let (exchange, _) =
            ClientFirst::parse(b"n,,n=a,r=x").unwrap().challenge(Mechanism::ScramSha256, None, keys, "y").unwrap_or_else(|_| panic!());
        let attempt = Attempt { protocol: Protocol::Imap, session: SessionId(1), peer: peer.into(), name: "a".into() };
        Begun { attempt, account: None, exchange }
    }

    /// Attack case AUTH-08: the state of a mechanism is consumed by its next step.
    #[test]
    fn an_exchange_is_taken_once_and_in_time() {
        let (mut exchanges, now) = (Exchanges::default(), Instant::now());
        let number = exchanges.begin(begun([192, 0, 2, 1]), now).unwrap();
        assert!(exchanges.take(number ^ 1, now).is_none());
        assert!(exchanges.take(number, now).is_some());
        assert!(exchanges.take(number, now).is_none());
        let late = exchanges.begin(begun([192, 0, 2, 1]), now).unwrap();
        assert!(exchanges.take(late, now + EXCHANGE_LIFETIME).is_none());
        assert!(exchanges.by_network.is_empty());
    }

    #[test]
    fn a_network_has_its_share_and_old_exchanges_make_room() {
        let (mut exchanges, now) = (Exchanges::default(), Instant::now());
        for _ in 0..MAX_EXCHANGES_PER_PEER {
            exchanges.begin(begun([192, 0, 2, 1]), now).unwrap();
        }
        assert_eq!(exchanges.begin(begun([192, 0, 2, 1]), now), Err(Full));
        assert!(exchanges.begin(begun([192, 0, 2, 2]), now).is_ok());
        let later = now + EXCHANGE_LIFETIME + Duration::from_secs(1);
        assert!(exchanges.begin(begun([192, 0, 2, 1]), later).is_ok());
        assert_eq!(exchanges.begun.len(), 1);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut exchanges, now) = (Exchanges::default(), Instant::now());
        for n in 0..MAX_EXCHANGES as u32 {
            let [a, b, c, d] = n.to_be_bytes();
            exchanges.begin(begun([a, b, c, d]), now).unwrap();
        }
        assert_eq!(exchanges.begin(begun([255; 4]), now), Err(Full));
    }
}
