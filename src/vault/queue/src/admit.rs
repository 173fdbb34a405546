//! Whether a message may enter: recipients, loops, the sender's identity. No I/O but the directory's answers.

use crate::{
    ask::Resolution,
    limits::{MAX_AUTHORS, MAX_DELIVERIES, MAX_RECEIVED},
    spool::Destination,
    srs,
};
use pure_addr::{Address, Domain, ReversePath, Text};
use pure_index::Identity;
use std::collections::HashSet;
use wire::edge::{
    auth_directory::Target,
    mail::{Envelope, Owner, Reason, Recipient},
};

/// A recipient that the directory accepted just now. Only [`crate::ask::Directory::resolve`] makes one.
#[derive(Debug)]
pub(crate) struct AcceptedRecipient {
    recipient: Recipient,
    targets: Vec<Target>,
}

impl AcceptedRecipient {
    pub(crate) fn new(recipient: Recipient, targets: Vec<Target>) -> Self {
        Self { recipient, targets }
    }

    /// Where its mail goes.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }
}

/// A message that may enter: every recipient was accepted, and nothing speaks against it.
#[derive(Debug)]
pub(crate) struct Admitted {
    envelope: Envelope,
    submitter: Option<Owner>,
    deliveries: Vec<Destination>,
}

impl Admitted {
    pub(crate) fn into_parts(self) -> (Envelope, Option<Owner>, Vec<Destination>) {
        (self.envelope, self.submitter, self.deliveries)
    }
}

/// Why a message does not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// For good.
    Rejected(Reason),
    /// Not now.
    Deferred,
    /// Too much was sent by this account, or to this alias.
    RateLimited,
}

/// The envelope's recipients, all accepted, or why not.
///
/// When some but not all are unknown, the directory has changed since RCPT: the client is asked to come back, and is told at RCPT then
/// which of them is gone. Nobody is dropped in silence.
pub(crate) fn recipients(resolutions: Vec<Resolution>) -> Result<Vec<AcceptedRecipient>, Refusal> {
    let total = resolutions.len();
    let mut accepted = Vec::with_capacity(total);
    let mut unavailable = false;
    for resolution in resolutions {
        match resolution {
            Resolution::Accepted(recipient) => accepted.push(recipient),
            Resolution::Unavailable => unavailable = true,
            Resolution::Unknown | Resolution::NoRelay => {}
        }
    }
    if unavailable {
        Err(Refusal::Deferred)
    } else if accepted.is_empty() {
        Err(Refusal::Rejected(Reason::NoRecipient))
    } else if accepted.len() < total {
        Err(Refusal::Deferred)
    } else {
        Ok(accepted)
    }
}

/// RFC 5321 6.3, and the same by `Delivered-To` for loops that cut the Received fields.
pub(crate) fn loops(identity: &Identity, recipients: &[AcceptedRecipient]) -> Result<(), Refusal> {
    if identity.received_fields > MAX_RECEIVED {
        return Err(Refusal::Rejected(Reason::Loop));
    }
    if identity.delivered_to.is_empty() {
        return Ok(());
    }
    let seen: HashSet<String> = identity.delivered_to.iter().filter_map(|v| Address::parse(v.trim()).ok()).map(|a| a.key()).collect();
    let again = recipients.iter().any(|r| seen.contains(&r.recipient.address.key()));
    if again { Err(Refusal::Rejected(Reason::Loop)) } else { Ok(()) }
}

/// The addresses that must belong to the account that submits: every author and the reverse-path.
///
/// An author that is no address, cannot be read, or is one of too many is nobody's own (attack case RLY-03).
pub(crate) fn senders(identity: &Identity, reverse_path: &ReversePath) -> Result<Vec<Text<320>>, Refusal> {
    let refused = Refusal::Rejected(Reason::Identity);
    // RFC 5322 3.6: exactly one From.
    if identity.from_fields != 1 || identity.unreadable || identity.authors.is_empty() {
        return Err(refused);
    }
    let mut addresses: Vec<Text<320>> = Vec::new();
    for author in &identity.authors {
        let author = Text::new(author.as_str()).map_err(|_| refused)?;
        if !addresses.contains(&author) {
            if addresses.len() >= MAX_AUTHORS {
                return Err(refused);
            }
            addresses.push(author);
        }
    }
    addresses.extend(sender(reverse_path));
    Ok(addresses)
}

/// The reverse-path as the directory is asked for it. The null path is everybody's (RFC 5321 4.5.5, RFC 8098 3 for receipts).
pub(crate) fn sender(reverse_path: &ReversePath) -> Option<Text<320>> {
    reverse_path.address().and_then(|a| Text::new(a.to_string()).ok())
}

/// Which recipients of strangers' mail lead elsewhere.
pub(crate) fn forwards(recipients: &[AcceptedRecipient]) -> impl Iterator<Item = (&Address, &Address)> {
    recipients.iter().flat_map(|AcceptedRecipient { recipient, targets }| {
        targets.iter().filter_map(|target| match target {
            Target::Remote(address) if *address != recipient.address => Some((&recipient.address, address)),
            _ => None,
        })
    })
}

/// The domains whose aliases lead elsewhere; what they pass on is sent in their names (RFC 7208 D.2). A report that goes back to whom an SRS
/// address names has the null reverse-path.
pub(crate) fn aliases(recipients: &[AcceptedRecipient]) -> impl Iterator<Item = &Domain> {
    forwards(recipients).filter(|(alias, _)| !srs::is(alias)).map(|(alias, _)| &alias.domain)
}

/// Where the message goes. `rewrite` gives the reverse-path of what an alias at this address sends on, when it is not the envelope's. Recipients that lead to the same account share one delivery, which keeps the first one's `Delivered-To`.
pub(crate) fn admit(
    mut envelope: Envelope,
    submitter: Option<Owner>,
    recipients: Vec<AcceptedRecipient>,
    mut rewrite: impl FnMut(&Address) -> Option<Address>,
) -> Result<Admitted, Refusal> {
    let mut deliveries = Vec::new();
    let (mut accounts, mut elsewhere) = (HashSet::new(), HashSet::new());
    let mut kept = wire::List::default();
    for (number, AcceptedRecipient { recipient, targets }) in (0u16..).zip(recipients) {
        for target in targets {
            let new = match &target {
                Target::Account { owner, .. } => accounts.insert(owner.account),
                Target::Remote(address) => elsewhere.insert(address.clone()),
            };
            if new {
                // An SRS address of ours that leads back is no alias.
                let forwarded = matches!(&target, Target::Remote(address) if *address != recipient.address) && !srs::is(&recipient.address);
                let rewritten = if forwarded { rewrite(&recipient.address) } else { None };
                deliveries.push(Destination { recipient: number, target, forwarded, rewritten });
            }
        }
        // As many as the envelope had, which had the same limit.
        kept.push(recipient).map_err(|_| Refusal::Deferred)?;
    }
    if deliveries.len() > MAX_DELIVERIES {
        tracing::warn!(deliveries = deliveries.len(), "aliases multiply a message beyond the limit");
        return Err(Refusal::Rejected(Reason::NoRecipient));
    }
    envelope.recipients = kept;
    Ok(Admitted { envelope, submitter, deliveries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, envelope, owner};

    fn accepted(recipient: &str, targets: Vec<Target>) -> AcceptedRecipient {
        AcceptedRecipient::new(Recipient { address: address(recipient), notify: None, orcpt: None }, targets)
    }

    fn account(id: u64, name: &str) -> Target {
        Target::Account { owner: owner(id, name), detail: None }
    }

    fn identity(authors: &[&str]) -> Identity {
        Identity { from_fields: 1, authors: authors.iter().map(|a| (*a).to_owned()).collect(), ..Identity::default() }
    }

    #[test]
    fn the_same_account_gets_one_delivery() {
        let list = vec![
            accepted("alice@mta.test", vec![account(1, "alice@mta.test")]),
            accepted(
                "team@mta.test",
                vec![account(2, "bob@mta.test"), account(1, "alice@mta.test"), Target::Remote(address("v@remote.test"))],
            ),
            accepted("v@remote.test", vec![Target::Remote(address("v@remote.test"))]),
        ];
        let (envelope, _, deliveries) = admit(envelope("x@remote.test", &[]), None, list, |_| None).unwrap().into_parts();
        assert_eq!(envelope.recipients.len(), 3);
        let places: Vec<(u16, bool)> = deliveries.iter().map(|d| (d.recipient, matches!(d.target, Target::Remote(_)))).collect();
        assert_eq!(places, [(0, false), (1, false), (1, true)]);
    }

    #[test]
    fn nobody_is_dropped_in_silence() {
        let ok = || Resolution::Accepted(accepted("alice@mta.test", vec![account(1, "alice@mta.test")]));
        assert!(recipients(vec![ok(), ok()]).is_ok());
        for (list, refusal) in [
            (vec![], Refusal::Rejected(Reason::NoRecipient)),
            (vec![Resolution::Unknown, Resolution::NoRelay], Refusal::Rejected(Reason::NoRecipient)),
            (vec![ok(), Resolution::Unknown], Refusal::Deferred),
            (vec![ok(), Resolution::NoRelay], Refusal::Deferred),
            (vec![Resolution::Unknown, Resolution::Unavailable], Refusal::Deferred),
        ] {
            assert_eq!(recipients(list).unwrap_err(), refusal);
        }
    }

    #[test]
    fn loops_are_refused() {
        let alice = [accepted("alice@mta.test", vec![])];
        let mut id = Identity { received_fields: MAX_RECEIVED, ..Identity::default() };
        assert_eq!(loops(&id, &alice), Ok(()));
        id.received_fields += 1;
        assert_eq!(loops(&id, &alice), Err(Refusal::Rejected(Reason::Loop)));
        let id = Identity { delivered_to: vec!["bob@mta.test".into(), "no address".into()], ..Identity::default() };
        assert_eq!(loops(&id, &alice), Ok(()));
        let id = Identity { delivered_to: vec![" ALICE@mta.Test ".into()], ..Identity::default() };
        assert_eq!(loops(&id, &alice), Err(Refusal::Rejected(Reason::Loop)));
    }

    /// Attack case RLY-03, the part that needs no directory: From twice, none, or unreadable is nobody's.
    #[test]
    fn exactly_one_readable_from() {
        let alice = ReversePath::Address(address("alice@mta.test"));
        assert_eq!(senders(&identity(&["alice@mta.test", "alice@mta.test"]), &alice).unwrap().len(), 2);
        assert_eq!(senders(&identity(&["alice@mta.test"]), &ReversePath::Null).unwrap().len(), 1);
        let many: Vec<String> = (0..=MAX_AUTHORS).map(|n| format!("a{n}@mta.test")).collect();
        for bad in [
            Identity { from_fields: 2, ..identity(&["alice@mta.test"]) },
            Identity { from_fields: 0, ..identity(&["alice@mta.test"]) },
            Identity { unreadable: true, ..identity(&["alice@mta.test"]) },
            identity(&[]),
            identity(&["alice@mta.test\r\nFrom: bob@mta.test"]),
            identity(&["x".repeat(321).as_str()]),
            Identity { from_fields: 1, authors: many, ..Identity::default() },
        ] {
            assert_eq!(senders(&bad, &alice), Err(Refusal::Rejected(Reason::Identity)), "{bad:?}");
        }
    }
}
