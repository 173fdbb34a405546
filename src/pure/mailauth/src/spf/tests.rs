use super::*;
use std::collections::HashMap;

/// Names and what they have: texts, addresses after `@`, hosts after `>`, names of an address; `!` is an outage, `!4` and `!6` one of the
/// addresses of a family.
struct Zone(HashMap<Question, Answer>);

impl Zone {
    fn new(lines: &[(&str, &str)]) -> Self {
        let mut zone = HashMap::new();
        for (name, value) in lines {
            if let Ok(address) = name.parse::<IpAddr>() {
                zone.insert(Question::Names(address), Answer::Names(value.split(' ').map(domain).collect()));
                continue;
            }
            let name = QueryName::parse(name).unwrap();
            if *value == "!" {
                zone.insert(Question::Texts(name.clone()), Answer::Unavailable);
                zone.insert(Question::Exchanges(name.clone()), Answer::Unavailable);
                zone.insert(Question::Ipv4(name.clone()), Answer::Unavailable);
                zone.insert(Question::Ipv6(name), Answer::Unavailable);
            } else if let Some(list) = value.strip_prefix('@') {
                let list = list.split(' ').map(|a| a.parse().unwrap());
                let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = list.partition(IpAddr::is_ipv4);
                for (question, list) in [(Question::Ipv4(name.clone()), v4), (Question::Ipv6(name), v6)] {
                    zone.insert(question, if list.is_empty() { Answer::Nothing } else { Answer::Addresses(list) });
                }
            } else if *value == "!4" || *value == "!6" {
                let question = if *value == "!4" { Question::Ipv4(name) } else { Question::Ipv6(name) };
                zone.insert(question, Answer::Unavailable);
            } else if let Some(list) = value.strip_prefix('>') {
                zone.insert(Question::Exchanges(name), Answer::Exchanges(list.split(' ').map(domain).collect()));
            } else {
                let texts = zone.entry(Question::Texts(name)).or_insert(Answer::Texts(Vec::new()));
                let Answer::Texts(texts) = texts else { panic!() };
                texts.push((*value).to_owned());
            }
        }
        Self(zone)
    }

    /// The result, and how many questions there were.
    fn check(&self, peer: &str, sender: &str) -> (SpfResult, usize) {
        let (local, of) = sender.split_once('@').unwrap_or(("postmaster", sender));
        let mut check = Check::new(peer.parse().unwrap(), "mx.client.test", Sender { local: local.into(), domain: domain(of) });
        let mut answers = Answers::default();
        let mut asked = 0;
        for _ in 0..crate::limits::MAX_ROUNDS {
            if let Ok(result) = check.run(&mut answers) {
                return (result, asked);
            }
            for question in answers.wanted() {
                asked += 1;
                let answer = self.0.get(&question).cloned().unwrap_or(Answer::Nothing);
                answers.answer(question, answer);
            }
        }
        panic!("no end")
    }

    fn result(&self, peer: &str, sender: &str) -> SpfResult {
        self.check(peer, sender).0
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

use SpfResult::{Fail, Neutral, None as NoPolicy, Pass, PermError, SoftFail, TempError};

/// The zone of RFC 7208 appendix A and what its policies come to.
#[test]
fn the_examples_of_the_standard() {
    let base: &[(&str, &str)] = &[
        ("example.com", "@192.0.2.10 192.0.2.11"),
        ("example.com", ">mail-a.example.com mail-b.example.com"),
        ("example.org", ">mail-c.example.org"),
        ("amy.example.com", "@192.0.2.65"),
        ("bob.example.com", "@192.0.2.66"),
        ("mail-a.example.com", "@192.0.2.129"),
        ("mail-b.example.com", "@192.0.2.130"),
        ("mail-c.example.org", "@192.0.2.140"),
        ("192.0.2.10", "example.com"),
        ("192.0.2.65", "amy.example.com"),
        ("192.0.2.140", "mail-c.example.org"),
        ("10.0.0.4", "bob.example.com"),
    ];
    for (policy, passes, fails) in [
        ("v=spf1 +all", &["192.0.2.65", "2001:db8::1"][..], &[][..]),
        ("v=spf1 a -all", &["192.0.2.10", "192.0.2.11"], &["192.0.2.12", "2001:db8::1"]),
        ("v=spf1 a:example.org -all", &[], &["192.0.2.10"]),
        ("v=spf1 mx -all", &["192.0.2.129", "192.0.2.130"], &["192.0.2.10"]),
        ("v=spf1 mx:example.org -all", &["192.0.2.140"], &["192.0.2.129"]),
        ("v=spf1 mx mx:example.org -all", &["192.0.2.129", "192.0.2.140"], &["192.0.2.65"]),
        ("v=spf1 mx/30 mx:example.org/30 -all", &["192.0.2.131", "192.0.2.143"], &["192.0.2.132"]),
        ("v=spf1 ptr -all", &["192.0.2.10", "192.0.2.65"], &["192.0.2.140", "10.0.0.4", "192.0.2.1"]),
        ("v=spf1 ip4:192.0.2.128/28 -all", &["192.0.2.129", "::ffff:192.0.2.140"], &["192.0.2.65", "192.0.2.127"]),
    ] {
        let zone = Zone::new(&[base, &[("example.com", policy)]].concat());
        for peer in passes {
            assert_eq!(zone.result(peer, "example.com"), Pass, "{policy} {peer}");
        }
        for peer in fails {
            assert_eq!(zone.result(peer, "example.com"), Fail, "{policy} {peer}");
        }
    }
}

#[test]
fn results_by_what_matches() {
    let zone = Zone::new(&[
        ("a.test", "other text"),
        ("a.test", "v=spf1 ip4:192.0.2.1 ?ip4:192.0.2.2 ~ip4:192.0.2.3 -ip4:192.0.2.4"),
        ("none.test", "v=spf2.0/pra ?all"),
        ("bad.test", "v=spf1 nonsense"),
        ("late.test", "v=spf1 ip4:192.0.2.1 nonsense"),
        ("twice.test", "v=spf1 +all"),
        ("twice.test", "v=spf1 -all"),
        ("down.test", "!"),
        ("tempa.test", "v=spf1 a:down.test -all"),
    ]);
    for (peer, sender, result) in [
        ("192.0.2.1", "a.test", Pass),
        ("192.0.2.2", "a.test", Neutral),
        ("192.0.2.3", "a.test", SoftFail),
        ("192.0.2.4", "a.test", Fail),
        ("192.0.2.5", "a.test", Neutral),
        ("192.0.2.1", "none.test", NoPolicy),
        ("192.0.2.1", "nowhere.test", NoPolicy),
        ("192.0.2.1", "localhost", NoPolicy),
        ("192.0.2.1", "bad.test", PermError),
        ("192.0.2.1", "late.test", PermError),
        ("192.0.2.1", "twice.test", PermError),
        ("192.0.2.1", "down.test", TempError),
        ("192.0.2.1", "tempa.test", TempError),
    ] {
        assert_eq!(zone.result(peer, sender), result, "{sender} {peer}");
    }
}

/// RFC 7208 5.2 and 6.1.
#[test]
fn includes_and_redirects() {
    let zone = Zone::new(&[
        ("a.test", "v=spf1 include:in.test -include:out.test ~all"),
        ("in.test", "v=spf1 ip4:192.0.2.1 -ip4:192.0.2.2 ?ip4:192.0.2.3"),
        ("out.test", "v=spf1 ip4:192.0.2.4 -all"),
        ("r.test", "v=spf1 ip4:192.0.2.9 redirect=in.test"),
        ("rall.test", "v=spf1 ?all redirect=nowhere.test"),
        ("rnone.test", "v=spf1 redirect=nowhere.test"),
        ("inone.test", "v=spf1 include:nowhere.test +all"),
        ("ibad.test", "v=spf1 include:bad.test +all"),
        ("bad.test", "v=spf1 x"),
        ("idown.test", "v=spf1 include:down.test +all"),
        ("down.test", "!"),
        ("deep.test", "v=spf1 include:deep1.test -all"),
        ("deep1.test", "v=spf1 include:deep2.test -all"),
        ("deep2.test", "v=spf1 redirect=in.test"),
    ]);
    for (peer, sender, result) in [
        ("192.0.2.1", "a.test", Pass),
        ("192.0.2.2", "a.test", SoftFail),
        ("192.0.2.3", "a.test", SoftFail),
        ("192.0.2.4", "a.test", Fail),
        ("192.0.2.9", "r.test", Pass),
        ("192.0.2.2", "r.test", Fail),
        ("192.0.2.8", "r.test", Neutral),
        ("192.0.2.8", "rall.test", Neutral),
        ("192.0.2.8", "rnone.test", PermError),
        ("192.0.2.8", "inone.test", PermError),
        ("192.0.2.8", "ibad.test", PermError),
        ("192.0.2.8", "idown.test", TempError),
        ("192.0.2.1", "deep.test", Pass),
        ("192.0.2.2", "deep.test", Fail),
    ] {
        assert_eq!(zone.result(peer, sender), result, "{sender} {peer}");
    }
}

/// RFC 7208 4.6.4: policies that lead to themselves, or to too much, end as mistakes after a bounded number of questions.
#[test]
fn limits() {
    let zone = Zone::new(&[
        ("loop.test", "v=spf1 include:loop.test -all"),
        ("loopr.test", "v=spf1 redirect=loopr.test"),
        ("ping.test", "v=spf1 include:pong.test -all"),
        ("pong.test", "v=spf1 include:ping.test -all"),
    ]);
    for name in ["loop.test", "loopr.test", "ping.test"] {
        let (result, asked) = zone.check("192.0.2.1", name);
        assert_eq!(result, PermError, "{name}");
        assert!(asked <= MAX_SPF_LOOKUPS + 1);
    }
    let terms = |count: usize| format!("v=spf1{} -all", " a:x.test".repeat(count));
    let of = |count| Zone::new(&[("x.test", "@192.0.2.9"), ("a.test", &terms(count))]).result("192.0.2.1", "a.test");
    assert_eq!((of(MAX_SPF_LOOKUPS), of(MAX_SPF_LOOKUPS + 1)), (Fail, PermError));
    let void = |count: usize| {
        let terms: String = (0..count).map(|n| format!(" a:no{n}.test")).collect();
        Zone::new(&[("a.test", &format!("v=spf1{terms} -all"))]).result("192.0.2.1", "a.test")
    };
    assert_eq!((void(MAX_SPF_VOID), void(MAX_SPF_VOID + 1)), (Fail, PermError));
    let hosts = |count: usize| {
        let hosts: Vec<String> = (0..count).map(|n| format!("h{n}.test")).collect();
        let zone = [("a.test", "v=spf1 mx -all".to_owned()), ("a.test", format!(">{}", hosts.join(" ")))];
        Zone::new(&zone.iter().map(|(n, v)| (*n, v.as_str())).collect::<Vec<_>>()).result("192.0.2.1", "a.test")
    };
    assert_eq!((hosts(MAX_SPF_NAMES), hosts(MAX_SPF_NAMES + 1)), (Fail, PermError));
}

#[test]
fn macros_and_existence() {
    let zone = Zone::new(&[
        ("a.test", "v=spf1 exists:%{ir}.%{l}.%{v}.list.test -all"),
        ("1.2.0.192.bob.in-addr.list.test", "@127.0.0.2"),
        ("2.2.0.192.bob.in-addr.list.test", "@2001:db8::1"),
        ("h.test", "v=spf1 include:%{h} -all"),
        ("mx.client.test", "v=spf1 ip4:192.0.2.7"),
        ("odd.test", "v=spf1 a:%{l}.odd.test -all"),
        ("foo:bar/baz.example.com", "@192.0.2.4"),
        ("colon.test", "v=spf1 a:foo:bar/baz.example.com -all"),
        ("prvs=1=bob+x.odd.test", "@192.0.2.5"),
    ]);
    assert_eq!(zone.result("192.0.2.1", "bob@a.test"), Pass);
    assert_eq!(zone.result("192.0.2.1", "eve@a.test"), Fail);
    assert_eq!(zone.result("192.0.2.2", "bob@a.test"), Fail);
    assert_eq!(zone.result("192.0.2.7", "h.test"), Pass);
    // A name that cannot be is one that is not there.
    assert_eq!(zone.result("192.0.2.1", "a..b@odd.test"), Fail);
    // One that is no host's can be.
    assert_eq!(zone.result("192.0.2.5", "prvs=1=bob+x@odd.test"), Pass);
    assert_eq!(zone.result("192.0.2.4", "colon.test"), Pass);
}

/// Of the hosts of a domain those that answer can let a client in, whatever the others do.
#[test]
fn an_outage_hides_no_match() {
    let zone = Zone::new(&[("a.test", "v=spf1 mx -all"), ("a.test", ">down.test up.test"), ("down.test", "!"), ("up.test", "@192.0.2.1")]);
    assert_eq!(zone.result("192.0.2.1", "a.test"), Pass);
    assert_eq!(zone.result("192.0.2.2", "a.test"), TempError);
}

/// RFC 7208 5 and 5.7: what is not known of the other family decides nothing, and what is known of it hides nothing.
#[test]
fn only_the_family_of_the_client_counts() {
    let zone = Zone::new(&[
        ("mx.test", "v=spf1 mx -all"),
        ("mx.test", ">no4.test"),
        ("a.test", "v=spf1 a:no4.test -all"),
        ("six.test", "v=spf1 a:no6.test -all"),
        ("exists.test", "v=spf1 exists:no4.test -all"),
        ("exists6.test", "v=spf1 exists:no6.test -all"),
        ("ptr.test", "v=spf1 ptr -all"),
        ("192.0.2.1", "no6.ptr.test"),
        ("no4.test", "@2001:db8::1"),
        ("no4.test", "!4"),
        ("no6.test", "@192.0.2.1"),
        ("no6.test", "!6"),
        ("no6.ptr.test", "@192.0.2.1"),
        ("no6.ptr.test", "!6"),
    ]);
    for (peer, sender, result) in [
        ("192.0.2.1", "mx.test", TempError),
        ("2001:db8::1", "mx.test", Pass),
        ("2001:db8::2", "mx.test", Fail),
        ("192.0.2.1", "a.test", TempError),
        ("2001:db8::2", "a.test", Fail),
        ("192.0.2.1", "six.test", Pass),
        ("192.0.2.2", "six.test", Fail),
        ("2001:db8::1", "six.test", TempError),
        ("2001:db8::1", "exists.test", TempError),
        ("2001:db8::1", "exists6.test", Pass),
        ("192.0.2.1", "ptr.test", Pass),
    ] {
        assert_eq!(zone.result(peer, sender), result, "{sender} {peer}");
    }
}
