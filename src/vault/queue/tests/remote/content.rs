//! What leaves: signatures, fields, seven bits, the reverse-path of forwarded mail.

use super::{DAY, MINUTE, alice, step, text, world::*};
use wire::edge::{
    mail::{Reason, RecipientVerdict, Submitted},
    queue_inbound,
    send_deliver::Outcome,
};

#[tokio::test]
async fn what_cannot_be_signed_waits_and_what_is_not_ours_is_not_signed() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    *world.keys.unavailable.lock().unwrap() = true;
    let id = alice(&life).await.accepted(&["v@remote.test"]).await;
    life.status(id, "deferred: the message cannot be signed now").await;
    assert!(world.send.leases.lock().unwrap().is_empty());
    *world.keys.unavailable.lock().unwrap() = false;
    step(&world, &life, MINUTE);
    life.keeps(0).await;
    // What scan would have signed is not the author who was admitted.
    *world.scan.from.lock().unwrap() = b"boss@bank.test".to_vec();
    alice(&life).await.accepted(&["w@remote.test"]).await;
    life.keeps(0).await;
    assert!(!world.send.lease(1).1.contains("DKIM-Signature"));
    *world.scan.from.lock().unwrap() = b"alice@mta.test".to_vec();
    // A stranger writes as alice: the alias sends it on, and nobody vouches for it.
    assert!(matches!(
        life.submit(envelope("x@remote.test", &["team@mta.test"]), b"From: alice@mta.test\r\n\r\n").await,
        Submitted::Accepted(_)
    ));
    life.keeps(0).await;
    let (_, text) = world.send.lease(2);
    let sealed = "ARC-Seal: i=1; d=mta.test; h=mail.mta.test\r\nDelivered-To: team@mta.test\r\nReceived: ";
    assert!(!text.contains("DKIM-Signature") && text.starts_with(sealed), "{text}");
}

#[tokio::test]
async fn a_host_without_8bitmime_gets_seven_bits_signed_again() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("v@remote.test", &[Outcome::NeedsSevenBit, taken(false)]);
    world.send.says("w@remote.test", &[Outcome::NeedsSevenBit]);
    alice(&life).await.accepted(&["v@remote.test", "u@remote.test", "w@remote.test"]).await;
    world.store.holds(1).await;
    life.keeps(0).await;
    let ((first, _), (second, text_)) = (world.send.lease(0), world.send.lease(1));
    assert_eq!((first.recipients.len(), second.recipients.len()), (3, 2));
    assert_eq!(second.body, wire::edge::mail::Body::SevenBit);
    assert!(text_.ends_with("(seven bits)\r\n") && text_.starts_with("DKIM-Signature"));
    assert!(text(&world.store.all()[0]).contains("Final-Recipient: rfc822; w@remote.test\r\nAction: failed\r\nStatus: 5.6.3\r\n"));
}

#[tokio::test]
async fn a_client_that_is_hidden() {
    let world = World::new();
    let mut options = world.options(&world.state("a"));
    options.settings.hide_client.insert("alice@mta.test".into(), true);
    let life = Life::start(options);
    let message = b"X-Mailer: Secret 1.0\r\nFrom: alice@mta.test\r\nuser-agent: Secret/2\r\nSubject: s\r\nX-Originating-IP: [192.0.2.7]\r\n\r\nX-Mailer: stays\r\n";
    let submitted = alice(&life).await.submit_whole(envelope("alice@mta.test", &["v@remote.test", "bob@mta.test"]), message).await;
    assert!(matches!(submitted, Submitted::Accepted(_)));
    world.store.holds(1).await;
    life.keeps(0).await;
    let stored = &world.store.all()[0];
    for text in [world.send.lease(0).1, text(stored)] {
        assert!(!text.contains("Secret") && !text.contains("192.0.2.7") && !text.contains("client.remote.test"), "{text}");
        assert!(
            text.ends_with("From: alice@mta.test\r\nSubject: s\r\n\r\nX-Mailer: stays\r\n")
                && text.contains("Received: by mail.mta.test with")
        );
    }
    let root = stored.index.structure.root().unwrap();
    assert_eq!(&stored.text[root.body.start as usize..root.body.end as usize], b"X-Mailer: stays\r\n");
}

#[tokio::test]
async fn fields_that_are_there_are_not_added() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    {
        let mut identity = world.scan.identity.lock().unwrap();
        (identity.has_date, identity.has_message_id) = (true, true);
    }
    alice(&life).await.accepted(&["v@remote.test"]).await;
    life.keeps(0).await;
    let (_, text) = world.send.lease(0);
    assert!(!text.contains("\r\nDate:") && !text.contains("Message-ID:"), "{text}");
}

#[tokio::test]
async fn forwarded_mail_gets_a_reverse_path_of_ours_and_reports_find_their_way_back() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    life.accepted(&["team@mta.test"]).await;
    life.keeps(0).await;
    let (lease, _) = world.send.lease(0);
    let srs = lease.reverse_path.address().unwrap().clone();
    assert!(srs.local.as_str().starts_with("SRS0=") && srs.domain.as_str() == "mta.test", "{srs}");
    assert_eq!(lease.recipients[0].orcpt.as_ref().unwrap().1.as_str(), "team@mta.test");
    // A report comes back to it.
    let srs = srs.to_string();
    assert_eq!(life.verdict(&srs).await, RecipientVerdict::Accept);
    assert!(matches!(life.submit(envelope("", &[&srs]), MESSAGE).await, Submitted::Accepted(_)));
    life.keeps(0).await;
    let (lease, text) = world.send.lease(1);
    assert_eq!((lease.reverse_path.to_string(), lease.recipients[0].address.to_string()), ("<>".into(), "x@remote.test".into()));
    assert!(text.starts_with("Received: "));
    // Only reports do, and only to addresses that we made.
    assert_eq!(life.submit(envelope("spam@evil.test", &[&srs]), MESSAGE).await, Submitted::Rejected(Reason::NoRecipient));
    let request =
        queue_inbound::Request::Recipient { reverse_path: envelope("spam@evil.test", &[]).reverse_path, recipient: address(&srs) };
    let answer = life.inbound.call(&request, &[]).await.unwrap().body;
    assert_eq!(answer, queue_inbound::Response::Recipient(RecipientVerdict::Unknown));
    for forged in
        [srs.replace("=x@", "=victim@"), srs.replace("remote.test", "victim.test"), "SRS0=AAAAAAAAAA=AA=victim.test=v@mta.test".into()]
    {
        assert_eq!(life.verdict(&forged).await, RecipientVerdict::Unknown, "{forged}");
        assert_eq!(life.submit(envelope("", &[&forged]), MESSAGE).await, Submitted::Rejected(Reason::NoRecipient));
    }
    world.clock.advance(30 * DAY);
    assert_eq!(life.verdict(&srs).await, RecipientVerdict::Unknown);
    // What is sent by one of ours keeps its path.
    alice(&life).await.accepted(&["team@mta.test"]).await;
    life.keeps(0).await;
    assert_eq!(world.send.lease(2).0.reverse_path.to_string(), "<alice@mta.test>");
}

/// RFC 5321 4.5.3.1.1: the rewritten local part has 64 octets at most; who does not fit into that is remembered, also by the next process.
#[tokio::test]
async fn a_sender_too_long_to_be_rewritten_is_kept_and_gets_reports() {
    let world = World::new();
    let state = world.state("a");
    let life = world.start(&state);
    let sender = format!("{}@remote.test", "Long".repeat(16));
    assert!(matches!(life.submit(envelope(&sender, &["team@mta.test"]), MESSAGE).await, Submitted::Accepted(_)));
    life.keeps(0).await;
    let srs = world.send.lease(0).0.reverse_path.address().unwrap().clone();
    assert!(srs.domain.as_str() == "mta.test" && srs.local.as_str().len() == 24, "{srs}");
    let srs = srs.to_string();
    let left = world.killed(&state, "b");
    life.stop();
    let life = world.start(&left);
    // In whatever case others give it back.
    assert_eq!(life.verdict(&srs.to_lowercase()).await, RecipientVerdict::Accept);
    assert!(matches!(life.submit(envelope("", &[&srs]), MESSAGE).await, Submitted::Accepted(_)));
    life.keeps(0).await;
    assert_eq!(world.send.lease(1).0.recipients[0].address, address(&sender));
    // Reports alone come back, for a time, and to nobody else.
    assert_eq!(life.submit(envelope("spam@evil.test", &[&srs]), MESSAGE).await, Submitted::Rejected(Reason::NoRecipient));
    for forged in [srs.replace("SRS0=", "SRS0=A"), srs.replace("@", "A@"), "SRS0=AAAAAAAAAAAAAAAA=AA@mta.test".into()] {
        assert_eq!(life.verdict(&forged).await, RecipientVerdict::Unknown, "{forged}");
    }
    world.clock.advance(22 * DAY);
    assert_eq!(life.verdict(&srs).await, RecipientVerdict::Unknown);
}
