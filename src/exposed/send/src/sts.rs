//! MTA-STS policies: found, fetched, remembered (RFC 8461 3.3, 5.1).

use crate::{
    bounded::BoundedMap,
    connect::{self, is_public},
    dns::{Answer, Dns},
    http::{self, Response},
    limits::{FETCH_AGAIN, MAX_ADDRESSES, MAX_FETCHES, MAX_POLICIES},
    settings::Settings,
    tls::{self, Expected},
};
use pure_addr::Domain;
use pure_tlspolicy::{
    Requirement,
    sts::{MAX_POLICY, Policy, record_id},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    time::Instant,
};
use wire::edge::send_deliver::TlsFailure;

/// What is known of a domain.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    policy: Option<Arc<Policy>>,
    /// Until when the policy holds.
    expires: Instant,
    /// When this id could not be fetched: not before then again.
    again: Option<Instant>,
}

/// What is found.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// This policy holds.
    Policy(Arc<Policy>),
    /// There is none.
    Nothing,
    /// There is one that nobody here has ever seen and that cannot be had now: as if there were none (RFC 8461 3.3), but reported.
    Unfetched(TlsFailure),
    /// It cannot be known now whether there is one.
    Unknown,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Policies {
    known: Mutex<BoundedMap<Domain, Known>>,
    fetches: Semaphore,
}

/// Why a policy was not had.
struct Unfetched {
    failure: TlsFailure,
    text: String,
}

impl Policies {
    pub(crate) fn new() -> Self {
        Self { known: Mutex::new(BoundedMap::new(MAX_POLICIES)), fetches: Semaphore::new(MAX_FETCHES) }
    }

    fn known(&self) -> MutexGuard<'_, BoundedMap<Domain, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policy of a domain.
    pub(crate) async fn find(&self, domain: &Domain, dns: &Dns, settings: &Settings, own: &[IpAddr]) -> Found {
        let before = self.known().get(domain).cloned();
        // RFC 8461 5.1: what was fetched holds until it expires, whatever the DNS says.
        let held = before.as_ref().filter(|known| Instant::now() < known.expires).and_then(|known| known.policy.clone());
        let id = match dns.mta_sts(domain).await {
            Answer::Found { records, .. } => record_id(records.iter().map(String::as_str)),
            Answer::None { .. } => None,
            Answer::Bogus | Answer::Unavailable => return held.map_or(Found::Unknown, Found::Policy),
        };
        let Some(id) = id else { return held.map_or(Found::Nothing, Found::Policy) };
        let same = before.as_ref().filter(|known| known.id == id);
        if let (Some(_), Some(policy)) = (same.filter(|known| known.again.is_none()), &held) {
            return Found::Policy(policy.clone());
        }
        let failure = if same.and_then(|known| known.again).is_some_and(|again| Instant::now() < again) {
            TlsFailure::StsPolicyFetchError
        } else {
            match self.fetch(domain, dns, settings, own).await {
                Ok(policy) => {
                    let policy = Arc::new(policy);
                    let expires = Instant::now().checked_add(policy.max_age).unwrap_or_else(Instant::now);
                    tracing::info!(%domain, id, mode = ?policy.mode, "MTA-STS policy fetched");
                    self.known().insert(domain.clone(), Known { id, policy: Some(policy.clone()), expires, again: None });
                    return Found::Policy(policy);
                }
                Err(Unfetched { failure, text }) => {
                    tracing::warn!(%domain, id, reason = text, "MTA-STS policy cannot be fetched");
                    let again = Instant::now().checked_add(FETCH_AGAIN);
                    let expires = before.as_ref().map_or_else(Instant::now, |known| known.expires);
                    let policy = before.and_then(|known| known.policy);
                    self.known().insert(domain.clone(), Known { id, policy, expires, again });
                    failure
                }
            }
        };
        held.map_or(Found::Unfetched(failure), Found::Policy)
    }

    async fn fetch(&self, domain: &Domain, dns: &Dns, settings: &Settings, own: &[IpAddr]) -> Result<Policy, Unfetched> {
        let failed = |text: &str| Unfetched { failure: TlsFailure::StsPolicyFetchError, text: text.into() };
        let _turn = self.fetches.acquire().await.map_err(|_| failed("shutting down"))?;
        let name = Domain::parse(&format!("mta-sts.{domain}")).map_err(|_| failed("the name would be too long"))?;
        tokio::time::timeout(settings.limits.fetch, get(&name, dns, settings, own)).await.unwrap_or_else(|_| Err(failed("took too long")))
    }
}

/// RFC 8461 3.3: the file at its place, by HTTPS, from a host whose certificate is good.
async fn get(name: &Domain, dns: &Dns, settings: &Settings, own: &[IpAddr]) -> Result<Policy, Unfetched> {
    let failed = |text: String| Unfetched { failure: TlsFailure::StsPolicyFetchError, text };
    let Answer::Found { records, .. } = dns.addresses(name).await else { return Err(failed(format!("{name} has no address"))) };
    let mut last = failed(format!("no address of {name} may be connected to"));
    for address in connect::in_turn(records, &settings.random).into_iter().take(MAX_ADDRESSES) {
        if !is_public(address, own, settings.reach) {
            continue;
        }
        let to = SocketAddr::new(address, settings.reach.https);
        let socket = match connect::connect(to, &settings.source_addresses, settings.limits.connect).await {
            Ok(socket) => socket,
            Err(error) => {
                last = failed(format!("{to}: {}", connect::explain(&error, address)));
                continue;
            }
        };
        let server = tls::server_name(name).ok_or_else(|| failed("not a host name".into()))?;
        let expected = Expected { name: server, further: Vec::new(), requirement: Requirement::Verify, roots: settings.roots.clone() };
        let mut stream = tls::handshake(socket, expected, settings.limits.connect)
            .await
            .map_err(|refused| Unfetched { failure: TlsFailure::StsWebpkiInvalid, text: refused.text })?
            .stream;
        let request = http::get(name.as_str(), "/.well-known/mta-sts.txt");
        stream.write_all(request.as_bytes()).await.map_err(|e| failed(e.to_string()))?;
        stream.flush().await.map_err(|e| failed(e.to_string()))?;
        let (mut response, mut buffer) = (Response::new(MAX_POLICY), vec![0; 8 * 1024]);
        let body = loop {
            // Without close_notify the end may be anybody's: whoever cuts the connection must not cut the policy.
            let count = match stream.read(&mut buffer).await {
                Ok(0) => break response.closed(true),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break response.closed(false),
                Err(error) => return Err(failed(error.to_string())),
            };
            match response.receive(buffer.get(..count).unwrap_or_default()) {
                Ok(None) => {}
                Ok(Some(body)) => break Ok(body),
                Err(error) => break Err(error),
            }
        };
        let body = body.map_err(|e| failed(e.to_string()))?;
        return Policy::parse(&body)
            .map_err(|error| Unfetched { failure: TlsFailure::StsPolicyInvalid, text: format!("the policy {error}") });
    }
    Err(last)
}
