//! Questions to the `dns` process. Whatever goes wrong with them is an answer that defers.

use pure_addr::Domain;
use pure_tlspolicy::dane::Tlsa;
use std::net::IpAddr;
use wire::{
    Client,
    edge::send_names::{Mx, Records, Request, Response, SendNames},
};

/// An answer with records of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    Found { secure: bool, canonical: Option<Domain>, records: Vec<T> },
    None { secure: bool, no_name: bool },
    Bogus,
    Unavailable,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Dns(Client<SendNames>);

impl Dns {
    pub(crate) fn new(edge: Client<SendNames>) -> Self {
        Self(edge)
    }

    pub(crate) async fn mx(&self, domain: &Domain) -> Answer<Mx> {
        self.ask(Request::Mx(domain.clone()), |records| match records {
            Records::Mx(list) => Some(list.into_vec()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn addresses(&self, host: &Domain) -> Answer<IpAddr> {
        self.ask(Request::Addresses(host.clone()), |records| match records {
            Records::Addresses(list) => Some(list.into_vec()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn tlsa(&self, port: u16, host: &Domain) -> Answer<Tlsa> {
        self.ask(Request::Tlsa { port, host: host.clone() }, |records| match records {
            Records::Tlsa(list) => Some(
                list.into_iter()
                    .map(|r| Tlsa { usage: r.usage, selector: r.selector, matching: r.matching, data: r.data.into_vec() })
                    .collect(),
            ),
            _ => None,
        })
        .await
    }

    pub(crate) async fn mta_sts(&self, domain: &Domain) -> Answer<String> {
        self.ask(Request::MtaSts(domain.clone()), text).await
    }

    pub(crate) async fn tls_reporting(&self, domain: &Domain) -> Answer<String> {
        self.ask(Request::TlsReporting(domain.clone()), text).await
    }

    async fn ask<T>(&self, request: Request, select: impl FnOnce(Records) -> Option<Vec<T>>) -> Answer<T> {
        match self.0.call(&request, &[]).await {
            Ok(reply) => match reply.body {
                Response::Found { secure, canonical, records } => match select(records) {
                    Some(records) if records.is_empty() => Answer::None { secure, no_name: false },
                    Some(records) => Answer::Found { secure, canonical, records },
                    None => {
                        tracing::error!(?request, "dns answered another question");
                        Answer::Unavailable
                    }
                },
                Response::None { secure, no_name } => Answer::None { secure, no_name },
                Response::Bogus => Answer::Bogus,
                Response::Unavailable => Answer::Unavailable,
            },
            Err(error) => {
                tracing::error!(%error, "dns cannot be asked");
                Answer::Unavailable
            }
        }
    }
}

fn text(records: Records) -> Option<Vec<String>> {
    match records {
        Records::Text(list) => Some(list.into_iter().map(String::from).collect()),
        _ => None,
    }
}
