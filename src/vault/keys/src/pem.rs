//! PEM (RFC 7468): the operator's own files, read strictly enough to say what is wrong with them.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// One `-----BEGIN LABEL-----` section.
pub(crate) struct Section<'a> {
    pub(crate) label: &'a str,
    /// DER; may be a private key.
    pub(crate) content: Zeroizing<Vec<u8>>,
}

/// Why a file is not PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemError {
    #[error("it is not text")]
    NotText,
    #[error("a section is not ended")]
    NotEnded,
    #[error("a section is not base64")]
    NotBase64,
    #[error("a private key is protected with a passphrase; store it without one, readable by keys alone")]
    Encrypted,
}

/// All sections of a file; what stands between them is a comment (RFC 7468 5.2).
pub(crate) fn sections(file: &[u8]) -> Result<Vec<Section<'_>>, PemError> {
    let text = std::str::from_utf8(file).map_err(|_| PemError::NotText)?;
    let mut sections = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else { continue };
        let end = format!("-----END {label}-----");
        let mut base64 = Zeroizing::new(String::new());
        loop {
            match lines.next().ok_or(PemError::NotEnded)? {
                line if line == end => break,
                // RFC 1421 4.6.1.1: `Proc-Type: 4,ENCRYPTED`.
                line if line.contains(':') => return Err(PemError::Encrypted),
                line => base64.push_str(line),
            }
        }
        if label == "ENCRYPTED PRIVATE KEY" {
            return Err(PemError::Encrypted);
        }
        let content = Zeroizing::new(BASE64.decode(base64.as_bytes()).map_err(|_| PemError::NotBase64)?);
        sections.push(Section { label, content });
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_between_comments() {
        let file = b"subject=x\r\n-----BEGIN CERTIFICATE-----\r\nAQID\r\nBAU=\r\n-----END CERTIFICATE-----\r\n\r\n# key\n-----BEGIN PRIVATE KEY-----\nBg==\n-----END PRIVATE KEY-----";
        let found = sections(file).unwrap();
        let short: Vec<_> = found.iter().map(|s| (s.label, s.content.as_slice())).collect();
        assert_eq!(short, [("CERTIFICATE", &[1, 2, 3, 4, 5][..]), ("PRIVATE KEY", &[6][..])]);
        assert!(sections(b"").unwrap().is_empty());
    }

    #[test]
    fn broken_files_are_named() {
        for (file, why) in [
            (&b"\xff"[..], PemError::NotText),
            (b"-----BEGIN X-----\nAQID\n", PemError::NotEnded),
            (b"-----BEGIN X-----\nAQID\n-----END Y-----\n", PemError::NotEnded),
            (b"-----BEGIN X-----\nA!ID\n-----END X-----\n", PemError::NotBase64),
            (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAQID\n-----END ENCRYPTED PRIVATE KEY-----\n", PemError::Encrypted),
            (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAQID\n-----END RSA PRIVATE KEY-----\n", PemError::Encrypted),
        ] {
            assert_eq!(sections(file).err(), Some(why));
        }
    }
}
