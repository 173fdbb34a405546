//! The one TLS set-up of all servers.

use crate::{Secured, Stream, oracle::Oracle, signer::RemoteKey};
use rustls::{
    ServerConfig, SignatureScheme,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::CertificateDer;
use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use wire::{
    Client, Error,
    edge::keys_tls::{Certificate, Handshakes, Request, Response},
};

/// Time a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// How long one question for changed certificates waits.
const WATCH: Duration = Duration::from_secs(600);
/// Pause before asking again after a failure.
const RETRY: Duration = Duration::from_secs(1);

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send + 'a>>;

/// The edge of this front end, whichever it is.
trait Keys: Send + Sync {
    fn ask<'a>(&'a self, request: &'a Request, patience: Duration) -> Asking<'a>;
}

impl<E: Handshakes> Keys for Client<E> {
    fn ask<'a>(&'a self, request: &'a Request, patience: Duration) -> Asking<'a> {
        Box::pin(async move { Ok(self.call_within(patience, request, &[]).await?.body) })
    }
}

/// TLS as a server, with certificates from `keys`.
pub struct Tls {
    keys: Box<dyn Keys>,
    oracle: Arc<Oracle>,
    certificates: Arc<Certificates>,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the parameters.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The thread that speaks to `keys` cannot be started.
    #[error("TLS: {0}")]
    Io(#[from] io::Error),
}

impl Tls {
    /// Sets TLS up for one protocol and starts to follow the certificates of `keys`. `alpn` is its protocol name: a client that
    /// offers only others is refused (ALPACA), one that offers none is served.
    pub fn start<E: Handshakes>(keys: PathBuf, alpn: &[&str]) -> Result<Arc<Self>, TlsError> {
        let oracle = Arc::new(Oracle::start::<E>(keys.clone())?);
        let keys = Box::new(Client::<E>::new(keys));
        let certificates = Arc::new(Certificates::default());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        // Each process has its own tickets: none is good at another service (STLS-10).
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        let tls = Arc::new(Self { keys, oracle, certificates, acceptor: TlsAcceptor::from(Arc::new(config)) });
        tokio::spawn(follow(tls.clone()));
        Ok(tls)
    }

    /// Whether there is a certificate to show.
    pub fn is_ready(&self) -> bool {
        self.certificates.read().is_some()
    }

    /// Asks `keys` once, for a first connection that comes before the certificates.
    async fn prepare(&self) -> Result<(), Error> {
        if self.is_ready() {
            return Ok(());
        }
        self.load(&Request::Certificates, Duration::from_secs(5)).await
    }

    async fn load(&self, request: &Request, patience: Duration) -> Result<(), Error> {
        let Response::Certificates { generation, list } = self.keys.ask(request, patience).await? else {
            return Err(Error::Malformed("not certificates"));
        };
        let list: Vec<Named> = list.into_iter().map(|c| self.certified(generation, c)).collect();
        if list.is_empty() {
            return Err(Error::Refused);
        }
        self.certificates.set(generation, list);
        Ok(())
    }

    fn certified(&self, generation: u64, certificate: Certificate) -> Named {
        let schemes: Arc<[SignatureScheme]> = certificate.schemes.iter().map(|s| SignatureScheme::from(*s)).collect();
        let key = RemoteKey { oracle: self.oracle.clone(), generation, key: certificate.key, schemes };
        let chain = certificate.chain.into_iter().map(|der| CertificateDer::from(der.into_vec())).collect();
        Named {
            names: certificate.names.into_iter().map(String::from).collect(),
            certified: Arc::new(CertifiedKey::new(chain, Arc::new(key))),
        }
    }

    /// Performs the handshake on a connection that has sent nothing we kept.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<Stream> {
        if let Err(error) = self.prepare().await {
            tracing::error!(%error, "no certificates from keys");
            return Err(io::ErrorKind::NotConnected.into());
        }
        let stream = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(socket)).await??;
        Ok(Stream::Tls(Box::new(Secured::new(stream))))
    }
}

/// Keeps the certificates current: `keys` answers when they have changed.
async fn follow(tls: Arc<Tls>) {
    loop {
        let request = match tls.certificates.generation() {
            Some(generation) => Request::Changed(generation),
            None => Request::Certificates,
        };
        match tls.load(&request, WATCH).await {
            Ok(()) => tracing::info!("certificates loaded"),
            Err(Error::Timeout) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot ask keys for certificates");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Certificates(RwLock<Option<(u64, Vec<Named>)>>);

#[derive(Debug)]
struct Named {
    names: Vec<String>,
    certified: Arc<CertifiedKey>,
}

impl Certificates {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Option<(u64, Vec<Named>)>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self) -> Option<u64> {
        self.read().as_ref().map(|(generation, _)| *generation)
    }

    fn set(&self, generation: u64, list: Vec<Named>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some((generation, list));
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.read();
        let (_, list) = current.as_ref()?;
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let named = asked.and_then(|name| list.iter().find(|c| c.names.iter().any(|n| matches(n, &name))));
        named.or(list.first()).map(|c| c.certified.clone())
    }
}

/// RFC 6125 6.4.3: a wildcard stands for exactly one whole label.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards_stand_for_one_label() {
        assert!(matches("mx.example.org", "mx.example.org"));
        assert!(matches("*.example.org", "mx.example.org"));
        assert!(!matches("*.example.org", "example.org"));
        assert!(!matches("*.example.org", "a.b.example.org"));
    }
}
