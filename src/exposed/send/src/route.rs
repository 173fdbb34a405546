//! The way of a lease: its hosts in order, their addresses in turn, what each connection must be, and the sessions.

use crate::{
    attempt::{Attempt, Served},
    connect::{self, explain, in_turn, is_allowed, is_no_route},
    dns::Answer,
    hosts::{self, Host, NoHost},
    limits::{MAX_ADDRESSES, MAX_HOSTS, MAX_SESSIONS},
    message::Message,
    outcome::{self, Peer},
    pool::{Idle, Key},
    service::Means,
    session::{Session, Unopened},
    settings::{Settings, Smarthost},
    sts::Found,
    tls::{self, Expected},
};
use pure_addr::{Domain, Text};
use pure_config::{SmarthostName, SmarthostTls};
use pure_sasl::Secret;
use pure_smtp::client::{ClientSettings, Failure, Login, StartTls};
use pure_tlspolicy::{Basis, Decision, Evidence, Override, Requirement, dane::Tlsa, decide};
use rustls::RootCertStore;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use wire::{
    List,
    edge::send_deliver::{Route, Status, TlsFailure, TlsPolicy, TlsResult},
};

/// One lease under way.
pub(crate) struct Way<'a, 'l> {
    pub(crate) sender: &'a Means,
    pub(crate) settings: &'a Settings,
    pub(crate) attempt: &'a mut Attempt<'l>,
    pub(crate) message: &'a Message,
    sessions: usize,
    addresses: usize,
    own: Vec<IpAddr>,
    sts: Option<Found>,
}

/// One host and what a connection to it must be.
struct Target {
    host: Domain,
    port: u16,
    key: Key,
    basis: Basis,
    testing: bool,
    policy_text: List<Text<500>, 32>,
    roots: Arc<RootCertStore>,
    /// Names beside the host's that its certificate may carry.
    further: Vec<Domain>,
    /// Of a smarthost.
    smarthost: Option<Smarthost>,
}

impl<'a, 'l> Way<'a, 'l> {
    pub(crate) fn new(sender: &'a Means, settings: &'a Settings, attempt: &'a mut Attempt<'l>, message: &'a Message) -> Self {
        Self { sender, settings, attempt, message, sessions: 0, addresses: 0, own: Vec::new(), sts: None }
    }

    pub(crate) async fn go(&mut self) {
        let lease = self.attempt.lease;
        match &lease.route {
            Route::Smarthost(name) => self.by_smarthost(name.as_str()).await,
            Route::Direct(domain) => self.direct(domain).await,
        }
    }

    async fn by_smarthost(&mut self, name: &str) {
        let Some(smarthost) = self.settings.smarthosts.get(name) else {
            let text = format!("there is no smarthost {name} in the configuration");
            return self.attempt.host_failed(false, outcome::trace(Status(4, 3, 5), &text));
        };
        let (host, addresses) = match &smarthost.host {
            SmarthostName::Address(address) => (literal_domain(*address), vec![*address]),
            SmarthostName::Name(host) => match self.sender.dns.addresses(host).await {
                Answer::Found { records, .. } => (Some(host.clone()), in_turn(records, &self.settings.random)),
                _ => {
                    let text = format!("the DNS has no address now for the smarthost {host}");
                    return self.attempt.host_failed(false, outcome::trace(Status(4, 4, 3), &text));
                }
            },
        };
        let Some(host) = host else { return };
        let requirement = match smarthost.tls {
            SmarthostTls::Implicit | SmarthostTls::StartTls => Requirement::Verify,
            SmarthostTls::None => Requirement::Plain,
        };
        let peer = Peer { host: host.clone(), address: None, tls: None };
        if self.attempt.lease.require_tls && requirement == Requirement::Plain {
            let text = "the message requires TLS, and this smarthost is declared without";
            return self.attempt.host_failed(true, peer.trace(Status(5, 7, 30), text));
        }
        if smarthost.user.is_some() && smarthost.password.is_none() {
            let text = format!("there is no password for this smarthost: give the credential smarthost.{name} to the process send");
            return self.attempt.host_failed(false, peer.trace(Status(4, 7, 0), &text));
        }
        let target = Target {
            key: Key { route: self.attempt.lease.route.clone(), host: host.clone(), requirement },
            host,
            port: smarthost.port,
            basis: Basis::None,
            testing: false,
            policy_text: List::default(),
            roots: smarthost.roots.clone(),
            further: Vec::new(),
            smarthost: Some(smarthost.clone()),
        };
        self.try_target(&target, addresses).await;
    }

    async fn direct(&mut self, domain: &Domain) {
        self.own = self.own_addresses().await;
        if let Some(address) = tls::literal(domain) {
            let host = Host { name: domain.clone(), preference: 0 };
            self.try_host(domain, &host, true, Answer::Found { secure: false, canonical: None, records: vec![address] }).await;
            return;
        }
        let answer = self.sender.dns.mx(domain).await;
        let mut hosts = match hosts::select(domain, answer, &self.settings.hostname, &self.settings.random) {
            Ok(hosts) => hosts,
            Err(none) => return self.no_host(domain, none),
        };
        // RFC 5321 5.1 by address too: a host at one of our own addresses is ourselves under another name.
        let mut ready = Vec::new();
        hosts.list.truncate(MAX_HOSTS);
        for host in hosts.list {
            let answer = self.sender.dns.addresses(&host.name).await;
            let is_own = matches!(&answer, Answer::Found { records, .. } if records.iter().any(|a| self.own.contains(&a.to_canonical())));
            if is_own {
                ready.retain(|(before, _): &(Host, _)| before.preference < host.preference);
                if ready.is_empty() {
                    return self.no_host(domain, hosts::looped(domain));
                }
                break;
            }
            ready.push((host, answer));
        }
        for (host, answer) in ready {
            if self.sessions >= MAX_SESSIONS || self.addresses >= MAX_ADDRESSES || !self.attempt.goes_on() {
                return;
            }
            self.try_host(domain, &host, hosts.secure, answer).await;
        }
    }

    fn no_host(&mut self, domain: &Domain, none: NoHost) {
        if none.bogus {
            self.report(domain, domain, None, TlsPolicy::Dane, List::default(), Some(TlsFailure::DnssecInvalid));
        }
        self.attempt.host_failed(none.permanent, outcome::trace(none.status, &none.text));
    }

    /// Where connections to this host arrive: what is declared, and what the DNS says of our name.
    async fn own_addresses(&self) -> Vec<IpAddr> {
        let mut own = self.settings.source_addresses.clone();
        if let Answer::Found { records, .. } = self.sender.dns.addresses(&self.settings.hostname).await {
            own.extend(records);
        }
        own.iter().map(IpAddr::to_canonical).collect()
    }

    async fn try_host(&mut self, domain: &Domain, host: &Host, mx_secure: bool, answer: Answer<IpAddr>) {
        let peer = Peer { host: host.name.clone(), address: None, tls: None };
        let (addresses, secure, canonical) = match answer {
            Answer::Found { secure, canonical, records } => (records, secure, canonical),
            Answer::None { .. } => return self.attempt.host_failed(true, peer.trace(Status(5, 4, 4), "this host has no address")),
            Answer::Bogus => {
                self.report(domain, &host.name, None, TlsPolicy::Dane, List::default(), Some(TlsFailure::DnssecInvalid));
                return self.attempt.host_failed(false, peer.trace(Status(4, 7, 0), "the DNSSEC signatures of its addresses do not hold"));
            }
            Answer::Unavailable => {
                return self.attempt.host_failed(false, peer.trace(Status(4, 4, 3), "the DNS does not tell its addresses now"));
            }
        };
        let (good, bad): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(|a| is_allowed(*a, &self.own, self.settings));
        if good.is_empty() {
            tracing::warn!(host = %host.name, addresses = ?bad, "no mail goes to this host's addresses; send.private_networks may allow them");
            // What it says of itself, and as permanent as no address at all: like a null MX (RFC 7505 4), nobody is kept waiting for days.
            return self
                .attempt
                .host_failed(true, peer.trace(Status(5, 4, 4), "its addresses are not public, so no mail can be sent there"));
        }
        let Some(target) = self.target(domain, host, mx_secure, secure, canonical, &peer).await else { return };
        self.try_target(&target, in_turn(good, &self.settings.random)).await;
    }

    /// What a connection to this host must be; none when it must not be.
    async fn target(
        &mut self,
        domain: &Domain,
        host: &Host,
        mx_secure: bool,
        secure: bool,
        canonical: Option<Domain>,
        peer: &Peer,
    ) -> Option<Target> {
        let declared = self.settings.destinations.get(domain);
        let name = &host.name;
        // RFC 8689 3: the destination's policy does not count for this message; what is declared here does.
        let by_policy = !self.attempt.lease.tls_optional;
        let wants_dane = (declared.is_none() && by_policy || declared == Some(&Override::DaneOnly)) && tls::literal(name).is_none();
        let records = if wants_dane && mx_secure && secure {
            match self.tlsa(name, canonical.as_ref()).await {
                Ok(records) => records,
                Err(failure) => {
                    if failure == TlsFailure::DnssecInvalid {
                        self.report(domain, name, None, TlsPolicy::Dane, List::default(), Some(failure));
                    }
                    // RFC 7672 2.1.2: not to this host, and never as if there were none.
                    self.attempt.host_failed(false, peer.trace(Status(4, 7, 0), "its TLSA records cannot be looked up or validated now"));
                    return None;
                }
            }
        } else {
            None
        };
        let by_dane = declared.is_none() && records.as_ref().is_some_and(|r| r.iter().any(Tlsa::is_usable));
        let wants_sts = !by_dane && by_policy && (declared.is_none() || self.attempt.lease.require_tls) && tls::literal(domain).is_none();
        let policy = if wants_sts {
            let found = match &self.sts {
                Some(found) => found.clone(),
                None => self.sender.policies.find(domain, &self.sender.dns, self.settings, &self.own).await,
            };
            let first = self.sts.replace(found.clone()).is_none();
            match found {
                Found::Policy(policy) => Some(policy),
                Found::Nothing => None,
                Found::Unfetched(failure) => {
                    if first {
                        self.report(domain, name, None, TlsPolicy::MtaSts, List::default(), Some(failure));
                    }
                    None
                }
                Found::Unknown => {
                    let text = "the DNS does not say now whether the domain has an MTA-STS policy";
                    self.attempt.host_failed(false, peer.trace(Status(4, 4, 3), text));
                    return None;
                }
            }
        } else {
            None
        };
        let evidence = Evidence {
            tlsa: records.as_deref(),
            sts: policy.as_deref(),
            require_tls: self.attempt.lease.require_tls,
            secure_name: mx_secure,
        };
        let tlsa_text = || lines(records.iter().flatten().map(Tlsa::to_text));
        let sts_text = || lines(policy.iter().flat_map(|p| p.lines()));
        let refused = |status, text: &str| peer.trace(status, text);
        let (requirement, basis, testing) = match decide(name.as_str(), declared, &evidence) {
            Decision::Connect { requirement, basis, testing } => (requirement, basis, testing),
            Decision::DaneRequired => {
                self.report(domain, name, None, TlsPolicy::Dane, tlsa_text(), Some(TlsFailure::DaneRequired));
                self.attempt
                    .host_failed(false, refused(Status(4, 7, 0), "TLSA records are required for it (dane-only), and there are none"));
                return None;
            }
            Decision::NotInPolicy => {
                self.report(domain, name, None, TlsPolicy::MtaSts, sts_text(), Some(TlsFailure::ValidationFailure));
                self.attempt.host_failed(false, refused(Status(4, 7, 0), "the domain's MTA-STS policy does not name this host"));
                return None;
            }
            Decision::Unauthenticated => {
                let text = "the message requires TLS with a host that is known securely, and neither DNSSEC nor MTA-STS says who that is";
                self.attempt.host_failed(true, refused(Status(5, 7, 30), text));
                return None;
            }
        };
        let policy_text = match basis {
            Basis::Dane => tlsa_text(),
            Basis::Sts => sts_text(),
            Basis::None => List::default(),
        };
        Some(Target {
            key: Key { route: self.attempt.lease.route.clone(), host: name.clone(), requirement },
            host: name.clone(),
            port: self.settings.reach.smtp,
            basis,
            testing,
            policy_text,
            roots: self.settings.roots.clone(),
            // RFC 7672 3.2.2: the destination itself, and what the host's name is an alias of.
            further: std::iter::once(domain.clone()).chain(canonical).filter(|_| basis == Basis::Dane).collect(),
            smarthost: None,
        })
    }

    /// RFC 7672 2.2.2: below the name that an alias leads to, else below the host's own. None: nothing secure is there.
    async fn tlsa(&self, host: &Domain, canonical: Option<&Domain>) -> Result<Option<Vec<Tlsa>>, TlsFailure> {
        for name in canonical.into_iter().chain([host]) {
            match self.sender.dns.tlsa(self.settings.reach.smtp, name).await {
                Answer::Found { secure: true, records, .. } => return Ok(Some(records)),
                Answer::Found { secure: false, .. } | Answer::None { .. } => {}
                Answer::Bogus => return Err(TlsFailure::DnssecInvalid),
                Answer::Unavailable => return Err(TlsFailure::ValidationFailure),
            }
        }
        Ok(None)
    }

    async fn try_target(&mut self, target: &Target, addresses: Vec<IpAddr>) {
        if let Some(Idle { mut session, address }) = self.sender.pool.take(&target.key).await {
            let peer = Peer { host: target.host.clone(), address: Some(address), tls: session.tls.clone() };
            let served = self.attempt.serve(&mut session, &peer, self.message, true).await;
            self.put_back(target, session, address);
            if served == Served::Used {
                self.sessions = self.sessions.saturating_add(1);
                return;
            }
        }
        for address in addresses {
            if self.addresses >= MAX_ADDRESSES || !self.attempt.goes_on() {
                return;
            }
            let Some(mut session) = self.open(target, address).await else { continue };
            self.sessions = self.sessions.saturating_add(1);
            let peer = Peer { host: target.host.clone(), address: Some(address), tls: session.tls.clone() };
            self.attempt.serve(&mut session, &peer, self.message, false).await;
            self.put_back(target, session, address);
            return;
        }
    }

    fn put_back(&self, target: &Target, session: Session, address: IpAddr) {
        self.sender.pool.keep(target.key.clone(), Idle { session, address }, self.settings.limits.idle);
    }

    /// A session with one address of a host. When TLS is only a matter of chance and fails, once more without (RFC 7435 3).
    async fn open(&mut self, target: &Target, address: IpAddr) -> Option<Session> {
        let mut plain = target.key.requirement == Requirement::Plain;
        loop {
            let peer = Peer { host: target.host.clone(), address: Some(address), tls: None };
            let to = SocketAddr::new(address, target.port);
            let socket = match connect::connect(to, &self.settings.source_addresses, self.settings.limits.connect).await {
                Ok(socket) => socket,
                Err(error) => {
                    if !is_no_route(&error) {
                        self.addresses = self.addresses.saturating_add(1);
                    }
                    self.attempt.host_failed(false, peer.trace(Status(4, 4, 1), &format!("cannot connect: {}", explain(&error, address))));
                    return None;
                }
            };
            self.addresses = self.addresses.saturating_add(1);
            match self.converse(target, socket, plain).await {
                Ok(session) => {
                    self.opened(target, address, &session, plain);
                    return Some(session);
                }
                Err(Unopened::Tls(refused)) => {
                    self.report_target(target, address, Some(refused.failure));
                    if target.key.requirement == Requirement::Opportunistic && !plain {
                        tracing::warn!(host = %target.host, %address, reason = refused.text, "TLS fails; once more without");
                        plain = true;
                        continue;
                    }
                    self.attempt.host_failed(false, peer.trace(Status(4, 7, 5), &refused.text));
                    return None;
                }
                Err(Unopened::Smtp(failure)) => {
                    if matches!(failure, Failure::NoStartTls | Failure::StartTlsRefused(_) | Failure::Injected) {
                        self.warn_of_downgrade(target, 0);
                        self.report_target(target, address, Some(TlsFailure::StartTlsNotSupported));
                    }
                    let (permanent, trace) = outcome::failed(&peer, &failure);
                    // What a smarthost says at its door is about our configuration, not about the message.
                    self.attempt.host_failed(permanent && target.smarthost.is_none(), trace);
                    return None;
                }
            }
        }
    }

    async fn converse(&self, target: &Target, socket: tokio::net::TcpStream, plain: bool) -> Result<Session, Unopened> {
        let implicit = target.smarthost.as_ref().is_some_and(|s| s.tls == SmarthostTls::Implicit);
        let starttls = match &target.key.requirement {
            _ if plain || implicit => StartTls::Never,
            Requirement::Plain => StartTls::Never,
            Requirement::Opportunistic => StartTls::IfOffered,
            Requirement::Encrypt | Requirement::Verify | Requirement::Dane(_) | Requirement::Fingerprint(_) => StartTls::Required,
        };
        let login = target.smarthost.as_ref().and_then(|smarthost| {
            let (user, password) = (smarthost.user.clone()?, smarthost.password.as_ref()?);
            let nonce = format!("{:016x}{:016x}", (self.settings.random.0)(), (self.settings.random.0)());
            Some(Login { user, password: Secret::new(password.as_bytes().to_vec()), nonce })
        });
        let settings = ClientSettings { name: self.settings.hostname.to_string(), encrypted: implicit, starttls, login };
        let no_name =
            || Unopened::Tls(tls::Refused { failure: TlsFailure::ValidationFailure, text: "this host's name is none for TLS".into() });
        let expected = Expected {
            name: tls::server_name(&target.host).ok_or_else(no_name)?,
            further: target.further.iter().filter_map(tls::server_name).collect(),
            requirement: target.key.requirement.clone(),
            roots: target.roots.clone(),
        };
        Session::open(socket, settings, implicit, expected, self.settings.limits.smtp.clone()).await
    }

    /// A session is open: its TLS is reported and compared with what was there before.
    fn opened(&mut self, target: &Target, address: IpAddr, session: &Session, plain: bool) {
        let level = match (&session.tls, session.unverified) {
            (None, _) => 0,
            (Some(_), Some(_)) => 1,
            (Some(_), None) => 2,
        };
        self.warn_of_downgrade(target, level);
        if session.tls.is_some() {
            let failure = if target.testing { session.unverified } else { None };
            self.report_target(target, address, failure);
        } else if !plain && target.key.requirement != Requirement::Plain {
            if session.starttls_refused() {
                tracing::info!(host = %target.host, %address, "STARTTLS was offered and refused");
            }
            self.report_target(target, address, Some(TlsFailure::StartTlsNotSupported));
        }
    }

    fn warn_of_downgrade(&self, target: &Target, level: u8) {
        let key = (target.key.route.clone(), target.host.clone());
        if let Some(before) = self.sender.levels.note(key, level)
            && level < before
        {
            let word = |level| ["none", "encrypted", "verified"].get(usize::from(level)).copied().unwrap_or_default();
            tracing::warn!(host = %target.host, before = word(before), now = word(level), "silent downgrade: TLS was better here before");
        }
    }

    fn report_target(&mut self, target: &Target, address: IpAddr, failure: Option<TlsFailure>) {
        let Route::Direct(domain) = target.key.route.clone() else { return };
        let policy = match target.basis {
            Basis::Dane => TlsPolicy::Dane,
            Basis::Sts => TlsPolicy::MtaSts,
            Basis::None => TlsPolicy::None,
        };
        self.report(&domain, &target.host, Some(address), policy, target.policy_text.clone(), failure);
    }

    fn report(
        &mut self,
        domain: &Domain,
        mx: &Domain,
        address: Option<IpAddr>,
        policy: TlsPolicy,
        policy_text: List<Text<500>, 32>,
        failure: Option<TlsFailure>,
    ) {
        self.attempt.negotiated(TlsResult { domain: domain.clone(), policy, policy_text, mx: mx.clone(), address, failure });
    }
}

fn lines(lines: impl Iterator<Item = String>) -> List<Text<500>, 32> {
    List::new(lines.take(32).map(|line| Text::lossy(line.as_bytes())).collect()).unwrap_or_default()
}

fn literal_domain(address: IpAddr) -> Option<Domain> {
    let text = match address {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    };
    Domain::parse(&text).ok()
}
