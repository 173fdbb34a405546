//! Answers of the DNS, as messages and as texts. Byte 0 is the type that was asked for; the rest is the message.

use hickory_resolver::proto::{
    dnssec::rdata::DNSSECRData,
    op::{Message, Query},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, MX, SOA, TXT},
    },
};
use postern_dns::{limits, origin::texts, validator::reduce};
use std::net::Ipv4Addr;
use wire::edge::dns_scan::{MAX_TEXT, MAX_TEXTS, Response};

const KINDS: [RecordType; 9] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::MX,
    RecordType::TXT,
    RecordType::TLSA,
    RecordType::PTR,
    RecordType::DS,
    RecordType::DNSKEY,
    RecordType::NS,
];

pub(super) const WORDS: &[&str] = &[
    "\u{4}mail\u{4}test\0",
    "\u{4}test\0",
    "\0\u{10}\0\u{1}",
    "\0\u{5}\0\u{1}",
    "\0\u{2e}\0\u{1}",
    "\0\u{2f}\0\u{1}",
    "v=spf1",
    "V=DMARC1",
];

fn asked() -> Name {
    Name::from_ascii("mail.test.").unwrap()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let (name, zone) = (asked(), Name::from_ascii("test.").unwrap());
    let record = |data: RData| Record::from_rdata(name.clone(), 300, data);
    let soa = Record::from_rdata(zone.clone(), 300, RData::SOA(SOA::new(zone.clone(), zone.clone(), 1, 2, 3, 4, 5)));
    let positive = [
        record(RData::A(A(Ipv4Addr::new(192, 0, 2, 1)))),
        record(RData::MX(MX::new(10, zone.clone()))),
        record(RData::CNAME(CNAME(zone.clone()))),
        record(RData::TXT(TXT::new(vec!["v=spf1 -all".to_owned()]))),
    ];
    let mut out = Vec::new();
    for kind in 0..KINDS.len() as u8 {
        let mut message = Message::query();
        message.add_query(Query::query(name.clone(), KINDS[usize::from(kind)]));
        let mut negative = message.clone();
        message.add_answers(positive.clone());
        negative.add_authorities([soa.clone()]);
        for message in [message, negative] {
            out.push([vec![kind], message.to_vec().unwrap_or_default()].concat());
        }
    }
    out
}

pub(super) fn run(input: &[u8]) {
    let [kind, rest @ ..] = input else { return };
    text(rest);
    let Ok(message) = Message::from_vec(rest) else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let query = Query::query(asked(), kind);
    texts(&message.answers.iter().map(|record| record.data.clone()).collect::<Vec<_>>());
    let Ok(reduced) = reduce(&query, message) else { return };
    assert_eq!(reduced.queries.as_slice(), std::slice::from_ref(&query));
    assert!(reduced.answers.len() + reduced.authorities.len() <= limits::RESPONSE_RECORDS);
    let covers = |record: &Record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => signature.input().type_covered,
        _ => record.record_type(),
    };
    // Of this name alone, and of one kind: what was asked for, or the alias.
    let kinds: Vec<RecordType> = reduced.answers.iter().map(covers).collect();
    assert!(reduced.answers.iter().all(|record| record.name == asked()));
    assert!(kinds.iter().all(|found| *found == kind) || kinds.iter().all(|found| *found == RecordType::CNAME), "{kinds:?}");
    assert!(reduced.answers.is_empty() || reduced.answers.iter().any(|record| record.record_type() != RecordType::RRSIG));
    let proofs = [RecordType::SOA, RecordType::NSEC, RecordType::NSEC3];
    assert!(reduced.authorities.iter().all(|record| proofs.contains(&covers(record))));
    for records in [&reduced.answers, &reduced.authorities] {
        let twice = |(i, record): (usize, &Record)| records[..i].iter().any(|other| other.name == record.name && other.data == record.data);
        assert!(!records.iter().enumerate().any(twice));
    }
    let again = reduce(&query, reduced.clone()).unwrap();
    assert_eq!((again.answers, again.authorities), (reduced.answers, reduced.authorities), "what answers the question still does");
}

/// One record of a text for each line.
fn text(input: &[u8]) {
    let records: Vec<RData> = input.split(|b| *b == b'\n').map(|line| RData::TXT(TXT::from_bytes(line.chunks(255).collect()))).collect();
    let Response::Texts(list) = texts(&records) else { return };
    let found: Vec<&str> = list.iter().map(|text| text.as_str()).collect();
    assert!(found.len() <= MAX_TEXTS && found.iter().all(|text| text.len() <= MAX_TEXT && !text.chars().any(char::is_control)));
    assert!(found.iter().map(|text| text.len()).sum::<usize>() <= limits::ANSWER_BYTES);
    let version = |text: &&str| text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("v="));
    assert!(found.is_sorted_by_key(|text| !version(text)), "versions come first");
    let versions = input.split(|b| *b == b'\n').filter(|line| line.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"v="))).count();
    if versions <= MAX_TEXTS && input.len() <= limits::ANSWER_BYTES / 4 {
        assert_eq!(found.iter().filter(|text| version(text)).count(), versions, "and none of them is lost");
    }
}
