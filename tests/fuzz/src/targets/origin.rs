//! Where a message is from. The input is a message whose connection is made up from it, and all texts of the DNS behind the first NUL.

use pure_addr::{Domain, ReversePath};
use pure_index::judgement::{ArcResult, DkimResult, Judgement};
use pure_mailauth::{Answer, Answers, Connection, Inspection, Question, limits::MAX_ROUNDS};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const WORDS: &[&str] = &[
    "DKIM-Signature: v=1; a=rsa-sha256; d=a.test; s=s; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AA==\r\n",
    "ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=a.test; s=s; b=AA==\r\n",
    "ARC-Message-Signature: i=1; a=ed25519-sha256; c=relaxed/relaxed; d=a.test; s=s; h=from; bh=AA==; b=AA==\r\n",
    "ARC-Authentication-Results: i=1; a.test; dmarc=pass\r\n",
    "Authentication-Results: mx.test; (c) \"q;\" dmarc=pass\r\n",
    "From: x@a.test\r\n",
    "\0v=spf1 include:%{d2r-}.%{ir}.%{v}._spf.a.test mx/24//64 a:b.test ptr exists:%{l1r+-/=}.x.test -all",
    "\0v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?all redirect=_spf.%{d} exp=%{c}.a.test",
    "\0v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; aspf=r; psd=n; t=y",
    "\0v=DKIM1; k=ed25519; h=sha256; s=email; t=s; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "l=5; ",
    "i=50; ",
    "cv=pass; ",
    "c=simple/relaxed; ",
    ";",
    "%{",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let header = WORDS.iter().filter(|word| word.ends_with("\r\n")).copied().collect::<String>();
    let texts = WORDS.iter().filter(|word| word.starts_with('\0')).copied().collect::<String>();
    vec![format!("{header}\r\nbody\r\n{texts}").into_bytes(), format!("From: x@a.test\r\n\r\n{texts}").into_bytes()]
}

pub(super) fn run(input: &[u8]) {
    let mut parts = input.split(|b| *b == 0);
    let message = parts.next().unwrap_or_default();
    let texts: Vec<String> = parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    let Ok(host) = Domain::parse("mx.test") else { return };
    let (peer, reverse_path) = match Domain::parse("a.test").ok().zip(pure_addr::LocalPart::new("x").ok()) {
        Some((domain, local)) if input.len().is_multiple_of(2) => {
            (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), ReversePath::Address(pure_addr::Address { local, domain }))
        }
        _ => (IpAddr::V6(Ipv6Addr::LOCALHOST), ReversePath::Null),
    };
    let helo = texts.first().map_or("a.test", String::as_str);
    let connection = Connection { peer, helo, reverse_path: &reverse_path };
    let mut inspection = Inspection::read(message, &pure_mime::index(message), connection, &host, 1_795_000_000);
    let mut answers = Answers::default();
    let mut rounds = 0;
    let judgement = loop {
        if let Some(judgement) = inspection.judge(&mut answers) {
            break judgement;
        }
        let wanted = answers.wanted();
        assert!(!wanted.is_empty(), "neither an outcome nor a question");
        rounds += 1;
        assert!(rounds <= MAX_ROUNDS, "questions end");
        for question in wanted {
            let number = rounds.min(texts.len().max(1)) - 1;
            let answer = match &question {
                Question::Texts(_) => texts.get(number).map_or(Answer::Nothing, |text| Answer::Texts(vec![text.clone()])),
                Question::Ipv4(_) => Answer::Addresses(vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9))]),
                Question::Ipv6(_) => Answer::Addresses(vec![IpAddr::V6(Ipv6Addr::LOCALHOST)]),
                Question::Exchanges(name) => Answer::Exchanges(Domain::parse(name.as_str()).map(|host| vec![host; 3]).unwrap_or_default()),
                Question::Names(_) => Answer::Unavailable,
            };
            answers.answer(question, answer);
        }
    };
    check(&judgement, &host);
    // Nobody here has a private key.
    assert!(judgement.arc.result != ArcResult::Pass && judgement.dkim.iter().all(|dkim| dkim.result != DkimResult::Pass));
    assert!(judgement.forged.iter().all(|span| span.start < span.end && span.end as usize <= message.len()));
}

/// What is written of it is one field of printable lines, whatever was found (attack case IPC-06).
fn check(judgement: &Judgement, host: &Domain) {
    let text = judgement.results(host);
    let mut lines = text.split("\r\n");
    assert!(lines.next().is_some_and(|first| first.starts_with("mx.test")));
    assert!(lines.all(|line| line.starts_with('\t') && line.len() < 998));
    assert!(text.bytes().all(|b| matches!(b, b'\r' | b'\n' | b'\t' | b' '..=b'~')));
}
