//! What the spool remembers of a message beside its bytes.
//!
//! The index is not among it: it would double what is written for every message, and scan computes it again for the few that are
//! still here after a restart, in the form that the running build understands.

use crate::{
    admit::Admitted,
    settings::{self, Settings},
};
use pure_addr::{Address, Domain, ReversePath, Text};
use pure_index::judgement::Judgement;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use wire::{
    List,
    edge::{
        auth_directory::Target,
        mail::{Body, Envelope, MAX_RECIPIENTS, Owner, Recipient, Ret, SessionId, Tls},
    },
};

/// The form of [`Record`] in the column `record`. A test compares bytes: when it fails, this number must grow and the older form
/// must still be read.
pub(crate) const FORMAT: i64 = 4;

/// Recipients above which a message is bulk: people wait for the others.
const BULK: usize = 20;

/// The envelope, who submitted it, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) envelope: Envelope,
    /// The account whose session brought it; none for mail from strangers.
    pub(crate) submitter: Option<Owner>,
    /// The position is the delivery's number.
    pub(crate) deliveries: Vec<Destination>,
    /// The queue wrote it: a report or a notice.
    pub(crate) own: bool,
    /// `Received` does not tell where it came from.
    pub(crate) hide_client: bool,
    /// The domain to sign for; none for mail that is not ours to vouch for.
    pub(crate) sign_as: Option<Domain>,
    /// RFC 6409 8.2: the `Date` that the client left out.
    pub(crate) date: Option<Text<64>>,
    /// RFC 6409 8.3: the `Message-ID` that the client left out, with its brackets.
    pub(crate) message_id: Option<Text<400>>,
    /// `TLS-Required: No` (RFC 8689 3).
    pub(crate) tls_optional: bool,
    /// Where it is from, when a stranger brought it.
    pub(crate) judgement: Option<Box<Judgement>>,
    /// The domain in From wants it to be looked at with suspicion.
    pub(crate) suspicious: bool,
}

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destination {
    /// Which recipient led here.
    pub(crate) recipient: u16,
    pub(crate) target: Target,
    /// An alias leads elsewhere.
    pub(crate) forwarded: bool,
    /// The reverse-path of a forwarded message, when it is not the envelope's.
    pub(crate) rewritten: Option<Address>,
}

/// [`Record`] in its first form.
#[derive(Debug, Serialize, Deserialize)]
struct First {
    envelope: FirstEnvelope,
    submitter: Option<Owner>,
    deliveries: Vec<FirstDestination>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FirstDestination {
    recipient: u16,
    target: Target,
}

/// [`Envelope`] without REQUIRETLS, as it was in the first and the second form.
#[derive(Debug, Serialize, Deserialize)]
struct FirstEnvelope {
    session: SessionId,
    peer: IpAddr,
    helo: Text<255>,
    extended: bool,
    smtputf8: bool,
    tls: Option<Tls>,
    reverse_path: ReversePath,
    body: Body,
    ret: Option<Ret>,
    envid: Option<Text<100>>,
    recipients: List<Recipient, MAX_RECIPIENTS>,
}

impl From<FirstEnvelope> for Envelope {
    fn from(first: FirstEnvelope) -> Self {
        let FirstEnvelope { session, peer, helo, extended, smtputf8, tls, reverse_path, body, ret, envid, recipients } = first;
        Self { session, peer, helo, extended, smtputf8, require_tls: false, tls, reverse_path, body, ret, envid, recipients }
    }
}

/// [`Record`] in its second form.
#[derive(Debug, Serialize, Deserialize)]
struct Second {
    envelope: FirstEnvelope,
    submitter: Option<Owner>,
    deliveries: Vec<Destination>,
    own: bool,
    hide_client: bool,
    sign_as: Option<Domain>,
    date: Option<Text<64>>,
    message_id: Option<Text<400>>,
}

impl From<Second> for Record {
    fn from(second: Second) -> Self {
        let Second { envelope, submitter, deliveries, own, hide_client, sign_as, date, message_id } = second;
        let envelope = envelope.into();
        Third { envelope, submitter, deliveries, own, hide_client, sign_as, date, message_id, tls_optional: false }.into()
    }
}

/// [`Record`] in its third form.
#[derive(Debug, Serialize, Deserialize)]
struct Third {
    envelope: Envelope,
    submitter: Option<Owner>,
    deliveries: Vec<Destination>,
    own: bool,
    hide_client: bool,
    sign_as: Option<Domain>,
    date: Option<Text<64>>,
    message_id: Option<Text<400>>,
    tls_optional: bool,
}

impl From<Third> for Record {
    fn from(third: Third) -> Self {
        let Third { envelope, submitter, deliveries, own, hide_client, sign_as, date, message_id, tls_optional } = third;
        Self {
            envelope,
            submitter,
            deliveries,
            own,
            hide_client,
            sign_as,
            date,
            message_id,
            tls_optional,
            judgement: None,
            suspicious: false,
        }
    }
}

impl From<First> for Record {
    fn from(first: First) -> Self {
        let First { envelope, submitter, deliveries } = first;
        let envelope = Envelope::from(envelope);
        let deliveries: Vec<Destination> = deliveries
            .into_iter()
            .map(|FirstDestination { recipient, target }| {
                let given = envelope.recipients.get(usize::from(recipient)).map(|r| &r.address);
                let forwarded = matches!(&target, Target::Remote(address) if given != Some(address));
                Destination { recipient, target, forwarded, rewritten: None }
            })
            .collect();
        // The reverse-path was checked to be the account's own.
        let sign_as = submitter.as_ref().and_then(|_| envelope.reverse_path.address().map(|a| a.domain.clone()));
        Self { sign_as, ..Self::plain(envelope, submitter, deliveries) }
    }
}

/// None when it cannot be read.
pub(crate) fn decode(format: i64, bytes: &[u8]) -> Option<Record> {
    match format {
        1 => wire::decode::<First>(bytes).ok().map(Record::from),
        2 => wire::decode::<Second>(bytes).ok().map(Record::from),
        3 => wire::decode::<Third>(bytes).ok().map(Record::from),
        FORMAT => wire::decode(bytes).ok(),
        _ => None,
    }
}

impl Record {
    /// Only what was admitted can be written to the spool.
    pub(crate) fn new(admitted: Admitted) -> Self {
        let (envelope, submitter, deliveries) = admitted.into_parts();
        Self::plain(envelope, submitter, deliveries)
    }

    fn plain(envelope: Envelope, submitter: Option<Owner>, deliveries: Vec<Destination>) -> Self {
        Self {
            envelope,
            submitter,
            deliveries,
            own: false,
            hide_client: false,
            sign_as: None,
            date: None,
            message_id: None,
            tls_optional: false,
            judgement: None,
            suspicious: false,
        }
    }

    /// An envelope alone, for tests.
    #[cfg(test)]
    pub(crate) fn bare(envelope: Envelope) -> Self {
        Self::plain(envelope, None, Vec::new())
    }

    pub(crate) fn destination(&self, number: u32) -> Option<&Destination> {
        self.deliveries.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn recipient(&self, destination: &Destination) -> Option<&Recipient> {
        self.envelope.recipients.get(usize::from(destination.recipient))
    }

    pub(crate) fn address(&self, destination: &Destination) -> Option<&Address> {
        self.recipient(destination).map(|r| &r.address)
    }

    /// The numbers of the deliveries to accounts.
    pub(crate) fn local(&self) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.deliveries).filter(|(_, d)| matches!(d.target, Target::Account { .. })).map(|(n, _)| n)
    }

    /// The numbers and addresses of the deliveries to elsewhere.
    pub(crate) fn remote(&self) -> impl Iterator<Item = (u32, &Address)> {
        (0u32..).zip(&self.deliveries).filter_map(|(number, d)| match &d.target {
            Target::Remote(address) => Some((number, address)),
            Target::Account { .. } => None,
        })
    }

    /// MAIL FROM of a delivery.
    pub(crate) fn sender<'a>(&'a self, destination: &'a Destination) -> Option<&'a Address> {
        destination.rewritten.as_ref().or_else(|| self.envelope.reverse_path.address())
    }

    /// The ways of all deliveries to elsewhere.
    pub(crate) fn routes(&self, settings: &Settings) -> Vec<(u32, String)> {
        self.remote()
            .filter_map(|(number, address)| {
                let sender = self.sender(self.destination(number)?);
                Some((number, settings::key(&settings.route(sender, &address.domain))))
            })
            .collect()
    }

    /// What goes first: people's mail, what is passed on, and last what nobody waits for.
    pub(crate) fn class(&self) -> i64 {
        match (self.own, self.envelope.recipients.len() > BULK, &self.submitter) {
            (true, _, _) | (_, true, _) => 2,
            (_, _, None) => 1,
            (_, _, Some(_)) => 0,
        }
    }

    pub(crate) fn total(&self) -> u32 {
        u32::try_from(self.deliveries.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, envelope, owner};
    use pure_index::judgement::{
        Alignment, Arc, ArcResult, Dkim, DkimResult, Dmarc, DmarcPolicy, DmarcResult, Seal, Selector, Spf, SpfIdentity, SpfResult,
    };

    fn destination(recipient: u16, target: Target, rewritten: Option<&str>) -> Destination {
        Destination { recipient, target, forwarded: rewritten.is_some(), rewritten: rewritten.map(address) }
    }

    /// Messages wait in the spool across upgrades: a change of any type inside the record shows here.
    #[test]
    fn the_stored_form_has_not_changed() {
        let account = Target::Account { owner: owner(1, "alice@mta.test"), detail: Some(Text::new("a").unwrap()) };
        let record = Record {
            envelope: envelope("x@remote.test", &["alice+a@mta.test"]),
            submitter: Some(owner(7, "bob@mta.test")),
            deliveries: vec![destination(0, account, None), destination(0, Target::Remote(address("v@remote.test")), Some("s@mta.test"))],
            own: false,
            hide_client: true,
            sign_as: Some(Domain::parse("mta.test").unwrap()),
            date: Some(Text::new("d").unwrap()),
            message_id: Some(Text::new("<m@h>").unwrap()),
            tls_optional: true,
            judgement: Some(Box::new(judgement())),
            suspicious: true,
        };
        let bytes = wire::encode(&record).unwrap();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(decode(FORMAT, &bytes).unwrap(), record);
        assert_eq!(FORMAT, 4);
    }

    fn judgement() -> Judgement {
        let domain = Domain::parse("x.test").unwrap();
        Judgement {
            spf: vec![Spf { result: SpfResult::Fail, identity: SpfIdentity::Helo, domain: domain.clone() }],
            dkim: vec![Dkim { result: DkimResult::Policy, domain: Some(domain.clone()), selector: Selector::parse("s") }],
            dmarc: Dmarc {
                result: DmarcResult::Fail,
                policy: DmarcPolicy::Quarantine,
                alignment: Alignment::NotAligned,
                author: Some(domain.clone()),
            },
            arc: Arc { result: ArcResult::Pass, instance: Some(1), seals: vec![Seal { domain, passed: true }] },
            forged: Vec::new(),
            overflow: false,
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_third_form_is_still_read() {
        let record = decode(3, &bytes(THIRD)).unwrap();
        assert_eq!(record.envelope, envelope("x@remote.test", &["alice+a@mta.test"]));
        assert!(record.hide_client && record.tls_optional && record.judgement.is_none() && !record.suspicious);
    }

    #[test]
    fn the_second_form_is_still_read() {
        let bytes: Vec<u8> = (0..SECOND.len()).step_by(2).map(|i| u8::from_str_radix(&SECOND[i..i + 2], 16).unwrap()).collect();
        let record = decode(2, &bytes).unwrap();
        assert_eq!(record.envelope, envelope("x@remote.test", &["alice+a@mta.test"]));
        assert!(record.hide_client && !record.tls_optional && record.deliveries[1].rewritten == Some(address("s@mta.test")));
        assert_eq!((record.date.unwrap().as_str(), record.message_id.unwrap().as_str()), ("d", "<m@h>"));
    }

    #[test]
    fn the_first_form_is_still_read() {
        let bytes: Vec<u8> = (0..FIRST.len()).step_by(2).map(|i| u8::from_str_radix(&FIRST[i..i + 2], 16).unwrap()).collect();
        let record = decode(1, &bytes).unwrap();
        assert_eq!(record.submitter, Some(owner(7, "bob@mta.test")));
        assert_eq!(record.remote().collect::<Vec<_>>(), [(1, &address("v@remote.test"))]);
        assert!(record.deliveries[1].forwarded && !record.own);
        assert_eq!(record.envelope, envelope("x@remote.test", &["alice+a@mta.test"]));
        assert!(decode(5, &bytes).is_none());
    }

    const FIRST: &str = "1100c000020712636c69656e742e72656d6f74652e746573740100000101780b72656d6f74652e746573740100000107616c6963652b61086d74612e746573740000010703626f62086d74612e74657374000200000105616c696365086d74612e7465737400010161000101760b72656d6f74652e74657374";
    const SECOND: &str = "1100c000020712636c69656e742e72656d6f74652e746573740100000101780b72656d6f74652e746573740100000107616c6963652b61086d74612e746573740000010703626f62086d74612e74657374000200000105616c696365086d74612e74657374000101610000000101760b72656d6f74652e7465737401010173086d74612e74657374000101086d74612e7465737401016401053c6d40683e";
    const THIRD: &str = "1100c000020712636c69656e742e72656d6f74652e74657374010000000101780b72656d6f74652e746573740100000107616c6963652b61086d74612e746573740000010703626f62086d74612e74657374000200000105616c696365086d74612e74657374000101610000000101760b72656d6f74652e7465737401010173086d74612e74657374000101086d74612e7465737401016401053c6d40683e01";
    const GOLDEN: &str = "1100c000020712636c69656e742e72656d6f74652e74657374010000000101780b72656d6f74652e746573740100000107616c6963652b61086d74612e746573740000010703626f62086d74612e74657374000200000105616c696365086d74612e74657374000101610000000101760b72656d6f74652e7465737401010173086d74612e74657374000101086d74612e7465737401016401053c6d40683e010101030106782e7465737401020106782e746573740101730201010106782e746573740101010106782e7465737401000001";
}
