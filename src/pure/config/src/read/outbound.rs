//! `[dns]`, `[send]`, `[dkim]`, `[limits.sending]`: mail that leaves.

use super::{
    Reader,
    tree::{Item, Placed, Section},
};
use crate::{
    Address, DEFAULT_EXPIRE, Destination, DkimConfig, DnsConfig, Domain, MAX_ACCOUNT_RATE, MAX_DESTINATION_CONNECTIONS,
    MAX_DESTINATION_RATE, MAX_DKIM_ROTATION, MAX_DNS_SERVERS, MAX_EXPIRE, MAX_FINGERPRINTS, MAX_PRIVATE_NETWORKS, MAX_SMARTHOST_NAME,
    MAX_SMARTHOST_USER, MAX_SOURCE_ADDRESSES, MAX_SPF_MECHANISM, MIN_DKIM_ROTATION, MIN_EXPIRE, MIN_WARN_AFTER, Network, Resolver,
    SendConfig, SendingLimits, Smarthost, SmarthostName, SmarthostTls, Span, TlsLevel,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// RFC 1035 4.2.
const DNS_PORT: u16 = 53;
/// RFC 8314 7.3.
const SUBMISSIONS_PORT: u16 = 465;
/// RFC 6409 3.1.
const SUBMISSION_PORT: u16 = 587;

impl Reader {
    pub(super) fn dns(&mut self, section: &Section<'_>) -> DnsConfig {
        self.known(section, &["servers", "recursive", "trust_anchor"]);
        let servers = section.get("servers").map(|item| (self.servers(&item), item));
        let recursive = section.get("recursive").and_then(|item| self.boolean(&item)).unwrap_or(false);
        let trust_anchor = section.get("trust_anchor").and_then(|item| self.path(&item));
        let resolver = match (servers, recursive) {
            (Some((_, item)), true) => {
                self.fail::<()>(&item, "nobody is asked when recursive = true", "remove one of the two");
                Resolver::Recursive
            }
            (Some((servers, _)), false) => Resolver::Servers(servers),
            (None, true) => Resolver::Recursive,
            (None, false) => Resolver::System,
        };
        DnsConfig { resolver, trust_anchor }
    }

    fn servers(&mut self, item: &Item<'_>) -> Vec<SocketAddr> {
        const REMEDY: &str = "write addresses such as \"192.0.2.53\" or \"[2001:db8::53]:5353\"";
        let mut servers: Vec<SocketAddr> = Vec::new();
        let list = self.some_of(item, "server", MAX_DNS_SERVERS, "write a list such as [\"192.0.2.53\", \"[2001:db8::1]:5353\"]");
        for item in list {
            let Some(text) = self.string(&item) else { continue };
            match server(text) {
                Some(server) if servers.contains(&server) => self.fail::<()>(&item, "is already named", "name each server once"),
                Some(server) if can_be_asked(server.ip()) && server.port() != 0 => {
                    servers.push(server);
                    None
                }
                _ => self.fail(&item, format!("{text:?} is not the address of a server"), REMEDY),
            };
        }
        servers
    }

    pub(super) fn send(&mut self, section: &Section<'_>) -> SendConfig {
        const KEYS: &[&str] = &[
            "paused",
            "source_addresses",
            "private_networks",
            "smarthost",
            "smarthosts",
            "senders",
            "domains",
            "connections_per_destination",
            "messages_per_minute",
            "expire",
            "warn_after",
            "hide_client",
            "tls_reports",
        ];
        self.known(section, KEYS);
        let mut send = SendConfig::default();
        self.set(section, "paused", &mut send.paused, Self::boolean);
        self.set(section, "source_addresses", &mut send.source_addresses, Self::source_addresses);
        self.set(section, "private_networks", &mut send.private_networks, Self::private_networks);
        if let Some(table) = self.section(section, "smarthosts") {
            send.smarthosts = self.smarthosts(&table);
        }
        send.smarthost = section.get("smarthost").and_then(|item| self.smarthost_use(&item));
        if let Some(table) = self.section(section, "senders") {
            self.senders(&table, &mut send);
        }
        if let Some(table) = self.section(section, "domains") {
            send.destinations = self.destinations(&table);
        }
        self.set(section, "connections_per_destination", &mut send.connections_per_destination, |reader, item| {
            reader.count(item, 1..=MAX_DESTINATION_CONNECTIONS)
        });
        self.set(section, "messages_per_minute", &mut send.messages_per_minute, |reader, item| reader.rate(item, MAX_DESTINATION_RATE));
        self.times(section, &mut send);
        self.set(section, "hide_client", &mut send.hide_client, Self::boolean);
        self.set(section, "tls_reports", &mut send.tls_reports, Self::boolean);
        send
    }

    fn times(&mut self, section: &Section<'_>, send: &mut SendConfig) {
        let expire = Span::of(MIN_EXPIRE)..=Span::of(MAX_EXPIRE);
        let expire = section.get("expire").and_then(|item| self.span(&item, expire)).unwrap_or(Span::of(DEFAULT_EXPIRE));
        send.expire = expire.duration();
        let Some(item) = section.get("warn_after") else { return };
        let Some(warn_after) = self.span_or_off(&item, Span::of(MIN_WARN_AFTER)..=Span::of(MAX_EXPIRE)) else { return };
        if warn_after.is_some_and(|warn_after| warn_after >= expire) {
            let remedy = format!("write less than \"{expire}\", or \"0\" to send no warnings");
            self.fail::<()>(&item, "is not before send.expire", remedy);
        }
        send.warn_after = warn_after.map(Span::duration);
    }

    fn source_addresses(&mut self, item: &Item<'_>) -> Option<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for item in self.some_of(item, "address", MAX_SOURCE_ADDRESSES, "write a list such as [\"192.0.2.25\", \"2001:db8::25\"]") {
            let Some(text) = self.string(&item) else { continue };
            match text.parse::<IpAddr>() {
                Ok(address) if addresses.contains(&address) => self.fail::<()>(&item, "is already named", "name each address once"),
                Ok(address) if can_be_asked(address) => {
                    addresses.push(address);
                    None
                }
                _ => self.fail(&item, format!("{text:?} is not an address of a host"), "write addresses such as \"192.0.2.25\""),
            };
        }
        Some(addresses)
    }

    fn private_networks(&mut self, item: &Item<'_>) -> Option<Vec<Network>> {
        const REMEDY: &str = "write a network of other hosts such as \"10.1.0.0/16\" or \"10.1.2.3\"";
        let mut networks = Vec::new();
        for item in self.some_of(item, "network", MAX_PRIVATE_NETWORKS, "write a list such as [\"10.1.0.0/16\", \"fd12::/16\"]") {
            let Some(text) = self.string(&item) else { continue };
            match text.parse::<Network>() {
                Ok(network) if networks.contains(&network) => self.fail::<()>(&item, "is already named", "name each network once"),
                Ok(network) => {
                    networks.push(network);
                    None
                }
                Err(why) => self.fail(&item, format!("{text:?} {why}"), REMEDY),
            };
        }
        Some(networks)
    }

    fn smarthosts(&mut self, section: &Section<'_>) -> BTreeMap<String, Smarthost> {
        let mut smarthosts = BTreeMap::new();
        for (name, item) in section.items() {
            // The name is part of a credential's name.
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if name.is_empty() || name.len() > MAX_SMARTHOST_NAME || !plain {
                let remedy = format!("write at most {MAX_SMARTHOST_NAME} of a-z, 0-9 and \"-\", such as [send.smarthosts.relay]");
                self.fail::<()>(&item, "is not a name for a smarthost", remedy);
            }
            self.declared.smarthosts.insert(name.to_owned());
            let Some(table) = self.table(&item, "write [send.smarthosts.relay]") else { continue };
            self.no_secrets(&table, || format!("give it to the process \"send\" as the credential \"smarthost.{name}\""));
            if let Some(smarthost) = self.smarthost(&table) {
                smarthosts.insert(name.to_owned(), smarthost);
            }
        }
        smarthosts
    }

    fn smarthost(&mut self, table: &Section<'_>) -> Option<Smarthost> {
        self.known(table, &["host", "port", "tls", "user", "certificate_authority", "spf"]);
        let host = match table.get("host") {
            Some(item) => self.smarthost_name(&item),
            None => self.missing(table, "host", "write its name, such as host = \"smtp.example.com\""),
        };
        let mut tls = SmarthostTls::Implicit;
        let levels = [("implicit", SmarthostTls::Implicit), ("starttls", SmarthostTls::StartTls), ("none", SmarthostTls::None)];
        self.set(table, "tls", &mut tls, |reader, item| reader.one_of(item, &levels));
        let mut port = if tls == SmarthostTls::Implicit { SUBMISSIONS_PORT } else { SUBMISSION_PORT };
        self.set(table, "port", &mut port, |reader, item| reader.count(item, 1..=u32::from(u16::MAX)).and_then(|n| u16::try_from(n).ok()));
        let user = table.get("user").and_then(|item| self.smarthost_user(&item).map(|user| (user, item)));
        let authority = table.get("certificate_authority").map(|item| (self.path(&item), item));
        let spf = table.get("spf").and_then(|item| self.spf_mechanism(&item));
        if tls == SmarthostTls::None {
            if let Some((_, item)) = &user {
                // RFC 8314 3.3: no password in the clear.
                self.fail::<()>(item, "would log in without TLS", "write tls = \"implicit\" or \"starttls\", or remove user");
            }
            if let Some((_, item)) = &authority {
                self.fail::<()>(item, "does nothing without TLS", "write tls = \"implicit\" or \"starttls\", or remove it");
            }
        }
        let (user, authority) = (user.map(|(user, _)| user), authority.and_then(|(path, _)| path));
        Some(Smarthost { host: host?, port, tls, user, authority, spf })
    }

    /// RFC 7208 5: one that says yes to some hosts, without macros.
    fn spf_mechanism(&mut self, item: &Item<'_>) -> Option<String> {
        let text = self.string(item)?;
        let named = ["include:", "a:", "mx:", "ip4:", "ip6:"].iter().find_map(|kind| text.strip_prefix(kind));
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'/');
        if text.len() > MAX_SPF_MECHANISM || named.is_none_or(|rest| rest.is_empty() || !rest.bytes().all(safe)) {
            return self.fail(item, "is not a mechanism of SPF", "write what its operator tells, such as \"include:_spf.example.com\"");
        }
        Some(text.to_owned())
    }

    fn smarthost_name(&mut self, item: &Item<'_>) -> Option<SmarthostName> {
        const REMEDY: &str = "write a name such as \"smtp.example.com\" or an address such as \"192.0.2.25\"";
        let text = self.string(item)?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return if can_be_asked(address) {
                Some(SmarthostName::Address(address))
            } else {
                self.fail(item, "is not the address of a host", REMEDY)
            };
        }
        self.domain_name(item, text, REMEDY).map(SmarthostName::Name)
    }

    /// RFC 4616 2: what PLAIN can carry, without what could end a line.
    fn smarthost_user(&mut self, item: &Item<'_>) -> Option<String> {
        let user = self.string(item)?;
        if user.is_empty() || user.len() > MAX_SMARTHOST_USER || user.chars().any(char::is_control) {
            let remedy = format!("write 1 to {MAX_SMARTHOST_USER} bytes without control characters");
            return self.fail(item, "is not a user name", remedy);
        }
        Some(user.to_owned())
    }

    /// A smarthost's name where it is used; `check` looks whether there is one.
    fn smarthost_use(&mut self, item: &Item<'_>) -> Option<String> {
        let name = self.string(item)?;
        self.declared.smarthost_uses.push(item.place(name.to_owned()));
        Some(name.to_owned())
    }

    fn senders(&mut self, section: &Section<'_>, send: &mut SendConfig) {
        for (sender, item) in section.items() {
            let smarthost = self.smarthost_use(&item);
            let replaced = if sender.contains('@') {
                let Some(Placed { value, .. }) = self.parse_address(&item, sender) else { continue };
                smarthost.and_then(|name| send.sender_addresses.insert(Address::key(&value), name))
            } else {
                let Some(domain) = self.domain_name(&item, sender, "write an address or a domain name") else { continue };
                smarthost.and_then(|name| send.sender_domains.insert(domain, name))
            };
            if replaced.is_some() {
                self.fail::<()>(&item, "is another spelling of a sender that is given above or below", "give each sender once");
            }
        }
    }

    fn destinations(&mut self, section: &Section<'_>) -> BTreeMap<Domain, Destination> {
        let mut destinations = BTreeMap::new();
        for (name, item) in section.items() {
            let domain = self.domain_name(&item, name, "write a domain name such as [send.domains.\"example.net\"]");
            let Some(table) = self.table(&item, "write [send.domains.\"example.net\"]") else { continue };
            let destination = self.destination(&table);
            let Some(domain) = domain else { continue };
            if destinations.insert(domain, destination).is_some() {
                self.fail::<()>(&item, "is another spelling of a domain that is given above or below", "give each domain once");
            }
        }
        destinations
    }

    fn destination(&mut self, table: &Section<'_>) -> Destination {
        const LEVELS: [(&str, TlsLevel); 6] = [
            ("none", TlsLevel::None),
            ("may", TlsLevel::May),
            ("encrypt", TlsLevel::Encrypt),
            ("verify", TlsLevel::Verify),
            ("dane-only", TlsLevel::DaneOnly),
            ("fingerprint", TlsLevel::Fingerprint),
        ];
        self.known(table, &["smarthost", "tls", "fingerprints"]);
        let smarthost = table.get("smarthost").and_then(|item| self.smarthost_use(&item));
        let tls_item = table.get("tls");
        let tls = tls_item.as_ref().and_then(|item| self.one_of(item, &LEVELS));
        let prints_item = table.get("fingerprints");
        let fingerprints = prints_item.as_ref().map(|item| self.fingerprints(item)).unwrap_or_default();
        match (&tls_item, &prints_item) {
            (Some(item), None) if tls == Some(TlsLevel::Fingerprint) => {
                self.fail::<()>(item, "\"fingerprint\" accepts no certificate at all", "add fingerprints = [\"SHA-256 in hexadecimal\"]");
            }
            // Nothing to say of a level that could not be read.
            (given, Some(item)) if tls != Some(TlsLevel::Fingerprint) && (tls.is_some() || given.is_none()) => {
                self.fail::<()>(item, "is only for tls = \"fingerprint\"", "write tls = \"fingerprint\", or remove it");
            }
            _ => {}
        }
        Destination { smarthost, tls, fingerprints }
    }

    fn fingerprints(&mut self, item: &Item<'_>) -> Vec<[u8; 32]> {
        const REMEDY: &str = "write 64 hexadecimal digits, with or without colons (openssl x509 -noout -fingerprint -sha256)";
        let list = self.some_of(item, "fingerprint", MAX_FINGERPRINTS, "write a list such as [\"AB:CD:...\"]");
        let mut prints = Vec::new();
        for item in list {
            let Some(text) = self.string(&item) else { continue };
            match fingerprint(text) {
                Some(print) => prints.push(print),
                None => _ = self.fail::<()>(&item, "is not a SHA-256 fingerprint", REMEDY),
            }
        }
        prints
    }

    pub(super) fn dkim(&mut self, section: &Section<'_>) -> DkimConfig {
        self.known(section, &["rotate"]);
        let mut dkim = DkimConfig::default();
        let range = Span::of(MIN_DKIM_ROTATION)..=Span::of(MAX_DKIM_ROTATION);
        self.set(section, "rotate", &mut dkim.rotate, |reader, item| Some(reader.span_or_off(item, range)?.map(Span::duration)));
        dkim
    }

    pub(super) fn sending(&mut self, section: &Section<'_>) -> SendingLimits {
        let mut limits = SendingLimits::default();
        let slots = [
            ("messages_per_hour", &mut limits.messages_per_hour),
            ("messages_per_day", &mut limits.messages_per_day),
            ("recipients_per_hour", &mut limits.recipients_per_hour),
            ("recipients_per_day", &mut limits.recipients_per_day),
        ];
        self.known(section, &slots.each_ref().map(|(name, _)| *name));
        for (name, slot) in slots {
            self.set(section, name, slot, |reader, item| reader.rate(item, MAX_ACCOUNT_RATE));
        }
        limits
    }

    /// The entries of a list, at least one and at most `most`; empty after a mistake.
    pub(super) fn some_of<'a>(&mut self, item: &Item<'a>, what: &str, most: usize, remedy: &str) -> Vec<Item<'a>> {
        let Some(list) = self.array(item, remedy) else { return Vec::new() };
        if list.is_empty() {
            self.fail::<()>(item, format!("names no {what}"), "name at least one, or remove the key");
        }
        if list.len() > most {
            self.fail::<()>(item, format!("names more than {most}"), "name fewer");
            return Vec::new();
        }
        list
    }
}

/// `192.0.2.53`, `192.0.2.53:53`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:53`.
fn server(text: &str) -> Option<SocketAddr> {
    let bracketed = || text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).and_then(|t| t.parse::<Ipv6Addr>().ok());
    let alone = text.parse::<IpAddr>().ok().or_else(|| bracketed().map(IpAddr::V6));
    alone.map(|address| SocketAddr::new(address, DNS_PORT)).or_else(|| text.parse().ok())
}

fn can_be_asked(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// RFC 8122 5 style, in any case, or without the colons.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    const COLONS: usize = 32 * 3 - 1;
    let digits: String = match text.len() {
        COLONS if text.split(':').all(|pair| pair.len() == 2) => text.split(':').collect(),
        64 => text.to_owned(),
        _ => return None,
    };
    let mut print = [0; 32];
    for (byte, pair) in print.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(print)
}
