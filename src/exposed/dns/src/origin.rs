//! The questions of scan: what a domain says of those who write in its name. How surely is not said, since nobody asks for more than an
//! answer that is not bogus.

use crate::{
    limits::ANSWER_BYTES,
    resolver::{Found, Inner, domain_of, name_of},
    validator::Answer,
};
use hickory_resolver::{
    ConnectionProvider,
    proto::rr::{Name, RData, RecordType},
};
use pure_addr::{Domain, Text};
use std::net::IpAddr;
use wire::{
    List,
    edge::{
        dns_scan::{MAX_TEXTS, Request, Response},
        dns_send::{self, MAX_RECORDS, Records},
    },
};

impl<P: ConnectionProvider> Inner<P> {
    pub(crate) async fn origin(&self, request: Request) -> Response {
        match request {
            Request::Texts(domain) => {
                let Some(name) = name_of("", &domain) else { return Response::Nothing };
                records(&self.follow(name, RecordType::TXT).await, texts)
            }
            Request::Addresses(domain) => match self.answer(dns_send::Request::Addresses(domain)).await {
                dns_send::Response::Found { records: Records::Addresses(list), .. } => Response::Addresses(list),
                other => without_records(&other),
            },
            Request::Exchanges(domain) => match self.answer(dns_send::Request::Mx(domain)).await {
                dns_send::Response::Found { records: Records::Mx(list), .. } => {
                    let hosts: Vec<Domain> = list.into_iter().filter_map(|mx| mx.host).collect();
                    if hosts.is_empty() { Response::Nothing } else { Response::Exchanges(List::new(hosts).unwrap_or_default()) }
                }
                other => without_records(&other),
            },
            Request::Names(address) => records(&self.follow(reverse(address), RecordType::PTR).await, names),
        }
    }
}

/// RFC 1035 3.5, RFC 3596 2.5.
fn reverse(address: IpAddr) -> Name {
    Name::from(address.to_canonical())
}

fn without_records(answer: &dns_send::Response) -> Response {
    match answer {
        dns_send::Response::None { .. } => Response::Nothing,
        _ => Response::Unavailable,
    }
}

fn records(found: &Found, read: impl FnOnce(&[RData]) -> Response) -> Response {
    match &found.answer {
        Answer::Records { data, .. } => read(data),
        Answer::None { .. } => Response::Nothing,
        Answer::Alias { .. } | Answer::Bogus | Answer::Unavailable => Response::Unavailable,
    }
}

/// Those that begin as a version does come first, and are kept when there are too many. What is no text is left out.
fn texts(data: &[RData]) -> Response {
    let known = |data: &RData| match data {
        // A tab is white space like a blank (RFC 6376 2.8), and the one control character that some have.
        RData::TXT(txt) => Text::new(String::from_utf8(txt.txt_data.concat()).ok()?.replace('\t', " ")).ok(),
        _ => None,
    };
    let mut all: Vec<Text<4096>> = data.iter().filter_map(known).collect();
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

fn names(data: &[RData]) -> Response {
    let known = |data: &RData| match data {
        RData::PTR(ptr) => domain_of(&ptr.0),
        _ => None,
    };
    let list: Vec<Domain> = data.iter().filter_map(known).take(MAX_RECORDS).collect();
    if list.is_empty() { Response::Nothing } else { Response::Names(List::new(list).unwrap_or_default()) }
}
