//! Failed logins are counted by network, by name, and by both together; who fails too often has to wait.
//!
//! * A network (IPv4 address, IPv6 /64) that has failed [`Policy::free`] times waits after each further failure, twice as
//!   long every time. Failures are forgotten one by one.
//! * A name that is being guessed from many networks is never closed: while it is under attack, each network that has
//!   not logged in to it before has one guess, then waits. Its owner, who guesses right, is not kept out.
//! * A network that has logged in to an account keeps that account open for itself, whatever its neighbours do.
//!
//! Names are counted whether or not they exist. The tables are bounded; a full one forgets the oldest first.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

/// Entries of each table.
const MAX_ENTRIES: usize = 65_536;
/// Time after which one failure is forgotten.
const FORGET: Duration = Duration::from_secs(90);
/// First time to wait; doubled for every further failure.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// Doublings: at most 10 s * 2^7, about 21 minutes.
const MAX_DOUBLINGS: u32 = 7;
/// Failures remembered at most, so that forgetting ends.
const MAX_FAILURES: u32 = 100;
/// Failures of one name, from all networks, that make an attack.
const ATTACK: u32 = 30;
/// Time that a successful login vouches for a network.
const VOUCHED: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Failures that cost nothing; none: nobody ever waits.
    pub(crate) free: Option<u32>,
}

/// A network, as penalties see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network([u8; 8]);

impl Network {
    /// An IPv4 address, also when written as an IPv6 one, or the /64 around an IPv6 address.
    pub(crate) fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            // ::/64 with a mark: no global IPv6 network begins like this.
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                Self([0, 0, 0, 4, a, b, c, d])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Failures that are slowly forgotten.
#[derive(Debug, Clone, Copy)]
struct Score {
    failures: u32,
    /// When `failures` was right.
    at: Instant,
    wait_until: Option<Instant>,
    vouched_at: Option<Instant>,
}

impl Score {
    fn new(now: Instant) -> Self {
        Self { failures: 0, at: now, wait_until: None, vouched_at: None }
    }

    fn failures(&self, now: Instant) -> u32 {
        let forgotten = now.saturating_duration_since(self.at).as_secs().checked_div(FORGET.as_secs()).unwrap_or_default();
        self.failures.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }

    fn fail(&mut self, free: u32, now: Instant) {
        self.failures = self.failures(now).saturating_add(1).min(MAX_FAILURES);
        self.at = now;
        if let Some(beyond) = self.failures.checked_sub(free.saturating_add(1)) {
            let wait = FIRST_WAIT.saturating_mul(1 << beyond.min(MAX_DOUBLINGS));
            self.wait_until = now.checked_add(wait);
        }
    }

    fn must_wait(&self, now: Instant) -> bool {
        self.wait_until.is_some_and(|until| now < until)
    }

    fn is_vouched(&self, now: Instant) -> bool {
        self.vouched_at.is_some_and(|at| now.saturating_duration_since(at) < VOUCHED)
    }

    fn is_empty(&self, now: Instant) -> bool {
        self.failures(now) == 0 && !self.must_wait(now) && !self.is_vouched(now)
    }
}

/// The tables.
#[derive(Debug)]
pub(crate) struct Penalties {
    policy: Policy,
    hasher: RandomState,
    networks: HashMap<Network, Score>,
    names: HashMap<u64, Score>,
    pairs: HashMap<(Network, u64), Score>,
}

impl Penalties {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, hasher: RandomState::new(), networks: HashMap::new(), names: HashMap::new(), pairs: HashMap::new() }
    }

    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Whether this network may try this name now. The same for names that exist and names that do not.
    pub(crate) fn allows(&self, network: Network, name: &str, now: Instant) -> bool {
        if self.policy.free.is_none() {
            return true;
        }
        let name = self.name(name);
        let pair = self.pairs.get(&(network, name));
        if pair.is_some_and(|score| score.must_wait(now)) {
            return false;
        }
        pair.is_some_and(|score| score.is_vouched(now)) || !self.networks.get(&network).is_some_and(|score| score.must_wait(now))
    }

    /// Wrong name or password.
    pub(crate) fn failed(&mut self, network: Network, name: &str, now: Instant) {
        let Some(free) = self.policy.free else { return };
        let name = self.name(name);
        let of_name = entry(&mut self.names, name, now);
        // Only counted: a name never waits.
        of_name.fail(MAX_FAILURES, now);
        let attacked = of_name.failures > ATTACK;
        let pair = entry(&mut self.pairs, (network, name), now);
        let vouched = pair.is_vouched(now);
        pair.fail(if attacked && !vouched { 0 } else { free }, now);
        entry(&mut self.networks, network, now).fail(free, now);
    }

    /// A right password. What the network did to other names stays.
    pub(crate) fn succeeded(&mut self, network: Network, name: &str, now: Instant) {
        if self.policy.free.is_none() {
            return;
        }
        let name = self.name(name);
        let pair = entry(&mut self.pairs, (network, name), now);
        *pair = Score { vouched_at: Some(now), ..Score::new(now) };
    }

    fn name(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }
}

/// The score under a key; makes room first when the table is full.
fn entry<K: Hash + Eq + Copy>(table: &mut HashMap<K, Score>, key: K, now: Instant) -> &mut Score {
    if table.len() >= MAX_ENTRIES && !table.contains_key(&key) {
        table.retain(|_, score| !score.is_empty(now));
        if table.len() >= MAX_ENTRIES {
            let mut ages: Vec<Instant> = table.values().map(|score| score.at).collect();
            let middle = ages.len() / 2;
            let (_, median, _) = ages.select_nth_unstable(middle);
            let median = *median;
            table.retain(|_, score| score.at > median);
        }
    }
    table.entry(key).or_insert_with(|| Score::new(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: u32 = 10;

    fn penalties() -> (Penalties, Instant) {
        (Penalties::new(Policy { free: Some(FREE) }), Instant::now())
    }

    fn net(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    fn fail(p: &mut Penalties, network: &str, name: &str, times: u32, now: Instant) {
        for _ in 0..times {
            p.failed(net(network), name, now);
        }
    }

    #[test]
    fn networks_are_addresses_and_64s() {
        assert_eq!(net("192.0.2.1"), net("::ffff:192.0.2.1"));
        assert_ne!(net("192.0.2.1"), net("192.0.2.2"));
        assert_eq!(net("2001:db8::1"), net("2001:db8::ffff:1"));
        assert_ne!(net("2001:db8::1"), net("2001:db8:0:1::1"));
        assert_ne!(net("::1"), net("0.0.0.0"));
    }

    #[test]
    fn a_network_waits_after_its_free_failures_and_others_do_not() {
        let (mut p, now) = penalties();
        fail(&mut p, "192.0.2.1", "alice", FREE, now);
        assert!(p.allows(net("192.0.2.1"), "alice", now));
        fail(&mut p, "192.0.2.1", "alice", 1, now);
        assert!(!p.allows(net("192.0.2.1"), "alice", now));
        assert!(!p.allows(net("192.0.2.1"), "bob", now));
        assert!(p.allows(net("192.0.2.2"), "alice", now));
        assert!(p.allows(net("192.0.2.1"), "alice", now + FIRST_WAIT));
    }

    #[test]
    fn waits_double_up_to_a_limit_and_failures_are_forgotten() {
        let (mut p, mut now) = penalties();
        fail(&mut p, "192.0.2.1", "alice", FREE + 2, now);
        assert!(!p.allows(net("192.0.2.1"), "bob", now + FIRST_WAIT));
        assert!(p.allows(net("192.0.2.1"), "bob", now + FIRST_WAIT * 2));
        fail(&mut p, "192.0.2.1", "alice", 1_000_000, now);
        assert!(!p.allows(net("192.0.2.1"), "bob", now + FIRST_WAIT * (1 << MAX_DOUBLINGS) - Duration::from_secs(1)));
        assert!(p.allows(net("192.0.2.1"), "bob", now + FIRST_WAIT * (1 << MAX_DOUBLINGS)));
        now += FORGET * MAX_FAILURES;
        fail(&mut p, "192.0.2.1", "alice", 1, now);
        assert!(p.allows(net("192.0.2.1"), "alice", now));
    }

    /// Attack case AUTH-01: whether a name exists does not show in when it has to wait.
    #[test]
    fn names_that_do_not_exist_count_the_same() {
        let (mut p, now) = penalties();
        for name in ["alice@mta.test", "nosuch@mta.test"] {
            let mut tries = 0;
            while p.allows(net("192.0.2.7"), name, now) {
                p.failed(net("192.0.2.7"), name, now);
                tries += 1;
            }
            assert_eq!(tries, FREE + 1);
            (p, _) = penalties();
        }
    }

    #[test]
    fn an_attacked_name_leaves_each_network_one_guess() {
        let (mut p, now) = penalties();
        p.succeeded(net("198.51.100.1"), "alice", now);
        for n in 0..=ATTACK {
            fail(&mut p, &format!("192.0.2.{n}"), "alice", 1, now);
        }
        assert!(p.allows(net("203.0.113.1"), "alice", now));
        fail(&mut p, "203.0.113.1", "alice", 1, now);
        assert!(!p.allows(net("203.0.113.1"), "alice", now));
        assert!(p.allows(net("203.0.113.1"), "bob", now));
        // The owner mistypes at home, and is right the first time on a new device.
        fail(&mut p, "198.51.100.1", "alice", 1, now);
        assert!(p.allows(net("198.51.100.1"), "alice", now));
        assert!(p.allows(net("203.0.113.9"), "alice", now));
    }

    #[test]
    fn a_network_that_has_logged_in_keeps_its_account_whatever_its_neighbours_do() {
        let (mut p, now) = penalties();
        p.succeeded(net("192.0.2.1"), "alice", now);
        fail(&mut p, "192.0.2.1", "bob", FREE + 5, now);
        assert!(!p.allows(net("192.0.2.1"), "bob", now));
        assert!(p.allows(net("192.0.2.1"), "alice", now));
        // But guessing alice herself ends that.
        fail(&mut p, "192.0.2.1", "alice", FREE + 1, now);
        assert!(!p.allows(net("192.0.2.1"), "alice", now));
        // And an own account does not wash the network clean.
        p.succeeded(net("192.0.2.1"), "mallory", now);
        assert!(!p.allows(net("192.0.2.1"), "bob", now));
    }

    #[test]
    fn nobody_waits_when_it_is_turned_off() {
        let mut p = Penalties::new(Policy { free: None });
        let now = Instant::now();
        fail(&mut p, "192.0.2.1", "alice", 1000, now);
        assert!(p.allows(net("192.0.2.1"), "alice", now));
    }

    #[test]
    fn tables_are_bounded() {
        let (mut p, mut now) = penalties();
        for n in 0..(MAX_ENTRIES as u32 + 10) {
            now += Duration::from_millis(1);
            p.failed(Network::of(IpAddr::from(n.to_be_bytes())), "alice", now);
        }
        assert!(p.networks.len() <= MAX_ENTRIES && p.pairs.len() <= MAX_ENTRIES);
        assert!(p.networks.contains_key(&Network::of(IpAddr::from((MAX_ENTRIES as u32).to_be_bytes()))));
    }
}
