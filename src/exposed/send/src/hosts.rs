//! Which hosts receive for a destination (RFC 5321 5.1), or why none does.

use crate::{dns::Answer, settings::Random};
use pure_addr::Domain;
use wire::edge::{send_deliver::Status, send_names::Mx};

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: Domain,
    pub(crate) preference: u16,
}

/// All of them, the most preferred first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hosts {
    pub(crate) list: Vec<Host>,
    /// Whether DNSSEC says so.
    pub(crate) secure: bool,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoHost {
    pub(crate) permanent: bool,
    pub(crate) status: Status,
    pub(crate) text: String,
    /// The answer's signatures did not hold.
    pub(crate) bogus: bool,
}

fn never(status: Status, text: String) -> NoHost {
    NoHost { permanent: true, status, text, bogus: false }
}

/// Reads the answer for MX of a domain.
pub(crate) fn select(domain: &Domain, answer: Answer<Mx>, own: &Domain, random: &Random) -> Result<Hosts, NoHost> {
    let (records, secure) = match answer {
        Answer::Found { secure, records, .. } => (records, secure),
        // RFC 5321 5.1: the domain itself, as if it were its own MX.
        Answer::None { secure, no_name: false } => (vec![Mx { preference: 0, host: Some(domain.clone()) }], secure),
        Answer::None { no_name: true, .. } => return Err(never(Status(5, 1, 2), format!("the domain {domain} does not exist"))),
        Answer::Bogus => {
            let text = format!("the DNSSEC signatures of {domain} do not hold");
            return Err(NoHost { permanent: false, status: Status(4, 7, 0), text, bogus: true });
        }
        Answer::Unavailable => {
            let text = format!("the DNS does not say now who receives mail for {domain}");
            return Err(NoHost { permanent: false, status: Status(4, 4, 3), text, bogus: false });
        }
    };
    let mut list: Vec<Host> = records.into_iter().filter_map(|mx| Some(Host { name: mx.host?, preference: mx.preference })).collect();
    if list.is_empty() {
        // RFC 7505 4.
        return Err(never(Status(5, 1, 10), format!("the domain {domain} says that it takes no mail (null MX)")));
    }
    random.shuffle(&mut list);
    // Stable: equals stay shuffled.
    list.sort_by_key(|host| host.preference);
    let list = before_ourselves(list, |host| host.name == *own);
    if list.is_empty() { Err(looped(domain)) } else { Ok(Hosts { list, secure }) }
}

/// Every remaining host is less preferred than we are, who do not receive for it.
pub(crate) fn looped(domain: &Domain) -> NoHost {
    never(Status(5, 4, 6), format!("mail for {domain} would come back to this host, which does not receive it"))
}

/// RFC 5321 5.1: of a list in which we stand ourselves, only what is preferred to us may be used.
pub(crate) fn before_ourselves(mut list: Vec<Host>, is_own: impl Fn(&Host) -> bool) -> Vec<Host> {
    if let Some(preference) = list.iter().filter(|host| is_own(host)).map(|host| host.preference).min() {
        list.retain(|host| host.preference < preference);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn chosen(records: &[(u16, &str)]) -> Result<Vec<String>, NoHost> {
        let list = records.iter().map(|(preference, host)| Mx { preference: *preference, host: (!host.is_empty()).then(|| domain(host)) });
        let answer = Answer::Found { secure: true, canonical: None, records: list.collect() };
        // Zero leaves the last of equals where it swaps to the front: a fixed order.
        let hosts = select(&domain("remote.test"), answer, &domain("mail.mta.test"), &Random(Arc::new(|| u64::MAX)))?;
        Ok(hosts.list.into_iter().map(|host| host.name.to_string()).collect())
    }

    #[test]
    fn the_preferred_come_first() {
        let mut found = chosen(&[(20, "c.test"), (10, "a.test"), (10, "b.test")]).unwrap();
        found[..2].sort();
        assert_eq!(found, ["a.test", "b.test", "c.test"]);
    }

    #[test]
    fn equals_are_shuffled() {
        // A linear congruence: its high bits are good enough for three hosts.
        let state = Arc::new(AtomicU64::new(1));
        let random = Random(Arc::new(move || {
            let step = |x: u64| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(step(x))).unwrap() >> 33
        }));
        let mut first = std::collections::HashSet::new();
        for _ in 0..50 {
            let records = ["a.test", "b.test", "c.test"].map(|h| Mx { preference: 5, host: Some(domain(h)) }).to_vec();
            let answer = Answer::Found { secure: false, canonical: None, records };
            first.insert(select(&domain("x.test"), answer, &domain("m.test"), &random).unwrap().list.remove(0).name);
        }
        assert_eq!(first.len(), 3);
    }

    #[test]
    fn we_never_send_past_ourselves() {
        assert_eq!(chosen(&[(5, "a.test"), (10, "mail.mta.test"), (10, "b.test"), (20, "c.test")]).unwrap(), ["a.test"]);
        assert_eq!(chosen(&[(10, "mail.mta.test"), (20, "c.test")]).unwrap_err().status, Status(5, 4, 6));
    }

    #[test]
    fn who_takes_no_mail_gets_none() {
        assert_eq!(
            chosen(&[(0, "")]).unwrap_err(),
            never(Status(5, 1, 10), "the domain remote.test says that it takes no mail (null MX)".into())
        );
        // RFC 7505 3: beside others it means nothing.
        assert_eq!(chosen(&[(0, ""), (10, "a.test")]).unwrap(), ["a.test"]);
        let of = |answer| select(&domain("x.test"), answer, &domain("m.test"), &Random(Arc::new(|| 0)));
        let implicit = of(Answer::None { secure: true, no_name: false }).unwrap();
        assert_eq!((implicit.list[0].name.as_str(), implicit.secure), ("x.test", true));
        assert_eq!(of(Answer::None { secure: true, no_name: true }).unwrap_err().status, Status(5, 1, 2));
        let bogus = of(Answer::Bogus).unwrap_err();
        assert!(!bogus.permanent && bogus.bogus);
        assert!(!of(Answer::Unavailable).unwrap_err().permanent);
    }
}
