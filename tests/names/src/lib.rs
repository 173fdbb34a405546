//! A small DNS for tests: signed and unsigned zones with a root of their own, served as a recursive server would, and lies on demand.

use data_encoding::BASE64;
use hickory_resolver::proto::{
    dnssec::{
        DigestType, DnssecSigner, PublicKey, SigningKey,
        crypto::Ed25519SigningKey,
        rdata::{DNSKEY, DNSSECRData, DS, NSEC, RRSIG},
    },
    op::{Message, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordSet, RecordType,
        rdata::{A, AAAA, CNAME, MX, NS, SOA, TLSA, TXT},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

/// Seconds that each record holds.
pub const TTL: u32 = 600;

/// A name in its text form.
pub fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// How the signatures of one set of records are spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoiled {
    /// The records are others than those that were signed.
    Forged,
    /// The signature was good a month ago.
    Expired,
    /// There is no signature.
    Unsigned,
}

/// What the server does with one question instead of answering it.
#[derive(Debug, Clone)]
pub enum Lie {
    /// No answer.
    Silence,
    /// This code and nothing else.
    Code(ResponseCode),
    /// By UDP, only that there is more.
    Truncate,
    /// Garbage with the wrong id, a right-looking answer with the wrong id, one to another question; then the right one.
    Spoof(Message),
    /// The right id and nothing that can be parsed after it.
    Garbage,
    /// Exactly this message.
    Message(Message),
}

#[derive(Clone)]
struct Zone {
    apex: Name,
    signer: Option<Arc<DnssecSigner>>,
    records: BTreeMap<Name, BTreeMap<RecordType, Vec<RData>>>,
}

/// Zones, what is wrong with them, and what is answered instead.
#[derive(Default)]
pub struct World {
    zones: Vec<Zone>,
    spoiled: HashMap<(Name, RecordType), Spoiled>,
    lies: HashMap<(Name, RecordType), Lie>,
}

fn key(apex: &Name, days: u64) -> DnssecSigner {
    let der = Ed25519SigningKey::generate_pkcs8().unwrap();
    let key = Ed25519SigningKey::from_pkcs8(&der).unwrap();
    let dnskey = DNSKEY::from_key(&key.to_public_key().unwrap());
    DnssecSigner::new(dnskey, Box::new(key), apex.clone(), Duration::from_secs(days * 86_400))
}

impl World {
    /// A signed root and nothing in it.
    pub fn new() -> Self {
        let mut world = Self::default();
        world.zone(".", true);
        world
    }

    /// The trust anchor of its root.
    pub fn anchor(&self) -> String {
        let key = self.zones[0].signer.as_ref().unwrap().to_dnskey();
        format!(
            ". IN DNSKEY {} 3 {} {}\n",
            key.flags(),
            u8::from(key.public_key().algorithm()),
            BASE64.encode(key.public_key().public_bytes())
        )
    }

    /// The same as the digest of the key.
    pub fn anchor_digest(&self) -> String {
        let key = self.zones[0].signer.as_ref().unwrap().to_dnskey();
        let digest = key.to_digest(&Name::root(), DigestType::SHA256).unwrap();
        let digest = data_encoding::HEXLOWER.encode(digest.as_ref());
        format!(". 86400 IN DS {} {} 2 {digest}\n", key.calculate_key_tag().unwrap(), u8::from(key.public_key().algorithm()))
    }

    /// Adds a zone and its delegation; zones above it must be there already.
    pub fn zone(&mut self, apex: &str, signed: bool) -> &mut Self {
        let apex = name(apex);
        let signer = signed.then(|| Arc::new(key(&apex, 30)));
        let ns = RData::NS(NS(name("ns.test.")));
        if !apex.is_root() {
            let mut delegation = vec![(RecordType::NS, ns.clone())];
            if let Some(signer) = &signer {
                let key = signer.to_dnskey();
                let digest = key.to_digest(&apex, DigestType::SHA256).unwrap().as_ref().to_vec();
                let ds = DS::new(key.calculate_key_tag().unwrap(), key.public_key().algorithm(), DigestType::SHA256, digest);
                delegation.push((RecordType::DS, RData::DNSSEC(DNSSECRData::DS(ds))));
            }
            let at = self.zone_of(&apex.base_name());
            for (kind, data) in delegation {
                self.zones[at].records.entry(apex.clone()).or_default().entry(kind).or_default().push(data);
            }
        }
        let mut zone = Zone { apex: apex.clone(), signer, records: BTreeMap::new() };
        let soa = SOA::new(name("ns.test."), name("hostmaster.test."), 1, 3600, 600, 86_400, TTL);
        let at = zone.records.entry(apex).or_default();
        at.insert(RecordType::SOA, vec![RData::SOA(soa)]);
        at.insert(RecordType::NS, vec![ns]);
        if let Some(signer) = &zone.signer {
            at.insert(RecordType::DNSKEY, vec![RData::DNSSEC(DNSSECRData::DNSKEY(signer.to_dnskey()))]);
        }
        self.zones.push(zone);
        self
    }

    /// Adds a record to the zone that its owner is in.
    pub fn add(&mut self, owner: &str, data: RData) -> &mut Self {
        let owner = name(owner);
        let at = self.zone_of(&owner);
        self.zones[at].records.entry(owner).or_default().entry(data.record_type()).or_default().push(data);
        self
    }

    /// Adds an MX record.
    pub fn mx(&mut self, owner: &str, preference: u16, host: &str) -> &mut Self {
        self.add(owner, RData::MX(MX::new(preference, name(host))))
    }

    /// Adds an A or AAAA record.
    pub fn address(&mut self, owner: &str, address: &str) -> &mut Self {
        self.add(
            owner,
            match address.parse().unwrap() {
                IpAddr::V4(v4) => RData::A(A(v4)),
                IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
            },
        )
    }

    /// Adds a CNAME record.
    pub fn alias(&mut self, owner: &str, target: &str) -> &mut Self {
        self.add(owner, RData::CNAME(CNAME(name(target))))
    }

    /// Adds a TXT record of these strings.
    pub fn text(&mut self, owner: &str, parts: &[&str]) -> &mut Self {
        self.add(owner, RData::TXT(TXT::new(parts.iter().map(|part| (*part).to_owned()).collect())))
    }

    /// Adds a TLSA record, DANE-EE of a public key's SHA-256 (RFC 7671 5.1).
    pub fn tlsa(&mut self, owner: &str, data: &[u8]) -> &mut Self {
        self.add(owner, RData::TLSA(TLSA::new(3.into(), 1.into(), 1.into(), data.to_vec())))
    }

    /// Spoils what is said of a set of records from now on.
    pub fn spoil(&mut self, owner: &str, kind: RecordType, how: Spoiled) -> &mut Self {
        self.spoiled.insert((name(owner), kind), how);
        self
    }

    /// Does this with a question from now on.
    pub fn lie(&mut self, owner: &str, kind: RecordType, lie: Lie) -> &mut Self {
        self.lies.insert((name(owner), kind), lie);
        self
    }

    /// The zones of another world with their keys, instead of its own.
    pub fn adopt(&mut self, other: &Self) {
        self.zones = other.zones.clone();
    }

    fn zone_of(&self, name: &Name) -> usize {
        let holds = |(_, zone): &(usize, &Zone)| zone.apex.zone_of(name);
        self.zones.iter().enumerate().filter(holds).max_by_key(|(_, zone)| zone.apex.num_labels()).unwrap().0
    }

    /// The honest answer.
    pub fn answer(&self, query: &Query) -> Message {
        let mut message = Message::response(0, OpCode::Query);
        message.metadata.recursion_available = true;
        message.metadata.authoritative = true;
        message.add_query(query.clone());
        self.fill(&mut message, query.name().to_lowercase(), query.query_type(), 0);
        message
    }

    fn fill(&self, message: &mut Message, owner: Name, kind: RecordType, depth: usize) {
        let parent = kind == RecordType::DS && !owner.is_root() && self.zones.iter().any(|zone| zone.apex == owner);
        let zone = &self.zones[self.zone_of(&if parent { owner.base_name() } else { owner.clone() })];
        let nsec = |owner: &Name, message: &mut Message| {
            if let Some((previous, data)) = zone.denial(owner) {
                let records = self.sign(zone, &previous, RecordType::NSEC, vec![RData::DNSSEC(DNSSECRData::NSEC(data))], &previous);
                let missing: Vec<Record> = records.into_iter().filter(|record| !message.authorities.contains(record)).collect();
                message.add_authorities(missing);
            }
        };
        // What a wildcard stands for, if the name itself does not exist.
        let wildcard = name("*").append_domain(&owner.base_name()).ok().filter(|wildcard| zone.records.contains_key(wildcard));
        let source = if zone.records.contains_key(&owner) { Some(owner.clone()) } else { wildcard };
        if let Some(source) = source {
            let sets = &zone.records[&source];
            if source != owner {
                nsec(&owner, message);
            }
            if let Some(data) = sets.get(&kind) {
                message.add_answers(self.sign(zone, &source, kind, data.clone(), &owner));
                return;
            }
            if let Some(data) = sets.get(&RecordType::CNAME) {
                message.add_answers(self.sign(zone, &source, RecordType::CNAME, data.clone(), &owner));
                let RData::CNAME(CNAME(target)) = &data[0] else { panic!() };
                if depth < 12 {
                    self.fill(message, target.clone(), kind, depth + 1);
                }
                return;
            }
            nsec(&source, message);
        } else {
            message.metadata.response_code = ResponseCode::NXDomain;
            nsec(&owner, message);
            let mut encloser = owner.base_name();
            while !zone.records.keys().any(|existing| encloser.zone_of(existing)) {
                encloser = encloser.base_name();
            }
            nsec(&name("*").append_domain(&encloser).unwrap(), message);
        }
        let soa = zone.records[&zone.apex][&RecordType::SOA].clone();
        message.add_authorities(self.sign(zone, &zone.apex, RecordType::SOA, soa, &zone.apex));
    }

    fn sign(&self, zone: &Zone, owner: &Name, kind: RecordType, data: Vec<RData>, shown: &Name) -> Vec<Record> {
        let mut set = RecordSet::with_ttl(owner.clone(), kind, TTL);
        for data in &data {
            set.insert(Record::from_rdata(owner.clone(), TTL, data.clone()), 0);
        }
        let spoiled = self.spoiled.get(&(owner.clone(), kind)).copied();
        let mut records: Vec<Record> = data.into_iter().map(|data| Record::from_rdata(shown.clone(), TTL, data)).collect();
        // A delegation is not signed (RFC 4035 2.2).
        let delegation = kind == RecordType::NS && *owner != zone.apex;
        if let Some(signer) = zone.signer.as_ref().filter(|_| spoiled != Some(Spoiled::Unsigned) && !delegation) {
            let days = if spoiled == Some(Spoiled::Expired) { 60 } else { 1 };
            let signature = RRSIG::from_rrset(&set, DNSClass::IN, OffsetDateTime::now_utc() - time::Duration::days(days), signer).unwrap();
            records.push(Record::from_rdata(shown.clone(), TTL, RData::DNSSEC(DNSSECRData::RRSIG(signature))));
        }
        if spoiled == Some(Spoiled::Forged) {
            match &mut records[0].data {
                RData::A(address) => *address = A::new(192, 0, 2, 66),
                RData::MX(mx) => mx.exchange = name("mx.evil.test."),
                RData::TLSA(tlsa) => tlsa.cert_data = vec![0x66; 32],
                RData::CNAME(target) => *target = CNAME(name("mx.evil.test.")),
                RData::DNSSEC(DNSSECRData::NSEC(nsec)) => *nsec = NSEC::new(nsec.next_domain_name().clone(), [RecordType::A]),
                other => panic!("{other}"),
            }
        }
        records
    }
}

impl Zone {
    /// The NSEC at a name or before it.
    fn denial(&self, owner: &Name) -> Option<(Name, NSEC)> {
        self.signer.as_ref()?;
        let names: BTreeSet<&Name> = self.records.keys().collect();
        let at: &Name = names.iter().rfind(|name| **name <= owner).copied().unwrap_or(&self.apex);
        let next = names.iter().find(|name| **name > at).copied().unwrap_or(&self.apex);
        let kinds = self.records[at].keys().copied();
        Some((at.clone(), NSEC::new_cover_self(next.clone(), kinds)))
    }
}

/// A name, a type, and how: "udp" or "tcp".
type Asked = (String, RecordType, &'static str);

/// A world that answers on a port of the loopback interface.
#[derive(Clone)]
pub struct Server {
    /// By UDP and TCP.
    pub address: SocketAddr,
    /// What it answers from.
    pub world: Arc<Mutex<World>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers until the runtime ends.
    pub async fn start(world: World) -> Self {
        // One port that is free for both.
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let server = Self { address: tcp.local_addr().unwrap(), world: Arc::new(Mutex::new(world)), asked: Arc::default() };
        tokio::spawn(server.clone().udp(udp));
        tokio::spawn(server.clone().tcp(tcp));
        server
    }

    /// How often a name was asked for.
    pub fn count(&self, owner: &str, kind: RecordType) -> usize {
        self.asked.lock().unwrap().iter().filter(|(n, k, _)| n == owner && *k == kind).count()
    }

    /// Whether a name was asked for by TCP.
    pub fn by_tcp(&self, owner: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|(n, _, by)| n == owner && *by == "tcp")
    }

    /// Questions so far.
    pub fn total(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn replies(&self, request: &[u8], by: &'static str) -> Vec<Vec<u8>> {
        let Ok(request) = Message::from_vec(request) else { return Vec::new() };
        let query = request.queries[0].clone();
        let (owner, kind) = (query.name().to_lowercase(), query.query_type());
        self.asked.lock().unwrap().push((owner.to_string(), kind, by));
        let world = self.world.lock().unwrap();
        let bytes = |mut message: Message, id: u16| {
            message.metadata.id = id;
            message.to_vec().unwrap()
        };
        let mut honest = world.answer(&query);
        let payload = request.edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload()));
        if by == "udp" && honest.to_vec().unwrap().len() > payload {
            honest = Message::response(0, OpCode::Query);
            honest.add_query(query.clone());
            honest.metadata.truncation = true;
        }
        let with_query = |mut message: Message| {
            message.queries = vec![query.clone()];
            message
        };
        match world.lies.get(&(owner, kind)) {
            None => vec![bytes(honest, request.id)],
            Some(Lie::Silence) => Vec::new(),
            Some(Lie::Code(code)) => {
                let mut message = with_query(Message::response(0, OpCode::Query));
                message.metadata.response_code = *code;
                vec![bytes(message, request.id)]
            }
            Some(Lie::Truncate) if by == "udp" => {
                let mut message = with_query(Message::response(0, OpCode::Query));
                message.metadata.truncation = true;
                vec![bytes(message, request.id)]
            }
            Some(Lie::Truncate) => vec![bytes(honest, request.id)],
            Some(Lie::Spoof(message)) => {
                let other = request.id.wrapping_add(1);
                let mut elsewhere = message.clone();
                elsewhere.queries = vec![Query::query(name("elsewhere.test."), kind)];
                vec![
                    vec![0; 3],
                    [&other.to_be_bytes()[..], &[0xff; 700]].concat(),
                    bytes(with_query(message.clone()), other),
                    bytes(elsewhere, request.id),
                    bytes(honest, request.id),
                ]
            }
            Some(Lie::Garbage) => vec![[&request.id.to_be_bytes()[..], &[0xff; 700]].concat()],
            Some(Lie::Message(message)) => vec![bytes(with_query(message.clone()), request.id)],
        }
    }

    async fn udp(self, socket: UdpSocket) {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            for reply in self.replies(&buffer[..length], "udp") {
                let _ = socket.send_to(&reply, peer).await;
            }
        }
    }

    async fn tcp(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let server = self.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut request = vec![0; length.into()];
                    stream.read_exact(&mut request).await.unwrap();
                    for reply in server.replies(&request, "tcp") {
                        let length = u16::try_from(reply.len()).unwrap();
                        stream.write_all(&[&length.to_be_bytes()[..], &reply].concat()).await.unwrap();
                    }
                }
            });
        }
    }
}
