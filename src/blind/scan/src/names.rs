//! Questions to dns, and their answers for a little while: thousands of messages from one domain ask once.
//!
//! Each question is under way once at a time, whoever waits for it. That there is no answer is remembered too, and as long as that goes on
//! nobody waits for it again: the question is repeated behind their backs. When nothing at all is answered any more, nobody waits long for
//! anything. So an outage of the DNS, or a domain that does not answer, costs a message or two their time and not all of them.
//!
//! Questions under way are bounded, and so are those that one peer's messages lead to: a peer whose names are never answered takes the places
//! of nobody else.

use crate::limits::{
    ANSWER_TIME, ASKING, ASKING_PER_PEER, JUDGING, KNOWN, KNOWN_BYTES, OUTAGE_AFTER, OUTAGE_PATIENCE, OUTAGE_TIME, QUESTION_PATIENCE,
};
use pure_mailauth::{Answer, Question};
use std::{
    collections::HashMap,
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wire::{
    Client,
    edge::dns_scan::{DnsForScan, Request, Response},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Names {
    client: Client<DnsForScan>,
    table: Mutex<Table>,
    /// [`ASKING`].
    places: Arc<Semaphore>,
    /// Questions in a row that had no answer.
    failures: AtomicU32,
    times: Times,
}

/// How long what lasts; turned down by tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// [`QUESTION_PATIENCE`].
    pub(crate) patience: Duration,
    /// [`OUTAGE_PATIENCE`].
    pub(crate) outage_patience: Duration,
    /// [`ANSWER_TIME`].
    pub(crate) answer: Duration,
    /// [`OUTAGE_TIME`].
    pub(crate) outage: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { patience: QUESTION_PATIENCE, outage_patience: OUTAGE_PATIENCE, answer: ANSWER_TIME, outage: OUTAGE_TIME }
    }
}

type Waiting = watch::Receiver<Option<Answer>>;

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Question, (Answer, Instant)>,
    /// Of what is known.
    bytes: usize,
    asking: HashMap<Question, Waiting>,
    /// [`ASKING_PER_PEER`], of the peers whose questions are under way or wait for that.
    shares: HashMap<IpAddr, Weak<Semaphore>>,
}

/// What is known of a question.
enum Known {
    Answer(Answer),
    /// That there was no answer, a while ago.
    Failed,
    Nothing,
}

/// One of the places of questions under way, and of its peer's.
struct Place {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Table {
    fn look(&self, question: &Question) -> Known {
        match self.known.get(question) {
            Some((answer, until)) if Instant::now() < *until => Known::Answer(answer.clone()),
            Some((Answer::Unavailable, _)) => Known::Failed,
            _ => Known::Nothing,
        }
    }

    fn share(&mut self, network: IpAddr) -> Arc<Semaphore> {
        if let Some(share) = self.shares.get(&network).and_then(Weak::upgrade) {
            return share;
        }
        // As many as there are peers whose messages wait, about.
        if self.shares.len() >= JUDGING {
            self.shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(ASKING_PER_PEER));
        self.shares.insert(network, Arc::downgrade(&share));
        share
    }

    fn keep(&mut self, question: Question, answer: Answer, until: Instant) {
        if self.known.len() >= KNOWN || self.bytes >= KNOWN_BYTES {
            // Rare, and what is needed is soon there again.
            self.known.clear();
            self.bytes = 0;
        }
        let before = self.known.get(&question).map_or(0, |(before, _)| weight(before));
        self.bytes = self.bytes.saturating_add(weight(&answer)).saturating_sub(before);
        self.known.insert(question, (answer, until));
    }
}

impl Names {
    pub(crate) fn new(edge: &Path, times: Times) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(ASKING));
        Arc::new(Self { client: Client::new(edge), table: Mutex::default(), places, failures: AtomicU32::new(0), times })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a question without waiting.
    pub(crate) fn known(&self, question: &Question) -> Option<Answer> {
        match self.table().look(question) {
            Known::Answer(answer) => Some(answer),
            Known::Failed | Known::Nothing => None,
        }
    }

    /// The answer to a question that a message from this network led to, waited for a while.
    pub(crate) async fn ask(self: &Arc<Self>, network: IpAddr, question: Question) -> Answer {
        let known = self.table().look(&question);
        match known {
            Known::Answer(answer) => return answer,
            Known::Failed => {
                if let Some(place) = self.free_place(network) {
                    drop(self.begin(question, place));
                }
                return Answer::Unavailable;
            }
            Known::Nothing => {}
        }
        let outage = self.failures.load(Ordering::Relaxed) >= OUTAGE_AFTER;
        let patience = if outage { self.times.outage_patience } else { self.times.patience };
        tokio::time::timeout(patience, self.answer(network, question)).await.ok().flatten().unwrap_or(Answer::Unavailable)
    }

    async fn answer(self: &Arc<Self>, network: IpAddr, question: Question) -> Option<Answer> {
        let under_way = self.table().asking.get(&question).cloned();
        let mut waiting = match under_way {
            Some(waiting) => waiting,
            None => {
                let place = self.place(network).await?;
                // Somebody else may have asked meanwhile.
                if let Some(answer) = self.known(&question) {
                    return Some(answer);
                }
                self.begin(question, place)
            }
        };
        waiting.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// A place for one more question, as soon as there is one. The peer's own comes first: whoever has none of those keeps nobody waiting.
    async fn place(&self, network: IpAddr) -> Option<Place> {
        let share = self.table().share(network);
        let own = share.acquire_owned().await.ok()?;
        Some(Place { _own: own, _of_all: self.places.clone().acquire_owned().await.ok()? })
    }

    fn free_place(&self, network: IpAddr) -> Option<Place> {
        let own = self.table().share(network).try_acquire_owned().ok()?;
        Some(Place { _own: own, _of_all: self.places.clone().try_acquire_owned().ok()? })
    }

    /// Asks, unless that is under way.
    fn begin(self: &Arc<Self>, question: Question, place: Place) -> Waiting {
        let mut table = self.table();
        if let Some(waiting) = table.asking.get(&question) {
            return waiting.clone();
        }
        let (sender, waiting) = watch::channel(None);
        table.asking.insert(question.clone(), waiting.clone());
        tokio::spawn(self.clone().fetch(question, sender, place));
        waiting
    }

    async fn fetch(self: Arc<Self>, question: Question, sender: watch::Sender<Option<Answer>>, place: Place) {
        let answer = match self.client.call(&request(&question), &[]).await {
            Ok(reply) => read(reply.body),
            Err(error) => {
                tracing::warn!(%error, "dns cannot be asked");
                Answer::Unavailable
            }
        };
        let time = if answer == Answer::Unavailable {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.times.outage
        } else {
            self.failures.store(0, Ordering::Relaxed);
            self.times.answer
        };
        {
            let mut table = self.table();
            table.asking.remove(&question);
            if let Some(until) = Instant::now().checked_add(time) {
                table.keep(question, answer.clone(), until);
            }
        }
        drop(place);
        // Nobody may be waiting any more.
        let _ = sender.send(Some(answer));
    }
}

fn request(question: &Question) -> Request {
    match question {
        Question::Texts(name) => Request::Texts(name.clone()),
        Question::Ipv4(name) => Request::Ipv4(name.clone()),
        Question::Ipv6(name) => Request::Ipv6(name.clone()),
        Question::Exchanges(name) => Request::Exchanges(name.clone()),
        Question::Names(address) => Request::Names(*address),
    }
}

fn read(response: Response) -> Answer {
    match response {
        Response::Texts(list) => Answer::Texts(list.into_iter().map(String::from).collect()),
        Response::Addresses(list) => Answer::Addresses(list.into_vec()),
        Response::Exchanges(list) => Answer::Exchanges(list.into_vec()),
        Response::Names(list) => Answer::Names(list.into_vec()),
        Response::Nothing => Answer::Nothing,
        Response::Unavailable => Answer::Unavailable,
    }
}

/// Bytes that an answer takes, about.
fn weight(answer: &Answer) -> usize {
    const EACH: usize = 64;
    match answer {
        Answer::Texts(list) => list.iter().fold(EACH, |sum, text| sum.saturating_add(text.len()).saturating_add(EACH)),
        Answer::Addresses(list) => EACH.saturating_mul(list.len().saturating_add(1)),
        Answer::Exchanges(list) | Answer::Names(list) => {
            list.iter().fold(EACH, |sum, name| sum.saturating_add(name.as_str().len()).saturating_add(EACH))
        }
        Answer::Nothing | Answer::Unavailable => EACH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dns, domain};

    fn times(millis: u64) -> Times {
        let long = Duration::from_secs(30);
        Times { patience: Duration::from_millis(millis), outage_patience: Duration::from_millis(1), answer: long, outage: long }
    }

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn texts(name: &str) -> Question {
        Question::Texts(domain(name).into())
    }

    #[tokio::test]
    async fn many_ask_once() {
        let dns = Dns::start();
        dns.say("a.test", "hello");
        let names = Names::new(&dns.edge, times(20_000));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let names = names.clone();
                tokio::spawn(async move { names.ask(PEER, texts("a.test")).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Answer::Texts(vec!["hello".into()]));
        }
        assert_eq!(names.ask(PEER, texts("nothing.test")).await, Answer::Nothing);
        assert_eq!(names.ask(PEER, texts("nothing.test")).await, Answer::Nothing);
        assert_eq!((dns.asked("a.test"), dns.asked("nothing.test")), (1, 1));
        assert_eq!(names.known(&texts("a.test")), Some(Answer::Texts(vec!["hello".into()])));
        assert_eq!(names.known(&texts("b.test")), None);
    }

    /// An outage is waited for once; as long as it lasts the question is repeated behind the backs of those who ask.
    #[tokio::test]
    async fn an_outage_is_waited_for_once() {
        let dns = Dns::start();
        dns.stall("slow.test");
        let names = Names::new(&dns.edge, Times { outage: Duration::ZERO, ..times(20) });
        assert_eq!(names.ask(PEER, texts("slow.test")).await, Answer::Unavailable);
        dns.go_on("slow.test", Response::Unavailable);
        while !names.table().known.contains_key(&texts("slow.test")) {
            tokio::task::yield_now().await;
        }
        // Known to fail, and due: asked again, and not waited for.
        let patient = Names::new(&dns.edge, Times { outage: Duration::ZERO, ..times(600_000) });
        patient.table().keep(texts("slow.test"), Answer::Unavailable, Instant::now());
        dns.stall("slow.test");
        assert_eq!(patient.ask(PEER, texts("slow.test")).await, Answer::Unavailable);
        assert_eq!(patient.ask(PEER, texts("slow.test")).await, Answer::Unavailable);
        dns.go_on("slow.test", Response::Nothing);
        while patient.ask(PEER, texts("slow.test")).await != Answer::Nothing {
            tokio::task::yield_now().await;
        }
    }

    /// When nothing is answered any more nobody waits long; the first answer ends that.
    #[tokio::test]
    async fn when_all_is_out_nobody_waits() {
        let dns = Dns::start();
        let names = Names::new(&dns.edge, times(600_000));
        names.failures.store(OUTAGE_AFTER, Ordering::Relaxed);
        dns.stall("slow.test");
        // It would wait ten minutes otherwise.
        assert_eq!(names.ask(PEER, texts("slow.test")).await, Answer::Unavailable);
        dns.say("a.test", "hello");
        names.ask(PEER, texts("a.test")).await;
        while names.failures.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// A peer whose names are never answered keeps nobody from asking, nor his own next question from being asked when there is room again.
    #[tokio::test]
    async fn a_peer_has_a_share() {
        let dns = Dns::start();
        let names = Names::new(&dns.edge, times(600_000));
        let stall = |peer: u8, count: usize| {
            for n in 0..count {
                let name = format!("n{n}.p{peer}.test");
                dns.stall(&name);
                tokio::spawn({
                    let names = names.clone();
                    async move { names.ask(IpAddr::from([10, 0, 0, peer]), texts(&name)).await }
                });
            }
        };
        let under_way = async |count: usize| {
            while names.table().asking.len() != count {
                tokio::task::yield_now().await;
            }
        };
        stall(1, ASKING_PER_PEER + 1);
        under_way(ASKING_PER_PEER).await;
        assert_eq!(names.ask(PEER, texts("a.test")).await, Answer::Nothing);
        assert_eq!(names.table().asking.len(), ASKING_PER_PEER);
        assert_eq!(names.table().known.len(), 1);
        // One of his own is over: the next one is asked.
        dns.go_on("n0.p1.test", Response::Nothing);
        while names.known(&texts("n0.p1.test")).is_none() {
            tokio::task::yield_now().await;
        }
        under_way(ASKING_PER_PEER).await;
        // When all places are taken, others wait for one rather than do without.
        for peer in 2..=4 {
            stall(peer, ASKING_PER_PEER);
        }
        under_way(ASKING).await;
        let last = tokio::spawn({
            let names = names.clone();
            async move { names.ask(PEER, texts("b.test")).await }
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!last.is_finished());
        dns.go_on("n0.p2.test", Response::Nothing);
        assert_eq!(last.await.unwrap(), Answer::Nothing);
        assert!(names.table().shares.len() <= 5);
    }

    #[tokio::test]
    async fn what_is_known_is_bounded() {
        let mut table = Table::default();
        let until = Instant::now();
        for n in 0..KNOWN * 2 {
            table.keep(texts(&format!("n{n}.test")), Answer::Nothing, until);
            assert!(table.known.len() <= KNOWN);
        }
        let long = Answer::Texts(vec!["x".repeat(1024 * 1024)]);
        for n in 0..100 {
            table.keep(texts(&format!("l{n}.test")), long.clone(), until);
            assert!(table.bytes <= KNOWN_BYTES + 2 * 1024 * 1024);
        }
        table.keep(texts("l99.test"), Answer::Nothing, until);
        assert!(table.bytes <= KNOWN_BYTES + 2 * 1024 * 1024);
    }
}
