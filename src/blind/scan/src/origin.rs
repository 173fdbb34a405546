//! Where a message is from, as far as the DNS can prove it: asks what [`pure_mailauth`] wants to know, each question as soon as it comes up.
//! What is not answered holds up what depends on it, and nothing else: a name that somebody keeps silent makes no other unknown.

use crate::{
    limits::{JUDGEMENT_TIME, JUDGING, JUDGING_PER_PEER},
    names::Names,
};
use pure_addr::Domain;
use pure_index::{MessageIndex, judgement::Judgement};
use pure_mailauth::{Answer, Answers, Connection, Inspection, limits::MAX_ROUNDS};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::task::JoinSet;
use wire::edge::scan_index;

/// See the module.
#[derive(Debug)]
pub(crate) struct Origin {
    host: Domain,
    names: Arc<Names>,
    /// Seconds since 1970.
    now: fn() -> i64,
    /// Messages that wait, by peer.
    waiting: Mutex<HashMap<IpAddr, usize>>,
    time: Duration,
}

impl Origin {
    /// `host` is us.
    pub(crate) fn new(host: Domain, names: Arc<Names>, now: fn() -> i64) -> Self {
        Self { host, names, now, waiting: Mutex::default(), time: JUDGEMENT_TIME }
    }

    #[cfg(test)]
    pub(crate) fn with_time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// What the message itself decides.
    pub(crate) fn inspect(&self, message: &[u8], index: &MessageIndex, connection: &scan_index::Connection) -> Inspection {
        let scan_index::Connection { peer, helo, reverse_path } = connection;
        let connection = Connection { peer: *peer, helo: helo.as_str(), reverse_path };
        Inspection::read(message, index, connection, &self.host, (self.now)())
    }

    /// What came of it, within the time; none when there is no end to it.
    pub(crate) async fn judge(&self, mut inspection: Inspection, peer: IpAddr) -> Option<Judgement> {
        let mut answers = Answers::default();
        if let Some(judgement) = self.by_what_is_known(&mut inspection, &mut answers) {
            return Some(judgement);
        }
        let network = network(peer);
        if let Some(_place) = self.wait(network) {
            let asked = tokio::time::timeout(self.time, self.ask(&mut inspection, &mut answers, network)).await;
            if let Ok(Some(judgement)) = asked {
                return Some(judgement);
            }
        } else {
            tracing::warn!(%peer, "too many of its messages wait for the DNS: judged without");
        }
        self.without(&mut inspection, &mut answers)
    }

    /// As far as that leads.
    fn by_what_is_known(&self, inspection: &mut Inspection, answers: &mut Answers) -> Option<Judgement> {
        for _ in 0..MAX_ROUNDS {
            if let Some(judgement) = inspection.judge(answers) {
                return Some(judgement);
            }
            let wanted = answers.wanted();
            let mut all = true;
            for question in wanted {
                match self.names.known(&question) {
                    Some(answer) => answers.answer(question, answer),
                    None => {
                        answers.want(question);
                        all = false;
                    }
                }
            }
            if !all {
                return None;
            }
        }
        None
    }

    async fn ask(&self, inspection: &mut Inspection, answers: &mut Answers, network: IpAddr) -> Option<Judgement> {
        let (mut asked, mut under_way) = (JoinSet::new(), HashSet::new());
        // Ends, since the questions of one message are bounded.
        loop {
            for question in answers.wanted() {
                if under_way.insert(question.clone()) {
                    let names = self.names.clone();
                    asked.spawn(async move { (question.clone(), names.ask(network, question).await) });
                }
            }
            // Whatever else has come by then is looked at together.
            let mut next = Some(asked.join_next().await?);
            while let Some(answer) = next {
                if let Ok((question, answer)) = answer {
                    answers.answer(question, answer);
                }
                next = asked.try_join_next();
            }
            if let Some(judgement) = inspection.judge(answers) {
                return Some(judgement);
            }
        }
    }

    /// As if nothing that is still open, and not known by now, were ever answered.
    fn without(&self, inspection: &mut Inspection, answers: &mut Answers) -> Option<Judgement> {
        for _ in 0..MAX_ROUNDS.saturating_mul(2) {
            if let Some(judgement) = inspection.judge(answers) {
                return Some(judgement);
            }
            for question in answers.wanted() {
                let answer = self.names.known(&question).unwrap_or(Answer::Unavailable);
                answers.answer(question, answer);
            }
        }
        tracing::error!("a judgement without end");
        None
    }

    /// A place among those who wait; none when there are too many.
    fn wait(&self, network: IpAddr) -> Option<Place<'_>> {
        let mut waiting = self.waiting();
        let all: usize = waiting.values().sum();
        let own = waiting.entry(network).or_insert(0);
        let room = all < JUDGING && *own < JUDGING_PER_PEER;
        if room {
            *own = own.saturating_add(1);
        } else if *own == 0 {
            waiting.remove(&network);
        }
        drop(waiting);
        room.then(|| Place { origin: self, network })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Place<'a> {
    origin: &'a Origin,
    network: IpAddr,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.origin.waiting();
        if let Some(own) = waiting.get_mut(&self.network) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                waiting.remove(&self.network);
            }
        }
    }
}

/// An IPv4 address, or the /64 of an IPv6 address.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::Times,
        testing::{Dns, domain},
    };
    use pure_addr::{Address, ReversePath, Text};
    use pure_index::judgement::{Alignment, DmarcResult, SpfResult};

    const MESSAGE: &[u8] = b"From: x@a.test\r\n\r\n";

    fn origin(dns: &Dns, patience: Duration) -> Arc<Origin> {
        let names = Names::new(&dns.edge, Times { patience, outage_patience: patience, ..Times::default() });
        Arc::new(Origin::new(domain("mx.us.test"), names, || 0))
    }

    fn connection() -> scan_index::Connection {
        let reverse_path = ReversePath::Address(Address::parse("b@a.test").unwrap());
        scan_index::Connection { peer: "192.0.2.1".parse().unwrap(), helo: Text::new("c.test").unwrap(), reverse_path }
    }

    async fn judge(origin: &Origin) -> Judgement {
        let inspection = origin.inspect(MESSAGE, &pure_mime::index(MESSAGE), &connection());
        origin.judge(inspection, connection().peer).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_known_is_not_asked_again() {
        let dns = Dns::start();
        dns.say("a.test", "v=spf1 ip4:192.0.2.1 -all");
        dns.say("_dmarc.a.test", "v=DMARC1; p=reject");
        let origin = origin(&dns, Duration::from_secs(60));
        for _ in 0..3 {
            let judged = judge(&origin).await;
            assert_eq!((judged.spf[0].result, judged.dmarc.result), (SpfResult::Pass, DmarcResult::Pass));
        }
        assert_eq!((dns.asked("a.test"), dns.asked("_dmarc.a.test"), dns.asked("c.test")), (1, 1, 1));
        assert!(origin.waiting().is_empty());
    }

    /// What is not answered in time is a temporary error, and delays no more than the time.
    #[tokio::test]
    async fn time_ends() {
        let dns = Dns::start();
        for name in ["a.test", "_dmarc.a.test", "_dmarc.test", "c.test"] {
            dns.stall(name);
        }
        let patient = origin(&dns, Duration::from_secs(600));
        let Ok(patient) = Arc::try_unwrap(patient) else { panic!() };
        let judged = judge(&patient.with_time(Duration::from_millis(1))).await;
        assert_eq!((judged.spf[0].result, judged.dmarc.result), (SpfResult::TempError, DmarcResult::TempError));
        assert_eq!(judged.dmarc.alignment, Alignment::Unknown);
    }

    /// A peer whose names are not answered holds up so many of its own messages; the next is judged without.
    #[tokio::test]
    async fn those_who_wait_are_few() {
        let dns = Dns::start();
        dns.stall("a.test");
        let origin = origin(&dns, Duration::from_secs(600));
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let mut held: Vec<Place<'_>> = (0..JUDGING_PER_PEER).map_while(|_| origin.wait(peer)).collect();
        assert_eq!(held.len(), JUDGING_PER_PEER);
        // It would wait ten minutes otherwise.
        assert_eq!(judge(&origin).await.spf[0].result, SpfResult::TempError);
        assert!(origin.wait(peer).is_none());
        held.pop();
        assert!(origin.wait(peer).is_some());
        let others: Vec<_> = (0..u32::MAX).map_while(|n| origin.wait(IpAddr::V6(Ipv6Addr::from_bits(u128::from(n) << 64 | 1)))).collect();
        assert_eq!(others.len() + held.len(), JUDGING);
        let same: [IpAddr; 2] = ["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        assert_eq!(network(same[0]), network(same[1]));
    }

    /// One name that is kept silent holds up what depends on it alone, however many answers the rest takes.
    #[tokio::test]
    async fn what_is_slow_holds_up_nothing_else() {
        let dns = Dns::start();
        dns.stall("c.test");
        dns.say("a.test", "v=spf1 include:i1.test -all");
        dns.say("i1.test", "v=spf1 include:i2.test -all");
        dns.say("i2.test", "v=spf1 include:i3.test -all");
        dns.say("i3.test", "v=spf1 ip4:192.0.2.1 -all");
        let origin = origin(&dns, Duration::from_secs(600));
        let judging = tokio::spawn({
            let origin = origin.clone();
            async move { judge(&origin).await }
        });
        let last = async {
            while dns.asked("i3.test") == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), last).await.unwrap();
        judging.abort();
        assert!(judging.await.unwrap_err().is_cancelled());
        // And when there is no time, or no place, what has been heard counts.
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let _held: Vec<Place<'_>> = (0..JUDGING_PER_PEER * 2).map_while(|_| origin.wait(peer)).collect();
        while origin.names.known(&pure_mailauth::Question::Texts(domain("i3.test").into())).is_none() {
            tokio::task::yield_now().await;
        }
        let judged = judge(&origin).await;
        assert_eq!((judged.spf[0].result, judged.spf[1].result), (SpfResult::Pass, SpfResult::TempError));
        assert_eq!(judged.dmarc.alignment, Alignment::Aligned);
    }

    #[tokio::test]
    async fn a_dns_that_is_not_there_costs_nobody_his_mail() {
        let dns = Dns::start();
        let edge = dns.edge.with_file_name("nothing");
        let origin = Origin::new(domain("mx.us.test"), Names::new(&edge, Times::default()), || 0);
        assert_eq!(judge(&origin).await.dmarc.result, DmarcResult::TempError);
    }
}
