//! The `DKIM-Signature` field (RFC 6376 3.5) and what is hashed for it (RFC 6376 3.7).

use crate::{is_canonical, is_name, limits, relax};
use data_encoding::BASE64;
use pure_addr::Domain;

/// `a=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RFC 8463: PureEdDSA over the SHA-256 of the input.
    Ed25519Sha256,
    /// RFC 6376 3.3.2: PKCS #1 v1.5 over the SHA-256 of the input.
    RsaSha256,
}

impl Algorithm {
    /// As it is written.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Ed25519Sha256 => "ed25519-sha256",
            Self::RsaSha256 => "rsa-sha256",
        }
    }
}

/// Why fields are not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// A name that cannot stand in `h=`.
    #[error("a field name that cannot be signed")]
    Name,
    /// A value that is not in relaxed form.
    #[error("a value that is not in canonical form")]
    Value,
    /// A field behind its own absence: no message can be so.
    #[error("a field that is both absent and there")]
    Order,
    /// RFC 6376 5.4: From must be signed, and there is one.
    #[error("not exactly one From")]
    From,
    /// More than [`limits`] allow.
    #[error("too many fields or too long ones")]
    TooLarge,
    /// Not a domain name, or no selector.
    #[error("a domain or selector that cannot be signed for")]
    Signer,
}

/// Fields in canonical form, with one From among them.
#[derive(Debug)]
pub struct SignedHeader<'a>(Vec<(&'a str, Option<&'a [u8]>)>);

impl<'a> SignedHeader<'a> {
    /// Checks name and value of every field, in the order of `h=`.
    pub fn check(fields: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Result<Self, NotCanonical> {
        let mut checked: Vec<(&str, Option<&[u8]>)> = Vec::new();
        let (mut from, mut bytes) = (0usize, 0usize);
        for (name, value) in fields {
            bytes = bytes.saturating_add(value.map_or(0, <[u8]>::len));
            if checked.len() >= limits::MAX_FIELDS || bytes > limits::MAX_VALUES {
                return Err(NotCanonical::TooLarge);
            }
            if !is_name(name) {
                return Err(NotCanonical::Name);
            }
            if !value.is_none_or(is_canonical) {
                return Err(NotCanonical::Value);
            }
            if checked.iter().any(|(n, v)| *n == name && v.is_none()) && value.is_some() {
                return Err(NotCanonical::Order);
            }
            from = from.saturating_add(usize::from(name == "from" && value.is_some()));
            checked.push((name, value));
        }
        if from == 1 { Ok(Self(checked)) } else { Err(NotCanonical::From) }
    }
}

/// Whether this can be `s=`: labels of lower-case letters, digits, hyphens and underscores (RFC 6376 3.1).
pub fn is_selector(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let label = |l: &str| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-') && l.bytes().all(plain);
    text.len() <= limits::MAX_SELECTOR && text.split('.').all(label)
}

/// A signature field that lacks its signature: the one thing a DKIM key signs.
///
/// It exists only behind [`SignedHeader::check`], and what is signed ends with the text written here; so whoever asks for a signature gets
/// one that says `d=`, `s=` and `a=` of the key that made it, over fields of a message, and can get nothing else.
#[derive(Debug)]
pub struct Unsigned {
    /// The field up to and with `b=`.
    text: String,
    input: Vec<u8>,
}

impl Unsigned {
    /// `body_hash` is `bh=`, `time` is `t=` in seconds since 1970.
    pub fn build(
        header: &SignedHeader<'_>,
        body_hash: &[u8; 32],
        algorithm: Algorithm,
        domain: &Domain,
        selector: &str,
        time: i64,
    ) -> Result<Self, NotCanonical> {
        Self::over("DKIM-Signature", "v=1;", header, body_hash, &Signer { algorithm, domain, selector, time })
    }

    /// A signature over fields of a message and its body: the field `name`, which begins with the tag `first`.
    pub(crate) fn over(
        name: &str,
        first: &str,
        header: &SignedHeader<'_>,
        body_hash: &[u8; 32],
        signer: &Signer<'_>,
    ) -> Result<Self, NotCanonical> {
        let mut field = signer.begin(name, first, "c=relaxed/relaxed;")?;
        let last = header.0.len().saturating_sub(1);
        for (at, (name, _)) in header.0.iter().enumerate() {
            let (start, end) = (if at == 0 { "h=" } else { "" }, if at == last { ";" } else { ":" });
            // RFC 6376 3.5: white space may stand behind the colons of h=.
            if at == 0 { field.word(&format!("{start}{name}{end}")) } else { field.piece(&format!("{name}{end}")) }
        }
        field.word(&format!("bh={};", BASE64.encode(body_hash)));
        // RFC 6376 3.7: the fields of h=, then this one with an empty b= and without its CRLF.
        let mut input = Vec::new();
        for (name, value) in &header.0 {
            if let Some(value) = value {
                canonical(name, value, &mut input);
            }
        }
        Ok(Self::end(field, input))
    }

    /// The signature field itself, behind what it covers.
    pub(crate) fn end(mut field: Folded, mut input: Vec<u8>) -> Self {
        field.word("b=");
        let text = field.text;
        let (name, value) = text.split_once(':').unwrap_or_default();
        input.extend_from_slice(name.to_ascii_lowercase().as_bytes());
        input.push(b':');
        input.extend_from_slice(&relax(value.as_bytes()));
        Self { text, input }
    }

    /// The bytes to be hashed with SHA-256 and signed.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// The whole field, ended by CRLF.
    pub fn finish(self, signature: &[u8]) -> Vec<u8> {
        let mut field = Folded { column: self.text.rsplit('\n').next().map_or(0, str::len), text: self.text };
        // RFC 6376 3.5: white space in b= is ignored.
        for chunk in BASE64.encode(signature).as_bytes().chunks(8) {
            field.piece(&String::from_utf8_lossy(chunk));
        }
        field.text.push_str("\r\n");
        field.text.into_bytes()
    }
}

/// A field in canonical form, of a name in lower case and a value that is in that form.
pub(crate) fn canonical(name: &str, value: &[u8], out: &mut Vec<u8>) {
    for part in [name.as_bytes(), b":", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Whose signature it is: `a=`, `d=`, `s=` and `t=`.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// `a=`
    pub algorithm: Algorithm,
    /// `d=`
    pub domain: &'a Domain,
    /// `s=`
    pub selector: &'a str,
    /// `t=`: seconds since 1970.
    pub time: i64,
}

impl Signer<'_> {
    /// A field with its first tags.
    pub(crate) fn begin(&self, name: &str, first: &str, third: &str) -> Result<Folded, NotCanonical> {
        let Self { algorithm, domain, selector, time } = self;
        if domain.is_literal() || !is_selector(selector) || *time < 0 {
            return Err(NotCanonical::Signer);
        }
        let mut field = Folded::new(&format!("{name}:"));
        field.word(first);
        field.word(&format!("a={};", algorithm.tag()));
        field.word(third);
        field.word(&format!("d={domain};"));
        field.word(&format!("s={selector};"));
        field.word(&format!("t={time};"));
        Ok(field)
    }
}

/// Writes a field in lines of at most [`limits::COLUMNS`], as far as its words allow.
pub(crate) struct Folded {
    text: String,
    column: usize,
}

impl Folded {
    fn new(name: &str) -> Self {
        Self { text: name.to_owned(), column: name.len() }
    }

    /// With a blank or a new line in front.
    pub(crate) fn word(&mut self, word: &str) {
        if self.column.saturating_add(1).saturating_add(word.len()) > limits::COLUMNS {
            self.fold();
        } else {
            self.text.push(' ');
            self.column = self.column.saturating_add(1);
        }
        self.write(word);
    }

    /// With nothing or a new line in front.
    fn piece(&mut self, piece: &str) {
        if self.column.saturating_add(piece.len()) > limits::COLUMNS {
            self.fold();
        }
        self.write(piece);
    }

    fn fold(&mut self) {
        self.text.push_str("\r\n ");
        self.column = 1;
    }

    fn write(&mut self, text: &str) {
        self.text.push_str(text);
        self.column = self.column.saturating_add(text.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(fields: &[(&'a str, Option<&'a str>)]) -> Result<SignedHeader<'a>, NotCanonical> {
        SignedHeader::check(fields.iter().map(|(name, value)| (*name, value.map(str::as_bytes))))
    }

    fn unsigned(domain: &str, selector: &str) -> Result<Unsigned, NotCanonical> {
        let header = header(&[("from", Some("a@x.test")), ("from", None), ("to", None), ("subject", Some("hi"))])?;
        Unsigned::build(&header, &[7; 32], Algorithm::RsaSha256, &Domain::parse(domain).unwrap(), selector, 1_795_000_000)
    }

    /// Attack case IPC-04: "sign raw 32 bytes": nothing but a checked header and our own field is ever hashed.
    #[test]
    fn what_is_hashed_is_the_fields_and_the_field_written_here() {
        let unsigned = unsigned("x.test", "s1").unwrap();
        let input = String::from_utf8(unsigned.input().to_vec()).unwrap();
        assert_eq!(
            input,
            "from:a@x.test\r\nsubject:hi\r\ndkim-signature:v=1; a=rsa-sha256; c=relaxed/relaxed; d=x.test; s=s1; t=1795000000; \
            h=from:from:to:subject; bh=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=; b="
        );
        let field = String::from_utf8(unsigned.finish(&[1; 256])).unwrap();
        assert!(field.starts_with("DKIM-Signature: v=1; a=rsa-sha256; ") && field.ends_with("\r\n"));
        assert!(field.lines().all(|l| l.len() < 78), "{field}");
        // What a verifier hashes: the field with its b= emptied.
        let at = field.rfind("b=").unwrap() + 2;
        let (name, value) = field[..at].split_once(':').unwrap();
        assert!(input.ends_with(&format!("{}:{}", name.to_lowercase(), String::from_utf8(relax(value.as_bytes())).unwrap())));
        let signature: String = field[at..].split_whitespace().collect();
        assert_eq!(BASE64.decode(signature.as_bytes()).unwrap(), [1; 256]);
    }

    #[test]
    fn fields_that_no_canonical_form_has_are_refused() {
        let from = ("from", Some("a@x.test"));
        for (fields, why) in [
            (&[from, ("to", Some("x\r\nBcc: y"))][..], NotCanonical::Value),
            (&[from, ("to", Some("a  b"))], NotCanonical::Value),
            (&[from, ("to", Some("a "))], NotCanonical::Value),
            (&[from, ("to;d=evil.test", None)], NotCanonical::Name),
            (&[from, ("To", None)], NotCanonical::Name),
            (&[from, ("to:cc", None)], NotCanonical::Name),
            (&[from, ("", None)], NotCanonical::Name),
            (&[from, ("dkim-signature", Some("v=1"))], NotCanonical::Name),
            (&[("from", None), from], NotCanonical::Order),
            (&[("from", None)], NotCanonical::From),
            (&[], NotCanonical::From),
            (&[from, from], NotCanonical::From),
            (&[("subject", Some("x"))], NotCanonical::From),
        ] {
            assert_eq!(header(fields).err(), Some(why), "{fields:?}");
        }
        let many: Vec<_> = std::iter::once(from).chain(std::iter::repeat_n(("to", None), limits::MAX_FIELDS)).collect();
        assert_eq!(header(&many).err(), Some(NotCanonical::TooLarge));
        assert!(header(&many[..limits::MAX_FIELDS]).is_ok());
        let long = "x".repeat(limits::MAX_VALUES);
        assert_eq!(header(&[from, ("to", Some(&long))]).err(), Some(NotCanonical::TooLarge));
    }

    #[test]
    fn selectors_and_domains_that_are_none_are_refused() {
        for selector in ["", "S1", "a b", "a;d=evil.test", "-a", "a-", "a..b", ".", "\u{e4}", &"a".repeat(64)] {
            assert_eq!(unsigned("x.test", selector).err(), Some(NotCanonical::Signer), "{selector}");
        }
        for selector in ["s1", "p20261121r", "a.b", "mail_1", &"a".repeat(63)] {
            assert!(unsigned("x.test", selector).is_ok(), "{selector}");
        }
        assert_eq!(unsigned("[192.0.2.1]", "s1").err(), Some(NotCanonical::Signer));
    }

    #[test]
    fn a_long_domain_stands_alone_in_its_line() {
        let domain = format!("{0}.{0}.{0}.test", "a".repeat(63));
        let field = String::from_utf8(unsigned(&domain, &"s".repeat(63)).unwrap().finish(&[1; 512])).unwrap();
        assert_eq!(field.lines().filter(|l| l.len() > limits::COLUMNS).count(), 1);
    }
}
