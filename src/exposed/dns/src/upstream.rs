//! Who is asked: servers one after the other, or the authoritative servers from the root on.

use crate::limits::{CACHED_ANSWERS, CACHED_LINKS, MAX_LINK_TTL, SERVER_TIME, UDP_PAYLOAD};
use hickory_resolver::{
    ConnectionProvider, NameServerPool, PoolContext, TlsConfig, TtlConfig,
    config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverOpts},
    net::{
        DnsError, NetError, NoRecords,
        xfer::{DnsHandle, FirstAnswer},
    },
    proto::{
        op::{DnsRequest, DnsRequestOptions, Message, Query, ResponseCode},
        rr::{Record, RecordType},
    },
    recursor::{DnssecPolicy, Recursor, RecursorOptions},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// The servers of the root (IANA root hints, 2024).
pub const ROOT_SERVERS: [IpAddr; 26] = [
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V4(Ipv4Addr::new(170, 247, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(192, 33, 4, 12)),
    IpAddr::V4(Ipv4Addr::new(199, 7, 91, 13)),
    IpAddr::V4(Ipv4Addr::new(192, 203, 230, 10)),
    IpAddr::V4(Ipv4Addr::new(192, 5, 5, 241)),
    IpAddr::V4(Ipv4Addr::new(192, 112, 36, 4)),
    IpAddr::V4(Ipv4Addr::new(198, 97, 190, 53)),
    IpAddr::V4(Ipv4Addr::new(192, 36, 148, 17)),
    IpAddr::V4(Ipv4Addr::new(192, 58, 128, 30)),
    IpAddr::V4(Ipv4Addr::new(193, 0, 14, 129)),
    IpAddr::V4(Ipv4Addr::new(199, 7, 83, 42)),
    IpAddr::V4(Ipv4Addr::new(202, 12, 27, 33)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
    IpAddr::V6(Ipv6Addr::new(0x2801, 0x1b8, 0x10, 0, 0, 0, 0, 0xb)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 2, 0, 0, 0, 0, 0xc)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 0x2d, 0, 0, 0, 0, 0xd)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 0xa8, 0, 0, 0, 0, 0xe)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 0x2f, 0, 0, 0, 0, 0xf)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 0x12, 0, 0, 0, 0, 0xd0d)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 1, 0, 0, 0, 0, 0x53)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x7fe, 0, 0, 0, 0, 0, 0x53)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xc27, 0, 0, 0, 2, 0x30)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 0x9f, 0, 0, 0, 0, 0x42)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdc3, 0, 0, 0, 0, 0, 0x35)),
];

/// One of the two.
pub(crate) enum Upstream<P: ConnectionProvider> {
    Servers(Servers<P>),
    Recursive(Box<Recursor<P>>),
}

impl<P: ConnectionProvider> Upstream<P> {
    /// Resolves from the root on. `local`, for tests: servers at loopback and private addresses may be asked too. Otherwise a stranger's
    /// delegation could have us knock at hosts of our own network.
    pub(crate) fn recursive(provider: P, roots: &[IpAddr], local: bool) -> Result<Self, String> {
        let mut remembering = ResolverOpts::default();
        remembering.positive_max_ttl = Some(MAX_LINK_TTL);
        remembering.negative_max_ttl = Some(MAX_LINK_TTL);
        let mut options = RecursorOptions {
            ns_cache_size: CACHED_LINKS,
            response_cache_size: CACHED_ANSWERS as u64,
            edns_payload_len: UDP_PAYLOAD,
            case_randomization: true,
            cache_policy: TtlConfig::from_opts(&remembering),
            ..RecursorOptions::default()
        };
        if local {
            options.deny_server.clear();
        }
        // Validated by `Validator`, whose rules are ours, as the answers of servers are.
        Recursor::new(roots, DnssecPolicy::ValidationDisabled, None, options, provider)
            .map(|recursor| Self::Recursive(Box::new(recursor)))
            .map_err(|e| e.to_string())
    }

    /// One response, whatever it says; negative ones included. An error when no server gave one.
    pub(crate) async fn query(&self, query: Query) -> Result<Message, NetError> {
        let result = match self {
            Self::Servers(servers) => servers.query(query).await,
            Self::Recursive(recursor) => recurse(recursor, query).await,
        };
        match result {
            Err(NetError::Dns(DnsError::NoRecordsFound(negative))) => Ok(denial(negative)),
            other => other,
        }
    }
}

/// The recursor follows aliases and, when there is nothing at their end, forgets them: then the alias is what there is at the name.
async fn recurse<P: ConnectionProvider>(recursor: &Recursor<P>, query: Query) -> Result<Message, NetError> {
    let name = query.name().clone();
    match recursor.resolve(query, Instant::now(), true).await.map_err(NetError::from) {
        Err(NetError::Dns(DnsError::NoRecordsFound(negative))) if *negative.query.name() != name => {
            let alias = Query::query(name, RecordType::CNAME);
            recursor.resolve(alias, Instant::now(), true).await.map_err(NetError::from)
        }
        other => other,
    }
}

/// The servers that were declared or that the system names.
pub(crate) struct Servers<P: ConnectionProvider> {
    pools: RwLock<Arc<[NameServerPool<P>]>>,
    /// The one that answered last.
    preferred: AtomicUsize,
    provider: P,
}

impl<P: ConnectionProvider> Servers<P> {
    pub(crate) fn new(provider: P, servers: &[SocketAddr]) -> Self {
        let pools = pools(&provider, servers);
        Self { pools: RwLock::new(pools), preferred: AtomicUsize::new(0), provider }
    }

    /// Other servers from now on.
    pub(crate) fn replace(&self, servers: &[SocketAddr]) {
        *self.pools.write().unwrap_or_else(PoisonError::into_inner) = pools(&self.provider, servers);
    }

    /// Asks the server that answered last, then the others: one that fails, refuses or is silent says nothing about the name.
    async fn query(&self, query: Query) -> Result<Message, NetError> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner).clone();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = NetError::NoConnections;
        for at in (0..pools.len()).map(|n| n.wrapping_add(first).checked_rem(pools.len()).unwrap_or_default()) {
            let Some(pool) = pools.get(at) else { continue };
            let mut request = DnsRequest::from_query(query.clone(), options());
            // RFC 6840 5.9: we validate ourselves, so the server must not hide from us what it thinks bogus.
            request.metadata.checking_disabled = true;
            match pool.send(request).first_answer().await {
                Ok(response) if answers(response.response_code) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(response.into_message());
                }
                Ok(response) => failure = NetError::Dns(DnsError::ResponseCode(response.response_code)),
                Err(e @ NetError::Dns(DnsError::NoRecordsFound(_))) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Err(e);
                }
                Err(e) => {
                    tracing::debug!(server = at, error = %e, %query, "no answer");
                    failure = e;
                }
            }
        }
        Err(failure)
    }
}

fn answers(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn options() -> DnsRequestOptions {
    let mut options = DnsRequestOptions::default();
    options.edns_payload_len = UDP_PAYLOAD;
    options.edns_set_dnssec_ok = true;
    // Bits that a spoofer off the path must guess beside the id and the port (draft-vixie-dnsext-dns0x20-00).
    options.case_randomization = true;
    options
}

/// One pool for each server: hickory's own order among several gives up at the first that answers with an error.
fn pools<P: ConnectionProvider>(provider: &P, servers: &[SocketAddr]) -> Arc<[NameServerPool<P>]> {
    let pool = |server: &SocketAddr| {
        let mut opts = ResolverOpts::default();
        opts.timeout = SERVER_TIME;
        opts.edns0 = true;
        opts.edns_payload_len = UDP_PAYLOAD;
        opts.case_randomization = true;
        let tls = TlsConfig::new().ok()?;
        let connection = |protocol| {
            let mut connection = ConnectionConfig::new(protocol);
            connection.port = server.port();
            connection
        };
        let connections = vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)];
        let config = NameServerConfig::new(server.ip(), true, connections);
        Some(NameServerPool::from_config([config], Arc::new(PoolContext::new(opts, tls)), provider.clone()))
    };
    servers.iter().filter_map(pool).collect()
}

/// hickory turns negative responses into errors; as a message again, with the authority section as it was.
fn denial(negative: NoRecords) -> Message {
    let mut message = Message::response(0, hickory_resolver::proto::op::OpCode::Query);
    message.metadata.response_code = negative.response_code;
    message.add_query(*negative.query);
    let mut authorities: Vec<Record> = negative.authorities.map(|records| records.to_vec()).unwrap_or_default();
    if let Some(soa) = negative.soa {
        let soa = soa.into_record_of_rdata();
        if !authorities.contains(&soa) {
            authorities.push(soa);
        }
    }
    message.add_authorities(authorities);
    message
}
