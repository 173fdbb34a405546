//! keys-dkim and keys-control.

use super::{
    files::{FileError, Files, Stored},
    key::DkimKey,
    ring::{ALGORITHMS, Due, Ring},
};
use crate::{
    limits::{DKIM_AT_A_TIME, DKIM_CLOCK, DKIM_SET_BY, DKIM_STEADY, MAX_DKIM_DOMAINS, MAX_DKIM_KEYS},
    pem::sections,
};
use pure_addr::{Domain, Text};
use pure_config::Config;
use pure_dkim::{
    Algorithm, NotCanonical, SignedHeader, Signer, Unsigned,
    arc::{Chain, OlderSet, Validation},
    is_selector,
};
use pure_index::judgement::ArcResult;
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use time::OffsetDateTime;
use tokio::{sync::Semaphore, task};
use wire::{
    Error, List, Reply, Service,
    edge::{
        keys_control::{self, Key, KeysControl, Pem},
        keys_dkim::{self, KeysDkim, Seal, SigningInput},
    },
};

/// Bytes of a domain name in its text form (RFC 1035 2.3.4).
const MAX_NAME: usize = 253;

/// Tells the time in seconds.
type Seconds = Box<dyn Fn() -> i64 + Send + Sync>;

/// Since 1970, as the machine believes; and since whenever, by a clock that nobody sets.
pub(crate) struct Clock {
    now: Seconds,
    passed: Seconds,
}

impl Clock {
    pub(crate) fn new(now: impl Fn() -> i64 + Send + Sync + 'static, passed: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { now: Box::new(now), passed: Box::new(passed) }
    }
}

/// Since when the clock has not been set. What it said before may have been right: a key that is removed is gone, and one that is made
/// for a day that is years ahead stands in the way of others until then.
#[derive(Debug)]
struct Steady {
    now: i64,
    passed: i64,
    since: i64,
}

impl Steady {
    fn new(clock: &Clock) -> Self {
        let passed = (clock.passed)();
        Self { now: (clock.now)(), passed, since: passed }
    }

    /// Whether the calendar may be followed.
    fn look(&mut self, now: i64, passed: i64) -> bool {
        let set_by = now.saturating_sub(self.now).saturating_sub(passed.saturating_sub(self.passed));
        if set_by.saturating_abs() > DKIM_SET_BY {
            self.since = passed;
        }
        (self.now, self.passed) = (now, passed);
        passed.saturating_sub(self.since) >= DKIM_STEADY
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock(..)")
    }
}

/// What the configuration says about DKIM.
#[derive(Debug, Default)]
struct Settings {
    domains: BTreeSet<Domain>,
    rotate: Option<Duration>,
}

impl Settings {
    fn of(config: &Config) -> Self {
        Self { domains: config.domains.keys().cloned().collect(), rotate: config.dkim.rotate }
    }
}

/// All DKIM keys.
#[derive(Debug)]
pub(crate) struct Dkim(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Files,
    clock: Clock,
    steady: Mutex<Steady>,
    settings: Mutex<Settings>,
    /// What has been read so far.
    rings: Mutex<BTreeMap<Domain, Ring>>,
    /// Held by the one who changes files.
    changing: Mutex<()>,
    turns: Arc<Semaphore>,
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
enum NoSignature {
    #[error("the domain is not ours")]
    NotOurs,
    #[error("{0}")]
    Keys(#[from] FileError),
    #[error("no key could be made")]
    Crypto,
}

impl Dkim {
    pub(crate) fn open(state: &Path, config: &Config, clock: Clock) -> Result<Self, std::io::Error> {
        Ok(Self(Arc::new(Inner {
            files: Files::open(state).map_err(std::io::Error::other)?,
            steady: Mutex::new(Steady::new(&clock)),
            clock,
            settings: Mutex::new(Settings::of(config)),
            rings: Mutex::default(),
            changing: Mutex::default(),
            turns: Arc::new(Semaphore::new(DKIM_AT_A_TIME)),
        })))
    }

    /// Takes over what the configuration says now.
    pub(crate) fn reload(&self, config: &Config) {
        *lock(&self.0.settings) = Settings::of(config);
    }

    /// Runs slow work, so many at a time, in a thread of its own.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> Result<T, Error> {
        let turn = self.0.turns.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let inner = self.0.clone();
        let done = task::spawn_blocking(move || {
            let _turn = turn;
            work(&inner)
        });
        done.await.map_err(|_| Error::Closed)
    }
}

impl Service<KeysDkim> for Dkim {
    async fn call(&self, request: keys_dkim::Request, _fds: Vec<OwnedFd>) -> Result<Reply<KeysDkim>, Error> {
        let (time, input) = match &request {
            keys_dkim::Request::Sign { time, input, .. } => (*time, input),
            keys_dkim::Request::Seal(seal) => {
                chain(seal).map_err(|_| Error::Malformed("ARC sets that are not in canonical form"))?;
                (seal.time, &seal.input)
            }
        };
        // A header that scan cannot have made ends the connection.
        SignedHeader::check(fields(input)).map_err(|_| Error::Malformed("fields that are not in canonical form"))?;
        if time.saturating_sub(self.0.now()).saturating_abs() > DKIM_CLOCK {
            return Err(Error::Refused);
        }
        let signed = self.work(move |keys| match request {
            keys_dkim::Request::Sign { domain, time, input } => {
                let result = keys.sign(&domain, time, &input);
                (domain, result)
            }
            keys_dkim::Request::Seal(seal) => {
                let result = keys.seal(&seal);
                (seal.domain, result)
            }
        });
        Ok(Reply::new(match signed.await? {
            (_, Ok(signatures)) => keys_dkim::Response::Signatures(signatures),
            (_, Err(NoSignature::NotOurs)) => keys_dkim::Response::NotOurs,
            (domain, Err(error)) => {
                tracing::error!(%domain, %error, "no DKIM signature");
                keys_dkim::Response::Unavailable
            }
        }))
    }
}

impl Service<KeysControl> for Dkim {
    async fn call(&self, request: keys_control::Request, _fds: Vec<OwnedFd>) -> Result<Reply<KeysControl>, Error> {
        let done = self.work(|keys| match request {
            keys_control::Request::Keys(domain) => keys.list(&domain),
            keys_control::Request::Rotate(domain) => keys.rotate(&domain),
            keys_control::Request::Import { domain, selector, pem } => keys.import(&domain, &selector, &pem),
        });
        Ok(Reply::new(match done.await? {
            Ok(keys) => keys_control::Response::Keys(keys),
            Err(why) => keys_control::Response::Refused(Text::lossy(why.as_bytes())),
        }))
    }
}

fn fields(input: &SigningInput) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    input.fields.iter().map(|f| (f.name.as_str(), f.value.as_ref().map(|v| v.as_slice())))
}

/// The sets before the one that is asked for, in canonical form.
fn chain(seal: &Seal) -> Result<Chain<'_>, NotCanonical> {
    let validation = match seal.judgement.arc.result {
        ArcResult::None => Validation::None,
        ArcResult::Pass => Validation::Pass,
        ArcResult::Fail => Validation::Fail,
        // Nothing that could be said is known.
        ArcResult::TempError => return Err(NotCanonical::Order),
    };
    let older = seal.sets.iter().map(|set| OlderSet { results: &set.results, message: &set.message, seal: &set.seal });
    Chain::check(older.collect(), validation)
}

impl Inner {
    fn now(&self) -> i64 {
        (self.clock.now)()
    }

    fn rotation(&self) -> Option<Duration> {
        lock(&self.settings).rotate
    }

    /// The keys of a domain that the queue says is hosted.
    fn ring_of(&self, domain: &Domain) -> Result<Ring, NoSignature> {
        if domain.is_literal() {
            return Err(NoSignature::NotOurs);
        }
        // Added at run time: the queue, which asks auth, knows that it is hosted. Without a record in its DNS a signature says nothing.
        let known = lock(&self.settings).domains.contains(domain) || self.cached(domain).is_some() || self.files.knows(domain);
        if !known && self.files.count()? >= MAX_DKIM_DOMAINS {
            tracing::error!(%domain, "too many domains have DKIM keys: this one gets none");
            return Err(NoSignature::NotOurs);
        }
        self.ring(domain)
    }

    /// The next ARC set (RFC 8617 5.1), by RSA alone: verifiers of ARC that know Ed25519 are few, and there is one signature only.
    fn seal(&self, seal: &Seal) -> Result<List<serde_bytes::ByteBuf, 4>, NoSignature> {
        let algorithm = Algorithm::RsaSha256;
        let ring = self.ring_of(&seal.domain)?;
        let stored = ring.current(algorithm, self.now()).ok_or(NoSignature::Crypto)?;
        let signer = Signer { algorithm, domain: &seal.domain, selector: &stored.selector, time: seal.time };
        let header = SignedHeader::check(fields(&seal.input)).map_err(|_| NoSignature::Crypto)?;
        let chain = chain(seal).map_err(|_| NoSignature::Crypto)?;
        let results = chain.results(&seal.judgement.results(&seal.host)).map_err(|_| NoSignature::Crypto)?;
        let by = |unsigned: Result<Unsigned, NotCanonical>| {
            unsigned.ok().and_then(|unsigned| stored.key.sign(unsigned)).ok_or(NoSignature::Crypto)
        };
        let message = by(chain.message(&header, &seal.input.body_hash, &signer))?;
        let sealed = by(chain.seal(&results, &message, &signer))?;
        List::new(vec![sealed.into(), message.into(), results.into_bytes().into()]).ok_or(NoSignature::Crypto)
    }

    fn sign(&self, domain: &Domain, time: i64, input: &SigningInput) -> Result<List<serde_bytes::ByteBuf, 4>, NoSignature> {
        let ring = self.ring_of(domain)?;
        let header = SignedHeader::check(fields(input)).map_err(|_| NoSignature::Crypto)?;
        let mut signatures = List::default();
        for algorithm in ALGORITHMS {
            let stored = ring.current(algorithm, self.now()).ok_or(NoSignature::Crypto)?;
            let unsigned = Unsigned::build(&header, &input.body_hash, algorithm, domain, &stored.selector, time);
            let field = unsigned.ok().and_then(|unsigned| stored.key.sign(unsigned)).ok_or(NoSignature::Crypto)?;
            signatures.push(field.into()).map_err(|_| NoSignature::Crypto)?;
        }
        Ok(signatures)
    }

    fn list(&self, domain: &Domain) -> Result<List<Key, MAX_DKIM_KEYS>, String> {
        if domain.is_literal() {
            return Err("an address literal has no DKIM keys".into());
        }
        let ring = self.ring(domain).map_err(|e| e.to_string())?;
        self.shown(&ring)
    }

    fn shown(&self, ring: &Ring) -> Result<List<Key, MAX_DKIM_KEYS>, String> {
        let (now, rotate) = (self.now(), self.rotation());
        let shown = ring.keys().iter().map(|stored| {
            let (stage, until) = ring.stage(stored, now, rotate);
            Some(Key { selector: Text::new(stored.selector.clone()).ok()?, stage, until, record: stored.key.record()? })
        });
        shown.collect::<Option<Vec<_>>>().and_then(List::new).ok_or_else(|| "the keys cannot be shown".into())
    }

    fn rotate(&self, domain: &Domain) -> Result<List<Key, MAX_DKIM_KEYS>, String> {
        self.list(domain)?;
        let _changing = lock(&self.changing);
        let mut ring = self.cached(domain).unwrap_or_default();
        let now = self.now();
        let Some(make) = ring.by_hand(now) else {
            return Err(
                "its keys were made while the clock was ahead of what it says now; until they begin, others can only be imported".into()
            );
        };
        if make.is_empty() {
            return Err("a rotation is under way: its keys sign after the time that they are published ahead".into());
        }
        for (algorithm, from) in make {
            ring = self.make(domain, &ring, algorithm, from, now).map_err(|e| e.to_string())?;
        }
        tracing::info!(%domain, "DKIM rotation begun by hand");
        self.shown(&ring)
    }

    fn import(&self, domain: &Domain, selector: &Text<63>, pem: &Pem) -> Result<List<Key, MAX_DKIM_KEYS>, String> {
        if domain.is_literal() {
            return Err("an address literal has no DKIM keys".into());
        }
        if !is_selector(selector.as_str()) {
            return Err("a selector has lower-case letters, digits, hyphens and dots between them".into());
        }
        if !fits(domain, selector.as_str()) {
            return Err("the name of its record would be longer than a domain name can be".into());
        }
        let sections = sections(pem.0.as_bytes()).map_err(|e| format!("the key: {e}"))?;
        let key = sections.iter().find_map(DkimKey::read);
        let key = key.ok_or("there is no private key that can sign: it must be RSA of 2048 to 4096 bits, or Ed25519, as PEM")?;
        let _changing = lock(&self.changing);
        let ring = self.loaded(domain).map_err(|e| e.to_string())?;
        if ring.keys().iter().any(|k| k.selector == selector.as_str()) {
            return Err(format!("{domain} has a key {selector} already"));
        }
        let (now, algorithm) = (self.now(), key.algorithm());
        let stored = Stored { selector: selector.as_str().to_owned(), made: now, signs_from: now, key };
        let ring = self.add(domain, &ring, stored).map_err(|e| e.to_string())?;
        tracing::info!(%domain, %selector, algorithm = algorithm.tag(), "DKIM key imported");
        self.shown(&ring)
    }

    /// The keys of a domain as the calendar wants them now; the first are made when there are none.
    fn ring(&self, domain: &Domain) -> Result<Ring, NoSignature> {
        let now = self.now();
        if let Some(ring) = self.cached(domain).filter(|ring| self.due(ring, now).is_nothing()) {
            return Ok(ring);
        }
        let _changing = lock(&self.changing);
        let mut ring = self.loaded(domain)?;
        let due = self.due(&ring, now);
        for (algorithm, from) in due.make() {
            ring = self.make(domain, &ring, algorithm, from, now)?;
        }
        for selector in due.remove {
            self.files.remove(domain, &selector)?;
            tracing::info!(%domain, selector, "DKIM key removed: mail that it signed has aged out");
            ring = Ring::new(ring.keys().iter().filter(|k| k.selector != selector).cloned().collect());
            self.cache(domain, &ring);
        }
        Ok(ring)
    }

    /// What the calendar wants, if the clock can be believed; the first keys in any case.
    fn due(&self, ring: &Ring, now: i64) -> Due {
        let due = ring.due(now, self.rotation());
        let is_steady = lock(&self.steady).look(now, (self.clock.passed)());
        if is_steady { due } else { due.of_first_keys() }
    }

    fn cached(&self, domain: &Domain) -> Option<Ring> {
        lock(&self.rings).get(domain).cloned()
    }

    fn cache(&self, domain: &Domain, ring: &Ring) {
        lock(&self.rings).insert(domain.clone(), ring.clone());
    }

    fn loaded(&self, domain: &Domain) -> Result<Ring, FileError> {
        if let Some(ring) = self.cached(domain) {
            return Ok(ring);
        }
        let ring = Ring::new(self.files.load(domain)?.into_iter().map(Arc::new).collect());
        self.cache(domain, &ring);
        Ok(ring)
    }

    fn make(&self, domain: &Domain, ring: &Ring, algorithm: Algorithm, signs_from: i64, now: i64) -> Result<Ring, NoSignature> {
        let selector = selector(ring, algorithm, now).ok_or(NoSignature::Crypto)?;
        let key = DkimKey::generate(algorithm).ok_or(NoSignature::Crypto)?;
        let ring = self.add(domain, ring, Stored { selector: selector.clone(), made: now, signs_from, key })?;
        tracing::info!(%domain, selector, signs_from, "DKIM key made; publish it: postern dns");
        Ok(ring)
    }

    fn add(&self, domain: &Domain, ring: &Ring, stored: Stored) -> Result<Ring, FileError> {
        if ring.keys().len() >= MAX_DKIM_KEYS {
            return Err(FileError::TooMany(domain.as_str().into()));
        }
        self.files.save(domain, &stored)?;
        let ring = Ring::new(ring.keys().iter().cloned().chain([Arc::new(stored)]).collect());
        self.cache(domain, &ring);
        Ok(ring)
    }
}

/// `p20261121r`: the day and the algorithm, with a number behind it when it is not the first of its day.
fn selector(ring: &Ring, algorithm: Algorithm, now: i64) -> Option<String> {
    let day = OffsetDateTime::from_unix_timestamp(now).ok()?.date();
    let letter = match algorithm {
        Algorithm::Ed25519Sha256 => 'e',
        Algorithm::RsaSha256 => 'r',
    };
    let base = format!("p{:04}{:02}{:02}{letter}", day.year(), u8::from(day.month()), day.day());
    let numbered = (2..=MAX_DKIM_KEYS.saturating_add(1)).map(|n| format!("{base}{n}"));
    std::iter::once(base.clone()).chain(numbered).find(|s| is_selector(s) && ring.keys().iter().all(|k| k.selector != *s))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the record of a key can be published at all.
fn fits(domain: &Domain, selector: &str) -> bool {
    domain.as_str().len().saturating_add(selector.len()).saturating_add("._domainkey.".len()) <= MAX_NAME
}
