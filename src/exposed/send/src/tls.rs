//! TLS as a client, and what a certificate must be: the checks of a [`Requirement`] as rustls asks for them.
//!
//! Each connection has its own configuration and no tickets, so that no session of a lax policy is resumed under a strict one.

use pure_addr::Domain;
use pure_tlspolicy::{
    Requirement,
    dane::{self, Match},
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use wire::edge::send_deliver::TlsFailure;

/// What a handshake is about.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// The server's name, for SNI and for its certificate.
    pub(crate) name: ServerName<'static>,
    /// Further names that its certificate may carry: the destination itself, when its MX is secure (RFC 7672 3.2.2).
    pub(crate) further: Vec<ServerName<'static>>,
    pub(crate) requirement: Requirement,
    pub(crate) roots: Arc<RootCertStore>,
}

/// A handshake that succeeded.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Why a verified connection would have been refused; none when the certificate is good for its name, or meant by the requirement.
    pub(crate) unverified: Option<TlsFailure>,
}

/// One that did not.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) failure: TlsFailure,
    pub(crate) text: String,
}

/// A host as rustls names it.
pub(crate) fn server_name(host: &Domain) -> Option<ServerName<'static>> {
    match literal(host) {
        Some(address) => Some(ServerName::IpAddress(address.into())),
        None => ServerName::try_from(host.as_str().to_owned()).ok(),
    }
}

/// The address of an address literal (RFC 5321 4.1.3).
pub(crate) fn literal(host: &Domain) -> Option<IpAddr> {
    let inner = host.as_str().strip_prefix('[')?.strip_suffix(']')?;
    inner.strip_prefix("IPv6:").unwrap_or(inner).parse().ok()
}

/// Performs the handshake.
pub(crate) async fn handshake(socket: TcpStream, expected: Expected, patience: Duration) -> Result<Established, Refused> {
    let name = expected.name.clone();
    let unverified = Arc::new(Mutex::new(None));
    let config = config(expected, unverified.clone()).map_err(|error| refused(&error, &unverified))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, socket);
    match tokio::time::timeout(patience, connecting).await {
        Ok(Ok(stream)) => Ok(Established { stream, unverified: known(&unverified) }),
        Ok(Err(error)) => Err(from_io(&error, &unverified)),
        Err(_elapsed) => Err(Refused { failure: TlsFailure::ValidationFailure, text: "the handshake took too long".into() }),
    }
}

type Known = Arc<Mutex<Option<TlsFailure>>>;

fn known(of: &Known) -> Option<TlsFailure> {
    *of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(expected: Expected, unverified: Known) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        Arc::new(Verifier { expected, algorithms: provider.signature_verification_algorithms, provider: provider.clone(), unverified });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn from_io(error: &io::Error, unverified: &Known) -> Refused {
    match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(error) => refused(error, unverified),
        None => Refused { failure: TlsFailure::ValidationFailure, text: format!("the handshake failed: {error}") },
    }
}

fn refused(error: &Error, unverified: &Known) -> Refused {
    let failure = match error {
        Error::InvalidCertificate(_) => known(unverified).unwrap_or_else(|| kind(error)),
        _ => TlsFailure::ValidationFailure,
    };
    Refused { failure, text: format!("the handshake failed: {error}") }
}

/// RFC 8460 4.3.
fn kind(error: &Error) -> TlsFailure {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFailure::CertificateExpired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsFailure::CertificateHostMismatch,
            CertificateError::UnknownIssuer => TlsFailure::CertificateNotTrusted,
            _ => TlsFailure::ValidationFailure,
        },
        _ => TlsFailure::ValidationFailure,
    }
}

#[derive(Debug)]
struct Verifier {
    expected: Expected,
    provider: Arc<CryptoProvider>,
    algorithms: WebPkiSupportedAlgorithms,
    unverified: Known,
}

impl Verifier {
    /// RFC 5280 and RFC 6125 under these authorities, for any of these names.
    fn verify<'n>(
        &self,
        roots: Arc<RootCertStore>,
        names: impl IntoIterator<Item = &'n ServerName<'static>>,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|_| Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut result = Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        for name in names {
            match verifier.verify_server_cert(own, chain, name, &[], now) {
                Ok(verified) => return Ok(verified),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    fn public(&self, own: &CertificateDer<'_>, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<ServerCertVerified, Error> {
        self.verify(self.expected.roots.clone(), [&self.expected.name], own, chain, now)
    }

    fn dane(
        &self,
        records: &[dane::Tlsa],
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all: Vec<&[u8]> = std::iter::once(own.as_ref()).chain(chain.iter().map(AsRef::as_ref)).take(dane::MAX_CHAIN).collect();
        match dane::compare(records, &all) {
            Match::EndEntity => Ok(ServerCertVerified::assertion()),
            Match::Anchors(anchors) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(anchors.into_iter().map(CertificateDer::from));
                let names = std::iter::once(&self.expected.name).chain(&self.expected.further);
                self.verify(Arc::new(roots), names, own, chain, now)
            }
            Match::None => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result = match &self.expected.requirement {
            Requirement::Plain | Requirement::Opportunistic | Requirement::Encrypt | Requirement::Verify => self.public(own, chain, now),
            Requirement::Dane(records) => self.dane(records, own, chain, now),
            Requirement::Fingerprint(list) => {
                let fingerprint: [u8; 32] = Sha256::digest(own).into();
                let known = list.contains(&fingerprint);
                known.then(ServerCertVerified::assertion).ok_or(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
        };
        if let Err(error) = &result {
            *self.unverified.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind(error));
        }
        match &self.expected.requirement {
            // RFC 7435: encrypted to whoever it is, which is more than not encrypted.
            Requirement::Plain | Requirement::Opportunistic | Requirement::Encrypt => Ok(ServerCertVerified::assertion()),
            Requirement::Verify | Requirement::Dane(_) | Requirement::Fingerprint(_) => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
