//! The oracle from outside: real handshakes whose signatures come through the edge, reloads, and what is refused.

use crate::{
    keyring::{Keyring, LoadError, PemSource, Pems, read},
    limits::{GRACE, MAX_CERTIFICATES, MAX_CHAIN, MAX_PEM},
    service::Keys,
    statement::{Statement, scheme},
};
use data_encoding::BASE64;
use pure_addr::Text;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, SignatureAlgorithm, SignatureScheme,
    SupportedProtocolVersion,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, Signer, SigningKey},
    version::{TLS12, TLS13},
};
use std::{
    fs,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::runtime::Handle;
use wire::{
    Client, Error, List,
    edge::keys_tls::{Certificate, KeysForMx, Request, Response, SignInput},
    serve,
};

/// Files of pairs and a keys process that serves them.
struct World {
    files: TempDir,
    keys: Arc<Keys>,
    client: Arc<Client<KeysForMx>>,
    sources: Vec<PemSource>,
}

fn no_credentials(_: &str) -> Result<Option<Vec<u8>>, String> {
    Ok(None)
}

fn from_files(source: &PemSource) -> Result<Option<Pems>, LoadError> {
    read(source, no_credentials)
}

fn pair(name: &str, key: &KeyPair) -> (String, String) {
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

impl World {
    fn new(pairs: &[(String, String)]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = |at: usize, kind: &str| files.path().join(format!("{at}.{kind}"));
        let sources: Vec<PemSource> =
            (0..pairs.len()).map(|at| PemSource::Files { certificate: path(at, "crt"), private_key: path(at, "key") }).collect();
        for (at, (certificate, key)) in pairs.iter().enumerate() {
            fs::write(path(at, "crt"), certificate).unwrap();
            fs::write(path(at, "key"), key).unwrap();
        }
        let keys = Arc::new(Keys::new(Keyring::load(&sources, &from_files, None)));
        let socket = files.path().join("socket");
        tokio::spawn(serve::<KeysForMx, Keys>(listener(&socket), keys.clone()));
        Self { client: Arc::new(Client::new(socket)), files, keys, sources }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.files.path().join(name), content).unwrap();
    }

    fn reload(&self) {
        self.keys.replace(|old| Keyring::load(&self.sources, &from_files, Some(old)));
    }

    async fn certificates(&self) -> (u64, Vec<Certificate>) {
        match self.client.call(&Request::Certificates, &[]).await.unwrap().body {
            Response::Certificates { generation, list } => (generation, list.into_vec()),
            other => panic!("{other:?}"),
        }
    }

    async fn sign(&self, generation: u64, key: u16, scheme: u16, input: SignInput) -> Result<Response, Error> {
        Ok(self.client.call(&Request::Sign { generation, key, scheme, input }, &[]).await?.body)
    }
}

fn listener(path: &PathBuf) -> OwnedFd {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&fd, 16).unwrap();
    fd
}

fn transcript() -> SignInput {
    SignInput::Tls13ServerVerify { transcript_hash: vec![7; 32].into() }
}

/// A listener's half: rustls' signing key, with the key elsewhere.
#[derive(Debug, Clone)]
struct Remote {
    client: Arc<Client<KeysForMx>>,
    runtime: Handle,
    generation: u64,
    certificates: Vec<Certificate>,
    key: u16,
    scheme: SignatureScheme,
}

impl SigningKey for Remote {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let own = &self.certificates[usize::from(self.key)].schemes;
        let scheme = own.iter().map(|s| SignatureScheme::from(*s)).find(|s| offered.contains(s))?;
        Some(Box::new(Self { scheme, ..self.clone() }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.certificates[usize::from(self.key)].schemes[0] {
            scheme::ED25519 => SignatureAlgorithm::ED25519,
            scheme::ECDSA_SECP256R1_SHA256 | scheme::ECDSA_SECP384R1_SHA384 => SignatureAlgorithm::ECDSA,
            _ => SignatureAlgorithm::RSA,
        }
    }
}

impl Signer for Remote {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let input = match message.strip_prefix(&[b' '; 64]) {
            Some(rest) => SignInput::Tls13ServerVerify { transcript_hash: rest[34..].to_vec().into() },
            None => SignInput::Tls12KeyExchange {
                client_random: message[..32].try_into().unwrap(),
                server_random: message[32..64].try_into().unwrap(),
                group: u16::from_be_bytes([message[65], message[66]]),
                public: message[68..].to_vec().into(),
            },
        };
        let request = Request::Sign { generation: self.generation, key: self.key, scheme: self.scheme.into(), input };
        match self.runtime.block_on(self.client.call(&request, &[])).map(|reply| reply.body) {
            Ok(Response::Signature(signature)) => Ok(signature.into_vec()),
            other => Err(rustls::Error::General(format!("{other:?}"))),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl ResolvesServerCert for Remote {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = Text::new(hello.server_name()?).unwrap();
        let certificate = self.certificates.iter().find(|c| c.names.contains(&asked)).or(self.certificates.first())?;
        let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        Some(Arc::new(CertifiedKey::new(chain, Arc::new(Self { key: certificate.key, ..self.clone() }))))
    }
}

/// A whole handshake in memory between a client that trusts `trusted` and a listener without keys.
async fn handshake(
    world: &World,
    name: &'static str,
    trusted: &str,
    version: &'static SupportedProtocolVersion,
) -> Result<ClientConnection, rustls::Error> {
    let (generation, certificates) = world.certificates().await;
    let (client, runtime) = (world.client.clone(), Handle::current());
    let remote = Remote { client, runtime, generation, certificates, key: 0, scheme: SignatureScheme::Unknown(0) };
    let mut roots = RootCertStore::empty();
    let der = crate::pem::sections(trusted.as_bytes()).unwrap().remove(0).content.to_vec();
    roots.add(CertificateDer::from(der)).unwrap();
    tokio::task::spawn_blocking(move || {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version])?;
        let server = server.with_no_client_auth().with_cert_resolver(Arc::new(remote));
        let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version])?;
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let mut server = ServerConnection::new(Arc::new(server))?;
        let mut client = ClientConnection::new(Arc::new(client), name.try_into().unwrap())?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(client)
    })
    .await
    .unwrap()
}

fn keys_of_every_kind() -> Vec<KeyPair> {
    vec![
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&PKCS_ED25519).unwrap(),
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_accept_signatures_of_every_kind_of_key() {
    for key in keys_of_every_kind() {
        let own = pair("mail.example.org", &key);
        let world = World::new(std::slice::from_ref(&own));
        for (version, number) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
            let client = handshake(&world, "mail.example.org", &own.0, version).await.unwrap();
            assert_eq!(client.protocol_version(), Some(number));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn several_names_have_their_own_certificates() {
    let pairs: Vec<_> = ["mail.example.org", "mail.example.net"].iter().map(|name| pair(name, &KeyPair::generate().unwrap())).collect();
    let world = World::new(&pairs);
    let (_, list) = world.certificates().await;
    let names: Vec<_> = list.iter().map(|c| (c.key, c.names[0].as_str(), c.chain.len())).collect();
    assert_eq!(names, [(0, "mail.example.org", 1), (1, "mail.example.net", 1)]);
    handshake(&world, "mail.example.org", &pairs[0].0, &TLS13).await.unwrap();
    handshake(&world, "mail.example.net", &pairs[1].0, &TLS13).await.unwrap();
    assert!(handshake(&world, "mail.example.net", &pairs[0].0, &TLS13).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reload_is_noticed_and_handshakes_under_way_are_finished() {
    let (first, second) =
        (pair("mail.example.org", &KeyPair::generate().unwrap()), pair("mail.example.org", &KeyPair::generate().unwrap()));
    let world = World::new(std::slice::from_ref(&first));
    let (old, _) = world.certificates().await;
    let waiting = {
        let client = world.client.clone();
        tokio::spawn(async move { client.call_within(Duration::from_secs(60), &Request::Changed(old), &[]).await.unwrap().body })
    };
    // The same files again: nothing changes for anybody.
    world.reload();
    assert_eq!(world.certificates().await.0, old);
    world.write("0.crt", &second.0);
    world.write("0.key", &second.1);
    world.reload();
    let Response::Certificates { generation: new, list } = waiting.await.unwrap() else { panic!() };
    assert_ne!(new, old);
    assert_eq!((new, list.into_vec()), world.certificates().await);
    handshake(&world, "mail.example.org", &second.0, &TLS13).await.unwrap();
    // A handshake begun before ends with the key it was begun with, for a while.
    assert!(matches!(world.sign(old, 0, scheme::ECDSA_SECP256R1_SHA256, transcript()).await, Ok(Response::Signature(_))));
    let statement = Statement::build(&transcript()).unwrap();
    let later = Instant::now() + GRACE;
    assert!(world.keys.sign(old, 0, scheme::ECDSA_SECP256R1_SHA256, &statement, later).is_none());
    assert!(world.keys.sign(new, 0, scheme::ECDSA_SECP256R1_SHA256, &statement, later).is_some());
    // Asked for a generation that is not in use, it answers at once.
    assert!(
        matches!(world.client.call(&Request::Changed(old), &[]).await.unwrap().body, Response::Certificates { generation, .. } if generation == new)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bad_new_files_leave_the_old_ones_in_use() {
    let (first, second) =
        (pair("mail.example.org", &KeyPair::generate().unwrap()), pair("mail.example.net", &KeyPair::generate().unwrap()));
    let world = World::new(&[first.clone(), second.clone()]);
    let before = world.certificates().await;
    for bad in ["", "nonsense", &second.1, &pem("PRIVATE KEY", b"nonsense")] {
        world.write("0.key", bad);
        world.reload();
        assert_eq!(world.certificates().await, before);
        handshake(&world, "mail.example.org", &first.0, &TLS13).await.unwrap();
    }
    fs::remove_file(world.files.path().join("0.crt")).unwrap();
    world.reload();
    assert_eq!(world.certificates().await, before);
    // The other pair is renewed although the first is broken.
    let third = pair("mail.example.net", &KeyPair::generate().unwrap());
    world.write("1.crt", &third.0);
    world.write("1.key", &third.1);
    world.reload();
    handshake(&world, "mail.example.org", &first.0, &TLS13).await.unwrap();
    handshake(&world, "mail.example.net", &third.0, &TLS13).await.unwrap();
}

#[tokio::test]
async fn signatures_are_refused_for_what_is_not_known() {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let world = World::new(&[pair("mail.example.org", &rsa)]);
    let (generation, _) = world.certificates().await;
    for (generation, key, scheme) in [
        (generation.wrapping_add(1), 0, scheme::RSA_PSS_RSAE_SHA256),
        (generation, 1, scheme::RSA_PSS_RSAE_SHA256),
        (generation, 0, scheme::ECDSA_SECP256R1_SHA256),
        (generation, 0, scheme::RSA_PKCS1_SHA256),
        (generation, 0, 0x0201),
        (generation, 0, 0),
    ] {
        assert!(matches!(world.sign(generation, key, scheme, transcript()).await, Ok(Response::NoSuchKey)), "{scheme:x}");
    }
    assert!(matches!(world.sign(generation, 0, scheme::RSA_PSS_RSAE_SHA512, transcript()).await, Ok(Response::Signature(_))));
}

/// A listener that has been taken over asks for a signature over bytes of its own: the connection ends, keys lives on.
#[tokio::test]
async fn a_lying_listener_loses_its_connection() {
    let world = World::new(&[pair("mail.example.org", &KeyPair::generate().unwrap())]);
    let (generation, _) = world.certificates().await;
    let bytes = SignInput::Tls13ServerVerify { transcript_hash: b"a mail that example.org never sent".to_vec().into() };
    assert!(world.sign(generation, 0, scheme::ECDSA_SECP256R1_SHA256, bytes).await.is_err());
    let other = Client::<KeysForMx>::new(world.files.path().join("socket"));
    assert!(other.call(&Request::Certificates, &[]).await.is_ok());
}

#[test]
fn keys_are_read_in_every_usual_form() {
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let sec1 = {
        use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der};
        let algorithm = &aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING;
        let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(algorithm, &ec.serialize_der()).unwrap();
        let der: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
        pem("EC PARAMETERS", &[6, 5, 0x2b, 0x81, 4, 0, 0x22]) + &pem("EC PRIVATE KEY", der.as_ref())
    };
    // PKCS #8 holds the PKCS #1 key after 26 bytes of frame.
    let pkcs1 = pem("RSA PRIVATE KEY", &rsa.serialize_der()[26..]);
    for (certificate, key) in [(pair("a.test", &ec).0, sec1), (pair("a.test", &rsa).0, pkcs1)] {
        assert_eq!(load(&certificate, &key), Ok(()));
        // Both in one file, in any order.
        let both = format!("{key}{certificate}");
        assert_eq!(load(&both, &both), Ok(()));
    }
}

/// Loads a pair as credentials; the error is what the log would say.
fn load(certificate: &str, key: &str) -> Result<(), String> {
    let given = |name: &str| Ok(Some(if name == "tls.crt" { certificate.as_bytes().to_vec() } else { key.as_bytes().to_vec() }));
    let pems = read(&PemSource::Credentials, given).unwrap().unwrap();
    crate::keyring::check(&pems).map_err(|why| why.to_string())
}

#[test]
fn unusable_pairs_are_named() {
    let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (certificate, key) = pair("a.test", &own);
    let small = "there is no private key of a known kind: ECDSA P-256 or P-384, Ed25519, RSA of 2048 to 4096 bits";
    assert_eq!(load(&certificate, &key), Ok(()));
    assert_eq!(load(&certificate, &other.serialize_pem()), Err("the private key is not the key of the certificate".into()));
    assert_eq!(load("", &key), Err("the chain does not have 1 to 10 certificates".into()));
    assert_eq!(load(&certificate.repeat(MAX_CHAIN), &key), Ok(()));
    assert_eq!(load(&certificate.repeat(MAX_CHAIN + 1), &key), Err("the chain does not have 1 to 10 certificates".into()));
    assert_eq!(load(&pem("CERTIFICATE", b"x"), &key), Err("the first certificate cannot be read".into()));
    assert_eq!(load(&certificate, &certificate), Err(small.into()));
    let encrypted = pem("ENCRYPTED PRIVATE KEY", b"x");
    let said = load(&certificate, &encrypted).unwrap_err();
    assert_eq!(said, "the private key: a private key is protected with a passphrase; store it without one, readable by keys alone");
}

#[test]
fn credentials_come_as_a_pair_or_not_at_all() {
    let only = |wanted: &'static str| move |name: &str| Ok((name == wanted).then(|| b"x".to_vec()));
    assert!(matches!(read(&PemSource::Credentials, no_credentials), Ok(None)));
    assert_eq!(read(&PemSource::Credentials, only("tls.crt")).err(), Some(LoadError::Incomplete));
    assert_eq!(read(&PemSource::Credentials, only("tls.key")).err(), Some(LoadError::Incomplete));
    let failing = |_: &str| Err("no permission".to_owned());
    assert_eq!(read(&PemSource::Credentials, failing).err(), Some(LoadError::Read("no permission".into())));
}

#[test]
fn large_files_are_refused() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    let source = PemSource::Files { certificate: path("crt"), private_key: path("key") };
    fs::write(path("key"), "x").unwrap();
    fs::write(path("crt"), vec![b'x'; MAX_PEM as usize]).unwrap();
    assert!(from_files(&source).is_ok());
    fs::write(path("crt"), vec![b'x'; MAX_PEM as usize + 1]).unwrap();
    assert_eq!(from_files(&source).err(), Some(LoadError::TooLarge));
}

/// More certificates than the edge can carry: the first ones are served.
#[test]
fn certificates_are_bounded() {
    let key = KeyPair::generate().unwrap();
    let (certificate, private_key) = pair("a.test", &key);
    let pems = |_: &PemSource| {
        let bytes = |text: &str| zeroize::Zeroizing::new(text.as_bytes().to_vec());
        Ok(Some(Pems { certificate: bytes(&certificate), private_key: bytes(&private_key) }))
    };
    let ring = Keyring::load(&vec![PemSource::Credentials; MAX_CERTIFICATES + 1], &pems, None);
    let Response::Certificates { list, .. } = ring.certificates() else { panic!() };
    assert_eq!(list.len(), MAX_CERTIFICATES);
    assert!(List::<Certificate, MAX_CERTIFICATES>::new(list.into_vec()).is_some());
}

#[tokio::test]
async fn without_certificates_the_list_is_empty() {
    let world = World::new(&[]);
    let (generation, list) = world.certificates().await;
    assert!(list.is_empty());
    assert!(matches!(world.sign(generation, 0, scheme::ED25519, transcript()).await, Ok(Response::NoSuchKey)));
}
