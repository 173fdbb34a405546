//! Logins: base64, and the messages of PLAIN and SCRAM inside. Byte 0 says in which situation; SCRAM's first and
//! last message stand on either side of the first NUL.

use data_encoding::BASE64;
use postern_auth::{
    login::plain,
    scram::ClientFirst,
    verifier::{ScramKeys, hmac_sha256, sha256},
};
use pure_sasl::Response;
use wire::edge::auth_login::Mechanism;

pub(super) const WORDS: &[&str] = &[
    "n,,",
    "y,,",
    "p=tls-exporter,,",
    "p=tls-unique,,",
    "a=",
    "n=",
    "n=alice,r=abc",
    ",r=",
    ",p=",
    "c=biws,",
    "m=",
    "=2C",
    "=3D",
    "=",
    "\0",
    "*",
];

/// What the client alone knows, and what the server keeps of it.
const CLIENT_KEY: [u8; 32] = [7; 32];
const SERVER_KEY: [u8; 32] = [9; 32];
const SERVER_NONCE: &str = "server";
const BOUND: [u8; 32] = [5; 32];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for state in 0..8u8 {
        for text in [
            &b"\0alice@mta.test\0secret-alice"[..],
            b"alice@mta.test\0alice@mta.test\0secret-alice",
            b"AGFsaWNlAHNlY3JldC1hbGljZQ==",
            b"n,,n=alice@mta.test,r=rOprNGfwEbeRWgbNEkqO\0c=biws,r=rOprNGfwEbeRWgbNEkqOserver,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            b"y,a=b=2Cc=3D,n=b=2Cc=3D,r=!,x=y\0c=eSws,r=!server,x=y,p=AAAA",
            b"p=tls-exporter,,n=user,r=abc\0",
        ] {
            out.push([&[state][..], text].concat());
        }
    }
    out
}

pub(super) fn run(input: &[u8]) {
    let [state, rest @ ..] = input else { return };
    base64(rest);
    if let Some((authzid, authcid, password)) = plain(rest) {
        assert_eq!([authzid, authcid, password].join("\0").as_bytes(), rest, "nothing of it is lost");
        assert!(!authcid.is_empty() && ![authzid, authcid, password].iter().any(|field| field.contains('\0')));
    }
    let (first, last) = match rest.iter().position(|b| *b == 0) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    scram(*state, first, last);
}

/// Only what its bytes are written as is taken.
fn base64(text: &[u8]) {
    match Response::parse(text) {
        Response::Message(message) => assert_eq!(BASE64.encode(message.as_bytes()).as_bytes(), text),
        Response::Cancel => assert_eq!(text, b"*"),
        Response::Malformed => assert!(BASE64.decode(text).is_err() || text.contains(&b'=')),
    }
    let written = BASE64.encode(text);
    assert!(matches!(Response::parse(written.as_bytes()), Response::Message(message) if message.as_bytes() == text));
}

fn scram(state: u8, first: &[u8], last: &[u8]) {
    let Ok(client) = ClientFirst::parse(first) else { return };
    let text = std::str::from_utf8(first).unwrap();
    let (flag, rest) = text.split_once(',').unwrap();
    let (authzid, bare) = rest.split_once(',').unwrap();
    let written = |name: &str| name.replace('=', "=3D").replace(',', "=2C");
    let attributes: Vec<&str> = bare.split(',').collect();
    assert_eq!(attributes[0], format!("n={}", written(&client.username)), "a name is what was written");
    assert_eq!(authzid, client.authzid.as_ref().map(|name| format!("a={}", written(name))).unwrap_or_default());
    let nonce = attributes[1].strip_prefix("r=").unwrap();
    assert!(nonce.bytes().all(|b| b.is_ascii_graphic()));

    let (mechanism, plus) = if state & 1 == 0 { (Mechanism::ScramSha256, false) } else { (Mechanism::ScramSha256Plus, true) };
    let bound = (state & 2 != 0).then_some(&BOUND[..]);
    let keys = || ScramKeys { iterations: 4096, salt: b"saltsalt".to_vec(), stored_key: sha256(&CLIENT_KEY), server_key: SERVER_KEY };
    let challenged = client.challenge(mechanism, bound, keys(), SERVER_NONCE);
    // RFC 5802 6: bound when it is -PLUS and only then, to what there is; and nobody is told that there is none where there is.
    let allowed = if plus { flag == "p=tls-exporter" && bound.is_some() } else { flag == "n" || (flag == "y" && bound.is_none()) };
    assert_eq!(challenged.is_ok(), allowed);
    let Ok((exchange, server_first)) = challenged else { return };
    assert_eq!(server_first, format!("r={nonce}{SERVER_NONCE},s={},i=4096", BASE64.encode(b"saltsalt")));

    let header = &text[..text.len() - bare.len()];
    let data = if plus { &BOUND[..] } else { &[] };
    let without_proof = format!("c={},r={nonce}{SERVER_NONCE}", BASE64.encode(&[header.as_bytes(), data].concat()));
    let message = format!("{bare},{server_first},{without_proof}");
    let signature = hmac_sha256(&sha256(&CLIENT_KEY), &[message.as_bytes()]);
    let proof: Vec<u8> = CLIENT_KEY.iter().zip(signature).map(|(k, s)| k ^ s).collect();
    let right = format!("{without_proof},p={}", BASE64.encode(&proof)).into_bytes();
    // Who knows the key is let in, and sees that the server knows its own.
    let again = || ClientFirst::parse(first).unwrap().challenge(mechanism, bound, keys(), SERVER_NONCE).unwrap().0;
    let theirs = format!("v={}", BASE64.encode(&hmac_sha256(&SERVER_KEY, &[message.as_bytes()])));
    assert_eq!(again().finish(&right).as_deref(), Ok(theirs.as_str()));
    // Who does not is not, whatever is said; nor is what was right when a byte of it is another.
    assert!(exchange.finish(last).is_err() || last == right);
    if let [at, to, ..] = last {
        let mut changed = right.clone();
        let at = usize::from(*at) % changed.len();
        changed[at] = *to;
        assert!(changed == right || again().finish(&changed).is_err());
    }
}
