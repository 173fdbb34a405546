//! A question of the edge: which names and types it means, aliases followed, answers remembered.

use crate::{
    anchors::Anchors,
    cache::Cache,
    limits::{ALIASES, ANSWER_BYTES, CACHED_ANSWERS, ORIGIN_QUESTIONS, ORIGIN_TIME, QUESTION_TIME, QUESTIONS},
    upstream::{ROOT_SERVERS, Servers, Upstream},
    validator::{Answer, Validator},
};
use hickory_resolver::{
    ConnectionProvider,
    proto::rr::{Name, RData, RecordType},
};
use pure_addr::{Domain, Text};
use serde_bytes::ByteBuf;
use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinHandle};
use wire::{
    Error, List, Reply, Service,
    edge::{
        dns_scan::{self, DnsForScan},
        send_names::{MAX_RECORDS, Mx, Records, Request, Response, SendNames, Tlsa},
    },
};

/// Most texts of one answer.
const MAX_TEXTS: usize = 16;

/// Answers questions about names.
pub struct Resolver<P: ConnectionProvider>(Arc<Inner<P>>);

pub(crate) struct Inner<P: ConnectionProvider> {
    validator: Validator<P>,
    answers: Cache<(Name, RecordType), Answer>,
    questions: Semaphore,
    /// Those of scan, which strangers choose, so that they take no place from those of send.
    origin_questions: Semaphore,
    time: Duration,
}

impl<P: ConnectionProvider> Resolver<P> {
    /// Asks these servers, first to last.
    pub fn forwarding(provider: P, servers: &[SocketAddr], anchors: Anchors) -> Self {
        Self::new(Upstream::Servers(Servers::new(provider, servers)), anchors)
    }

    /// Asks the authoritative servers, from the root on.
    pub fn recursive(provider: P, anchors: Anchors) -> Result<Self, String> {
        Ok(Self::new(Upstream::recursive(provider, &ROOT_SERVERS, false)?, anchors))
    }

    /// As [`Self::recursive`] with other servers of the root, and delegations to loopback addresses followed: for tests.
    pub fn recursive_from(provider: P, anchors: Anchors, roots: &[IpAddr]) -> Result<Self, String> {
        Ok(Self::new(Upstream::recursive(provider, roots, true)?, anchors))
    }

    fn new(upstream: Upstream<P>, anchors: Anchors) -> Self {
        Self(Arc::new(Inner {
            validator: Validator::new(upstream, anchors),
            answers: Cache::new(CACHED_ANSWERS),
            questions: Semaphore::new(QUESTIONS),
            origin_questions: Semaphore::new(ORIGIN_QUESTIONS),
            time: QUESTION_TIME,
        }))
    }

    /// The same with another time limit for each question.
    pub fn with_time(self, time: Duration) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Self(Arc::new(Inner { time, ..inner })),
            Err(shared) => Self(shared),
        }
    }

    /// Other servers from now on; nothing in recursive mode.
    pub fn replace_servers(&self, servers: &[SocketAddr]) {
        if let Upstream::Servers(current) = self.0.validator.upstream() {
            current.replace(servers);
        }
    }

    /// Whether answers can be validated at all: the root's own records must prove to be secure. False when no server answers, or one that
    /// drops signatures, behind which every name is bogus.
    pub async fn validates(&self) -> bool {
        matches!(self.0.validator.ask(Name::root(), RecordType::SOA).await, Answer::Records { secure: true, .. })
    }

    /// The answer to a question, within the time limit.
    pub async fn answer(&self, request: Request) -> Response {
        let inner = self.0.clone();
        let answer = self.within(self.0.time, async move {
            let _slot = inner.questions.acquire().await.ok()?;
            Some(inner.answer(request).await)
        });
        answer.await.unwrap_or(Response::Unavailable)
    }

    /// The answer to a question of scan, within the time limit.
    pub async fn origin(&self, request: dns_scan::Request) -> dns_scan::Response {
        let inner = self.0.clone();
        let answer = self.within(self.0.time.min(ORIGIN_TIME), async move {
            let _slot = inner.origin_questions.acquire().await.ok()?;
            Some(inner.origin(request).await)
        });
        answer.await.unwrap_or(dns_scan::Response::Unavailable)
    }

    async fn within<T: Send + 'static>(&self, time: Duration, answer: impl Future<Output = Option<T>> + Send + 'static) -> Option<T> {
        // A task of its own: a panic in the library costs this question and no other.
        let mut task = Task(tokio::spawn(answer));
        match tokio::time::timeout(time, &mut task.0).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                tracing::error!(%error, "a question could not be answered");
                None
            }
            Err(_elapsed) => None,
        }
    }
}

/// Ends with whoever waits for it.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<P: ConnectionProvider> Service<SendNames> for Resolver<P> {
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply<SendNames>, Error> {
        if !fds.is_empty() {
            return Err(Error::Malformed("a descriptor where none may be"));
        }
        Ok(Reply::new(self.answer(request).await))
    }
}

impl<P: ConnectionProvider> Service<DnsForScan> for Resolver<P> {
    async fn call(&self, request: dns_scan::Request, fds: Vec<OwnedFd>) -> Result<Reply<DnsForScan>, Error> {
        if !fds.is_empty() {
            return Err(Error::Malformed("a descriptor where none may be"));
        }
        Ok(Reply::new(self.origin(request).await))
    }
}

/// What there is at the end of the aliases.
pub(crate) struct Found {
    pub(crate) answer: Answer,
    /// The name at the end, if it is another.
    canonical: Option<Name>,
    /// Every alias on the way was proven.
    secure: bool,
}

impl<P: ConnectionProvider> Inner<P> {
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let (name, kind) = match &request {
            Request::Mx(domain) => (name_of("", domain), RecordType::MX),
            Request::Addresses(host) => return self.addresses(host).await,
            // RFC 6698 3.
            Request::Tlsa { port, host } => (name_of(&format!("_{port}._tcp."), host), RecordType::TLSA),
            Request::MtaSts(domain) => (name_of("_mta-sts.", domain), RecordType::TXT),
            Request::TlsReporting(domain) => (name_of("_smtp._tls.", domain), RecordType::TXT),
        };
        let Some(name) = name else { return NO_SUCH_NAME };
        let found = self.follow(name, kind).await;
        let Answer::Records { data, secure, .. } = found.answer else { return without_records(&found) };
        let records = match kind {
            RecordType::MX => Some(Records::Mx(List::new(exchanges(&data)).unwrap_or_default())),
            RecordType::TLSA => associations(&data),
            _ => Some(texts(&data)),
        };
        // There are records, and none can be said: not the same as none (RFC 7672 2.1), so the caller waits.
        let Some(records) = records else { return Response::Unavailable };
        match canonical(found.canonical) {
            Ok(canonical) => Response::Found { secure: secure && found.secure, canonical, records },
            Err(Unspeakable) => Response::Found { secure: false, canonical: None, records },
        }
    }

    /// A and AAAA at once. One of both is enough unless the other is bogus; what is said to be secure is so in both.
    async fn addresses(&self, host: &Domain) -> Response {
        let Some(name) = name_of("", host) else { return NO_SUCH_NAME };
        let (v6, v4) = tokio::join!(self.follow(name.clone(), RecordType::AAAA), self.follow(name, RecordType::A));
        let both = [v6, v4];
        if both.iter().any(|found| found.answer == Answer::Bogus) {
            return Response::Bogus;
        }
        let mut addresses: Vec<IpAddr> = Vec::new();
        let (mut all_secure, mut alias) = (true, None);
        for found in &both {
            match &found.answer {
                Answer::Records { data, secure, .. } => {
                    addresses.extend(data.iter().filter_map(address).take(MAX_RECORDS / 2));
                    all_secure &= *secure && found.secure;
                    alias = alias.or_else(|| found.canonical.clone());
                }
                Answer::None { secure, .. } => all_secure &= *secure && found.secure,
                _ => {}
            }
        }
        if addresses.is_empty() {
            let absent = both.iter().find(|found| found.answer == Answer::Unavailable).or_else(|| {
                // Of two denials the less certain counts.
                both.iter().find(|found| !matches!(&found.answer, Answer::None { secure: true, .. }) || !found.secure)
            });
            let [_, v4] = &both;
            return without_records(absent.unwrap_or(v4));
        }
        let records = Records::Addresses(List::new(addresses).unwrap_or_default());
        match canonical(alias) {
            Ok(canonical) => Response::Found { secure: all_secure, canonical, records },
            Err(Unspeakable) => Response::Found { secure: false, canonical: None, records },
        }
    }

    /// Follows aliases to an answer that is none.
    pub(crate) async fn follow(&self, name: Name, kind: RecordType) -> Found {
        let (mut at, mut secure) = (name, true);
        let mut canonical = None;
        for _ in 0..=ALIASES {
            match self.ask(&at, kind).await {
                Answer::Alias { target, secure: proven, .. } => {
                    secure &= proven;
                    at = target.to_lowercase();
                    canonical = Some(at.clone());
                }
                answer => return Found { answer, canonical, secure },
            }
        }
        tracing::info!(name = %at, "aliases without end");
        Found { answer: Answer::Unavailable, canonical, secure }
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Answer {
        if special(name) {
            return Answer::None { no_name: true, secure: true, ttl: Duration::ZERO };
        }
        let key = (name.clone(), kind);
        if let Some(answer) = self.answers.get(&key) {
            return answer;
        }
        let answer = self.validator.ask(name.clone(), kind).await;
        if answer == Answer::Bogus {
            tracing::warn!(%name, %kind, "the answer is bogus: DNSSEC signatures that must be there are wrong, expired or missing");
        }
        self.answers.put(key, answer.clone(), answer.ttl());
        answer
    }
}

pub(crate) fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// A name that cannot exist, by the grammar.
const NO_SUCH_NAME: Response = Response::None { secure: true, no_name: true };

/// The name under a domain; none if there cannot be one: an address literal, or longer than 255 octets (RFC 1035 2.3.4).
pub(crate) fn name_of(prefix: &str, domain: &Domain) -> Option<Name> {
    if domain.is_literal() {
        return None;
    }
    Name::from_ascii(format!("{prefix}{domain}.")).ok()
}

/// Names that no server may be asked for, since none has them: localhost and invalid (RFC 6761 6.3, 6.4), onion (RFC 7686 2).
fn special(name: &Name) -> bool {
    let last = name.iter().next_back().unwrap_or_default();
    ["localhost", "invalid", "onion"].iter().any(|special| last.eq_ignore_ascii_case(special.as_bytes()))
}

fn without_records(found: &Found) -> Response {
    match found.answer {
        Answer::None { no_name, secure, .. } => Response::None { secure: secure && found.secure, no_name },
        Answer::Bogus => Response::Bogus,
        _ => Response::Unavailable,
    }
}

/// A name that is no domain name of ours: too strange to be a host.
struct Unspeakable;

fn canonical(name: Option<Name>) -> Result<Option<Domain>, Unspeakable> {
    name.map(|name| domain_of(&name).ok_or(Unspeakable)).transpose()
}

pub(crate) fn domain_of(name: &Name) -> Option<Domain> {
    let text = name.to_lowercase().to_ascii();
    Domain::parse(text.strip_suffix('.').unwrap_or(&text)).ok().filter(|domain| !domain.is_literal())
}

/// RFC 5321 5.1: most preferred first. Those whose host is no host name are left out, and a null MX beside others too, since it
/// would contradict them (RFC 7505 3).
pub(crate) fn exchanges(data: &[RData]) -> Vec<Mx> {
    let known = |data: &RData| match data {
        RData::MX(mx) if mx.exchange.is_root() => Some(Mx { preference: mx.preference, host: None }),
        RData::MX(mx) => Some(Mx { preference: mx.preference, host: Some(domain_of(&mx.exchange)?) }),
        _ => None,
    };
    let mut list: Vec<Mx> = data.iter().filter_map(known).collect();
    if list.iter().any(|mx| mx.host.is_some()) {
        list.retain(|mx| mx.host.is_some());
    }
    list.sort_by_key(|mx| mx.preference);
    list.truncate(if list.iter().any(|mx| mx.host.is_some()) { MAX_RECORDS } else { 1 });
    list
}

/// None when there are records and not one fits.
fn associations(data: &[RData]) -> Option<Records> {
    let mut left = ANSWER_BYTES;
    let mut list = List::<Tlsa, MAX_RECORDS>::default();
    for data in data {
        let RData::TLSA(tlsa) = data else { continue };
        let Some(rest) = left.checked_sub(tlsa.cert_data.len()) else { continue };
        let record = Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: ByteBuf::from(tlsa.cert_data.clone()),
        };
        if list.push(record).is_ok() {
            left = rest;
        }
    }
    (!list.is_empty()).then_some(Records::Tlsa(list))
}

/// The texts that begin as a version does come first (RFC 8461 3.1, RFC 8460 3): there may be many others at a name. What is no text is
/// left out.
fn texts(data: &[RData]) -> Records {
    let known = |data: &RData| match data {
        RData::TXT(txt) => Text::new(String::from_utf8(txt.txt_data.concat()).ok()?).ok(),
        _ => None,
    };
    let mut list: Vec<Text<2048>> = data.iter().filter_map(known).collect();
    list.sort_by_key(|text| !text.as_str().starts_with("v="));
    list.truncate(MAX_TEXTS);
    Records::Text(List::new(list).unwrap_or_default())
}
