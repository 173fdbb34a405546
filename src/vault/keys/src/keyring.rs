//! All certificates with their keys, as one generation.
//!
//! * A pair is taken only whole: the chain can be read, the key can be read, and the key is the certificate's.
//! * A pair that cannot be taken is logged, and the one that came from the same place before stays.
//! * The generation follows from the certificates, so neither a reload without change nor a restart disturbs a listener.

use crate::{
    certificate::Certificate,
    key::PrivateKey,
    limits::{MAX_CERTIFICATES, MAX_CHAIN, MAX_PEM},
    pem::{PemError, sections},
    statement::Statement,
};
use aws_lc_rs::digest::{Context, SHA256};
use pure_addr::Text;
use std::{fmt, fs, io::Read, path::PathBuf, sync::Arc};
use wire::{Edge, List, edge::keys_tls};
use zeroize::Zeroizing;

/// Where a pair comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PemSource {
    /// `tls.crt` and `tls.key`.
    Credentials,
    Files {
        certificate: PathBuf,
        private_key: PathBuf,
    },
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials => f.write_str("the credentials tls.crt and tls.key"),
            Self::Files { certificate, private_key } => write!(f, "{} and {}", certificate.display(), private_key.display()),
        }
    }
}

/// The two files of a pair.
pub(crate) struct Pems {
    pub(crate) certificate: Zeroizing<Vec<u8>>,
    pub(crate) private_key: Zeroizing<Vec<u8>>,
}

/// Why a pair cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{0}")]
    Read(String),
    #[error("one of the two is missing")]
    Incomplete,
    #[error("a file is larger than 256 KiB")]
    TooLarge,
    #[error("the certificate: {0}")]
    CertificatePem(PemError),
    #[error("the private key: {0}")]
    KeyPem(PemError),
    #[error("the chain does not have 1 to 10 certificates")]
    Chain,
    #[error("the first certificate cannot be read")]
    Certificate,
    #[error("there is no private key of a known kind: ECDSA P-256 or P-384, Ed25519, RSA of 2048 to 4096 bits")]
    Key,
    #[error("the private key is not the key of the certificate")]
    Mismatch,
}

/// Reads the two files of a pair; none when there are no such credentials.
pub(crate) fn read(source: &PemSource, credential: impl Fn(&str) -> Result<Option<Vec<u8>>, String>) -> Result<Option<Pems>, LoadError> {
    let (certificate, private_key) = match source {
        PemSource::Files { certificate, private_key } => (Some(read_file(certificate)?), Some(read_file(private_key)?)),
        PemSource::Credentials => {
            let get = |name| credential(name).map(|bytes| bytes.map(Zeroizing::new)).map_err(LoadError::Read);
            (get("tls.crt")?, get("tls.key")?)
        }
    };
    match (certificate, private_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(private_key)) => Ok(Some(Pems { certificate, private_key })),
        _ => Err(LoadError::Incomplete),
    }
}

fn read_file(path: &PathBuf) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    let failed = |error: std::io::Error| LoadError::Read(format!("{}: {error}", path.display()));
    // Large enough from the start: a buffer that grows leaves copies of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
    fs::File::open(path).map_err(failed)?.take(MAX_PEM.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_PEM { Err(LoadError::TooLarge) } else { Ok(bytes) }
}

/// A certificate with its chain and key.
#[derive(Debug)]
struct Pair {
    source: PemSource,
    chain: Vec<Vec<u8>>,
    names: Vec<Text<255>>,
    key: PrivateKey,
}

impl Pair {
    fn new(source: &PemSource, pems: &Pems) -> Result<Self, LoadError> {
        let chain: Vec<Vec<u8>> = sections(&pems.certificate)
            .map_err(LoadError::CertificatePem)?
            .into_iter()
            .filter(|section| section.label == "CERTIFICATE")
            .map(|section| section.content.to_vec())
            .collect();
        let leaf = chain.first().filter(|_| chain.len() <= MAX_CHAIN).ok_or(LoadError::Chain)?;
        let certificate = Certificate::parse(leaf).ok_or(LoadError::Certificate)?;
        let keys = sections(&pems.private_key).map_err(LoadError::KeyPem)?;
        let key = keys.iter().find_map(PrivateKey::read).ok_or(LoadError::Key)?;
        if key.public_key().as_deref() != Some(certificate.public_key) {
            return Err(LoadError::Mismatch);
        }
        let names = certificate.names;
        Ok(Self { source: source.clone(), chain, names, key })
    }

    fn public_half(&self, number: u16) -> Option<keys_tls::Certificate> {
        Some(keys_tls::Certificate {
            key: number,
            names: List::new(self.names.clone())?,
            chain: List::new(self.chain.iter().map(|der| der.clone().into()).collect())?,
            schemes: List::new(self.key.schemes().to_vec())?,
        })
    }
}

/// One generation.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    generation: u64,
    pairs: Vec<Arc<Pair>>,
    certificates: List<keys_tls::Certificate, MAX_CERTIFICATES>,
}

impl Keyring {
    /// Reads all pairs; those that fail are taken from `old`.
    pub(crate) fn load(sources: &[PemSource], read: &impl Fn(&PemSource) -> Result<Option<Pems>, LoadError>, old: Option<&Self>) -> Self {
        let mut ring = Self::default();
        for source in sources {
            let loaded = match read(source) {
                Ok(Some(pems)) => Pair::new(source, &pems),
                Ok(None) => {
                    tracing::warn!("no certificate: neither [tls] nor the credentials tls.crt and tls.key are given");
                    continue;
                }
                Err(why) => Err(why),
            };
            let pair = match loaded {
                Ok(pair) => Some(Arc::new(pair)),
                Err(why) => {
                    let before = old.and_then(|old| old.pairs.iter().find(|pair| pair.source == *source)).cloned();
                    tracing::error!(%source, %why, old_one_stays = before.is_some(), "a certificate was not taken");
                    before
                }
            };
            if pair.is_some_and(|pair| !ring.add(pair)) {
                tracing::error!(%source, "a certificate was left out: there are too many, or they are too large together");
            }
        }
        ring.generation = generation(&ring.pairs);
        tracing::info!(certificates = ring.pairs.len(), generation = format!("{:016x}", ring.generation), "keys loaded");
        ring
    }

    fn add(&mut self, pair: Arc<Pair>) -> bool {
        let Some(public) = u16::try_from(self.pairs.len()).ok().and_then(|number| pair.public_half(number)) else { return false };
        let mut certificates = self.certificates.clone();
        if certificates.push(public).is_err() {
            return false;
        }
        let answer = keys_tls::Response::Certificates { generation: u64::MAX, list: certificates };
        let fits = wire::encode(&answer).is_ok_and(|frame| frame.len() <= keys_tls::KeysForMx::MAX_BODY);
        if let keys_tls::Response::Certificates { list, .. } = answer
            && fits
        {
            self.certificates = list;
            self.pairs.push(pair);
        }
        fits
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The public half of everything.
    pub(crate) fn certificates(&self) -> keys_tls::Response {
        keys_tls::Response::Certificates { generation: self.generation, list: self.certificates.clone() }
    }

    /// None when there is no such key, or it cannot make this scheme.
    pub(crate) fn sign(&self, key: u16, scheme: u16, statement: &Statement) -> Option<Vec<u8>> {
        self.pairs.get(usize::from(key))?.key.sign(scheme, statement)
    }
}

/// A digest of all certificates in their order.
fn generation(pairs: &[Arc<Pair>]) -> u64 {
    let mut digest = Context::new(&SHA256);
    for certificate in pairs.iter().flat_map(|pair| pair.chain.iter()) {
        digest.update(&(certificate.len() as u64).to_be_bytes());
        digest.update(certificate);
    }
    let digest = digest.finish();
    digest.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Whether a pair could be taken.
#[cfg(test)]
pub(crate) fn check(pems: &Pems) -> Result<(), LoadError> {
    Pair::new(&PemSource::Credentials, pems).map(|_| ())
}
