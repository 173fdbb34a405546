//! What has to be known of the operator's own certificate (RFC 5280 4.1): its public key and its DNS names.

use crate::limits::MAX_NAMES;
use pure_addr::{Domain, Text};

/// A DER element: its tag, its content, and all of it.
#[derive(Debug, Clone, Copy)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// Elements one after the other. Not recursive: a caller opens what it wants to look into.
#[derive(Debug, Clone, Copy)]
struct Der<'a>(&'a [u8]);

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
/// `[0] EXPLICIT Version`.
const VERSION: u8 = 0xa0;
/// `[3] EXPLICIT Extensions`.
const EXTENSIONS: u8 = 0xa3;
/// `[2] dNSName` of GeneralName.
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17, subjectAltName.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

impl<'a> Der<'a> {
    /// The next element; none at the end and for what is not DER. X.690 8.1, definite lengths of at most four bytes.
    fn next(&mut self) -> Option<Element<'a>> {
        let all = self.0;
        let (&[tag, length], mut rest) = all.split_first_chunk::<2>()?;
        let length = match length {
            short @ 0..=0x7f => usize::from(short),
            long @ 0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(long & 0x7f))?;
                rest = after;
                let number = bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                usize::try_from(number).ok()?
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = all.get(..all.len().checked_sub(after.len())?)?;
        self.0 = after;
        Some(Element { tag, content, whole })
    }

    /// The next element, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }

    /// What is inside the next element, if it has this tag.
    fn open(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(|element| Self(element.content))
    }
}

/// The parts of a certificate that matter here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Certificate<'a> {
    /// SubjectPublicKeyInfo, whole.
    pub(crate) public_key: &'a [u8],
    /// The dNSNames of subjectAltName that are domain names or wildcards (RFC 9525 6.3), lower-case, none twice.
    pub(crate) names: Vec<Text<255>>,
}

impl<'a> Certificate<'a> {
    /// None when it is not a certificate.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = Der(der);
        let mut certificate = outer.open(SEQUENCE)?;
        if !outer.0.is_empty() {
            return None;
        }
        let mut fields = certificate.open(SEQUENCE)?;
        fields.take(VERSION);
        // serialNumber, signature, issuer, validity, subject.
        for _ in 0..5 {
            fields.next()?;
        }
        let public_key = fields.take(SEQUENCE)?.whole;
        let mut names = Vec::new();
        while let Some(field) = fields.next() {
            if field.tag == EXTENSIONS {
                names = alternative_names(Der(field.content))?;
            }
        }
        Some(Self { public_key, names })
    }
}

fn alternative_names(mut extensions: Der<'_>) -> Option<Vec<Text<255>>> {
    let mut list = extensions.open(SEQUENCE)?;
    let mut names = Vec::new();
    while let Some(mut extension) = list.open(SEQUENCE) {
        let id = extension.take(OBJECT_IDENTIFIER)?;
        extension.take(BOOLEAN);
        let mut value = extension.open(OCTET_STRING)?;
        if id.content != SUBJECT_ALT_NAME {
            continue;
        }
        let mut general_names = value.open(SEQUENCE)?;
        while let Some(name) = general_names.next() {
            if name.tag == DNS_NAME && names.len() < MAX_NAMES {
                names.extend(dns_name(name.content).filter(|name| !names.contains(name)));
            }
        }
    }
    Some(names)
}

fn dns_name(bytes: &[u8]) -> Option<Text<255>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (wildcard, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
    let domain = Domain::parse(name).ok().filter(|domain| !domain.is_literal())?;
    Text::new(format!("{wildcard}{domain}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> (rcgen::KeyPair, Vec<u8>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (key, certificate.der().to_vec())
    }

    #[test]
    fn key_and_names_are_found() {
        use rcgen::PublicKeyData;
        let (key, der) = certificate(&["Mail.example.org", "*.example.org", "mail.example.org", "192.0.2.1"]);
        let found = Certificate::parse(&der).unwrap();
        assert_eq!(found.public_key, key.subject_public_key_info());
        assert_eq!(found.names.iter().map(Text::as_str).collect::<Vec<_>>(), ["mail.example.org", "*.example.org"]);
    }

    #[test]
    fn a_certificate_without_names_has_none() {
        let (_, der) = certificate(&[]);
        assert!(Certificate::parse(&der).unwrap().names.is_empty());
    }

    #[test]
    fn names_are_bounded() {
        let names: Vec<String> = (0..=MAX_NAMES).map(|n| format!("n{n}.example.org")).collect();
        let (_, der) = certificate(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(Certificate::parse(&der).unwrap().names.len(), MAX_NAMES);
    }

    /// No cut or change may do more than be refused.
    #[test]
    fn damaged_certificates_do_no_harm() {
        let (_, der) = certificate(&["mail.example.org"]);
        for end in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..end]), None);
        }
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut damaged = der.clone();
                damaged[at] ^= 1 << bit;
                let _ = Certificate::parse(&damaged);
            }
        }
        assert_eq!(Certificate::parse(&[&der[..], &[0]].concat()), None);
        assert_eq!(Certificate::parse(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(Certificate::parse(&[0x30, 0x80]), None);
    }
}
