//! RFC 8463 appendix A, with the private key of A.2 and a real Ed25519.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey},
};
use data_encoding::BASE64;
use pure_addr::Domain;
use pure_dkim::{Algorithm, SignedHeader, Unsigned, body_hash, fields, relax};

/// A.2.
const SEED: &[u8] = b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &[u8] = b"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// A.3, without its signatures.
const MESSAGE: &[u8] = b"From: Joe SixPack <joe@football.example.com>\r\n\
To: Suzie Q <suzie@shopping.example.net>\r\n\
Subject: Is dinner ready?\r\n\
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\
\r\n\
Hi.\r\n\
\r\n\
We lost the game.  Are you hungry yet?\r\n\
\r\n\
Joe.\r\n";

/// The signature fields of A.3 up to their values, folded as they are there.
const ED25519_FIELD: &str = concat!(
    " v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n",
    " d=football.example.com; i=@football.example.com;\r\n",
    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n",
    " subject : date : message-id : from : subject : date;\r\n",
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n",
    " b="
);
const ED25519_VALUE: &str = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
const RSA_FIELD: &str = concat!(
    " v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n",
    " d=football.example.com; i=@football.example.com;\r\n",
    " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n",
    " date : message-id : from : subject : date;\r\n",
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n",
    " b="
);
const RSA_VALUE: &str = "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\
    dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=";
/// A.2, the record of selector "test".
const RSA_PUBLIC: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC\
    DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

fn public() -> UnparsedPublicKey<Vec<u8>> {
    UnparsedPublicKey::new(&ED25519, BASE64.decode(PUBLIC).unwrap())
}

fn value(header: &[u8], name: &str) -> Vec<u8> {
    let all = fields::to_sign(b"", header).unwrap();
    all.into_iter().find(|f| f.name == name).and_then(|f| f.value).unwrap()
}

/// What RFC 6376 3.7 hashes for a signature field of A.3.
fn input(field: &str) -> Vec<u8> {
    let (header, _) = fields::split(MESSAGE);
    let mut input = Vec::new();
    for name in ["from", "to", "subject", "date", "message-id"] {
        input.extend_from_slice(&[name.as_bytes(), b":", &value(header, name), b"\r\n"].concat());
    }
    input.extend_from_slice(b"dkim-signature:");
    input.extend_from_slice(&relax(field.as_bytes()));
    input
}

#[test]
fn the_signatures_of_the_standard_are_over_our_canonical_form() {
    let (_, body) = fields::split(MESSAGE);
    assert_eq!(BASE64.encode(&body_hash(body)), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    let signature = BASE64.decode(ED25519_VALUE.as_bytes()).unwrap();
    public().verify(digest(&SHA256, &input(ED25519_FIELD)).as_ref(), &signature).unwrap();
    let rsa = UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, BASE64.decode(RSA_PUBLIC.as_bytes()).unwrap());
    rsa.verify(&input(RSA_FIELD), &BASE64.decode(RSA_VALUE.as_bytes()).unwrap()).unwrap();
}

#[test]
fn what_we_write_around_the_same_message_verifies_with_the_same_key() {
    let (header, body) = fields::split(MESSAGE);
    let key = Ed25519KeyPair::from_seed_unchecked(&BASE64.decode(SEED).unwrap()).unwrap();
    assert_eq!(BASE64.encode(key.public_key().as_ref()).as_bytes(), PUBLIC);
    let fields = fields::to_sign(b"", header).unwrap();
    let checked = SignedHeader::check(fields.iter().map(|f| (f.name.as_str(), f.value.as_deref()))).unwrap();
    let domain = Domain::parse("football.example.com").unwrap();
    let unsigned = Unsigned::build(&checked, &body_hash(body), Algorithm::Ed25519Sha256, &domain, "brisbane", 1_528_637_909).unwrap();
    let hash = digest(&SHA256, unsigned.input());
    let signature = key.sign(hash.as_ref());
    public().verify(hash.as_ref(), signature.as_ref()).unwrap();
    let field = String::from_utf8(unsigned.finish(signature.as_ref())).unwrap();
    assert!(field.contains("bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;") && field.lines().all(|l| l.len() < 78), "{field}");
}
