//! A world around the sender: a DNS that says what it is told, mail hosts and an HTTPS server on loopback, certificates of its own.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

use postern_send::{Limits, Random, Reach, Sender, Settings};
use pure_addr::{Address, Domain, ReversePath, Text};
use pure_tlspolicy::Override;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use wire::{
    Client, Conn, Error, List, MessageWriter, Reply, Service,
    edge::{
        mail::{Body, QueueId},
        send_deliver::{Lease, LeaseRecipient, Outcome, Report, Request, Response, Route, SendDeliver, Trace},
        send_names::{self, Mx as MxRecord, Records, SendNames, Tlsa},
    },
    serve, serve_given,
};

/// Nothing on loopback takes this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// A DNS that knows what it was told and nothing else.
#[derive(Debug, Default)]
pub struct Dns(Mutex<HashMap<send_names::Request, send_names::Response>>);

impl Service<SendNames> for Dns {
    async fn call(&self, request: send_names::Request, _: Vec<OwnedFd>) -> Result<Reply<SendNames>, Error> {
        let known = self.0.lock().unwrap().get(&request).cloned();
        Ok(Reply::new(known.unwrap_or(send_names::Response::None { secure: false, no_name: false })))
    }
}

impl Dns {
    pub fn say(&self, request: send_names::Request, response: send_names::Response) {
        self.0.lock().unwrap().insert(request, response);
    }

    pub fn found(&self, request: send_names::Request, secure: bool, records: Records) {
        self.say(request, send_names::Response::Found { secure, canonical: None, records });
    }

    pub fn mx(&self, name: &str, secure: bool, hosts: &[(u16, &str)]) {
        let list = hosts.iter().map(|(preference, host)| MxRecord { preference: *preference, host: Domain::parse(host).ok() }).collect();
        self.found(send_names::Request::Mx(domain(name)), secure, Records::Mx(List::new(list).unwrap()));
    }

    pub fn address(&self, host: &str, secure: bool, address: IpAddr) {
        self.found(send_names::Request::Addresses(domain(host)), secure, Records::Addresses(List::new(vec![address]).unwrap()));
    }

    pub fn text(&self, request: send_names::Request, text: &str) {
        self.found(request, false, Records::Text(List::new(vec![Text::new(text).unwrap()]).unwrap()));
    }
}

/// A certificate for one name by one authority.
pub struct Identity {
    pub server: Arc<ServerConfig>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub authority: Vec<u8>,
}

impl Identity {
    pub fn authority_pem(&self) -> String {
        let body = data_encoding::BASE64.encode(&self.authority);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }
}

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    pub fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone(), self.0.der().clone()];
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private).unwrap();
        Identity {
            server: Arc::new(server),
            certificate: certificate.der().to_vec(),
            key: key.subject_public_key_info(),
            authority: self.0.der().to_vec(),
        }
    }
}

/// `3 1 1` of a key.
pub fn tlsa(usage: u8, selector: u8, of: &[u8]) -> Records {
    let data = serde_bytes::ByteBuf::from(Sha256::digest(of).to_vec());
    Records::Tlsa(List::new(vec![Tlsa { usage, selector, matching: 1, data }]).unwrap())
}

/// What a mail host answers to a line, instead of being well-behaved. `DROP` ends the connection.
pub type Answers = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a mail host saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub connections: usize,
    pub lines: Vec<String>,
    /// Messages that it took, and whether by TLS.
    pub messages: Vec<(String, bool)>,
}

/// A mail host.
#[derive(Clone)]
pub struct Host {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Host {
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    pub fn said(&self, start: &str) -> bool {
        self.seen(|s| s.lines.iter().any(|l| l.starts_with(start)))
    }

    pub fn count(&self) -> usize {
        self.seen(|s| s.messages.len())
    }

    /// A host that speaks SMTP, with these extensions; `implicit` begins with TLS.
    pub async fn start(at: SocketAddr, extensions: &'static str, tls: Option<Arc<ServerConfig>>, implicit: bool, answers: Answers) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let host = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = host.seen.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                seen.lock().unwrap().connections += 1;
                let (seen, tls, answers) = (seen.clone(), tls.clone(), answers.clone());
                tokio::spawn(async move { converse(socket, extensions, tls, implicit, answers, seen).await });
            }
        });
        host
    }

    /// A host that says these bytes at once to whoever comes, reads what comes, and closes when told to.
    pub async fn shout(at: SocketAddr, bytes: Vec<u8>, close: bool) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let host = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = host.seen.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                seen.lock().unwrap().connections += 1;
                let bytes = bytes.clone();
                tokio::spawn(async move {
                    let _ = socket.write_all(&bytes).await;
                    if !close {
                        let mut rest = Vec::new();
                        let _ = socket.read_to_end(&mut rest).await;
                    }
                });
            }
        });
        host
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn converse(
    socket: TcpStream,
    extensions: &str,
    tls: Option<Arc<ServerConfig>>,
    implicit: bool,
    answers: Answers,
    seen: Arc<Mutex<Seen>>,
) -> Option<()> {
    let mut encrypted = implicit;
    let mut stream: BufReader<Box<dyn Io>> = if implicit {
        BufReader::new(Box::new(TlsAcceptor::from(tls.clone()?).accept(socket).await.ok()?))
    } else {
        // One byte at a time, so that nothing of a handshake is swallowed.
        BufReader::with_capacity(1, Box::new(socket))
    };
    let mut accepted = 0;
    say(&mut stream, &answers("CONNECT").unwrap_or_else(|| "220 mx ESMTP".into())).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        seen.lock().unwrap().lines.push(line.clone());
        let verb = line.split([' ', ':']).next().unwrap().to_ascii_uppercase();
        let special = answers(&line);
        if special.as_deref() == Some("DROP") {
            return None;
        }
        match verb.as_str() {
            "MAIL" => accepted = 0,
            "RCPT" if !special.as_ref().is_some_and(|s| s.starts_with(['4', '5'])) => accepted += 1,
            _ => {}
        }
        match (verb.as_str(), special) {
            ("DATA", None) if accepted == 0 => say(&mut stream, "554 5.5.1 nobody").await?,
            ("BDAT", special) => {
                let size: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
                let mut content = vec![0; size];
                stream.read_exact(&mut content).await.ok()?;
                take(&seen, content, encrypted);
                say(&mut stream, &special.unwrap_or_else(|| "250 2.0.0 taken".into())).await?;
            }
            (_, Some(answer)) if verb != "DATA" || !answer.starts_with("354") => say(&mut stream, &answer).await?,
            ("EHLO", _) => {
                let starttls = if tls.is_some() && !encrypted { "STARTTLS" } else { "" };
                let lines: Vec<&str> =
                    std::iter::once("mx").chain(extensions.split(',')).chain([starttls]).filter(|l| !l.is_empty()).collect();
                let last = lines.len() - 1;
                let text: Vec<String> =
                    lines.iter().enumerate().map(|(n, l)| format!("250{}{l}", if n == last { ' ' } else { '-' })).collect();
                say(&mut stream, &text.join("\r\n")).await?;
            }
            ("STARTTLS", _) => {
                say(&mut stream, "220 go").await?;
                let inner = stream.into_inner();
                stream = BufReader::new(Box::new(TlsAcceptor::from(tls.clone()?).accept(inner).await.ok()?));
                encrypted = true;
            }
            ("DATA", _) => {
                say(&mut stream, "354 go").await?;
                let mut content = Vec::new();
                while !content.ends_with(b"\r\n.\r\n") && content != b".\r\n" {
                    if answers("CONTENT").as_deref() == Some("DROP") && !content.is_empty() {
                        return None;
                    }
                    if stream.read_until(b'\n', &mut content).await.ok()? == 0 {
                        return None;
                    }
                }
                let end = answers("END");
                if end.as_deref() == Some("DROP") {
                    return None;
                }
                let end = end.unwrap_or_else(|| "250 2.0.0 taken".into());
                if end.starts_with('2') {
                    take(&seen, content, encrypted);
                }
                say(&mut stream, &end).await?;
            }
            ("QUIT", _) => {
                say(&mut stream, "221 bye").await?;
                return None;
            }
            _ => say(&mut stream, "250 2.0.0 ok").await?,
        }
    }
}

fn take(seen: &Mutex<Seen>, content: Vec<u8>, encrypted: bool) {
    seen.lock().unwrap().messages.push((String::from_utf8(content).unwrap(), encrypted));
}

async fn say(stream: &mut BufReader<Box<dyn Io>>, line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

pub fn well_behaved() -> Answers {
    Arc::new(|_| None)
}

/// Answers to lines that begin so.
pub fn answers(list: &'static [(&'static str, &'static str)]) -> Answers {
    Arc::new(move |line| list.iter().find(|(start, _)| line.starts_with(start)).map(|(_, answer)| (*answer).to_owned()))
}

/// An HTTPS server that gives everybody this answer.
pub async fn https(identity: &Identity, at: IpAddr, answer: String) -> (u16, Arc<Mutex<Vec<String>>>) {
    let page = Arc::new(Mutex::new(Page { server: identity.server.clone(), answer: answer.into_bytes(), then: Then::Close }));
    https_page(page, at).await
}

/// What an HTTPS server has for whoever comes next.
#[derive(Clone)]
pub struct Page {
    pub server: Arc<ServerConfig>,
    pub answer: Vec<u8>,
    pub then: Then,
}

/// What follows an answer.
#[derive(Clone, Copy)]
pub enum Then {
    Close,
    /// The same byte for ever, as fast as it is read.
    Flood,
    /// Nothing, for ever.
    Silence,
}

/// An HTTPS server whose page may change.
pub async fn https_page(page: Arc<Mutex<Page>>, at: IpAddr) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((at, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = seen.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Page { server, answer, then } = page.lock().unwrap().clone();
            let Ok(stream) = TlsAcceptor::from(server).accept(socket).await else { continue };
            let mut stream = BufReader::new(stream);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") && stream.read_line(&mut request).await.unwrap_or(0) > 0 {}
            requests.lock().unwrap().push(request);
            let _ = stream.write_all(&answer).await;
            match then {
                Then::Close => _ = stream.shutdown().await,
                Then::Flood => while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {},
                // Until the client has had enough.
                Then::Silence => {
                    let _ = stream.flush().await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
        }
    });
    (port, seen)
}

/// Settings without anything in particular.
pub fn settings(smtp: u16) -> Settings {
    Settings {
        hostname: domain("mail.mta.test"),
        source_addresses: Vec::new(),
        private_networks: Vec::new(),
        smarthosts: BTreeMap::new(),
        destinations: BTreeMap::<Domain, Override>::new(),
        roots: Arc::new(RootCertStore::empty()),
        max_message: 32 << 20,
        reach: Reach { loopback: true, smtp, https: 1 },
        limits: Limits { idle: Duration::ZERO, connect: PATIENCE, ..Limits::default() },
        random: Random(Arc::new(|| u64::MAX)),
    }
}

/// A sender and what it asks.
pub struct World {
    dir: TempDir,
    pub dns: Arc<Dns>,
    pub client: Client<SendDeliver>,
}

pub fn socket(path: &Path) -> OwnedFd {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&fd, 16).unwrap();
    fd
}

impl World {
    pub fn new(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (dns_path, path) = (dir.path().join("dns"), dir.path().join("send"));
        let dns = Arc::new(Dns::default());
        let names = Client::listening(socket(&dns_path)).unwrap();
        tokio::spawn(serve_given::<SendNames, _>(Conn::dial(&dns_path).unwrap(), dns.clone()));
        let sender = Arc::new(Sender::new(settings, names));
        tokio::spawn(serve::<SendDeliver, _>(socket(&path), sender));
        Self { dir, dns, client: Client::new(path) }
    }

    /// remote.test with one host at this address.
    pub fn remote(settings: Settings, host: &Host, secure: bool) -> Self {
        let world = Self::new(settings);
        world.dns.mx("remote.test", secure, &[(10, "mx.remote.test")]);
        world.dns.address("mx.remote.test", secure, host.address.ip());
        world
    }

    /// Another queue, as after a restart.
    pub fn another_client(&self) -> Client<SendDeliver> {
        Client::new(self.dir.path().join("send"))
    }

    /// A connection of a queue whose end can be seen: dropped, the second is the same socket.
    pub async fn queue(&self) -> (wire::Session<SendDeliver>, OwnedFd) {
        let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        connect(&fd, &SocketAddrUnix::new(self.dir.path().join("send")).unwrap()).unwrap();
        let same = fd.try_clone().unwrap();
        (wire::Session::new(fd).await.unwrap(), same)
    }

    pub async fn deliver(&self, lease: Lease, message: &[u8]) -> Report {
        deliver(&self.client, lease, message).await
    }

    pub async fn send(&self, recipients: &[&str]) -> Report {
        self.deliver(lease("remote.test", recipients), b"Subject: x\r\n\r\n.dot\r\n").await
    }
}

pub async fn deliver(client: &Client<SendDeliver>, lease: Lease, message: &[u8]) -> Report {
    let numbers: Vec<u32> = lease.recipients.iter().map(|r| r.number).collect();
    let message = MessageWriter::sealed(message).unwrap();
    let reply = client.call_within(PATIENCE, &Request::Deliver(Box::new(lease)), &[message.as_fd()]).await.unwrap();
    let Response::Report(report) = reply.body else { panic!() };
    // Every recipient, once.
    assert_eq!(report.results.iter().map(|(number, _)| *number).collect::<Vec<_>>(), numbers);
    *report
}

/// Of another message each time.
pub fn lease(destination: &str, recipients: &[&str]) -> Lease {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let recipient = |(number, address): (usize, &&str)| LeaseRecipient {
        number: u32::try_from(number).unwrap() + 7,
        address: Address::parse(address).unwrap(),
        notify: None,
        orcpt: None,
    };
    Lease {
        id: QueueId(NEXT.fetch_add(1, Ordering::Relaxed)),
        route: Route::Direct(domain(destination)),
        reverse_path: ReversePath::Address(Address::parse("alice@mta.test").unwrap()),
        smtputf8: false,
        body: Body::SevenBit,
        ret: None,
        envid: None,
        require_tls: false,
        tls_optional: false,
        recipients: List::new(recipients.iter().enumerate().map(recipient).collect()).unwrap(),
        prefix: serde_bytes::ByteBuf::from(&b"Received: here\r\n"[..]),
    }
}

/// The outcomes, a letter each, with their status.
pub fn outcomes(report: &Report) -> Vec<String> {
    let word = |letter: char, trace: &Trace| format!("{letter} {}", trace.status);
    let one = |outcome: &Outcome| match outcome {
        Outcome::Delivered { trace, .. } => word('D', trace),
        Outcome::Failed(trace) => word('F', trace),
        Outcome::Deferred(trace) => word('t', trace),
        Outcome::NeedsSevenBit => "7".to_owned(),
        Outcome::Again => "again".to_owned(),
    };
    report.results.iter().map(|(_, outcome)| one(outcome)).collect()
}

pub fn trace(report: &Report) -> &Trace {
    match &report.results[0].1 {
        Outcome::Delivered { trace, .. } | Outcome::Failed(trace) | Outcome::Deferred(trace) => trace,
        Outcome::NeedsSevenBit | Outcome::Again => panic!(),
    }
}

pub fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

pub fn any_port() -> SocketAddr {
    SocketAddr::new(loopback(1), 0)
}
