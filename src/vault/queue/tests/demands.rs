//! What senders ask for on the way, how much they may send, and for how long.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report of a test")]
mod world;

use std::time::Duration;
use wire::edge::{
    mail::{RecipientVerdict, Submitted},
    queue_grant, queue_submit,
};
use world::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

async fn alice(life: &Life) -> Submission {
    life.login(owner(1, "alice@mta.test")).await.unwrap()
}

async fn recipient(session: &mut Submission, to: &str) -> RecipientVerdict {
    match session.call(&queue_submit::Request::Recipient(address(to)), None).await.unwrap() {
        queue_submit::Response::Recipient(verdict) => verdict,
        other => panic!("{other:?}"),
    }
}

/// RFC 8689: what the sender asks for is asked of the next host, and of the report's way back.
#[tokio::test]
async fn require_tls_and_tls_required_no_are_passed_on() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("bad@remote.test", &[refused()]);
    world.directory.own.lock().unwrap().push("alice@elsewhere.test".into());
    let demand = |n: usize| {
        let (lease, _) = world.send.leases.lock().unwrap()[n].clone();
        (lease.reverse_path == pure_addr::ReversePath::Null, lease.require_tls, lease.tls_optional)
    };
    let mut session = alice(&life).await;
    for (require_tls, header, expected) in
        [(false, false, (false, false)), (true, false, (true, false)), (false, true, (false, true)), (true, true, (true, false))]
    {
        let before = world.send.leases.lock().unwrap().len();
        world.scan.identity.lock().unwrap().tls_optional = header;
        let mut envelope = envelope("alice@elsewhere.test", &["bad@remote.test"]);
        envelope.require_tls = require_tls;
        assert!(matches!(session.submit_whole(envelope, b"From: alice@mta.test\r\nX: y\r\n\r\nHello.\r\n").await, Submitted::Accepted(_)));
        life.keeps(0).await;
        // The message, and the report on it, which goes elsewhere too.
        assert_eq!(demand(before), (false, expected.0, expected.1));
        assert_eq!(demand(before + 1), (true, expected.0, expected.1));
        let report = world.send.leases.lock().unwrap()[before + 1].1.clone();
        assert_eq!(report.contains("TLS-Required: No\r\n"), expected.1, "{report}");
        assert_eq!(report.contains("Hello."), !require_tls, "{report}");
    }
}

/// RFC 8689 4.2.1, 5: what another server asks for holds where an alias leads on, for the report that comes back by SRS, and for our own.
#[tokio::test]
async fn require_tls_of_others_is_honoured() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    // One that an alias leads elsewhere, and who takes nothing there.
    world.send.says("carol@remote.test", &[taken(false), refused()]);
    for bad in [false, true] {
        world.send.leases.lock().unwrap().clear();
        let mut given = envelope("x@remote.test", &["team@mta.test"]);
        given.require_tls = true;
        assert!(matches!(life.submit(given, b"From: x@remote.test\r\n\r\nHello.\r\n").await, Submitted::Accepted(_)));
        life.keeps(0).await;
        let (forward, _) = world.send.lease(0);
        assert!(forward.require_tls && forward.reverse_path.to_string().starts_with("<SRS0="), "{forward:?}");
        if bad {
            // Our own report: to the stranger, protected alike, with the header alone.
            let (report, text) = world.send.lease(1);
            assert!(report.require_tls && report.recipients[0].address == address("x@remote.test"));
            assert!(text.contains("From: x@remote.test\r\n") && !text.contains("Hello."), "{text}");
        } else {
            // The remote's.
            let srs = forward.reverse_path.address().unwrap().to_string();
            let mut report = envelope("", &[&srs]);
            report.require_tls = true;
            assert!(matches!(life.submit(report, MESSAGE).await, Submitted::Accepted(_)));
            life.keeps(0).await;
            let (report, _) = world.send.lease(1);
            assert!(report.require_tls && report.recipients[0].address == address("x@remote.test"));
        }
    }
}

/// RCPT is refused already, and counts.
#[tokio::test]
async fn who_has_sent_too_much_hears_of_it_at_rcpt() {
    let world = World::new();
    let state = world.state("a");
    let mut options = world.options(&state);
    options.settings.sending.recipients_per_hour = Some(3);
    let life = Life::start(options.clone());
    let mut session = alice(&life).await;
    let rcpt = async |session: &mut Submission, count: usize| {
        let sender = queue_submit::Request::Sender(envelope("alice@mta.test", &[]).reverse_path);
        assert_eq!(session.call(&sender, None).await.unwrap(), queue_submit::Response::Sender(Some(true)));
        let mut last = RecipientVerdict::Accept;
        for n in 0..count {
            last = recipient(session, &format!("v{n}@remote.test")).await;
        }
        last
    };
    assert_eq!(rcpt(&mut session, 3).await, RecipientVerdict::Accept);
    assert_eq!(rcpt(&mut session, 4).await, RecipientVerdict::RateLimited);
    assert_eq!(rcpt(&mut session, 3).await, RecipientVerdict::Accept);
    session.accepted(&["v@remote.test", "w@remote.test"]).await;
    assert_eq!(rcpt(&mut session, 1).await, RecipientVerdict::Accept);
    assert_eq!(rcpt(&mut session, 2).await, RecipientVerdict::RateLimited);
    // Somebody who is not there is not there.
    assert_eq!(recipient(&mut session, "nobody@mta.test").await, RecipientVerdict::Unknown);
    // An hour later again: the account is held, and two are told.
    world.clock.advance(HOUR + 5 * MINUTE);
    assert_eq!(rcpt(&mut session, 4).await, RecipientVerdict::RateLimited);
    world.store.holds(2).await;
}

/// Auth ends what it had granted for an account, between two requests.
#[tokio::test]
async fn sessions_of_an_account_end_and_no_others() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let (mut gone, mut other) = (alice(&life).await, life.login(owner(2, "bob@mta.test")).await.unwrap());
    assert_eq!(recipient(&mut gone, "x@remote.test").await, RecipientVerdict::Accept);
    let end = queue_grant::Request::End(owner(1, "alice@mta.test").account);
    assert_eq!(life.grant.call(&end, &[]).await.unwrap().body, queue_grant::Response::Ended);
    assert!(gone.call(&queue_submit::Request::Recipient(address("x@remote.test")), None).await.is_err());
    assert_eq!(recipient(&mut other, "x@remote.test").await, RecipientVerdict::Accept);
    assert_eq!(recipient(&mut alice(&life).await, "x@remote.test").await, RecipientVerdict::Accept);
}
