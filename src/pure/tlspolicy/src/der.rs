//! As much of DER (X.690 10) as it takes to find the key in a certificate.

/// INTEGER, BIT STRING and SEQUENCE, and the version's explicit tag.
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// One element and what follows it.
struct Element<'a> {
    tag: u8,
    whole: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

fn element(input: &[u8]) -> Option<Element<'_>> {
    let (&tag, after_tag) = input.split_first()?;
    let (&first, after_first) = after_tag.split_first()?;
    let (length, body) = match first {
        ..=0x7f => (usize::from(first), after_first),
        // The indefinite form is not DER; four bytes of length are more than any certificate has.
        0x81..=0x84 => {
            let (digits, body) = after_first.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().fold(0_usize, |length, digit| (length << 8) | usize::from(*digit));
            (length, body)
        }
        _ => return None,
    };
    let (content, rest) = body.split_at_checked(length)?;
    let whole = input.get(..input.len().checked_sub(rest.len())?)?;
    Some(Element { tag, whole, content, rest })
}

fn expect(input: &[u8], tag: u8) -> Option<Element<'_>> {
    element(input).filter(|e| e.tag == tag)
}

/// SubjectPublicKeyInfo of a certificate (RFC 5280 4.1), as it is encoded.
pub(crate) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let certificate = expect(certificate, SEQUENCE).filter(|c| c.rest.is_empty())?;
    let mut fields = expect(certificate.content, SEQUENCE)?.content;
    if let Some(version) = expect(fields, VERSION) {
        fields = version.rest;
    }
    fields = expect(fields, INTEGER)?.rest;
    // signature, issuer, validity, subject.
    for _ in 0..4 {
        fields = expect(fields, SEQUENCE)?.rest;
    }
    expect(fields, SEQUENCE).map(|key| key.whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    #[test]
    fn the_key_is_found() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["mx.remote.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        assert_eq!(public_key(certificate.der()), Some(key.subject_public_key_info().as_slice()));
    }

    #[test]
    fn broken_certificates_have_none() {
        let key = KeyPair::generate().unwrap();
        let whole = CertificateParams::new(vec!["mx.remote.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        for end in 0..whole.der().len() {
            assert_eq!(public_key(&whole.der()[..end]), None);
        }
        for bad in [&b""[..], b"\x30\x80\x00\x00", b"\x30\x84\xff\xff\xff\xff", b"\x30\x85\x01\x01\x01\x01\x01", b"\x30\x02\x30\x00"] {
            assert_eq!(public_key(bad), None);
        }
    }
}
