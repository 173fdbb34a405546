//! Values for unit tests.

use pure_addr::{AccountId, Address, ReversePath, Text};
use wire::{
    List,
    edge::mail::{Body, Envelope, Owner, Recipient, SessionId},
};

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn owner(id: u64, name: &str) -> Owner {
    Owner { account: AccountId::new(id).unwrap(), address: address(name), quota: None }
}

pub(crate) fn envelope(from: &str, to: &[&str]) -> Envelope {
    let recipients = to.iter().map(|t| Recipient { address: address(t), notify: None, orcpt: None }).collect();
    Envelope {
        session: SessionId(0x11),
        peer: "192.0.2.7".parse().unwrap(),
        helo: Text::new("client.remote.test").unwrap(),
        extended: true,
        smtputf8: false,
        require_tls: false,
        tls: None,
        reverse_path: ReversePath::Address(address(from)),
        body: Body::EightBitMime,
        ret: None,
        envid: None,
        recipients: List::new(recipients).unwrap(),
    }
}

pub(crate) fn settings() -> crate::settings::Settings {
    crate::settings::Settings {
        send: pure_config::SendConfig::default(),
        mx: pure_config::MxConfig::default(),
        sending: pure_config::SendingLimits::default(),
        postmaster: address("postmaster@mta.test"),
        hide_client: std::collections::BTreeMap::new(),
    }
}
