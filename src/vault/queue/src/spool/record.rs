//! What the spool remembers of a message beside its bytes.
//!
//! The index is not among it: it would double what is written for every message, and scan computes it again for the few that are
//! still here after a restart, in the form that the running build understands.

use crate::admit::Admitted;
use pure_addr::Address;
use serde::{Deserialize, Serialize};
use wire::edge::{
    auth_directory::Target,
    mail::{Envelope, Owner, Recipient},
};

/// The form of [`Record`] in the column `record`. A test compares bytes: when it fails, this number must grow and the older form
/// must still be read.
pub(crate) const FORMAT: i64 = 1;

/// The envelope, who submitted it, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) envelope: Envelope,
    /// The account whose session brought it; none for mail from strangers.
    pub(crate) submitter: Option<Owner>,
    /// The position is the delivery's number.
    pub(crate) deliveries: Vec<Destination>,
}

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destination {
    /// Which recipient led here.
    pub(crate) recipient: u16,
    pub(crate) target: Target,
}

impl Record {
    /// Only what was admitted can be written to the spool.
    pub(crate) fn new(admitted: Admitted) -> Self {
        let (envelope, submitter, deliveries) = admitted.into_parts();
        Self { envelope, submitter, deliveries }
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

    pub(crate) fn total(&self) -> u32 {
        u32::try_from(self.deliveries.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, envelope, owner};
    use pure_addr::Text;

    /// Messages wait in the spool across upgrades: a change of any type inside the record shows here.
    #[test]
    fn the_stored_form_has_not_changed() {
        let record = Record {
            envelope: envelope("x@remote.test", &["alice+a@mta.test"]),
            submitter: Some(owner(7, "bob@mta.test")),
            deliveries: vec![
                Destination {
                    recipient: 0,
                    target: Target::Account { owner: owner(1, "alice@mta.test"), detail: Some(Text::new("a").unwrap()) },
                },
                Destination { recipient: 0, target: Target::Remote(address("v@remote.test")) },
            ],
        };
        let bytes = wire::encode(&record).unwrap();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(wire::decode::<Record>(&bytes).unwrap(), record);
        assert_eq!(FORMAT, 1);
    }

    const GOLDEN: &str = "1100c000020712636c69656e742e72656d6f74652e746573740100000101780b72656d6f74652e746573740100000107616c6963652b61086d74612e746573740000010703626f62086d74612e74657374000200000105616c696365086d74612e7465737400010161000101760b72656d6f74652e74657374";
}
