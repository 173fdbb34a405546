//! The questions of scan: what a domain says of those who write in its name. How surely is not said, since nobody asks for more than an
//! answer that is not bogus.

use crate::{
    limits::ANSWER_BYTES,
    resolver::{Found, Inner, address, domain_of, exchanges},
    validator::Answer,
};
use hickory_resolver::{
    ConnectionProvider,
    proto::rr::{Name, RData, RecordType},
};
use pure_addr::{Domain, QueryName, Text};
use std::net::IpAddr;
use wire::{
    List,
    edge::{
        dns_scan::{MAX_TEXT, MAX_TEXTS, Request, Response},
        send_names::MAX_RECORDS,
    },
};

impl<P: ConnectionProvider> Inner<P> {
    pub(crate) async fn origin(&self, request: Request) -> Response {
        match request {
            Request::Texts(name) => self.records(&name, RecordType::TXT, texts).await,
            Request::Ipv4(name) => self.records(&name, RecordType::A, addresses).await,
            Request::Ipv6(name) => self.records(&name, RecordType::AAAA, addresses).await,
            Request::Exchanges(name) => self.records(&name, RecordType::MX, hosts).await,
            Request::Names(address) => records(&self.follow(reverse(address), RecordType::PTR).await, names),
        }
    }

    async fn records(&self, name: &QueryName, kind: RecordType, read: impl FnOnce(&[RData]) -> Response) -> Response {
        // Without one it cannot exist, by the grammar (RFC 1035 2.3.4).
        let Ok(name) = Name::from_labels(name.labels().map(str::as_bytes)) else { return Response::Nothing };
        records(&self.follow(name, kind).await, read)
    }
}

/// RFC 1035 3.5, RFC 3596 2.5.
fn reverse(address: IpAddr) -> Name {
    Name::from(address.to_canonical())
}

fn records(found: &Found, read: impl FnOnce(&[RData]) -> Response) -> Response {
    match &found.answer {
        Answer::Records { data, .. } => read(data),
        Answer::None { .. } => Response::Nothing,
        Answer::Alias { .. } | Answer::Bogus | Answer::Unavailable => Response::Unavailable,
    }
}

/// Those that begin as a version does come first, and are kept when there are too many.
pub fn texts(data: &[RData]) -> Response {
    let known = |data: &RData| match data {
        RData::TXT(txt) => text(txt.txt_data.concat()),
        _ => None,
    };
    let mut all: Vec<Text<MAX_TEXT>> = data.iter().filter_map(known).collect();
    all.sort_by_key(|text| !text.as_str().get(..2).is_some_and(|start| start.eq_ignore_ascii_case("v=")));
    let (mut list, mut left) = (List::<_, MAX_TEXTS>::default(), ANSWER_BYTES);
    for text in all {
        let Some(rest) = left.checked_sub(text.as_str().len()) else { continue };
        if list.push(text).is_ok() {
            left = rest;
        }
    }
    if list.is_empty() { Response::Nothing } else { Response::Texts(list) }
}

fn hosts(data: &[RData]) -> Response {
    let list: Vec<Domain> = exchanges(data).into_iter().filter_map(|mx| mx.host).collect();
    if list.is_empty() { Response::Nothing } else { Response::Exchanges(List::new(list).unwrap_or_default()) }
}

fn addresses(data: &[RData]) -> Response {
    let list: Vec<IpAddr> = data.iter().filter_map(address).take(MAX_RECORDS).collect();
    if list.is_empty() { Response::Nothing } else { Response::Addresses(List::new(list).unwrap_or_default()) }
}

/// What is no text has U+FFFD where it is none, and at its end when there is more of it: a policy that cannot be understood is not one that is
/// not there (RFC 7208 4.6).
fn text(mut bytes: Vec<u8>) -> Option<Text<MAX_TEXT>> {
    // A tab is white space like a blank (RFC 6376 2.8), and the one control character that some have.
    bytes.iter_mut().filter(|byte| **byte == b'\t').for_each(|byte| *byte = b' ');
    let kept = Text::<{ MAX_TEXT - char::REPLACEMENT_CHARACTER.len_utf8() }>::lossy(&bytes);
    if bytes.len() <= kept.as_str().len() { Text::new(kept).ok() } else { Text::new(format!("{kept}{}", char::REPLACEMENT_CHARACTER)).ok() }
}

fn names(data: &[RData]) -> Response {
    let known = |data: &RData| match data {
        RData::PTR(ptr) => domain_of(&ptr.0),
        _ => None,
    };
    let list: Vec<Domain> = data.iter().filter_map(known).take(MAX_RECORDS).collect();
    if list.is_empty() { Response::Nothing } else { Response::Names(List::new(list).unwrap_or_default()) }
}
