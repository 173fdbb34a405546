//! No bytes make the index fail: all prefixes and thousands of mutations of some messages.
#![cfg(test)]

use pure_index::{MAX_SEARCH_HEADER, MAX_SEARCH_TEXT, MessageIndex, PartKind, Structure};
use pure_mime::{address, date, html, index, param, reference, subject, transfer, word};

const MESSAGES: [&str; 3] = [
    "Received: from x by y; Thu, 1 Jan 2026 00:00:00 +0000\r\nFrom: \"A. B\" <a@x.test>, g: <@r.test:b@x.test>, c (d (e)) @x.test;\r\n\
     To: =?utf-8?q?J=C3=B6rg?= <j@x.test>\r\nSubject: =?iso-8859-1?b?5Pb8?= Re: [x] y\r\n folded\r\nDate: 21 Nov 97 09:55 (c) EST\r\n\
     Message-ID: <1@x.test>\r\nReferences: <2@x.test>\r\n\t<3@x.test>\r\nMIME-Version: 1.0\r\n\
     Content-Type: multipart/mixed; boundary=\"a b\"; charset*0*=utf-8''x%20; charset*1=y\r\n\r\npreamble\r\n--a b\r\n\
     Content-Type: multipart/alternative;\r\n boundary=c\r\n\r\n--c\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nf=C3=BC=\r\nr \r\n--c\r\n\
     Content-Type: text/html; charset=koi8-r\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+z8s8L3A+JmFtcDs8IS0tIHggLS0+\r\n--c--\r\n--a b\r\n\
     Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: deep\r\n\r\nx\r\n\
     --d--\r\n--a b\r\nContent-Type: image/png; name*=utf-8''%C3%A4\r\nContent-Disposition: attachment; filename*1=b; filename*0=a\r\n\
     Content-Language: de, en\r\nContent-ID: <i@x>\r\n\r\nbinary\r\n--a b--\r\nepilogue\r\n",
    "Content-Type: multipart/related; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=aa\n\n--aa\n\nx\n--a\n--aa--\n--a\n\ny\n--a--\n",
    "Content-Type: text/html\r\n\r\n<!DOCTYPE x><style>a</style><p class='x'>T&eacute;xt &#x41;&#66 &lt;</p><script>x</script>",
];

/// What must hold of every index, of every message.
fn check(message: &[u8], found: &MessageIndex) {
    let parts = found.structure.parts();
    assert!(!parts.is_empty(), "the parts were no tree");
    Structure::new(parts.to_vec()).unwrap();
    let root = &parts[0];
    assert_eq!((root.header.start, root.body.end as usize), (0, message.len()));
    for (i, part) in parts.iter().enumerate() {
        let children: Vec<_> = found.structure.children(i).map(|(_, p)| p).collect();
        match part.kind {
            PartKind::Leaf => {
                assert!(children.is_empty() && !part.media_type.eq_ignore_ascii_case(b"multipart"));
                assert!(!part.media_type.eq_ignore_ascii_case(b"message") || !part.subtype.eq_ignore_ascii_case(b"rfc822"));
            }
            PartKind::Multipart => assert!(!children.is_empty()),
            PartKind::Message => {
                assert_eq!(children.len(), 1);
                assert!(children[0].envelope.is_some());
                assert_eq!((children[0].header.start, children[0].body.end), (part.body.start, part.body.end));
            }
        }
        for pair in children.windows(2) {
            assert!(pair[0].body.end <= pair[1].header.start);
        }
        let body = &message[part.body.start as usize..part.body.end as usize];
        let lines = body.iter().filter(|b| **b == b'\n').count() + usize::from(!matches!(body.last(), None | Some(b'\n')));
        assert_eq!(part.lines as usize, lines);
        for pair in part.fields.windows(2) {
            assert!(pair[0].span.end <= pair[1].span.start);
        }
    }
    assert!(found.search.body.len() <= MAX_SEARCH_TEXT);
    assert!(found.search.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() <= MAX_SEARCH_HEADER);
    assert!(found.preview.chars().count() <= 256);
}

#[test]
fn every_prefix() {
    for message in MESSAGES {
        for end in 0..=message.len() {
            let prefix = &message.as_bytes()[..end];
            check(prefix, &index(prefix));
        }
    }
}

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

const FRAGMENTS: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"--",
    b"\n--a b\n",
    b"\n--a b--\n",
    b"\n--c\n",
    b"\n--d--\n",
    b"\n--a\n",
    b"\n--aa\n\n",
    b"Content-Type: multipart/mixed; boundary=a\n\n",
    b"Content-Type: message/rfc822\n\n",
    b"(",
    b")",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"=?utf-8?q?",
    b"?=",
    b"=",
    b"%",
    b"&#",
    b";",
    b":",
    b"\xff\xfe",
    b",",
];

fn mutate(random: &mut Random, message: &mut Vec<u8>) {
    for _ in 0..=random.below(6) {
        let at = random.below(message.len());
        let until = (at + random.below(40)).min(message.len());
        match random.below(6) {
            0 if !message.is_empty() => message[at] = random.below(256) as u8,
            1 => drop(message.drain(at..until)),
            2 => drop(message.splice(at..at, message[at..until].to_vec())),
            3 => drop(message.splice(at..until, FRAGMENTS[random.below(FRAGMENTS.len())].to_vec())),
            4 => {
                let to = random.below(message.len());
                let piece = message[at..until].to_vec();
                drop(message.splice(to..to, piece));
            }
            _ => drop(message.splice(at..at, FRAGMENTS[random.below(FRAGMENTS.len())].to_vec())),
        }
    }
}

#[test]
fn mutations() {
    let mut random = Random(0x5bd1_e995_9e37_79b9);
    for round in 0..6_000 {
        let mut message = MESSAGES[round % MESSAGES.len()].as_bytes().to_vec();
        mutate(&mut random, &mut message);
        check(&message, &index(&message));
    }
}

#[test]
fn mutations_of_values() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let values =
        ["\"A\" <a@x.test>, g: b@x.test;", "21 Nov 97 09:55 EST", "a/b; c*0*=utf-8''d%20; c*1=\"e\"", "=?utf-8?q?=C3=B6?= re: [a] b <c@d>"];
    for round in 0..8_000 {
        let mut value = values[round % values.len()].as_bytes().to_vec();
        mutate(&mut random, &mut value);
        for item in address::parse(&value).items {
            if let Some(address) = item.address() {
                assert_eq!(pure_addr::Address::parse(&address.to_string()), Ok(address));
            }
        }
        date::parse(&value);
        if let Some(found) = param::content_type(&value) {
            param::boundary(&found.params);
            param::decoded(&found.params, "c");
        }
        param::disposition(&value);
        param::encoding(&value);
        param::languages(&value);
        subject::base(&value);
        assert!(reference::identifiers(&value).all(|id| !id.contains(['<', '>', ' ', '\n'])));
        assert!(!word::decode(&value).contains(['\r', '\n', '\0']));
        for encoding in [pure_index::Encoding::Base64, pure_index::Encoding::QuotedPrintable] {
            let whole = transfer::decode(&encoding, &value).unwrap();
            let mut decoder = transfer::Decoder::new(&encoding).unwrap();
            let mut pieces = Vec::new();
            value.chunks(3).for_each(|c| decoder.push(c, &mut pieces));
            decoder.finish(&mut pieces);
            assert_eq!(whole, pieces);
        }
        let mut out = String::new();
        let mut stripper = html::Stripper::default();
        stripper.push(&String::from_utf8_lossy(&value), &mut out);
        stripper.finish(&mut out);
    }
}
