//! A certificate authority for one run of `up`, and a server certificate by it.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

/// How long the certificates are valid; clients refuse server certificates above 398 days.
pub(super) const VALID: Duration = Duration::days(397);

/// What [`issue`] makes, all PEM.
pub(super) struct Issued {
    /// For clients to trust. Its key is not kept: nothing else can ever be issued by it.
    pub(super) authority: String,
    pub(super) chain: String,
    pub(super) key: String,
}

/// Issues a certificate for these names, the first of which becomes the common name.
pub(super) fn issue(names: Vec<String>, now: OffsetDateTime) -> Result<Issued, rcgen::Error> {
    let (from, until) = (now.saturating_sub(Duration::days(1)), now.saturating_add(VALID));

    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Postern on loopback");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = (from, until);
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let common_name = names.first().cloned().unwrap_or_default();
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, common_name);
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    (server.not_before, server.not_after) = (from, until);
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok(Issued { authority: authority_certificate.pem(), chain: certificate.pem(), key: key.serialize_pem() })
}
