//! What DKIM covers, and the policies of others.

use pure_dkim::{BodyHash, body_hash, fields, is_canonical, relax};
use pure_tlspolicy::{dane, sts, tlsrpt};

pub(super) const WORDS: &[&str] = &[
    "v=STSv1; id=1;",
    "version: STSv1\n",
    "mode: enforce\r\n",
    "mode: testing\n",
    "max_age: 86400\n",
    "mx: *.mx.test\n",
    "mx: mx.test\n",
    "v=TLSRPTv1; rua=mailto:a@b.test,https://x/",
    "\u{30}\u{82}",
    "\u{30}\u{7f}",
    ";",
    ":",
    ",",
    "!10m",
    "%40",
];

pub(super) fn dkim(input: &[u8]) {
    let whole = body_hash(input);
    for step in [1, 5] {
        let mut hash = BodyHash::default();
        input.chunks(step).for_each(|piece| hash.push(piece));
        assert_eq!(hash.finish(), whole, "the hash does not depend on the pieces");
    }
    let (header, body) = fields::split(input);
    assert!(header.len() + body.len() <= input.len());
    // What may be accepted and sent has no others.
    if !super::has_only_crlf(input) {
        return;
    }
    if let Ok(chosen) = fields::to_sign(b"", header) {
        assert!(chosen.iter().any(|field| field.name == "from"));
        assert_eq!(pure_mime::index(input).identity.from_fields, 1, "who is signed for is who was checked");
        for field in &chosen {
            assert!(field.value.as_ref().is_none_or(|value| is_canonical(value)), "keys takes what is chosen");
        }
    }
    let relaxed = relax(input);
    assert_eq!(relax(&relaxed), relaxed);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let certificate = data_encoding::HEXLOWER
        .decode(b"30463039a003020102020101300506032b6570300030003000300030123005060a2b0601040182370a0101030900aabbccddeeff0011300506032b6570030100")
        .unwrap_or_default();
    vec![
        b"version: STSv1\r\nmode: enforce\r\nmx: mx1.test\r\nmx: *.mx.test\r\nmax_age: 604800\r\n".to_vec(),
        b"v=STSv1; id=20260101T000000;".to_vec(),
        b"v=TLSRPTv1; rua=mailto:a@b.test,https://x.test/r; x=y".to_vec(),
        certificate,
    ]
}

pub(super) fn policies(input: &[u8]) {
    if let Ok(policy) = sts::Policy::parse(input) {
        let text = policy.lines().join("\r\n");
        assert_eq!(sts::Policy::parse(text.as_bytes()).as_ref(), Ok(&policy), "a policy survives being written");
        policy.allows("mx.test");
    }
    for selector in [0, 1] {
        let record = dane::Tlsa { usage: 3, selector, matching: 0, data: input.to_vec() };
        record.to_text();
        dane::compare(&[record], &[input, b""]);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    sts::record_id([text]);
    tlsrpt::addresses(text.lines());
    tlsrpt::addresses([text]);
}
