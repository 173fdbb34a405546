//! What is declared, as far as sending needs it, with the certificates and passwords that go with it.

use crate::Limits;
use pure_addr::Domain;
use pure_config::{Config, Network, SmarthostName, SmarthostTls, TlsLevel};
use pure_sasl::Secret;
use pure_tlspolicy::Override;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where systems keep the certificates of public authorities; the first that exists is used, after `$SSL_CERT_FILE`.
const BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];
/// The variable that names another bundle, as OpenSSL has it.
const BUNDLE: &str = "SSL_CERT_FILE";
/// Bytes of a bundle.
const MAX_BUNDLE: u64 = 16 * 1024 * 1024;

/// Where randomness comes from.
#[derive(Clone)]
pub struct Random(pub Arc<dyn Fn() -> u64 + Send + Sync>);

impl Random {
    /// The operating system's.
    pub fn system() -> Self {
        // Without randomness the order of hosts is still an order; a nonce of SCRAM is refused then.
        Self(Arc::new(|| getrandom::u64().unwrap_or(0)))
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&self, values: &mut [T]) {
        for at in (1..values.len()).rev() {
            let bound = u64::try_from(at).unwrap_or(0).saturating_add(1);
            let other = usize::try_from((self.0)().checked_rem(bound).unwrap_or(0)).unwrap_or(0);
            values.swap(at, other);
        }
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

/// Where connections may go when the DNS says where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Loopback too: for tests alone.
    pub loopback: bool,
    /// The port of mail hosts: 25.
    pub smtp: u16,
    /// The port that MTA-STS policies are fetched from: 443.
    pub https: u16,
}

impl Default for Reach {
    fn default() -> Self {
        Self { loopback: false, smtp: 25, https: 443 }
    }
}

/// One smarthost.
#[derive(Debug, Clone)]
pub struct Smarthost {
    /// Where.
    pub host: SmarthostName,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmarthostTls,
    /// Whom to log in as.
    pub user: Option<String>,
    /// Their password; none when there is no such credential.
    pub password: Option<Arc<Secret>>,
    /// Who may have signed its certificate.
    pub roots: Arc<RootCertStore>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What we call ourselves.
    pub hostname: Domain,
    /// Addresses that connections are made from; of each family the first that can be used.
    pub source_addresses: Vec<IpAddr>,
    /// Where names of the DNS may lead although it is not public.
    pub private_networks: Vec<Network>,
    /// By name.
    pub smarthosts: BTreeMap<String, Smarthost>,
    /// What is declared of the TLS of a destination.
    pub destinations: BTreeMap<Domain, Override>,
    /// The public authorities.
    pub roots: Arc<RootCertStore>,
    /// Bytes of a message.
    pub max_message: u64,
    /// Where connections may go.
    pub reach: Reach,
    /// How long things may take.
    pub limits: Limits,
    /// The order of equals.
    pub random: Random,
}

/// Why the settings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file with certificates.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// It has none.
    #[error("{0}: holds no certificate in PEM form")]
    Empty(PathBuf),
    /// A credential.
    #[error("{0}")]
    Credential(#[from] jail::Error),
}

impl Settings {
    /// From the configuration; `password` reads the credential of this name.
    pub fn load(config: &Config, password: impl Fn(&str) -> Result<Option<jail::Secret>, jail::Error>) -> Result<Self, SettingsError> {
        let roots = match bundle() {
            Some(path) => Arc::new(certificates(&path)?),
            None => {
                tracing::error!(
                    "no certificates of public authorities were found: name a file in {BUNDLE}; no certificate will be trusted"
                );
                Arc::new(RootCertStore::empty())
            }
        };
        let mut smarthosts = BTreeMap::new();
        for (name, declared) in &config.send.smarthosts {
            let credential = format!("smarthost.{name}");
            let password = if declared.user.is_some() { password(&credential)?.map(|p| trimmed(&p)) } else { None };
            if declared.user.is_some() && password.is_none() {
                tracing::error!(smarthost = name, "there is no credential {credential}: mail by way of this smarthost will wait");
            }
            let roots = match &declared.authority {
                Some(path) => Arc::new(certificates(path)?),
                None => roots.clone(),
            };
            let (host, user) = (declared.host.clone(), declared.user.clone());
            smarthosts.insert(name.clone(), Smarthost { host, port: declared.port, tls: declared.tls, user, password, roots });
        }
        let level = |destination: &pure_config::Destination| {
            Some(match destination.tls? {
                TlsLevel::None => Override::None,
                TlsLevel::May => Override::May,
                TlsLevel::Encrypt => Override::Encrypt,
                TlsLevel::Verify => Override::Verify,
                TlsLevel::DaneOnly => Override::DaneOnly,
                TlsLevel::Fingerprint => Override::Fingerprint(destination.fingerprints.clone()),
            })
        };
        Ok(Self {
            hostname: config.hostname.clone(),
            source_addresses: config.send.source_addresses.clone(),
            private_networks: config.send.private_networks.clone(),
            smarthosts,
            destinations: config.send.destinations.iter().filter_map(|(domain, d)| Some((domain.clone(), level(d)?))).collect(),
            roots,
            max_message: config.limits.message_size.bytes(),
            reach: Reach::default(),
            limits: Limits::default(),
            random: Random::system(),
        })
    }
}

/// A file made with an editor ends in a line feed, which is no part of the password.
fn trimmed(password: &jail::Secret) -> Arc<Secret> {
    let password = password.expose();
    Arc::new(Secret::new(password.strip_suffix(b"\n").unwrap_or(password).to_vec()))
}

/// The files that must be readable inside the jail.
pub fn files(config: &Config) -> Vec<PathBuf> {
    bundle().into_iter().chain(config.send.smarthosts.values().filter_map(|s| s.authority.clone())).collect()
}

/// The ports that must be reachable from inside the jail.
pub fn ports(config: &Config) -> Vec<u16> {
    let reach = Reach::default();
    let mut ports: Vec<u16> = [reach.smtp, reach.https].into_iter().chain(config.send.smarthosts.values().map(|s| s.port)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn bundle() -> Option<PathBuf> {
    let named = std::env::var_os(BUNDLE).map(PathBuf::from);
    named.into_iter().chain(BUNDLES.iter().map(PathBuf::from)).find(|path| path.is_file())
}

fn certificates(path: &Path) -> Result<RootCertStore, SettingsError> {
    let failed = |error| SettingsError::File(path.to_owned(), error);
    if fs::metadata(path).map_err(failed)?.len() > MAX_BUNDLE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let pem = fs::read(path).map_err(failed)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    if roots.is_empty() { Err(SettingsError::Empty(path.to_owned())) } else { Ok(roots) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of a host that declares nothing.
    pub(crate) fn settings() -> Settings {
        Settings {
            hostname: Domain::parse("mail.mta.test").unwrap(),
            source_addresses: Vec::new(),
            private_networks: Vec::new(),
            smarthosts: BTreeMap::new(),
            destinations: BTreeMap::new(),
            roots: Arc::new(RootCertStore::empty()),
            max_message: 1 << 20,
            reach: Reach::default(),
            limits: Limits::default(),
            random: Random(Arc::new(|| 0)),
        }
    }
}
