//! Where a stranger's message is from: what is refused for it, what is written about it, what is passed on with it.
#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod world;

use pure_addr::Domain;
use pure_index::{
    Span,
    judgement::{Alignment, Arc, ArcResult, Dmarc, DmarcPolicy, DmarcResult, Judgement, Seal},
};
use wire::edge::{
    keys_dkim::SealedSet,
    mail::{Reason, Submitted},
};
use world::{MESSAGE, World, envelope};

fn judged(author: &str, result: DmarcResult, policy: DmarcPolicy, alignment: Alignment) -> Judgement {
    let author = Some(Domain::parse(author).unwrap());
    Judgement { dmarc: Dmarc { result, policy, alignment, author }, ..Judgement::default() }
}

/// Attack case RLY-04.
#[tokio::test]
async fn our_own_name_must_be_proven() {
    let world = World::new();
    let life = world.start(&world.state("life"));
    let spoofed = judged("mta.test", DmarcResult::None, DmarcPolicy::None, Alignment::NotAligned);
    *world.scan.judgement.lock().unwrap() = spoofed.clone();
    let submit = envelope("x@remote.test", &["alice@mta.test"]);
    assert_eq!(life.submit(submit.clone(), MESSAGE).await, Submitted::Rejected(Reason::Unauthenticated));
    // Without the directory nobody knows whose name it is.
    *world.directory.failing.lock().unwrap() = true;
    assert_eq!(life.submit(submit.clone(), MESSAGE).await, Submitted::Deferred);
    *world.directory.failing.lock().unwrap() = false;
    *world.scan.judgement.lock().unwrap() =
        Judgement { dmarc: Dmarc { alignment: Alignment::Unknown, ..spoofed.dmarc.clone() }, ..spoofed.clone() };
    // Whoever can make names slow gets nothing by it: who is really one of us comes again.
    assert_eq!(life.submit(submit.clone(), MESSAGE).await, Submitted::Deferred);
    for below in ["x.mta.test", "a.b.mta.test"] {
        *world.scan.judgement.lock().unwrap() = judged(below, DmarcResult::Fail, DmarcPolicy::Quarantine, Alignment::NotAligned);
        assert_eq!(life.submit(submit.clone(), MESSAGE).await, Submitted::Rejected(Reason::Unauthenticated), "{below}");
    }
    *world.scan.judgement.lock().unwrap() = judged("remote.test", DmarcResult::Fail, DmarcPolicy::Reject, Alignment::NotAligned);
    assert_eq!(life.submit(submit.clone(), MESSAGE).await, Submitted::Rejected(Reason::Policy));
    *world.scan.judgement.lock().unwrap() = judged("remote.test", DmarcResult::Fail, DmarcPolicy::None, Alignment::NotAligned);
    assert!(matches!(life.submit(submit, MESSAGE).await, Submitted::Accepted(_)));
    world.store.holds(1).await;
    let connection = world.scan.connections.lock().unwrap()[0].clone();
    assert_eq!((connection.peer.to_string(), connection.helo.as_str()), ("192.0.2.7".to_owned(), "client.remote.test"));
    life.stop();
}

/// The results stand above what they are about, what claimed to be them is gone, and suspicious mail is told apart.
#[tokio::test]
async fn results_are_written_and_forged_ones_taken_out() {
    let world = World::new();
    let life = world.start(&world.state("life"));
    let message = b"Authentication-Results: mail.mta.test; dmarc=pass\r\nFrom: x@remote.test\r\n\r\nHello.\r\n";
    let mut judgement = judged("remote.test", DmarcResult::Fail, DmarcPolicy::Quarantine, Alignment::NotAligned);
    judgement.forged = vec![Span { start: 0, end: 51 }];
    *world.scan.judgement.lock().unwrap() = judgement.clone();
    assert!(matches!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), message).await, Submitted::Accepted(_)));
    world.store.holds(1).await;
    let stored = world.store.all().remove(0);
    let text = String::from_utf8(stored.text).unwrap();
    let ours = "Delivered-To: alice@mta.test\r\nAuthentication-Results: mail.mta.test;\r\n\tspf=none;\r\n\tdkim=none;\r\n\t\
        dmarc=fail (p=quarantine) header.from=remote.test;\r\n\tarc=none\r\nReceived: ";
    assert!(text.contains(ours) && !text.contains("dmarc=pass") && text.ends_with("From: x@remote.test\r\n\r\nHello.\r\n"), "{text}");
    assert_eq!(stored.mailbox, "Junk");
    // A scan that would have something else taken out is not believed (case IPC-06).
    judgement.forged = vec![Span { start: 51, end: 72 }];
    *world.scan.judgement.lock().unwrap() = judgement.clone();
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), message).await, Submitted::Deferred);
    judgement.forged = vec![Span { start: 0, end: 60 }];
    *world.scan.judgement.lock().unwrap() = judgement;
    assert_eq!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), message).await, Submitted::Deferred);
    life.stop();
}

/// Attack case RLY-04: an alias that leads elsewhere makes nobody's name ours. Nobody is dropped in silence for it: the whole message is
/// refused, and its sender knows.
#[tokio::test]
async fn what_is_not_proven_is_not_passed_on() {
    let world = World::new();
    let mut options = world.options(&world.state("life"));
    options.settings.mx.accept_own_unauthenticated = true;
    let life = world::Life::start(options);
    let to_all = envelope("x@remote.test", &["alice@mta.test", "team@mta.test"]);
    let refused = Submitted::Rejected(Reason::NotPassedOn);
    for judgement in [
        judged("mta.test", DmarcResult::Fail, DmarcPolicy::Reject, Alignment::NotAligned),
        judged("x.mta.test", DmarcResult::TempError, DmarcPolicy::Reject, Alignment::Unknown),
        judged("remote.test", DmarcResult::Fail, DmarcPolicy::Quarantine, Alignment::NotAligned),
        judged("test", DmarcResult::None, DmarcPolicy::None, Alignment::NotAligned),
        Judgement::default(),
    ] {
        *world.scan.judgement.lock().unwrap() = judgement;
        assert_eq!(life.submit(to_all.clone(), MESSAGE).await, refused);
    }
    // Those who are here get it.
    *world.scan.judgement.lock().unwrap() = judged("mta.test", DmarcResult::Fail, DmarcPolicy::Reject, Alignment::NotAligned);
    assert!(matches!(life.submit(envelope("x@remote.test", &["alice@mta.test"]), MESSAGE).await, Submitted::Accepted(_)));
    world.store.holds(1).await;
    assert_eq!(world.store.all()[0].mailbox, "INBOX");
    // Who cannot be made out, and who names nobody.
    *world.scan.judgement.lock().unwrap() = judged("remote.test", DmarcResult::PermError, DmarcPolicy::None, Alignment::NotAligned);
    assert_eq!(life.submit(to_all, MESSAGE).await, Submitted::Rejected(Reason::Unauthenticated));
    *world.scan.judgement.lock().unwrap() = Judgement::default();
    assert!(matches!(life.submit(envelope("x@remote.test", &["bob@mta.test"]), MESSAGE).await, Submitted::Accepted(_)));
    world.store.holds(2).await;
    assert_eq!(world.store.all()[1].mailbox, "Junk");
    assert!(world.send.leases.lock().unwrap().is_empty());
    life.stop();
}

/// RFC 8601 5: nor does an account write results for its neighbours.
#[tokio::test]
async fn what_an_account_says_was_found_here_is_taken_out() {
    let world = World::new();
    let life = world.start(&world.state("life"));
    let mut alice = life.login(world::owner(1, "alice@mta.test")).await.unwrap();
    for (results, body) in [("Authentication-Results: mail.mta.test; dmarc=pass\r\n", "small"), ("AUTHENTICATION-results: x\r\n", "large")]
    {
        let body = if body == "large" { "x\r\n".repeat(100_000) } else { "Hello.\r\n".to_owned() };
        let rest = format!("From: alice@mta.test\r\nSubject: hello\r\n\r\n{body}");
        let submitted = alice.submit_whole(envelope("alice@mta.test", &["bob@mta.test"]), format!("{results}{rest}").as_bytes()).await;
        assert!(matches!(submitted, Submitted::Accepted(_)));
        world.store.holds(1).await;
        let stored = std::mem::take(&mut *world.store.stored.lock().unwrap()).into_values().next().unwrap();
        world.store.changed.send_replace(0);
        let text = String::from_utf8(stored.text).unwrap();
        assert!(text.ends_with(&rest) && !text.to_lowercase().contains("authentication-results"), "{}", results);
        let fields = &stored.index.structure.root().unwrap().fields;
        assert!(fields.iter().any(|f| &text.as_bytes()[f.span.start as usize..f.span.end as usize] == b"Subject: hello\r\n"));
    }
    life.stop();
}

/// RFC 8617 5.1: what an alias passes on has the next seal, unless nothing can be said.
#[tokio::test]
async fn what_is_passed_on_is_sealed() {
    let set = || SealedSet { results: b"i=1; x".to_vec().into(), message: b"i=1".to_vec().into(), seal: b"i=1".to_vec().into() };
    let seal = Seal { domain: Domain::parse("x.test").unwrap(), passed: true };
    for (result, instance, sets, expected) in [
        (ArcResult::None, None, vec![], Some("ARC-Seal: i=1; d=mta.test; h=mail.mta.test\r\nDelivered-To: team@mta.test\r\n")),
        (ArcResult::Pass, Some(1), vec![set()], Some("ARC-Seal: i=2; d=mta.test;")),
        (ArcResult::Fail, Some(1), vec![set()], Some("ARC-Seal: i=2; d=mta.test;")),
        (ArcResult::Fail, None, vec![set()], None),
        (ArcResult::TempError, Some(1), vec![set()], None),
        (ArcResult::Pass, Some(50), vec![set()], None),
        // Of a message that has other sets now than it had, nothing can be said.
        (ArcResult::Pass, Some(2), vec![set()], None),
    ] {
        let world = World::new();
        let life = world.start(&world.state("life"));
        let mut judgement = judged("remote.test", DmarcResult::None, DmarcPolicy::None, Alignment::NotAligned);
        judgement.arc = Arc { result, instance, seals: vec![seal.clone()] };
        *world.scan.judgement.lock().unwrap() = judgement;
        *world.scan.sets.lock().unwrap() = sets;
        assert!(matches!(life.submit(envelope("x@remote.test", &["team@mta.test"]), MESSAGE).await, Submitted::Accepted(_)));
        world::soon("a lease", world.send.answered.subscribe().wait_for(|n| *n > 0)).await.unwrap();
        let text = world.send.leases.lock().unwrap()[0].1.clone();
        match expected {
            Some(expected) => assert!(text.starts_with(expected), "{text}"),
            None => assert!(!text.contains("ARC-Seal"), "{text}"),
        }
        life.stop();
    }
}
