//! TLS policies against scripted hosts: what must be protected is, or it waits.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic in a test is its report")]

mod world;

use pure_config::{SmarthostName, SmarthostTls};
use pure_tlspolicy::Override;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use wire::edge::{
    send_deliver::{Lease, Report, Route, TlsFailure, TlsPolicy},
    send_names,
};
use world::*;

const HOST: &str = "mx.remote.test";

/// A host with a certificate for this name.
async fn host(identity: &Identity, extensions: &'static str) -> Host {
    Host::start(any_port(), extensions, Some(identity.server.clone()), false, well_behaved()).await
}

fn reported(report: &Report) -> Vec<(TlsPolicy, Option<TlsFailure>)> {
    report.tls.iter().map(|result| (result.policy, result.failure)).collect()
}

#[tokio::test]
async fn tls_is_used_where_it_is_offered() {
    let authority = Authority::new();
    let identity = authority.identity("someone.else.test");
    let host = host(&identity, "PIPELINING").await;
    let world = World::remote(settings(host.address.port()), &host, false);
    let report = world.send(&["a@remote.test"]).await;
    assert_eq!((outcomes(&report), host.seen(|s| s.messages[0].1)), (vec!["D 2.0.0".to_owned()], true));
    assert_eq!(trace(&report).remote.as_ref().unwrap().tls.as_ref().unwrap().version.as_str(), "TLS1.3");
    assert_eq!(reported(&report), [(TlsPolicy::None, None)]);
    // EHLO again within TLS (RFC 3207 4.2).
    assert_eq!(host.seen(|s| s.lines.iter().filter(|l| l.starts_with("EHLO")).count()), 2);
}

#[tokio::test]
async fn a_broken_handshake_goes_on_in_clear_text_only_by_chance() {
    // STARTTLS is answered with 220, and then comes no TLS.
    let list = answers(&[("STARTTLS", "220 go\r\n")]);
    let broken = Host::start(any_port(), "STARTTLS", None, false, list).await;
    let report = World::remote(settings(broken.address.port()), &broken, false).send(&["a@remote.test"]).await;
    // Clear text behind 220 is an attack, not a broken handshake.
    assert!(outcomes(&report)[0].starts_with("t 4.7.0"), "{report:?}");
    let broken = Host::start(any_port(), "STARTTLS", None, false, answers(&[("STARTTLS", "220 go")])).await;
    let report = World::remote(settings(broken.address.port()), &broken, false).send(&["a@remote.test"]).await;
    assert_eq!(outcomes(&report), ["D 2.0.0"], "{report:?}");
    assert_eq!(broken.seen(|s| (s.connections, s.messages[0].1)), (2, false));
    assert_eq!(reported(&report)[0], (TlsPolicy::None, Some(TlsFailure::ValidationFailure)));

    let mut strict = settings(broken.address.port());
    strict.destinations.insert(domain("remote.test"), Override::Encrypt);
    let report = World::remote(strict, &broken, false).send(&["a@remote.test"]).await;
    assert_eq!((outcomes(&report), broken.count()), (vec!["t 4.7.5".to_owned()], 1));
}

#[tokio::test]
async fn what_is_declared_is_kept() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (right, wrong) = (authority.identity(HOST), authority.identity("other.test"));
    let fingerprint: [u8; 32] = Sha256::digest(&right.certificate).into();
    for (level, identity, roots, expected) in [
        (Override::Verify, &right, &authority, "D 2.0.0"),
        (Override::Verify, &wrong, &authority, "t 4.7.5"),
        (Override::Verify, &right, &other, "t 4.7.5"),
        (Override::Encrypt, &wrong, &other, "D 2.0.0"),
        (Override::Fingerprint(vec![[0; 32], fingerprint]), &right, &other, "D 2.0.0"),
        (Override::Fingerprint(vec![[0; 32]]), &right, &authority, "t 4.7.5"),
        (Override::DaneOnly, &right, &authority, "t 4.7.0"),
        (Override::None, &right, &authority, "D 2.0.0"),
    ] {
        let host = host(identity, "").await;
        let mut given = settings(host.address.port());
        given.roots = roots.roots();
        given.destinations.insert(domain("remote.test"), level.clone());
        let report = World::remote(given, &host, false).send(&["a@remote.test"]).await;
        assert_eq!(outcomes(&report), [expected], "{level:?} {report:?}");
        if expected.starts_with('D') {
            assert_eq!(host.seen(|s| s.messages[0].1), level != Override::None);
        } else {
            assert_eq!(host.count(), 0);
        }
    }
}

#[tokio::test]
async fn starttls_that_was_stripped_defers() {
    for level in [Override::Encrypt, Override::Verify] {
        let stripped = Host::start(any_port(), "PIPELINING", None, false, well_behaved()).await;
        let mut given = settings(stripped.address.port());
        given.destinations.insert(domain("remote.test"), level);
        let report = World::remote(given, &stripped, false).send(&["a@remote.test"]).await;
        assert_eq!((outcomes(&report), stripped.count()), (vec!["t 4.7.4".to_owned()], 0));
        assert_eq!(reported(&report), [(TlsPolicy::None, Some(TlsFailure::StartTlsNotSupported))]);
    }
    let stripped = Host::start(any_port(), "PIPELINING", None, false, well_behaved()).await;
    let world = World::remote(settings(stripped.address.port()), &stripped, true);
    world.dns.found(send_names::Request::Tlsa { port: stripped.address.port(), host: domain(HOST) }, true, tlsa(3, 1, b"x"));
    let report = world.send(&["a@remote.test"]).await;
    assert_eq!((outcomes(&report), stripped.count()), (vec!["t 4.7.4".to_owned()], 0));
    assert_eq!(reported(&report), [(TlsPolicy::Dane, Some(TlsFailure::StartTlsNotSupported))]);
}

#[tokio::test]
async fn dane_decides_what_a_certificate_is_worth() {
    let authority = Authority::new();
    let (right, wrong) = (authority.identity(HOST), authority.identity("other.test"));
    for (records, identity, expected) in [
        // DANE-EE: neither name nor authority matter.
        (tlsa(3, 1, &wrong.key), &wrong, "D 2.0.0"),
        (tlsa(3, 0, &right.certificate), &right, "D 2.0.0"),
        (tlsa(3, 1, &wrong.key), &right, "t 4.7.5"),
        // DANE-TA: both do.
        (tlsa(2, 0, &right.authority), &right, "D 2.0.0"),
        (tlsa(2, 0, &right.authority), &wrong, "t 4.7.5"),
        (tlsa(2, 0, &right.certificate), &right, "t 4.7.5"),
        // Unusable: TLS, but whoever it is.
        (tlsa(1, 1, &wrong.key), &right, "D 2.0.0"),
    ] {
        let host = host(identity, "").await;
        let world = World::remote(settings(host.address.port()), &host, true);
        world.dns.found(send_names::Request::Tlsa { port: host.address.port(), host: domain(HOST) }, true, records.clone());
        let report = world.send(&["a@remote.test"]).await;
        assert_eq!(outcomes(&report), [expected], "{records:?} {report:?}");
        assert!(host.seen(|s| s.messages.iter().all(|m| m.1)));
        assert_eq!((report.tls[0].policy, report.tls[0].failure.is_none()), (TlsPolicy::Dane, expected.starts_with('D')));
        assert!(report.tls[0].policy_text[0].as_str().len() > 64);
    }
}

#[tokio::test]
async fn bogus_answers_defer_and_insecure_ones_are_no_dane() {
    let identity = Authority::new().identity(HOST);
    let host = host(&identity, "").await;
    let question = || send_names::Request::Tlsa { port: host.address.port(), host: domain(HOST) };
    for bad in [send_names::Response::Bogus, send_names::Response::Unavailable] {
        let world = World::remote(settings(host.address.port()), &host, true);
        world.dns.say(question(), bad.clone());
        let report = world.send(&["a@remote.test"]).await;
        assert_eq!((outcomes(&report), host.count()), (vec!["t 4.7.0".to_owned()], 0));
        let bogus = bad == send_names::Response::Bogus;
        assert_eq!(reported(&report), if bogus { vec![(TlsPolicy::Dane, Some(TlsFailure::DnssecInvalid))] } else { vec![] });
    }
    let world = World::remote(settings(host.address.port()), &host, true);
    world.dns.say(send_names::Request::Addresses(domain(HOST)), send_names::Response::Bogus);
    assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["t 4.7.0"]);
    // MX or records without signatures do not make DANE.
    let world = World::remote(settings(host.address.port()), &host, false);
    world.dns.found(question(), true, tlsa(3, 1, b"other"));
    assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["D 2.0.0"]);
    let world = World::remote(settings(host.address.port()), &host, true);
    world.dns.found(question(), false, tlsa(3, 1, b"other"));
    assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["D 2.0.0"]);
}

/// remote.test with a policy at its HTTPS server.
async fn with_sts(authority: &Authority, mail: &Identity, web: &str, answer: String) -> (Host, World, Arc<std::sync::Mutex<Vec<String>>>) {
    let host = host(mail, "").await;
    let (port, requests) = https(&authority.identity(web), loopback(1), answer).await;
    let mut given = settings(host.address.port());
    given.roots = authority.roots();
    given.reach.https = port;
    let world = World::remote(given, &host, false);
    world.dns.address("mta-sts.remote.test", false, loopback(1));
    world.dns.text(send_names::Request::MtaSts(domain("remote.test")), "v=STSv1; id=1;");
    (host, world, requests)
}

fn policy(mode: &str, mx: &str) -> String {
    let body = format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n");
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn an_mta_sts_policy_is_enforced() {
    let authority = Authority::new();
    let (right, wrong) = (authority.identity(HOST), authority.identity("other.test"));
    let web = "mta-sts.remote.test";
    for (mode, mx, identity, expected, failure) in [
        ("enforce", "*.remote.test", &right, "D 2.0.0", None),
        ("enforce", HOST, &wrong, "t 4.7.5", Some(TlsFailure::CertificateHostMismatch)),
        ("enforce", "other.test", &right, "t 4.7.0", Some(TlsFailure::ValidationFailure)),
        ("testing", HOST, &wrong, "D 2.0.0", Some(TlsFailure::CertificateHostMismatch)),
    ] {
        let (host, world, requests) = with_sts(&authority, identity, web, policy(mode, mx)).await;
        for _ in 0..2 {
            let report = world.send(&["a@remote.test"]).await;
            assert_eq!(outcomes(&report), [expected], "{mode} {mx} {report:?}");
            assert_eq!(reported(&report), [(TlsPolicy::MtaSts, failure)]);
        }
        assert_eq!(host.count(), if expected.starts_with('D') { 2 } else { 0 });
        // Fetched once; a new id asks again; without the record the policy still holds.
        assert_eq!(requests.lock().unwrap().len(), 1);
        assert!(requests.lock().unwrap()[0].starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.remote.test\r\n"));
        world.dns.text(send_names::Request::MtaSts(domain("remote.test")), "v=STSv1; id=2;");
        assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), [expected]);
        assert_eq!(requests.lock().unwrap().len(), 2);
        world.dns.say(send_names::Request::MtaSts(domain("remote.test")), send_names::Response::None { secure: false, no_name: true });
        assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), [expected]);
        world.dns.say(send_names::Request::MtaSts(domain("remote.test")), send_names::Response::Bogus);
        assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), [expected]);
        assert_eq!(requests.lock().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_policy_that_cannot_be_had_is_reported() {
    let authority = Authority::new();
    let mail = authority.identity("other.test");
    for (web, answer, failure) in [
        ("wrong.test", policy("enforce", HOST), TlsFailure::StsWebpkiInvalid),
        (
            "mta-sts.remote.test",
            "HTTP/1.1 302 Found\r\nLocation: https://mta-sts.remote.test/\r\n\r\n".into(),
            TlsFailure::StsPolicyFetchError,
        ),
        ("mta-sts.remote.test", policy("enforced", HOST), TlsFailure::StsPolicyInvalid),
    ] {
        let (host, world, requests) = with_sts(&authority, &mail, web, answer).await;
        for expected in [failure, TlsFailure::StsPolicyFetchError] {
            let report = world.send(&["a@remote.test"]).await;
            assert_eq!(outcomes(&report), ["D 2.0.0"]);
            assert_eq!(reported(&report), [(TlsPolicy::MtaSts, Some(expected)), (TlsPolicy::None, None)]);
        }
        // A failure is remembered for a while.
        assert_eq!(host.count(), 2);
        assert!(requests.lock().unwrap().len() <= 1);
    }
    // Whether there is one cannot be known: it waits.
    let (host, world, _) = with_sts(&authority, &mail, "mta-sts.remote.test", policy("enforce", HOST)).await;
    world.dns.say(send_names::Request::MtaSts(domain("remote.test")), send_names::Response::Bogus);
    assert_eq!((outcomes(&world.send(&["a@remote.test"]).await), host.count()), (vec!["t 4.4.3".to_owned()], 0));
}

/// Attack case SSRF-02: whatever a policy's server sends later, the policy that was fetched holds; and none makes the fetch long or large.
#[tokio::test]
async fn a_remembered_policy_outlives_a_hostile_server() {
    let authority = Authority::new();
    let (web, wrong) = (authority.identity("mta-sts.remote.test"), authority.identity("wrong.test"));
    // Clear text is all this host has: the policy forbids to use it.
    let host = Host::start(any_port(), "", None, false, well_behaved()).await;
    let good = Page { server: web.server.clone(), answer: policy("enforce", HOST).into_bytes(), then: Then::Close };
    let page = Arc::new(std::sync::Mutex::new(good.clone()));
    let (port, requests) = https_page(page.clone(), loopback(1)).await;
    let mut given = settings(host.address.port());
    given.roots = authority.roots();
    given.reach.https = port;
    given.limits.fetch = std::time::Duration::from_secs(3);
    let world = World::remote(given, &host, false);
    world.dns.address("mta-sts.remote.test", false, loopback(1));
    world.dns.text(send_names::Request::MtaSts(domain("remote.test")), "v=STSv1; id=0;");
    assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["t 4.7.4"]);

    let body = |text: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let none = "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n";
    let with = |answer: String, then| Page { server: web.server.clone(), answer: answer.into_bytes(), then };
    let pages = [
        with("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10000000000\r\n\r\n".into(), Then::Flood),
        with("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n2540be400\r\n".into(), Then::Flood),
        with("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n".into(), Then::Flood),
        with("HTTP/1.1 200 OK\r\n".into(), Then::Flood),
        // One of them lasts as long as it is let.
        with("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\nversion".into(), Then::Silence),
        with(
            format!("HTTP/1.1 302 Found\r\nLocation: https://mta-sts.remote.test/\r\nContent-Type: text/plain\r\n\r\n{none}"),
            Then::Close,
        ),
        with(body("version: STSv1\r\nmode: enforce\r\nmx: *\r\nmax_age: 86400\r\n"), Then::Close),
        with(body("version: STSv1\r\nmode: enforce\r\nmax_age: 86400\r\n"), Then::Close),
        with(body("version: STSv1\r\nmode: none\r\nmax_age: 99999999999999999999\r\n"), Then::Close),
        with(body("version: STSv1\r\nmode: no\0ne\r\nmax_age: 86400\r\n"), Then::Close),
        with(body(none).replace("text/plain", "text/html"), Then::Close),
        Page { server: wrong.server.clone(), ..with(body(none), Then::Close) },
    ];
    for (id, hostile) in (1..).zip(pages) {
        let shown = String::from_utf8_lossy(&hostile.answer).into_owned();
        *page.lock().unwrap() = hostile;
        world.dns.text(send_names::Request::MtaSts(domain("remote.test")), &format!("v=STSv1; id={id};"));
        let report = world.send(&["a@remote.test"]).await;
        assert_eq!(outcomes(&report), ["t 4.7.4"], "{shown:?}");
        assert_eq!(report.tls.last().unwrap().policy, TlsPolicy::MtaSts, "{shown:?}");
    }
    assert_eq!(host.count(), 0);
    assert!(requests.lock().unwrap().len() >= 12);
    // One that is good again is taken over.
    *page.lock().unwrap() = with(body(none), Then::Close);
    world.dns.text(send_names::Request::MtaSts(domain("remote.test")), "v=STSv1; id=good;");
    assert_eq!(outcomes(&world.send(&["a@remote.test"]).await), ["D 2.0.0"]);
}

#[tokio::test]
async fn require_tls_is_required() {
    let authority = Authority::new();
    let identity = authority.identity(HOST);
    for (extensions, secure, expected) in [("REQUIRETLS", true, "D 2.0.0"), ("", true, "F 5.7.30"), ("REQUIRETLS", false, "F 5.7.30")] {
        let host = host(&identity, extensions).await;
        let mut given = settings(host.address.port());
        given.roots = authority.roots();
        let world = World::remote(given, &host, secure);
        let mut lease = lease("remote.test", &["a@remote.test"]);
        lease.require_tls = true;
        let report = world.deliver(lease, b"x\r\n").await;
        assert_eq!(outcomes(&report), [expected], "{report:?}");
        assert_eq!(host.said("MAIL FROM:<alice@mta.test> REQUIRETLS"), expected.starts_with('D'));
    }
}

/// RFC 8689 3: better in clear text than not at all, unless what is declared here or REQUIRETLS says otherwise.
#[tokio::test]
async fn tls_is_not_required_by_whoever_says_so() {
    let host = Host::start(any_port(), "", None, false, well_behaved()).await;
    let with = |tls_optional, declared: Option<Override>| {
        let mut given = settings(host.address.port());
        given.destinations.extend(declared.map(|level| (domain("remote.test"), level)));
        let world = World::remote(given, &host, true);
        world.dns.found(
            send_names::Request::Tlsa { port: host.address.port(), host: domain(HOST) },
            true,
            tlsa(3, 1, b"a key that is nobody's"),
        );
        async move { outcomes(&world.deliver(Lease { tls_optional, ..lease("remote.test", &["a@remote.test"]) }, b"x\r\n").await) }
    };
    assert_eq!(with(false, None).await, ["t 4.7.4"]);
    assert_eq!(with(true, None).await, ["D 2.0.0"]);
    assert_eq!(with(true, Some(Override::DaneOnly)).await, ["t 4.7.4"]);
    assert_eq!(with(true, Some(Override::Encrypt)).await, ["t 4.7.4"]);
}

#[tokio::test]
async fn smarthosts_are_logged_in_to() {
    let authority = Authority::new();
    let (right, wrong) = (authority.identity("smtp.relay.test"), authority.identity("other.test"));
    let no = answers(&[("AUTH", "535 5.7.8 no")]);
    let yes = || answers(&[("AUTH PLAIN AHVzZXIAcGVuY2ls", "235 ok"), ("AUTH", "535 5.7.8 no")]);
    for (tls, identity, list, password, expected) in [
        (SmarthostTls::Implicit, &right, yes(), Some("pencil"), "D 2.0.0"),
        (SmarthostTls::StartTls, &right, yes(), Some("pencil"), "D 2.0.0"),
        (SmarthostTls::StartTls, &right, yes(), Some("wrong"), "t 4.7.8"),
        (SmarthostTls::Implicit, &right, no, Some("pencil"), "t 4.7.8"),
        (SmarthostTls::Implicit, &wrong, yes(), Some("pencil"), "t 4.7.5"),
        (SmarthostTls::StartTls, &wrong, yes(), Some("pencil"), "t 4.7.5"),
        (SmarthostTls::Implicit, &right, yes(), None, "t 4.7.0"),
    ] {
        let implicit = tls == SmarthostTls::Implicit;
        let host = Host::start(any_port(), "AUTH LOGIN PLAIN", Some(identity.server.clone()), implicit, list).await;
        let mut given = settings(1);
        let smarthost = postern_send::Smarthost {
            host: SmarthostName::Name(domain("smtp.relay.test")),
            port: host.address.port(),
            tls,
            user: Some("user".into()),
            password: password.map(|p| Arc::new(pure_sasl::Secret::new(p.as_bytes().to_vec()))),
            roots: authority.roots(),
        };
        given.smarthosts.insert("relay".into(), smarthost);
        given.reach.loopback = false;
        let world = World::new(given);
        world.dns.address("smtp.relay.test", false, loopback(1));
        let by = |name: &str| {
            let route = Route::Smarthost(pure_addr::Text::new(name).unwrap());
            Lease { route, ..lease("remote.test", &["a@remote.test", "b@other.test"]) }
        };
        let report = world.deliver(by("relay"), b"x\r\n").await;
        assert_eq!(outcomes(&report), [expected; 2], "{tls:?} {report:?}");
        assert_eq!(outcomes(&world.deliver(by("other"), b"x\r\n").await), ["t 4.3.5"; 2]);
    }
}
