//! Questions and their answers, over real sockets, from a world of signed and unsigned zones.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, MX},
    },
};
use postern_dns::{Anchors, Network, Resolver};
use pure_addr::{Domain, QueryName};
use std::{net::SocketAddr, time::Duration};
use test_names::{Lie, Server, Spoiled, TTL, World, name};
use wire::edge::send_names::{Records, Request, Response};

/// ```text
/// .  test  secure.test          signed
///          insecure.test        delegated without DS
///          sub.secure.test      signed
/// ```
fn world() -> World {
    let mut world = World::new();
    world.zone("test.", true).zone("secure.test.", true).zone("insecure.test.", false).zone("sub.secure.test.", true);
    world
        .mx("secure.test.", 20, "mx2.secure.test.")
        .mx("secure.test.", 10, "MX1.secure.test.")
        .address("mx1.secure.test.", "192.0.2.1")
        .address("mx1.secure.test.", "2001:db8::1")
        .address("mx2.secure.test.", "192.0.2.2")
        .tlsa("_25._tcp.mx1.secure.test.", &[0xaa; 32])
        .text("_mta-sts.secure.test.", &["v=STSv1; ", "id=1;"])
        .text("_smtp._tls.secure.test.", &["v=TLSRPTv1;rua=mailto:tls@secure.test"])
        .alias("alias.secure.test.", "mx1.secure.test.")
        .alias("away.secure.test.", "mx.insecure.test.")
        .alias("gone.secure.test.", "nothing.secure.test.")
        .alias("loop-a.secure.test.", "loop-b.secure.test.")
        .alias("loop-b.secure.test.", "loop-a.secure.test.")
        .mx("null.secure.test.", 0, ".")
        .address("*.wild.secure.test.", "192.0.2.3")
        .address("host.sub.secure.test.", "192.0.2.4");
    world.mx("insecure.test.", 10, "mx.insecure.test.").address("mx.insecure.test.", "192.0.2.5");
    world.alias("back.insecure.test.", "mx1.secure.test.").alias("back-gone.insecure.test.", "nothing.secure.test.");
    world
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn resolver(anchor: &str, servers: &[SocketAddr]) -> Resolver<Network> {
    Resolver::forwarding(Network::default(), servers, Anchors::parse(anchor).unwrap()).with_time(Duration::from_secs(20))
}

async fn start(world: World) -> (Server, Resolver<Network>) {
    let anchor = world.anchor();
    let server = Server::start(world).await;
    let resolver = resolver(&anchor, &[server.address]);
    (server, resolver)
}

fn addresses(host: &str) -> Request {
    Request::Addresses(domain(host))
}

fn tlsa(host: &str) -> Request {
    Request::Tlsa { port: 25, host: domain(host) }
}

fn none(secure: bool, no_name: bool) -> Response {
    Response::None { secure, no_name }
}

/// `Found`, written short: whether secure, the canonical name, the records.
fn found(response: Response) -> (bool, Option<String>, Vec<String>) {
    let Response::Found { secure, canonical, records } = response else { panic!("{response:?}") };
    let records = match records {
        Records::Mx(list) => list.iter().map(|mx| format!("{} {}", mx.preference, mx.host.as_ref().map_or(".", Domain::as_str))).collect(),
        Records::Addresses(list) => {
            let mut texts: Vec<String> = list.iter().map(ToString::to_string).collect();
            texts.sort();
            texts
        }
        Records::Tlsa(list) => list.iter().map(|t| format!("{} {} {} {:02x}", t.usage, t.selector, t.matching, t.data[0])).collect(),
        Records::Text(list) => list.iter().map(ToString::to_string).collect(),
    };
    (secure, canonical.map(|c| c.to_string()), records)
}

fn expect(secure: bool, canonical: Option<&str>, records: &[&str]) -> (bool, Option<String>, Vec<String>) {
    (secure, canonical.map(str::to_owned), records.iter().map(|r| (*r).to_owned()).collect())
}

#[tokio::test]
async fn proven_answers_are_secure() {
    let (_server, dns) = start(world()).await;
    assert!(dns.validates().await);
    let answer = dns.answer(Request::Mx(domain("secure.test"))).await;
    assert_eq!(found(answer), expect(true, None, &["10 mx1.secure.test", "20 mx2.secure.test"]));
    assert_eq!(found(dns.answer(addresses("mx1.secure.test")).await), expect(true, None, &["192.0.2.1", "2001:db8::1"]));
    // No AAAA, and that is proven.
    assert_eq!(found(dns.answer(addresses("mx2.secure.test")).await), expect(true, None, &["192.0.2.2"]));
    assert_eq!(found(dns.answer(tlsa("mx1.secure.test")).await), expect(true, None, &["3 1 1 aa"]));
    assert_eq!(found(dns.answer(Request::MtaSts(domain("secure.test"))).await), expect(true, None, &["v=STSv1; id=1;"]));
    let answer = dns.answer(Request::TlsReporting(domain("secure.test"))).await;
    assert_eq!(found(answer), expect(true, None, &["v=TLSRPTv1;rua=mailto:tls@secure.test"]));
    assert_eq!(found(dns.answer(addresses("host.sub.secure.test")).await), expect(true, None, &["192.0.2.4"]));
}

/// A wildcard counts where nothing else exists, and not where something does (RFC 4035 5.3.4).
#[tokio::test]
async fn wildcards_are_proven_to_apply() {
    let mut world = world();
    world.address("real.deep.wild.secure.test.", "192.0.2.9");
    let (_server, dns) = start(world).await;
    assert_eq!(found(dns.answer(addresses("any.wild.secure.test")).await), expect(true, None, &["192.0.2.3"]));
    assert_eq!(dns.answer(Request::Mx(domain("any.wild.secure.test"))).await, none(true, false));
    assert_eq!(found(dns.answer(addresses("real.deep.wild.secure.test")).await), expect(true, None, &["192.0.2.9"]));
    assert_eq!(dns.answer(addresses("other.deep.wild.secure.test")).await, none(true, true));
}

/// The signed records of the wildcard in place of those that exist: without the right proof, and with the right proof of another name.
#[tokio::test]
async fn a_wildcard_cannot_replace_what_exists() {
    let mut world = world();
    world.address("real.wild.secure.test.", "192.0.2.9");
    let expanded = |owner: &str| world.answer(&hickory_resolver::proto::op::Query::query(name(owner), RecordType::A));
    let mut with_proof = expanded("any.wild.secure.test.");
    for record in &mut with_proof.answers {
        record.name = name("real.wild.secure.test.");
    }
    let mut without = with_proof.clone();
    without.authorities.clear();
    let mut foreign = without.clone();
    foreign.add_authorities(world.answer(&hickory_resolver::proto::op::Query::query(name("x.insecure.test."), RecordType::A)).authorities);
    for lie in [with_proof, without, foreign] {
        let mut lying = World::new();
        lying.adopt(&world);
        lying.lie("real.wild.secure.test.", RecordType::A, Lie::Message(lie.clone()));
        let (_server, dns) = start(lying).await;
        assert_eq!(dns.answer(addresses("real.wild.secure.test")).await, Response::Bogus, "{lie:?}");
    }
}

#[tokio::test]
async fn the_digest_of_the_root_key_is_an_anchor_too() {
    let world = world();
    let (anchor, other) = (world.anchor_digest(), World::new().anchor_digest());
    let server = Server::start(world).await;
    let dns = resolver(&anchor, &[server.address]);
    assert_eq!(found(dns.answer(addresses("mx2.secure.test")).await), expect(true, None, &["192.0.2.2"]));
    // Under another root nothing is proven, and nothing is proven to be unproven.
    let dns = resolver(&other, &[server.address]);
    assert_eq!(dns.answer(addresses("mx2.secure.test")).await, Response::Bogus);
    assert_eq!(dns.answer(addresses("mx.insecure.test")).await, Response::Bogus);
    assert!(!dns.validates().await);
}

#[tokio::test]
async fn below_a_proven_insecure_delegation_answers_are_insecure() {
    let (_server, dns) = start(world()).await;
    assert_eq!(found(dns.answer(Request::Mx(domain("insecure.test"))).await), expect(false, None, &["10 mx.insecure.test"]));
    assert_eq!(found(dns.answer(addresses("mx.insecure.test")).await), expect(false, None, &["192.0.2.5"]));
    assert_eq!(dns.answer(tlsa("mx.insecure.test")).await, none(false, true));
    assert_eq!(dns.answer(Request::MtaSts(domain("insecure.test"))).await, none(false, true));
    assert_eq!(dns.answer(Request::Mx(domain("mx.insecure.test"))).await, none(false, false));
}

#[tokio::test]
async fn denials_are_proven() {
    let (_server, dns) = start(world()).await;
    assert_eq!(dns.answer(Request::Mx(domain("mx1.secure.test"))).await, none(true, false));
    assert_eq!(dns.answer(Request::Mx(domain("nothing.secure.test"))).await, none(true, true));
    assert_eq!(dns.answer(Request::Mx(domain("nothing.at.all.secure.test"))).await, none(true, true));
    assert_eq!(dns.answer(tlsa("mx2.secure.test")).await, none(true, true));
    assert_eq!(dns.answer(addresses("nothing.secure.test")).await, none(true, true));
    assert_eq!(dns.answer(Request::Mx(domain("no-such-domain"))).await, none(true, true));
    assert_eq!(found(dns.answer(Request::Mx(domain("null.secure.test"))).await), expect(true, None, &["0 ."]));
}

#[tokio::test]
async fn aliases_are_as_sure_as_each_of_their_steps() {
    let (_server, dns) = start(world()).await;
    let canonical = Some("mx1.secure.test");
    assert_eq!(found(dns.answer(addresses("alias.secure.test")).await), expect(true, canonical, &["192.0.2.1", "2001:db8::1"]));
    assert_eq!(found(dns.answer(addresses("away.secure.test")).await), expect(false, Some("mx.insecure.test"), &["192.0.2.5"]));
    assert_eq!(found(dns.answer(addresses("back.insecure.test")).await), expect(false, canonical, &["192.0.2.1", "2001:db8::1"]));
    assert_eq!(dns.answer(addresses("gone.secure.test")).await, none(true, true));
    // The denial at the end is proven, the way to it is not.
    assert_eq!(dns.answer(addresses("back-gone.insecure.test")).await, none(false, true));
    assert_eq!(dns.answer(Request::Mx(domain("alias.secure.test"))).await, none(true, false));
    assert_eq!(dns.answer(addresses("loop-a.secure.test")).await, Response::Unavailable);
}

#[tokio::test]
async fn wrong_expired_and_missing_signatures_are_bogus() {
    for how in [Spoiled::Forged, Spoiled::Expired, Spoiled::Unsigned] {
        let mut world = world();
        world
            .spoil("mx2.secure.test.", RecordType::A, how)
            .spoil("secure.test.", RecordType::MX, how)
            .spoil("_25._tcp.mx1.secure.test.", RecordType::TLSA, how)
            .spoil("alias.secure.test.", RecordType::CNAME, how)
            .spoil("mx1.secure.test.", RecordType::NSEC, how);
        let (_server, dns) = start(world).await;
        for request in [
            addresses("mx2.secure.test"),
            Request::Mx(domain("secure.test")),
            tlsa("mx1.secure.test"),
            addresses("alias.secure.test"),
            Request::Mx(domain("mx1.secure.test")),
        ] {
            assert_eq!(dns.answer(request.clone()).await, Response::Bogus, "{how:?} {request:?}");
        }
        // The rest of the zone is not affected.
        assert!(found(dns.answer(addresses("mx1.secure.test")).await).0);
    }
}

/// A delegation whose DS are not proven, and one that is not proven to have none.
#[tokio::test]
async fn a_broken_chain_is_bogus_and_never_insecure() {
    for how in [Spoiled::Expired, Spoiled::Unsigned] {
        let mut world = world();
        world.spoil("secure.test.", RecordType::DS, how).spoil("insecure.test.", RecordType::NSEC, how);
        let (_server, dns) = start(world).await;
        for request in [addresses("mx1.secure.test"), addresses("mx.insecure.test"), tlsa("mx1.secure.test"), tlsa("mx.insecure.test")] {
            assert_eq!(dns.answer(request.clone()).await, Response::Bogus, "{how:?} {request:?}");
        }
    }
}

/// A message that denies, with nothing or with records of somewhere else that prove nothing: the downgrade that DANE must withstand
/// (RFC 7672 2.1.1).
#[tokio::test]
async fn a_denial_with_foreign_proofs_is_bogus() {
    let honest = world();
    let soa = |zone: &str| {
        let query = hickory_resolver::proto::op::Query::query(name(&format!("nothing.{zone}")), RecordType::TXT);
        honest.answer(&query).authorities
    };
    let target = "_25._tcp.mx1.secure.test.";
    let mut parent = soa("test.");
    parent.extend(soa("insecure.test."));
    for (authorities, code) in [
        (Vec::new(), ResponseCode::NXDomain),
        (Vec::new(), ResponseCode::NoError),
        // Proven to be insecure, and not about this name.
        (soa("insecure.test."), ResponseCode::NXDomain),
        (soa("insecure.test."), ResponseCode::NoError),
        // Proven, and about other names.
        (soa("secure.test."), ResponseCode::NXDomain),
        (soa("test."), ResponseCode::NXDomain),
        (soa("sub.secure.test."), ResponseCode::NXDomain),
        (parent, ResponseCode::NoError),
    ] {
        let mut world = world();
        let mut message = Message::response(0, OpCode::Query);
        message.metadata.response_code = code;
        message.add_authorities(authorities.clone());
        world.lie(target, RecordType::TLSA, Lie::Message(message));
        // The zones whose records these are, with their keys.
        world.adopt(&honest);
        let (_server, dns) = start(world).await;
        let answer = dns.answer(tlsa("mx1.secure.test")).await;
        assert_eq!(answer, Response::Bogus, "{code} {authorities:?}");
    }
}

/// Records of a set that nobody asked for, or beyond an alias, are not believed.
#[tokio::test]
async fn records_that_were_not_asked_for_are_dropped() {
    let mut world = world();
    let query = hickory_resolver::proto::op::Query::query(name("mx.insecure.test."), RecordType::A);
    let mut message = world.answer(&query);
    message.add_answer(Record::from_rdata(name("mx2.secure.test."), TTL, RData::A(A::new(192, 0, 2, 66))));
    message.add_authority(Record::from_rdata(name("mx2.secure.test."), TTL, RData::A(A::new(192, 0, 2, 66))));
    message.add_additional(Record::from_rdata(name("mx2.secure.test."), TTL, RData::A(A::new(192, 0, 2, 66))));
    world.lie("mx.insecure.test.", RecordType::A, Lie::Message(message));
    let (server, dns) = start(world).await;
    assert_eq!(found(dns.answer(addresses("mx.insecure.test")).await), expect(false, None, &["192.0.2.5"]));
    assert_eq!(found(dns.answer(addresses("mx2.secure.test")).await), expect(true, None, &["192.0.2.2"]));
    assert_eq!(server.count("mx2.secure.test.", RecordType::A), 1);
}

#[tokio::test]
async fn what_is_truncated_is_asked_again_by_tcp() {
    let mut world = world();
    world.lie("secure.test.", RecordType::MX, Lie::Truncate);
    let (server, dns) = start(world).await;
    let answer = dns.answer(Request::Mx(domain("secure.test"))).await;
    assert_eq!(found(answer), expect(true, None, &["10 mx1.secure.test", "20 mx2.secure.test"]));
    assert!(server.by_tcp("secure.test."));
}

#[tokio::test]
async fn spoofed_replies_are_ignored() {
    let mut world = world();
    let mut forged = Message::response(0, OpCode::Query);
    forged.add_answer(Record::from_rdata(name("mx.insecure.test."), TTL, RData::A(A::new(192, 0, 2, 66))));
    world.lie("mx.insecure.test.", RecordType::A, Lie::Spoof(forged));
    let (_server, dns) = start(world).await;
    assert_eq!(found(dns.answer(addresses("mx.insecure.test")).await), expect(false, None, &["192.0.2.5"]));
}

#[tokio::test]
async fn an_outage_is_never_a_denial() {
    let mut world = world();
    world
        .lie("secure.test.", RecordType::MX, Lie::Code(ResponseCode::ServFail))
        .lie("_mta-sts.secure.test.", RecordType::TXT, Lie::Code(ResponseCode::Refused))
        .lie("_smtp._tls.secure.test.", RecordType::TXT, Lie::Garbage)
        // One family is enough, and none is not.
        .lie("mx1.secure.test.", RecordType::AAAA, Lie::Code(ResponseCode::ServFail))
        .lie("mx.insecure.test.", RecordType::AAAA, Lie::Code(ResponseCode::ServFail))
        .lie("nothing.secure.test.", RecordType::AAAA, Lie::Code(ResponseCode::ServFail))
        // The keys of a zone: an outage, not an attack.
        .lie("sub.secure.test.", RecordType::DNSKEY, Lie::Code(ResponseCode::ServFail));
    let (_server, dns) = start(world).await;
    for request in [
        Request::Mx(domain("secure.test")),
        Request::MtaSts(domain("secure.test")),
        Request::TlsReporting(domain("secure.test")),
        addresses("nothing.secure.test"),
        addresses("host.sub.secure.test"),
    ] {
        assert_eq!(dns.answer(request.clone()).await, Response::Unavailable, "{request:?}");
    }
    assert_eq!(found(dns.answer(addresses("mx1.secure.test")).await), expect(true, None, &["192.0.2.1"]));
    assert_eq!(found(dns.answer(addresses("mx.insecure.test")).await), expect(false, None, &["192.0.2.5"]));
}

#[tokio::test]
async fn a_dead_server_ends_with_the_time_limit_and_a_failing_one_with_the_next() {
    let mut world = world();
    world.lie("secure.test.", RecordType::MX, Lie::Silence);
    let anchor = world.anchor();
    let server = Server::start(world).await;
    let dns = resolver(&anchor, &[server.address]).with_time(Duration::from_millis(200));
    assert_eq!(dns.answer(Request::Mx(domain("secure.test"))).await, Response::Unavailable);

    let mut failing = World::new();
    for (owner, kind) in [(".", RecordType::DNSKEY), ("mx2.secure.test.", RecordType::A), ("mx2.secure.test.", RecordType::AAAA)] {
        failing.lie(owner, kind, Lie::Code(ResponseCode::ServFail));
    }
    let failing = Server::start(failing).await;
    let dns = resolver(&anchor, &[failing.address, server.address]);
    assert_eq!(found(dns.answer(addresses("mx2.secure.test")).await), expect(true, None, &["192.0.2.2"]));
    assert!(failing.total() > 0);
    // No server at all.
    assert_eq!(resolver(&anchor, &[]).answer(addresses("mx2.secure.test")).await, Response::Unavailable);
}

#[tokio::test]
async fn answers_and_denials_are_remembered() {
    let (server, dns) = start(world()).await;
    let requests = [Request::Mx(domain("secure.test")), tlsa("mx2.secure.test"), addresses("alias.secure.test")];
    let mut first = Vec::new();
    for request in &requests {
        first.push(dns.answer(request.clone()).await);
    }
    let queries = server.total();
    for (request, answer) in requests.iter().zip(&first) {
        assert_eq!(dns.answer(request.clone()).await, *answer);
    }
    assert_eq!(server.total(), queries);
    // What one question found out about zones serves the next.
    dns.answer(tlsa("mx1.secure.test")).await;
    assert_eq!(server.count(".", RecordType::DNSKEY), 1);
    assert_eq!(server.count("secure.test.", RecordType::DNSKEY), 1);
    assert_eq!(server.count("secure.test.", RecordType::DS), 1);
}

#[tokio::test]
async fn huge_answers_are_cut_to_what_the_edge_carries() {
    let mut world = world();
    for n in 0..100 {
        world.mx("many.secure.test.", 100 - n, &format!("mx{n}.secure.test."));
        world.text("_mta-sts.many.secure.test.", &[&"x".repeat(200), &n.to_string()]);
    }
    world.text("_mta-sts.many.secure.test.", &["v=STSv1; id=1;"]);
    for n in 0..12u8 {
        world.tlsa("_25._tcp.many.secure.test.", &[n; 5_000]);
    }
    for n in 0..250u8 {
        world.address("too-many.secure.test.", &format!("192.0.2.{n}"));
    }
    let (server, dns) = start(world).await;
    let (secure, _, mx) = found(dns.answer(Request::Mx(domain("many.secure.test"))).await);
    assert!(secure && mx.len() == 64 && mx[0] == "1 mx99.secure.test", "{mx:?}");
    assert!(server.by_tcp("many.secure.test."));
    let (_, _, texts) = found(dns.answer(Request::MtaSts(domain("many.secure.test"))).await);
    assert!(texts.len() == 16 && texts[0] == "v=STSv1; id=1;");
    let answer = dns.answer(tlsa("many.secure.test")).await;
    assert!(wire::encode(&answer).unwrap().len() < 64 * 1024);
    assert_eq!(found(answer).2.len(), 9);
    // More records than are looked at.
    assert_eq!(dns.answer(addresses("too-many.secure.test")).await, Response::Unavailable);
}

#[tokio::test]
async fn names_that_nobody_has_are_not_asked_for() {
    let (server, dns) = start(world()).await;
    let long = vec!["a".repeat(62); 4].join(".");
    for request in [addresses("localhost"), addresses("x.localhost"), Request::Mx(domain("a.invalid")), addresses("x.onion")] {
        assert_eq!(dns.answer(request).await, none(true, true));
    }
    assert_eq!(dns.answer(tlsa(&long)).await, none(true, true));
    assert_eq!(dns.answer(Request::Mx(domain("[192.0.2.1]"))).await, none(true, true));
    assert_eq!(server.total(), 0);
}

#[tokio::test]
async fn hosts_that_are_no_host_names_are_left_out() {
    let mut world = world();
    world
        .add("odd.secure.test.", RData::MX(MX::new(10, Name::from_labels([&b"bad host"[..], b"secure", b"test"]).unwrap())))
        .mx("odd.secure.test.", 20, "192.0.2.1.")
        .mx("odd.secure.test.", 30, ".")
        .mx("odd.secure.test.", 40, "mx1.secure.test.")
        .mx("only-odd.secure.test.", 10, "192.0.2.1.");
    let (_server, dns) = start(world).await;
    assert_eq!(found(dns.answer(Request::Mx(domain("odd.secure.test"))).await), expect(true, None, &["40 mx1.secure.test"]));
    // There are records, none of them of use: that is not the same as none.
    assert_eq!(found(dns.answer(Request::Mx(domain("only-odd.secure.test"))).await), expect(true, None, &[]));
}

#[tokio::test]
async fn other_servers_can_take_over() {
    let world = world();
    let anchor = world.anchor();
    let server = Server::start(world).await;
    let dead = Server::start({
        let mut dead = World::new();
        dead.lie(".", RecordType::DNSKEY, Lie::Code(ResponseCode::ServFail)).lie(".", RecordType::SOA, Lie::Code(ResponseCode::ServFail));
        dead
    })
    .await;
    let dns = resolver(&anchor, &[dead.address]);
    assert!(!dns.validates().await);
    dns.replace_servers(&[server.address]);
    assert!(dns.validates().await);
}

/// What scan asks: texts as they are, hosts, addresses, the names of an address; bogus is no answer and no denial.
#[tokio::test]
async fn questions_about_origins() {
    use wire::edge::dns_scan::{MAX_TEXT, MAX_TEXTS, Request, Response};
    let mut world = world();
    world.text("secure.test.", &["other"]).text("secure.test.", &["v=spf1 ", "mx\t-all"]).text("alias-of-text.secure.test.", &["x"]);
    for number in 0..MAX_TEXTS {
        world.text("many.secure.test.", &[&format!("noise {number}")]);
    }
    let part = "x".repeat(250);
    world.text("odd.secure.test.", &["v=spf1 \u{1}all"]);
    world.text("long.secure.test.", &[&["v=spf1 "][..], &[part.as_str(); 17][..]].concat());
    world.text("many.secure.test.", &["v=spf1 -all"]).text("bogus.secure.test.", &["v=spf1 +all"]);
    world.spoil("bogus.secure.test.", RecordType::TXT, Spoiled::Unsigned);
    world.zone("in-addr.arpa.", false);
    let host = hickory_resolver::proto::rr::rdata::PTR(name("MX1.secure.test."));
    world.add("1.2.0.192.in-addr.arpa.", RData::PTR(host));
    let (_server, dns) = start(world).await;
    let texts = async |of: &str| match dns.origin(Request::Texts(domain(of).into())).await {
        Response::Texts(list) => list.iter().map(|t| t.as_str().to_owned()).collect::<Vec<_>>(),
        other => vec![format!("{other:?}")],
    };
    assert_eq!(texts("secure.test").await, ["v=spf1 mx -all", "other"]);
    let many = texts("many.secure.test").await;
    assert_eq!((many.len(), many[0].as_str()), (MAX_TEXTS, "v=spf1 -all"));
    assert_eq!(texts("bogus.secure.test").await, ["Unavailable"]);
    // RFC 2181 11: a name need not be a host's.
    let wide = dns.origin(Request::Texts(QueryName::parse("a+b=c/d:e f.secure.test").unwrap())).await;
    assert_eq!(wide, Response::Nothing);
    // RFC 7208 4.6: what is no text is there, and cannot be understood.
    assert_eq!(texts("odd.secure.test").await, ["v=spf1 \u{fffd}all"]);
    let long = texts("long.secure.test").await.remove(0);
    assert!(long.len() <= MAX_TEXT && long.starts_with("v=spf1 xx") && long.ends_with("x\u{fffd}"));
    assert_eq!(texts("nothing.secure.test").await, ["Nothing"]);
    let Response::Exchanges(hosts) = dns.origin(Request::Exchanges(domain("secure.test").into())).await else { panic!() };
    assert_eq!(hosts.iter().map(Domain::as_str).collect::<Vec<_>>(), ["mx1.secure.test", "mx2.secure.test"]);
    assert_eq!(dns.origin(Request::Exchanges(domain("null.secure.test").into())).await, Response::Nothing);
    for (request, family) in [(Request::Ipv4 as fn(QueryName) -> Request, true), (Request::Ipv6, false)] {
        let Response::Addresses(list) = dns.origin(request(domain("alias.secure.test").into())).await else { panic!() };
        assert!(list.len() == 1 && list[0].is_ipv4() == family);
    }
    let Response::Names(names) = dns.origin(Request::Names("192.0.2.1".parse().unwrap())).await else { panic!() };
    assert_eq!(names.iter().map(Domain::as_str).collect::<Vec<_>>(), ["mx1.secure.test"]);
    assert_eq!(dns.origin(Request::Names("192.0.2.9".parse().unwrap())).await, Response::Nothing);
}
