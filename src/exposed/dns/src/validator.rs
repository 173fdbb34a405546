//! One name, one type: asks, validates and judges. hickory checks signatures and proofs of denial; what it is given and what its verdict
//! is worth is decided here.
//!
//! hickory's verdict is one for each set of records, which is enough; but it takes a response as a whole, and three things in a response
//! would change its verdict that must not (RFC 4035 5 knows none of them):
//!
//! * an insecure record of some other zone in the authority section makes it skip the proof of a denial, or of a wildcard;
//! * the SOA and NSEC records at the end of a chain of aliases are held against its beginning, which makes right answers bogus;
//! * what it has validated once it recognises by a hash of 64 bits whose key is known.
//!
//! And one right answer is bogus for it: the records of a wildcard directly above the name, in a zone with NSEC ([`wildcard_proven`]).
//!
//! So each response is reduced to what answers exactly its question before it is validated ([`reduce`]), aliases are followed here, one
//! question each, and its cache is not used.

use crate::{
    anchors::Anchors,
    cache::Cache,
    limits::{
        CACHED_LINKS, FAILURE_TTL, MAX_LINK_TTL, MAX_NEGATIVE_TTL, MAX_TTL, NSEC3_BOGUS, NSEC3_INSECURE, QUERIES, RESPONSE_RECORDS,
        UDP_PAYLOAD,
    },
    upstream::Upstream,
};
use futures_util::{Stream, StreamExt, stream};
use hickory_resolver::{
    ConnectionProvider,
    net::{
        DnsError, NetError,
        dnssec::DnssecDnsHandle,
        xfer::{DnsHandle, FirstAnswer},
    },
    proto::{
        dnssec::{Proof, rdata::DNSSECRData},
        op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query, ResponseCode},
        rr::{Name, RData, Record, RecordType},
    },
};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What there is at one name, aliases not followed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// At least one record.
    Records { data: Vec<RData>, secure: bool, ttl: Duration },
    /// The name is another name for this one.
    Alias { target: Name, secure: bool, ttl: Duration },
    /// No such record.
    None { no_name: bool, secure: bool, ttl: Duration },
    /// There is an answer, and it is not proven what must be.
    Bogus,
    /// There is no answer.
    Unavailable,
}

impl Answer {
    /// How long it holds.
    pub(crate) fn ttl(&self) -> Duration {
        match self {
            Self::Records { ttl, .. } | Self::Alias { ttl, .. } => (*ttl).min(MAX_TTL),
            Self::None { ttl, .. } => (*ttl).min(MAX_NEGATIVE_TTL),
            Self::Bogus | Self::Unavailable => FAILURE_TTL,
        }
    }
}

/// Asks upstream and validates.
pub(crate) struct Validator<P: ConnectionProvider>(Arc<Shared<P>>);

struct Shared<P: ConnectionProvider> {
    upstream: Upstream<P>,
    anchors: Anchors,
    links: Cache<(Name, RecordType), Message>,
}

impl<P: ConnectionProvider> Validator<P> {
    pub(crate) fn new(upstream: Upstream<P>, anchors: Anchors) -> Self {
        Self(Arc::new(Shared { upstream, anchors, links: Cache::new(CACHED_LINKS) }))
    }

    pub(crate) fn upstream(&self) -> &Upstream<P> {
        &self.0.upstream
    }

    /// The answer to one question.
    pub(crate) async fn ask(&self, name: Name, kind: RecordType) -> Answer {
        let relay = Relay { shared: self.0.clone(), effort: Arc::default() };
        let root = || async {
            let message = relay.query(Query::query(Name::root(), RecordType::DNSKEY)).await.ok()?;
            Some(message.answers)
        };
        let Some(keys) = self.0.anchors.keys(root()).await else { return Answer::Unavailable };
        // No cache of its own: see the module.
        let validating = DnssecDnsHandle::with_trust_anchor(relay.clone(), keys)
            .nsec3_iteration_limits(Some(NSEC3_INSECURE), Some(NSEC3_BOGUS))
            .validation_cache_size(0);
        let query = Query::query(name, kind);
        let mut options = DnsRequestOptions::default();
        options.edns_payload_len = UDP_PAYLOAD;
        options.edns_set_dnssec_ok = true;
        let answer = match validating.lookup(query.clone(), options).first_answer().await {
            Ok(response) => judge(&query, &response, false),
            // Proven to be unproven: more iterations than anybody should compute (RFC 9276 3.2), or a span of opt-out (RFC 5155 9.2).
            Err(NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. })) => judge(&query, &response, true),
            Err(NetError::Dns(DnsError::Nsec { response, .. })) if wildcard_proven(query.name(), &response) => {
                judge(&query, &response, false)
            }
            Err(NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus)) => Answer::Bogus,
            Err(error) => {
                tracing::debug!(%query, %error, "no answer");
                Answer::Unavailable
            }
        };
        // A key that could not be fetched makes a set of records bogus for hickory. That is an outage, not an attack.
        if answer == Answer::Bogus && relay.effort.failed.load(Ordering::Relaxed) { Answer::Unavailable } else { answer }
    }
}

/// What one question has cost so far.
#[derive(Debug, Default)]
struct Effort {
    queries: AtomicUsize,
    /// A query was not answered.
    failed: AtomicBool,
}

/// The upstream as hickory wants it, for one question.
struct Relay<P: ConnectionProvider> {
    shared: Arc<Shared<P>>,
    effort: Arc<Effort>,
}

impl<P: ConnectionProvider> Clone for Relay<P> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), effort: self.effort.clone() }
    }
}

impl<P: ConnectionProvider> Relay<P> {
    /// One response, reduced to what answers the question.
    async fn query(&self, query: Query) -> Result<Message, NetError> {
        let key = (query.name().clone(), query.query_type());
        let link = matches!(query.query_type(), RecordType::DNSKEY | RecordType::DS | RecordType::NS);
        if link && let Some(message) = self.shared.links.get(&key) {
            return Ok(message);
        }
        let spent = self.effort.queries.fetch_add(1, Ordering::Relaxed);
        let response = if spent < QUERIES {
            self.shared.upstream.query(query.clone()).await
        } else {
            Err(NetError::from("one question led to too many queries"))
        };
        let message = response.and_then(|response| reduce(&query, response)).inspect_err(|error| {
            tracing::debug!(%query, %error, "query failed");
            self.effort.failed.store(true, Ordering::Relaxed);
        })?;
        if link {
            self.shared.links.put(key, message.clone(), lifetime(&message).min(MAX_LINK_TTL));
        }
        Ok(message)
    }
}

impl<P: ConnectionProvider> DnsHandle for Relay<P> {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = P::RuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let this = self.clone();
        let response = async move {
            let query = request.queries.first().cloned().ok_or(NetError::from("no question"))?;
            Ok(DnsResponse::from_message(this.query(query).await?)?)
        };
        stream::once(response).boxed()
    }
}

/// The same response without what does not answer the question: in a positive one, the records asked for or the alias, with the proof that
/// a wildcard stood for them; in a negative one, the SOA of a zone that holds the name, with its proofs of denial. Signatures stay with
/// what they cover.
pub fn reduce(query: &Query, response: Message) -> Result<Message, NetError> {
    let mut reduced = Message::response(0, response.metadata.op_code);
    reduced.metadata.response_code = response.metadata.response_code;
    reduced.add_query(query.clone());
    let (name, kind) = (query.name(), query.query_type());
    let at_name = |wanted: RecordType| response.answers.iter().filter(move |record| record.name == *name && covers(record) == wanted);
    let mut answers: Vec<Record> = at_name(kind).cloned().collect();
    if !answers.iter().any(|record| record.record_type() == kind) {
        // Signatures of nothing.
        answers.clear();
        // RFC 1034 3.6.2: an alias has no other data, but for what proves it (RFC 4035 2.5) and is never looked up through one.
        if !matches!(kind, RecordType::DS | RecordType::DNSKEY | RecordType::NS) {
            answers.extend(at_name(RecordType::CNAME).cloned());
        }
    }
    let authorities: Vec<Record> = if answers.iter().any(|record| record.record_type() != RecordType::RRSIG) {
        // The name exists, whatever the name at the end of its aliases says.
        reduced.metadata.response_code = ResponseCode::NoError;
        let signers: Vec<&Name> = answers.iter().filter_map(wildcard_signer).collect();
        denials(&response.authorities).filter(|record| proven_by(&response.authorities, record, &signers)).cloned().collect()
    } else {
        answers.clear();
        let soa = response.authorities.iter().find(|record| record.record_type() == RecordType::SOA && record.name.zone_of(name));
        match soa.map(|soa| soa.name.clone()) {
            Some(zone) => {
                let of_zone = |record: &&Record| covers(record) == RecordType::SOA && record.name == zone;
                let proofs = denials(&response.authorities).filter(|record| zone.zone_of(&record.name));
                response.authorities.iter().filter(of_zone).chain(proofs).cloned().collect()
            }
            // Without its zone a denial proves nothing; hickory then wants to know whether anything had to be proven.
            None => Vec::new(),
        }
    };
    if answers.len().saturating_add(authorities.len()) > RESPONSE_RECORDS {
        return Err(NetError::from("the response has too many records"));
    }
    reduced.add_answers(distinct(answers));
    reduced.add_authorities(distinct(authorities));
    Ok(reduced)
}

/// RFC 2181 5: a set has each record once, and signatures count on it. Quadratic in a number that has been limited.
fn distinct(records: Vec<Record>) -> Vec<Record> {
    let mut kept: Vec<Record> = Vec::new();
    for record in records {
        if !kept.iter().any(|other| other.name == record.name && other.data == record.data) {
            kept.push(record);
        }
    }
    kept
}

/// The type of a record, or of those that it signs.
fn covers(record: &Record) -> RecordType {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => signature.input().type_covered,
        _ => record.record_type(),
    }
}

fn denials(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().filter(|record| matches!(covers(record), RecordType::NSEC | RecordType::NSEC3))
}

/// Whether records that a wildcard stands for are proven to be what there is at the name (RFC 4035 5.3.4, RFC 5155 7.2.6 in its sense):
/// nothing exists at or below the name that is one label longer than the wildcard's parent, so that neither the name itself nor a closer
/// wildcard does.
fn wildcard_proven(name: &Name, response: &Message) -> bool {
    let labels = response.answers.iter().filter(|record| record.proof.is_secure() && wildcard_signer(record).is_some());
    let Some(labels) = labels.filter_map(signature_labels).min() else { return false };
    let next_closer = name.trim_to(usize::from(labels).saturating_add(1));
    response.authorities.iter().any(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::NSEC(nsec)) if record.proof.is_secure() => {
            let (owner, next) = (&record.name, nsec.next_domain_name());
            // RFC 6840 4.1: at a delegation the parent knows nothing of what is below.
            let elsewhere = nsec.is_ancestor_delegation() && owner.zone_of(&next_closer);
            // The last NSEC of a zone leads back to its apex (RFC 4034 4.1.1).
            let before_next = next_closer < *next || (next <= owner && next.zone_of(&next_closer));
            !elsewhere && *owner < next_closer && before_next && !next_closer.zone_of(next)
        }
        _ => false,
    })
}

fn signature_labels(record: &Record) -> Option<u8> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature.input().num_labels),
        _ => None,
    }
}

/// Who signed, if the signature is that of a wildcard (RFC 4035 5.3.4).
fn wildcard_signer(record: &Record) -> Option<&Name> {
    let RData::DNSSEC(DNSSECRData::RRSIG(signature)) = &record.data else { return None };
    let input = signature.input();
    (input.num_labels < record.name.num_labels()).then_some(&input.signer_name)
}

/// Whether a denial is signed by one of them: those at the end of a chain of aliases are not about this name.
fn proven_by(records: &[Record], denial: &Record, signers: &[&Name]) -> bool {
    let signs = |record: &Record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => {
            record.name == denial.name && covers(record) == covers(denial) && signers.contains(&&signature.input().signer_name)
        }
        _ => false,
    };
    !signers.is_empty() && records.iter().any(signs)
}

/// How long an unvalidated response holds: its shortest TTL; of a denial, as RFC 2308 5 says.
fn lifetime(message: &Message) -> Duration {
    if message.answers.is_empty() {
        return negative_ttl(&message.authorities);
    }
    Duration::from_secs(message.answers.iter().map(|record| record.ttl).min().unwrap_or_default().into())
}

fn negative_ttl(authorities: &[Record]) -> Duration {
    let soa = authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
        _ => None,
    });
    // RFC 2308 5: without SOA it is not kept.
    Duration::from_secs(soa.unwrap_or_default().into())
}

/// What a validated response says. Fails closed: what is neither proven nor proven to be unproven is bogus.
fn judge(query: &Query, response: &Message, unproven: bool) -> Answer {
    let of = |kind: RecordType| response.answers.iter().filter(move |record| record.record_type() == kind).collect::<Vec<_>>();
    for kind in [query.query_type(), RecordType::CNAME] {
        let records = of(kind);
        let Some(first) = records.first() else { continue };
        let Some(secure) = verdict(records.iter().map(|record| record.proof)) else { return Answer::Bogus };
        let (secure, ttl) = (secure && !unproven, Duration::from_secs(records.iter().map(|r| r.ttl).min().unwrap_or_default().into()));
        return match &first.data {
            RData::CNAME(target) if kind != query.query_type() => Answer::Alias { target: target.0.clone(), secure, ttl },
            _ => Answer::Records { data: records.into_iter().map(|record| record.data.clone()).collect(), secure, ttl },
        };
    }
    let proofs: Vec<&Record> = response.authorities.iter().filter(|record| record.record_type() != RecordType::RRSIG).collect();
    // hickory returns nothing unproven but where it has proven that nothing had to be; an empty section is such a place.
    let Some(secure) = verdict(proofs.iter().map(|record| record.proof)) else { return Answer::Bogus };
    // RFC 5155 9.2: in a span of opt-out there may be an unsigned delegation, and its names.
    let opt_out = proofs.iter().any(|record| matches!(&record.data, RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) if nsec3.opt_out()));
    let denied = denials(&response.authorities).next().is_some();
    Answer::None {
        no_name: response.response_code == ResponseCode::NXDomain,
        secure: secure && denied && !opt_out && !unproven,
        ttl: negative_ttl(&response.authorities),
    }
}

/// Secure if all are, insecure if all are one of both; none when anything is bogus or was not looked at.
fn verdict(proofs: impl Iterator<Item = Proof>) -> Option<bool> {
    let mut secure = true;
    for proof in proofs {
        match proof {
            Proof::Secure => {}
            Proof::Insecure => secure = false,
            Proof::Bogus | Proof::Indeterminate => return None,
        }
    }
    Some(secure)
}
