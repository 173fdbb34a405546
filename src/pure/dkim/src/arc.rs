//! The fields of an ARC set (RFC 8617 4.1), as far as they are signed.
//!
//! As with DKIM, whoever asks for a seal cannot have anything else signed: the text of both signatures is written here, behind fields of
//! a message and of older sets in canonical form.

use crate::{
    NotCanonical, SignedHeader, Unsigned, is_canonical, limits, relax,
    signature::{Signer, canonical},
};

/// The highest instance (RFC 8617 4.2.1).
pub const MAX_INSTANCE: u8 = 50;

/// `cv=` (RFC 8617 4.4): what the sealer found of the chain so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// There was none.
    None,
    /// It holds.
    Pass,
    /// It does not.
    Fail,
}

impl Validation {
    fn tag(self) -> &'static str {
        match self {
            Self::None => "cv=none;",
            Self::Pass => "cv=pass;",
            Self::Fail => "cv=fail;",
        }
    }
}

/// The values of one older set, each in relaxed form (RFC 6376 3.4.2).
#[derive(Debug, Clone, Copy)]
pub struct OlderSet<'a> {
    /// `ARC-Authentication-Results`.
    pub results: &'a [u8],
    /// `ARC-Message-Signature`.
    pub message: &'a [u8],
    /// `ARC-Seal`.
    pub seal: &'a [u8],
}

/// The sets that a message has, and what holds of them: what the next set continues.
#[derive(Debug)]
pub struct Chain<'a> {
    sets: Vec<OlderSet<'a>>,
    validation: Validation,
    instance: u8,
}

impl<'a> Chain<'a> {
    /// The chain of these sets, instance 1 first. Of a chain that failed only their number counts.
    pub fn check(sets: Vec<OlderSet<'a>>, validation: Validation) -> Result<Self, NotCanonical> {
        let instance = u8::try_from(sets.len().saturating_add(1)).map_err(|_| NotCanonical::TooLarge)?;
        let bytes = |set: &OlderSet<'_>| set.results.len().saturating_add(set.message.len()).saturating_add(set.seal.len());
        let total = sets.iter().fold(0usize, |sum, set| sum.saturating_add(bytes(set)));
        if instance > MAX_INSTANCE || total > limits::MAX_CHAIN {
            return Err(NotCanonical::TooLarge);
        }
        if !sets.iter().flat_map(|set| [set.results, set.message, set.seal]).all(is_canonical) {
            return Err(NotCanonical::Value);
        }
        // RFC 8617 5.1.1: what holds of no chain is "none", and of a chain it is not.
        if sets.is_empty() != (validation == Validation::None) {
            return Err(NotCanonical::Order);
        }
        Ok(Self { sets, validation, instance })
    }

    /// The instance of the next set.
    pub fn instance(&self) -> u8 {
        self.instance
    }

    /// `ARC-Authentication-Results` with this payload, which ends no field; ended by CRLF.
    pub fn results(&self, payload: &str) -> Result<String, NotCanonical> {
        let value = format!(" i={}; {payload}", self.instance);
        // Every line after the first continues the field.
        let continued = value.split("\r\n").skip(1).all(|line| line.starts_with([' ', '\t']) && !line.trim_ascii().is_empty());
        if !continued || !is_canonical(&relax(value.as_bytes())) {
            return Err(NotCanonical::Value);
        }
        Ok(format!("ARC-Authentication-Results:{value}\r\n"))
    }

    /// `ARC-Message-Signature` (RFC 8617 4.1.2).
    pub fn message(&self, header: &SignedHeader<'_>, body_hash: &[u8; 32], signer: &Signer<'_>) -> Result<Unsigned, NotCanonical> {
        Unsigned::over("ARC-Message-Signature", &format!("i={};", self.instance), header, body_hash, signer)
    }

    /// `ARC-Seal` (RFC 8617 4.1.3, 5.1.1, 5.1.2) over the older sets and these two whole fields of its own.
    pub fn seal(&self, results: &str, message: &[u8], signer: &Signer<'_>) -> Result<Unsigned, NotCanonical> {
        let mut input = Vec::new();
        // RFC 8617 5.1.2: a seal that says that the chain failed covers its own set alone.
        if self.validation != Validation::Fail {
            for OlderSet { results, message, seal } in &self.sets {
                canonical("arc-authentication-results", results, &mut input);
                canonical("arc-message-signature", message, &mut input);
                canonical("arc-seal", seal, &mut input);
            }
        }
        for field in [results.as_bytes(), message] {
            let colon = memchr::memchr(b':', field).ok_or(NotCanonical::Name)?;
            let (name, value) = field.split_at_checked(colon).ok_or(NotCanonical::Name)?;
            let value = relax(value.get(1..).unwrap_or_default());
            if !is_canonical(&value) {
                return Err(NotCanonical::Value);
            }
            canonical(&String::from_utf8_lossy(name).to_ascii_lowercase(), &value, &mut input);
        }
        let field = signer.begin("ARC-Seal", &format!("i={};", self.instance), self.validation.tag())?;
        Ok(Unsigned::end(field, input))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;
    use pure_addr::Domain;

    fn text(unsigned: &Unsigned) -> String {
        String::from_utf8(unsigned.input().to_vec()).unwrap()
    }

    #[test]
    fn a_seal_covers_the_sets_before_it_and_its_own() {
        let domain = Domain::parse("f.test").unwrap();
        let signer = Signer { algorithm: Algorithm::RsaSha256, domain: &domain, selector: "s1", time: 7 };
        let older = OlderSet { results: b"i=1; x.test; arc=none", message: b"i=1; a=x", seal: b"i=1; cv=none" };
        let header = SignedHeader::check([("from", Some(&b"a@x.test"[..])), ("to", None)]).unwrap();
        let sealed = |chain: &Chain<'_>| {
            let results = chain.results("f.test;\r\n\tspf=pass").unwrap();
            let message = chain.message(&header, &[7; 32], &signer).unwrap();
            assert!(text(&message).ends_with(&format!(
                "from:a@x.test\r\narc-message-signature:i={}; a=rsa-sha256; c=relaxed/relaxed; d=f.test; s=s1; t=7; h=from:to; \
                 bh=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=; b=",
                chain.instance()
            )));
            text(&chain.seal(&results, &message.finish(&[0; 3]), &signer).unwrap())
        };
        let first = sealed(&Chain::check(vec![], Validation::None).unwrap());
        assert!(first.starts_with("arc-authentication-results:i=1; f.test; spf=pass\r\narc-message-signature:i=1; "), "{first}");
        assert!(first.ends_with("b=AAAA\r\narc-seal:i=1; a=rsa-sha256; cv=none; d=f.test; s=s1; t=7; b="), "{first}");
        let second = sealed(&Chain::check(vec![older], Validation::Pass).unwrap());
        let covered = "arc-authentication-results:i=1; x.test; arc=none\r\narc-message-signature:i=1; a=x\r\narc-seal:i=1; cv=none\r\n\
                       arc-authentication-results:i=2; f.test";
        assert!(second.starts_with(covered) && second.contains("arc-seal:i=2; a=rsa-sha256; cv=pass;"), "{second}");
        let failed = sealed(&Chain::check(vec![older], Validation::Fail).unwrap());
        assert!(failed.starts_with("arc-authentication-results:i=2; f.test") && failed.contains(" cv=fail;"), "{failed}");
    }

    /// Attack case IPC-04: nothing but sets in canonical form, in an order that can be.
    #[test]
    fn what_is_no_chain_is_refused() {
        let set = |value: &'static str| OlderSet { results: value.as_bytes(), message: b"x", seal: b"y" };
        let check = |sets: Vec<OlderSet<'static>>, validation| Chain::check(sets, validation).err();
        assert_eq!(check(vec![set("a\r\nFrom: x")], Validation::Pass), Some(NotCanonical::Value));
        assert_eq!(check(vec![set("a  b")], Validation::Pass), Some(NotCanonical::Value));
        assert_eq!(check(vec![], Validation::Pass), Some(NotCanonical::Order));
        assert_eq!(check(vec![set("a")], Validation::None), Some(NotCanonical::Order));
        assert_eq!(check(vec![set("a"); 49], Validation::Pass), None);
        assert_eq!(check(vec![set("a"); 50], Validation::Pass), Some(NotCanonical::TooLarge));
        let chain = Chain::check(vec![], Validation::None).unwrap();
        assert_eq!(chain.results("x\r\nFrom: y").err(), Some(NotCanonical::Value));
        assert_eq!(chain.results("x\ny").err(), Some(NotCanonical::Value));
    }
}
